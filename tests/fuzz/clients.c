/*
 * Fuzzes the count of clients. The first byte is the room there is; each other
 * one is a connection that comes or goes, of an address that is one of few, and
 * of IPv6 in two networks of 64 bits. Checks against a count in an array.
 */
#include "core/clients.h"

#include "fuzz.h"

#include <stdio.h>
#include <string.h>

/* Addresses, of which every four count as one: IPv4 ones are all the same there, IPv6 ones differ in what is left out.
 */
enum { CLIENTS = 32, GOES = 128 };

static void
write_address(unsigned which, unsigned host, char text[64])
{
	if (which % 2)
		(void)snprintf(text, 64, "192.0.2.%u", which);
	else
		(void)snprintf(text, 64, "2001:db8:0:%x::%x", which, host);
}

static void
check_key(unsigned which, unsigned host, unsigned char key[CLIENTS_KEY])
{
	char text[64];

	write_address(which, host, text);
	CHECK(clients_key(text, key) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	unsigned counts[CLIENTS] = {0}, all = 0;
	unsigned char key[CLIENTS_KEY];

	if (n < 1)
		return 0;
	const size_t most = 1 + data[0] % CLIENTS;
	/* Exactly the room that was asked for, so that the sanitizer sees what is behind it. */
	struct clients *c = malloc(clients_size(most));
	CHECK(c != NULL);
	clients_init(c, most);
	for (size_t i = 1; i < n; i++) {
		unsigned which = data[i] % CLIENTS;

		check_key(which, data[i] / CLIENTS, key);
		if (data[i] & GOES && counts[which] > 0) {
			CHECK(clients_remove(c, key) == --counts[which]);
			all--;
		} else if (all < most) {
			CHECK(clients_add(c, key) == ++counts[which]);
			all++;
		}
		for (unsigned k = 0; k < CLIENTS; k++) {
			check_key(k, 0, key);
			CHECK(clients_count(c, key) == counts[k]);
		}
	}
	free(c);
	return 0;
}
