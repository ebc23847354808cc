/*
 * One turn: poll for what the relay wants, read what is ready, hand on what
 * can be handed on, and let the clock speak last, so that a process that was
 * stopped for a while finds its bytes before it finds itself late.
 */
#include "sys/loop.h"

#include "core/record.h"
#include "core/relay.h"
#include "sys/channel.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* How long ago is just now: a peer answers quicker than that, or prog's exit is known by then. */
#define JUST_NOW_MS 50

/* How long a peer may take no byte of what prog left behind. */
#define STALL_MS 60000

/* Turns without a byte, an event or a wait before a debug build calls it a spin. */
#define SPIN_LIMIT 100

struct loop {
	struct engine *engine;
	const struct config *config;
	struct relay relay;
	struct record record;
	struct wire wire;
	int prog_in, prog_out, channel, signer;
	unsigned seen;		   /* facts of the engine that the relay was told */
	bool unpiped;		   /* prog's pipes are still to come; */
	bool done_in, done_out;	   /* the relay was done with these ends of theirs */
	bool wide_in, wide_out;	   /* they were given more room, for a stream */
	bool stream;		   /* the wire was last found full */
	bool ended;		   /* the wire gave its EOF or error, of which the relay hears when it may */
	enum relay_event wire_end; /* which */
	bool exited;		   /* prog has; of what it wrote, `rest` bytes are still in the pipe */
	size_t rest;
	size_t unsent; /* bytes of ours in the socket, when the stall timer last looked */
	bool busy;     /* the engine was, when last asked */
	size_t data;   /* of what the engine has for the wire, so many bytes end with the last of prog's */
	/* Moments, in ms: of the last byte in, of the last byte out, of the beginning of the linger, of prog's EOF. */
	int64_t now, start, activity, taken, lingering, prog_eof;
	char broken[80]; /* what failed between us and prog, or the monitor, "" for nothing */
	bool reported;
	bool progress;	/* this turn moved a byte, told an event or waited in vain */
	unsigned spins; /* turns in a row that did not */
	uint64_t in, out;
};

/* The pollfds, by their places. */
enum { P_WIRE_IN, P_WIRE_OUT, P_PROG_IN, P_PROG_OUT, P_CHANNEL, P_COUNT };

/* How many bytes; -1: the kernel does not say, and there may be any number. */
static long
pipe_holds(int fd)
{
	int n = 0;

	return fd >= 0 && ioctl(fd, FIONREAD, &n) < 0 ? -1 : n;
}

/* All that waits for the wire by now is prog's, or goes before what is. */
static void
note_data(struct loop *l)
{
	const unsigned char *out;

	l->data = engine_wire_out(l->engine, &out);
}

/* What is so now. Whether the pipe holds bytes is asked of the kernel only where an event may depend on it. */
static unsigned
facts(struct loop *l, enum relay_event event)
{
	const unsigned char *out;
	unsigned char *in;
	bool busy = engine_app_busy(l->engine);
	unsigned f = 0;

	if (busy || l->busy)
		note_data(l);
	l->busy = busy;
	if (engine_wire_in(l->engine, &in) > 0)
		f |= FACT_WIRE_ROOM;
	if (engine_wire_out(l->engine, &out) > 0)
		f |= FACT_WIRE_OUT;
	if (engine_app_in(l->engine, &in) > 0)
		f |= FACT_APP_ROOM;
	if (engine_app_out(l->engine, &out) > 0)
		f |= FACT_APP_OUT;
	if (busy)
		f |= FACT_APP_BUSY;
	if (l->data > 0)
		f |= FACT_DATA_OUT;
	if (record_inside(&l->record))
		f |= FACT_MID_RECORD;
	if (event != EV_MOVED && (l->exited ? l->rest > 0 : pipe_holds(l->prog_out) != 0))
		f |= FACT_REST;
	if (event == EV_UP && engine_half_close(l->engine))
		f |= FACT_HALF;
	if (event == EV_NOTIFIED && !engine_replies_after_close(l->engine))
		f |= FACT_MUTE;
	if (engine_facts(l->engine) & ENGINE_SILENT)
		f |= FACT_SILENT;
	return f;
}

/* -- what the relay asks for --------------------------------------------- */

static bool
tell(struct loop *l, const unsigned char *message, long n)
{
	return n > 0 && channel_send(l->channel, message, (size_t)n) == 0;
}

/* Nothing but the report of the failure is left. */
static void
tell_fault(struct loop *l, const struct fault *f)
{
	unsigned char message[2 + FAULT_TEXT];

	(void)tell(l, message, message_fault(message, f));
	l->reported = true;
}

/* From here on no key is needed. Returns whether there is a session to speak of. */
static bool
report_up(struct loop *l)
{
	static unsigned char message[MESSAGE_MAX];
	static struct session session;
	struct fault f;

	engine_wipe(l->engine);
	fds_close(&l->signer);
	note_data(l);
	wire_relax(&l->wire);
	wire_acknowledge(&l->wire);
	if (engine_session(l->engine, &session, &f) < 0) {
		tell_fault(l, &f);
		return false;
	}
	if (tell(l, message, message_up(message, &session)))
		return true;
	(void)snprintf(l->broken, sizeof l->broken, "cannot tell the monitor of the handshake");
	return false;
}

/* What to say of an end that is a failure. */
static void
describe(const struct loop *l, char *text, size_t size)
{
	const char *phase = l->seen & ENGINE_UP ? "TLS failed" : "handshake failed";

	switch (l->relay.end) {
	case END_CUT: (void)snprintf(text, size, "%s: the connection was cut inside a record", phase); break;
	case END_NO_NOTIFY: (void)snprintf(text, size, "%s: the peer ended without close_notify", phase); break;
	case END_ABANDONED: (void)snprintf(text, size, "%s: the peer left", phase); break;
	case END_RESET: (void)snprintf(text, size, "%s: the connection was reset", phase); break;
	case END_TLS: (void)snprintf(text, size, "%s: %s", phase, engine_reason(l->engine)); break;
	case END_IDLE: (void)snprintf(text, size, "%s: idle for %d ms", phase, l->config->idle_ms); break;
	case END_LATE: (void)snprintf(text, size, "%s: not done after %d ms", phase, l->config->handshake_ms); break;
	case END_STALLED: (void)snprintf(text, size, "%s: the peer does not take the rest", phase); break;
	case END_NOT_RUN: (void)snprintf(text, size, "%s", l->broken); break;
	case END_ORPHANED: (void)snprintf(text, size, "%s: nothing is heard from the monitor", phase); break;
	case END_NONE:
	case END_PROG_EOF:
	case END_PROG_EXIT:
	case END_PEER_EOF:
	case END_PEER_NOTIFY:
	case END_SIGNAL:
	case END_COUNT: *text = '\0';
	}
}

static void
report_end(struct loop *l)
{
	unsigned char message[64 + FAULT_TEXT];
	struct report report = {.end = l->relay.end, .in = l->in, .out = l->out};

	if (l->reported)
		return;
	describe(l, report.text, sizeof report.text);
	(void)tell(l, message, message_end(message, &report));
	l->reported = true;
}

/* A process that exits closes its descriptors a moment before it can be waited for. */
static bool
stdout_just_closed(const struct loop *l)
{
	struct pollfd p = {.fd = l->prog_out, .events = POLLIN};

	if (l->prog_out < 0)
		return l->now - l->prog_eof <= JUST_NOW_MS;
	return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

/* Who cannot ask is not told otherwise. */
static bool
ask(struct loop *l)
{
	return channel_tell(l->channel, stdout_just_closed(l) ? MSG_ASK_PATIENTLY : MSG_ASK) == 0;
}

/* Performs a set of actions. Returns what comes of them. */
static enum relay_event
perform(struct loop *l, unsigned todo)
{
	enum relay_event event = EV_MOVED;

	if (todo & DO_REPORT && !report_up(l))
		event = EV_NOT_RUN;
	if (todo & DO_CLOSE_PROG_IN) {
		fds_close(&l->prog_in);
		l->done_in = true;
	}
	if (todo & DO_CLOSE_PROG_OUT) {
		fds_close(&l->prog_out);
		l->done_out = true;
	}
	if (todo & DO_NOTIFY)
		engine_close(l->engine);
	if (todo & DO_FIN)
		wire_fin(&l->wire);
	if (todo & DO_CLOSE_WIRE)
		wire_close(&l->wire);
	if (todo & DO_RESET_WIRE)
		wire_reset(&l->wire);
	if (todo & DO_ASK && !ask(l))
		event = EV_PROG_ALIVE;
	if (todo & DO_END)
		report_end(l);
	return event;
}

/* Tells the relay of one event, and goes on until it asks for nothing more. */
static void
step(struct loop *l, enum relay_event event)
{
	unsigned todo;

	if (event != EV_MOVED)
		l->progress = true;
	do {
		todo = relay_step(&l->relay, event, facts(l, event));
		event = perform(l, todo);
	} while (todo);
}

/* Drops what has nowhere to go. Returns whether there was any. */
static bool
drop(struct loop *l, unsigned want)
{
	const unsigned char *p;
	size_t app = want & WANT_DROP_APP ? engine_app_out(l->engine, &p) : 0;
	size_t wire = want & WANT_DROP_WIRE ? engine_wire_out(l->engine, &p) : 0;

	if (app)
		engine_app_out_ack(l->engine, app);
	if (wire) {
		l->data = 0;
		engine_wire_out_ack(l->engine, wire);
	}
	return app || wire;
}

/* Tells the relay what the engine has come to know, the end of the wire last, and lets it act on what moved. */
static void
settle(struct loop *l)
{
	static const struct {
		unsigned fact;
		enum relay_event event;
	} news[] = {{ENGINE_UP, EV_UP}, {ENGINE_NOTIFIED, EV_NOTIFIED}, {ENGINE_FAILED, EV_BROKEN}};

	do {
		for (size_t i = 0; i < sizeof news / sizeof *news; i++) {
			if (!(engine_facts(l->engine) & news[i].fact & ~l->seen))
				continue;
			/* What a failure is called depends on the phase that it ended. */
			step(l, news[i].event);
			l->seen |= news[i].fact;
		}
		step(l, EV_MOVED);
		if (l->ended && (engine_hungry(l->engine) || l->relay.raw)) {
			l->ended = false;
			step(l, l->wire_end);
		}
	} while (drop(l, relay_want(&l->relay, 0)));
}

/* -- moving bytes -------------------------------------------------------- */

/* Who fills a pipe has more to say: from now on it takes fewer steps. */
static void
widen(int pipe, bool *wide, bool full)
{
	if (!*wide && full)
		fds_widen(pipe);
	*wide = *wide || full;
}

static bool
would_wait(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* The end of the wire, of which the relay hears once all before it was decrypted. */
static void
wire_ended(struct loop *l, enum relay_event how)
{
	l->ended = true;
	l->wire_end = how;
}

/* `polled`: poll said that there is something. Only then an end is taken: prog, whom poll saw as well, goes first. */
static void
read_wire(struct loop *l, unsigned want, bool polled)
{
	static unsigned char sink[65536];
	unsigned char *p = sink;
	size_t room = want & WANT_RAW ? sizeof sink : engine_wire_in(l->engine, &p);
	ssize_t n;

	if (room == 0 || l->wire.in < 0)
		return; /* what the channel said came first */
	n = wire_read(&l->wire, p, room);
	l->stream = n >= PIPE_FIRST;
	if (would_wait(n) || (n == 0 && !polled))
		return;
	l->progress = true;
	if (n <= 0) {
		wire_ended(l, n == 0 ? EV_WIRE_EOF : EV_WIRE_RESET);
		return;
	}
	l->activity = l->now;
	if (want & WANT_RAW)
		return;
	record_feed(&l->record, p, (size_t)n);
	engine_wire_in_ack(l->engine, (size_t)n);
}

static void
write_wire(struct loop *l)
{
	const unsigned char *p;
	size_t length = engine_wire_out(l->engine, &p);
	ssize_t n = wire_write(&l->wire, p, length);

	if (would_wait(n))
		return;
	if (n < 0) {
		step(l, EV_WIRE_REFUSED);
		return;
	}
	l->progress = true;
	l->taken = l->now;
	if (l->exited)
		l->unsent = wire_unsent(&l->wire);
	l->data = l->data > (size_t)n ? l->data - (size_t)n : 0;
	engine_wire_out_ack(l->engine, (size_t)n);
}

/* A pipe that fails is no end that prog has made: what was in it, or was to be, is lost. */
static void
lose_prog(struct loop *l, const char *what, enum relay_event end)
{
	(void)snprintf(l->broken, sizeof l->broken, "cannot %s: %s", what, strerror(errno));
	step(l, EV_NOT_RUN);
	step(l, end); /* after another failure, that is all */
}

static void
write_prog(struct loop *l)
{
	const unsigned char *p;
	size_t length = engine_app_out(l->engine, &p);
	ssize_t n = write(l->prog_in, p, length);

	if (would_wait(n))
		return;
	if (n < 0 && errno != EPIPE) {
		lose_prog(l, "write to prog", EV_PROG_DEAF);
		return;
	}
	if (n < 0) {
		step(l, EV_PROG_DEAF);
		return;
	}
	widen(l->prog_in, &l->wide_in, length >= PIPE_FIRST && (size_t)n < length);
	l->progress = true;
	l->in += (uint64_t)n;
	engine_app_out_ack(l->engine, (size_t)n);
}

static void
read_prog(struct loop *l)
{
	unsigned char *p;
	size_t room = engine_app_in(l->engine, &p);
	ssize_t n;

	if (room == 0 || l->prog_out < 0)
		return; /* what came from the wire was quicker */
	if (l->exited && room > l->rest)
		room = l->rest;
	n = room ? read(l->prog_out, p, room) : 0;
	/* The end, if nothing is left. Where that cannot be known, the errno is no EAGAIN any more. */
	if (n < 0 && errno == EAGAIN && l->exited && pipe_holds(l->prog_out) == 0)
		n = 0;
	if (would_wait(n))
		return;
	if (n < 0) {
		lose_prog(l, "read from prog", EV_PROG_EOF);
		return;
	}
	if (n == 0) {
		l->prog_eof = l->now;
		step(l, EV_PROG_EOF);
		return;
	}
	widen(l->prog_out, &l->wide_out, n >= PIPE_FIRST);
	l->progress = true;
	l->activity = l->now;
	l->out += (uint64_t)n;
	if (l->exited)
		l->rest -= (size_t)n;
	engine_app_in_ack(l->engine, (size_t)n);
	note_data(l);
}

/* What prog wrote before it exited is in the pipe now; what a grandchild adds is not prog's. */
static void
prog_exited(struct loop *l)
{
	long held = pipe_holds(l->prog_out);

	l->exited = true;
	l->rest = held < 0 ? SIZE_MAX : (size_t)held;
	l->taken = l->now;
	l->unsent = wire_unsent(&l->wire);
	step(l, EV_PROG_EXIT);
}

/*
 * Prog runs, behind the pipes that were there from the start or come now: then
 * with an end already, where the relay was done with one before it came.
 */
static enum relay_event
join_prog(struct loop *l, int came[CHANNEL_FDS])
{
	if (!l->unpiped)
		return EV_RUN;
	if (came[0] < 0 || came[1] < 0)
		return EV_ORPHANED;
	l->unpiped = false;
	l->prog_in = came[0];
	l->prog_out = came[1];
	if (l->done_in)
		fds_close(&l->prog_in);
	if (l->done_out)
		fds_close(&l->prog_out);
	return EV_RUN;
}

static void
read_channel(struct loop *l)
{
	unsigned char word;
	int came[CHANNEL_FDS];
	long n = channel_receive_fds(l->channel, &word, 1, came);

	if (n == 0)
		return;
	if (n != 1) {
		step(l, EV_ORPHANED);
		return;
	}
	switch (word) {
	case MSG_RUN: step(l, join_prog(l, came)); break;
	case MSG_NOT_RUN: step(l, EV_NOT_RUN); break;
	case MSG_EXITED: prog_exited(l); break;
	case MSG_ALIVE: step(l, EV_PROG_ALIVE); break;
	case MSG_STOP: step(l, EV_SIGNAL); break;
	default: step(l, EV_ORPHANED);
	}
}

/* -- time ---------------------------------------------------------------- */

struct deadline {
	int64_t at; /* -1: never */
	enum relay_event event;
};

static void
sooner(struct deadline *d, int64_t at, enum relay_event event)
{
	if (d->at < 0 || at < d->at)
		*d = (struct deadline){at, event};
}

/* The timer that runs out first. */
static struct deadline
next_deadline(struct loop *l)
{
	const struct config *c = l->config;
	unsigned timers = relay_timers(&l->relay);
	struct deadline d = {.at = -1};

	if (!(timers & TIMER_LINGER))
		l->lingering = -1;
	else if (l->lingering < 0)
		l->lingering = l->now;
	if (timers & TIMER_LINGER)
		sooner(&d, l->lingering + c->linger_ms, EV_LINGERED);
	if (timers & TIMER_HANDSHAKE && c->handshake_ms)
		sooner(&d, l->start + c->handshake_ms, EV_LATE);
	if (timers & TIMER_IDLE && c->idle_ms)
		sooner(&d, l->activity + c->idle_ms, EV_IDLE);
	if (timers & TIMER_STALL)
		sooner(&d, l->taken + (c->idle_ms && c->idle_ms < STALL_MS ? c->idle_ms : STALL_MS), EV_STALLED);
	return d;
}

/* A socket with a long queue asks for more only when a good part is gone: a slow peer shows in the queue alone. */
static bool
peer_takes(struct loop *l)
{
	size_t unsent = wire_unsent(&l->wire);
	bool takes = unsent < l->unsent;

	l->unsent = unsent;
	if (takes)
		l->taken = l->now;
	return takes;
}

static int
patience(struct loop *l, unsigned want)
{
	struct deadline d = next_deadline(l);
	int64_t left = d.at - l->now;

	if (want & WANT_WIRE_LAST && !l->ended)
		return 0;
	if (d.at < 0)
		return -1;
	return left < 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

/* -- turns --------------------------------------------------------------- */

static void
watch(struct pollfd *p, int fd, bool wanted, short events)
{
	*p = (struct pollfd){.fd = wanted ? fd : -1, .events = events};
}

/* Waits for something to do. */
static void
wait_for(struct loop *l, struct pollfd p[P_COUNT], unsigned want)
{
	/* The deadline is told from the same moment as the wait is. */
	int ms = patience(l, want);
	bool reads = want & (WANT_WIRE_IN | WANT_WIRE_LAST) && !l->ended;
	int n;

	watch(&p[P_WIRE_IN], l->wire.in, reads, POLLIN);
	watch(&p[P_WIRE_OUT], l->wire.out, want & WANT_WIRE_OUT, POLLOUT);
	watch(&p[P_PROG_IN], l->prog_in, want & WANT_PROG_IN, POLLOUT);
	watch(&p[P_PROG_OUT], l->prog_out, want & WANT_PROG_OUT, POLLIN);
	watch(&p[P_CHANNEL], l->channel, true, POLLIN);
	if (l->exited && want & WANT_PROG_OUT)
		ms = 0; /* its rest is known, and may be nothing */
	n = poll(p, P_COUNT, ms);
	for (int i = 0; n < 0 && i < P_COUNT; i++)
		p[i].revents = 0;
	l->progress = n < 0 || (n == 0 && ms > 0);
	l->now = clock_ms();
}

/* Writes that were not waited for are tried at once: most go through, and save a turn. */
static void
hand_on(struct loop *l, const struct pollfd p[P_COUNT])
{
	unsigned want;

	settle(l);
	want = relay_want(&l->relay, facts(l, EV_MOVED));
	if (want & WANT_WIRE_OUT && (p[P_WIRE_OUT].revents || (p[P_WIRE_OUT].fd < 0 && l->wire.out_socket)))
		write_wire(l);
	want = relay_want(&l->relay, facts(l, EV_MOVED));
	if (want & WANT_PROG_IN && (p[P_PROG_IN].revents || p[P_PROG_IN].fd < 0))
		write_prog(l);
	settle(l);
}

/* What a stream has brought since it was last read is taken without a wait. */
static void
read_on(struct loop *l)
{
	unsigned want = relay_want(&l->relay, facts(l, EV_MOVED));

	if (!l->stream || !l->wire.in_socket || l->ended || !(want & WANT_WIRE_IN))
		return;
	read_wire(l, want, false);
	settle(l);
}

/* No state may turn for nothing: a defect that would burn a core is a crash in a debug build. */
static void
watchdog(struct loop *l)
{
	l->spins = l->progress ? 0 : l->spins + 1;
#ifndef NDEBUG
	if (l->spins > SPIN_LIMIT)
		abort();
#endif
}

static void
turn(struct loop *l)
{
	unsigned want = relay_want(&l->relay, facts(l, EV_MOVED));
	struct pollfd p[P_COUNT];
	struct deadline d;

	wait_for(l, p, want);
	if (p[P_CHANNEL].revents)
		read_channel(l);
	/* prog first: its last byte counts as taken before what the peer does then. */
	if (p[P_PROG_OUT].revents || (p[P_PROG_OUT].fd >= 0 && l->exited))
		read_prog(l);
	if (p[P_WIRE_IN].revents)
		read_wire(l, want, true);
	else if (want & WANT_WIRE_LAST && !l->ended)
		step(l, EV_WIRE_DRY);
	hand_on(l, p);
	if (!p[P_WIRE_IN].revents)
		read_on(l);
	d = next_deadline(l);
	if (d.at >= 0 && d.at <= l->now && !(d.event == EV_STALLED && peer_takes(l))) {
		step(l, d.event);
		settle(l);
	}
	watchdog(l);
}

void
loop_run(struct engine *e, const struct loop_fds *fds, const struct config *config, int64_t start)
{
	struct loop l = {.engine = e,
	    .config = config,
	    .prog_in = fds->prog_in,
	    .prog_out = fds->prog_out,
	    .channel = fds->channel,
	    .signer = fds->signer,
	    .unpiped = fds->prog_in < 0,
	    .start = start,
	    .activity = start,
	    .taken = start,
	    .lingering = -1,
	    .now = clock_ms()};

	l.relay = relay_start(config->close != CLOSE_FIN, config->close == CLOSE_NOTIFY_HALF, config->enforce);
	wire_open(&l.wire, fds->wire_in, fds->wire_out);
	wire_hurry(&l.wire);
	while (l.relay.stage != RELAY_ENDED)
		turn(&l);
	fds_close(&l.prog_in);
	fds_close(&l.prog_out);
}
