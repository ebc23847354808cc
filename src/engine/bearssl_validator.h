/*
 * An X.509 validator for BearSSL: the library's own, which builds and verifies
 * the path, and around it what that one leaves out. It keeps the peer's chain.
 */
#ifndef ENGINE_BEARSSL_VALIDATOR_H
#define ENGINE_BEARSSL_VALIDATOR_H

#include "core/options.h"
#include "core/refusal.h"
#include "core/span.h"
#include "engine/bearssl_material.h"

#include <bearssl.h>

#include <stdbool.h>
#include <stddef.h>

struct validator {
	const br_x509_class *vtable; /* BearSSL wants it first */
	br_x509_minimal_context inner;
	br_x509_decoder_context unverified; /* takes the place of inner under VERIFY_NONE */
	br_ssl_engine_context *engine;
	const struct anchors *anchors;
	const char *name; /* that a server has to bear; NULL: any */
	enum verify verify;
	bool servers;
	bool valid;	 /* the chain is good; the handshake will not be completed without proof of possession */
	const char *why; /* it is not */
	char misnamed[REFUSAL_SIZE];
	br_x509_trust_anchor *trusted; /* the authorities among the anchors that are valid now */
	long *path_lengths;	       /* of these */
	size_t trusted_n;
	struct span certificates[CHAIN_CERTIFICATES]; /* of the peer, leaf first */
	size_t n, used;				      /* of certificates, of bytes */
	size_t path;				      /* how many of them lead to an anchor; 0 before one is met */
	bool overflow;				      /* the chain is longer than what can be kept */
	unsigned char bytes[CHAIN_BYTES];
};

/*
 * Prepares *v, zeroed up to its bytes, for one chain and makes it the validator of `engine`.
 * Returns 0, or -1 without memory. `anchors` (NULL under VERIFY_NONE) and
 * `name` must outlive it.
 */
int validator_open(struct validator *v, br_ssl_engine_context *engine, enum verify verify,
    const struct anchors *anchors, bool servers, const char *name);
void validator_close(struct validator *v);

#endif
