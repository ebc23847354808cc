/*
 * Files of a rule's env/, and what they make of a variable.
 */
#include "core/changes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A text and its length, which may hold NULs. */
#define T(s) s, sizeof s - 1

static struct span
bytes(const char *p, size_t n)
{
	return (struct span){(const unsigned char *)p, n};
}

static void
names(void **state)
{
	static const char *const good[] = {"A", "a", "A.B", "A-B", "_", "1", "A B", "\xc3\xa9"};
	static const char *const bad[] = {"", ".", "..", ".A", "A=", "=", "=A", "A=B"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(changes_name_valid(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(changes_name_valid(bad[i]));
}

static void
one_file(void **state)
{
	static const struct {
		const char *content;
		size_t n;
		const char *want;
	} rows[] = {
	    {T("value"), "V=value"},
	    {T("value\n"), "V=value"},
	    {T("value\nmore\n"), "V=value"},
	    {T("value \t \n"), "V=value"},
	    {T("value\r\n"), "V=value"},
	    {T(" a  b \t"), "V= a  b"},
	    {T("a=b"), "V=a=b"},
	    {T("a\0b\0\nc\0d"), "V=a\nb\n"},
	    {T("\0"), "V=\n"},
	    {T("\377\1"), "V=\377\1"},
	    {T("\n"), "V="},
	    {T("  \n"), "V="},
	    {T(" "), "V="},
	    {T("\nvalue"), "V="},
	    {T(""), "V"},
	};
	struct fault f;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct changes c = {0};

		assert_int_equal(changes_add(&c, "V", bytes(rows[i].content, rows[i].n), &f), 0);
		assert_int_equal(c.n, strlen(rows[i].want) + 1);
		assert_string_equal(c.text, rows[i].want);
		changes_free(&c);
		assert_null(c.text);
		assert_int_equal(c.n, 0);
	}
}

static void
several_files(void **state)
{
	static const char want[] = "A=1\0B\0C=\0A=2";
	struct changes c = {0};
	struct fault f;

	(void)state;
	assert_int_equal(changes_add(&c, "A", bytes(T("1")), &f), 0);
	assert_int_equal(changes_add(&c, "B", (struct span){0}, &f), 0);
	assert_int_equal(changes_add(&c, "C", bytes(T("\n")), &f), 0);
	assert_int_equal(changes_add(&c, "A", bytes(T("2\n")), &f), 0);
	assert_int_equal(c.n, sizeof want);
	assert_memory_equal(c.text, want, sizeof want);
	changes_free(&c);
}

/* To the byte, whether it comes in one piece or in many; and what was there stays. */
static void
the_limit(void **state)
{
	static char value[CHANGES_MAX];
	struct changes c = {0};
	struct fault f;

	(void)state;
	memset(value, 'v', sizeof value);
	assert_int_equal(changes_add(&c, "V", bytes(value, CHANGES_MAX - 2), &f), -1);
	assert_int_equal(f.code, FAULT_USAGE);
	assert_string_equal(f.text, "V: more than 64 KiB of variables");
	assert_null(c.text);
	assert_int_equal(changes_add(&c, "V", bytes(value, CHANGES_MAX - 3), &f), 0);
	assert_int_equal(c.n, CHANGES_MAX);
	assert_int_equal(changes_add(&c, "W", (struct span){0}, &f), -1);
	changes_free(&c);

	for (int i = 0; i < CHANGES_MAX / 8; i++)
		assert_int_equal(changes_add(&c, "ABC", bytes(T("def")), &f), 0);
	assert_int_equal(c.n, CHANGES_MAX);
	assert_int_equal(changes_add(&c, "", (struct span){0}, &f), -1);
	assert_int_equal(c.n, CHANGES_MAX);
	assert_string_equal(c.text + CHANGES_MAX - 8, "ABC=def");
	changes_free(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names),
	    cmocka_unit_test(one_file),
	    cmocka_unit_test(several_files),
	    cmocka_unit_test(the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
