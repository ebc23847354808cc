/*
 * Each call first lets the world go on a little, then asks the plan whether it
 * fails or falls short, and then does what Linux does. A descriptor is used
 * once: whatever is done with one that is closed ends the run.
 */
#include "model.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TURNS = 400000 };
static const int64_t LONGEST_MS = 20000000;

struct kernel kernel;
static struct kernel *const k = &kernel;

/* -- streams and queues ---------------------------------------------------- */

size_t
stream_free(const struct stream *s)
{
	return s->room - s->n;
}

size_t
stream_put(struct stream *s, const unsigned char *p, size_t n)
{
	size_t at = (s->begin + s->n) % RING, first;

	n = n < stream_free(s) ? n : stream_free(s);
	first = n < RING - at ? n : RING - at;
	memcpy(s->ring + at, p, first);
	memcpy(s->ring, p + first, n - first);
	s->n += n;
	s->written += n;
	return n;
}

size_t
stream_get(struct stream *s, unsigned char *p, size_t n)
{
	size_t first;

	n = n < s->n ? n : s->n;
	first = n < RING - s->begin ? n : RING - s->begin;
	memcpy(p, s->ring + s->begin, first);
	memcpy(p + first, s->ring, n - first);
	s->begin = (s->begin + n) % RING;
	s->n -= n;
	s->read += n;
	return n;
}

static void
stream_begin(struct stream *s, size_t room)
{
	s->room = room;
	s->begin = s->n = 0;
	s->ended = s->deaf = false;
	s->written = s->read = 0;
}

static struct packet *
queue_place(struct queue *q)
{
	return q->n < QUEUED ? &q->packets[(q->begin + q->n++) % QUEUED] : NULL;
}

static struct packet *
queue_take(struct queue *q)
{
	struct packet *p = &q->packets[q->begin];

	if (q->n == 0)
		return NULL;
	q->begin = (q->begin + 1) % QUEUED;
	q->n--;
	return p;
}

static void
queue_begin(struct queue *q)
{
	q->begin = q->n = 0;
	q->ended = false;
}

void
monitor_says(enum message_type type, bool fds)
{
	struct packet *p = k->to_engine.ended ? NULL : queue_place(&k->to_engine);

	say("monitor: says %d", (int)type);
	if (!p)
		return;
	p->n = 1;
	p->fds = fds;
	p->bytes[0] = (unsigned char)type;
}

const struct packet *
monitor_hears(void)
{
	return queue_take(&k->to_monitor);
}

void
monitor_dies(void)
{
	say("monitor: dies");
	k->monitor_gone = k->to_engine.ended = true;
}

/* -- the wire's ends --------------------------------------------------------- */

static bool
duplex(void)
{
	return k->plan->shape == ONE_SOCKET || k->plan->shape == SOCKET_TWICE;
}

/* The socket, or whatever of the wire is one, hears of a RST. */
static void
break_socket(int error)
{
	if (k->dead || k->plan->shape == PIPES)
		return;
	k->dead = true;
	k->error = error;
}

void
peer_fin(void)
{
	say("peer: FIN");
	k->up.ended = true;
}

void
peer_reset(void)
{
	say("peer: RST");
	k->peer_gone = true;
	k->up.ended = k->up.ended || !in_socket(k->plan);
	k->down.deaf = true;
	break_socket(ECONNRESET);
}

void
peer_close(void)
{
	bool unread = k->down.n > 0;

	say("peer: closes");
	k->peer_gone = k->up.ended = k->down.deaf = true;
	if (unread && out_socket(k->plan))
		break_socket(ECONNRESET);
}

/* The peer reads our end: behind all that is in the wire, or, by a RST, in the middle of it. */
static void
end_down(enum wire_end how)
{
	if (k->end == WIRE_RST || (how == WIRE_FIN && k->end != WIRE_LIVES))
		return;
	if (k->end == WIRE_LIVES && how == WIRE_FIN) {
		k->fin = k->fin ? k->fin : k->calls;
		k->own_at_fin = k->own;
		k->given_at_fin = k->to_prog.written;
	}
	k->end = how;
	k->down.ended = true;
	if (how == WIRE_RST)
		k->down.n = below((unsigned)k->down.n + 1);
	say("kernel: the peer gets %s", how == WIRE_FIN ? "FIN" : "RST");
}

bool
still_open(int is)
{
	for (int i = 0; i < k->fds_n; i++)
		if (k->fds[i] & is)
			return true;
	return false;
}

/* A socket that is closed answers with a RST, and that destroys what the peer has not read. */
void
peer_knocks(void)
{
	if (duplex())
		end_down(WIRE_RST);
}

static void
let_go(int is)
{
	bool in = is & IS_IN && !still_open(IS_IN), out = is & IS_OUT && !still_open(IS_OUT);
	bool unread = duplex() && k->up.n > 0;

	if (in)
		k->up.deaf = true;
	if (out)
		end_down(out_socket(k->plan) && (k->abort || unread || k->dead) ? WIRE_RST : WIRE_FIN);
	if (is & IS_PROG_IN)
		k->to_prog.ended = true;
	if (is & IS_PROG_OUT)
		k->from_prog.deaf = true;
	if (is & IS_CHANNEL)
		k->to_monitor.ended = true;
}

/* -- descriptors ------------------------------------------------------------- */

static bool
ours(int fd)
{
	return fd >= FIRST_FD && fd < FIRST_FD + FDS;
}

/* What it is; a call with what is none of them is a defect. */
static int
look(int fd, const char *call)
{
	int is = ours(fd) ? k->fds[fd - FIRST_FD] : 0;

	if (!is)
		wrong("%s of descriptor %d, which is closed", call, fd);
	return is;
}

int
kernel_open(int is)
{
	if (k->fds_n == FDS)
		wrong("too many descriptors");
	k->fds[k->fds_n] = is;
	return FIRST_FD + k->fds_n++;
}

/* -- what the plan has for a call -------------------------------------------- */

/* A call begins: the world goes on meanwhile. */
static void
enter(void)
{
	k->calls++;
	if (happens(k->plan->nudge))
		world_nudge();
	if (happens(k->plan->jump))
		k->now += below(3) ? below(60) : below(100000);
}

/* Returns an errno, or 0. */
static int
blow(enum site site)
{
	const struct plan *p = k->plan;

	k->counts[site]++;
	for (unsigned i = 0; i < p->blows_n; i++)
		if (p->blows[i].site == site && p->blows[i].nth == k->counts[site]) {
			k->faults++;
			k->struck[site] = k->calls;
			return p->blows[i].error;
		}
	return 0;
}

static int
hindrance(enum site site, bool may_wait)
{
	int error = blow(site);

	if (!error && happens(k->plan->eintr))
		error = EINTR;
	if (!error && may_wait && happens(k->plan->eagain))
		error = EAGAIN;
	if (error == EINTR || error == EAGAIN)
		k->faults++;
	return error;
}

static size_t
shortened(size_t n)
{
	if (n <= 1 || !happens(k->plan->shortness))
		return n;
	k->faults++;
	return 1 + below((unsigned)(n < k->plan->most ? n : k->plan->most));
}

/* What a call returns: a length, or -1 with errno. */
static ssize_t
result(const char *call, int fd, size_t n, int error)
{
	say("%s(%d) = %ld%s%s", call, fd, error ? -1L : (long)n, error ? " " : "", error ? strerrorname_np(error) : "");
	if (error)
		errno = error;
	return error ? -1 : (ssize_t)n;
}

/* -- reading and writing ------------------------------------------------------ */

/* The loop is told that the wire fails. */
static void
note_trouble(bool by_read)
{
	if (k->trouble)
		return;
	k->trouble = k->calls;
	k->read_trouble = by_read;
}

static void
note_end_of_wire(bool polled)
{
	if (!polled)
		return;
	k->saw_eof = true;
	k->saw_cut = k->saw_cut || record_inside(&k->record);
	k->saw_unnotified = k->saw_unnotified || (k->plan->config.enforce && !k->peer_notified);
	if (!k->peer_notified && (record_inside(&k->record) || k->plan->config.enforce))
		note_trouble(true);
}

/* What the socket's state makes of a read that finds nothing. Returns 0 where that is an end. */
static int
nothing_read(bool socket)
{
	int error = k->error;

	if (k->up.ended)
		return 0;
	if (socket && k->dead) {
		k->error = 0;
		return error;
	}
	return EAGAIN;
}

static ssize_t
read_wire(int fd, void *buf, size_t n, bool socket)
{
	bool polled = k->may_read;
	int error = hindrance(SITE_WIRE_READ, true);

	k->may_read = false;
	if (error && error != EINTR && error != EAGAIN)
		break_socket(0);
	n = shortened(n);
	if (!error && k->up.n == 0) {
		error = nothing_read(socket);
		if (error == EAGAIN && !socket)
			wrong("a read of the wire, a pipe, would wait");
		n = 0;
		if (!error)
			note_end_of_wire(polled);
	} else if (!error) {
		n = stream_get(&k->up, buf, n);
		record_feed(&k->record, buf, n);
	}
	if (error && error != EINTR && error != EAGAIN) {
		k->saw_error = true;
		if (polled)
			note_trouble(true);
	}
	return result("read wire", fd, n, error);
}

static ssize_t
read_prog(int fd, void *buf, size_t n)
{
	int error = hindrance(SITE_PROG_READ, true);

	if (error)
		return result("read prog", fd, 0, error);
	if (k->from_prog.n == 0)
		return result("read prog", fd, 0, k->from_prog.ended ? 0 : EAGAIN);
	return result("read prog", fd, stream_get(&k->from_prog, buf, shortened(n)), 0);
}

ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __wrap_read(int fd, void *buf, size_t n);

ssize_t
__wrap_read(int fd, void *buf, size_t n)
{
	int is;

	if (!ours(fd) && fd >= 0)
		return __real_read(fd, buf, n);
	enter();
	is = look(fd, "read");
	if (is & IS_IN)
		return read_wire(fd, buf, n, in_socket(k->plan));
	if (!(is & IS_PROG_OUT))
		wrong("read of descriptor %d", fd);
	return read_prog(fd, buf, n);
}

ssize_t __wrap_recv(int fd, void *buf, size_t n, int flags);

ssize_t
__wrap_recv(int fd, void *buf, size_t n, int flags)
{
	enter();
	if (!(look(fd, "recv") & IS_IN) || !in_socket(k->plan) || flags != MSG_DONTWAIT)
		wrong("recv of descriptor %d with flags %d", fd, flags);
	return read_wire(fd, buf, n, true);
}

/* What the wire makes of a write. Returns an errno, or 0 with what *n came to. */
static int
put_down(const void *buf, size_t *n, bool socket)
{
	int error = k->error;

	if (socket && k->dead) {
		k->error = 0;
		return error ? error : EPIPE;
	}
	if (k->end != WIRE_LIVES)
		wrong("a write behind FIN");
	if (!socket && k->down.deaf)
		return EPIPE;
	if (k->peer_gone) {
		break_socket(k->up.ended ? EPIPE : ECONNRESET);
		return 0;
	}
	if (socket)
		*n = shortened(*n);
	else if (stream_free(&k->down) < *n)
		wrong("a write of %zu bytes to the wire, a pipe with room for %zu, would wait", *n,
		    stream_free(&k->down));
	*n = stream_put(&k->down, buf, *n);
	return *n == 0 ? EAGAIN : 0;
}

static ssize_t
write_wire(int fd, const void *buf, size_t n, bool socket)
{
	int error = hindrance(SITE_WIRE_WRITE, true);

	if (n == 0)
		wrong("a write of nothing to the wire");
	if (error && error != EINTR && error != EAGAIN)
		break_socket(0);
	if (!error)
		error = put_down(buf, &n, socket);
	if (error && error != EINTR && error != EAGAIN) {
		k->saw_error = true;
		note_trouble(false);
	}
	return result("write wire", fd, n, error);
}

static ssize_t
write_prog(int fd, const void *buf, size_t n)
{
	int error = hindrance(SITE_PROG_WRITE, true);
	size_t room = stream_free(&k->to_prog);

	if (n == 0)
		wrong("a write of nothing to prog");
	if (!error && k->to_prog.deaf)
		error = EPIPE;
	/* pipe(7): up to PIPE_BUF, all or nothing. */
	if (!error && (room == 0 || (n <= PIPE_BUF && room < n)))
		error = EAGAIN;
	if (!error)
		n = stream_put(&k->to_prog, buf, shortened(n));
	return result("write prog", fd, n, error);
}

ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);

ssize_t
__wrap_write(int fd, const void *buf, size_t n)
{
	int is;

	if (!ours(fd) && fd >= 0)
		return __real_write(fd, buf, n);
	enter();
	is = look(fd, "write");
	if (is & IS_PROG_IN)
		return write_prog(fd, buf, n);
	if (!(is & IS_OUT) || out_socket(k->plan) || n > PIPE_BUF)
		wrong("write of %zu bytes to descriptor %d", n, fd);
	return write_wire(fd, buf, n, false);
}

/* To the monitor. */
static ssize_t
tell(int fd, const void *buf, size_t n)
{
	int error = hindrance(SITE_TELL, false);
	struct packet *p = NULL;

	if (!error && k->monitor_gone)
		error = EPIPE;
	if (!error && n > MESSAGE)
		error = EMSGSIZE;
	if (!error && !(p = queue_place(&k->to_monitor)))
		error = EAGAIN;
	if (error)
		return result("tell", fd, 0, error);
	p->n = n;
	memcpy(p->bytes, buf, n);
	return result("tell", fd, n, 0);
}

ssize_t __wrap_send(int fd, const void *buf, size_t n, int flags);

ssize_t
__wrap_send(int fd, const void *buf, size_t n, int flags)
{
	int is;

	enter();
	is = look(fd, "send");
	if (flags != (MSG_DONTWAIT | MSG_NOSIGNAL))
		wrong("send with flags %d", flags);
	if (is & IS_CHANNEL)
		return tell(fd, buf, n);
	if (!(is & IS_OUT) || !out_socket(k->plan))
		wrong("send to descriptor %d", fd);
	return write_wire(fd, buf, n, true);
}

static void
attach_pipes(struct msghdr *m)
{
	int fds[2] = {kernel_open(IS_PROG_IN), kernel_open(IS_PROG_OUT)};
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (!c || m->msg_controllen < CMSG_SPACE(sizeof fds))
		wrong("there is no room for prog's pipes");
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(c), fds, sizeof fds);
	m->msg_controllen = CMSG_SPACE(sizeof fds);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags);

ssize_t
__wrap_recvmsg(int fd, struct msghdr *m, int flags)
{
	const struct packet *p;
	int error;

	enter();
	if (look(fd, "recvmsg") != IS_CHANNEL || flags != (MSG_DONTWAIT | MSG_CMSG_CLOEXEC))
		wrong("recvmsg of descriptor %d with flags %d", fd, flags);
	error = hindrance(SITE_HEAR, true);
	m->msg_flags = 0;
	/* unix(7): said once where the other side left something unread. */
	if (!error && k->to_engine.ended && happens(k->plan->eintr))
		error = ECONNRESET;
	if (error)
		return result("hear", fd, 0, error);
	p = queue_take(&k->to_engine);
	if (!p) {
		m->msg_controllen = 0;
		return result("hear", fd, 0, k->to_engine.ended ? 0 : EAGAIN);
	}
	if (p->n > m->msg_iov->iov_len)
		wrong("recvmsg of %zu bytes into %zu", p->n, m->msg_iov->iov_len);
	memcpy(m->msg_iov->iov_base, p->bytes, p->n);
	k->exit_heard = k->exit_heard || p->bytes[0] == MSG_EXITED;
	if (p->fds)
		attach_pipes(m);
	else
		m->msg_controllen = 0;
	return result("hear", fd, p->n, 0);
}

/* -- poll and time ------------------------------------------------------------ */

static int
ready_in(void)
{
	int got = 0;

	if (k->up.n > 0 || (k->up.ended && in_socket(k->plan)))
		got |= POLLIN;
	if (k->up.ended && !in_socket(k->plan))
		got |= POLLHUP;
	return got;
}

static int
ready_out(void)
{
	size_t room = stream_free(&k->down), enough = k->down.room / 3;

	if (!out_socket(k->plan))
		return (room >= PIPE_BUF ? POLLOUT : 0) | (k->down.deaf ? POLLERR : 0);
	return room >= enough || k->end != WIRE_LIVES || k->dead || k->peer_gone ? POLLOUT : 0;
}

/* What poll(2) knows of a descriptor, asked for or not. */
static int
ready(int is)
{
	bool socket = (is & IS_IN && in_socket(k->plan)) || (is & IS_OUT && out_socket(k->plan));
	int got = 0;

	if (is & IS_IN)
		got |= ready_in();
	if (is & IS_OUT)
		got |= ready_out();
	if (socket && k->dead)
		got |= POLLIN | POLLHUP | (k->error ? POLLERR : 0);
	if (socket && duplex() && k->up.ended && k->end != WIRE_LIVES)
		got |= POLLHUP;
	if (is & IS_PROG_IN)
		got |= (stream_free(&k->to_prog) >= PIPE_BUF ? POLLOUT : 0) | (k->to_prog.deaf ? POLLERR : 0);
	if (is & IS_PROG_OUT)
		got |= (k->from_prog.n ? POLLIN : 0) | (k->from_prog.ended ? POLLHUP : 0);
	if (is & IS_CHANNEL)
		got |= (k->to_engine.n || k->to_engine.ended ? POLLIN : 0) | (k->to_engine.ended ? POLLHUP : 0);
	return got;
}

/* A wakeup for nothing comes only where nothing waits because of it. */
static bool
waits_for_nothing(int is)
{
	bool pipe = (is & IS_IN && !in_socket(k->plan)) || (is & IS_OUT && !out_socket(k->plan));

	return !pipe && happens(k->plan->spurious);
}

static int
look_at(struct pollfd *p, nfds_t n, bool first)
{
	int found = 0;

	for (nfds_t i = 0; i < n; i++) {
		int is = p[i].fd < 0 ? 0 : look(p[i].fd, "poll");

		p[i].revents = is ? (short)(ready(is) & (p[i].events | POLLHUP | POLLERR)) : 0;
		if (is && !p[i].revents && first && waits_for_nothing(is)) {
			p[i].revents = p[i].events;
			k->faults++;
		}
		if (p[i].revents)
			found++;
		if (p[i].revents && is & IS_IN && p[i].events & POLLIN)
			k->may_read = true;
	}
	return found;
}

/* Nobody can do anything: time passes, until somebody wakes, or the wait ends. Returns whether it has. */
static bool
pass_time(int64_t until)
{
	int64_t alarm = world_alarm();

	if (until < 0 && alarm < 0)
		wrong("everybody waits for ever");
	if (alarm < 0 || (until >= 0 && until <= alarm)) {
		k->now = until > k->now ? until : k->now;
		return true;
	}
	k->now = alarm > k->now ? alarm : k->now;
	if (k->now > LONGEST_MS)
		wrong("it is not over after %lld s", (long long)k->now / 1000);
	return false;
}

int __wrap_poll(struct pollfd *p, nfds_t n, int ms);

int
__wrap_poll(struct pollfd *p, nfds_t n, int ms)
{
	int64_t until = ms < 0 ? -1 : k->now + ms;
	int found;

	enter();
	k->may_read = false;
	if (++k->turns > TURNS)
		wrong("it is not over after %d turns", TURNS);
	if (happens(k->plan->eintr)) {
		k->faults++;
		return (int)result("poll", ms, 0, below(4) ? EINTR : ENOMEM);
	}
	for (int steps = 0; (found = look_at(p, n, steps == 0)) == 0 && ms != 0; steps++) {
		if (steps == TURNS)
			wrong("the world turns for nothing");
		if (!world_step() && pass_time(until))
			break;
	}
	say("poll(%d ms) = %d at %lld ms", ms, found, (long long)k->now);
	return found;
}

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	if (!k->plan || clock != CLOCK_MONOTONIC)
		return __real_clock_gettime(clock, t);
	*t = (struct timespec){.tv_sec = k->now / 1000, .tv_nsec = k->now % 1000 * 1000000};
	return 0;
}

/* -- the rest ------------------------------------------------------------------ */

int __real_close(int fd);
int __wrap_close(int fd);

int
__wrap_close(int fd)
{
	int is, error;

	if (!ours(fd) && fd >= 0)
		return __real_close(fd);
	enter();
	is = look(fd, "close");
	error = blow(SITE_CLOSE);
	k->fds[fd - FIRST_FD] = 0;
	let_go(is);
	return (int)result("close", fd, 0, error); /* close(2): it is closed all the same */
}

int __wrap_shutdown(int fd, int how);

int
__wrap_shutdown(int fd, int how)
{
	enter();
	if (!(look(fd, "shutdown") & IS_OUT) || !out_socket(k->plan) || how != SHUT_WR)
		wrong("shutdown of descriptor %d", fd);
	if (k->dead) {
		k->fin = k->fin ? k->fin : k->calls;
		return (int)result("shutdown", fd, 0, ENOTCONN);
	}
	end_down(WIRE_FIN);
	return (int)result("shutdown", fd, 0, 0);
}

static bool
is_socket(int is)
{
	return (is & IS_IN && in_socket(k->plan)) || (is & IS_OUT && out_socket(k->plan));
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *n);

int
__wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
	int error = 0;

	(void)name;
	enter();
	if (!is_socket(look(fd, "getsockopt")))
		error = ENOTSOCK;
	else if (level == IPPROTO_TCP)
		error = blow(SITE_OPTION);
	if (!error)
		memset(value, 0, *n);
	return (int)result("getsockopt", fd, 0, error);
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n);

int
__wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
	int error = 0;

	enter();
	(void)n;
	if (!is_socket(look(fd, "setsockopt")))
		error = ENOTSOCK;
	else if (level == IPPROTO_TCP)
		error = blow(SITE_OPTION);
	else if (name == SO_LINGER)
		k->abort = ((const struct linger *)value)->l_onoff;
	return (int)result("setsockopt", fd, 0, error);
}

int __wrap_ioctl(int fd, unsigned long request, ...);

int
__wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	int is, error, *n;

	va_start(ap, request);
	n = va_arg(ap, int *);
	va_end(ap);
	enter();
	is = look(fd, "ioctl");
	if (request == SIOCOUTQ && is & IS_OUT) {
		error = out_socket(k->plan) ? blow(SITE_QUEUE) : ENOTTY;
		if (!error)
			*n = (int)k->down.n;
		return (int)result("ioctl SIOCOUTQ", fd, 0, error);
	}
	if (request != FIONREAD || !(is & IS_PROG_OUT))
		wrong("ioctl %lu of descriptor %d", request, fd);
	error = blow(SITE_PIPE);
	if (!error) {
		*n = (int)k->from_prog.n;
		k->own_at_look = k->own;
	}
	/* Who does not know what prog left may take what a grandchild adds. */
	if (k->exit_heard && k->rest != UINT64_MAX)
		k->rest = error ? UINT64_MAX : k->from_prog.read + k->from_prog.n;
	return (int)result("ioctl FIONREAD", fd, 0, error);
}

/* -- the beginning --------------------------------------------------------------- */

static void
open_wire(struct loop_fds *fds)
{
	switch (k->plan->shape) {
	case ONE_SOCKET: fds->wire_in = fds->wire_out = kernel_open(IS_IN | IS_OUT); return;
	case SOCKET_TWICE:
		fds->wire_in = kernel_open(IS_IN | IS_OUT);
		fds->wire_out = kernel_open(IS_IN | IS_OUT);
		return;
	case PIPES:
	case PIPE_AND_SOCKET:
	case SOCKET_AND_PIPE:
	case SHAPES: fds->wire_in = kernel_open(IS_IN); fds->wire_out = kernel_open(IS_OUT);
	}
}

void
kernel_begin(const struct plan *p, struct loop_fds *fds)
{
	/* All but the streams and queues, which are large. */
	k->plan = p;
	k->now = 1000000;
	k->calls = k->turns = k->faults = 0;
	k->fds_n = 0;
	stream_begin(&k->up, p->up);
	stream_begin(&k->down, p->down);
	stream_begin(&k->to_prog, p->to_prog);
	stream_begin(&k->from_prog, p->from_prog_room);
	queue_begin(&k->to_engine);
	queue_begin(&k->to_monitor);
	memset(&k->record, 0, sizeof *k - offsetof(struct kernel, record));
	open_wire(fds);
	fds->prog_in = p->late_pipes ? -1 : kernel_open(IS_PROG_IN);
	fds->prog_out = p->late_pipes ? -1 : kernel_open(IS_PROG_OUT);
	fds->channel = kernel_open(IS_CHANNEL);
	fds->signer = kernel_open(IS_SIGNER);
}
