/*
 * A program with one connection, from the files to the exit code: the process
 * that the user started is its monitor, and also holds the key until the
 * handshake is over. It reads nothing from the network.
 */
#ifndef SYS_SOLO_H
#define SYS_SOLO_H

#include "core/options.h"
#include "engine/engine.h"
#include "sys/privileges.h"
#include "sys/signer.h"

#include <stdint.h>

/* What a connection is made from. */
struct connection {
	struct engine_context *context; /* freed here */
	struct signer *signer;		/* NULL: the context holds the key, if there is one */
	const struct blob *leaf;	/* the certificate that the key has to belong to; NULL: there is none */
	const struct config *config;
	const struct privileges *privileges;
	int64_t start; /* the moment, of clock_ms, from which its time counts */
};

/*
 * Runs the connection, on the descriptors of its configuration or one that the
 * engine makes, to its end. The engine is forked before the key is read, and
 * hears nothing from the network before the key is found to be in order.
 * Returns the exit code, or -n when the program has to die of signal n.
 * Failures have been logged.
 */
int solo_run(const struct connection *c);

#endif
