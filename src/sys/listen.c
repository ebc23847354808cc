/*
 * What a service manager has opened is taken as it is, but for the flags of
 * its description that it is there for: it does not block.
 */
#include "sys/listen.h"

#include "core/ids.h"
#include "sys/fds.h"
#include "sys/log.h"
#include "sys/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

int
listen_handed_over(void)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	long long count = n ? ids_number(n) : -1;

	if (!pid || ids_number(pid) != getpid() || count < 1)
		return 0;
	return count > OPTION_MAX ? OPTION_MAX : (int)count;
}

static int
add_given(struct listening *l, int fd, struct fault *f)
{
	int flags = fcntl(fd, F_GETFL), listens = 0, domain = 0;
	socklen_t n = sizeof listens, m = sizeof domain;

	if (flags < 0)
		return fault_set(f, FAULT_SYSTEM, "fd %d, where a listening socket should be, is closed", fd);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0 || !listens ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &m) < 0 || (domain != AF_INET && domain != AF_INET6))
		return fault_set(f, FAULT_USAGE, "fd %d is no listening TCP socket", fd);
	/* 0 to 2 are what prog has there. */
	if (fd <= STDERR_FILENO && (fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot move a socket: %s", strerror(errno));
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot set up the socket on fd %d: %s", fd, strerror(errno));
	l->fd[l->n++] = fd;
	return 0;
}

/* Returns a socket that listens there, or -1 with errno. */
static int
open_one(const struct addrinfo *a, int port, int backlog)
{
	const int on = 1;
	union endpoint e = {.any = {0}};
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP), error;

	if (fd < 0)
		return -1;
	memcpy(&e, a->ai_addr, a->ai_addrlen);
	resolve_set_port(&e, port);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 && bind(fd, &e.any, a->ai_addrlen) == 0 &&
	    listen(fd, backlog) == 0)
		return fd;
	error = errno;
	(void)close(fd);
	errno = error;
	return -1;
}

static int
add_new(struct listening *l, const struct config *c, struct fault *f)
{
	/* As tcpserver has it; getaddrinfo(3) knows it, but not as an address of any family. */
	const char *host = strcmp(c->host, "0") == 0 && c->family != 6 ? "0.0.0.0" : c->host, *why = NULL;
	int port = resolve_port(c->port), fd = -1;
	int family = c->family == 4 ? AF_INET : c->family == 6 ? AF_INET6 : AF_UNSPEC;
	struct addrinfo *list;

	if (port < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot listen on %s: unknown service %s", c->host, c->port);
	list = resolve_host(strcmp(host, "0") == 0 ? "::" : host, family, true, &why);
	if (!list)
		return fault_set(f, FAULT_SYSTEM, "cannot resolve %s: %s", c->host, why);
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = open_one(a, port, c->backlog);
	if (fd < 0)
		fault_set(f, FAULT_SYSTEM, "cannot listen on %s port %s: %s", c->host, c->port, strerror(errno));
	freeaddrinfo(list);
	if (fd < 0)
		return -1;
	l->fd[l->n++] = fd;
	return 0;
}

int
listen_open(struct listening *l, const struct config *c, struct fault *f)
{
	*l = (struct listening){.n = 0};
	if (c->sockets > LISTEN_MAX)
		return fault_set(
		    f, FAULT_USAGE, "LISTEN_FDS is %d, and no more than %d sockets are taken", c->sockets, LISTEN_MAX);
	/* Also where others are asked for: they are not prog's. */
	for (int i = 0; i < c->sockets; i++)
		(void)fcntl(SOCKETS_FROM + i, F_SETFD, FD_CLOEXEC);
	if (c->listen_fd >= 0)
		return add_given(l, c->listen_fd, f);
	if (c->sockets == 0)
		return add_new(l, c, f);
	for (int i = 0; i < c->sockets; i++)
		if (add_given(l, SOCKETS_FROM + i, f) < 0)
			return -1;
	return 0;
}

void
listen_close(struct listening *l)
{
	for (size_t i = 0; i < l->n; i++)
		fds_close(&l->fd[i]);
	l->n = 0;
}

void
listen_place(const struct listening *l, char ip[UCSPI_IP], char port[UCSPI_PORT])
{
	union endpoint e = {.any = {0}};
	socklen_t n = sizeof e;

	(void)snprintf(ip, UCSPI_IP, "unknown");
	(void)snprintf(port, UCSPI_PORT, "0");
	if (l->n == 0 || getsockname(l->fd[0], &e.any, &n) < 0 ||
	    (e.any.sa_family != AF_INET && e.any.sa_family != AF_INET6))
		return;
	resolve_simplify(&e);
	resolve_print(&e, ip, port);
}

/* As sd_notify(3): a datagram to a path, or to an abstract name that begins with '@'. */
static int
notify_manager(const char *path)
{
	static const char ready[] = "READY=1";
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t n = strlen(path);
	int fd, sent;

	if (n < 2 || n >= sizeof to.sun_path) {
		errno = EINVAL;
		return -1;
	}
	memcpy(to.sun_path, path, n);
	if (path[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	sent = sendto(fd, ready, sizeof ready - 1, MSG_NOSIGNAL, (const struct sockaddr *)&to,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0
		   ? -1
		   : 0;
	(void)close(fd);
	return sent;
}

static void
write_text(int fd, const char *text, const char *what)
{
	if (write(fd, text, strlen(text)) < 0)
		log_line(LOG_LEVEL_WARNING, "%s: cannot say that all is ready: %s", what, strerror(errno));
}

void
listen_announce(const struct listening *l, const struct config *c)
{
	char ip[UCSPI_IP], port[UCSPI_PORT], text[UCSPI_PORT + 1];
	const char *manager = getenv("NOTIFY_SOCKET");

	listen_place(l, ip, port);
	(void)snprintf(text, sizeof text, "%s\n", port);
	if (c->print_port)
		write_text(STDOUT_FILENO, text, "-1");
	if (c->notify_fd >= 0) {
		write_text(c->notify_fd, "\n", "--notify-fd");
		(void)close(c->notify_fd);
	}
	if (manager && *manager && notify_manager(manager) < 0)
		log_line(LOG_LEVEL_WARNING, "NOTIFY_SOCKET: cannot say that all is ready: %s", strerror(errno));
	/* They are about this process, and not for any prog. */
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	(void)unsetenv("LISTEN_PIDFDID");
}

int
listen_accept(int fd, const struct config *c, struct ucspi *u)
{
	const int on = 1;
	union endpoint local = {.any = {0}}, remote = {.any = {0}};
	socklen_t n = sizeof remote, m = sizeof local;
	int sock = accept4(fd, &remote.any, &n, SOCK_CLOEXEC);

	if (sock < 0)
		return -1;
	if (getsockname(sock, &local.any, &m) < 0 ||
	    (local.any.sa_family != AF_INET && local.any.sa_family != AF_INET6)) {
		(void)close(sock);
		errno = ECONNABORTED;
		return -1;
	}
	if (c->nodelay)
		(void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	resolve_simplify(&local);
	resolve_simplify(&remote);
	*u = (struct ucspi){.has_local_host = false};
	resolve_print(&local, u->local_ip, u->local_port);
	resolve_print(&remote, u->remote_ip, u->remote_port);
	return sock;
}
