/*
 * Keys are made one by one, from the text again each time: most peers are
 * decided about by the first few or by the last.
 */
#include "core/rules.h"

#include "core/address.h"

#include <stdio.h>
#include <string.h>

/* Leaves the first `bits` of n octets as they are. */
static void
mask(unsigned char *octets, size_t n, size_t bits)
{
	for (size_t i = 0; i < n; i++) {
		size_t kept = bits > 8 * i ? bits - 8 * i : 0;

		if (kept < 8)
			octets[i] = (unsigned char)(octets[i] & ~(0xffU >> kept));
	}
}

bool
rules_address_key(const char *ip, size_t i, char key[RULES_KEY])
{
	unsigned char octets[16];
	char text[ADDRESS_SIZE];
	size_t n = address_parse(ip, octets);

	if (n == 0 || i > 8 * n)
		return false;
	mask(octets, n, 8 * n - i);
	(void)address_print(octets, n, text);
	(void)snprintf(key, RULES_KEY, "%s/%s_%zu", n == 4 ? "ip4" : "ip6", text, 8 * n - i);
	return true;
}

/* The name without its first i labels; "@" when none would be left, NULL beyond that. */
static const char *
parent(const char *name, size_t i)
{
	for (; i > 0; i--) {
		const char *dot = strchr(name, '.');

		if (!dot)
			return i == 1 ? "@" : NULL;
		name = dot + 1;
	}
	return name;
}

bool
rules_name_key(const char *name, size_t i, char key[RULES_KEY])
{
	char lower[DNSNAME_SIZE];
	const char *domain;

	if (!dnsname_valid((const unsigned char *)name, strlen(name), lower))
		return false;
	domain = parent(lower, i);
	if (domain)
		(void)snprintf(key, RULES_KEY, "reversedns/%s", domain);
	return domain != NULL;
}
