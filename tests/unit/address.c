/*
 * Addresses, against inet_pton and inet_ntop: every text of a few characters, and the forms of RFC 4291.
 */
#include "core/address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void
compare(const char *text)
{
	unsigned char found[16] = {0}, wanted[16] = {0};
	size_t n = inet_pton(AF_INET, text, wanted) == 1 ? 4 : inet_pton(AF_INET6, text, wanted) == 1 ? 16 : 0;

	if (address_parse(text, found) != n || memcmp(found, wanted, n) != 0)
		fail_msg("\"%s\": %zu octets expected", text, n);
}

static void
forms(void **state)
{
	static const char *const texts[] = {"", "0.0.0.0", "255.255.255.255", "256.0.0.1", "1.2.3", "1.2.3.4.5",
	    "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1..2.3", "1.2.3.", "-1.2.3.4", "1.2.3.0004", "4294967297.0.0.1",
	    "2001:db8::1", "2001:0db8:0000:0000:0000:0000:0000:0001", "2001:DB8:0:0:8:800:200C:417A", "::", "::1",
	    "1::", "::1.2.3.4", "::ffff:192.0.2.1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
	    "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7",
	    "::1:2:3:4:5:6:7:8", "1::2::3", ":::", ":1", "1:", "12345::", "g::", "fe80::1%eth0", "1.2.3.4::", "::1.2.3",
	    "::1.2.3.4:5", ":", "0:0:0:0:0:0:0:0", "1::8", "www.example.org", "1"};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		compare(texts[i]);
}

/* Everything of seven characters and less out of a few. */
static void
short_texts(void **state)
{
	static const char letters[] = "1:.a0";
	enum { MOST = 7, KINDS = sizeof letters - 1 };

	(void)state;
	for (size_t length = 1; length <= MOST; length++) {
		size_t many = 1;
		char text[MOST + 1] = "";

		for (size_t i = 0; i < length; i++)
			many *= KINDS;
		for (size_t n = 0; n < many; n++) {
			for (size_t i = 0, rest = n; i < length; i++, rest /= KINDS)
				text[i] = letters[rest % KINDS];
			compare(text);
		}
	}
}

/* Every number of groups before and behind a "::", with and without four octets at the end. */
static void
gaps(void **state)
{
	char text[128];

	(void)state;
	for (int before = 0; before <= 9; before++)
		for (int behind = 0; behind <= 9; behind++)
			for (int kind = 0; kind < 4; kind++) {
				int at = 0;

				for (int i = 0; i < before; i++)
					at += sprintf(text + at, "%s%x", i ? ":" : "", 0xab0 + i);
				at += sprintf(text + at, "%s", kind & 1 ? "::" : ":");
				for (int i = 0; i < behind; i++)
					at += sprintf(text + at, "%s%x", i ? ":" : "", 0xcd0 + i);
				if (kind & 2)
					at += sprintf(text + at, "%s1.22.203.4", behind ? ":" : "");
				compare(text);
			}
}

/* Every pattern of groups of zero, of one digit and of four, as inet_ntop prints it, but for its dotted IPv4. */
static void
printed(void **state)
{
	char out[ADDRESS_SIZE], wanted[INET6_ADDRSTRLEN];
	unsigned char octets[17] = {192, 0, 2, 255};

	(void)state;
	assert_true(address_print(octets, 4, out));
	assert_string_equal(out, "192.0.2.255");
	for (int n = 0; n < 6561; n++) {
		for (int i = 0, rest = n; i < 8; i++, rest /= 3)
			memcpy(octets + (size_t)2 * (size_t)i,
			    rest % 3 == 0   ? "\0\0"
			    : rest % 3 == 1 ? "\0\7"
					    : "\xab\xcd",
			    2);
		assert_true(address_print(octets, 16, out));
		assert_non_null(inet_ntop(AF_INET6, octets, wanted, sizeof wanted));
		if (!strchr(wanted, '.'))
			assert_string_equal(out, wanted);
	}
	for (size_t n = 0; n <= sizeof octets; n++)
		if (n != 4 && n != 16)
			assert_false(address_print(octets, n, out));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(forms),
	    cmocka_unit_test(short_texts),
	    cmocka_unit_test(gaps),
	    cmocka_unit_test(printed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
