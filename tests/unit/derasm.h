/*
 * An assembler for DER in tests: right lengths for the ordinary case, raw
 * bytes where a case wants to be hostile. Source text, blanks ignored:
 *
 *	hh        a byte in hex
 *	hh( ... ) an element: tag hh, the right length, then what is inside
 *	'...'     the bytes between the quotes as they stand
 */
#ifndef TESTS_DERASM_H
#define TESTS_DERASM_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct derasm {
	unsigned char byte[16384];
	size_t n;
};

static void
derasm_put(struct derasm *d, unsigned byte)
{
	if (d->n == sizeof d->byte)
		abort();
	d->byte[d->n++] = (unsigned char)byte;
}

/* Puts the minimal length of what was written since `start` before it. */
static void
derasm_length(struct derasm *d, size_t start)
{
	size_t n = d->n - start;
	unsigned char head[3] = {(unsigned char)n};
	size_t h = 1;

	if (n > 0xff) {
		memcpy(head, (unsigned char[]){0x82, (unsigned char)(n >> 8), (unsigned char)n}, 3);
		h = 3;
	} else if (n > 0x7f) {
		memcpy(head, (unsigned char[]){0x81, (unsigned char)n}, 2);
		h = 2;
	}
	for (size_t i = 0; i < h; i++)
		derasm_put(d, 0);
	memmove(d->byte + start + h, d->byte + start, n);
	memcpy(d->byte + start, head, h);
}

/* Assembles up to the end of the text or an unmatched ')', and returns where it stopped. */
static const char *
derasm_run(struct derasm *d, const char *s)
{
	for (;;) {
		unsigned byte;
		while (isspace((unsigned char)*s))
			s++;
		if (*s == '\0' || *s == ')')
			return s;
		if (*s == '\'') {
			for (s++; *s != '\''; s++)
				derasm_put(d, (unsigned char)*s);
			s++;
			continue;
		}
		if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]) || sscanf(s, "%2x", &byte) != 1)
			abort();
		derasm_put(d, byte);
		s += 2;
		if (*s != '(')
			continue;
		size_t start = d->n;
		s = derasm_run(d, s + 1);
		if (*s++ != ')')
			abort();
		derasm_length(d, start);
	}
}

static struct derasm
derasm(const char *source)
{
	struct derasm d = {0};

	if (*derasm_run(&d, source) != '\0')
		abort();
	return d;
}

#endif
