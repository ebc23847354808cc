/*
 * Every state of the relay that can be reached, with every event that can come
 * there and every set of facts, against the laws that a connection lives by.
 * A ghost beside the state remembers what was asked for, and what of the world
 * is already known.
 */
#include "core/relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What was asked for so far, and what events came that come once. */
enum ghost {
	G_REPORTED = 1,
	G_IN_CLOSED = 2,
	G_OUT_CLOSED = 4,
	G_NOTIFIED = 8,
	G_FIN = 16,
	G_WIRE_CLOSED = 32,
	G_BROKEN = 64,
	G_ANSWERED = 128, /* the monitor said whether prog runs */
};

struct node {
	struct relay r;
	unsigned ghost;
};

#define NODES (1 << 17)

static struct node *queue;
static size_t queued;
static uint64_t *table;
static unsigned long edges;

static uint64_t
pack(const struct node *n)
{
	const struct relay *r = &n->r;
	uint64_t k = 1;

	k = k << 1 | r->notify;
	k = k << 1 | r->half;
	k = k << 1 | r->enforce;
	k = k << 2 | (unsigned)r->stage;
	k = k << 2 | (unsigned)r->rx;
	k = k << 3 | (unsigned)r->tx;
	k = k << 2 | (unsigned)r->net;
	k = k << 5 | (unsigned)r->end;
	k = k << 5 | (unsigned)r->doubt;
	k = k << 1 | r->exited;
	k = k << 1 | r->notified;
	k = k << 1 | r->wire_done;
	k = k << 1 | r->raw;
	k = k << 1 | r->lost;
	return k << 8 | n->ghost;
}

static void
visit(const struct node *n)
{
	uint64_t key = pack(n);
	size_t slot = (size_t)(key * 0x9e3779b97f4a7c15u >> 40) % (4 * NODES);

	for (; table[slot]; slot = (slot + 1) % (4 * NODES))
		if (table[slot] == key)
			return;
	assert_true(queued < NODES);
	table[slot] = key;
	queue[queued++] = *n;
}

/* -- which events and facts the world can bring -------------------------- */

static bool
plausible_facts(const struct node *n, unsigned facts)
{
	bool up = n->ghost & G_REPORTED, broken = n->ghost & G_BROKEN;

	if (!up && facts & (FACT_APP_ROOM | FACT_APP_OUT | FACT_APP_BUSY))
		return false;
	if (broken && facts & (FACT_APP_ROOM | FACT_WIRE_ROOM))
		return false;
	if (n->ghost & (G_NOTIFIED | G_FIN) && facts & FACT_APP_BUSY)
		return false;
	if (facts & FACT_REST && (n->ghost & G_OUT_CLOSED || n->r.stage != RELAY_RUNNING))
		return false;
	/* An engine that has no room for the wire's bytes has something to give away first. */
	return broken || facts & (FACT_WIRE_ROOM | FACT_WIRE_OUT | FACT_APP_OUT);
}

static bool
plausible_event(const struct node *n, enum relay_event event, unsigned facts)
{
	const struct relay *r = &n->r;
	unsigned want = relay_want(r, facts), timers = relay_timers(r);
	bool running = r->stage == RELAY_RUNNING;

	if (facts & FACT_MUTE && event != EV_NOTIFIED)
		return false;
	if (facts & FACT_SILENT && (!(n->ghost & G_REPORTED) || (event != EV_BROKEN && !(n->ghost & G_BROKEN))))
		return false;
	switch (event) {
	case EV_MOVED:
	case EV_SIGNAL:
	case EV_ORPHANED: return true;
	case EV_UP: return !(n->ghost & (G_REPORTED | G_BROKEN)) && !r->raw;
	case EV_RUN: return n->ghost & G_REPORTED && !(n->ghost & G_ANSWERED);
	case EV_NOT_RUN: return n->ghost & G_REPORTED && (running || !(n->ghost & G_ANSWERED));
	case EV_NOTIFIED: return !r->notified && !(n->ghost & G_BROKEN) && r->doubt == END_NONE;
	case EV_BROKEN: return !r->notified && !(n->ghost & G_BROKEN);
	case EV_WIRE_EOF:
	case EV_WIRE_RESET: return !r->wire_done && !(n->ghost & G_WIRE_CLOSED);
	case EV_WIRE_REFUSED: return want & WANT_WIRE_OUT;
	case EV_WIRE_DRY: return want & WANT_WIRE_LAST;
	case EV_PROG_EOF: return want & WANT_PROG_OUT;
	case EV_PROG_DEAF: return want & WANT_PROG_IN;
	case EV_PROG_EXIT: return running && !r->exited;
	case EV_PROG_ALIVE: return r->doubt != END_NONE;
	case EV_IDLE: return timers & TIMER_IDLE;
	case EV_LATE: return timers & TIMER_HANDSHAKE;
	case EV_STALLED: return timers & TIMER_STALL;
	case EV_LINGERED: return timers & TIMER_LINGER;
	case EV_COUNT: break;
	}
	return false;
}

/* -- laws ---------------------------------------------------------------- */

/* Names the edge that breaks a law. */
static void
law(bool holds, const char *name, const struct node *before, enum relay_event event, unsigned facts)
{
	const struct relay *r = &before->r;

	if (holds)
		return;
	fail_msg("%s: event %d facts %#x in stage %d rx %d tx %d net %d end %d notify %d half %d enforce %d exited %d "
		 "notified %d wire_done %d raw %d lost %d ghost %#x",
	    name, (int)event, facts, (int)r->stage, (int)r->rx, (int)r->tx, (int)r->net, (int)r->end, r->notify,
	    r->half, r->enforce, r->exited, r->notified, r->wire_done, r->raw, r->lost, before->ghost);
}

static int
tx_rank(enum relay_tx tx)
{
	static const int rank[] = {
	    [TX_OPEN] = 0, [TX_DRAIN] = 1, [TX_NOTIFY] = 2, [TX_FLUSH] = 3, [TX_SHUT] = 4, [TX_CUT] = 4, [TX_DEAD] = 5};

	return rank[tx];
}

static bool
final(enum relay_tx tx)
{
	return tx == TX_SHUT || tx == TX_CUT || tx == TX_DEAD;
}

static bool
only_forward(const struct relay *a, const struct relay *b)
{
	if (a->stage > b->stage || a->net > b->net || tx_rank(a->tx) > tx_rank(b->tx))
		return false;
	if (final(a->tx) && a->tx != b->tx)
		return false;
	if (a->rx == RX_DONE ? b->rx != RX_DONE : b->rx == RX_OPEN && a->rx != RX_OPEN)
		return false;
	if (a->rx == RX_DROP && b->rx == RX_DRAIN)
		return false;
	if (relay_failed(a) ? a->end != b->end : a->end != END_NONE && b->end != a->end && !relay_failed(b))
		return false;
	return a->exited <= b->exited && a->notified <= b->notified && a->wire_done <= b->wire_done &&
	       a->raw <= b->raw && a->lost <= b->lost;
}

/* What may be asked for, given what was. */
static void
check_actions(const struct node *a, const struct node *b, unsigned todo, enum relay_event event, unsigned facts)
{
	const struct relay *r = &b->r;
	bool drained = !(facts & FACT_APP_OUT);
	bool deaf = event == EV_PROG_DEAF || event == EV_PROG_EXIT;

#define LAW(holds, name) law(holds, name, a, event, facts)
	LAW(!(todo & DO_REPORT) || (event == EV_UP && !(a->ghost & G_REPORTED)), "reported once, when up");
	LAW(!(todo & DO_CLOSE_PROG_IN) || !(a->ghost & G_IN_CLOSED), "EOF to prog once");
	LAW(!(todo & DO_CLOSE_PROG_IN) || drained || deaf, "EOF to prog after the last byte");
	LAW(!(todo & DO_CLOSE_PROG_OUT) || !(a->ghost & G_OUT_CLOSED), "prog's stdout closed once");
	LAW(!(todo & DO_NOTIFY) || !(a->ghost & G_NOTIFIED), "close_notify once");
	LAW(!(todo & DO_NOTIFY) || (r->notify && !relay_failed(r)),
	    "close_notify only when asked for, never after a failure");
	LAW(!(todo & DO_NOTIFY) || (a->ghost & G_OUT_CLOSED && !(facts & FACT_APP_BUSY)),
	    "close_notify after the last byte");
	LAW(!(todo & DO_FIN) || !(a->ghost & (G_FIN | G_WIRE_CLOSED)), "FIN once");
	LAW(!(todo & DO_FIN) || (!r->lost && !(facts & FACT_WIRE_OUT)), "FIN after the last byte, none if one is lost");
	LAW(!(todo & DO_FIN) || relay_failed(r) || !r->notify || a->ghost & G_NOTIFIED, "FIN behind close_notify");
	LAW(!(todo & (DO_CLOSE_WIRE | DO_RESET_WIRE)) || !(a->ghost & G_WIRE_CLOSED), "wire closed once");
	LAW(!(todo & DO_CLOSE_WIRE) || !r->lost, "no loss looks complete");
	LAW(!(todo & DO_RESET_WIRE) || r->lost, "no reset without a loss");
	LAW(!(todo & DO_RESET_WIRE) || relay_failed(r), "no loss without a failure");
	LAW(!(facts & FACT_MUTE) || r->tx != TX_OPEN, "nothing is taken of prog for a peer that cannot be answered");
	LAW(!(todo & DO_END) || b->ghost & G_WIRE_CLOSED, "an end has closed the wire");
	LAW(!(todo & DO_END) || relay_failed(r) || b->ghost & (G_FIN | G_NOTIFIED), "a clean end has sent all");
	LAW(!(todo & DO_END) || r->rx == RX_DONE || r->exited || !(a->ghost & G_REPORTED), "prog got what there was");
}

/* What may be waited for. */
static void
check_wants(const struct node *a, enum relay_event event, unsigned facts)
{
	const struct relay *r = &a->r;
	unsigned want = relay_want(r, facts), waits = want & ~(unsigned)(WANT_RAW | WANT_DROP_APP | WANT_DROP_WIRE);
	bool drops = (want & WANT_DROP_APP && facts & FACT_APP_OUT) || (want & WANT_DROP_WIRE && facts & FACT_WIRE_OUT);
	bool monitor = r->stage == RELAY_STARTING || (r->stage == RELAY_RUNNING && !r->exited);

	LAW(!(want & (WANT_WIRE_IN | WANT_WIRE_LAST | WANT_WIRE_OUT)) || !(a->ghost & G_WIRE_CLOSED),
	    "no wait for a closed wire");
	LAW(!(want & (WANT_WIRE_IN | WANT_WIRE_LAST)) || !r->wire_done, "no wait for a wire that has ended");
	LAW(!(want & WANT_WIRE_OUT) || !(a->ghost & G_FIN), "no byte after FIN");
	LAW(!(want & WANT_PROG_IN) || !(a->ghost & G_IN_CLOSED), "no wait for a closed stdin");
	LAW(!(want & WANT_PROG_OUT) || !(a->ghost & G_OUT_CLOSED), "no wait for a closed stdout");
	LAW(!(want & (WANT_PROG_IN | WANT_PROG_OUT)) || r->stage == RELAY_RUNNING,
	    "nothing is relayed before prog runs");
	LAW(!(want & WANT_PROG_IN) || facts & FACT_APP_OUT, "no wait to write nothing");
	LAW(!(want & WANT_WIRE_OUT) || facts & FACT_WIRE_OUT, "no wait to send nothing");
	LAW(!(want & WANT_DROP_APP) || r->rx == RX_DROP || r->rx == RX_DONE, "nothing is dropped that prog may read");
	LAW(!(want & WANT_DROP_WIRE) || final(r->tx), "nothing is dropped that the peer may read");
	/* Only where the relay would stay: an action to come is a way on by itself. */
	if (r->stage != RELAY_ENDED && event == EV_MOVED) {
		struct relay next = *r;

		if (relay_step(&next, EV_MOVED, facts) == 0 && memcmp(&next, r, sizeof next) == 0)
			LAW(waits || drops || relay_timers(r) || monitor, "something to wait for");
	}
}

/* Once prog has exited and the wire has its last byte, nothing that the peer does is judged. */
static void
check_verdict(const struct node *a, const struct node *b, enum relay_event event, unsigned facts)
{
	bool over = a->r.exited && (a->r.tx == TX_NOTIFY || a->r.tx == TX_SHUT) && a->r.net != NET_OPEN;

	LAW(!over || a->r.end == b->r.end, "nothing is judged after the end");
	LAW(!relay_failed(&b->r) || relay_failed(&a->r) || event != EV_MOVED, "no failure without an event");
	LAW(event != EV_PROG_EXIT || a->r.doubt == END_NONE || facts & (FACT_REST | FACT_APP_BUSY | FACT_WIRE_OUT) ||
		!relay_failed(&b->r),
	    "a peer that was quicker than the news of prog's exit is not judged");
	LAW(b->r.net != NET_CLOSED || b->r.exited || b->r.rx == RX_DRAIN || b->r.rx == RX_DONE ||
		!(b->ghost & G_REPORTED),
	    "a wire that is closed brings nothing");
	LAW(b->r.stage != RELAY_ENDED || b->r.end != END_NONE, "an end has a cause");
	LAW(!b->r.lost || relay_failed(&b->r), "a loss is a failure");
	LAW(!(facts & FACT_SILENT) || relay_failed(&a->r) || b->r.end != END_TLS || a->r.stage != RELAY_RUNNING ||
		a->r.tx != TX_OPEN || b->r.exited || b->r.lost,
	    "an answer that is cut without a word does not look complete");
}

static unsigned
remember(unsigned ghost, unsigned todo, enum relay_event event)
{
	static const struct {
		unsigned todo, ghost;
	} map[] = {{DO_REPORT, G_REPORTED}, {DO_CLOSE_PROG_IN, G_IN_CLOSED}, {DO_CLOSE_PROG_OUT, G_OUT_CLOSED},
	    {DO_NOTIFY, G_NOTIFIED}, {DO_FIN, G_FIN}, {DO_CLOSE_WIRE | DO_RESET_WIRE, G_WIRE_CLOSED}};

	for (size_t i = 0; i < sizeof map / sizeof *map; i++)
		if (todo & map[i].todo)
			ghost |= map[i].ghost;
	if (event == EV_BROKEN)
		ghost |= G_BROKEN;
	if (event == EV_RUN || event == EV_NOT_RUN)
		ghost |= G_ANSWERED;
	return ghost;
}

static void
cross(const struct node *a, enum relay_event event, unsigned facts)
{
	struct node b = *a;
	unsigned todo = relay_step(&b.r, event, facts);

	edges++;
	b.ghost = remember(a->ghost, todo, event);
	LAW(only_forward(&a->r, &b.r), "only forward");
	LAW(a->r.stage != RELAY_ENDED || todo == 0, "nothing after the end");
	check_actions(a, &b, todo, event, facts);
	check_wants(a, event, facts);
	check_verdict(a, &b, event, facts);
	visit(&b);
}

/* From anywhere: prog exits, its rest is sent, the peer is silent: a bounded number of steps ends it. */
static void
check_way_out(const struct node *n)
{
	static const enum relay_event way[] = {EV_MOVED, EV_NOT_RUN, EV_PROG_EXIT, EV_PROG_EOF, EV_LATE, EV_MOVED,
	    EV_MOVED, EV_MOVED, EV_WIRE_DRY, EV_LINGERED, EV_MOVED, EV_MOVED};
	struct node a = *n;
	unsigned facts = a.ghost & G_BROKEN ? 0 : FACT_WIRE_ROOM | (a.ghost & G_REPORTED ? FACT_APP_ROOM : 0);

	for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
		if (!plausible_event(&a, way[i], facts))
			continue;
		a.ghost = remember(a.ghost, relay_step(&a.r, way[i], facts), way[i]);
	}
	law(a.r.stage == RELAY_ENDED, "a way to an end", n, EV_COUNT, facts);
}

static void
every_state_event_and_fact(void **state)
{
	(void)state;
	queue = calloc(NODES, sizeof *queue);
	table = calloc(4 * NODES, sizeof *table);
	assert_non_null(queue);
	assert_non_null(table);
	for (int i = 0; i < 8; i++)
		if (i & 1 || !(i & 2)) /* half only qualifies notify */
			visit(&(struct node){.r = relay_start(i & 1, i & 2, i & 4)});
	for (size_t at = 0; at < queued; at++) {
		struct node n = queue[at];

		for (unsigned facts = 0; facts <= FACT_ALL; facts++)
			for (enum relay_event e = EV_MOVED; plausible_facts(&n, facts) && e < EV_COUNT; e++)
				if (plausible_event(&n, e, facts))
					cross(&n, e, facts);
		check_way_out(&n);
	}
	print_message("relay: %zu states, %lu edges\n", queued, edges);
	assert_true(queued > 500);
	free(queue);
	free(table);
}

/* Events that cannot come, too: they do no harm. */
static void
impossible_events_do_no_harm(void **state)
{
	(void)state;
	for (int stage = RELAY_HANDSHAKE; stage <= RELAY_ENDED; stage++)
		for (int rx = RX_OPEN; rx <= RX_DONE; rx++)
			for (int tx = TX_OPEN; tx <= TX_DEAD; tx++)
				for (int net = NET_OPEN; net <= NET_CLOSED; net++)
					for (int e = EV_MOVED; e <= EV_COUNT; e++)
						for (unsigned facts = 0; facts <= FACT_ALL; facts++) {
							struct relay r = {.stage = (enum relay_stage)stage,
							    .rx = (enum relay_rx)rx,
							    .tx = (enum relay_tx)tx,
							    .net = (enum relay_net)net,
							    .end = net != NET_OPEN ? END_IDLE : END_NONE};
							struct relay before = r;

							(void)relay_step(&r, (enum relay_event)e, facts);
							assert_true(r.stage >= before.stage && r.net >= before.net);
							(void)relay_want(&r, facts);
							(void)relay_timers(&r);
						}
}

static void
ends_have_names(void **state)
{
	(void)state;
	for (int e = END_NONE; e < END_COUNT; e++) {
		const char *by = relay_end_by((enum relay_end)e);

		assert_true(relay_end_how((enum relay_end)e)[0]);
		assert_true(!strcmp(by, "prog") || !strcmp(by, "peer") || !strcmp(by, "self"));
	}
	assert_string_equal(relay_end_how(END_COUNT), "none");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_state_event_and_fact),
	    cmocka_unit_test(impossible_events_do_no_harm),
	    cmocka_unit_test(ends_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
