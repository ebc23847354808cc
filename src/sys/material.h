/*
 * The keys, certificates and trust anchors that the environment names, read
 * and taken apart; everything the engine's context is made from.
 */
#ifndef SYS_MATERIAL_H
#define SYS_MATERIAL_H

#include "core/credentials.h"
#include "core/fault.h"
#include "core/options.h"

struct material {
	struct blob key;
	struct blobs chain;   /* leaf first */
	struct blobs anchors; /* empty where none are needed */
};

/* Reads what a server with this configuration needs. Warns by the log. Returns -1 with *f; *m is then empty. */
int material_load(struct material *m, const struct config *config, struct fault *f);

void material_wipe(struct material *m);

#endif
