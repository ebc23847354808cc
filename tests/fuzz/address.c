/*
 * Fuzzes the reader and the printer of addresses: the input is a text, and the
 * octets of an address. Checks against the system's own, which agree but for
 * how they print an IPv6 address that has an IPv4 one in it.
 */
#include "core/address.h"

#include "fuzz.h"

#include <arpa/inet.h>
#include <string.h>

/* What the system makes of the text. */
static size_t
judge(const char *text, unsigned char out[16])
{
	return inet_pton(AF_INET, text, out) == 1 ? 4 : inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static void
check_print(const unsigned char *octets, size_t n)
{
	char text[ADDRESS_SIZE], same[INET6_ADDRSTRLEN];
	unsigned char again[16];

	memset(text, 0x7f, sizeof text);
	CHECK(address_print(octets, n, text) == (n == 4 || n == 16));
	if (n != 4 && n != 16) {
		CHECK(text[0] == 0x7f);
		return;
	}
	CHECK(memchr(text, '\0', sizeof text) != NULL);
	CHECK(address_parse(text, again) == n && memcmp(again, octets, n) == 0);
	CHECK(inet_ntop(n == 4 ? AF_INET : AF_INET6, octets, same, sizeof same) != NULL);
	CHECK(strcmp(text, same) == 0 || (n == 16 && strchr(same, '.')));
}

static void
check_parse(const char *text)
{
	unsigned char octets[16], want[16], untouched[16];
	size_t n;

	memset(untouched, 0x7f, sizeof untouched);
	memcpy(octets, untouched, sizeof octets);
	n = address_parse(text, octets);
	CHECK(n == judge(text, want));
	CHECK(memcmp(octets, want, n) == 0 && memcmp(octets + n, untouched + n, sizeof octets - n) == 0);
	if (n > 0)
		check_print(octets, n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = strndup((const char *)data, n);

	CHECK(text != NULL);
	check_parse(text);
	free(text);
	if (n <= 20)
		check_print(data, n);
	return 0;
}
