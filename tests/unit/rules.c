/*
 * Which rules are asked about a peer, and in which order. The addresses' law is
 * checked against the system's own reader and writer of them.
 */
#include "core/rules.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char key[RULES_KEY];

/* The i-th keys are as they are written down, "" where it is not; there are n in all. */
static void
expect(bool (*key_of)(const char *, size_t, char[RULES_KEY]), const char *peer, const char *const *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_true(key_of(peer, i, key));
		if (keys[i] && keys[i][0])
			assert_string_equal(key, keys[i]);
	}
	assert_false(key_of(peer, n, key));
	assert_false(key_of(peer, n + 1, key));
	assert_false(key_of(peer, SIZE_MAX, key));
}

static void
an_ipv4_address(void **state)
{
	static const char *const keys[33] = {"ip4/192.168.1.7_32", "ip4/192.168.1.6_31", "ip4/192.168.1.4_30",
	    "ip4/192.168.1.0_29", "ip4/192.168.1.0_28", [7] = "ip4/192.168.1.0_25", "ip4/192.168.1.0_24",
	    "ip4/192.168.0.0_23", [16] = "ip4/192.168.0.0_16", [24] = "ip4/192.0.0.0_8", [29] = "ip4/192.0.0.0_3",
	    "ip4/192.0.0.0_2", "ip4/128.0.0.0_1", "ip4/0.0.0.0_0"};

	(void)state;
	expect(rules_address_key, "192.168.1.7", keys, 33);
}

static void
an_ipv6_address(void **state)
{
	static const char *const keys[129] = {"ip6/2001:db8:ff:803::1006_128", "ip6/2001:db8:ff:803::1006_127",
	    "ip6/2001:db8:ff:803::1004_126",
	    "ip6/2001:db8:ff:803::1000_125", [16] = "ip6/2001:db8:ff:803::_112", [64] = "ip6/2001:db8:ff:803::_64",
	    "ip6/2001:db8:ff:802::_63", "ip6/2001:db8:ff:800::_62", [80] = "ip6/2001:db8:ff::_48",
	    "ip6/2001:db8:fe::_47", [96] = "ip6/2001:db8::_32", [112] = "ip6/2001::_16",
	    "ip6/2000::_15", [126] = "ip6/::_2", "ip6/::_1", "ip6/::_0"};

	(void)state;
	expect(rules_address_key, "2001:db8:ff:803::1006", keys, 129);
	expect(rules_address_key, "2001:0DB8:00ff:803:0:0:0:1006", keys, 129);
}

/* Who wants it as IPv4 asks for it so. */
static void
a_mapped_address(void **state)
{
	static const char *const keys[129] = {
	    "ip6/::ffff:c000:201_128", [32] = "ip6/::ffff:0:0_96", [48] = "ip6/::_80"};

	(void)state;
	expect(rules_address_key, "::ffff:192.0.2.1", keys, 129);
}

/* Of every length: the octets in front are the address's, those behind are 0, and the text is the system's. */
static void
every_prefix(void **state)
{
	static const char *const ips[] = {"255.255.255.255", "170.85.170.85", "1.2.3.4", "0.0.0.0",
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "aaaa:5555:aaaa:5555:aaaa:5555:aaaa:5555", "1:0:0:2:0:0:0:3"};

	(void)state;
	for (size_t k = 0; k < sizeof ips / sizeof *ips; k++) {
		bool six = strchr(ips[k], ':') != NULL;
		int family = six ? AF_INET6 : AF_INET;
		size_t bits = six ? 128 : 32;

		for (size_t i = 0; i <= bits; i++) {
			unsigned char octets[16];
			char text[64], want[128];

			assert_int_equal(inet_pton(family, ips[k], octets), 1);
			for (size_t bit = bits - i; bit < bits; bit++)
				octets[bit / 8] = (unsigned char)(octets[bit / 8] & ~(0x80 >> bit % 8));
			assert_non_null(inet_ntop(family, octets, text, sizeof text));
			(void)snprintf(want, sizeof want, "%s/%s_%zu", six ? "ip6" : "ip4", text, bits - i);
			assert_true(rules_address_key(ips[k], i, key));
			assert_string_equal(key, want);
		}
	}
}

static void
a_name(void **state)
{
	static const char *const keys[] = {
	    "reversedns/foo.bar.example", "reversedns/bar.example", "reversedns/example", "reversedns/@"};

	(void)state;
	expect(rules_name_key, "foo.bar.example", keys, 4);
	expect(rules_name_key, "FOO.Bar.example", keys, 4);
	expect(rules_name_key, "example", keys + 2, 2);
}

static void
the_longest_name(void **state)
{
	char name[DNSNAME_SIZE] = {0};
	static const char *const none[DNSNAME_SIZE];

	(void)state;
	for (size_t i = 0; i < DNSNAME_SIZE - 1; i++)
		name[i] = i % 2 == 0 ? 'a' : '.';
	assert_true(rules_name_key(name, 0, key));
	assert_int_equal(strlen(key), RULES_KEY - 1);
	assert_string_equal(key + strlen("reversedns/"), name);
	expect(rules_name_key, name, none, DNSNAME_SIZE / 2 + 1);
}

/* None of these says anything about a file. */
static void
no_peer(void **state)
{
	static const char *const texts[] = {"", ".", "..", "../..", "/", "@", "a/b", "../ip4/0.0.0.0_0", "a..b", ".a",
	    "a.", "192.0.2.1/24", "192.0.2", "fe80::1%eth0", "::1/..", "a b", "a\n", "1:2:3:4:5:6:7:8:9"};

	(void)state;
	for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
		for (size_t i = 0; i < 3; i++)
			if (rules_address_key(texts[k], i, key) || rules_name_key(texts[k], i, key))
				fail_msg("\"%s\" has the key %s", texts[k], key);
	assert_false(rules_name_key("192.0.2.1", 0, key));
	assert_false(rules_address_key("192.0.2.1_32", 0, key));
	assert_false(rules_address_key("example.org", 0, key));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_ipv4_address),
	    cmocka_unit_test(an_ipv6_address),
	    cmocka_unit_test(a_mapped_address),
	    cmocka_unit_test(every_prefix),
	    cmocka_unit_test(a_name),
	    cmocka_unit_test(the_longest_name),
	    cmocka_unit_test(no_peer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
