/*
 * The record tracker against a stream cut at every byte.
 */
#include "core/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Lengths of bodies; the tracker must say "between records" at their ends and nowhere else. */
static const size_t bodies[] = {0, 1, 5, 255, 256, 16384, 0, 17000, 65535, 3};

static size_t
build(unsigned char *out, unsigned char *ends)
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
		unsigned char header[] = {23, 3, 3, (unsigned char)(bodies[i] >> 8), (unsigned char)(bodies[i] & 255)};

		memcpy(out + n, header, sizeof header);
		memset(out + n + sizeof header, 22, bodies[i]);
		n += sizeof header + bodies[i];
		ends[n] = 1;
	}
	return n;
}

static void
every_cut(void **state)
{
	static unsigned char stream[200000], ends[200001];
	static const size_t steps[] = {1, 2, 3, 4, 5, 6, 7, 100, 16389, 200000};
	size_t n = build(stream, ends);

	(void)state;
	for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
		struct record r = {0};

		assert_false(record_inside(&r));
		for (size_t at = 0; at < n;) {
			size_t step = steps[s] < n - at ? steps[s] : n - at;

			record_feed(&r, stream + at, step);
			at += step;
			assert_int_equal(record_inside(&r), !ends[at]);
		}
	}
}

static void
nothing_changes_nothing(void **state)
{
	struct record r = {0};

	(void)state;
	record_feed(&r, (const unsigned char *)"", 0);
	assert_false(record_inside(&r));
	record_feed(&r, (const unsigned char *)"\x16", 1);
	record_feed(&r, (const unsigned char *)"", 0);
	assert_true(record_inside(&r));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_cut),
	    cmocka_unit_test(nothing_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
