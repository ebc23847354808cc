/*
 * Takes DER elements apart: X.690 sections 8.1 (identifier, length, contents)
 * and 10.1 (lengths are definite and minimal). Reads nothing beyond the span
 * it was given, gives out nothing that is not inside it, and must never judge
 * what the contents mean.
 */
#include "core/der.h"

#include <stdbool.h>

/* The identifier octet's low five bits when the tag number follows in more octets (X.690, 8.1.2.4). */
#define TAG_NUMBER 0x1f

static unsigned char
span_shift(struct span *in)
{
	in->n--;
	return *in->p++;
}

/* Takes the length octets off *in; false when cut, indefinite, padded, or more than any span could hold. */
static bool
der_length(struct span *in, size_t *n)
{
	if (in->n == 0)
		return false;
	unsigned char first = span_shift(in);
	*n = first;
	if (first < 0x80)
		return true;

	size_t octets = first & 0x7f;
	if (octets == 0 || octets > sizeof *n || octets > in->n || in->p[0] == 0)
		return false;
	for (*n = 0; octets > 0; octets--)
		*n = *n << 8 | span_shift(in);
	return *n >= 0x80;
}

int
der_next(struct span *in, unsigned *tag, struct span *content)
{
	struct span rest = *in;
	size_t n;

	if (rest.n == 0)
		return -1;
	unsigned identifier = span_shift(&rest);
	if ((identifier & TAG_NUMBER) == TAG_NUMBER || !der_length(&rest, &n) || n > rest.n)
		return -1;

	*tag = identifier;
	*content = (struct span){.p = rest.p, .n = n};
	*in = (struct span){.p = rest.p + n, .n = rest.n - n};
	return 0;
}

int
der_expect(struct span *in, unsigned tag, struct span *content)
{
	struct span rest = *in, found;
	unsigned actual;

	if (der_next(&rest, &actual, &found) < 0 || actual != tag)
		return -1;
	*content = found;
	*in = rest;
	return 0;
}

int
der_is_sequence(struct span in)
{
	struct span content;

	return der_expect(&in, DER_SEQUENCE, &content) == 0 && in.n == 0;
}
