/*
 * What a connection lives by, whatever happens. Each law has its name, which
 * is what a failure prints. The rules are those of the man page; a law says
 * what follows from them for one step.
 */
#include "relay_world.h"

/* More than the rounds that any event takes. */
enum { ROUNDS = 16 };

void
laws_of_rest(unsigned rounds)
{
	law(rounds < ROUNDS, "the relay comes to rest after an event");
}

/* -- states ---------------------------------------------------------------- */

static int
tx_rank(enum relay_tx tx)
{
	static const int rank[] = {
	    [TX_OPEN] = 0, [TX_DRAIN] = 1, [TX_NOTIFY] = 2, [TX_FLUSH] = 3, [TX_SHUT] = 4, [TX_CUT] = 4, [TX_DEAD] = 5};

	return rank[tx];
}

static bool
told(enum relay_tx tx)
{
	return tx == TX_SHUT || tx == TX_CUT || tx == TX_DEAD;
}

static bool
taken(enum relay_tx tx)
{
	return tx == TX_NOTIFY || tx == TX_SHUT;
}

static bool
tx_forward(enum relay_tx a, enum relay_tx b)
{
	return told(a) ? a == b : tx_rank(a) <= tx_rank(b);
}

static bool
rx_forward(enum relay_rx a, enum relay_rx b)
{
	switch (a) {
	case RX_OPEN: return true;
	case RX_DROP: return b == RX_DROP || b == RX_DONE;
	case RX_DRAIN: return b == RX_DRAIN || b == RX_DONE;
	case RX_DONE: break;
	}
	return b == RX_DONE;
}

/* The first cause stays, but for a failure, and then the first failure. */
static bool
end_forward(const struct relay *a, const struct relay *b)
{
	return a->end == b->end || a->end == END_NONE || (!relay_failed(a) && relay_failed(b));
}

static void
laws_of_direction(const struct relay *a, const struct relay *b)
{
	law(a->stage <= b->stage && a->net <= b->net, "stage and net only go forward");
	law(tx_forward(a->tx, b->tx), "tx only goes forward");
	law(rx_forward(a->rx, b->rx), "rx only goes forward");
	law(end_forward(a, b), "the first cause stays, and so does the first failure");
	law(a->exited <= b->exited && a->notified <= b->notified && a->wire_done <= b->wire_done && a->raw <= b->raw &&
		a->lost <= b->lost,
	    "what was so stays so");
	law(a->notify == b->notify && a->enforce == b->enforce && b->half <= a->half, "options stay");
}

/* -- the way to prog ------------------------------------------------------- */

static bool
prog_reads(const struct around *a)
{
	return a->prog == PROG_LIVES && !a->in_shut;
}

/* What still comes is discarded: when prog takes no more, after a failure, and under -S behind prog's last byte. */
static bool
may_discard(const struct world *w)
{
	const struct relay *r = &w->relay;

	return !prog_reads(&w->a) || w->a.done & DID_CLOSE_PROG_IN || relay_failed(r) ||
	       (r->notify && !r->half && taken(r->tx));
}

static bool
holds_data(const uint8_t *cells, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (cells[i] == CELL_DATA)
			return true;
	return false;
}

static void
laws_of_prog_in(const struct world *w, enum relay_event event, unsigned todo)
{
	const struct around *a = &w->a;
	bool deaf = event == EV_PROG_DEAF || event == EV_PROG_EXIT;
	bool waiting = holds_data(a->undecrypted, a->undecrypted_n) || holds_data(a->net, a->net_n);

	if (!(todo & DO_CLOSE_PROG_IN))
		return;
	law(!(a->done & DID_CLOSE_PROG_IN), "prog reads EOF once");
	law(!a->app_out || deaf, "prog reads EOF behind the last byte that was decrypted");
	law(!waiting || may_discard(w), "prog reads EOF behind the last byte that came");
	law(!waiting || !a->refused || !prog_reads(a) || w->relay.end != END_RESET || a->peer_end == RST,
	    "a wire that takes nothing any more is read to its end");
	law(deaf || relay_failed(&w->relay) || a->notified || w->relay.wire_done || taken(w->relay.tx),
	    "prog reads no EOF without a cause");
}

void
laws_of_dropping(const struct world *w, bool unread)
{
	law(!unread || may_discard(w), "no byte of the peer's is dropped unread that a rule does not drop");
	law(unread || w->a.done & DID_CLOSE_PROG_IN, "no byte is dropped that prog may still read");
}

/* -- the way to the peer --------------------------------------------------- */

void
laws_of_sending(const struct world *w, enum cell cell)
{
	law(!(w->a.done & DID_FIN), "nothing is sent behind FIN");
	law(!(w->a.done & (DID_CLOSE_WIRE | DID_RESET_WIRE)), "nothing is sent on a closed wire");
	law(cell != CELL_DATA || !(w->a.done & DID_SEND_NOTIFY), "no byte of prog's behind close_notify");
	law(cell != CELL_NOTIFY || !(w->a.done & DID_SEND_NOTIFY), "close_notify is sent once");
	law(cell != CELL_NOTIFY || w->a.mute || !relay_failed(&w->relay) || w->a.done & DID_NOTIFY,
	    "close_notify is sent for nobody else");
}

static bool
alert_waits(const struct around *a)
{
	for (unsigned i = 0; i < a->wire_out_n; i++)
		if (a->wire_out[i] == CELL_ALERT)
			return true;
	return false;
}

static void
laws_of_prog_out(const struct relay *before, const struct world *w, unsigned todo)
{
	const struct relay *r = &w->relay;
	const struct around *a = &w->a;
	bool way = world_on_the_way(a);
	/* What the peer's close_notify made of the answer where it cannot be sent. */
	bool waived = a->mute && a->notified;

	law(!(todo & DO_CLOSE_PROG_OUT) || !(a->done & DID_CLOSE_PROG_OUT), "prog's stdout is closed once");
	law(!(todo & DO_CLOSE_PROG_OUT) || !a->own || relay_failed(r) || waived,
	    "no byte of prog's is left in the pipe that a rule does not drop");
	law(!(todo & DO_CLOSE_PROG_OUT) || !a->own || r->lost || waived,
	    "bytes that are left in the pipe count as lost");
	law(!(todo & DO_NOTIFY) || !(a->done & DID_NOTIFY), "close_notify is queued once");
	law(!(todo & DO_NOTIFY) || (r->notify && !relay_failed(r)), "close_notify only under -S, and after no failure");
	law(!(todo & DO_NOTIFY) || (!a->own && !way && !a->lost), "close_notify behind the last byte");
	law(!(todo & DO_FIN) || !(a->done & (DID_FIN | DID_CLOSE_WIRE | DID_RESET_WIRE)), "FIN once");
	law(!(todo & DO_FIN) || (!a->own && !way && !a->wire_out_n), "FIN behind the last byte");
	law(!(todo & DO_FIN) || (!a->lost && !a->cut), "no FIN where a byte is lost");
	law(!(todo & DO_FIN) || !r->notify || relay_failed(r) || a->done & DID_NOTIFY,
	    "under -S FIN behind close_notify");
	law(!(todo & DO_CLOSE_WIRE) || (!a->lost && !a->cut && !a->own && !way), "no loss looks complete");
	law(!(todo & DO_CLOSE_WIRE) || before->tx != TX_FLUSH || !alert_waits(a),
	    "an alert that is given up is a reset");
	law(!(todo & (DO_CLOSE_WIRE | DO_RESET_WIRE)) || !(a->done & (DID_CLOSE_WIRE | DID_RESET_WIRE)),
	    "the wire is closed once");
	law(!(todo & DO_RESET_WIRE) || relay_failed(r), "no reset without a failure");
	law(before->lost || !r->lost || a->pipe || a->rest || a->busy || a->wire_out_n || a->cut,
	    "nothing counts as lost where nothing was left to send");
}

/* -- the verdict ----------------------------------------------------------- */

/* The failure that the relay is told of, if it is one by the rules; whether it counts is another question. */
static enum relay_end
failure(const struct relay *before, const struct world *w, enum relay_event event)
{
	switch (event) {
	case EV_WIRE_EOF:
		if (before->stage == RELAY_HANDSHAKE)
			return END_ABANDONED;
		if (before->notified)
			return END_NONE;
		return w->a.inside ? END_CUT : before->enforce ? END_NO_NOTIFY : END_NONE;
	case EV_NOTIFIED: return before->stage == RELAY_HANDSHAKE ? END_ABANDONED : END_NONE;
	case EV_WIRE_RESET:
	case EV_WIRE_REFUSED: return END_RESET;
	case EV_BROKEN: return END_TLS;
	case EV_NOT_RUN: return END_NOT_RUN;
	case EV_IDLE: return END_IDLE;
	case EV_LATE: return END_LATE;
	case EV_STALLED: return END_STALLED;
	case EV_SIGNAL: return END_SIGNAL;
	case EV_ORPHANED: return END_ORPHANED;
	case EV_PROG_ALIVE:
	case EV_PROG_EXIT: return before->doubt;
	case EV_MOVED:
	case EV_UP:
	case EV_RUN:
	case EV_WIRE_DRY:
	case EV_PROG_EOF:
	case EV_PROG_DEAF:
	case EV_LINGERED:
	case EV_COUNT: break;
	}
	return END_NONE;
}

/* What the peer must have done, before all was over, for this to be held against it. */
static unsigned
misdeed_of(enum relay_end end)
{
	switch (end) {
	case END_CUT: return MISDEED_CUT;
	case END_NO_NOTIFY: return MISDEED_NO_NOTIFY;
	case END_RESET: return MISDEED_RESET;
	case END_TLS: return MISDEED_TLS;
	default: return 0;
	}
}

/* Whether prog never gets what was decrypted for it. */
static bool
cuts_request(enum relay_end end)
{
	return end == END_NOT_RUN || end == END_ORPHANED;
}

static void
laws_of_verdict(const struct relay *before, const struct world *w, enum relay_event event)
{
	const struct relay *r = &w->relay;
	const struct around *a = &w->a;
	enum relay_end told_of = failure(before, w, event);
	bool counts = before->net == NET_OPEN && before->doubt == END_NONE && !relay_failed(before);
	bool newly = relay_failed(r) && !relay_failed(before);
	unsigned misdeed = newly ? misdeed_of(r->end) : 0;

	law(!newly || r->end == told_of, "a failure has the name of what happened");
	law(!misdeed || a->early & misdeed, "what the peer does after prog's exit and last byte is not judged");
	law(!newly || before->net == NET_OPEN || (cuts_request(r->end) && before->rx == RX_DRAIN && !before->exited),
	    "nothing is judged behind the last byte, but what keeps prog from its own");
	law(!counts || told_of == END_NONE || relay_failed(r) || r->doubt == told_of,
	    "what goes wrong before the end is a failure, or a doubt");
	law(event != EV_PROG_ALIVE || before->doubt == END_NONE || relay_failed(r),
	    "while prog lives, a failure is one");
	law(event != EV_PROG_EXIT || before->doubt == END_NONE || relay_failed(r) || !(a->own || world_on_the_way(a)),
	    "a failure before prog's last byte is out is one");
}

static void
laws_of_doubt(const struct relay *before, const struct world *w, enum relay_event event, unsigned todo)
{
	const struct relay *r = &w->relay;
	const struct around *a = &w->a;
	bool raised = before->doubt == END_NONE && r->doubt != END_NONE;

	law(raised == ((todo & DO_ASK) != 0), "a doubt asks");
	law(!(todo & DO_ASK) || !(a->done & DID_ASK), "the monitor is asked once");
	law(!raised || (a->prog != PROG_NOT_YET && !a->exited), "the monitor is asked of a prog that may have exited");
	law(!raised || !(a->own || world_on_the_way(a)), "there is no doubt while bytes of prog are waiting");
	law(before->doubt == END_NONE || r->doubt == before->doubt || event == EV_PROG_ALIVE || event == EV_PROG_EXIT ||
		event == EV_SIGNAL || event == EV_ORPHANED,
	    "a doubt stays until it is answered");
	law(before->doubt == END_NONE || r->doubt == END_NONE ||
		!(todo & (DO_FIN | DO_NOTIFY | DO_END | DO_CLOSE_WIRE)),
	    "nothing ends in doubt");
}

static void
laws_of_end(const struct world *w, unsigned todo)
{
	const struct relay *r = &w->relay;
	const struct around *a = &w->a;
	unsigned done =
	    a->done | (todo & DO_CLOSE_WIRE ? DID_CLOSE_WIRE : 0) | (todo & DO_RESET_WIRE ? DID_RESET_WIRE : 0);
	bool clean = !relay_failed(r);

	/* One that was asked for the answer to a doubt need not: prog has exited. */
	if (r->wire_done && !(a->done & DID_ASK) && !(todo & DO_ASK) && r->stage != RELAY_ENDED)
		law(r->rx == RX_DRAIN || r->rx == RX_DONE, "a wire that has ended brings nothing");
	if (!(todo & DO_END))
		return;
	law(done & (DID_CLOSE_WIRE | DID_RESET_WIRE), "an end has closed the wire");
	law(r->end != END_NONE, "an end has a cause");
	law(!clean || (!a->lost && !a->own && !world_on_the_way(a)), "a clean end: the wire has all of prog's bytes");
	law(!clean || a->done & (DID_FIN | DID_NOTIFY) || todo & DO_FIN || (a->wire_out_n && world_over(a)),
	    "a clean end: EOF was sent, but to a peer that takes no more");
	law(!clean || a->prog != PROG_NOT_YET, "a clean end: prog ran");
	law(!prog_reads(a) || a->monitor == MONITOR_GONE || a->done & DID_CLOSE_PROG_IN || todo & DO_CLOSE_PROG_IN,
	    "an end: prog has read EOF, or does when the engine exits");
	law(!(a->lost || a->cut) || done & DID_RESET_WIRE, "a loss ends with a reset");
}

void
laws_of_step(const struct relay *before, const struct world *w, enum relay_event event, unsigned todo)
{
	law(before->stage != RELAY_ENDED || todo == 0, "nothing is asked for after the end");
	law(!(todo & DO_REPORT) || (event == EV_UP && w->a.up && w->a.monitor == MONITOR_IDLE),
	    "the handshake is reported once, when it is complete");
	laws_of_direction(before, &w->relay);
	laws_of_prog_in(w, event, todo);
	laws_of_prog_out(before, w, todo);
	laws_of_verdict(before, w, event);
	laws_of_doubt(before, w, event, todo);
	laws_of_end(w, todo);
}

/* -- waits ------------------------------------------------------------------ */

void
laws_of_waiting(const struct world *w)
{
	const struct relay *r = &w->relay;
	const struct around *a = &w->a;
	unsigned facts = world_facts(w, EV_MOVED), want = relay_want(r, facts), timers = relay_timers(r);
	bool closed = a->done & (DID_CLOSE_WIRE | DID_RESET_WIRE);

	if (r->stage == RELAY_ENDED)
		return;
	law(!(want & (WANT_WIRE_IN | WANT_WIRE_LAST)) || !(closed || r->wire_done),
	    "no wait for a wire that has ended");
	law(!(want & WANT_WIRE_OUT) || !(closed || a->done & DID_FIN), "no wait to send behind FIN");
	law(!(want & WANT_WIRE_OUT) || a->wire_out_n, "no wait to send nothing");
	law(!(want & WANT_PROG_IN) || !(a->done & DID_CLOSE_PROG_IN), "no wait for a stdin that is closed");
	law(!(want & WANT_PROG_IN) || a->app_out, "no wait to write nothing");
	law(!(want & WANT_PROG_OUT) || !(a->done & DID_CLOSE_PROG_OUT), "no wait for a stdout that is closed");
	law(!(want & (WANT_PROG_IN | WANT_PROG_OUT)) || r->stage == RELAY_RUNNING,
	    "nothing is relayed before prog runs");
	law(!(want & WANT_PROG_OUT) || r->doubt == END_NONE, "nothing is read in doubt");
	law(r->net != NET_LINGER || timers == TIMER_LINGER, "a linger has its clock");
	law(r->stage != RELAY_HANDSHAKE || r->net != NET_OPEN || timers & TIMER_HANDSHAKE, "a handshake has its clock");
	law(!r->exited || r->net != NET_OPEN || relay_failed(r) || timers & TIMER_STALL,
	    "what prog left behind has its clock");
}
