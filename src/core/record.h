/*
 * Where the records of TLS begin and end in a stream of bytes (RFC 8446, 5.1;
 * RFC 5246, 6.2.1: the same five octets). Counts lengths, judges nothing.
 */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>

struct record {
	unsigned char header[5];
	unsigned have; /* octets of the header seen, 0 to 4; 0 between records and inside a body */
	size_t left;   /* octets of the body still to come */
};

/* Passes the n bytes at p, the next of the stream. A zeroed struct is at the stream's beginning. */
void record_feed(struct record *r, const unsigned char *p, size_t n);

/* Whether the stream so far ends inside a record. */
bool record_inside(const struct record *r);

#endif
