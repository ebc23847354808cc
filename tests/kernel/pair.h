/*
 * Two engines that understand each other: scripted ones (scripted.c), or two
 * of the backend (real.c).
 */
#ifndef TESTS_KERNEL_PAIR_H
#define TESTS_KERNEL_PAIR_H

#include "engine/engine.h"
#include "plan.h"

/* Once, before the first. */
void pair_prepare(void);

/* The loop's, a server, and the peer's, as the plan wants them. */
void pair_open(struct engine *pair[2], const struct plan *p);
void pair_close(struct engine *pair[2]);

/* What they are. */
const char *pair_name(void);

#endif
