/*
 * The descriptors that the program is started with: which of them are the
 * connection, and that none of it leaks.
 */
#ifndef SYS_FDS_H
#define SYS_FDS_H

#include "core/fault.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Opens whichever of fds 0, 1 and 2 is closed on /dev/null, before anything
 * else is opened and lands there. Sets *missing to the first of 0 and 1 that
 * was closed, or to -1. Returns -1 with *f when that fails.
 */
int fds_occupy(int *missing, struct fault *f);

/* Whether fd is open. */
bool fds_open(int fd);

/* Whether fd is the same socket or pipe as fd 0 or fd 1. A terminal is none: it is where a person reads. */
bool fds_is_connection(int fd);

/*
 * Takes the connection away from all descriptors but 0 and 1: fd 2 becomes
 * /dev/null, others are closed. So neither prog nor a message can write to it.
 */
int fds_hide_connection(struct fault *f);

/* Closes every descriptor above 2 but those in keep[0..n), n at most 8. */
void fds_close_others(const int *keep, size_t n);

/* A pipe, close-on-exec: ends[0] is read from, ends[1] written to. */
int fds_pipe(int ends[2], struct fault *f);

/* Makes fd, an open description of ours alone, non-blocking. */
int fds_nonblock(int fd, struct fault *f);

/* Closes *fd if it is open, and sets it to -1. */
void fds_close(int *fd);

#endif
