/*
 * Giving up privileges, and making sure that they are gone.
 */
#ifndef SYS_PRIVILEGES_H
#define SYS_PRIVILEGES_H

#include "core/fault.h"
#include "core/ids.h"
#include "core/options.h"

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

/*
 * For the process that starts others for as long as it lives: of root's
 * capabilities those stay that it takes to give them their ids, to end them,
 * and to read certificates again. An exec gives prog root's others back.
 */
int privileges_narrow(const struct privileges *p, struct fault *f);

/* Who prog is to be. */
struct identity {
	uid_t uid;    /* (uid_t)-1: as we are */
	gid_t gid;    /* likewise */
	int groups_n; /* -1: likewise */
	gid_t groups[IDS_MAX];
};

/*
 * Reads it from the options, or from UID, GID and GIDLIST where they say so.
 * Without a list of groups there are none once there is a uid or gid. Returns
 * whether prog is to be somebody else, or -1 with *f.
 */
int privileges_identity(const struct privileges *p, const struct config *c, struct identity *i, struct fault *f);

#endif
