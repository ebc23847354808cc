/*
 * IP addresses in numbers, as a certificate may bear them instead of a name.
 */
#ifndef CORE_ADDRESS_H
#define CORE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

/* The longest text of an address, with its NUL. */
#define ADDRESS_SIZE 40

/*
 * Reads an address: four decimal numbers without leading zeros, or IPv6 (RFC
 * 4291, 2.2; no zone). Returns its length, 4 or 16, and its octets in network
 * order; 0 where the text is none.
 */
size_t address_parse(const char *text, unsigned char out[16]);

/*
 * Prints the n octets of an address, IPv6 as RFC 5952 wants it. Returns false,
 * and leaves out alone, when n is neither 4 nor 16.
 */
bool address_print(const unsigned char *octets, size_t n, char out[ADDRESS_SIZE]);

#endif
