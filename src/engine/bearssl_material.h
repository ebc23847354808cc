/*
 * Keys, certificates and trust anchors in the forms that BearSSL works with.
 * Everything is parsed and checked here, before the first connection.
 */
#ifndef ENGINE_BEARSSL_MATERIAL_H
#define ENGINE_BEARSSL_MATERIAL_H

#include "core/credentials.h"
#include "core/fault.h"

#include <bearssl.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest chain, of our own or a peer's: certificates, and bytes of them all. */
enum { CHAIN_CERTIFICATES = 16, CHAIN_BYTES = 65536 };

/* A private key, for RSA with its public numbers n and e; everything points into bytes. */
struct key {
	int type; /* BR_KEYTYPE_RSA, BR_KEYTYPE_EC; 0: no key */
	br_rsa_private_key rsa;
	br_ec_private_key ec;
	unsigned char *n, *e;
	size_t nlen, elen;
	unsigned char bytes[2048]; /* n, e and five halves of 4096 bits: 2048 octets at most */
};

/* Each _load returns 0, or -1 with *f: FAULT_CONTEXT names the blob at fault. The caller wipes or frees in any case. */
int key_load(struct key *k, const struct blob *b, struct fault *f);
void key_copy(struct key *to, const struct key *from);
void key_wipe(struct key *k);

/* Our own certificates, leaf first. */
struct chain {
	br_x509_certificate v[CHAIN_CERTIFICATES];
	size_t n;
	unsigned issuer; /* BR_KEYTYPE_ of the authority that signed the leaf */
};

/* Also sees that the key `k`, which came from `key`, belongs to the leaf. */
int chain_load(struct chain *c, const struct blobs *b, const struct key *k, const struct blob *key, struct fault *f);
void chain_free(struct chain *c);

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
	size_t n;
};

/* `servers`: the peers to be verified are servers, else clients. */
int anchors_load(struct anchors *a, const struct blobs *b, bool servers, struct fault *f);
void anchors_free(struct anchors *a);

#endif
