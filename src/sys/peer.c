/*
 * The kernel's word first, then that of whoever started us.
 */
#include "sys/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_storage room;
};

void
peer_format(const char *ip, const char *port, char *out, size_t size)
{
	(void)snprintf(out, size, strchr(ip, ':') ? "[%s]%s%s" : "%s%s%s", ip, port ? ":" : "", port ? port : "");
	for (; *out; out++)
		if (*out <= ' ' || *out > '~')
			*out = '?';
}

static bool
from_socket(int fd, char *out, size_t size)
{
	union address a = {.any = {0}};
	socklen_t n = sizeof a;
	char ip[INET6_ADDRSTRLEN], port[8];
	bool v6;

	if (getpeername(fd, &a.any, &n) < 0)
		return false;
	v6 = a.any.sa_family == AF_INET6;
	if (!v6 && a.any.sa_family != AF_INET)
		return false;
	if (!inet_ntop(a.any.sa_family, v6 ? (void *)&a.v6.sin6_addr : (void *)&a.v4.sin_addr, ip, sizeof ip))
		return false;
	(void)snprintf(port, sizeof port, "%u", ntohs(v6 ? a.v6.sin6_port : a.v4.sin_port));
	peer_format(ip, port, out, size);
	return true;
}

static bool
from_variables(const char *address, const char *port, char *out, size_t size)
{
	const char *ip = getenv(address);

	if (!ip || !*ip)
		return false;
	peer_format(ip, getenv(port), out, size);
	return true;
}

void
peer_name(int fd, char *out, size_t size)
{
	if (!from_socket(fd, out, size) && !from_variables("TCPREMOTEIP", "TCPREMOTEPORT", out, size) &&
	    !from_variables("REMOTE_ADDR", "REMOTE_PORT", out, size))
		(void)snprintf(out, size, "unknown");
}
