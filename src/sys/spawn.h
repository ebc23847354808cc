/*
 * Starting prog: with the signals, ids and limits of its own, and without a
 * copy of the memory of whoever starts it.
 */
#ifndef SYS_SPAWN_H
#define SYS_SPAWN_H

#include "sys/privileges.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

struct spawn {
	char *const *argv;	    /* argv[0] is found by PATH, as execvp(3) does */
	char *const *env;	    /* that it gets */
	const sigset_t *mask;	    /* that it gets; its signals all have their default dispositions */
	int in, out;		    /* descriptors that become its 0 and 1; -1: those stay as they are */
	const struct identity *ids; /* that it gets; NULL: ours */
	const struct rlimit *files; /* likewise, of open files */
};

/*
 * Starts it, and waits until it is no copy of us any more. Returns 0 and its
 * pid, or an errno. Whatever has to be closed in it is close-on-exec.
 */
int spawn(const struct spawn *s, pid_t *pid);

#endif
