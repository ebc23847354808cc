/*
 * A hash table with chains of places in one array; places that are free are
 * one more chain. Addresses are the peers' to choose, and so is nothing here
 * that their choice could slow down beyond a walk along all there are.
 */
#include "core/clients.h"

#include "core/address.h"

#include <stdint.h>
#include <string.h>

/* Bytes of an IPv6 address that count, and what stands before an IPv4 one (RFC 4291, 2.5.5.2). */
enum { PREFIX = 8, MAPPED = 12 };

static const uint32_t none = UINT32_MAX;

struct place {
	unsigned char key[CLIENTS_KEY];
	unsigned n;
	uint32_t next;
};

struct clients {
	size_t most;
	uint32_t free;
	uint32_t *chains;
	struct place places[];
};

size_t
clients_size(size_t most)
{
	return sizeof(struct clients) + most * (sizeof(struct place) + sizeof(uint32_t));
}

void
clients_init(struct clients *c, size_t most)
{
	c->most = most;
	c->free = none;
	c->chains = (uint32_t *)&c->places[most];
	for (size_t i = most; i-- > 0;) {
		c->chains[i] = none;
		c->places[i] = (struct place){.next = c->free};
		c->free = (uint32_t)i;
	}
}

int
clients_key(const char *ip, unsigned char key[CLIENTS_KEY])
{
	unsigned char octets[16];
	size_t n = address_parse(ip, octets);

	memset(key, 0, CLIENTS_KEY);
	if (n == 0)
		return -1;
	if (n == 16) {
		memcpy(key, octets, PREFIX);
		return 0;
	}
	key[MAPPED - 2] = key[MAPPED - 1] = 0xff;
	memcpy(key + MAPPED, octets, n);
	return 0;
}

/* FNV-1a. */
static uint32_t *
chain(const struct clients *c, const unsigned char *key)
{
	uint32_t hash = 2166136261U;

	for (size_t i = 0; i < CLIENTS_KEY; i++)
		hash = (hash ^ key[i]) * 16777619U;
	return &c->chains[hash % c->most];
}

/* The link that leads to the key's place, or to none. */
static uint32_t *
find(struct clients *c, const unsigned char *key)
{
	uint32_t *link = chain(c, key);

	while (*link != none && memcmp(c->places[*link].key, key, CLIENTS_KEY) != 0)
		link = &c->places[*link].next;
	return link;
}

unsigned
clients_add(struct clients *c, const unsigned char key[CLIENTS_KEY])
{
	uint32_t *link = find(c, key);
	struct place *p;

	if (*link == none) {
		uint32_t taken = c->free;

		if (taken == none)
			return 0;
		p = &c->places[taken];
		c->free = p->next;
		memcpy(p->key, key, CLIENTS_KEY);
		p->n = 0;
		p->next = none;
		*link = taken;
	}
	return ++c->places[*link].n;
}

unsigned
clients_remove(struct clients *c, const unsigned char key[CLIENTS_KEY])
{
	uint32_t *link = find(c, key), at = *link;

	if (at == none)
		return 0;
	if (--c->places[at].n > 0)
		return c->places[at].n;
	*link = c->places[at].next;
	c->places[at].next = c->free;
	c->free = at;
	return 0;
}

unsigned
clients_count(const struct clients *c, const unsigned char key[CLIENTS_KEY])
{
	uint32_t at = *chain(c, key);

	while (at != none && memcmp(c->places[at].key, key, CLIENTS_KEY) != 0)
		at = c->places[at].next;
	return at == none ? 0 : c->places[at].n;
}
