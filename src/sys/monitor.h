/*
 * The process that the user started: it runs the engine and prog, each a
 * child, speaks to people, and knows how it all ended. It reads nothing from
 * the network.
 */
#ifndef SYS_MONITOR_H
#define SYS_MONITOR_H

#include "core/options.h"
#include "engine/engine.h"
#include "sys/privileges.h"

#include <stdint.h>

/*
 * Runs the connection on fds 0 and 1 to its end, and frees the context, with
 * the key first. `start` is the moment, of clock_ms, from which the
 * connection's time counts. Returns the exit code, or -n when the program has
 * to die of signal n. Failures have been logged.
 */
int monitor_run(
    struct engine_context *context, const struct config *config, const struct privileges *privileges, int64_t start);

#endif
