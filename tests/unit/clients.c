/*
 * How many connections a client has: what counts as one client, and the counts
 * against a plain list, under changes at random.
 */
#include "core/clients.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct clients *
create(size_t most)
{
	struct clients *c = malloc(clients_size(most));

	assert_non_null(c);
	clients_init(c, most);
	return c;
}

static void
what_counts_as_one(void **state)
{
	static const struct {
		const char *a, *b;
		int same;
	} rows[] = {
	    {"192.0.2.1", "192.0.2.1", 1},
	    {"192.0.2.1", "192.0.2.2", 0},
	    {"192.0.2.1", "192.0.3.1", 0},
	    {"2001:db8::1", "2001:db8::1", 1},
	    {"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", 1},
	    {"2001:db8:0:1::1", "2001:db8:0:2::1", 0},
	    {"2001:db8:0:1::1", "2001:db9:0:1::1", 0},
	    {"fe80::1", "fe80::2", 1},
	    {"::1", "::2", 1},
	    {"::1", "0.0.0.1", 0},
	    {"::", "0.0.0.0", 0},
	    {"c000:201::", "192.0.2.1", 0},
	};
	unsigned char a[CLIENTS_KEY], b[CLIENTS_KEY];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(clients_key(rows[i].a, a), 0);
		assert_int_equal(clients_key(rows[i].b, b), 0);
		if ((memcmp(a, b, CLIENTS_KEY) == 0) != rows[i].same)
			fail_msg("%s and %s", rows[i].a, rows[i].b);
	}
}

static void
what_is_no_address(void **state)
{
	static const char *const texts[] = {"", "unknown", "192.0.2", "192.0.2.1 ", "2001:db8::1%eth0", "localhost"};
	unsigned char key[CLIENTS_KEY];

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_int_equal(clients_key(texts[i], key), -1);
}

/* Not more than there is room for, whoever they are of; and that room comes back. */
static void
never_more_than_most(void **state)
{
	enum { MOST = 5 };
	struct clients *c = create(MOST);
	unsigned char key[MOST + 1][CLIENTS_KEY];
	char ip[16];

	(void)state;
	assert_non_null(c);
	for (int i = 0; i <= MOST; i++) {
		(void)snprintf(ip, sizeof ip, "192.0.2.%d", i);
		assert_int_equal(clients_key(ip, key[i]), 0);
	}
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MOST; i++)
			assert_int_equal(clients_add(c, key[i]), 1);
		assert_int_equal(clients_add(c, key[MOST]), 0);
		assert_int_equal(clients_count(c, key[MOST]), 0);
		assert_int_equal(clients_remove(c, key[MOST]), 0);
		for (int i = 0; i < MOST; i++) {
			assert_int_equal(clients_count(c, key[i]), 1);
			assert_int_equal(clients_remove(c, key[i]), 0);
			assert_int_equal(clients_count(c, key[i]), 0);
			assert_int_equal(clients_remove(c, key[i]), 0);
		}
	}
	free(c);
}

/* From few clients, which meet in chains, to as many as there may be. */
static void
as_a_plain_list_counts(void **state)
{
	enum { MOST = 64, STEPS = 200000 };
	static unsigned counts[2 * MOST];
	static unsigned char keys[2 * MOST][CLIENTS_KEY];
	uint32_t random = 1;
	char ip[64];

	(void)state;
	for (size_t kinds = 1; kinds <= 2 * MOST; kinds *= 2) {
		struct clients *c = create(MOST);
		size_t total = 0;

		assert_non_null(c);
		memset(counts, 0, sizeof counts);
		for (size_t i = 0; i < kinds; i++) {
			(void)snprintf(ip, sizeof ip, i % 2 ? "198.51.100.%zu" : "2001:db8:0:%zu::1", i);
			assert_int_equal(clients_key(ip, keys[i]), 0);
		}
		for (int step = 0; step < STEPS / 8; step++) {
			random = random * 1664525 + 1013904223;
			size_t who = (random >> 8) % kinds;
			/* Fuller for a while, then emptier. */
			int add = (random >> 24) % 4 < (step / 512 % 2 ? 3U : 1U);

			if (add && total < MOST) {
				assert_int_equal(clients_add(c, keys[who]), ++counts[who]);
				total++;
			} else if (!add) {
				total -= counts[who] > 0;
				counts[who] -= counts[who] > 0;
				assert_int_equal(clients_remove(c, keys[who]), counts[who]);
			}
			assert_int_equal(clients_count(c, keys[who]), counts[who]);
			if (step % 64 == 0)
				for (size_t i = 0; i < kinds; i++)
					assert_int_equal(clients_count(c, keys[i]), counts[i]);
		}
		free(c);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_counts_as_one),
	    cmocka_unit_test(what_is_no_address),
	    cmocka_unit_test(never_more_than_most),
	    cmocka_unit_test(as_a_plain_list_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
