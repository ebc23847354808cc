/*
 * fault_set: the text is whole or says that it is not, and is one printable
 * line whatever goes in.
 */
#include "core/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
test_fills_and_returns_minus_one(void **state)
{
	(void)state;
	struct fault f = {0};

	assert_int_equal(fault_set(&f, FAULT_CONTEXT, "%s: line %d", "key.pem", 7), -1);
	assert_int_equal(f.code, FAULT_CONTEXT);
	assert_string_equal(f.text, "key.pem: line 7");
}

static void
test_later_fault_replaces_earlier(void **state)
{
	(void)state;
	struct fault f = {0};

	fault_set(&f, FAULT_CONTEXT, "a long first text");
	fault_set(&f, FAULT_SYSTEM, "short");
	assert_int_equal(f.code, FAULT_SYSTEM);
	assert_string_equal(f.text, "short");
}

static void
test_arguments_may_be_the_fault_itself(void **state)
{
	(void)state;
	struct fault f = {0};

	fault_set(&f, FAULT_CONTEXT, "no END line");
	fault_set(&f, f.code, "%s: %s", "cert.pem", f.text);
	assert_string_equal(f.text, "cert.pem: no END line");
}

static void
test_every_length(void **state)
{
	(void)state;
	char full[2 * FAULT_TEXT];

	for (size_t n = 0; n < sizeof full; n++) {
		struct {
			struct fault f;
			char after;
		} box = {.after = 'A'};
		memset(full, 'x', n);
		full[n] = '\0';
		fault_set(&box.f, FAULT_TLS, "%s", full);

		size_t shown = n < FAULT_TEXT ? n : FAULT_TEXT - 1;
		assert_int_equal(strlen(box.f.text), shown);
		if (n >= FAULT_TEXT)
			memcpy(full + shown - 3, "...", 3);
		assert_memory_equal(box.f.text, full, shown);
		assert_int_equal(box.after, 'A');
	}
}

static void
test_every_byte(void **state)
{
	(void)state;
	struct fault f;

	for (int c = 0; c < 256; c++) {
		fault_set(&f, FAULT_TLS, "%c.%c", c, c);
		char want = c >= 0x20 && c <= 0x7e ? (char)c : '?';
		assert_memory_equal(f.text, ((char[]){want, '.', want, '\0'}), 4);
	}
}

static void
test_unprintable_argument_leaves_the_format(void **state)
{
	(void)state;
	struct fault f = {0};

	/* The C locale has no such character, and vsnprintf fails. */
	assert_int_equal(fault_set(&f, FAULT_USAGE, "name: %ls", L"\u20ac"), -1);
	assert_int_equal(f.code, FAULT_USAGE);
	assert_string_equal(f.text, "name: %ls");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fills_and_returns_minus_one),
	    cmocka_unit_test(test_later_fault_replaces_earlier),
	    cmocka_unit_test(test_arguments_may_be_the_fault_itself),
	    cmocka_unit_test(test_every_length),
	    cmocka_unit_test(test_every_byte),
	    cmocka_unit_test(test_unprintable_argument_leaves_the_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
