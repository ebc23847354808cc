/*
 * The process that listens: the monitor of many connections, each with an
 * engine that was forked from it warm. It has no key, and reads nothing from
 * the network.
 */
#ifndef SYS_SERVER_H
#define SYS_SERVER_H

#include "core/options.h"
#include "sys/privileges.h"

/*
 * Serves until a signal ends it. Failures have been logged. Returns the exit
 * code.
 */
int server_run(const struct config *config, const struct privileges *privileges);

#endif
