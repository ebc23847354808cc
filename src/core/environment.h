/*
 * The environment that prog gets. A pure plan: what there was, less what is
 * ours, plus what the session says.
 */
#ifndef CORE_ENVIRONMENT_H
#define CORE_ENVIRONMENT_H

#include "core/session.h"
#include "core/ucspi.h"

#include <stdbool.h>

/*
 * Returns a NULL-terminated vector made of `old` (whose strings it points at)
 * without the variables that the program reads (unless `keep`), without any
 * inherited variable of those that it sets, and with those: the session's SSL_
 * ones, and those of the TCP connection `tcp` where the program made it (NULL:
 * somebody else did, and set them). `local_name`, if there is one, is this
 * host's. One allocation, for the caller to free; NULL without memory.
 */
char **environment_plan(
    char *const old[], const struct session *session, const struct ucspi *tcp, const char *local_name, bool keep);

#endif
