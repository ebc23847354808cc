/*
 * DNS names as a peer may send them in SNI (RFC 6066, section 3).
 */
#ifndef CORE_DNSNAME_H
#define CORE_DNSNAME_H

#include <stdbool.h>
#include <stddef.h>

/* 253 octets at most (RFC 1035, 2.3.4, in presentation form) and a NUL. */
#define DNSNAME_SIZE 254

/*
 * Whether the n bytes at name are a DNS host name: labels of 1 to 63 letters,
 * digits, '-' and '_', no '-' at either end of one, no trailing dot, and not
 * an IPv4 address (last label all digits). If so, out gets it in lower case,
 * NUL-terminated; if not, out is not touched.
 */
bool dnsname_valid(const unsigned char *name, size_t n, char out[DNSNAME_SIZE]);

#endif
