/*
 * The backend's engines, with a key whose signatures are all of one length, so
 * that a run repeats.
 */
#include "pair.h"

#include "unit/identity.h"

#include <stdio.h>
#include <stdlib.h>

static struct identity id;
static struct engine_context *contexts[2][2]; /* by version; the server's, the client's */

static struct engine_context *
prepare(enum engine_role role, enum engine_version newest)
{
	const struct blobs own = {.v = &id.cert, .n = 1};
	const struct engine_policy policy = {.role = role,
	    .newest = newest,
	    .verify = VERIFY_NONE,
	    .key = &id.key,
	    .signer = identity_signer(&id, role),
	    .chain = role == ENGINE_SERVER ? &own : NULL,
	    .servername = role == ENGINE_CLIENT ? "localhost" : NULL};
	struct fault f;
	struct engine_context *c = engine_prepare(&policy, &f);

	if (!c) {
		fprintf(stderr, "engine_prepare: %s\n", f.text);
		exit(1);
	}
	return c;
}

void
pair_prepare(void)
{
	struct fault f;

	/* Before the certificate is made with a library that the engine may have to set up first. */
	engine_context_free(engine_prepare(&(struct engine_policy){.role = ENGINE_CLIENT}, &f));
	id = identity_make("localhost", "RSA", NULL);
	for (int tls12 = 0; tls12 < 2; tls12++)
		for (int client = 0; client < 2; client++)
			contexts[tls12][client] =
			    prepare(client ? ENGINE_CLIENT : ENGINE_SERVER, tls12 ? ENGINE_TLS12 : ENGINE_NEWEST);
}

void
pair_open(struct engine *pair[2], const struct plan *p)
{
	struct fault f;

	for (int i = 0; i < 2; i++)
		if (!(pair[i] = engine_open(contexts[p->tls12][i], &f)))
			abort();
}

void
pair_close(struct engine *pair[2])
{
	engine_free(pair[0]);
	engine_free(pair[1]);
}

const char *
pair_name(void)
{
	return engine_backend();
}
