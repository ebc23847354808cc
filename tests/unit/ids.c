/*
 * Numbers of users and groups: all of the text, or none of it.
 */
#include "core/ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void
numbers(void **state)
{
	static const struct {
		const char *text;
		long long n;
	} rows[] = {
	    {"0", 0},
	    {"1", 1},
	    {"65534", 65534},
	    {"007", 7},
	    {"2147483648", 2147483648},
	    {"4294967294", 4294967294},
	    {"4294967295", -1},
	    {"4294967296", -1},
	    {"18446744073709551616", -1},
	    {"99999999999999999999999", -1},
	    {"", -1},
	    {" 1", -1},
	    {"1 ", -1},
	    {"+1", -1},
	    {"-1", -1},
	    {"0x10", -1},
	    {"1,2", -1},
	    {"1\n", -1},
	    {"root", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (ids_number(rows[i].text) != rows[i].n)
			fail_msg("\"%s\"", rows[i].text);
}

static void
groups(void **state)
{
	static const struct {
		const char *text;
		int n;
		gid_t groups[3];
	} rows[] = {
	    {"", 0, {0}},
	    {"0", 1, {0}},
	    {"5,6", 2, {5, 6}},
	    {"4294967294,0,7", 3, {4294967294, 0, 7}},
	    {"1,1", 2, {1, 1}},
	    {"1,2,3,4", -1, {0}}, /* more than there is room for */
	    {",", -1, {0}},
	    {"1,", -1, {0}},
	    {",1", -1, {0}},
	    {"1,,2", -1, {0}},
	    {"1, 2", -1, {0}},
	    {"1;2", -1, {0}},
	    {"1,4294967295", -1, {0}},
	    {"a", -1, {0}},
	};
	gid_t found[3];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (ids_groups(rows[i].text, found, 3) != rows[i].n || ids_groups(rows[i].text, NULL, 3) != rows[i].n)
			fail_msg("\"%s\"", rows[i].text);
		if (rows[i].n > 0)
			assert_memory_equal(found, rows[i].groups, (size_t)rows[i].n * sizeof *found);
	}
}

/* As many as there may be, and not one more. */
static void
many_groups(void **state)
{
	static char text[8 * (IDS_MAX + 1)];
	static gid_t found[IDS_MAX];
	size_t n = 0;

	(void)state;
	for (int i = 0; i <= IDS_MAX; i++) {
		n += (size_t)snprintf(text + n, sizeof text - n, i ? ",%d" : "%d", i);
		assert_int_equal(ids_groups(text, found, IDS_MAX), i < IDS_MAX ? i + 1 : -1);
	}
	for (int i = 0; i < IDS_MAX; i++)
		assert_int_equal(found[i], i);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(groups),
	    cmocka_unit_test(many_groups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
