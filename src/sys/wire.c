/*
 * Sockets are used with MSG_DONTWAIT; anything else in pieces that do not
 * block after poll: one read, and a write of no more than PIPE_BUF.
 */
#include "sys/wire.h"

#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* How much unread input a close takes off the socket first; more would be a peer that does not listen. */
enum { LAST_READS = 64 };

static bool
is_socket(int fd)
{
	int type;
	socklen_t n = sizeof type;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0;
}

/* With linger on and no time for it, close(2) is an abort (socket(7), RFC 9293, 3.10.5). */
static const struct linger abort_on_close = {.l_onoff = 1};

static void
set_linger(const struct wire *w, const struct linger *linger)
{
	if (w->out_socket && w->out >= 0)
		(void)setsockopt(w->out, SOL_SOCKET, SO_LINGER, linger, sizeof *linger);
}

void
wire_open(struct wire *w, int in, int out)
{
	socklen_t n = sizeof w->found;

	*w = (struct wire){.in = in, .out = out, .in_socket = is_socket(in), .out_socket = is_socket(out)};
	w->guarded = w->out_socket && getsockopt(out, SOL_SOCKET, SO_LINGER, &w->found, &n) == 0;
	if (w->guarded)
		set_linger(w, &abort_on_close);
}

static void
unguard(struct wire *w)
{
	if (w->guarded)
		set_linger(w, &w->found);
	w->guarded = false;
}

ssize_t
wire_read(const struct wire *w, void *buf, size_t n)
{
	return w->in_socket ? recv(w->in, buf, n, MSG_DONTWAIT) : read(w->in, buf, n);
}

ssize_t
wire_write(const struct wire *w, const void *buf, size_t n)
{
	if (w->out_socket)
		return send(w->out, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(w->out, buf, n < PIPE_BUF ? n : PIPE_BUF);
}

static int
set_nodelay(const struct wire *w, int on)
{
	return setsockopt(w->out, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void
wire_hurry(struct wire *w)
{
	int on = 0;
	socklen_t n = sizeof on;

	w->hurried = w->out_socket && getsockopt(w->out, IPPROTO_TCP, TCP_NODELAY, &on, &n) == 0 && !on &&
		     set_nodelay(w, 1) == 0;
}

void
wire_relax(struct wire *w)
{
	if (w->hurried)
		(void)set_nodelay(w, 0);
	w->hurried = false;
}

void
wire_acknowledge(const struct wire *w)
{
	const int on = 1;

	if (w->in_socket)
		(void)setsockopt(w->in, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

size_t
wire_unsent(const struct wire *w)
{
	int n = 0;

	return w->out_socket && w->out >= 0 && ioctl(w->out, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

void
wire_fin(struct wire *w)
{
	unguard(w);
	if (w->out_socket) {
		(void)shutdown(w->out, SHUT_WR); /* a peer that is gone has had its EOF */
		return;
	}
	(void)close(w->out);
	w->out = -1;
}

static void
close_both(struct wire *w)
{
	if (w->in >= 0)
		(void)close(w->in);
	if (w->out >= 0 && w->out != w->in)
		(void)close(w->out);
	w->in = w->out = -1;
}

void
wire_close(struct wire *w)
{
	char sink[16384];

	unguard(w);
	/* Unread input would turn the close into a reset, and that destroys what the peer has not read yet. */
	for (int i = 0; i < LAST_READS && w->in >= 0 && w->in_socket; i++)
		if (recv(w->in, sink, sizeof sink, MSG_DONTWAIT) <= 0)
			break;
	close_both(w);
}

void
wire_reset(struct wire *w)
{
	set_linger(w, &abort_on_close);
	close_both(w);
}
