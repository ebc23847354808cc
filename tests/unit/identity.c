/*
 * Just enough of X.509 for an engine to be content.
 */
#include "identity.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
must(int ok)
{
	if (!ok)
		abort();
}

static EVP_PKEY *
make_pss_key(void)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
	EVP_PKEY *k = NULL;

	must(c && EVP_PKEY_keygen_init(c) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(c, 2048) == 1);
	must(EVP_PKEY_generate(c, &k) == 1);
	EVP_PKEY_CTX_free(c);
	return k;
}

static EVP_PKEY *
make_key(const char *type)
{
	EVP_PKEY *k;

	if (strcmp(type, "RSA") == 0)
		k = EVP_RSA_gen(2048);
	else if (strcmp(type, "RSA-PSS") == 0)
		k = make_pss_key();
	else if (strcmp(type, "ED25519") == 0 || strcmp(type, "ED448") == 0 || strcmp(type, "X25519") == 0)
		k = EVP_PKEY_Q_keygen(NULL, NULL, type);
	else
		k = EVP_EC_gen(type);
	must(k != NULL);
	return k;
}

static void
add_extension(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(e && X509_add_ext(x, e, -1) == 1);
	X509_EXTENSION_free(e);
}

static X509 *
make_cert(const char *name, EVP_PKEY *key, const struct identity *issuer, const struct extension *extensions, long from,
    long until)
{
	X509 *x = X509_new();
	X509_NAME *n = X509_get_subject_name(x);
	EVP_PKEY *signer = issuer ? issuer->pkey : key;
	static long serial = 1;

	/* Extensions came with the third version. */
	must(X509_set_version(x, extensions->value ? 2 : 0) && ASN1_INTEGER_set(X509_get_serialNumber(x), serial++));
	must(X509_gmtime_adj(X509_getm_notBefore(x), from) && X509_gmtime_adj(X509_getm_notAfter(x), until));
	must(X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0));
	must(X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer->x509) : n));
	must(X509_set_pubkey(x, key));
	for (; extensions->value; extensions++)
		add_extension(x, extensions->nid, extensions->value);
	must(X509_sign(x, signer,
		 EVP_PKEY_is_a(signer, "ED25519") || EVP_PKEY_is_a(signer, "ED448") ? NULL : EVP_sha256()) > 0);
	return x;
}

static struct blob
encoded(unsigned char *der, int n, const char *name)
{
	struct blob b = {.p = malloc((size_t)n), .n = (size_t)n, .name = strdup(name)};

	must(n > 0 && b.p && b.name);
	memcpy(b.p, der, b.n);
	OPENSSL_free(der);
	return b;
}

struct identity
identity_make(const char *name, const char *type, const struct identity *issuer)
{
	const struct extension usual[] = {{NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE"},
	    {NID_subject_alt_name, "DNS:localhost"}, {0, NULL}};

	return identity_with(name, type, issuer, usual, 1);
}

struct identity
identity_with(
    const char *name, const char *type, const struct identity *issuer, const struct extension *extensions, int days)
{
	const long hour = 3600, day = 86400;

	return identity_valid(
	    name, type, issuer, extensions, days < 0 ? days * day : -hour, days < 0 ? -hour : days * day);
}

struct identity
identity_valid(const char *name, const char *type, const struct identity *issuer, const struct extension *extensions,
    long from, long until)
{
	EVP_PKEY *key = make_key(type);
	X509 *x = make_cert(name, key, issuer, extensions, from, until);
	struct identity id = {.pkey = key, .x509 = x};
	unsigned char *der = NULL;
	int n = i2d_PrivateKey(key, &der);

	id.key = encoded(der, n, "KEYFILE test");
	der = NULL;
	n = i2d_X509(x, &der);
	id.cert = encoded(der, n, "CERTFILE test");
	return id;
}

/* -- the owner ------------------------------------------------------------- */

/* What reaches the owner is one packet, and all that it knows. */
static long
sign(struct identity *id, enum signing_role role, const struct signing *request, unsigned char *signature)
{
	static unsigned char packet[SIGNING_MAX];
	long n = signing_pack(packet, request);
	struct signing got;

	id->asked++;
	if (!id->owner || n < 0 || signing_unpack((struct span){packet, (size_t)n}, &got) < 0 ||
	    signing_refusal(role, &got))
		return -1;
	return engine_key_sign(id->owner, &got, signature);
}

static long
sign_as_server(void *id, const struct signing *request, unsigned char *signature)
{
	return sign(id, SIGNING_SERVER, request, signature);
}

static long
sign_as_client(void *id, const struct signing *request, unsigned char *signature)
{
	return sign(id, SIGNING_CLIENT, request, signature);
}

struct engine_signer
identity_signer(struct identity *id, enum engine_role role)
{
	struct fault f;

	if (!id->owner && engine_signs_elsewhere())
		id->owner = engine_key_load(&id->key, &id->cert, &f);
	return (struct engine_signer){role == ENGINE_SERVER ? sign_as_server : sign_as_client, id};
}

void
identity_hash(const struct identity *id, char out[72])
{
	unsigned char hash[32];
	size_t n = sizeof hash;

	must(EVP_Q_digest(NULL, "SHA256", NULL, id->cert.p, id->cert.n, hash, &n) == 1);
	memcpy(out, "SHA256:", 7);
	for (size_t i = 0; i < sizeof hash; i++)
		(void)sprintf(out + 7 + 2 * i, "%02x", hash[i]);
}

void
identity_free(struct identity *id)
{
	engine_key_free(id->owner);
	blob_wipe(&id->key);
	blob_wipe(&id->cert);
	EVP_PKEY_free(id->pkey);
	X509_free(id->x509);
}
