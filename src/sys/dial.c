/*
 * Resolves, then does what core/race.c says: opens a socket an attempt, waits
 * for whichever is first, and closes the rest. Must neither log nor exit.
 */
#include "sys/dial.h"

#include "core/race.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A race takes no more than RACE_MAX of either family. */
enum { ADDRESSES = 2 * RACE_MAX };

struct attempt {
	union endpoint to;
	socklen_t n;
	int fd;	   /* while it runs; else -1 */
	int error; /* what it came to; 0 when it was never begun */
};

struct dialing {
	const struct dial *d;
	union endpoint local; /* with AF_UNSPEC, of any family */
	int local_port;	      /* 0 for any */
	struct attempt attempts[ADDRESSES];
	int families[ADDRESSES];
	size_t n;
	struct race race;
};

static int
local_fault(const struct dial *d, const char *why, struct fault *f)
{
	if (!d->local_ip)
		return fault_set(f, FAULT_SYSTEM, "cannot use local port %s: %s", d->local_port, why);
	return fault_set(f, FAULT_SYSTEM, "cannot use local address %s%s%s: %s", d->local_ip,
	    d->local_port ? " port " : "", d->local_port ? d->local_port : "", why);
}

/* Finds out where to connect from, and by that the family. */
static int
find_local(struct dialing *c, int *family, struct fault *f)
{
	const struct dial *d = c->d;
	const char *why = NULL;

	if (d->local_port && (c->local_port = resolve_port(d->local_port)) < 0)
		return local_fault(d, "unknown service", f);
	if (!d->local_ip)
		return 0;

	struct addrinfo *found = resolve_number(d->local_ip, *family, &why);
	if (!found)
		return local_fault(d, why, f);
	memcpy(&c->local, found->ai_addr, found->ai_addrlen);
	*family = found->ai_family;
	freeaddrinfo(found);
	return 0;
}

static size_t
count(const struct dialing *c, int family)
{
	size_t found = 0;

	for (size_t i = 0; i < c->n; i++)
		found += c->families[i] == family;
	return found;
}

static bool
known(const struct dialing *c, const union endpoint *e, socklen_t n)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->attempts[i].n == n && memcmp(&c->attempts[i].to, e, n) == 0)
			return true;
	return false;
}

static void
add(struct dialing *c, const struct addrinfo *found, int port)
{
	struct attempt a = {.fd = -1, .n = found->ai_addrlen};

	if (found->ai_family != AF_INET && found->ai_family != AF_INET6)
		return;
	memcpy(&a.to, found->ai_addr, found->ai_addrlen);
	resolve_set_port(&a.to, port);
	if (count(c, found->ai_family) == RACE_MAX || known(c, &a.to, a.n))
		return;
	c->families[c->n] = found->ai_family;
	c->attempts[c->n++] = a;
}

static int
find_addresses(struct dialing *c, int family, struct fault *f)
{
	const struct dial *d = c->d;
	const char *why = NULL;
	int port = resolve_port(d->port);

	if (port < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot resolve %s: unknown service %s", d->host, d->port);

	struct addrinfo *list = resolve_host(d->host, family, d->qualify, &why);
	if (!list)
		return fault_set(f, FAULT_SYSTEM, "cannot resolve %s: %s", d->host, why);
	for (const struct addrinfo *i = list; i; i = i->ai_next)
		add(c, i, port);
	freeaddrinfo(list);
	return 0;
}

/* Gives the socket its own address, where one is asked for. */
static int
bind_local(const struct dialing *c, int fd, int family, struct fault *f)
{
	const int on = 1;
	union endpoint e = c->local;

	if (!c->d->local_ip && !c->d->local_port)
		return 0;
	/* Nothing but zeros is the address that stands for any. */
	e.any.sa_family = (sa_family_t)family;
	resolve_set_port(&e, c->local_port);
	if (c->d->local_port && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
		return local_fault(c->d, strerror(errno), f);
	if (bind(fd, &e.any, family == AF_INET6 ? sizeof e.v6 : sizeof e.v4) < 0)
		return local_fault(c->d, strerror(errno), f);
	return 0;
}

static void
end_attempt(struct attempt *a, int error)
{
	fds_close(&a->fd);
	a->error = error;
}

/* Begins an attempt. That it fails is no error; that we cannot be who we are to be is one: -1 with *f. */
static int
start(struct dialing *c, size_t which, struct fault *f)
{
	struct attempt *a = &c->attempts[which];

	a->fd = socket(a->to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	if (a->fd >= 0 && bind_local(c, a->fd, a->to.any.sa_family, f) < 0)
		return -1;
	/* Interrupted, it goes on all the same (connect(2)). */
	if (a->fd < 0 || (connect(a->fd, &a->to.any, a->n) < 0 && errno != EINPROGRESS && errno != EINTR)) {
		end_attempt(a, errno);
		race_failed(&c->race, which);
	}
	return 0;
}

/* Where nobody listens, a socket that happens to have the port itself connects to itself. */
static bool
to_itself(int fd)
{
	union endpoint a = {.any = {0}}, b = {.any = {0}};
	socklen_t n = sizeof a, m = sizeof b;

	return getsockname(fd, &a.any, &n) == 0 && getpeername(fd, &b.any, &m) == 0 && n == m && memcmp(&a, &b, n) == 0;
}

/* Looks how an attempt ended. Returns whether it is a connection. */
static bool
succeeded(struct dialing *c, size_t which)
{
	struct attempt *a = &c->attempts[which];
	int error = 0;
	socklen_t n = sizeof error;

	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		error = errno;
	else if (error == 0 && to_itself(a->fd))
		error = ECONNREFUSED;
	if (error == 0)
		return true;
	end_attempt(a, error);
	race_failed(&c->race, which);
	return false;
}

/* Waits until an attempt ends, or that time. Returns the attempt that is a connection, ADDRESSES when none is; -1 with
 * *f. */
static int
wait_until(struct dialing *c, int64_t until, struct fault *f)
{
	struct pollfd waits[RACE_MAX];
	int64_t left = until - clock_ms();
	size_t n = c->race.n;

	for (size_t i = 0; i < n; i++)
		waits[i] = (struct pollfd){.fd = c->attempts[c->race.lane[i].which].fd, .events = POLLOUT};
	if (poll(waits, (nfds_t)n, left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left) < 0)
		return errno == EINTR ? ADDRESSES : fault_set(f, FAULT_SYSTEM, "cannot wait: %s", strerror(errno));
	for (size_t i = 0; i < n; i++)
		if (waits[i].revents != 0 && succeeded(c, c->race.lane[i].which))
			return (int)c->race.lane[i].which;
	return ADDRESSES;
}

/* Names each address that was tried, in that order, with its reason. */
static int
tell(const struct dialing *c, struct fault *f)
{
	/* More than a fault holds, so that it is the one that cuts. */
	char list[2 * FAULT_TEXT] = "", ip[UCSPI_IP], port[UCSPI_PORT];

	for (size_t i = 0, n = 0; i < c->race.n && n < FAULT_TEXT; i++) {
		const struct attempt *a = &c->attempts[c->race.lane[i].which];

		resolve_print(&a->to, ip, port);
		n += (size_t)snprintf(list + n, sizeof list - n, "%s%s: %s", i > 0 ? ", " : "", ip,
		    a->error == ETIMEDOUT ? "timed out" : strerror(a->error));
	}
	return fault_set(f, FAULT_SYSTEM, "cannot connect to %s port %s: %s", c->d->host, c->d->port, list);
}

/* Returns the attempt that won; -1 with *f when none did. */
static int
run(struct dialing *c, struct fault *f)
{
	int won = ADDRESSES;

	while (won == ADDRESSES) {
		struct race_move m = race_next(&c->race, clock_ms());

		switch (m.act) {
		case RACE_START:
			if (start(c, m.which, f) < 0)
				return -1;
			break;
		case RACE_GIVE_UP: end_attempt(&c->attempts[m.which], ETIMEDOUT); break;
		case RACE_WAIT: won = wait_until(c, m.until, f); break;
		case RACE_OVER: return tell(c, f);
		}
	}
	return won;
}

/* Fills *u of the connection, which a peer that was quick to leave does not change. */
static int
describe(const struct dial *d, int fd, const union endpoint *to, struct ucspi *u, struct fault *f)
{
	union endpoint local = {.any = {0}}, remote = {.any = {0}};
	socklen_t n = sizeof local, m = sizeof remote;

	if (getsockname(fd, &local.any, &n) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot read the local address: %s", strerror(errno));
	if (getpeername(fd, &remote.any, &m) < 0)
		remote = *to;
	resolve_simplify(&local);
	resolve_simplify(&remote);
	*u = (struct ucspi){.has_local_host = false};
	resolve_print(&local, u->local_ip, u->local_port);
	resolve_print(&remote, u->remote_ip, u->remote_port);
	if (d->local_name)
		u->has_local_host = resolve_clean(d->local_name, u->local_host);
	else if (d->lookup)
		u->has_local_host = resolve_name(&local, u->local_host);
	u->has_remote_host = d->lookup && resolve_name(&remote, u->remote_host);
	return 0;
}

static int
set_up(const struct dial *d, int fd, struct fault *f)
{
	const int on = 1;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot set up the connection: %s", strerror(errno));
	if (d->nodelay && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot set TCP_NODELAY: %s", strerror(errno));
	return 0;
}

int
dial(const struct dial *d, struct ucspi *u, struct fault *f)
{
	struct dialing c = {.d = d};
	int family = d->family == 4 ? AF_INET : d->family == 6 ? AF_INET6 : AF_UNSPEC, won, fd = -1;

	if (find_local(&c, &family, f) < 0 || find_addresses(&c, family, f) < 0)
		return -1;
	race_begin(&c.race, c.families, c.n, (int64_t)d->first_s * 1000, (int64_t)d->second_s * 1000);
	won = run(&c, f);
	if (won >= 0) {
		fd = c.attempts[won].fd;
		c.attempts[won].fd = -1;
	}
	/* The others end before names are asked for, which may take long. */
	for (size_t i = 0; i < c.n; i++)
		fds_close(&c.attempts[i].fd);
	if (fd >= 0 && (set_up(d, fd, f) < 0 || describe(d, fd, &c.attempts[won].to, u, f) < 0))
		fds_close(&fd);
	return fd;
}
