/*
 * Throwaway keys and certificates for tests, made in memory with OpenSSL, and
 * their owners, who sign what engines ask for.
 */
#ifndef TESTS_IDENTITY_H
#define TESTS_IDENTITY_H

#include "core/credentials.h"
#include "engine/engine.h"

struct identity {
	struct blob key, cert; /* DER */
	void *pkey, *x509;     /* OpenSSL's, for signing others */
	struct engine_key *owner;
	unsigned asked; /* how often an engine asked for a signature */
};

/*
 * Makes a certificate for CN=name, signed by issuer (itself where NULL). type is "RSA", "RSA-PSS",
 * "ED25519", "ED448", "X25519" or a curve. Aborts when that fails.
 */
struct identity identity_make(const char *name, const char *type, const struct identity *issuer);

/*
 * What to set beside .key: signs as the program would, and no other requests, where the backend signs elsewhere, and
 * refuses where its kind of key is unknown to it. The identity has to stay where it is.
 */
struct engine_signer identity_signer(struct identity *id, enum engine_role role);

/* "SHA256:" and 64 lower-case hex digits, of the certificate's DER. */
void identity_hash(const struct identity *id, char out[72]);

/* As OpenSSL's x509v3_config(5) writes them; a list ends with a NULL value. */
struct extension {
	int nid;
	const char *value;
};

/*
 * As identity_make, with these extensions alone (with none: of X.509's first version), valid for so many days from an
 * hour ago (negative: until then).
 */
struct identity identity_with(
    const char *name, const char *type, const struct identity *issuer, const struct extension *extensions, int days);

/* Likewise, valid from and until so many seconds from now. */
struct identity identity_valid(const char *name, const char *type, const struct identity *issuer,
    const struct extension *extensions, long from, long until);
void identity_free(struct identity *id);

#endif
