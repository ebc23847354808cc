/*
 * BearSSL's decoders read from memory and keep what they find in themselves:
 * what is needed later is copied out of them, and they are overwritten.
 */
#include "engine/bearssl_material.h"

#include "core/der.h"
#include "core/x509.h"
#include "engine/bearssl_reason.h"

#include <stdlib.h>
#include <string.h>

/* The least bits of an RSA modulus that has the strength of 112 bits (NIST SP 800-57), as octets. */
#define LEAST_RSA (2048 / 8)

/* What BearSSL has room for, likewise. */
#define MOST_RSA (4096 / 8)

/* What the list of names in a CertificateRequest can hold, a length of 2 octets with each (RFC 5246, 7.4.4). */
#define NAMES_BYTES 65535

/* More than BearSSL needs of the stack to work with a private key: RSA of 4096 bits takes about 3 kB. */
#define STACK_BYTES 8192

enum { OCTET_STRING = 0x04 };

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

/* -- the private key ----------------------------------------------------- */

/* Copies a big-endian number to the end of what is there. */
static void
append(struct key *k, size_t *at, unsigned char **to, size_t *n, struct span from)
{
	*to = k->bytes + *at;
	*n = from.n;
	memcpy(*to, from.p, from.n);
	*at += from.n;
}

/* The INTEGERs of an RSAPrivateKey behind its version (RFC 8017, A.1.2). */
enum { N, E, D, P, Q, DP, DQ, IQ, NUMBERS };

static void
take_rsa(struct key *k, const struct span number[NUMBERS])
{
	size_t at = 0;

	k->type = BR_KEYTYPE_RSA;
	append(k, &at, &k->n, &k->nlen, number[N]);
	append(k, &at, &k->e, &k->elen, number[E]);
	append(k, &at, &k->rsa.p, &k->rsa.plen, number[P]);
	append(k, &at, &k->rsa.q, &k->rsa.qlen, number[Q]);
	append(k, &at, &k->rsa.dp, &k->rsa.dplen, number[DP]);
	append(k, &at, &k->rsa.dq, &k->rsa.dqlen, number[DQ]);
	append(k, &at, &k->rsa.iq, &k->rsa.iqlen, number[IQ]);
	k->rsa.n_bitlen = (uint32_t)k->nlen * 8;
	for (unsigned char top = k->n[0]; !(top & 0x80); top = (unsigned char)(top << 1))
		k->rsa.n_bitlen--;
}

static void
take_ec(struct key *k, int curve, struct span number)
{
	size_t at = 0;

	k->type = BR_KEYTYPE_EC;
	k->ec.curve = curve;
	append(k, &at, &k->ec.x, &k->ec.xlen, number);
}

/* Takes a positive number off *in. */
static int
positive(struct span *in, struct span *number)
{
	if (der_expect(in, DER_INTEGER, number) < 0 || number->n == 0 || number->p[0] > 0x7f)
		return -1;
	for (; number->n > 1 && number->p[0] == 0; number->n--)
		number->p++;
	return number->p[0] == 0 ? -1 : 0;
}

/*
 * An RSA key by itself or in PKCS#8 (RFC 5958) is read here: the library's
 * decoder drops the modulus, and writes past its end where a key is too large.
 * Returns 0 and the sequence of its numbers, or -1: it is none.
 */
static int
find_rsa(struct span der, struct span *key)
{
	static const unsigned char rsa[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1};
	struct span skipped, algorithm, oid, inside;

	if (der_expect(&der, DER_SEQUENCE, key) < 0)
		return -1;
	inside = *key;
	if (der_expect(&inside, DER_INTEGER, &skipped) < 0)
		return -1;
	if (der_expect(&inside, DER_SEQUENCE, &algorithm) < 0)
		return der_expect(&inside, DER_INTEGER, &skipped);
	if (der_expect(&algorithm, DER_OID, &oid) < 0 || oid.n != sizeof rsa || memcmp(oid.p, rsa, oid.n) != 0)
		return -1;
	if (der_expect(&inside, OCTET_STRING, &skipped) < 0 || der_expect(&skipped, DER_SEQUENCE, key) < 0)
		*key = (struct span){0};
	return 0;
}

static int
load_rsa(struct key *k, struct span key, const struct blob *b, struct fault *f)
{
	struct span version, number[NUMBERS];

	if (der_expect(&key, DER_INTEGER, &version) < 0 || version.n != 1 || version.p[0] != 0)
		return fault_set(f, FAULT_CONTEXT, "%s: not a private key: no RSA key of two primes", b->name);
	for (size_t i = 0; i < NUMBERS; i++)
		if (positive(&key, &number[i]) < 0)
			return fault_set(f, FAULT_CONTEXT, "%s: not a private key: malformed RSA key", b->name);
	if (number[N].n > MOST_RSA)
		return fault_set(
		    f, FAULT_CONTEXT, "%s: RSA keys of more than 4096 bits cannot be used with BearSSL", b->name);
	for (size_t i = E; i < NUMBERS; i++)
		if (number[i].n > (i == D ? MOST_RSA : MOST_RSA / 2))
			return fault_set(f, FAULT_CONTEXT, "%s: not a private key: unequal primes", b->name);
	take_rsa(k, number);
	return 0;
}

/* A private EC key is a number from 1 to the order of the group, less one: the library takes that for granted. */
static bool
in_range(int curve, struct span x)
{
	size_t n;
	const unsigned char *order = br_ec_get_default()->order(curve, &n);

	if (x.n == 0 || x.p[0] == 0)
		return false;
	return x.n < n || (x.n == n && memcmp(x.p, order, n) < 0);
}

/* A version and an algorithm (RFC 5958, 2), or a version and the key (RFC 5915, 3): the forms that are not RSA's own.
 */
static bool
is_key(struct span der)
{
	struct span inside, skipped;

	return der_expect(&der, DER_SEQUENCE, &inside) == 0 && der_expect(&inside, DER_INTEGER, &skipped) == 0 &&
	       (der_expect(&inside, DER_SEQUENCE, &skipped) == 0 || der_expect(&inside, OCTET_STRING, &skipped) == 0);
}

static int
take(struct key *k, const br_skey_decoder_context *d, const struct blob *b, struct fault *f)
{
	const br_ec_private_key *ec = br_skey_decoder_get_ec(d);
	int error = br_skey_decoder_last_error(d);
	struct span number;

	if (error == BR_ERR_X509_UNSUPPORTED)
		return fault_set(f, FAULT_CONTEXT,
		    "%s: keys of this type cannot be used: BearSSL knows RSA and EC on P-256, P-384 and P-521",
		    b->name);
	if (error || !ec)
		return fault_set(f, FAULT_CONTEXT, "%s: not a private key: %s", b->name, reason_text(error));
	for (number = (struct span){ec->x, ec->xlen}; number.n > 1 && number.p[0] == 0; number.n--)
		number.p++;
	if (!in_range(ec->curve, number))
		return fault_set(f, FAULT_CONTEXT, "%s: not a private key: out of its curve's range", b->name);
	take_ec(k, ec->curve, number);
	return 0;
}

int
key_load(struct key *k, const struct blob *b, struct fault *f)
{
	br_skey_decoder_context d;
	struct span rsa;
	int got;

	*k = (struct key){0};
	if (der_is_sequence(bytes(b)) && find_rsa(bytes(b), &rsa) == 0)
		return load_rsa(k, rsa, b, f);
	if (!der_is_sequence(bytes(b)) || !is_key(bytes(b)))
		return fault_set(f, FAULT_CONTEXT, "%s: not a private key: no such DER sequence", b->name);
	br_skey_decoder_init(&d);
	br_skey_decoder_push(&d, b->p, b->n);
	got = take(k, &d, b, f);
	explicit_bzero(&d, sizeof d);
	return got;
}

void
key_copy(struct key *to, const struct key *from)
{
	const struct span number[NUMBERS] = {[N] = {from->n, from->nlen},
	    [E] = {from->e, from->elen},
	    [P] = {from->rsa.p, from->rsa.plen},
	    [Q] = {from->rsa.q, from->rsa.qlen},
	    [DP] = {from->rsa.dp, from->rsa.dplen},
	    [DQ] = {from->rsa.dq, from->rsa.dqlen},
	    [IQ] = {from->rsa.iq, from->rsa.iqlen}};

	*to = (struct key){0};
	if (from->type == BR_KEYTYPE_RSA)
		take_rsa(to, number);
	else if (from->type == BR_KEYTYPE_EC)
		take_ec(to, from->ec.curve, (struct span){from->ec.x, from->ec.xlen});
}

/* The library leaves its copies of a key's parts on the stack: here, where nothing else lives any more. */
__attribute__((noinline)) static void
wipe_stack(void)
{
	unsigned char below[STACK_BYTES];

	explicit_bzero(below, sizeof below);
}

void
key_wipe(struct key *k)
{
	if (k->type)
		wipe_stack();
	explicit_bzero(k, sizeof *k);
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

static bool
rsa_belongs(const struct key *k, const br_rsa_public_key *public)
{
	return k->nlen == public->nlen && memcmp(k->n, public->n, k->nlen) == 0 && k->elen == public->elen &&
	       memcmp(k->e, public->e, k->elen) == 0;
}

static bool
ec_belongs(const br_ec_private_key *private, const br_ec_public_key *public)
{
	unsigned char q[BR_EC_KBUF_PUB_MAX_SIZE];
	size_t n;

	if (private->curve != public->curve)
		return false;
	n = br_ec_compute_pub(br_ec_get_default(), NULL, q, private);
	return n == public->qlen && memcmp(q, public->q, n) == 0;
}

static bool
belongs(const struct key *k, const br_x509_pkey *public)
{
	if (k->type != public->key_type)
		return false;
	return k->type == BR_KEYTYPE_RSA ? rsa_belongs(k, &public->key.rsa) : ec_belongs(&k->ec, &public->key.ec);
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
chain_load(struct chain *c, const struct blobs *b, const struct key *k, const struct blob *key, struct fault *f)
{
	br_x509_decoder_context leaf;
	br_x509_pkey *public;
	size_t total = 0;

	*c = (struct chain){0};
	if (b->n > CHAIN_CERTIFICATES)
		return fault_set(f, FAULT_CONTEXT, "%s: more than %d certificates", b->v[0].name, CHAIN_CERTIFICATES);
	if (decode(&leaf, &b->v[0], NULL, NULL, f) != 0)
		return -1;
	public = br_x509_decoder_get_pkey(&leaf);
	if (weak(public))
		return fault_set(f, FAULT_CONTEXT, "%s: the certificate cannot be used: key too small", b->v[0].name);
	for (size_t i = 0; i < b->n; i++) {
		if ((i > 0 && check_above(&b->v[i], f) < 0) || add(c, &b->v[i], f) < 0)
			return -1;
		total += b->v[i].n;
	}
	if (total > CHAIN_BYTES)
		return fault_set(f, FAULT_CONTEXT, "%s: the chain has more than 64 kB", b->v[0].name);
	if (!belongs(k, public))
		return fault_set(f, FAULT_CONTEXT, "%s does not belong to %s", key->name, b->v[0].name);
	/* Of an unknown authority EC is as good a guess as RSA: no suite that would depend on it is offered. */
	c->issuer = (unsigned)br_x509_decoder_get_signer_key_type(&leaf);
	if (!c->issuer)
		c->issuer = BR_KEYTYPE_EC;
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

	*a = (struct anchors){.v = calloc(b->n, sizeof *a->v), .names = calloc(b->n, sizeof *a->names)};
	if (b->n == 0)
		return fault_set(f, FAULT_CONTEXT, "no trust anchor");
	if (!a->v || !a->names)
		return no_memory(f);
	for (size_t i = 0; i < b->n; i++) {
		a->n = i + 1;
		if (load_anchor(&a->v[i], &b->v[i], servers, f) < 0)
			return -1;
		a->names[i] = a->v[i].ta.dn;
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
	*a = (struct anchors){0};
}
