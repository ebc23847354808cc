/*
 * The environment that prog gets. A pure plan: what there was, less what is
 * ours, plus what the session says, as changed by the rule that let the peer in.
 */
#ifndef CORE_ENVIRONMENT_H
#define CORE_ENVIRONMENT_H

#include "core/changes.h"
#include "core/session.h"
#include "core/ucspi.h"

#include <stdbool.h>

/*
 * Returns a NULL-terminated vector made of `old` (whose strings it points at)
 * without the variables that the program reads (unless `keep`), without any
 * inherited variable of those that it sets, and with those: the session's SSL_
 * ones, and those of the TCP connection `tcp` where the program made it (NULL:
 * somebody else did, and set them). `local_name`, if there is one, is this
 * host's.
 *
 * To that, `changes` are applied in turn (NULL: none); the vector points at
 * their strings too. They may be about any variable but those that the program
 * reads, whether kept or not, and those whose names begin with "SSL_": such a
 * one is passed over.
 *
 * One allocation, for the caller to free; NULL without memory.
 */
char **environment_plan(char *const old[], const struct session *session, const struct ucspi *tcp,
    const char *local_name, bool keep, const struct changes *changes);

#endif
