/*
 * DNS names from SNI: nothing passes that could mean something to a shell, a
 * path or a log.
 */
#include "core/dnsname.h"

#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEN "abcdefghi."
#define FIFTY TEN TEN TEN TEN TEN
#define L63 "a23456789-b23456789-c23456789-d23456789-e23456789-f23456789-g23"

/* A text and its length, which may hold NULs. */
#define T(s) s, sizeof s - 1

/* want is NULL where the name must be refused. */
static const struct row {
	const char *name;
	size_t n;
	const char *want;
} rows[] = {
    {T("example.org"), "example.org"},
    {T("Example.ORG"), "example.org"},
    {T("localhost"), "localhost"},
    {T("a"), "a"},
    {T("_dmarc.example.org"), "_dmarc.example.org"},
    {T("xn--bcher-kva.example"), "xn--bcher-kva.example"},
    {T("1.example"), "1.example"},
    {T("1.2.3.4a"), "1.2.3.4a"},
    {T("3com.com"), "3com.com"},
    {T("a--b.c"), "a--b.c"},
    {T(L63 ".org"), L63 ".org"},
    {T(FIFTY FIFTY FIFTY FIFTY FIFTY "abc"), FIFTY FIFTY FIFTY FIFTY FIFTY "abc"},
    {T(FIFTY FIFTY FIFTY FIFTY FIFTY "abcd"), NULL},
    {T(L63 "h.org"), NULL},
    {T(""), NULL},
    {T("."), NULL},
    {T("example.org."), NULL},
    {T(".example.org"), NULL},
    {T("example..org"), NULL},
    {T("-example.org"), NULL},
    {T("example-.org"), NULL},
    {T("example.-org"), NULL},
    {T("example.org-"), NULL},
    {T("127.0.0.1"), NULL},
    {T("1"), NULL},
    {T("example.1"), NULL},
    {T("::1"), NULL},
    {T("[::1]"), NULL},
    {T("*.example.org"), NULL},
    {T("../../etc/passwd"), NULL},
    {T("a/b"), NULL},
    {T("a\nb"), NULL},
    {T("a\x1b[31m"), NULL},
    {T("$(id)"), NULL},
    {T("a b"), NULL},
    {T("example.org\0.evil"), NULL},
    {T("example.org\0"), NULL},
    {T("b\xc3\xbc"
       "cher.example"),
	NULL},
};

/* Asks about an exact copy, and sees to it that a refused name leaves out alone. */
static bool
valid(const char *name, size_t n, char out[DNSNAME_SIZE])
{
	unsigned char *copy = malloc(n + (n == 0));
	char untouched[DNSNAME_SIZE];

	assert_non_null(copy);
	memcpy(copy, name, n);
	memset(out, '?', DNSNAME_SIZE);
	memset(untouched, '?', DNSNAME_SIZE);
	bool ok = dnsname_valid(copy, n, out);
	if (!ok)
		assert_memory_equal(out, untouched, DNSNAME_SIZE);
	free(copy);
	return ok;
}

static void
test_table(void **state)
{
	(void)state;
	char out[DNSNAME_SIZE];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (valid(rows[i].name, rows[i].n, out) != (rows[i].want != NULL))
			fail_msg("wrong about \"%s\"", rows[i].name);
		if (rows[i].want != NULL)
			assert_string_equal(out, rows[i].want);
	}
}

static void
test_every_byte(void **state)
{
	(void)state;
	static const char inside[] = "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
	char out[DNSNAME_SIZE];

	for (int c = 0; c < 256; c++) {
		const char name[] = {'a', (char)c, 'a'};
		bool want = c != 0 && strchr(inside, c) != NULL;
		if (valid(name, sizeof name, out) != want)
			fail_msg("wrong about byte 0x%02x", (unsigned)c);
	}
}

static void
test_every_length(void **state)
{
	(void)state;
	char name[400], out[DNSNAME_SIZE];

	for (size_t n = 0; n < sizeof name; n++) {
		/* One label; then labels of 49 letters, the last cut where n ends but never empty. */
		memset(name, 'a', sizeof name);
		assert_int_equal(valid(name, n, out), n >= 1 && n <= 63);
		for (size_t i = 49; i + 1 < n; i += 50)
			name[i] = '.';
		assert_int_equal(valid(name, n, out), n >= 1 && n <= 253);
	}
}

/* All names of up to six characters that matter, against the rules written as regular expressions. */
static void
test_all_short_names(void **state)
{
	(void)state;
	static const char alphabet[] = "aZ7-_. ";
	const size_t letters = sizeof alphabet - 1;
	regex_t shape, numeric;
	size_t count = 1;

	assert_int_equal(regcomp(&shape,
			     "^([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?[.])*"
			     "[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?$",
			     REG_EXTENDED | REG_NOSUB),
	    0);
	assert_int_equal(regcomp(&numeric, "(^|[.])[0-9]+$", REG_EXTENDED | REG_NOSUB), 0);
	for (size_t n = 0; n <= 6; n++, count *= letters) {
		for (size_t k = 0; k < count; k++) {
			char name[8] = "", out[DNSNAME_SIZE];
			for (size_t i = 0, rest = k; i < n; i++, rest /= letters)
				name[i] = alphabet[rest % letters];
			bool want = regexec(&shape, name, 0, NULL, 0) == 0 && regexec(&numeric, name, 0, NULL, 0) != 0;
			if (valid(name, n, out) != want)
				fail_msg("wrong about \"%s\"", name);
			if (want)
				assert_int_equal(strcasecmp(name, out), 0);
		}
	}
	regfree(&shape);
	regfree(&numeric);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_every_byte),
	    cmocka_unit_test(test_every_length),
	    cmocka_unit_test(test_all_short_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
