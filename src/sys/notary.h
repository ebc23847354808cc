/*
 * A process that has the private key and does nothing but sign, for the
 * engines of many connections. Whoever starts it never reads the key.
 */
#ifndef SYS_NOTARY_H
#define SYS_NOTARY_H

#include "core/credentials.h"
#include "core/fault.h"
#include "sys/privileges.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A process that holds the key, as its parent sees it. */
struct notary {
	pid_t pid;   /* 0: none */
	int control; /* to it; -1: closed */
	bool ready;  /* it has the key, which belongs to the certificate */
};

/*
 * Forks it. It reads KEYFILE with the ids of its parent, then drops to TLS_UID
 * and TLS_GID, checks that the key belongs to the certificate `leaf`, seals
 * itself, and says how that went (notary_hear). Returns 0, or -1 with *f.
 */
int notary_start(struct notary *n, const struct blob *leaf, const struct privileges *p, struct fault *f);

enum notary_news {
	NOTARY_NOTHING,
	NOTARY_READY,
	NOTARY_FAILED,	/* it could not begin: *f says why */
	NOTARY_REFUSED, /* an engine, of connection *number, asked for what it may not have: *f says what */
	NOTARY_GONE,	/* it died, or talks nonsense */
};

/* Takes one thing that it said. */
enum notary_news notary_hear(struct notary *n, uint64_t *number, struct fault *f);

/* Hands it the other end of an engine's socket: it signs for that once. Returns 0, or -1 when it does not take it. */
int notary_serve(const struct notary *n, int end, uint64_t number);

/* Lets it go: it ends when no handshake needs it any more. */
void notary_release(struct notary *n);

#endif
