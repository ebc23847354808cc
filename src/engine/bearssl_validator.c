/*
 * What br_x509_minimal does not do, and this does: extended key usage, name
 * constraints (refused), the anchors' own validity and path lengths, trust in
 * a leaf that is an anchor itself, addresses as names, and the difference
 * between a peer without a certificate and one with a bad one.
 */
#include "engine/bearssl_validator.h"

#include "core/validity.h"
#include "core/x509.h"
#include "engine/bearssl_reason.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The least RSA key that is trusted, in octets: 2048 bits. */
#define LEAST_RSA 256

static struct validator *
self(const br_x509_class *const *context)
{
	/* The vtable is the first member, and no validator is constant. */
	return (struct validator *)(void *)context;
}

/* -- the methods that BearSSL calls --------------------------------------- */

static void
start_chain(const br_x509_class **context, const char *server_name)
{
	struct validator *v = self(context);

	/* Names are checked here: the library knows no addresses. */
	(void)server_name;
	v->valid = v->overflow = false;
	v->why = NULL;
	v->n = v->used = v->path = 0;
	v->inner.vtable->start_chain(&v->inner.vtable, NULL);
	br_x509_decoder_init(&v->unverified, NULL, NULL);
}

/* An anchor that lets no more than n authorities stand below it is none for what comes behind them. */
static void
drop_short_anchors(struct validator *v, size_t authorities)
{
	for (size_t i = 0; i < v->trusted_n; i++)
		if (v->path_lengths[i] >= 0 && (size_t)v->path_lengths[i] < authorities)
			v->trusted[i].flags = 0;
}

static void
start_cert(const br_x509_class **context, uint32_t length)
{
	struct validator *v = self(context);

	/* A peer that shows a certificate has to be what it says: only one that shows none may go without. */
	br_ssl_engine_remove_flags(v->engine, BR_OPT_TOLERATE_NO_CLIENT_AUTH);
	if (v->n == CHAIN_CERTIFICATES || length > sizeof v->bytes - v->used)
		v->overflow = true;
	if (v->overflow)
		return;
	v->certificates[v->n] = (struct span){v->bytes + v->used, 0};
	drop_short_anchors(v, v->n);
	v->inner.vtable->start_cert(&v->inner.vtable, length);
}

static void
append(const br_x509_class **context, const unsigned char *p, size_t n)
{
	struct validator *v = self(context);

	if (v->overflow)
		return;
	memcpy(v->bytes + v->used, p, n);
	v->used += n;
	v->certificates[v->n].n += n;
	if (v->verify != VERIFY_NONE)
		v->inner.vtable->append(&v->inner.vtable, p, n);
	else if (v->n == 0)
		br_x509_decoder_push(&v->unverified, p, n);
}

static void
end_cert(const br_x509_class **context)
{
	struct validator *v = self(context);

	if (v->overflow)
		return;
	v->inner.vtable->end_cert(&v->inner.vtable);
	v->n++;
	/* Before the chain's end there is a key to be had only if an anchor was met. */
	if (v->path == 0 && v->inner.vtable->get_pkey(&v->inner.vtable, NULL))
		v->path = v->n;
}

static bool
is_anchor(const struct validator *v, struct span der)
{
	for (size_t i = 0; i < v->anchors->n; i++)
		if (v->anchors->v[i].der.n == der.n && memcmp(v->anchors->v[i].der.p, der.p, der.n) == 0)
			return true;
	return false;
}

static unsigned
refuse(struct validator *v, unsigned error, const char *why)
{
	v->why = why;
	return error;
}

static bool
constrained(const struct validator *v, size_t n)
{
	struct span value;

	for (size_t i = 0; i < n; i++)
		if (x509_extension(v->certificates[i], X509_NAME_CONSTRAINTS, &value) != 0)
			return true;
	return false;
}

#define CONSTRAINED "name constraints, which BearSSL cannot check, stand in its chain"

/* Everything on the way to the anchor looks right. Is it that the anchor was not taken as an authority here? */
static const char *
about_anchor(const struct validator *v, size_t i)
{
	struct span value;

	if (i == v->anchors->n || v->anchors->v[i].authority)
		return REFUSED_SIGNATURE;
	return x509_extension(v->anchors->v[i].der, X509_NAME_CONSTRAINTS, &value) != 0 ? CONSTRAINED : "key too small";
}

/* What the library said, in better words where there are any: it stops at the first thing that it sees. */
static unsigned
explain(struct validator *v, unsigned error)
{
	struct refused_chain c = {
	    v->certificates, v->anchors->ders, v->n, v->anchors->n, v->servers, (int64_t)time(NULL)};
	enum refusal why;
	size_t anchor;

	if (error == BR_ERR_X509_CRITICAL_EXTENSION && constrained(v, v->n))
		return refuse(v, error, CONSTRAINED);
	if (!reason_is_vague((int)error))
		return error;
	why = refusal_of_chain(&c, &anchor);
	if (why != REFUSAL_SIGNATURE)
		return refuse(v, error, refusal_text(why, v->servers));
	/* Where the whole looks right, the others have words of their own. */
	return error == BR_ERR_X509_NOT_TRUSTED ? refuse(v, error, about_anchor(v, anchor)) : error;
}

/* The path is verified; whether every certificate on it may be there is left. */
static unsigned
check_path(struct validator *v)
{
	enum refusal why;

	if (constrained(v, v->path))
		return refuse(v, BR_ERR_X509_CRITICAL_EXTENSION, CONSTRAINED);
	for (size_t i = 0; i < v->path; i++)
		if (!x509_purpose(v->certificates[i], v->servers))
			return refuse(v, BR_ERR_X509_FORBIDDEN_KEY_USAGE, refusal_text(REFUSAL_USAGE, v->servers));
	why = refusal_of_leaf(v->certificates[0], v->servers, v->name);
	if (why == REFUSAL_USAGE)
		return refuse(v, BR_ERR_X509_FORBIDDEN_KEY_USAGE, refusal_text(why, v->servers));
	if (why == REFUSAL_NAME) {
		refusal_name(v->certificates[0], v->name, v->misnamed);
		return refuse(v, BR_ERR_X509_BAD_SERVER_NAME, v->misnamed);
	}
	v->valid = true;
	return 0;
}

static unsigned
end_chain(const br_x509_class **context)
{
	struct validator *v = self(context);
	unsigned error;

	if (v->overflow)
		return refuse(v, BR_ERR_X509_LIMIT_EXCEEDED, "its chain has more than 16 certificates or 64 kB");
	if (v->verify == VERIFY_NONE)
		return (unsigned)br_x509_decoder_last_error(&v->unverified);
	error = v->inner.vtable->end_chain(&v->inner.vtable);
	if (error == BR_ERR_X509_NOT_TRUSTED && is_anchor(v, v->certificates[0])) {
		v->path = 1;
		error = 0;
	}
	return error ? explain(v, error) : check_path(v);
}

static const br_x509_pkey *
get_pkey(const br_x509_class *const *context, unsigned *usages)
{
	struct validator *v = self(context);

	if (v->verify != VERIFY_NONE)
		return v->inner.vtable->get_pkey(&v->inner.vtable, usages);
	if (usages)
		*usages = BR_KEYTYPE_KEYX | BR_KEYTYPE_SIGN;
	return br_x509_decoder_get_pkey(&v->unverified);
}

static const br_x509_class methods = {
    .context_size = sizeof(struct validator),
    .start_chain = start_chain,
    .start_cert = start_cert,
    .append = append,
    .end_cert = end_cert,
    .end_chain = end_chain,
    .get_pkey = get_pkey,
};

/* -- set up --------------------------------------------------------------- */

/* The library does not look at the anchors' dates; a listener may outlive them. */
static int
choose_anchors(struct validator *v)
{
	const struct anchors *a = v->anchors;
	int64_t now = time(NULL);

	v->trusted = calloc(a->n, sizeof *v->trusted);
	v->path_lengths = calloc(a->n, sizeof *v->path_lengths);
	if (!v->trusted || !v->path_lengths)
		return -1;
	for (size_t i = 0; i < a->n; i++) {
		if (!a->v[i].authority || validity_at(a->v[i].der, now) != VALIDITY_GOOD)
			continue;
		v->trusted[v->trusted_n] = a->v[i].ta;
		v->path_lengths[v->trusted_n++] = a->v[i].path_length;
	}
	return 0;
}

int
validator_open(struct validator *v, br_ssl_engine_context *engine, enum verify verify, const struct anchors *anchors,
    bool servers, const char *name)
{
	v->vtable = &methods;
	v->engine = engine;
	v->verify = verify;
	v->anchors = anchors;
	v->servers = servers;
	v->name = name;
	if (verify != VERIFY_NONE && choose_anchors(v) < 0)
		return -1;
	br_x509_minimal_init_full(&v->inner, v->trusted, v->trusted_n);
	br_x509_minimal_set_hash(&v->inner, br_sha1_ID, NULL);
	br_x509_minimal_set_minrsa(&v->inner, LEAST_RSA);
	br_ssl_engine_set_x509(engine, &v->vtable);
	return 0;
}

void
validator_close(struct validator *v)
{
	free(v->trusted);
	free(v->path_lengths);
	v->trusted = NULL;
	v->path_lengths = NULL;
}
