/*
 * The libssl that libtls stands on: OpenSSL under libretls, LibreSSL's own
 * under LibreSSL. Only what libtls has no call for goes here, and only by
 * public calls: libtls tells of no connection which one of libssl's it stands
 * on, so that one is noted as it is made.
 */
#ifndef ENGINE_LIBSSL_H
#define ENGINE_LIBSSL_H

#include "core/fault.h"
#include "engine/refused.h"

#include <stdbool.h>

/* One of libtls's connections, as libssl has it. It must stay where it is as long as that. */
struct libssl_connection {
	struct ssl_st *ssl;
	const char *name;	/* that the peer has to bear; NULL: any */
	struct refused against; /* the peer's certificate, where it is verified */
};

/* Brings the policy of the project to every later context of the process. Returns 0, or -1 and fills *f. */
int libssl_prepare(struct fault *f);

/* Name and version. */
const char *libssl_version(void);

/* Forgets the reasons of earlier failures; to be called before a call that may fail. */
void libssl_forget(void);

/* Why the last call failed, in libssl's words, and what it found at the bottom of it; NULL: no word. Constant text. */
const char *libssl_reason(void);
const char *libssl_cause(void);

/* Around the call that opens a connection of libtls's. */
void libssl_expect(void);

/*
 * Takes the one connection that came since libssl_expect; where the peer is to
 * be `verified`, every step of that is judged (refused_step), its name included.
 * Returns 0, or -1: there is not one, or it would verify nobody.
 */
int libssl_take(struct libssl_connection *c, bool verified, const char *name);

/* Whether the handshake is complete: libtls says so at a close_notify as well. */
bool libssl_complete(const struct libssl_connection *c);

/* If the last call failed because the peer's certificate was refused: why. Else NULL. */
const char *libssl_refusal(const struct libssl_connection *c);

#endif
