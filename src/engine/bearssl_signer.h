/*
 * What BearSSL asks of whoever has its private key, answered without one: the
 * choice of what to sign with is made here, the signature comes from elsewhere.
 */
#ifndef ENGINE_BEARSSL_SIGNER_H
#define ENGINE_BEARSSL_SIGNER_H

#include "engine/bearssl_material.h"
#include "engine/engine.h"

#include <bearssl.h>

#include <stdbool.h>

struct signatory {
	union {
		const br_ssl_server_policy_class *server;
		const br_ssl_client_certificate_class *client;
	} vtable; /* BearSSL wants it first */
	const struct chain *chain;
	struct engine_signer from; /* no function: nobody signs */
	bool failed;		   /* a signature was asked for and not had */
};

/* Makes *s the one that `server` or `client` asks. The chain must outlive it, and is not empty. */
void signatory_open_server(
    struct signatory *s, br_ssl_server_context *server, const struct chain *chain, const struct engine_signer *from);
void signatory_open_client(
    struct signatory *s, br_ssl_client_context *client, const struct chain *chain, const struct engine_signer *from);

/* Nothing is signed from then on. */
void signatory_close(struct signatory *s);

#endif
