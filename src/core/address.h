/*
 * IP addresses in numbers, as a certificate may bear them instead of a name.
 */
#ifndef CORE_ADDRESS_H
#define CORE_ADDRESS_H

#include <stddef.h>

/*
 * Reads an address: four decimal numbers without leading zeros, or IPv6 (RFC
 * 4291, 2.2; no zone). Returns its length, 4 or 16, and its octets in network
 * order; 0 where the text is none.
 */
size_t address_parse(const char *text, unsigned char out[16]);

#endif
