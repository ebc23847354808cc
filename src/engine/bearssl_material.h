/*
 * Certificates and trust anchors in the forms that BearSSL works with.
 * Everything is parsed and checked here, before the first connection.
 */
#ifndef ENGINE_BEARSSL_MATERIAL_H
#define ENGINE_BEARSSL_MATERIAL_H

#include "core/credentials.h"
#include "core/fault.h"

#include <bearssl.h>

#include <stdbool.h>
#include <stddef.h>

/* The longest chain, of our own or a peer's: certificates, and bytes of them all. */
enum { CHAIN_CERTIFICATES = 16, CHAIN_BYTES = 65536 };

/* Of a key file or a certificate, behind its name. */
#define UNKNOWN_TYPE "keys of this type cannot be used: BearSSL knows RSA and EC on P-256, P-384 and P-521"

/* Our own certificates, leaf first. */
struct chain {
	br_x509_certificate v[CHAIN_CERTIFICATES];
	size_t n;
	int type; /* BR_KEYTYPE_RSA, BR_KEYTYPE_EC: of the leaf's key; 0: no certificate */
};

/* Each _load returns 0, or -1 with *f: FAULT_CONTEXT names the blob at fault. The caller frees in any case. */
int chain_load(struct chain *c, const struct blobs *b, struct fault *f);
void chain_free(struct chain *c);

/* Finds the public key, which *d then holds, of an own certificate. */
int leaf_load(br_x509_decoder_context *d, const struct blob *b, struct fault *f);

struct anchor {
	br_x509_trust_anchor ta; /* points into memory and key */
	struct span der;
	unsigned char *memory; /* room for der and for the subject */
	bool authority;	       /* may issue certificates for the peers that we verify */
	long path_length;      /* -1: not limited */
	unsigned char key[BR_X509_BUFSIZE_KEY];
};

struct anchors {
	struct anchor *v;
	br_x500_name *names; /* of them all, in the same order */
	struct span *ders;   /* likewise */
	size_t n;
};

/* `servers`: the peers to be verified are servers, else clients. */
int anchors_load(struct anchors *a, const struct blobs *b, bool servers, struct fault *f);
void anchors_free(struct anchors *a);

#endif
