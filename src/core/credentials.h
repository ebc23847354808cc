/*
 * From the bytes of a file to the keys and certificates in it, as DER. Knows
 * PEM and DER by their looks only; whether a key is one, a TLS library says.
 */
#ifndef CORE_CREDENTIALS_H
#define CORE_CREDENTIALS_H

#include "core/fault.h"
#include "core/span.h"

/* Allocated bytes, and what to call them in a message: "KEYFILE /etc/tls/key.pem". */
struct blob {
	unsigned char *p;
	size_t n;
	char *name;
};

struct blobs {
	struct blob *v;
	size_t n;
};

/*
 * Finds the private key in a file's bytes: the first PEM block of PKCS#8,
 * PKCS#1 or SEC1, or the whole file as DER. Returns 0, or -1 with *f
 * (FAULT_CONTEXT, or FAULT_SYSTEM without memory).
 */
int credentials_key(struct span file, const char *name, struct blob *key, struct fault *f);

/*
 * Appends the certificates in a file's bytes to *certs: every PEM certificate
 * in order, or the whole file as DER. Returns how many, 0 included, or -1 with
 * *f as above.
 */
long credentials_certs(struct span file, const char *name, struct blobs *certs, struct fault *f);

/* Overwrite and free. */
void blob_wipe(struct blob *b);
void blobs_wipe(struct blobs *b);

#endif
