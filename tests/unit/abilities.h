/*
 * What a backend cannot do, in one list. Tests assert both: that the others
 * can, and that these cannot.
 */
#ifndef TESTS_ABILITIES_H
#define TESTS_ABILITIES_H

#include "engine/engine.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct abilities {
	const char *backend;
	bool name_alert; /* a client that finds another name in the server's certificate tells the server why it leaves
			  */
};

static const struct abilities backends[] = {
    {.backend = "openssl", .name_alert = true},
    {.backend = "libtls", .name_alert = false},
};

static inline const struct abilities *
abilities(void)
{
	for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
		if (strcmp(backends[i].backend, engine_backend_name()) == 0)
			return &backends[i];
	abort();
}

#endif
