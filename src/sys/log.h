/*
 * Where messages go: a descriptor, or syslog when stderr is the connection.
 * One write a line. Only the monitor calls this.
 */
#ifndef SYS_LOG_H
#define SYS_LOG_H

#include "core/fault.h"

#include <stdbool.h>
#include <sys/types.h>

enum log_level { LOG_LEVEL_FATAL, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Messages go to stderr, or to syslog, and say that they are the program's (a name that stays the caller's). */
void log_start(const char *program, bool use_syslog);

/* Sends messages to fd from now on. */
void log_to(int fd);

/* Which levels are written: 0 fatal ones, up to 3 all. */
void log_verbosity(int verbosity);

/* From now on every line names the connection: its pid (0: ours) and the peer (printable text, copied; "": none). */
void log_connection(pid_t pid, const char *peer);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Writes the fault as a fatal error. */
void log_fault(const struct fault *f);

#endif
