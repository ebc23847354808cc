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

static bool
from_socket(char *out, size_t size)
{
	union address a = {.any = {0}};
	socklen_t n = sizeof a;
	char text[INET6_ADDRSTRLEN];

	if (getpeername(STDIN_FILENO, &a.any, &n) < 0)
		return false;
	if (a.any.sa_family == AF_INET && inet_ntop(AF_INET, &a.v4.sin_addr, text, sizeof text))
		(void)snprintf(out, size, "%s:%u", text, ntohs(a.v4.sin_port));
	else if (a.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &a.v6.sin6_addr, text, sizeof text))
		(void)snprintf(out, size, "[%s]:%u", text, ntohs(a.v6.sin6_port));
	else
		return false;
	return true;
}

static bool
from_variables(const char *address, const char *port, char *out, size_t size)
{
	const char *ip = getenv(address), *number = getenv(port);

	if (!ip || !*ip)
		return false;
	(void)snprintf(out, size, strchr(ip, ':') ? "[%s]%s%s" : "%s%s%s", ip, number ? ":" : "", number ? number : "");
	for (; *out; out++)
		if (*out <= ' ' || *out > '~')
			*out = '?';
	return true;
}

void
peer_name(char *out, size_t size)
{
	if (!from_socket(out, size) && !from_variables("TCPREMOTEIP", "TCPREMOTEPORT", out, size) &&
	    !from_variables("REMOTE_ADDR", "REMOTE_PORT", out, size))
		(void)snprintf(out, size, "unknown");
}
