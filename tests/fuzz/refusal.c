/*
 * Fuzzes the words found for a chain that was refused. The first byte tells how
 * many of the certificates are trust anchors, and whose the chain is; each three
 * others are one of them: its name, its issuer's, and what it is good for.
 * Checks that what is said is so: of the leaf, of the anchor, or of one of
 * those in between.
 */
#include "core/refusal.h"
#include "core/x509.h"

#include "fuzz.h"

#include <stdio.h>
#include <string.h>

/* The third byte; the two bits from PATH on are a path length, those from TIMES on say when it is valid. */
enum { AUTHORITY = 1, PATH = 2, SIGNS_CERTIFICATES = 8, SIGNS_HANDSHAKES = 16, TIMES = 32 };
enum { GOOD, EXPIRED, EARLY, GOOD_TOO };

/* 2026-01-01 */
static const int64_t now = 1767225600;

/* The longest chain, more than is followed; and the length of each certificate. */
enum { MOST = 14, LENGTH = 92 };

/* A certificate with all that is looked at, and no key. */
static struct span
make(const uint8_t *p, unsigned char out[LENGTH])
{
	static const char *const times[] = {"200101000000Z\x17\x0d"
					    "400101000000Z",
	    "200101000000Z\x17\x0d"
	    "210101000000Z",
	    "300101000000Z\x17\x0d"
	    "400101000000Z",
	    "200101000000Z\x17\x0d"
	    "400101000000Z"};
	const unsigned char ca = p[2] & AUTHORITY ? 0xff : 0, path = p[2] / PATH & 3;
	const unsigned char usage =
	    (unsigned char)((p[2] & SIGNS_CERTIFICATES ? 0x04 : 0) | (p[2] & SIGNS_HANDSHAKES ? 0x80 : 0));
	const unsigned char before[] = {
	    0x30, LENGTH - 2, 0x30, LENGTH - 4, 0xa0, 3, 2, 1, 2, 2, 1, 7, 0x30, 0, 0x30, 3, 2, 1, p[1], 0x30, 30};
	const unsigned char behind[] = {0x30, 3, 2, 1, p[0], 0x30, 0, 0xa3, 32, 0x30, 30, 0x30, 15, 6, 3, 0x55, 0x1d,
	    X509_BASIC_CONSTRAINTS, 4, 8, 0x30, 6, 1, 1, ca, 2, 1, path, 0x30, 11, 6, 3, 0x55, 0x1d, X509_KEY_USAGE, 4,
	    4, 3, 2, 0, usage};

	_Static_assert(sizeof before + 30 + sizeof behind == LENGTH, "each length above counts on the others");
	memcpy(out, before, sizeof before);
	memcpy(out + sizeof before, "\x17\x0d", 2);
	memcpy(out + sizeof before + 2, times[p[2] / TIMES & 3], 28);
	memcpy(out + sizeof before + 30, behind, sizeof behind);
	return (struct span){out, LENGTH};
}

/* Whether any of the n certificates behind the first `from` has these bits of its third byte. */
static bool
any(const uint8_t *p, size_t from, size_t n, unsigned mask, unsigned bits)
{
	for (size_t i = from; i < n; i++)
		if ((p[3 * i + 2] & mask) == bits)
			return true;
	return false;
}

static void
check(const uint8_t *p, const struct refused_chain *c, enum refusal why, size_t anchor)
{
	const size_t n = c->n + c->anchors_n;
	const unsigned both = AUTHORITY | SIGNS_CERTIFICATES;

	CHECK(anchor <= c->anchors_n);
	switch (why) {
	case REFUSAL_EXPIRED: CHECK(any(p, 0, n, 3 * TIMES, EXPIRED * TIMES)); break;
	case REFUSAL_EARLY: CHECK(any(p, 0, n, 3 * TIMES, EARLY * TIMES)); break;
	case REFUSAL_UNKNOWN: CHECK(anchor == c->anchors_n); break;
	case REFUSAL_SELF_SIGNED: CHECK(anchor == c->anchors_n && p[0] == p[1]); break;
	case REFUSAL_NO_CA:
		CHECK(any(p, 1, n, both, 0) || any(p, 1, n, both, AUTHORITY) || any(p, 1, n, both, SIGNS_CERTIFICATES));
		break;
	case REFUSAL_PATH: CHECK(n >= 3); break; /* an authority has none between it and the leaf */
	case REFUSAL_USAGE: CHECK(!(p[2] & SIGNS_HANDSHAKES)); break;
	case REFUSAL_SIGNATURE: CHECK(anchor < c->anchors_n); break;
	case REFUSAL_NONE:
	case REFUSAL_EXTENSION:
	case REFUSAL_NAME: abort();
	}
	/* An anchor that is found has issued one of the chain, or is its leaf. */
	if (anchor < c->anchors_n) {
		const unsigned name = p[3 * (c->n + anchor)];
		bool issued = memcmp(c->chain[0].p, c->anchors[anchor].p, LENGTH) == 0;

		for (size_t i = 0; i < c->n; i++)
			issued = issued || p[3 * i + 1] == name;
		CHECK(issued);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static unsigned char room[MOST][LENGTH];
	struct span certificates[MOST];
	size_t count = n < 1 ? 0 : (n - 1) / 3, anchor;

	if (count < 1)
		return 0;
	count = count < MOST ? count : MOST;
	for (size_t i = 0; i < count; i++)
		certificates[i] = make(data + 1 + 3 * i, room[i]);
	const size_t anchors = data[0] / 2 % (count + 1);
	const struct refused_chain c = {.chain = certificates,
	    .n = count - anchors,
	    .anchors = certificates + count - anchors,
	    .anchors_n = anchors,
	    .server = data[0] & 1,
	    .now = now};
	enum refusal why = refusal_of_chain(&c, &anchor);

	CHECK(refusal_text(why, c.server) != NULL && printable(refusal_text(why, c.server)));
	if (c.n > 0)
		check(data + 1, &c, why, anchor);
	else
		CHECK(why == REFUSAL_UNKNOWN && anchor == anchors);
	return 0;
}
