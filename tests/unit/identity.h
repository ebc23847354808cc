/*
 * Throwaway keys and certificates for tests, made in memory with OpenSSL.
 */
#ifndef TESTS_IDENTITY_H
#define TESTS_IDENTITY_H

#include "core/credentials.h"

struct identity {
	struct blob key, cert; /* DER */
	void *pkey, *x509;     /* OpenSSL's, for signing others */
};

/*
 * Makes a certificate for CN=name, signed by issuer (itself where NULL). type is "P-256", "P-384", "ED25519" or
 * "RSA". Aborts when that fails.
 */
struct identity identity_make(const char *name, const char *type, const struct identity *issuer);

/* "SHA256:" and 64 lower-case hex digits, of the certificate's DER. */
void identity_hash(const struct identity *id, char out[72]);

void identity_free(struct identity *id);

#endif
