/*
 * Parses keys and certificates, each to its last byte.
 */
#include "engine/openssl_material.h"

#include "engine/libcrypto.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

int
material_start(struct fault *f)
{
	if (!libcrypto_wipes())
		return fault_set(f, FAULT_ENGINE, "OpenSSL was in use before it was set up");
	if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
		return fault_set(f, FAULT_ENGINE, "cannot start OpenSSL: %s", material_reason());
	ERR_clear_error();
	return 0;
}

const char *
material_reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	return text ? text : "unknown error";
}

int
material_refuse(struct fault *f, const struct blob *b, const char *what)
{
	return fault_set(f, FAULT_CONTEXT, "%s: %s: %s", b->name, what, material_reason());
}

bool
material_usable(const EVP_PKEY *k)
{
	return EVP_PKEY_is_a(k, "RSA") || EVP_PKEY_is_a(k, "RSA-PSS") || EVP_PKEY_is_a(k, "EC") ||
	       EVP_PKEY_is_a(k, "ED25519") || EVP_PKEY_is_a(k, "ED448");
}

X509 *
material_certificate(const struct blob *b, struct fault *f)
{
	const unsigned char *p = b->p;
	X509 *x;

	ERR_clear_error();
	x = d2i_X509(NULL, &p, (long)b->n);
	if (x && p == b->p + b->n)
		return x;
	X509_free(x);
	material_refuse(f, b, "not a certificate");
	return NULL;
}

EVP_PKEY *
material_key(const struct blob *b, struct fault *f)
{
	const unsigned char *p = b->p;
	EVP_PKEY *k;

	ERR_clear_error();
	/* By name, lest an engine in the same process offer its own keys: those that have nothing private. */
	k = d2i_AutoPrivateKey_ex(NULL, &p, (long)b->n, NULL, "provider=default");
	if (!k || p != b->p + b->n)
		material_refuse(f, b, "not a private key");
	else if (!material_usable(k))
		fault_set(f, FAULT_CONTEXT, "%s: keys of this type cannot be used", b->name);
	else
		return k;
	EVP_PKEY_free(k);
	return NULL;
}
