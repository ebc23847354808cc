/*
 * The little of DER (X.690) that the program reads itself: one element after
 * another, definite and minimal lengths only. Never allocates.
 */
#ifndef CORE_DER_H
#define CORE_DER_H

#include "core/span.h"

/* Universal and context tags, as the identifier octet stands in the encoding. */
enum der_tag {
	DER_INTEGER = 0x02,
	DER_OCTETSTRING = 0x04,
	DER_OID = 0x06,
	DER_UTF8STRING = 0x0c,
	DER_NUMERICSTRING = 0x12,
	DER_PRINTABLESTRING = 0x13,
	DER_IA5STRING = 0x16,
	DER_VISIBLESTRING = 0x1a,
	DER_UNIVERSALSTRING = 0x1c,
	DER_BMPSTRING = 0x1e,
	DER_SEQUENCE = 0x30,
	DER_SET = 0x31,
	DER_CONTEXT_0 = 0xa0,
};

/*
 * Takes the first element off *in. *tag gets the identifier octet, *content
 * the contents octets, both within *in's memory. Returns 0, or -1 when *in is
 * empty, cut, of a multi-byte tag or of an indefinite or padded length; *in is
 * then as it was.
 */
int der_next(struct span *in, unsigned *tag, struct span *content);

/* As der_next, and fails when the element is not of the given tag. */
int der_expect(struct span *in, unsigned tag, struct span *content);

/* Whether the bytes are exactly one SEQUENCE, as every key and certificate in DER is. */
int der_is_sequence(struct span in);

#endif
