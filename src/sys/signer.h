/*
 * Signatures over a socketpair of their own: the engine asks, and whoever holds
 * the key answers, once a connection, until the handshake is over.
 */
#ifndef SYS_SIGNER_H
#define SYS_SIGNER_H

#include "core/fault.h"
#include "core/signing.h"
#include "engine/engine.h"

#include <stdbool.h>

struct signer {
	int ask;    /* the engine's end; -1: closed */
	int answer; /* the key's end; -1: closed */
	struct engine_key *key;
	enum signing_role role;
	bool served; /* the one signature that a handshake needs was asked for */
};

/* Creates both ends, close-on-exec. Returns 0, or -1 with *f. */
int signer_open(struct signer *s, enum signing_role role, struct fault *f);

/* The engine's side: how long it waits for an answer, in ms; 0: for ever. Returns 0, or -1 with *f. */
int signer_limit(int ask, unsigned ms, struct fault *f);

/* The engine's side: a struct engine_signer.sign whose `with` is the struct signer. Waits for the answer. */
long signer_ask(void *with, const struct signing *request, unsigned char *signature);

/*
 * The key's side: answers the request that waits, if one does. Returns 0, or -1
 * with *f (FAULT_TLS) after anything but one request for a signature that TLS
 * has this role make; nothing was signed then.
 */
int signer_serve(struct signer *s, struct fault *f);

enum signer_heard { SIGNER_NOTHING, SIGNER_SERVED, SIGNER_GONE, SIGNER_REFUSED };

/*
 * Likewise for one end, by a key that stays the caller's, where there was a
 * request before or was not. SIGNER_GONE: the engine hung up. SIGNER_REFUSED: *f says why.
 */
enum signer_heard
signer_answer(int end, const struct engine_key *key, enum signing_role role, bool again, struct fault *f);

/* Wipes the key and closes both ends. Nothing is signed any more. */
void signer_close(struct signer *s);

#endif
