/*
 * What the engine tells of its connection, and what the monitor does not believe.
 */
#include "core/ucspi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct ucspi named = {.local_ip = "192.0.2.1",
    .remote_ip = "198.51.100.255",
    .local_port = "65535",
    .remote_port = "443",
    .has_local_host = true,
    .has_remote_host = true,
    .local_host = "here.example.org",
    .remote_host = "there"};
static const struct ucspi nameless = {
    .local_ip = "2001:db8::1", .remote_ip = "::1", .local_port = "0", .remote_port = "1"};

static unsigned char buf[UCSPI_MAX + 1];

static void
assert_same(const struct ucspi *a, const struct ucspi *b)
{
	assert_string_equal(a->local_ip, b->local_ip);
	assert_string_equal(a->remote_ip, b->remote_ip);
	assert_string_equal(a->local_port, b->local_port);
	assert_string_equal(a->remote_port, b->remote_port);
	assert_int_equal(a->has_local_host, b->has_local_host);
	assert_int_equal(a->has_remote_host, b->has_remote_host);
	assert_string_equal(a->local_host, b->local_host);
	assert_string_equal(a->remote_host, b->remote_host);
}

static void
round_trip(void **state)
{
	static const struct ucspi *const all[] = {&named, &nameless};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct ucspi back;
		long n = ucspi_pack(all[i], buf, UCSPI_MAX);

		assert_true(n > 0);
		memset(&back, 0x7f, sizeof back);
		assert_int_equal(ucspi_unpack((struct span){buf, (size_t)n}, &back), 0);
		assert_same(&back, all[i]);
		/* Cut anywhere, or longer, it is refused; and it is never written in less room. */
		buf[n] = 0;
		assert_int_equal(ucspi_unpack((struct span){buf, (size_t)n + 1}, &back), -1);
		for (long cut = 0; cut < n; cut++) {
			assert_int_equal(ucspi_unpack((struct span){buf, (size_t)cut}, &back), -1);
			assert_int_equal(ucspi_pack(all[i], buf + sizeof buf - cut, (size_t)cut), -1);
			assert_int_equal(ucspi_pack(all[i], buf, UCSPI_MAX), n);
		}
	}
}

/* Every text as long as its array allows. */
static void
the_longest_fits(void **state)
{
	struct ucspi u = named, back;

	(void)state;
	memset(u.local_ip, 0, sizeof u.local_ip);
	strcpy(u.local_ip, "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255");
	strcpy(u.remote_ip, u.local_ip);
	strcpy(u.remote_port, "65535");
	for (size_t i = 0; i < DNSNAME_SIZE - 1; i++)
		u.local_host[i] = i % 2 == 0 ? 'a' : '.';
	u.local_host[DNSNAME_SIZE - 1] = '\0';
	memcpy(u.remote_host, u.local_host, DNSNAME_SIZE);
	assert_int_equal(strlen(u.local_ip), UCSPI_IP - 1);

	long n = ucspi_pack(&u, buf, UCSPI_MAX);
	assert_true(n > 0);
	assert_int_equal(ucspi_unpack((struct span){buf, (size_t)n}, &back), 0);
	assert_same(&back, &u);
}

/* A field of the block, with "+" or "-" before it. */
enum field { LOCAL_IP, REMOTE_IP, LOCAL_PORT, REMOTE_PORT, LOCAL_HOST, REMOTE_HOST, FIELDS };

static int
with(enum field which, const char *text)
{
	static const char *const truth[FIELDS] = {"+192.0.2.1", "+::1", "+1024", "+80", "-", "+www.example.org"};
	unsigned char block[2 * UCSPI_MAX];
	struct ucspi u;
	size_t n = 0;

	for (enum field i = LOCAL_IP; i < FIELDS; i++) {
		const char *p = i == which ? text : truth[i];

		memcpy(block + n, p, strlen(p) + 1);
		n += strlen(p) + 1;
	}
	return ucspi_unpack((struct span){block, n}, &u);
}

static void
lies_are_refused(void **state)
{
	static const char *const ips[] = {"-", "", "+", "192.0.2.1", "+192.0.2", "+192.0.2.256", "+192.0.2.01",
	    "+192.0.2.1 ", "+fe80::1%eth0", "+localhost", "+1::2::3", "+192.0.2.1\n"};
	static const char *const ports[] = {"-", "", "+", "+65536", "+99999", "+080", "+00", "+-1", "++1", "+1 ", "+ 1",
	    "+0x1", "+http", "+100000", "80"};
	static const char *const hosts[] = {"", "+", "+Www.example.org", "+www.example.org.", "+192.0.2.1", "+a b",
	    "+a..b", "+-a", "-a", "+$(id)", "+a\n", "+a\x80", "a"};

	(void)state;
	assert_int_equal(with(FIELDS, ""), 0);
	for (enum field i = LOCAL_IP; i <= REMOTE_IP; i++)
		for (size_t k = 0; k < sizeof ips / sizeof *ips; k++)
			if (with(i, ips[k]) != -1)
				fail_msg("address \"%s\"", ips[k]);
	for (enum field i = LOCAL_PORT; i <= REMOTE_PORT; i++)
		for (size_t k = 0; k < sizeof ports / sizeof *ports; k++)
			if (with(i, ports[k]) != -1)
				fail_msg("port \"%s\"", ports[k]);
	for (enum field i = LOCAL_HOST; i <= REMOTE_HOST; i++)
		for (size_t k = 0; k < sizeof hosts / sizeof *hosts; k++)
			if (with(i, hosts[k]) != -1)
				fail_msg("host \"%s\"", hosts[k]);
}

/* Longer than its array by one. */
static void
too_long(void **state)
{
	char text[DNSNAME_SIZE + 2] = "+";

	(void)state;
	for (size_t i = 0; i < DNSNAME_SIZE; i++)
		text[i + 1] = (char)(i % 2 == 0 ? 'a' : '.');
	text[DNSNAME_SIZE] = '\0';
	assert_int_equal(with(REMOTE_HOST, text), 0);
	text[DNSNAME_SIZE] = 'a';
	assert_int_equal(with(REMOTE_HOST, text), -1);
}

static void
every_port(void **state)
{
	(void)state;
	for (unsigned port = 0; port < 200000; port++) {
		char text[16];

		(void)snprintf(text, sizeof text, "+%u", port);
		assert_int_equal(with(LOCAL_PORT, text), port <= 65535 ? 0 : -1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(round_trip),
	    cmocka_unit_test(the_longest_fits),
	    cmocka_unit_test(lies_are_refused),
	    cmocka_unit_test(too_long),
	    cmocka_unit_test(every_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
