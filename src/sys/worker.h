/*
 * The engine's process: it faces the network, and has given up what it does
 * not need before it reads a byte from there.
 */
#ifndef SYS_WORKER_H
#define SYS_WORKER_H

#include "core/options.h"
#include "engine/engine.h"
#include "sys/loop.h"
#include "sys/privileges.h"

#include <signal.h>
#include <stdint.h>

/*
 * Runs one connection in this process, a fresh child of `parent`, and exits. A
 * connection that is not there yet is made (TLSCLIENT) or comes (TLSSERVER).
 * `mask` is the signal mask to run with. Everything but fds is closed.
 */
_Noreturn void worker_run(struct engine_context *context, const struct loop_fds *fds, const struct config *config,
    const struct privileges *privileges, const sigset_t *mask, pid_t parent, int64_t start);

#endif
