/*
 * The one list of what backends cannot do. A test asserts what is on it, too:
 * an ability that is missing has to be missing cleanly.
 */
#ifndef TESTS_ABILITIES_H
#define TESTS_ABILITIES_H

#include "engine/engine.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct abilities {
	const char *backend;
	bool tls13;
	bool ed25519;	       /* keys and certificates; else a key is FAULT_CONTEXT */
	bool late_alerts;      /* a failure behind the handshake is told to the peer */
	bool name_constraints; /* are judged; else a chain that has any is refused */
	bool hears_on;	       /* what the peer sends behind our close_notify, in TLS 1.2 too; else it is dropped */
};

static inline const struct abilities *
abilities_of(const char *backend)
{
	static const struct abilities all[] = {
	    {.backend = "openssl",
		.tls13 = true,
		.ed25519 = true,
		.late_alerts = true,
		.name_constraints = true,
		.hears_on = true},
	    {.backend = "libtls",
		.tls13 = true,
		.ed25519 = true,
		.late_alerts = true,
		.name_constraints = true,
		.hears_on = true},
	    {.backend = "bearssl"},
	};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (strcmp(all[i].backend, backend) == 0)
			return &all[i];
	abort();
}

static inline const struct abilities *
abilities(void)
{
	return abilities_of(engine_backend_name());
}

#endif
