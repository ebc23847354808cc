/*
 * Most errors have one meaning. Those that say no more than that no path was
 * found are looked into: the library gives up on an issuer for reasons that it
 * does not tell.
 */
#include "engine/refused.h"

#include "core/x509.h"

#include <openssl/crypto.h>
#include <openssl/x509.h>

#include <stdlib.h>
#include <time.h>

/* Certificates in DER, each the library's to free. */
struct encoded {
	struct span *v;
	size_t n;
};

static struct span
encode(X509 *x)
{
	unsigned char *der = NULL;
	int n = x ? i2d_X509(x, &der) : -1;

	return (struct span){der, n < 0 ? 0 : (size_t)n};
}

static void
add(struct encoded *e, X509 *x)
{
	struct span der = encode(x);

	if (der.p)
		e->v[e->n++] = der;
}

static void
forget(struct encoded *e)
{
	for (size_t i = 0; e->v && i < e->n; i++)
		OPENSSL_free((void *)e->v[i].p);
	free(e->v);
}

/* What the peer sent, its own first. */
static struct encoded
sent(X509_STORE_CTX *store)
{
	STACK_OF(X509) *rest = X509_STORE_CTX_get0_untrusted(store);
	X509 *leaf = X509_STORE_CTX_get0_cert(store);
	int n = rest ? sk_X509_num(rest) : 0;
	struct encoded e = {.v = calloc((size_t)n + 1, sizeof *e.v)};

	if (!e.v)
		return e;
	add(&e, leaf);
	for (int i = 0; i < n; i++)
		if (X509_cmp(sk_X509_value(rest, i), leaf) != 0)
			add(&e, sk_X509_value(rest, i));
	return e;
}

static struct encoded
trusted(X509_STORE_CTX *store)
{
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(X509_STORE_CTX_get0_store(store));
	int n = all ? sk_X509_OBJECT_num(all) : 0;
	struct encoded e = {.v = calloc((size_t)n + 1, sizeof *e.v)};

	for (int i = 0; e.v && i < n; i++)
		add(&e, X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i)));
	return e;
}

static enum refusal
look_into(X509_STORE_CTX *store, bool server)
{
	struct encoded chain = sent(store), anchors = trusted(store);
	struct refused_chain c = {chain.v, anchors.v, chain.n, anchors.n, server, time(NULL)};
	size_t anchor;
	enum refusal why = chain.v && anchors.v ? refusal_of_chain(&c, &anchor) : REFUSAL_UNKNOWN;

	forget(&chain);
	forget(&anchors);
	return why;
}

/*
 * What the library saw, unless there is something that every backend tells before it: what the certificates are for,
 * then their times.
 */
static enum refusal
unless_before(X509_STORE_CTX *store, bool server, enum refusal seen)
{
	enum refusal why = look_into(store, server);

	switch (why) {
	case REFUSAL_NO_CA:
	case REFUSAL_USAGE:
	case REFUSAL_EARLY:
	case REFUSAL_EXPIRED: return why;
	default: return seen;
	}
}

static enum refusal
meaning(X509_STORE_CTX *store, bool server)
{
	switch (X509_STORE_CTX_get_error(store)) {
	case X509_V_ERR_CERT_HAS_EXPIRED: return unless_before(store, server, REFUSAL_EXPIRED);
	case X509_V_ERR_CERT_NOT_YET_VALID: return unless_before(store, server, REFUSAL_EARLY);
	case X509_V_ERR_CERT_SIGNATURE_FAILURE: return unless_before(store, server, REFUSAL_SIGNATURE);
	case X509_V_ERR_INVALID_CA:
	case X509_V_ERR_INVALID_NON_CA:
	case X509_V_ERR_KEYUSAGE_NO_CERTSIGN: return unless_before(store, server, REFUSAL_NO_CA);
	case X509_V_ERR_PATH_LENGTH_EXCEEDED: return REFUSAL_PATH;
	case X509_V_ERR_INVALID_PURPOSE:
	case X509_V_ERR_KEYUSAGE_NO_DIGITAL_SIGNATURE: return REFUSAL_USAGE;
	case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION: return REFUSAL_EXTENSION;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH: return unless_before(store, server, REFUSAL_NAME);
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_UNTRUSTED: return look_into(store, server);
	default: return REFUSAL_NONE;
	}
}

/* What is ours to judge of a step that the library is content with: X509_V_OK, or the error that it shall have. */
static int
judge(X509_STORE_CTX *store, struct span certificate, bool server, const char *name)
{
	/* To the library an anchor without basic constraints is an authority still. */
	if (X509_STORE_CTX_get_error_depth(store) > 0)
		return x509_authority(certificate) ? X509_V_OK : X509_V_ERR_INVALID_CA;
	switch (refusal_of_leaf(certificate, server, name)) {
	case REFUSAL_NONE: return X509_V_OK;
	case REFUSAL_NAME: return X509_V_ERR_HOSTNAME_MISMATCH;
	default: return X509_V_ERR_INVALID_PURPOSE;
	}
}

/* The library goes down the chain, when all else is found good: its last good step is the leaf's. */
int
refused_step(int ok, X509_STORE_CTX *store, bool server, const char *name, struct refused *r)
{
	struct span der = encode(ok ? X509_STORE_CTX_get_current_cert(store) : X509_STORE_CTX_get0_cert(store));
	int error = ok ? judge(store, der, server, name) : X509_STORE_CTX_get_error(store);
	bool good = ok && error == X509_V_OK;

	if (!good)
		X509_STORE_CTX_set_error(store, error);
	r->good = good && X509_STORE_CTX_get_error_depth(store) == 0;
	r->why = good ? REFUSAL_NONE : meaning(store, server);
	if (r->why == REFUSAL_NAME)
		refusal_name(der, name, r->misnamed);
	OPENSSL_free((void *)der.p);
	return good;
}

const char *
refused_text(const struct refused *r, bool server, long error)
{
	if (r->why == REFUSAL_NAME)
		return r->misnamed;
	return r->why != REFUSAL_NONE ? refusal_text(r->why, server) : X509_verify_cert_error_string(error);
}
