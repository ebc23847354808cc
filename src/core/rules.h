/*
 * Where the access rules for a peer are looked for: the keys of the directory
 * format of s6-accessrules-cdb-from-fs, from the most to the least particular.
 * A key is a path of two parts, and whatever the peer calls itself, none leads
 * out of the directory.
 */
#ifndef CORE_RULES_H
#define CORE_RULES_H

#include "core/dnsname.h"

#include <stdbool.h>
#include <stddef.h>

/* The longest key, "reversedns/" and a name, with its NUL. */
#define RULES_KEY (11 + DNSNAME_SIZE)

/*
 * Writes the i-th key of an address: "ip4/192.0.2.1_32" and so on to
 * "ip4/0.0.0.0_0", or "ip6/2001:db8::1_128" to "ip6/::_0", with all bits behind
 * the prefix cleared and the address as address_print has it. Returns false
 * behind the last one, and at once (i is 0) where the text is no address. An
 * IPv4-mapped address is IPv6 here.
 */
bool rules_address_key(const char *ip, size_t i, char key[RULES_KEY]);

/*
 * Writes the i-th key of a name, in lower case: "reversedns/www.example.org",
 * "reversedns/example.org", "reversedns/org", and "reversedns/@" for all that
 * have a name. Returns false behind it, and at once where it is not dnsname_valid.
 */
bool rules_name_key(const char *name, size_t i, char key[RULES_KEY]);

#endif
