/*
 * The logger. A line is composed whole and handed over in one call, so that
 * lines of many programs on one descriptor do not mix.
 */
#include "sys/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

static struct {
	int fd; /* -1: syslog */
	int verbosity;
	char peer[128]; /* "" until there is a connection to speak of */
} logger = {.fd = STDERR_FILENO, .verbosity = 1};

void
log_start(bool use_syslog)
{
	if (!use_syslog)
		return;
	logger.fd = -1;
	openlog("s6-tlsd", LOG_PID | LOG_NDELAY, LOG_DAEMON);
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
log_peer(const char *peer)
{
	(void)snprintf(logger.peer, sizeof logger.peer, "%s", peer);
}

static void
write_line(const char *line, size_t n)
{
	while (n > 0) {
		ssize_t w = write(logger.fd, line, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return; /* there is nobody left to tell */
		line += w;
		n -= (size_t)w;
	}
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"fatal", "warning", "info", "debug"};
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	char *text, *line;
	va_list ap;
	int n;

	if ((int)level > logger.verbosity)
		return;
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if (logger.peer[0])
		n = asprintf(
		    &line, "s6-tlsd: %s: pid=%ld peer=%s %s\n", names[level], (long)getpid(), logger.peer, text);
	else
		n = asprintf(&line, "s6-tlsd: %s: %s\n", names[level], text);
	free(text);
	if (n < 0)
		return;
	if (logger.fd >= 0)
		write_line(line, (size_t)n);
	else
		syslog(priorities[level], "%s", line + strlen("s6-tlsd: "));
	free(line);
}

void
log_fault(const struct fault *f)
{
	log_line(LOG_LEVEL_FATAL, "%s", f->text);
}
