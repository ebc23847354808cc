/*
 * The other side of an engine's signer: the private key, where there is one.
 * What it signs was found to be TLS by others; here is only seen that the
 * scheme is one for the key.
 */
#include "engine/engine.h"

#include "engine/openssl_material.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <stdlib.h>
#include <string.h>

struct engine_key {
	EVP_PKEY *pkey;
	char group[32]; /* of an EC key; "": of none that has a name, or no EC key */
};

/* RFC 8446, 4.2.3. */
static const struct scheme {
	uint16_t number;
	const char *type, *hash; /* hash NULL: it hashes by itself */
	const char *group;	 /* which TLS 1.3 wants; NULL: none */
	bool pss;
} schemes[] = {
    {0x0401, "RSA", "SHA256", NULL, false},
    {0x0501, "RSA", "SHA384", NULL, false},
    {0x0601, "RSA", "SHA512", NULL, false},
    {0x0403, "EC", "SHA256", "prime256v1", false},
    {0x0503, "EC", "SHA384", "secp384r1", false},
    {0x0603, "EC", "SHA512", "secp521r1", false},
    {0x0804, "RSA", "SHA256", NULL, true},
    {0x0805, "RSA", "SHA384", NULL, true},
    {0x0806, "RSA", "SHA512", NULL, true},
    {0x0807, "ED25519", NULL, NULL, false},
    {0x0808, "ED448", NULL, NULL, false},
    {0x0809, "RSA-PSS", "SHA256", NULL, true},
    {0x080a, "RSA-PSS", "SHA384", NULL, true},
    {0x080b, "RSA-PSS", "SHA512", NULL, true},
};

static struct engine_key *
load(const struct blob *key, const struct blob *leaf, struct fault *f)
{
	EVP_PKEY *pkey = material_key(key, f);
	X509 *x = pkey ? material_certificate(leaf, f) : NULL;
	struct engine_key *k = NULL;

	if (x && X509_check_private_key(x, pkey) != 1)
		fault_set(f, FAULT_CONTEXT, "%s does not belong to %s", key->name, leaf->name);
	else if (x && !(k = calloc(1, sizeof *k)))
		fault_set(f, FAULT_SYSTEM, "out of memory");
	X509_free(x);
	if (!k) {
		EVP_PKEY_free(pkey);
		return NULL;
	}
	k->pkey = pkey;
	if (!EVP_PKEY_is_a(pkey, "EC") || EVP_PKEY_get_group_name(pkey, k->group, sizeof k->group, NULL) != 1)
		k->group[0] = '\0';
	return k;
}

struct engine_key *
engine_key_load(const struct blob *key, const struct blob *leaf, struct fault *f)
{
	struct engine_key *k = material_start(f) < 0 ? NULL : load(key, leaf, f);

	ERR_clear_error();
	return k;
}

/* The texts of TLS 1.3 begin like no others, and with it a scheme names the curve. */
static bool
wants_group(const struct signing *r)
{
	static const char start[] = "                                                                TLS 1.3, ";

	return r->text.n >= sizeof start - 1 && memcmp(r->text.p, start, sizeof start - 1) == 0;
}

static const struct scheme *
find_scheme(const struct engine_key *k, const struct signing *r)
{
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
		const struct scheme *s = &schemes[i];

		if (s->number != r->scheme || !EVP_PKEY_is_a(k->pkey, s->type))
			continue;
		if (!s->group || !wants_group(r) || strcmp(s->group, k->group) == 0)
			return s;
	}
	return NULL;
}

static int
sign(EVP_PKEY *pkey, const struct scheme *s, struct span text, unsigned char *out, size_t *n)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	EVP_PKEY_CTX *p = NULL;
	int ok = c && EVP_DigestSignInit_ex(c, &p, s->hash, NULL, NULL, pkey, NULL) == 1;

	if (ok && s->pss)
		ok = EVP_PKEY_CTX_set_rsa_padding(p, RSA_PKCS1_PSS_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(p, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_DigestSign(c, out, n, text.p, text.n) == 1;
	EVP_MD_CTX_free(c);
	return ok;
}

/* The engine of this backend always hands over the text itself: whoever asks for a hash is not that engine any more. */
long
engine_key_sign(const struct engine_key *k, const struct signing *request, unsigned char *signature)
{
	const struct scheme *s = request->hashed ? NULL : find_scheme(k, request);
	size_t n = SIGNATURE_MAX;
	int ok = s != NULL && sign(k->pkey, s, request->text, signature, &n);

	ERR_clear_error();
	return ok ? (long)n : -1;
}

/* What the library frees it wipes, since it was started for that. */
void
engine_key_free(struct engine_key *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}
