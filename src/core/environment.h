/*
 * The environment that prog gets. A pure plan: what there was, less what is
 * ours, plus what the session says.
 */
#ifndef CORE_ENVIRONMENT_H
#define CORE_ENVIRONMENT_H

#include "core/session.h"

#include <stdbool.h>

/*
 * Returns a NULL-terminated vector made of `old` (whose strings it points at)
 * without the variables that the program reads (unless `keep`) and without any
 * inherited SSL_ variable of ours, with those of the session. One allocation,
 * for the caller to free; NULL without memory.
 */
char **environment_plan(char *const old[], const struct session *session, bool keep);

#endif
