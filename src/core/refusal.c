/*
 * Follows a refused chain by the names in it, in the order in which a library
 * that builds the whole path first would look: the path, what its certificates
 * are for, their times, their signatures.
 */
#include "core/refusal.h"

#include "core/validity.h"
#include "core/x509.h"

#include <stdio.h>
#include <string.h>

/* More certificates than any library here would follow. */
#define LONGEST 32

/* The names of a certificate that are told, of those it may have. */
#define NAMES_SIZE 384

const char *
refusal_text(enum refusal why, bool server)
{
	switch (why) {
	case REFUSAL_NONE: break;
	case REFUSAL_EXPIRED: return REFUSED_EXPIRED;
	case REFUSAL_EARLY: return REFUSED_EARLY;
	case REFUSAL_UNKNOWN: return REFUSED_UNKNOWN;
	case REFUSAL_SELF_SIGNED: return REFUSED_SELF_SIGNED;
	case REFUSAL_NO_CA: return REFUSED_NO_CA;
	case REFUSAL_PATH: return REFUSED_PATH;
	case REFUSAL_USAGE: return server ? REFUSED_SERVER_USAGE : REFUSED_CLIENT_USAGE;
	case REFUSAL_SIGNATURE: return REFUSED_SIGNATURE;
	case REFUSAL_EXTENSION: return REFUSED_EXTENSION;
	case REFUSAL_NAME: return REFUSED_NAME;
	}
	return NULL;
}

void
refusal_name(struct span leaf, const char *name, char out[REFUSAL_SIZE])
{
	char names[NAMES_SIZE];
	bool some = x509_names_text(leaf, ", ", names, sizeof names) > 0;

	/* A host name has 253 octets at most; what is longer names nothing. */
	(void)snprintf(out, REFUSAL_SIZE, "it is not for %.253s%s%s", name, some ? ", but for " : ", and bears no name",
	    some ? names : "");
	for (char *c = out; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
}

enum refusal
refusal_of_leaf(struct span leaf, bool server, const char *name)
{
	if (!x509_purpose(leaf, server) || !x509_signs_handshakes(leaf))
		return REFUSAL_USAGE;
	return name && !x509_names(leaf, name) ? REFUSAL_NAME : REFUSAL_NONE;
}

/* -- chains -------------------------------------------------------------- */

struct path {
	struct span v[LONGEST + 1]; /* leaf first; the anchor last, when there is one */
	size_t n;
};

static bool
same(struct span a, struct span b)
{
	return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* Whether `above` has the name of the issuer of `below`; the names as they are encoded. */
static bool
issues(struct span above, struct span below)
{
	struct span subject, issuer;

	return x509_subject(above, &subject) == 0 && x509_issuer(below, &issuer) == 0 && same(subject, issuer);
}

/* Which anchor has the name of the certificate's issuer, best one that may issue, and now; anchors_n: none. */
static size_t
find_anchor(const struct refused_chain *c, struct span below)
{
	size_t found = c->anchors_n;

	for (size_t i = 0; i < c->anchors_n; i++) {
		if (!issues(c->anchors[i], below))
			continue;
		if (x509_authority(c->anchors[i]) && validity_at(c->anchors[i], c->now) == VALIDITY_GOOD)
			return i;
		if (found == c->anchors_n || (x509_authority(c->anchors[i]) && !x509_authority(c->anchors[found])))
			found = i;
	}
	return found;
}

static size_t
find_self(const struct refused_chain *c)
{
	size_t i = 0;

	while (i < c->anchors_n && !same(c->anchors[i], c->chain[0]))
		i++;
	return i;
}

/* Follows the names up to an anchor. */
static enum refusal
follow(const struct refused_chain *c, struct path *p, size_t *anchor)
{
	p->v[0] = c->chain[0];
	p->n = 1;
	if ((*anchor = find_self(c)) < c->anchors_n)
		return REFUSAL_NONE;
	if (issues(p->v[0], p->v[0]))
		return REFUSAL_SELF_SIGNED;
	while (p->n < LONGEST) {
		struct span last = p->v[p->n - 1];
		size_t next = 1;

		if ((*anchor = find_anchor(c, last)) < c->anchors_n) {
			p->v[p->n++] = c->anchors[*anchor];
			return REFUSAL_NONE;
		}
		while (next < c->n && (same(c->chain[next], last) || !issues(c->chain[next], last)))
			next++;
		if (next == c->n)
			break;
		p->v[p->n++] = c->chain[next];
	}
	return REFUSAL_UNKNOWN;
}

static enum refusal
check_uses(const struct path *p, bool server)
{
	for (size_t i = 0; i < p->n; i++) {
		long length = x509_path_length(p->v[i]);

		if (i > 0 && !x509_authority(p->v[i]))
			return REFUSAL_NO_CA;
		if (!x509_purpose(p->v[i], server) || (i == 0 && !x509_signs_handshakes(p->v[i])))
			return REFUSAL_USAGE;
		if (i > 0 && length >= 0 && (size_t)length < i - 1)
			return REFUSAL_PATH;
	}
	return REFUSAL_NONE;
}

static enum refusal
check_times(const struct path *p, int64_t now)
{
	for (size_t i = p->n; i-- > 0;) {
		enum validity v = validity_at(p->v[i], now);

		if (v == VALIDITY_EARLY || v == VALIDITY_EXPIRED)
			return v == VALIDITY_EARLY ? REFUSAL_EARLY : REFUSAL_EXPIRED;
	}
	return REFUSAL_NONE;
}

enum refusal
refusal_of_chain(const struct refused_chain *c, size_t *anchor)
{
	enum refusal why = REFUSAL_UNKNOWN;
	struct path p;

	*anchor = c->anchors_n;
	if (c->n > 0)
		why = follow(c, &p, anchor);
	if (why == REFUSAL_NONE)
		why = check_uses(&p, c->server);
	if (why == REFUSAL_NONE)
		why = check_times(&p, c->now);
	return why == REFUSAL_NONE ? REFUSAL_SIGNATURE : why;
}
