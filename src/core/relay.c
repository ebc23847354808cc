/*
 * The transition and want functions of the relay. Every event and every state
 * is named; nothing here performs anything, and no action feeds back into the
 * state.
 */
#include "core/relay.h"

#include <stddef.h>

struct relay
relay_start(bool notify, bool half, bool enforce)
{
	return (struct relay){.notify = notify, .half = half, .enforce = enforce};
}

bool
relay_failed(const struct relay *r)
{
	return r->end >= END_CUT;
}

/* The first cause names the end, unless a failure follows. */
static void
note_end(struct relay *r, enum relay_end end)
{
	if (r->end == END_NONE)
		r->end = end;
}

/* prog's stdin takes no more: what it has not got is dropped. */
static unsigned
close_prog_in(struct relay *r)
{
	if (r->rx == RX_DROP || r->rx == RX_DONE)
		return 0;
	r->rx = r->rx == RX_OPEN ? RX_DROP : RX_DONE;
	return DO_CLOSE_PROG_IN;
}

/* The wire brings prog nothing more, for whatever reason. */
static void
end_rx(struct relay *r)
{
	if (r->rx == RX_OPEN)
		r->rx = RX_DRAIN;
	else if (r->rx == RX_DROP)
		r->rx = RX_DONE;
}

/* Whether the wire has taken prog's last byte: at most close_notify is still on its way. */
static bool
taken(const struct relay *r)
{
	return r->tx == TX_NOTIFY || r->tx == TX_SHUT;
}

/* Whether bytes of prog are known to wait for the wire. What the engine says of itself, an alert, is none. */
static bool
pending(const struct relay *r, unsigned facts)
{
	unsigned those = FACT_APP_BUSY | FACT_DATA_OUT | (r->tx == TX_OPEN ? FACT_REST : 0u);

	return !taken(r) && facts & those;
}

/*
 * Stops taking bytes of prog. Those that were not handed to the wire are lost if the wire never gets them; so is an
 * alert, without which the peer takes what it has for all there is.
 */
static unsigned
stop_tx(struct relay *r, enum relay_tx next, unsigned facts)
{
	bool open = r->tx == TX_OPEN, alert = r->tx == TX_FLUSH && facts & FACT_WIRE_OUT;

	if (r->tx == TX_SHUT || r->tx == TX_CUT || r->tx == TX_DEAD)
		return 0;
	if ((open && facts & FACT_REST) || facts & FACT_APP_BUSY || (next == TX_DEAD && (alert || pending(r, facts))))
		r->lost = true;
	r->tx = next;
	return open ? DO_CLOSE_PROG_OUT : 0;
}

/* A failure: prog gets what was decrypted and then EOF, the peer what the engine holds, and it lingers. */
static unsigned
fail(struct relay *r, enum relay_end end, enum relay_tx next, unsigned facts)
{
	if (relay_failed(r) || r->net != NET_OPEN)
		return 0;
	r->end = end;
	r->net = NET_LINGER;
	r->raw = true;
	end_rx(r);
	return stop_tx(r, next, facts);
}

/* An answer that prog has not ended is cut, wherever its next byte is, where no alert tells the peer so. */
static void
cut_answer(struct relay *r)
{
	if (r->net == NET_OPEN && r->stage == RELAY_RUNNING && r->tx == TX_OPEN && !r->exited)
		r->lost = true;
}

/* What was decrypted for prog, and never gets there, is a loss, however well the wire has ended. */
static void
cut_request(struct relay *r, enum relay_end end)
{
	if (r->net != NET_OPEN && r->rx == RX_DRAIN && !r->exited && !relay_failed(r))
		r->end = end;
}

/* A failure of the wire, or of what came from it. */
static unsigned
fail_wire(struct relay *r, enum relay_end end, unsigned facts)
{
	bool silent = end == END_TLS && facts & FACT_SILENT;

	if (end == END_CUT || end == END_NO_NOTIFY || silent)
		cut_answer(r);
	/* What broke right behind the handshake is found before prog runs, and looks like an answer that is empty. */
	if (silent && r->net == NET_OPEN && r->stage == RELAY_STARTING)
		r->lost = true;
	return fail(r, end, end == END_RESET ? TX_DEAD : TX_FLUSH, facts);
}

/*
 * What a peer does once prog has exited and the wire has its last byte is not
 * judged. A peer can be quicker than the news of prog's exit: where all of
 * prog's bytes are gone, the monitor is asked first.
 */
static unsigned
judge(struct relay *r, enum relay_end end, unsigned facts)
{
	if (r->stage != RELAY_RUNNING || r->net != NET_OPEN || r->exited || relay_failed(r) || pending(r, facts))
		return fail_wire(r, end, facts);
	r->doubt = end;
	return DO_ASK;
}

/* The wire is dead in both directions. */
static unsigned
wire_reset(struct relay *r, unsigned facts)
{
	unsigned todo;

	r->wire_done = true;
	if (r->doubt != END_NONE)
		return 0;
	todo = judge(r, END_RESET, facts);
	if (r->doubt != END_NONE)
		return todo;
	end_rx(r);
	return todo | stop_tx(r, TX_DEAD, facts);
}

/* The wire takes nothing any more; what it still holds for us is read to its end. */
static unsigned
wire_refused(struct relay *r, unsigned facts)
{
	if (r->stage != RELAY_RUNNING || r->net != NET_OPEN || r->rx != RX_OPEN || taken(r))
		return wire_reset(r, facts);
	r->end = END_RESET;
	return stop_tx(r, TX_DEAD, facts);
}

/* Nothing that follows our last byte is judged any more. */
static unsigned
wire_eof(struct relay *r, unsigned facts)
{
	bool judged = r->net == NET_OPEN && !relay_failed(r);

	r->wire_done = true;
	if (r->doubt != END_NONE)
		return 0;
	if (judged && r->stage == RELAY_HANDSHAKE)
		return fail(r, END_ABANDONED, TX_FLUSH, facts);
	if (judged && !r->notified && facts & FACT_MID_RECORD)
		return judge(r, END_CUT, facts);
	if (judged && !r->notified && r->enforce)
		return judge(r, END_NO_NOTIFY, facts);
	note_end(r, END_PEER_EOF);
	end_rx(r);
	return 0;
}

/* Where the engine cannot answer any more, what it took of prog was the last that the peer wants. */
static unsigned
notified(struct relay *r, unsigned facts)
{
	if (r->stage == RELAY_HANDSHAKE)
		return fail(r, END_ABANDONED, TX_FLUSH, facts);
	r->notified = true;
	r->raw = true;
	note_end(r, END_PEER_NOTIFY);
	end_rx(r);
	if (!(facts & FACT_MUTE) || r->tx != TX_OPEN)
		return 0;
	r->tx = TX_DRAIN;
	return DO_CLOSE_PROG_OUT;
}

static unsigned
prog_eof(struct relay *r)
{
	if (r->tx != TX_OPEN)
		return 0;
	note_end(r, END_PROG_EOF);
	r->tx = TX_DRAIN;
	return DO_CLOSE_PROG_OUT;
}

/* No doubt is left: the failure is one. */
static unsigned
resolve(struct relay *r, unsigned facts)
{
	enum relay_end end = r->doubt;

	r->doubt = END_NONE;
	return fail_wire(r, end, facts);
}

/* What would have been a failure is none if nothing of prog was waiting: the wire had all of it. */
static unsigned
prog_exit(struct relay *r, unsigned facts)
{
	unsigned todo = 0;

	r->exited = true;
	if (r->doubt != END_NONE && pending(r, facts)) {
		todo = resolve(r, facts);
	} else if (r->doubt != END_NONE) {
		r->doubt = END_NONE;
		todo = prog_eof(r);
	}
	note_end(r, END_PROG_EXIT);
	return todo | close_prog_in(r);
}

/* An end without a word. */
static unsigned
give_up(struct relay *r, enum relay_end end, unsigned facts)
{
	unsigned todo = fail(r, end, TX_DEAD, facts);

	r->wire_done = true;
	return todo | stop_tx(r, TX_DEAD, facts);
}

/* What one event changes by itself. */
static unsigned
take(struct relay *r, enum relay_event event, unsigned facts)
{
	switch (event) {
	case EV_MOVED: return 0;
	case EV_UP:
		if (r->stage != RELAY_HANDSHAKE || r->net != NET_OPEN)
			return 0;
		r->stage = RELAY_STARTING;
		r->half = r->half && facts & FACT_HALF;
		return DO_REPORT;
	case EV_RUN:
		if (r->stage == RELAY_STARTING)
			r->stage = RELAY_RUNNING;
		return 0;
	case EV_NOT_RUN:
		cut_answer(r);
		cut_request(r, END_NOT_RUN);
		r->exited = true;
		r->doubt = END_NONE;
		return fail(r, END_NOT_RUN, TX_FLUSH, facts);
	case EV_NOTIFIED: return notified(r, facts);
	case EV_BROKEN: r->raw = true; return r->doubt != END_NONE ? 0 : judge(r, END_TLS, facts);
	case EV_WIRE_EOF: return wire_eof(r, facts);
	case EV_WIRE_RESET: return wire_reset(r, facts);
	case EV_WIRE_REFUSED: return wire_refused(r, facts);
	case EV_WIRE_DRY:
		r->wire_done = true;
		end_rx(r);
		return 0;
	case EV_PROG_EOF: return prog_eof(r);
	case EV_PROG_DEAF: return close_prog_in(r);
	case EV_PROG_EXIT: return prog_exit(r, facts);
	case EV_PROG_ALIVE: return r->doubt != END_NONE ? resolve(r, facts) : 0;
	case EV_IDLE: return fail(r, END_IDLE, TX_FLUSH, facts);
	case EV_LATE: return fail(r, END_LATE, TX_FLUSH, facts);
	case EV_STALLED: return give_up(r, END_STALLED, facts);
	case EV_LINGERED: return r->net == NET_LINGER ? give_up(r, r->end, facts) : 0;
	case EV_SIGNAL:
		cut_answer(r);
		r->doubt = END_NONE;
		return r->net == NET_LINGER ? give_up(r, r->end, facts) : fail(r, END_SIGNAL, TX_FLUSH, facts);
	case EV_ORPHANED:
		cut_answer(r);
		cut_request(r, END_ORPHANED);
		r->exited = true;
		r->doubt = END_NONE;
		return give_up(r, END_ORPHANED, facts);
	case EV_COUNT: break;
	}
	return 0;
}

/* FIN is on its way. Either the connection is over but for the linger, or only our direction is. */
static unsigned
fin(struct relay *r, unsigned facts)
{
	r->tx = TX_SHUT;
	if (r->notify && !r->half && !relay_failed(r)) {
		/* What still comes is discarded: undecrypted, while prog has not yet got what came before. */
		end_rx(r);
		r->raw = r->raw || (r->rx == RX_DRAIN && facts & FACT_APP_OUT);
		r->net = NET_LINGER;
	}
	return DO_FIN;
}

/* Where prog's last byte is on its way, the next step of its end. */
static unsigned
settle_tx(struct relay *r, unsigned facts)
{
	switch (r->tx) {
	case TX_DRAIN:
		if (facts & (FACT_APP_BUSY | FACT_WIRE_OUT))
			return 0;
		if (!r->notify)
			return fin(r, facts);
		r->tx = TX_NOTIFY;
		return DO_NOTIFY;
	case TX_NOTIFY: return facts & FACT_WIRE_OUT ? 0 : fin(r, facts);
	case TX_FLUSH:
		if (facts & FACT_WIRE_OUT)
			return 0;
		if (!r->lost)
			return fin(r, facts);
		/* Only an alert is worth waiting for until the peer has read it. */
		r->tx = TX_CUT;
		r->wire_done = r->wire_done || r->end != END_TLS;
		return 0;
	case TX_OPEN:
	case TX_SHUT:
	case TX_CUT:
	case TX_DEAD: break;
	}
	return 0;
}

/* What follows from the state and the facts alone. */
static unsigned
settle(struct relay *r, unsigned facts)
{
	unsigned todo = settle_tx(r, facts);
	bool told = r->tx == TX_SHUT || r->tx == TX_CUT || r->tx == TX_DEAD;

	if (r->rx == RX_DRAIN && !(facts & FACT_APP_OUT) && r->stage == RELAY_RUNNING) {
		r->rx = RX_DONE;
		todo |= DO_CLOSE_PROG_IN;
	}
	if ((taken(r) || (r->tx == TX_DRAIN && !pending(r, facts))) && r->exited && r->net == NET_OPEN)
		r->net = NET_LINGER;
	if (told && r->net != NET_CLOSED && (r->wire_done || r->notified)) {
		r->net = NET_CLOSED;
		todo |= r->lost ? DO_RESET_WIRE : DO_CLOSE_WIRE;
	}
	if (r->net == NET_CLOSED && (r->rx == RX_DONE || r->exited || r->stage == RELAY_HANDSHAKE) &&
	    r->stage != RELAY_ENDED) {
		r->stage = RELAY_ENDED;
		todo |= DO_END;
	}
	return todo;
}

unsigned
relay_step(struct relay *r, enum relay_event event, unsigned facts)
{
	unsigned todo;

	if (r->stage == RELAY_ENDED)
		return 0;
	todo = take(r, event, facts);
	return todo || r->doubt != END_NONE ? todo : settle(r, facts);
}

static unsigned
want_wire(const struct relay *r, unsigned facts)
{
	bool starting = r->stage == RELAY_STARTING && r->net == NET_OPEN;
	bool room = r->raw || facts & FACT_WIRE_ROOM;
	unsigned want = 0;

	if (r->net == NET_CLOSED)
		return 0;
	if (r->doubt != END_NONE)
		return 0;
	if (!r->wire_done && !starting && room) {
		if (r->net == NET_LINGER)
			want |= WANT_WIRE_IN;
		else if (r->rx == RX_OPEN || r->rx == RX_DROP)
			want |= r->tx == TX_DEAD ? WANT_WIRE_LAST : WANT_WIRE_IN;
	}
	if (facts & FACT_WIRE_OUT && r->tx != TX_SHUT && r->tx != TX_CUT && r->tx != TX_DEAD)
		want |= WANT_WIRE_OUT;
	return want;
}

unsigned
relay_want(const struct relay *r, unsigned facts)
{
	unsigned want = want_wire(r, facts);

	if (r->raw)
		want |= WANT_RAW;
	if (r->rx == RX_DROP || r->rx == RX_DONE)
		want |= WANT_DROP_APP;
	if (r->tx == TX_SHUT || r->tx == TX_CUT || r->tx == TX_DEAD)
		want |= WANT_DROP_WIRE;
	if (r->stage != RELAY_RUNNING)
		return want;
	if ((r->rx == RX_OPEN || r->rx == RX_DRAIN) && facts & FACT_APP_OUT)
		want |= WANT_PROG_IN;
	if (r->tx == TX_OPEN && facts & FACT_APP_ROOM && r->doubt == END_NONE)
		want |= WANT_PROG_OUT;
	return want;
}

unsigned
relay_timers(const struct relay *r)
{
	unsigned timers = 0;

	if (r->net == NET_LINGER)
		return TIMER_LINGER;
	if (r->net == NET_CLOSED || relay_failed(r) || r->doubt != END_NONE)
		return 0;
	if (r->stage == RELAY_HANDSHAKE)
		timers |= TIMER_HANDSHAKE;
	return timers | (r->exited ? TIMER_STALL : TIMER_IDLE);
}

const char *
relay_end_by(enum relay_end end)
{
	switch (end) {
	case END_PROG_EOF:
	case END_PROG_EXIT: return "prog";
	case END_PEER_EOF:
	case END_PEER_NOTIFY:
	case END_CUT:
	case END_NO_NOTIFY:
	case END_ABANDONED:
	case END_RESET:
	case END_TLS: return "peer";
	case END_NONE:
	case END_IDLE:
	case END_LATE:
	case END_STALLED:
	case END_NOT_RUN:
	case END_SIGNAL:
	case END_ORPHANED:
	case END_COUNT: break;
	}
	return "self";
}

const char *
relay_end_how(enum relay_end end)
{
	static const char *const how[END_COUNT] = {
	    [END_NONE] = "none",
	    [END_PROG_EOF] = "eof",
	    [END_PROG_EXIT] = "exit",
	    [END_PEER_EOF] = "eof",
	    [END_PEER_NOTIFY] = "close_notify",
	    [END_CUT] = "cut",
	    [END_NO_NOTIFY] = "no-close_notify",
	    [END_ABANDONED] = "left-handshake",
	    [END_RESET] = "reset",
	    [END_TLS] = "tls-error",
	    [END_IDLE] = "idle-timeout",
	    [END_LATE] = "handshake-timeout",
	    [END_STALLED] = "stall",
	    [END_NOT_RUN] = "not-run",
	    [END_SIGNAL] = "signal",
	    [END_ORPHANED] = "orphaned",
	};

	return end < END_COUNT ? how[end] : "none";
}
