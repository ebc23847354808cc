/*
 * Certificate, key and trust anchors as they were at one moment: what new
 * connections are made from until the files change. Of one generation, all
 * belongs together.
 */
#ifndef SYS_GENERATION_H
#define SYS_GENERATION_H

#include "core/options.h"
#include "engine/engine.h"
#include "sys/material.h"
#include "sys/notary.h"
#include "sys/privileges.h"
#include "sys/signer.h"

#include <stdint.h>

/* One process for each core, and no more than these. */
#define GENERATION_SIGNERS 4

struct generation {
	struct material material;
	struct engine_context *context; /* NULL before generation_finish */
	struct notary signers[GENERATION_SIGNERS];
	size_t n;    /* of them; 0: the context holds the key */
	size_t next; /* whose turn it is */
};

/*
 * Reads certificate and anchors, and starts the signers, who read the key.
 * Returns NULL with *f when that cannot be; nothing is left running then.
 */
struct generation *generation_start(const struct config *c, const struct privileges *p, struct fault *f);

/* Whether all signers are ready. */
bool generation_ready(const struct generation *g);

/* Makes the context, once all signers are ready; its engines ask `asking`. Returns 0, or -1 with *f. */
int generation_finish(struct generation *g, const struct config *c, struct signer *asking, struct fault *f);

/* The next signer that is ready, or NULL: there is none now, or the context needs none (g->n is 0). */
struct notary *generation_signer(struct generation *g);

/* Frees it. Its signers live on as long as handshakes need them; those that are not ready are killed. */
void generation_end(struct generation *g);

/*
 * A number that changes with the files that a generation is made from: their
 * places, sizes and times. Returns 0, or -1 with *f when one of them cannot be
 * read a second time, as a FIFO.
 */
int generation_stamp(const struct config *c, uint64_t *stamp, struct fault *f);

#endif
