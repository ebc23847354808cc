/*
 * The seal: what a process gives up for good before it meets someone that it
 * does not trust. One layer does not rely on another.
 */
#ifndef SYS_SEAL_H
#define SYS_SEAL_H

#include "core/fault.h"
#include "core/options.h"

/*
 * For the monitor, before it reads a key: looks which layers the kernel has,
 * for itself and the engines that it forks, says at -v2 which it lacks, and
 * makes this process one that no other can look into (ptrace(2), "dumpable").
 * Returns -1 with *f (FAULT_SYSTEM) when one is missing that `mode` demands.
 */
int seal_begin(enum sandbox mode, struct fault *f);

/*
 * For the engine, whose ids are final: no new privileges, no path, no TCP
 * socket, no process, no descriptor, no core; and of system calls those of a
 * relay, any other being its death by SIGSYS. Returns -1 with *f
 * (FAULT_SYSTEM) when a layer that the kernel has cannot be had.
 */
int seal_engine(struct fault *f);

/* For the process that signs, whose ids are final: likewise, with as many descriptors as there may be engines. */
int seal_signer(struct fault *f);

/* For the monitor, once prog runs, which inherits none of it: likewise, with signals, wait and messages left. */
int seal_monitor(struct fault *f);

#endif
