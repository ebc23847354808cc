/*
 * The other side of a signer: the private key, which lives where no peer's
 * bytes are parsed. It is read, found to be the certificate's, and signs.
 */
#include "engine/engine.h"

#include "core/der.h"
#include "engine/bearssl_material.h"
#include "engine/bearssl_reason.h"

#include <bearssl.h>

#include <stdlib.h>
#include <string.h>

/* What BearSSL has room for of an RSA modulus, in octets: 4096 bits. */
#define MOST_RSA (4096 / 8)

/* More than BearSSL needs of the stack to work with a private key: RSA of 4096 bits takes about 3 kB. */
#define STACK_BYTES 8192

/* For RSA with its public numbers n and e; everything points into bytes. */
struct engine_key {
	int type; /* BR_KEYTYPE_RSA, BR_KEYTYPE_EC */
	br_rsa_private_key rsa;
	br_ec_private_key ec;
	unsigned char *n, *e;
	size_t nlen, elen;
	unsigned char bytes[2048]; /* n, e and five halves of 4096 bits: 2048 octets at most */
};

/* -- reading ------------------------------------------------------------- */

/* Copies a big-endian number to the end of what is there. */
static void
append(struct engine_key *k, size_t *at, unsigned char **to, size_t *n, struct span from)
{
	*to = k->bytes + *at;
	*n = from.n;
	memcpy(*to, from.p, from.n);
	*at += from.n;
}

/* The INTEGERs of an RSAPrivateKey behind its version (RFC 8017, A.1.2). */
enum { N, E, D, P, Q, DP, DQ, IQ, NUMBERS };

static void
take_rsa(struct engine_key *k, const struct span number[NUMBERS])
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
take_ec(struct engine_key *k, int curve, struct span number)
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
	if (der_expect(&inside, DER_OCTETSTRING, &skipped) < 0 || der_expect(&skipped, DER_SEQUENCE, key) < 0)
		*key = (struct span){0};
	return 0;
}

static int
load_rsa(struct engine_key *k, struct span key, const struct blob *b, struct fault *f)
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
	       (der_expect(&inside, DER_SEQUENCE, &skipped) == 0 ||
		   der_expect(&inside, DER_OCTETSTRING, &skipped) == 0);
}

static int
take(struct engine_key *k, const br_skey_decoder_context *d, const struct blob *b, struct fault *f)
{
	const br_ec_private_key *ec = br_skey_decoder_get_ec(d);
	int error = br_skey_decoder_last_error(d);
	struct span number;

	if (error == BR_ERR_X509_UNSUPPORTED)
		return fault_set(f, FAULT_CONTEXT, "%s: " UNKNOWN_TYPE, b->name);
	if (error || !ec)
		return fault_set(f, FAULT_CONTEXT, "%s: not a private key: %s", b->name, reason_text(error));
	for (number = (struct span){ec->x, ec->xlen}; number.n > 1 && number.p[0] == 0; number.n--)
		number.p++;
	if (!in_range(ec->curve, number))
		return fault_set(f, FAULT_CONTEXT, "%s: not a private key: out of its curve's range", b->name);
	take_ec(k, ec->curve, number);
	return 0;
}

static int
read_key(struct engine_key *k, const struct blob *b, struct fault *f)
{
	struct span der = {b->p, b->n}, rsa;
	br_skey_decoder_context d;
	int got;

	if (der_is_sequence(der) && find_rsa(der, &rsa) == 0)
		return load_rsa(k, rsa, b, f);
	if (!der_is_sequence(der) || !is_key(der))
		return fault_set(f, FAULT_CONTEXT, "%s: not a private key: no such DER sequence", b->name);
	br_skey_decoder_init(&d);
	br_skey_decoder_push(&d, b->p, b->n);
	got = take(k, &d, b, f);
	explicit_bzero(&d, sizeof d);
	return got;
}

/* -- whose it is --------------------------------------------------------- */

static bool
rsa_belongs(const struct engine_key *k, const br_rsa_public_key *public)
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
fits(const struct engine_key *k, const br_x509_pkey *public)
{
	if (k->type != public->key_type)
		return false;
	return k->type == BR_KEYTYPE_RSA ? rsa_belongs(k, &public->key.rsa) : ec_belongs(&k->ec, &public->key.ec);
}

static int
check_owner(const struct engine_key *k, const struct blob *key, const struct blob *leaf, struct fault *f)
{
	br_x509_decoder_context d;

	if (leaf_load(&d, leaf, f) < 0)
		return -1;
	if (!fits(k, br_x509_decoder_get_pkey(&d)))
		return fault_set(f, FAULT_CONTEXT, "%s does not belong to %s", key->name, leaf->name);
	return 0;
}

/* The library leaves its copies of a key's parts on the stack: here, where nothing else lives any more. */
__attribute__((noinline)) static void
wipe_stack(void)
{
	unsigned char below[STACK_BYTES];

	explicit_bzero(below, sizeof below);
}

struct engine_key *
engine_key_load(const struct blob *key, const struct blob *leaf, struct fault *f)
{
	struct engine_key *k = calloc(1, sizeof *k);
	bool good;

	if (!k) {
		fault_set(f, FAULT_SYSTEM, "out of memory");
		return NULL;
	}
	good = read_key(k, key, f) == 0 && check_owner(k, key, leaf, f) == 0;
	wipe_stack();
	if (good)
		return k;
	engine_key_free(k);
	return NULL;
}

void
engine_key_free(struct engine_key *k)
{
	if (!k)
		return;
	explicit_bzero(k, sizeof *k);
	free(k);
}

/* -- signing ------------------------------------------------------------- */

/* By the octet of a scheme that names it (RFC 5246, 7.4.1.4.1), which is BearSSL's number too. */
struct hash {
	unsigned number;
	const br_hash_class *class;
	const unsigned char *oid;
};

/* The schemes that fit the key: PKCS#1 v1.5 and ECDSA, whatever its curve, as TLS 1.2 has it. */
static const struct hash *
find_hash(const struct engine_key *k, unsigned scheme)
{
	static const struct hash hashes[] = {{br_sha256_ID, &br_sha256_vtable, BR_HASH_OID_SHA256},
	    {br_sha384_ID, &br_sha384_vtable, BR_HASH_OID_SHA384},
	    {br_sha512_ID, &br_sha512_vtable, BR_HASH_OID_SHA512}};
	unsigned kind = k->type == BR_KEYTYPE_RSA ? BR_AUTH_RSA : BR_AUTH_ECDSA;

	for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
		if (scheme == (hashes[i].number << 8 | kind))
			return &hashes[i];
	return NULL;
}

/* Returns -1 when what is said to be a hash is not as long as one. */
static int
digest(const struct hash *h, const struct signing *s, unsigned char value[br_sha512_SIZE])
{
	br_hash_compat_context c;

	if (s->hashed) {
		if (s->text.n != (h->class->desc >> BR_HASHDESC_OUT_OFF & BR_HASHDESC_OUT_MASK))
			return -1;
		memcpy(value, s->text.p, s->text.n);
		return 0;
	}
	h->class->init(&c.vtable);
	h->class->update(&c.vtable, s->text.p, s->text.n);
	h->class->out(&c.vtable, value);
	return 0;
}

static size_t
sign_rsa(const struct engine_key *k, const struct hash *h, const unsigned char *value, unsigned char *signature)
{
	size_t n = h->class->desc >> BR_HASHDESC_OUT_OFF & BR_HASHDESC_OUT_MASK;

	return br_rsa_pkcs1_sign_get_default()(h->oid, value, n, &k->rsa, signature) ? k->nlen : 0;
}

static size_t
sign_ec(const struct engine_key *k, const struct hash *h, const unsigned char *value, unsigned char *signature)
{
	return br_ecdsa_sign_asn1_get_default()(br_ec_get_default(), h->class, value, &k->ec, signature);
}

long
engine_key_sign(const struct engine_key *k, const struct signing *request, unsigned char *signature)
{
	const struct hash *h = find_hash(k, request->scheme);
	unsigned char value[br_sha512_SIZE];
	size_t n;

	if (!h || digest(h, request, value) < 0)
		return -1;
	n = k->type == BR_KEYTYPE_RSA ? sign_rsa(k, h, value, signature) : sign_ec(k, h, value, signature);
	wipe_stack();
	return n > 0 ? (long)n : -1;
}
