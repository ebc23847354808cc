/*
 * The relay by itself: events that no world brings do no harm, and every end has
 * a name. What it does in a world is in relay_model.c.
 */
#include "core/relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Whatever comes, in whatever state, it goes no way back. */
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
	    cmocka_unit_test(impossible_events_do_no_harm),
	    cmocka_unit_test(ends_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
