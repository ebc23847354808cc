/*
 * The keys, certificates and trust anchors that the environment names, read
 * and taken apart; everything the engine's context is made from.
 */
#ifndef SYS_MATERIAL_H
#define SYS_MATERIAL_H

#include "core/credentials.h"
#include "core/fault.h"
#include "core/options.h"

#include <stdbool.h>

struct material {
	struct blob key;      /* empty where it is read later */
	struct blobs chain;   /* leaf first; empty where none is shown */
	struct blobs anchors; /* empty where none are needed */
};

/*
 * Reads what the configuration needs: own certificates, trust anchors, and the
 * private key only where it is asked for. Warns by the log. Returns -1 with *f;
 * *m is then empty.
 */
int material_load(struct material *m, const struct config *config, bool key, struct fault *f);

/* Reads the private key alone. */
int material_load_key(struct blob *key, struct fault *f);

void material_wipe(struct material *m);

#endif
