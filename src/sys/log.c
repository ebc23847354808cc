/*
 * The logger. A line is composed whole and handed over in one call, so that
 * lines of many programs on one descriptor do not mix.
 */
#include "sys/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

static struct {
	const char *program;
	int fd; /* -1: syslog */
	int verbosity;
	char peer[128]; /* "" until there is a connection to speak of */
	pid_t pid;	/* of it; 0: ours */
} logger = {.program = "", .fd = STDERR_FILENO, .verbosity = 1};

void
log_start(const char *program, bool use_syslog)
{
	logger.program = program;
	if (!use_syslog)
		return;
	logger.fd = -1;
	openlog(program, LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void
log_to(int fd)
{
	logger.fd = fd;
}

void
log_verbosity(int verbosity)
{
	logger.verbosity = verbosity;
}

void
log_connection(pid_t pid, const char *peer)
{
	logger.pid = pid;
	explicit_bzero(logger.peer, sizeof logger.peer);
	(void)snprintf(logger.peer, sizeof logger.peer, "%s", peer);
}

/* Room for the longest line, one with a subject in it, without asking for memory that may be what is lacking. */
static char line[65536];

static void
write_line(size_t n)
{
	for (const char *p = line; n > 0;) {
		ssize_t w = write(logger.fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return; /* there is nobody left to tell */
		p += w;
		n -= (size_t)w;
	}
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"fatal", "warning", "info", "debug"};
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	size_t n, room = sizeof line - 1;
	va_list ap;

	if ((int)level > logger.verbosity)
		return;
	n = (size_t)snprintf(line, room, "%s: %s: ", logger.program, names[level]);
	if (logger.peer[0])
		n += (size_t)snprintf(
		    line + n, room - n, "pid=%ld peer=%s ", (long)(logger.pid ? logger.pid : getpid()), logger.peer);
	va_start(ap, fmt);
	(void)vsnprintf(line + n, room - n, fmt, ap);
	va_end(ap);
	n += strlen(line + n);
	/* A file name can hold anything; a line is one line. */
	for (size_t i = 0; i < n; i++)
		if (line[i] < 0x20 || line[i] > 0x7e)
			line[i] = '?';
	if (logger.fd < 0)
		syslog(priorities[level], "%s", line + strlen(logger.program) + strlen(": "));
	else {
		line[n++] = '\n';
		write_line(n);
	}
	explicit_bzero(line, n); /* a process that is forked later is for another connection */
}

void
log_fault(const struct fault *f)
{
	log_line(LOG_LEVEL_FATAL, "%s", f->text);
}
