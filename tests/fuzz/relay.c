/*
 * Fuzzes the relay with events and facts, two bytes an event, whether the world
 * can bring them or not; the first byte is how it is started. Checks what holds
 * even then: it only goes forward, does once what is done once, comes to rest
 * after every event, and does nothing after its end.
 */
#include "core/relay.h"

#include "fuzz.h"

#include <string.h>

/* More than the actions that one event can lead to. */
#define REST 16

static int
tx_rank(enum relay_tx tx)
{
	static const int rank[] = {
	    [TX_OPEN] = 0, [TX_DRAIN] = 1, [TX_NOTIFY] = 2, [TX_FLUSH] = 3, [TX_SHUT] = 4, [TX_CUT] = 4, [TX_DEAD] = 5};

	CHECK((size_t)tx < sizeof rank / sizeof *rank);
	return rank[tx];
}

static void
check_forward(const struct relay *a, const struct relay *b)
{
	CHECK(a->stage <= b->stage && a->net <= b->net && tx_rank(a->tx) <= tx_rank(b->tx));
	CHECK(tx_rank(a->tx) < 4 || a->tx == b->tx);
	CHECK(a->rx != RX_DONE || b->rx == RX_DONE);
	CHECK(!relay_failed(a) || relay_failed(b));
	CHECK(a->exited <= b->exited && a->notified <= b->notified && a->wire_done <= b->wire_done &&
	      a->raw <= b->raw && a->lost <= b->lost);
}

/* One step; `done` is all that was ever asked for. */
static unsigned
step(struct relay *r, enum relay_event event, unsigned facts, unsigned *done)
{
	const unsigned once =
	    DO_REPORT | DO_CLOSE_PROG_OUT | DO_NOTIFY | DO_FIN | DO_CLOSE_WIRE | DO_RESET_WIRE | DO_END;
	struct relay before = *r;
	unsigned todo = relay_step(r, event, facts);

	check_forward(&before, r);
	if (before.stage == RELAY_ENDED)
		CHECK(todo == 0 && memcmp(&before, r, sizeof before) == 0);
	CHECK((todo & *done & once) == 0);
	*done |= todo;
	CHECK((r->stage == RELAY_ENDED) == ((*done & DO_END) != 0));
	CHECK((*done & DO_CLOSE_WIRE) == 0 || (*done & DO_RESET_WIRE) == 0);
	CHECK((relay_want(r, facts) & ~255u) == 0 && (relay_timers(r) & ~15u) == 0);
	return todo;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 1)
		return 0;
	struct relay r = relay_start(data[0] & 1, data[0] & 2, data[0] & 4);
	unsigned done = 0;

	for (size_t i = 1; i + 1 < n; i += 2) {
		/* The last two facts are in the event's byte. */
		enum relay_event event = (enum relay_event)((data[i] & 0x3f) % (EV_COUNT + 1));
		unsigned facts = data[i + 1] | (data[i] & 0xc0U) << 2;
		unsigned todo = step(&r, event, facts, &done), turns = 0;

		for (; todo != 0; turns++)
			todo = step(&r, EV_MOVED, facts, &done);
		CHECK(turns < REST);
	}
	CHECK(relay_end_by(r.end)[0] != '\0' && relay_end_how(r.end)[0] != '\0');
	return 0;
}
