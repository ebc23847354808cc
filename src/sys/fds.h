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
 * else is opened and lands there; prog is to inherit it. closed[i] says that fd
 * i was. Returns -1 with *f when that fails.
 */
int fds_occupy(bool closed[3], struct fault *f);

/* Whether fd is open. */
bool fds_open(int fd);

/* Says on which descriptors the connection is: `in` is read from, `out` written to. -1: on none. */
void fds_connection(int in, int out);

/* Whether fd is the same socket or pipe as one of these. A terminal is none: it is where a person reads. */
bool fds_is_connection(int fd);

/*
 * Takes the connection away from all descriptors but these: of fds 0 to 2, what
 * is the connection becomes /dev/null, others are closed. So neither prog nor a
 * message can write to it.
 */
int fds_hide_connection(struct fault *f);

/* Where fd is closed, opens it on /dev/null, close-on-exec, so that nothing else lands there. */
int fds_reserve(int fd, struct fault *f);

/* Puts /dev/null on those of fds 0 to 2 that are not in keep[0..n). */
int fds_silence(const int *keep, size_t n, struct fault *f);

/* Closes every descriptor above 2 but those in keep[0..n), n at most 8. */
void fds_close_others(const int *keep, size_t n);

/* A pipe, close-on-exec: ends[0] is read from, ends[1] written to. */
int fds_pipe(int ends[2], struct fault *f);

/* What a pipe holds at first (pipe(7)), and what one for a stream is given: an ordinary user may have 256 such. */
enum { PIPE_FIRST = 65536, PIPE_WIDE = 262144 };

/* Widens a pipe, if the system lets it: it works as well if not, in more steps. */
void fds_widen(int pipe);

/* Makes fd, an open description of ours alone, non-blocking. */
int fds_nonblock(int fd, struct fault *f);

/* Closes *fd if it is open, and sets it to -1. */
void fds_close(int *fd);

#endif
