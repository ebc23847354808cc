/*
 * How many connections there are of each client address. An IPv6 client has
 * its /64 to choose addresses from (RFC 6177), and so that counts as one.
 */
#ifndef CORE_CLIENTS_H
#define CORE_CLIENTS_H

#include <stddef.h>

#define CLIENTS_KEY 16

struct clients;

/* Room for up to `most` connections, in bytes; and makes it a count of none. */
size_t clients_size(size_t most);
void clients_init(struct clients *c, size_t most);

/* What an address in numbers counts as. Returns 0, or -1 when it is none. */
int clients_key(const char *ip, unsigned char key[CLIENTS_KEY]);

/* Counts one more, or one less. Returns how many there are then. No more are added than `most`. */
unsigned clients_add(struct clients *c, const unsigned char key[CLIENTS_KEY]);
unsigned clients_remove(struct clients *c, const unsigned char key[CLIENTS_KEY]);

/* How many there are. */
unsigned clients_count(const struct clients *c, const unsigned char key[CLIENTS_KEY]);

#endif
