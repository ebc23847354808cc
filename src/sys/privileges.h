/*
 * Giving up privileges, and making sure that they are gone.
 */
#ifndef SYS_PRIVILEGES_H
#define SYS_PRIVILEGES_H

#include "core/fault.h"

#include <stdbool.h>
#include <sys/types.h>

struct privileges {
	bool root; /* the effective uid is 0 */
	bool drop; /* TLS_UID and TLS_GID are given */
	uid_t uid;
	gid_t gid;
};

/* Reads TLS_UID and TLS_GID where the effective uid is 0. Returns -1 with *f (FAULT_USAGE) when they are malformed. */
int privileges_plan(struct privileges *p, struct fault *f);

/*
 * Changes to uid and gid where they are given: real, effective, saved and file
 * system ids, no supplementary group, no way back. Does nothing otherwise.
 */
int privileges_drop(const struct privileges *p, struct fault *f);

/*
 * For the process that faces the network: as above, and whoever it is, no
 * capability and (from root) no group is left; with `binds`, the capability to
 * use a low port stays, where it was there, until privileges_finish.
 */
int privileges_shed(const struct privileges *p, bool binds, struct fault *f);

/* Leaves no capability. */
int privileges_finish(struct fault *f);

#endif
