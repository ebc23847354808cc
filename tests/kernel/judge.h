/*
 * What must be so at the end of a run, told from what happened in the world and
 * at the system calls, and from the loop's one message. It knows no relay.
 */
#ifndef TESTS_KERNEL_JUDGE_H
#define TESTS_KERNEL_JUDGE_H

#include "engine/engine.h"

/* Ends the run (wrong) where it is not. */
void judge(const struct engine *own);

#endif
