/*
 * Names of a connection's two addresses, asked for by a child: the resolver may
 * take its time, and what it is told comes from whoever answers.
 */
#ifndef SYS_LOOKUP_H
#define SYS_LOOKUP_H

#include "core/fault.h"
#include "core/options.h"
#include "core/ucspi.h"
#include "sys/privileges.h"

#include <sys/types.h>

/*
 * Starts it for the addresses in *u. Returns its pid and in *channel where its
 * one message comes (lookup_take), or -1 with *f.
 */
pid_t
lookup_start(const struct ucspi *u, const struct config *c, const struct privileges *p, int *channel, struct fault *f);

/*
 * Takes the message. Returns 1, with the names that there are in *u, or
 * without, where the child has failed; 0 when there is none yet.
 */
int lookup_take(int channel, struct ucspi *u);

#endif
