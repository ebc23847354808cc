/*
 * Whether a certificate is valid at a moment, by the two times in it (RFC
 * 5280, 4.1.2.5). For words about a certificate, not for trust.
 */
#ifndef CORE_VALIDITY_H
#define CORE_VALIDITY_H

#include "core/span.h"

#include <stdint.h>

enum validity { VALIDITY_UNKNOWN, VALIDITY_EARLY, VALIDITY_GOOD, VALIDITY_EXPIRED };

/* `der` is a certificate, `now` seconds since 1970-01-01 UTC. VALIDITY_UNKNOWN when it cannot be read. */
enum validity validity_at(struct span der, int64_t now);

/* The length of a time as text, with its NUL. */
#define VALIDITY_SIZE sizeof "2026-12-24T03:42:00Z"

/* Prints until when the certificate is valid, UTC (RFC 3339). Returns 0, or -1 when it cannot be read. */
int validity_until(struct span der, char out[VALIDITY_SIZE]);

#endif
