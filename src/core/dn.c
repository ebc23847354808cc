/*
 * Walks a certificate to its subject (RFC 5280, section 4.1) and prints that
 * as RFC 4514 says. Linear in the certificate, and without allocation: a peer
 * chooses what is in it. Must never print a text that two different lists of
 * attributes could share by a missing escape, and never a cut one.
 */
#include "core/dn.h"

#include "core/der.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Text as it grows; n <= room, and full says that something did not fit. */
struct text {
	char *p;
	size_t n, room;
	bool full;
};

/*
 * One arc of an OID in decimal, least digit first, padded with zeros. 19
 * octets carry 133 bits, which is 41 digits: room for a UUID (X.667, 2.25).
 */
#define ARC_OCTETS 19
#define ARC_DIGITS 41

struct arc {
	unsigned char digit[ARC_DIGITS];
};

/* RFC 4514, section 3. */
static const struct keyword {
	const char *name;
	size_t n;
	const char *oid;
} keywords[] = {
    {"CN", 3, "\x55\x04\x03"},
    {"L", 3, "\x55\x04\x07"},
    {"ST", 3, "\x55\x04\x08"},
    {"O", 3, "\x55\x04\x0a"},
    {"OU", 3, "\x55\x04\x0b"},
    {"C", 3, "\x55\x04\x06"},
    {"STREET", 3, "\x55\x04\x09"},
    {"DC", 10, "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19"},
    {"UID", 10, "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01"},
};

static void
text_char(struct text *t, char c)
{
	if (t->n < t->room)
		t->p[t->n++] = c;
	else
		t->full = true;
}

static void
text_string(struct text *t, const char *s)
{
	while (*s != '\0')
		text_char(t, *s++);
}

static void
text_hex(struct text *t, unsigned char byte)
{
	static const char digits[] = "0123456789ABCDEF";

	text_char(t, digits[byte >> 4]);
	text_char(t, digits[byte & 0x0f]);
}

/* One byte of a value with the escapes of RFC 4514, section 2.4; first and last are about the whole value. */
static void
text_escaped(struct text *t, unsigned char byte, bool first, bool last)
{
	bool printable = byte >= 0x20 && byte <= 0x7e;

	if (!printable || strchr("\"+,;<>\\", byte) != NULL || (first && byte == '#') ||
	    ((first || last) && byte == ' '))
		text_char(t, '\\');
	if (printable)
		text_char(t, (char)byte);
	else
		text_hex(t, byte);
}

/* One character in UTF-8 (RFC 3629, section 3). */
static void
text_rune(struct text *t, uint32_t c, bool first, bool last)
{
	static const unsigned char lead[] = {0x00, 0xc0, 0xe0, 0xf0};
	unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

	text_escaped(t, (unsigned char)(lead[more] | c >> 6 * more), first, last);
	while (more-- > 0)
		text_escaped(t, (unsigned char)(0x80 | (c >> 6 * more & 0x3f)), false, false);
}

/* Turns round what was written since `start`. */
static void
text_reverse(struct text *t, size_t start)
{
	for (size_t i = start, j = t->n; i + 1 < j; i++) {
		char c = t->p[i];
		t->p[i] = t->p[--j];
		t->p[j] = c;
	}
}

static void
arc_append(struct arc *a, unsigned bits)
{
	unsigned carry = bits;

	for (size_t i = 0; i < ARC_DIGITS; i++) {
		unsigned v = a->digit[i] * 128u + carry;
		a->digit[i] = (unsigned char)(v % 10);
		carry = v / 10;
	}
}

/* Takes an arc off *oid (X.690, 8.19.2); false when it is cut, padded, or of more than ARC_OCTETS. */
static bool
arc_next(struct span *oid, struct arc *a)
{
	*a = (struct arc){0};
	if (oid->n == 0 || oid->p[0] == 0x80)
		return false;
	for (size_t i = 0; i < oid->n && i < ARC_OCTETS; i++) {
		unsigned char byte = oid->p[i];
		arc_append(a, byte & 0x7f);
		if (byte < 0x80) {
			*oid = (struct span){.p = oid->p + i + 1, .n = oid->n - i - 1};
			return true;
		}
	}
	return false;
}

/* The two arcs that share one encoding, root * 40 + second (X.690, 8.19.4): returns the root, leaves the second. */
static unsigned
arc_split(struct arc *a)
{
	bool above_99 = false;
	for (size_t i = 2; i < ARC_DIGITS; i++)
		above_99 |= a->digit[i] != 0;

	unsigned root = above_99 || a->digit[1] >= 8 ? 2 : a->digit[1] / 4u;
	unsigned borrow = 4 * root;
	for (size_t i = 1; borrow > 0; i++) {
		bool under = a->digit[i] < borrow;
		a->digit[i] = (unsigned char)(a->digit[i] + (under ? 10u : 0u) - borrow);
		borrow = under;
	}
	return root;
}

static void
arc_print(struct text *t, const struct arc *a)
{
	size_t i = ARC_DIGITS - 1;

	while (i > 0 && a->digit[i] == 0)
		i--;
	for (;; i--) {
		text_char(t, (char)('0' + a->digit[i]));
		if (i == 0)
			break;
	}
}

static bool
oid_print(struct text *t, struct span oid)
{
	struct arc a;

	if (!arc_next(&oid, &a))
		return false;
	text_char(t, (char)('0' + arc_split(&a)));
	text_char(t, '.');
	arc_print(t, &a);
	while (oid.n > 0) {
		if (!arc_next(&oid, &a))
			return false;
		text_char(t, '.');
		arc_print(t, &a);
	}
	return true;
}

static const struct keyword *
keyword_find(struct span oid)
{
	for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
		if (keywords[i].n == oid.n && memcmp(keywords[i].oid, oid.p, oid.n) == 0)
			return &keywords[i];
	return NULL;
}

/* Takes n octets off *in, big end first; the caller has seen that they are there. */
static uint32_t
wide_unit(struct span *in, size_t n)
{
	uint32_t v = 0;

	for (; n > 0; n--) {
		v = v << 8 | *in->p++;
		in->n--;
	}
	return v;
}

/*
 * Takes a character off a BMPString or UniversalString; false when what is
 * there is none. BMPString has no surrogates by X.680, but is written as UTF-16.
 */
static bool
wide_next(struct span *in, unsigned tag, uint32_t *c)
{
	const size_t unit = tag == DER_BMPSTRING ? 2 : 4;

	if (in->n < unit)
		return false;
	*c = wide_unit(in, unit);
	if (unit == 2 && *c >= 0xd800 && *c <= 0xdbff && in->n >= unit) {
		uint32_t low = wide_unit(in, unit);
		if (low < 0xdc00 || low > 0xdfff)
			return false;
		*c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
	}
	return *c <= 0x10ffff && !(*c >= 0xd800 && *c <= 0xdfff);
}

static bool
wide_valid(struct span in, unsigned tag)
{
	uint32_t c;

	if (tag != DER_BMPSTRING && tag != DER_UNIVERSALSTRING)
		return false;
	while (in.n > 0)
		if (!wide_next(&in, tag, &c))
			return false;
	return true;
}

static void
wide_print(struct text *t, struct span in, unsigned tag)
{
	uint32_t c;

	for (bool first = true; in.n > 0 && wide_next(&in, tag, &c); first = false)
		text_rune(t, c, first, in.n == 0);
}

static bool
tag_is_bytes(unsigned tag)
{
	return tag == DER_UTF8STRING || tag == DER_PRINTABLESTRING || tag == DER_IA5STRING ||
	       tag == DER_NUMERICSTRING || tag == DER_VISIBLESTRING;
}

static void
bytes_print(struct text *t, struct span v)
{
	for (size_t i = 0; i < v.n; i++)
		text_escaped(t, v.p[i], i == 0, i + 1 == v.n);
}

static void
hex_print(struct text *t, struct span der)
{
	text_char(t, '#');
	for (size_t i = 0; i < der.n; i++)
		text_hex(t, der.p[i]);
}

/* AttributeTypeAndValue (RFC 5280, section 4.1.2.4). */
static bool
attribute_print(struct text *t, struct span attribute)
{
	struct span type, value, der;
	unsigned tag;

	if (der_expect(&attribute, DER_OID, &type) < 0)
		return false;
	der = attribute;
	if (der_next(&attribute, &tag, &value) < 0 || attribute.n != 0)
		return false;

	const struct keyword *k = keyword_find(type);
	if (k != NULL)
		text_string(t, k->name);
	else if (!oid_print(t, type))
		return false;
	text_char(t, '=');

	if (k != NULL && tag_is_bytes(tag))
		bytes_print(t, value);
	else if (k != NULL && wide_valid(value, tag))
		wide_print(t, value, tag);
	else
		hex_print(t, der);
	return true;
}

/* A SET of at least one attribute, in the certificate's order. */
static bool
rdn_print(struct text *t, struct span rdn)
{
	struct span attribute;

	for (;;) {
		if (der_expect(&rdn, DER_SEQUENCE, &attribute) < 0 || !attribute_print(t, attribute))
			return false;
		if (rdn.n == 0)
			return true;
		text_char(t, '+');
	}
}

/*
 * DER can be walked forwards only, and the last RDN comes first: so each RDN
 * is turned round where it stands, and at the end the whole text.
 */
static bool
name_print(struct text *t, struct span name)
{
	struct span rdn;

	for (bool first = true; name.n > 0; first = false) {
		if (!first)
			text_char(t, ',');
		size_t start = t->n;
		if (der_expect(&name, DER_SET, &rdn) < 0 || !rdn_print(t, rdn))
			return false;
		text_reverse(t, start);
	}
	text_reverse(t, 0);
	return true;
}

/* What stands before the subject (RFC 5280, section 4.1) is stepped over, not judged. */
static bool
subject_find(struct span der, struct span *subject)
{
	static const unsigned before[] = {
	    DER_INTEGER,  /* serialNumber */
	    DER_SEQUENCE, /* signature */
	    DER_SEQUENCE, /* issuer */
	    DER_SEQUENCE, /* validity */
	};
	struct span certificate, tbs, skipped;

	if (der_expect(&der, DER_SEQUENCE, &certificate) < 0 || der.n != 0)
		return false;
	if (der_expect(&certificate, DER_SEQUENCE, &tbs) < 0)
		return false;
	/* Version 1 has no version field. */
	(void)der_expect(&tbs, DER_CONTEXT_0, &skipped);
	for (size_t i = 0; i < sizeof before / sizeof before[0]; i++)
		if (der_expect(&tbs, before[i], &skipped) < 0)
			return false;
	return der_expect(&tbs, DER_SEQUENCE, subject) == 0;
}

long
dn_subject(struct span der, char *out, size_t size)
{
	struct span name;

	if (size == 0)
		return -1;
	struct text t = {.p = out, .room = size - 1};
	if (!subject_find(der, &name) || !name_print(&t, name) || t.full) {
		out[0] = '\0';
		return -1;
	}
	out[t.n] = '\0';
	return (long)t.n;
}
