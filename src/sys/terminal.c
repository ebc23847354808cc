/*
 * Two flows and one poll. Flags of inherited descriptors stay as they are, so
 * nothing is written that could block once poll has said that there is room:
 * at most PIPE_BUF bytes at a time.
 */
#include "sys/terminal.h"

#include "core/fault.h"
#include "sys/fds.h"
#include "sys/log.h"
#include "sys/seal.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes on their way. A descriptor is -1 once it is closed. */
struct flow {
	int from, to;
	bool ends_socket; /* its end is that of the socket `to` as well */
	size_t begin, end;
	char buffer[65536];
};

static bool
flows(const struct flow *w)
{
	return w->from >= 0;
}

/* Whether stdin and stdout are one socket that is ours alone: nobody else's messages go there. */
static bool
is_one_socket(void)
{
	struct stat in, out, messages;

	if (fstat(STDIN_FILENO, &in) < 0 || fstat(STDOUT_FILENO, &out) < 0 || !S_ISSOCK(in.st_mode) ||
	    in.st_ino != out.st_ino || in.st_dev != out.st_dev)
		return false;
	return fstat(STDERR_FILENO, &messages) < 0 || in.st_ino != messages.st_ino || in.st_dev != messages.st_dev;
}

/* Where one socket is both, whoever reads from it hears of the end by this alone. */
static void
end_flow(struct flow *w)
{
	if (w->ends_socket)
		(void)shutdown(w->to, SHUT_WR);
	fds_close(&w->from);
	fds_close(&w->to);
}

/* Reads what is there. Its end, or what is as good as that, returns false. */
static bool
take(struct flow *w, const char *name, int *code)
{
	ssize_t n = read(w->from, w->buffer, sizeof w->buffer);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n < 0 && name) {
		log_line(LOG_LEVEL_FATAL, "cannot read %s: %s", name, strerror(errno));
		*code = FAULT_SYSTEM;
	}
	w->begin = 0;
	w->end = n > 0 ? (size_t)n : 0;
	return n > 0;
}

/* Writes some of what waits. Returns false when nobody takes it any more. */
static bool
give(struct flow *w)
{
	size_t waiting = w->end - w->begin;
	ssize_t n = write(w->to, w->buffer + w->begin, waiting < PIPE_BUF ? waiting : PIPE_BUF);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	w->begin += (size_t)n;
	return true;
}

static struct pollfd
wanted(const struct flow *w)
{
	bool full = w->begin < w->end;

	return (struct pollfd){.fd = full ? w->to : w->from, .events = full ? POLLOUT : POLLIN};
}

/* From a person to the peer: when either is gone, the other is told. */
static void
move_up(struct flow *w, bool gone, int *code)
{
	bool more = !gone && (w->begin < w->end ? give(w) : take(w, "standard input", code));

	if (!more)
		end_flow(w);
}

/* From the peer to a person, who must be there. Returns whether that is so. */
static bool
move_down(struct flow *w, int *code)
{
	if (w->begin == w->end) {
		if (!take(w, NULL, code))
			end_flow(w);
		return true;
	}
	if (give(w))
		return true;
	/* Who stops reading, as head(1) does, knows why. */
	if (errno != EPIPE)
		log_line(LOG_LEVEL_FATAL, "cannot write standard output: %s", strerror(errno));
	*code = FAULT_SYSTEM;
	return false;
}

/* `person`: nobody says when the input of one ends. */
static int
carry(int rfd, int wfd, bool person, bool one_socket)
{
	static struct flow up, down;
	int code = 0;

	up = (struct flow){.from = STDIN_FILENO, .to = wfd};
	down = (struct flow){.from = rfd, .to = STDOUT_FILENO, .ends_socket = one_socket};
	while (flows(&down) || (flows(&up) && !person)) {
		/* The last one tells when nobody reads from wfd any more. */
		struct pollfd p[] = {wanted(&up), wanted(&down), {.fd = up.to}};

		if (poll(p, 3, -1) < 0)
			continue; /* interrupted */
		if (p[0].revents || p[2].revents)
			move_up(&up, p[2].revents != 0, &code);
		if (p[1].revents && !move_down(&down, &code))
			break;
	}
	return code;
}

_Noreturn void
terminal_run(int rfd, int wfd, int log_fd, const struct privileges *privileges, const sigset_t *mask)
{
	static const int deadly[] = {SIGTERM, SIGINT, SIGHUP};
	const int keep[] = {rfd, wfd, log_fd};
	bool person = isatty(STDIN_FILENO), one = is_one_socket();
	struct fault f;

	/* As for any prog; but who stops reading must not kill who still has something to hear. */
	for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
		(void)signal(deadly[i], SIG_DFL);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	fds_close_others(keep, sizeof keep / sizeof *keep);
	if (privileges_shed(privileges, false, &f) < 0 || seal_engine(&f) < 0) {
		log_fault(&f);
		exit((int)f.code);
	}
	exit(carry(rfd, wfd, person, one));
}
