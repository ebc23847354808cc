/*
 * BearSSL's decoders keep what they find in themselves: what is needed later
 * is copied out of them.
 */
#include "engine/bearssl_material.h"

#include "core/der.h"
#include "core/x509.h"
#include "engine/bearssl_reason.h"

#include <stdlib.h>
#include <string.h>

/* The least bits of an RSA modulus that has the strength of 112 bits (NIST SP 800-57), as octets. */
#define LEAST_RSA (2048 / 8)

/* What the list of names in a CertificateRequest can hold, a length of 2 octets with each (RFC 5246, 7.4.4). */
#define NAMES_BYTES 65535

static int
no_memory(struct fault *f)
{
	return fault_set(f, FAULT_SYSTEM, "out of memory");
}

static struct span
bytes(const struct blob *b)
{
	return (struct span){b->p, b->n};
}

/* -- certificates -------------------------------------------------------- */

static int
decode(br_x509_decoder_context *d, const struct blob *b, void (*dn)(void *, const void *, size_t), void *to,
    struct fault *f)
{
	int error = BR_ERR_X509_UNEXPECTED;

	br_x509_decoder_init(d, dn, to);
	if (der_is_sequence(bytes(b))) {
		br_x509_decoder_push(d, b->p, b->n);
		error = br_x509_decoder_last_error(d);
	}
	if (error == BR_ERR_X509_UNSUPPORTED || error == BR_ERR_X509_LIMIT_EXCEEDED)
		fault_set(f, FAULT_CONTEXT, "%s: the certificate cannot be used: %s", b->name, reason_text(error));
	else if (error)
		fault_set(f, FAULT_CONTEXT, "%s: not a certificate: %s", b->name, reason_text(error));
	return error;
}

static bool
weak(const br_x509_pkey *k)
{
	return k->key_type == BR_KEYTYPE_RSA && k->key.rsa.nlen < LEAST_RSA;
}

static int
add(struct chain *c, const struct blob *b, struct fault *f)
{
	br_x509_certificate *to = &c->v[c->n];

	to->data = malloc(b->n);
	if (!to->data)
		return no_memory(f);
	memcpy(to->data, b->p, b->n);
	to->data_len = b->n;
	c->n++;
	return 0;
}

/* Those above the leaf are only sent: of what type their keys are is the peer's concern. */
static int
check_above(const struct blob *b, struct fault *f)
{
	br_x509_decoder_context d;
	int error = decode(&d, b, NULL, NULL, f);

	return error == 0 || error == BR_ERR_X509_UNSUPPORTED || error == BR_ERR_X509_LIMIT_EXCEEDED ? 0 : -1;
}

int
leaf_load(br_x509_decoder_context *d, const struct blob *b, struct fault *f)
{
	int error = decode(d, b, NULL, NULL, f);

	if (error == BR_ERR_X509_UNSUPPORTED)
		return fault_set(f, FAULT_CONTEXT, "%s: " UNKNOWN_TYPE, b->name);
	if (error)
		return -1;
	if (weak(br_x509_decoder_get_pkey(d)))
		return fault_set(f, FAULT_CONTEXT, "%s: the certificate cannot be used: key too small", b->name);
	return 0;
}

int
chain_load(struct chain *c, const struct blobs *b, struct fault *f)
{
	br_x509_decoder_context leaf;
	size_t total = 0;

	*c = (struct chain){0};
	if (b->n > CHAIN_CERTIFICATES)
		return fault_set(f, FAULT_CONTEXT, "%s: more than %d certificates", b->v[0].name, CHAIN_CERTIFICATES);
	if (leaf_load(&leaf, &b->v[0], f) < 0)
		return -1;
	c->type = br_x509_decoder_get_pkey(&leaf)->key_type;
	for (size_t i = 0; i < b->n; i++) {
		if ((i > 0 && check_above(&b->v[i], f) < 0) || add(c, &b->v[i], f) < 0)
			return -1;
		total += b->v[i].n;
	}
	if (total > CHAIN_BYTES)
		return fault_set(f, FAULT_CONTEXT, "%s: the chain has more than 64 kB", b->v[0].name);
	return 0;
}

void
chain_free(struct chain *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->v[i].data);
	*c = (struct chain){0};
}

/* -- trust anchors ------------------------------------------------------- */

/* Receives a subject piece by piece; a subject is shorter than its certificate. */
static void
append_name(void *to, const void *piece, size_t n)
{
	br_x500_name *dn = to;

	memcpy(dn->data + dn->len, piece, n);
	dn->len += n;
}

static void
keep_key(struct anchor *a, const br_x509_pkey *k)
{
	br_x509_pkey *to = &a->ta.pkey;

	*to = *k;
	if (k->key_type == BR_KEYTYPE_EC) {
		memcpy(a->key, k->key.ec.q, k->key.ec.qlen);
		to->key.ec.q = a->key;
		return;
	}
	memcpy(a->key, k->key.rsa.n, k->key.rsa.nlen);
	memcpy(a->key + k->key.rsa.nlen, k->key.rsa.e, k->key.rsa.elen);
	to->key.rsa.n = a->key;
	to->key.rsa.e = a->key + k->key.rsa.nlen;
}

/*
 * An anchor that may not issue certificates is one for itself alone. So is one
 * whose name constraints would have to be obeyed: BearSSL cannot.
 */
static bool
may_issue(const struct anchor *a, br_x509_decoder_context *d, bool servers)
{
	struct span constraints;

	return br_x509_decoder_isCA(d) && x509_signs_certificates(a->der) && x509_purpose(a->der, servers) &&
	       x509_extension(a->der, X509_NAME_CONSTRAINTS, &constraints) == 0 && a->path_length >= -1 &&
	       !weak(&a->ta.pkey);
}

static int
load_anchor(struct anchor *a, const struct blob *b, bool servers, struct fault *f)
{
	br_x509_decoder_context d;

	a->memory = malloc(2 * b->n);
	if (!a->memory)
		return no_memory(f);
	memcpy(a->memory, b->p, b->n);
	a->der = (struct span){a->memory, b->n};
	a->ta.dn.data = a->memory + b->n;
	if (decode(&d, b, append_name, &a->ta.dn, f) != 0)
		return -1;
	keep_key(a, br_x509_decoder_get_pkey(&d));
	a->path_length = x509_path_length(a->der);
	a->authority = may_issue(a, &d, servers);
	a->ta.flags = a->authority ? BR_X509_TA_CA : 0;
	return 0;
}

int
anchors_load(struct anchors *a, const struct blobs *b, bool servers, struct fault *f)
{
	size_t total = 0;

	*a = (struct anchors){.v = calloc(b->n, sizeof *a->v),
	    .names = calloc(b->n, sizeof *a->names),
	    .ders = calloc(b->n, sizeof *a->ders)};
	if (b->n == 0)
		return fault_set(f, FAULT_CONTEXT, "no trust anchor");
	if (!a->v || !a->names || !a->ders)
		return no_memory(f);
	for (size_t i = 0; i < b->n; i++) {
		a->n = i + 1;
		if (load_anchor(&a->v[i], &b->v[i], servers, f) < 0)
			return -1;
		a->names[i] = a->v[i].ta.dn;
		a->ders[i] = a->v[i].der;
		total += 2 + a->names[i].len;
	}
	if (!servers && total > NAMES_BYTES)
		return fault_set(f, FAULT_CONTEXT,
		    "%s and before: the names of the trust anchors have more than 64 kB, which BearSSL cannot send to "
		    "clients",
		    b->v[b->n - 1].name);
	return 0;
}

void
anchors_free(struct anchors *a)
{
	for (size_t i = 0; a->v && i < a->n; i++)
		free(a->v[i].memory);
	free(a->v);
	free(a->names);
	free(a->ders);
	*a = (struct anchors){0};
}
