/*
 * A run of bytes that somebody else owns; p may be NULL when n is 0.
 */
#ifndef CORE_SPAN_H
#define CORE_SPAN_H

#include <stddef.h>

struct span {
	const unsigned char *p;
	size_t n;
};

#endif
