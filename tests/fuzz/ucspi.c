/*
 * Fuzzes the reader of what an engine tells of its connection. Checks that each
 * field is of its form, as the system's own reader of addresses sees it too,
 * and that what was read is written as these bytes.
 */
#include "core/ucspi.h"

#include "fuzz.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static void
check_ip(const char *ip)
{
	unsigned char octets[16];

	CHECK(inet_pton(AF_INET, ip, octets) == 1 || inet_pton(AF_INET6, ip, octets) == 1);
}

static void
check_port(const char *port)
{
	char again[32];

	(void)snprintf(again, sizeof again, "%ld", strtol(port, NULL, 10));
	CHECK(strcmp(port, again) == 0 && strtol(port, NULL, 10) >= 0 && strtol(port, NULL, 10) <= 65535);
}

static void
check_host(bool has, const char *host)
{
	char lower[DNSNAME_SIZE];

	CHECK(has ? dnsname_valid((const unsigned char *)host, strlen(host), lower) && strcmp(host, lower) == 0
		  : host[0] == '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	unsigned char out[UCSPI_MAX];
	struct ucspi u;

	/* What a reader leaves out must not look like a text. */
	memset(&u, 0x7f, sizeof u);
	if (ucspi_unpack((struct span){.p = data, .n = n}, &u) < 0)
		return 0;
	check_ip(u.local_ip);
	check_ip(u.remote_ip);
	check_port(u.local_port);
	check_port(u.remote_port);
	check_host(u.has_local_host, u.local_host);
	check_host(u.has_remote_host, u.remote_host);
	CHECK(ucspi_pack(&u, out, sizeof out) == (long)n && memcmp(out, data, n) == 0);
	return 0;
}
