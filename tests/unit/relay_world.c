/*
 * The steps of the world around the relay. The turn is written after the one
 * in src/sys/loop.c, in the same order and with the same names; what the kernel
 * answers there, is chosen here. Facts are read off the buffers.
 */
#include "relay_world.h"

#include <string.h>

static const char *const cell_name[] = {
    [CELL_PART] = "a part of a record",
    [CELL_HANDSHAKE] = "a handshake record",
    [CELL_DATA] = "data",
    [CELL_NOTIFY] = "close_notify",
    [CELL_BAD] = "a bad record",
    [CELL_ALERT] = "an alert",
};

struct world
world_start(bool client, bool notify, bool half, bool enforce, bool tls13, bool mute)
{
	struct world w;

	memset(&w, 0, sizeof w);
	w.relay = relay_start(notify, half, enforce);
	w.a.tls13 = tls13;
	w.a.mute = mute;
	/* A client speaks first, and needs one answer; a server hears twice. */
	w.a.flights = client ? 1 : 2;
	if (client)
		w.a.wire_out[w.a.wire_out_n++] = CELL_HANDSHAKE;
	return w;
}

static bool
holds_data(const struct around *a)
{
	for (unsigned i = 0; i < a->wire_out_n; i++)
		if (a->wire_out[i] == CELL_DATA)
			return true;
	return false;
}

bool
world_on_the_way(const struct around *a)
{
	return a->busy || holds_data(a);
}

/* What goes out before prog's first byte belongs to it, and so does what an heir writes before the news of prog's exit:
 * nobody can tell that from prog's own. */
bool
world_over(const struct around *a)
{
	bool out = !a->busy && !a->own && !a->lost;

	for (unsigned i = 0; i < a->wire_out_n; i++)
		out = out && (a->wire_out[i] == CELL_NOTIFY || a->wire_out[i] == CELL_ALERT);
	return a->prog == PROG_GONE && (a->exited || !a->heir) && out;
}

/* -- the engine ---------------------------------------------------------- */

/* Records that are not about prog's bytes and follow each other are one. */
static void
queue_out(struct around *a, enum cell cell)
{
	if (cell == CELL_HANDSHAKE && a->wire_out_n > 0 && a->wire_out[a->wire_out_n - 1] == cell)
		return;
	law(a->wire_out_n < WIRE_OUT_MOST, "the model has room for what the engine says");
	a->wire_out[a->wire_out_n++] = (uint8_t)cell;
}

static void
engine_fails(struct around *a)
{
	a->failed = true;
	a->silent = a->up && a->mute;
	if (!a->silent)
		queue_out(a, CELL_ALERT);
}

/* Takes one cell to heart. Returns false where it has to wait for room in app_out. */
static bool
decrypt(struct around *a, enum cell cell)
{
	switch (cell) {
	case CELL_HANDSHAKE:
		a->up = --a->flights == 0;
		queue_out(a, CELL_HANDSHAKE);
		return true;
	case CELL_DATA:
		if (a->mute && a->closed)
			return true; /* heard no more behind our close_notify */
		if (a->app_out >= APP_OUT_FULL)
			return false;
		a->app_out++;
		return true;
	case CELL_NOTIFY:
		if (!a->up) {
			engine_fails(a);
			return true;
		}
		if (a->mute && a->app_out)
			return false;
		a->notified = true;
		if (a->mute && !a->closed) {
			a->closed = true;
			queue_out(a, CELL_NOTIFY);
		}
		return true;
	case CELL_BAD: engine_fails(a); return true;
	case CELL_PART:
	case CELL_ALERT: break;
	}
	return true;
}

static void
pump(struct around *a)
{
	if (a->busy && !a->failed && a->wire_out_n < WIRE_OUT_FULL) {
		a->busy = false;
		queue_out(a, CELL_DATA);
	}
	while (a->undecrypted_n > 0 && !a->failed && !a->notified && decrypt(a, (enum cell)a->undecrypted[0])) {
		memmove(a->undecrypted, a->undecrypted + 1, sizeof a->undecrypted - 1);
		a->undecrypted[--a->undecrypted_n] = 0;
	}
	if (a->failed || a->notified)
		memset(a->undecrypted, a->undecrypted_n = 0, sizeof a->undecrypted);
}

static bool
hungry(const struct around *a)
{
	return !a->undecrypted_n;
}

static unsigned
wire_room(const struct around *a)
{
	return a->failed || (a->mute && a->notified) ? 0 : (unsigned)UNDECRYPTED_FULL - a->undecrypted_n;
}

static unsigned
app_room(const struct around *a)
{
	return !a->up || a->failed || a->closed || a->busy || a->wire_out_n >= WIRE_OUT_FULL
		   ? 0
		   : (unsigned)WIRE_OUT_FULL - a->wire_out_n;
}

static void
take_from_wire_out(struct around *a, unsigned n)
{
	memmove(a->wire_out, a->wire_out + n, WIRE_OUT_MOST - n);
	memset(a->wire_out + WIRE_OUT_MOST - n, 0, n);
	a->wire_out_n = (uint8_t)(a->wire_out_n - n);
}

/* -- the loop: facts, actions, events ------------------------------------- */

unsigned
world_facts(const struct world *w, enum relay_event event)
{
	const struct around *a = &w->a;
	unsigned f = 0;

	if (wire_room(a))
		f |= FACT_WIRE_ROOM;
	if (a->wire_out_n)
		f |= FACT_WIRE_OUT;
	for (unsigned i = 0; i < a->wire_out_n; i++)
		if (a->wire_out[i] == CELL_DATA || a->wire_out[i] == CELL_HANDSHAKE)
			f |= FACT_DATA_OUT;
	if (app_room(a))
		f |= FACT_APP_ROOM;
	if (a->app_out)
		f |= FACT_APP_OUT;
	if (a->busy)
		f |= FACT_APP_BUSY;
	if (a->inside)
		f |= FACT_MID_RECORD;
	if (event != EV_MOVED && (a->exited ? a->rest : a->pipe))
		f |= FACT_REST;
	if (event == EV_UP && a->tls13)
		f |= FACT_HALF;
	if (event == EV_NOTIFIED && a->mute)
		f |= FACT_MUTE;
	if (a->silent)
		f |= FACT_SILENT;
	return f;
}

/* Nobody reads the rest. Where an engine cannot answer the peer any more, the peer wants none of it. */
static void
close_prog_out(struct world *w, enum relay_event event)
{
	struct around *a = &w->a;

	if (a->own && !(event == EV_NOTIFIED && a->mute))
		a->lost = true;
	a->pipe = a->own = 0;
}

static void
close_wire(struct world *w)
{
	struct around *a = &w->a;

	if (world_on_the_way(a))
		a->lost = true;
	for (unsigned i = 0; i < a->net_n; i++)
		if (a->net[i] == CELL_DATA)
			laws_of_dropping(w, true);
	memset(a->net, a->net_n = 0, sizeof a->net);
	a->peer_end = a->deaf = 0;
}

static void
report(struct around *a, bool fine, unsigned *needs)
{
	a->monitor = fine ? MONITOR_REPORTED : MONITOR_ANSWERED;
	*needs |= fine ? 0 : NEEDS_MISFORTUNE;
	say(fine ? "reports" : "has no session to report");
}

/* As engine_close does: not where there is nothing to close. */
static void
close_engine(struct around *a)
{
	if (!a->closed && a->up && !a->failed && !(a->mute && a->notified))
		queue_out(a, CELL_NOTIFY);
	a->closed = true;
}

/* Performs a set of actions. Returns whether the relay can go on. */
static bool
perform(struct world *w, unsigned todo, enum relay_event event, unsigned *needs)
{
	static const struct {
		enum relay_action todo;
		enum done done;
		const char *name;
	} deeds[] = {{DO_CLOSE_PROG_IN, DID_CLOSE_PROG_IN, "closes prog's stdin"},
	    {DO_CLOSE_PROG_OUT, DID_CLOSE_PROG_OUT, "closes prog's stdout"},
	    {DO_NOTIFY, DID_NOTIFY, "queues close_notify"}, {DO_FIN, DID_FIN, "sends FIN"},
	    {DO_CLOSE_WIRE, DID_CLOSE_WIRE, "closes the wire"}, {DO_RESET_WIRE, DID_RESET_WIRE, "resets the wire"},
	    {DO_ASK, DID_ASK, "asks the monitor"}};
	bool fine = !(todo & DO_REPORT) || choose(2) == 0;

	if (todo & DO_REPORT)
		report(&w->a, fine, needs);
	for (unsigned i = 0; i < sizeof deeds / sizeof *deeds; i++) {
		if (!(todo & deeds[i].todo))
			continue;
		w->a.done |= (uint8_t)deeds[i].done;
		say("%s", deeds[i].name);
	}
	if (todo & DO_CLOSE_PROG_OUT)
		close_prog_out(w, event);
	if (todo & DO_NOTIFY)
		close_engine(&w->a);
	if (todo & (DO_CLOSE_WIRE | DO_RESET_WIRE))
		close_wire(w);
	return fine;
}

/*
 * Whether the connection just failed so that a peer which sees a plain end might
 * take prog's answer for whole: prog has not ended it, and no alert says so.
 * A timeout that finds nothing left to send is none of these.
 */
static bool
answer_is_cut(const struct relay *before, const struct world *w)
{
	enum relay_end end = w->relay.end;
	bool newly = relay_failed(&w->relay) && !relay_failed(before), silent = end == END_TLS && w->a.silent;
	/* What breaks in one segment with the end of the handshake is found before prog runs. */
	bool answering = before->stage == RELAY_RUNNING || (before->stage == RELAY_STARTING && silent);

	return newly && answering && before->tx == TX_OPEN && !w->a.exited &&
	       (end == END_CUT || end == END_NO_NOTIFY || end == END_SIGNAL || end == END_ORPHANED || silent);
}

static void
step(struct world *w, enum relay_event event, unsigned *needs)
{
	static const char *const news[EV_COUNT] = {[EV_UP] = "the handshake is complete",
	    [EV_NOTIFIED] = "close_notify is told of",
	    [EV_BROKEN] = "the engine's failure is told of",
	    [EV_WIRE_EOF] = "the wire's EOF is told of",
	    [EV_WIRE_RESET] = "the wire's error is told of",
	    [EV_WIRE_DRY] = "nothing is left on the wire"};
	unsigned todo, rounds = 0;

	if (news[event])
		say("%s", news[event]);
	do {
		struct relay before = w->relay;

		todo = relay_step(&w->relay, event, world_facts(w, event));
		w->a.cut |= answer_is_cut(&before, w);
		laws_of_step(&before, w, event, todo);
		if (event == EV_WIRE_REFUSED && before.rx == RX_OPEN && world_on_the_way(&w->a))
			w->a.refused = true;
		event = perform(w, todo, event, needs) ? EV_MOVED : EV_NOT_RUN;
		laws_of_rest(++rounds);
	} while (todo);
}

static bool
drop(struct world *w, unsigned want)
{
	struct around *a = &w->a;
	bool app = want & WANT_DROP_APP && a->app_out, wire = want & WANT_DROP_WIRE && a->wire_out_n;

	if (app) {
		laws_of_dropping(w, false);
		a->app_out = 0;
		pump(a);
	}
	if (wire) {
		for (unsigned i = 0; i < a->wire_out_n; i++)
			a->lost |= a->wire_out[i] == CELL_DATA;
		take_from_wire_out(a, a->wire_out_n);
		pump(a);
	}
	return app || wire;
}

static void
settle(struct world *w, unsigned *needs)
{
	struct around *a = &w->a;
	unsigned rounds = 0;

	do {
		const struct {
			bool so;
			enum relay_event event;
		} news[] = {{a->up, EV_UP}, {a->notified, EV_NOTIFIED}, {a->failed, EV_BROKEN}};

		for (unsigned i = 0; i < sizeof news / sizeof *news; i++) {
			if (!news[i].so || a->seen & 1 << i)
				continue;
			step(w, news[i].event, needs);
			a->seen |= (uint8_t)(1 << i);
		}
		step(w, EV_MOVED, needs);
		if (a->ended && (hungry(a) || w->relay.raw)) {
			a->ended = false;
			step(w, a->wire_end == RST ? EV_WIRE_RESET : EV_WIRE_EOF, needs);
		}
		laws_of_rest(++rounds);
	} while (drop(w, relay_want(&w->relay, 0)));
}

/* -- the loop: bytes ------------------------------------------------------ */

static bool
wire_is_closed(const struct around *a)
{
	return a->done & (DID_CLOSE_WIRE | DID_RESET_WIRE);
}

/* How much of n cells goes: nothing, one, all. */
static unsigned
share(unsigned n)
{
	unsigned k = choose(n > 1 ? 3 : 2);

	return k < 2 ? k : n;
}

static void
read_wire(struct world *w, unsigned want)
{
	struct around *a = &w->a;
	bool raw = want & WANT_RAW;
	unsigned room = raw ? NET_FULL : wire_room(a), n;

	if (room == 0 || wire_is_closed(a))
		return; /* what the channel said came first */
	if (a->net_n == 0) {
		say("reads %s", a->peer_end == FIN ? "EOF" : "ECONNRESET");
		a->ended = true;
		a->wire_end = a->peer_end;
		return;
	}
	n = a->net_n < room ? a->net_n : room;
	if (n > 1 && choose(2))
		n = 1;
	say("reads %u from the wire%s", n, raw ? " and drops it" : "");
	for (unsigned i = 0; i < n; i++) {
		enum cell cell = (enum cell)a->net[0];

		memmove(a->net, a->net + 1, sizeof a->net - 1);
		a->net[--a->net_n] = 0;
		if (raw && cell == CELL_DATA)
			laws_of_dropping(w, true);
		if (raw)
			continue;
		a->inside = cell == CELL_PART;
		if (cell != CELL_PART)
			a->undecrypted[a->undecrypted_n++] = (uint8_t)cell;
	}
	pump(a);
}

static void
write_wire(struct world *w, unsigned *needs)
{
	struct around *a = &w->a;
	unsigned n;

	if (a->peer_end == RST || a->deaf) {
		say("the wire refuses a write");
		step(w, EV_WIRE_REFUSED, needs);
		return;
	}
	n = share(a->wire_out_n);
	if (n == 0)
		return;
	*needs |= NEEDS_PEER;
	for (unsigned i = 0; i < n; i++) {
		say("sends %s", cell_name[a->wire_out[i]]);
		laws_of_sending(w, (enum cell)a->wire_out[i]);
		if (a->wire_out[i] == CELL_NOTIFY)
			a->done |= DID_SEND_NOTIFY;
	}
	take_from_wire_out(a, n);
	pump(a);
}

static void
write_prog(struct world *w, unsigned *needs)
{
	struct around *a = &w->a;
	unsigned n;

	if (a->in_shut || (a->prog == PROG_GONE && !a->heir)) {
		say("prog does not read any more");
		step(w, EV_PROG_DEAF, needs);
		return;
	}
	n = share(a->app_out);
	if (n == 0)
		return;
	*needs |= NEEDS_PROG;
	say("prog takes %u", n);
	a->app_out = (uint8_t)(a->app_out - n);
	pump(a);
}

static void
read_prog(struct world *w, unsigned *needs)
{
	struct around *a = &w->a;
	unsigned room = app_room(a), n;

	if (room == 0 || a->done & DID_CLOSE_PROG_OUT)
		return; /* what came from the wire was quicker */
	if (a->exited && room > a->rest)
		room = a->rest;
	n = a->pipe < room ? a->pipe : room;
	if (n == 0) {
		say("reads EOF from prog");
		step(w, EV_PROG_EOF, needs);
		return;
	}
	if (n > 1 && choose(2))
		n = 1;
	say("reads %u from prog", n);
	a->pipe = (uint8_t)(a->pipe - n);
	a->own = (uint8_t)(a->own > n ? a->own - n : 0);
	if (a->exited)
		a->rest = (uint8_t)(a->rest - n);
	/* An engine that has to answer key updates may have no room for a record. */
	if (!a->mute && choose(2)) {
		say("the engine is busy");
		a->busy = true;
		queue_out(a, CELL_HANDSHAKE);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		queue_out(a, CELL_DATA);
}

static bool
prog_out_is_ready(const struct around *a)
{
	bool eof = a->prog != PROG_NOT_YET && (a->out_shut || a->prog == PROG_GONE) && !a->heir;

	return !(a->done & DID_CLOSE_PROG_OUT) && (a->pipe || eof || a->exited);
}

static bool
channel_speaks(const struct around *a)
{
	return a->monitor == MONITOR_SAYS_RUN || a->monitor == MONITOR_SAYS_NOT_RUN || a->says_alive == SAID ||
	       (a->prog == PROG_GONE && !a->exited);
}

/* What the monitor said first comes first. */
static void
hear(struct world *w, unsigned *needs)
{
	struct around *a = &w->a;

	if (a->monitor == MONITOR_SAYS_RUN || a->monitor == MONITOR_SAYS_NOT_RUN) {
		bool runs = a->monitor == MONITOR_SAYS_RUN;

		a->monitor = MONITOR_ANSWERED;
		say(runs ? "hears that prog runs" : "hears that prog does not run");
		step(w, runs ? EV_RUN : EV_NOT_RUN, needs);
	} else if (a->says_alive == SAID) {
		a->says_alive = HEARD;
		say("hears that prog lives");
		step(w, EV_PROG_ALIVE, needs);
	} else {
		a->exited = true;
		a->rest = a->pipe;
		say("hears that prog has exited");
		step(w, EV_PROG_EXIT, needs);
	}
}

static void
read_channel(struct world *w, unsigned *needs)
{
	struct around *a = &w->a;
	unsigned what = choose(channel_speaks(a) ? 4 : 3);

	if (what == 0 || (what == 1 && a->stopped))
		return;
	if (what == 3) {
		hear(w, needs);
		return;
	}
	*needs |= NEEDS_MISFORTUNE;
	a->stopped = true;
	a->monitor = what == 1 ? a->monitor : MONITOR_GONE;
	say(what == 1 ? "is told to stop" : "finds the monitor gone");
	step(w, what == 1 ? EV_SIGNAL : EV_ORPHANED, needs);
}

static void
hand_on(struct world *w, unsigned *needs)
{
	settle(w, needs);
	if (relay_want(&w->relay, world_facts(w, EV_MOVED)) & WANT_WIRE_OUT)
		write_wire(w, needs);
	if (relay_want(&w->relay, world_facts(w, EV_MOVED)) & WANT_PROG_IN)
		write_prog(w, needs);
	settle(w, needs);
}

/* One clock at most; it speaks last. */
static void
clocks(struct world *w, unsigned *needs)
{
	static const struct {
		enum relay_timer timer;
		enum relay_event event;
		unsigned needs;
		const char *name;
	} clock[] = {{TIMER_HANDSHAKE, EV_LATE, NEEDS_CLOCK, "the handshake takes too long"},
	    {TIMER_IDLE, EV_IDLE, NEEDS_CLOCK | NEEDS_MISFORTUNE, "no byte comes for too long"},
	    {TIMER_STALL, EV_STALLED, NEEDS_CLOCK, "the peer takes nothing for too long"},
	    {TIMER_LINGER, EV_LINGERED, NEEDS_CLOCK, "the linger is over"}};
	unsigned timers = relay_timers(&w->relay), i;
	struct relay before = w->relay;

	if (!timers || w->relay.stage == RELAY_ENDED || (i = choose(1 + sizeof clock / sizeof *clock)) == 0)
		return;
	i--;
	if (!(timers & clock[i].timer))
		return;
	*needs |= clock[i].needs;
	say("%s", clock[i].name);
	step(w, clock[i].event, needs);
	settle(w, needs);
	law(before.end != w->relay.end || before.net != w->relay.net || before.stage != w->relay.stage,
	    "a clock that has run out changes something, or it would be run out for ever");
}

static void
turn(struct world *w, unsigned *needs)
{
	struct around *a = &w->a;
	unsigned want = relay_want(&w->relay, world_facts(w, EV_MOVED));
	bool reads = want & (WANT_WIRE_IN | WANT_WIRE_LAST) && !a->ended && !wire_is_closed(a);
	bool wire_is_ready = reads && (a->net_n || a->peer_end != GOES_ON);

	*needs |= NEEDS_TURN;
	read_channel(w, needs);
	if (want & WANT_PROG_OUT && prog_out_is_ready(a) && (a->exited || choose(2)))
		read_prog(w, needs);
	if (wire_is_ready && (want & WANT_WIRE_LAST || choose(2)))
		read_wire(w, want);
	else if (want & WANT_WIRE_LAST && !a->ended)
		step(w, EV_WIRE_DRY, needs);
	hand_on(w, needs);
	clocks(w, needs);
}

bool
world_waits(const struct world *w)
{
	const struct around *a = &w->a;
	unsigned want = relay_want(&w->relay, world_facts(w, EV_MOVED));
	bool reads = want & (WANT_WIRE_IN | WANT_WIRE_LAST) && !a->ended && !wire_is_closed(a);

	if (channel_speaks(a) || (want & WANT_WIRE_LAST && !a->ended))
		return false;
	if (want & WANT_PROG_OUT && prog_out_is_ready(a))
		return false;
	return !(reads && (a->net_n || a->peer_end != GOES_ON));
}

/* -- steps of the world --------------------------------------------------- */

static void
misdeed(struct around *a, enum misdeed what)
{
	if (!world_over(a))
		a->early |= (uint8_t)what;
}

/* Of the handshake, the flights that the peer has not sent. */
static unsigned
flights_left(const struct around *a)
{
	unsigned n = a->flights;

	for (unsigned i = 0; i < a->undecrypted_n; i++)
		n -= a->undecrypted[i] == CELL_HANDSHAKE;
	for (unsigned i = 0; i < a->net_n; i++)
		n -= a->net[i] == CELL_HANDSHAKE;
	return n;
}

static bool
peer_can_send(const struct around *a, enum cell cell)
{
	if (a->peer_end != GOES_ON || a->peer_notified || a->peer_broke || a->net_n == NET_FULL)
		return false;
	switch (cell) {
	case CELL_PART: return !a->peer_inside;
	case CELL_HANDSHAKE: return flights_left(a) > 0;
	case CELL_DATA: return flights_left(a) == 0;
	case CELL_NOTIFY:
	case CELL_BAD: return true;
	case CELL_ALERT: break;
	}
	return false;
}

static bool
peer_sends(struct around *a, enum cell cell, unsigned *needs)
{
	bool handshake = flights_left(a) > 0;

	if (!peer_can_send(a, cell))
		return false;
	say("the peer sends %s", cell_name[cell]);
	a->net[a->net_n++] = (uint8_t)cell;
	a->peer_inside = cell == CELL_PART;
	a->peer_notified = cell == CELL_NOTIFY;
	a->peer_broke = cell == CELL_BAD;
	/* close_notify inside the handshake is bad as well. */
	if (cell == CELL_BAD || (cell == CELL_NOTIFY && handshake))
		misdeed(a, MISDEED_TLS);
	*needs |= cell == CELL_BAD ? NEEDS_PEER | NEEDS_MISFORTUNE : NEEDS_PEER;
	return true;
}

static bool
peer_ends(struct around *a, unsigned *needs)
{
	if (a->peer_end != GOES_ON)
		return false;
	say("the peer sends FIN%s", a->peer_inside ? " inside a record" : "");
	if (a->peer_inside)
		misdeed(a, MISDEED_CUT);
	if (!a->peer_notified)
		misdeed(a, MISDEED_NO_NOTIFY);
	a->peer_end = FIN;
	*needs |= a->peer_inside ? NEEDS_PEER | NEEDS_MISFORTUNE : NEEDS_PEER;
	return true;
}

static bool
peer_resets(struct around *a, unsigned *needs)
{
	if (a->peer_end == RST)
		return false;
	*needs |= NEEDS_PEER | NEEDS_MISFORTUNE;
	misdeed(a, MISDEED_RESET);
	a->peer_end = RST;
	say("the peer resets");
	if (a->net_n && choose(2)) {
		say("what it sent is gone");
		memset(a->net, a->net_n = 0, sizeof a->net);
	}
	return true;
}

static bool
peer_goes_deaf(struct around *a, unsigned *needs)
{
	if (a->deaf || a->peer_end == RST)
		return false;
	*needs |= NEEDS_PEER | NEEDS_MISFORTUNE;
	misdeed(a, MISDEED_RESET);
	a->deaf = true;
	say("the wire takes nothing any more");
	return true;
}

static bool
peer_steps(struct around *a, unsigned what, unsigned *needs)
{
	if (wire_is_closed(a))
		return false;
	switch (what) {
	case 0: return peer_sends(a, CELL_PART, needs);
	case 1: return peer_sends(a, CELL_HANDSHAKE, needs);
	case 2: return peer_sends(a, CELL_DATA, needs);
	case 3: return peer_sends(a, CELL_NOTIFY, needs);
	case 4: return peer_sends(a, CELL_BAD, needs);
	case 5: return peer_ends(a, needs);
	case 6: return peer_resets(a, needs);
	default: return peer_goes_deaf(a, needs);
	}
}

/* A child of prog's that holds its pipes is its heir. */
static bool
prog_exits(struct around *a)
{
	if (a->prog != PROG_LIVES)
		return false;
	a->prog = PROG_GONE;
	a->heir = !(a->in_shut && a->out_shut) && choose(2);
	say(a->heir ? "prog exits, an heir has its pipes" : "prog exits");
	return true;
}

static bool
prog_writes(struct around *a)
{
	if (a->out_shut || a->pipe == PIPE_FULL || a->done & DID_CLOSE_PROG_OUT)
		return false;
	if (a->prog != PROG_LIVES && !a->heir)
		return false;
	say(a->heir ? "the heir writes" : "prog writes");
	a->pipe++;
	a->own = (uint8_t)(a->own + !a->exited);
	return true;
}

static bool
prog_shuts(struct around *a, uint8_t *end, const char *name)
{
	if (a->prog != PROG_LIVES || *end)
		return false;
	*end = true;
	say("prog closes %s", name);
	return true;
}

static bool
heir_goes(struct around *a)
{
	if (!a->heir)
		return false;
	a->heir = false;
	say("the heir exits");
	return true;
}

static bool
prog_steps(struct around *a, unsigned what, unsigned *needs)
{
	if (what == 0)
		return prog_exits(a);
	*needs |= NEEDS_PROG;
	switch (what) {
	case 1: return prog_writes(a);
	case 2: return prog_shuts(a, &a->in_shut, "its stdin");
	case 3: return prog_shuts(a, &a->out_shut, "its stdout");
	default: return heir_goes(a);
	}
}

/* It answers a question as long as it has not seen prog's exit, which else is the answer. */
static bool
monitor_steps(struct around *a, unsigned what, unsigned *needs)
{
	if (what == 0) {
		if (!(a->done & DID_ASK) || a->says_alive || a->prog != PROG_LIVES)
			return false;
		a->says_alive = SAID;
		say("the monitor sees that prog lives");
		return true;
	}
	if (a->monitor != MONITOR_REPORTED)
		return false;
	*needs |= what == 1 ? 0 : NEEDS_MISFORTUNE;
	a->monitor = what == 1 ? MONITOR_SAYS_RUN : MONITOR_SAYS_NOT_RUN;
	a->prog = what == 1 ? PROG_LIVES : PROG_NOT_YET;
	say(what == 1 ? "the monitor starts prog" : "the monitor cannot start prog");
	return true;
}

/* What comes from the wire and goes nowhere is all the same. */
static void
forget_wire(struct around *a)
{
	memset(a->net, CELL_BAD, a->net_n);
	a->peer_inside = a->peer_notified = a->peer_broke = a->inside = false;
}

static void
forget_prog(struct around *a)
{
	bool in = a->done & DID_CLOSE_PROG_IN, out = a->done & DID_CLOSE_PROG_OUT;

	if (in)
		a->refused = a->in_shut = false;
	if (out)
		a->out_shut = false;
	if (in && out)
		a->heir = false;
	if (a->prog == PROG_GONE && !a->heir)
		a->in_shut = a->out_shut = false;
}

/*
 * Forgets what nothing depends on any more, so that states that are alike are
 * the same. The name of an end, for one, was judged when it was given; the relay
 * makes a difference only for two of them.
 */
static void
forget(struct world *w)
{
	struct relay *r = &w->relay;
	struct around *a = &w->a;

	if (r->end != END_NONE && r->end != END_TLS && r->end != END_RESET)
		r->end = relay_failed(r) ? END_IDLE : END_PROG_EOF;
	if (r->stage == RELAY_ENDED) {
		memset(a, 0, sizeof *a);
		return;
	}
	if (r->stage != RELAY_HANDSHAKE)
		a->tls13 = false;
	if (relay_failed(r) || r->wire_done)
		r->enforce = false;
	if (relay_failed(r))
		a->early = 0;
	if ((relay_failed(r) && r->raw) || wire_is_closed(a))
		forget_wire(a);
	if (a->peer_end != GOES_ON)
		a->peer_inside = a->peer_notified = a->peer_broke = false;
	forget_prog(a);
}

bool
world_step(struct world *w, unsigned *needs)
{
	enum { PEER = 8, PROG = 5, MONITOR = 3 };
	unsigned what = choose(1 + PEER + PROG + MONITOR);
	bool done = true;

	if (what == 0)
		turn(w, needs);
	else if (what <= PEER)
		done = peer_steps(&w->a, what - 1, needs);
	else if (what <= PEER + PROG)
		done = prog_steps(&w->a, what - 1 - PEER, needs);
	else
		done = monitor_steps(&w->a, what - 1 - PEER - PROG, needs);
	forget(w);
	return done;
}
