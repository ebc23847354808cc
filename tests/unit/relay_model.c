/*
 * All states that the relay and a small world around it (relay_world.h) can
 * come to, from every start, by breadth-first search, and every step between
 * them against the laws (relay_laws.c). Here are the search and the laws of all
 * steps together: every state has a way to an end, and no turn of the loop is
 * for nothing.
 *
 * A step is a function that asks choose() wherever the world may go one way or
 * another; it is taken again and again until all ways were gone. The ways are
 * kept, so that a law that does not hold is shown with the shortest way there.
 */
#include "relay_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 1 << 21, SLOTS = 2 * NODES, CHOICES = 14 };

/* A state, and how it was come to first. */
struct node {
	uint64_t relay;
	struct around a;
	uint8_t chosen[CHOICES];
	uint32_t parent;
};

struct edge {
	uint32_t from, to;
	uint8_t needs;
};

static const uint32_t NOBODY = UINT32_MAX;

static struct node *nodes;
static uint32_t *slots;
static size_t node_count, edge_count, edge_room;
static struct edge *edges;
static uint32_t current; /* the node that is left by a step */

/* -- choices --------------------------------------------------------------- */

static uint8_t chosen[CHOICES], among[CHOICES];
static size_t choices;
static bool telling;

unsigned
choose(unsigned n)
{
	if (choices == CHOICES)
		fail_msg("a step has more than %d choices", CHOICES);
	among[choices] = (uint8_t)n;
	return chosen[choices++];
}

/* Sets out for the next way. Returns false when all were gone. */
static bool
next_way(void)
{
	while (choices > 0 && chosen[choices - 1] + 1 == among[choices - 1])
		chosen[--choices] = 0;
	if (choices == 0)
		return false;
	chosen[choices - 1]++;
	choices = 0;
	return true;
}

/* -- states ---------------------------------------------------------------- */

static uint64_t
pack(const struct relay *r)
{
	uint64_t k = r->notify;

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
	return k << 1 | r->lost;
}

static unsigned
bits(uint64_t *k, unsigned n)
{
	unsigned value = (unsigned)(*k & ((1u << n) - 1));

	*k >>= n;
	return value;
}

static struct relay
unpack(uint64_t k)
{
	struct relay r = {0};

	r.lost = bits(&k, 1);
	r.raw = bits(&k, 1);
	r.wire_done = bits(&k, 1);
	r.notified = bits(&k, 1);
	r.exited = bits(&k, 1);
	r.doubt = (enum relay_end)bits(&k, 5);
	r.end = (enum relay_end)bits(&k, 5);
	r.net = (enum relay_net)bits(&k, 2);
	r.tx = (enum relay_tx)bits(&k, 3);
	r.rx = (enum relay_rx)bits(&k, 2);
	r.stage = (enum relay_stage)bits(&k, 2);
	r.enforce = bits(&k, 1);
	r.half = bits(&k, 1);
	r.notify = bits(&k, 1);
	return r;
}

static struct world
world_of(const struct node *n)
{
	return (struct world){.relay = unpack(n->relay), .a = n->a};
}

static size_t
slot_of(uint64_t relay, const struct around *a)
{
	const uint8_t *p = (const uint8_t *)a;
	uint64_t h = relay * 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < sizeof *a; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return (size_t)((h ^ h >> 29) % SLOTS);
}

/* The number of this state, which is a new one or not. */
static uint32_t
visit(const struct world *w)
{
	uint64_t relay = pack(&w->relay);
	size_t slot = slot_of(relay, &w->a);
	struct node *n;

	for (; slots[slot]; slot = (slot + 1) % SLOTS) {
		n = &nodes[slots[slot] - 1];
		if (n->relay == relay && memcmp(&n->a, &w->a, sizeof n->a) == 0)
			return slots[slot] - 1;
	}
	assert_true(node_count < NODES);
	n = &nodes[node_count];
	*n = (struct node){.relay = relay, .a = w->a, .parent = current};
	memcpy(n->chosen, chosen, choices);
	slots[slot] = (uint32_t)++node_count;
	return (uint32_t)node_count - 1;
}

/* An edge beside one that needs no more than it shows nothing new. */
static void
add_edge(uint32_t to, unsigned needs)
{
	for (size_t i = edge_count; i > 0 && edges[i - 1].from == current; i--)
		if (edges[i - 1].to == to && (edges[i - 1].needs & ~needs) == 0)
			return;
	if (edge_count == edge_room) {
		edge_room = edge_room ? 2 * edge_room : 1 << 20;
		edges = realloc(edges, edge_room * sizeof *edges);
		assert_non_null(edges);
	}
	edges[edge_count++] = (struct edge){.from = current, .to = to, .needs = (uint8_t)needs};
}

/* -- failures -------------------------------------------------------------- */

void
say(const char *format, ...)
{
	va_list args;

	if (!telling)
		return;
	va_start(args, format);
	(void)fputs("; ", stderr);
	(void)vfprintf(stderr, format, args);
	va_end(args);
}

/* Tells of the step that leads from the state `from` by these choices. */
static void
tell_step(uint32_t from, const uint8_t way[CHOICES])
{
	struct world w = world_of(&nodes[from]);
	unsigned needs = 0;

	memcpy(chosen, way, CHOICES);
	choices = 0;
	(void)world_step(&w, &needs);
	(void)fputc('\n', stderr);
}

static void
tell_way(uint32_t to)
{
	const struct node *n = &nodes[to];
	const struct relay r = unpack(n->relay);

	if (n->parent != NOBODY) {
		tell_way(n->parent);
		tell_step(n->parent, n->chosen);
		return;
	}
	(void)fprintf(stderr, "close_notify %d, half close %d, enforced %d, TLS 1.%d, %s, %s\n", r.notify, r.half,
	    r.enforce, n->a.tls13 ? 3 : 2, n->a.mute ? "mute" : "not mute", n->a.wire_out_n ? "client" : "server");
}

/* Ends the test with all that led to the state `at`, and with the step that was being taken, if any. */
static void
fail_at(uint32_t at, bool stepping, const char *name)
{
	uint8_t way[CHOICES];

	memcpy(way, chosen, CHOICES);
	telling = true;
	tell_way(at);
	if (stepping)
		tell_step(at, way);
	fail_msg("law broken: %s", name);
}

void
law(bool holds, const char *name)
{
	if (!holds && telling) {
		(void)fputc('\n', stderr);
		fail_msg("law broken: %s", name);
	}
	if (!holds)
		fail_at(current, true, name);
}

/* -- the search ------------------------------------------------------------ */

/* All steps from one state. */
static void
leave(const struct node *n)
{
	struct world before = world_of(n);
	bool turns = false;

	memset(chosen, 0, sizeof chosen);
	laws_of_waiting(&before);
	do {
		struct world w = before;
		unsigned needs = 0;
		uint32_t to;

		choices = 0;
		if (!world_step(&w, &needs))
			continue;
		to = visit(&w);
		if (to == current)
			continue;
		add_edge(to, needs);
		turns = turns || (needs & NEEDS_TURN && !(needs & (NEEDS_MISFORTUNE | NEEDS_CLOCK)));
	} while (next_way());
	law(turns || world_waits(&before), "no turn is for nothing");
}

static void
search(void)
{
	current = NOBODY;
	for (unsigned i = 0; i < 64; i++) {
		bool client = i & 1, notify = i & 2, half = i & 4, enforce = i & 8, tls13 = i & 16, mute = i & 32;

		/* Half a close is one of -S; who is mute speaks TLS 1.2. */
		if ((half && !notify) || (mute && tls13))
			continue;
		struct world w = world_start(client, notify, half, enforce, tls13, mute);
		(void)visit(&w);
	}
	for (current = 0; current < node_count; current++)
		if (unpack(nodes[current].relay).stage != RELAY_ENDED)
			leave(&nodes[current]);
}

/* -- laws of all steps together -------------------------------------------- */

/* The edges by where they lead to: those to node i are order[first[i]] to order[first[i + 1] - 1]. */
static uint32_t *first, *order;

static void
sort_edges(void)
{
	first = calloc(node_count + 2, sizeof *first);
	order = malloc((edge_count + 1) * sizeof *order);
	assert_non_null(first);
	assert_non_null(order);
	for (size_t i = 0; i < edge_count; i++)
		first[edges[i].to + 2]++;
	for (size_t i = 2; i < node_count + 2; i++)
		first[i] += first[i - 1];
	for (size_t i = 0; i < edge_count; i++)
		order[first[edges[i].to + 1]++] = (uint32_t)i;
}

/* Every state has a way to an end that needs nothing of these. */
static void
check_ways_out(unsigned without, const char *name)
{
	uint32_t *queue = malloc((node_count + 1) * sizeof *queue);
	bool *reached = calloc(node_count + 1, sizeof *reached);
	size_t n = 0;

	assert_non_null(queue);
	assert_non_null(reached);
	for (uint32_t i = 0; i < node_count; i++)
		if (unpack(nodes[i].relay).stage == RELAY_ENDED)
			reached[queue[n++] = i] = true;
	for (size_t at = 0; at < n; at++)
		for (uint32_t i = first[queue[at]]; i < first[queue[at] + 1]; i++) {
			const struct edge *e = &edges[order[i]];

			if (!(e->needs & without) && !reached[e->from])
				reached[queue[n++] = e->from] = true;
		}
	for (uint32_t i = 0; i < node_count; i++)
		if (!reached[i])
			fail_at(i, false, name);
	free(queue);
	free(reached);
}

/* Turns alone do not lead back to where they began: what is left when every state without a turn into it is taken away,
 * and then every state that has none any more, is a circle. */
static void
check_no_circles(void)
{
	uint32_t *into = calloc(node_count + 1, sizeof *into), *queue = malloc((node_count + 1) * sizeof *queue);
	uint32_t *begin = calloc(node_count + 2, sizeof *begin);
	size_t n = 0;

	assert_non_null(into);
	assert_non_null(queue);
	assert_non_null(begin);
	/* The search left the nodes one after another: the edges are in the order of where they come from. */
	for (size_t i = 0; i < edge_count; i++)
		begin[edges[i].from + 1]++;
	for (size_t i = 1; i <= node_count; i++)
		begin[i] += begin[i - 1];
	for (size_t i = 0; i < edge_count; i++)
		into[edges[i].to] += (edges[i].needs & NEEDS_TURN) != 0;
	for (uint32_t i = 0; i < node_count; i++)
		if (!into[i])
			queue[n++] = i;
	for (size_t at = 0; at < n; at++)
		for (uint32_t i = begin[queue[at]]; i < begin[queue[at] + 1]; i++)
			if (edges[i].needs & NEEDS_TURN && --into[edges[i].to] == 0)
				queue[n++] = edges[i].to;
	for (uint32_t i = 0; i < node_count; i++)
		if (into[i])
			fail_at(i, false, "the loop does not turn in a circle");
	free(begin);
	free(into);
	free(queue);
}

static void
every_step_of_a_small_world(void **state)
{
	(void)state;
	nodes = calloc(NODES, sizeof *nodes);
	slots = calloc(SLOTS, sizeof *slots);
	assert_non_null(nodes);
	assert_non_null(slots);
	search();
	sort_edges();
	check_ways_out(NEEDS_MISFORTUNE | NEEDS_CLOCK, "with a peer and a prog that do their part, no clock is needed");
	check_ways_out(
	    NEEDS_MISFORTUNE | NEEDS_PEER | NEEDS_PROG, "prog's exit leads to an end, whatever the peer does");
	check_no_circles();
	print_message("relay and world: %zu states, %zu edges\n", node_count, edge_count);
	free(nodes);
	free(slots);
	free(edges);
	free(first);
	free(order);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_step_of_a_small_world)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
