/*
 * AI_ADDRCONFIG is never asked for: where only the loopback interface has an
 * IPv6 address, it would hide "::1", and an address that cannot be reached
 * fails at once anyway.
 */
#include "sys/resolve.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <resolv.h>
#include <stdio.h>
#include <string.h>

enum { PORT_MAX = 65535, MAPPED_PREFIX = 12 };

int
resolve_port(const char *text)
{
	const char *p = text;
	int port = 0;

	while (*p >= '0' && *p <= '9' && port <= PORT_MAX)
		port = port * 10 + (*p++ - '0');
	if (p != text && *p == '\0')
		return port <= PORT_MAX ? port : -1;

	const struct servent *service = getservbyname(text, "tcp");
	return service ? ntohs((uint16_t)service->s_port) : -1;
}

void
resolve_set_port(union endpoint *e, int port)
{
	if (e->any.sa_family == AF_INET6)
		e->v6.sin6_port = htons((uint16_t)port);
	else
		e->v4.sin_port = htons((uint16_t)port);
}

static struct addrinfo *
look_up(const char *host, int family, int flags, const char **why)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags}, *list = NULL;
	int code;

	do
		code = getaddrinfo(host, NULL, &hints, &list);
	while (code == EAI_SYSTEM && errno == EINTR);
	if (code == 0)
		return list;
	*why = code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code);
	return NULL;
}

struct addrinfo *
resolve_host(const char *host, int family, bool qualify, const char **why)
{
	char whole[NI_MAXHOST];
	size_t n = strlen(host);

	/* /etc/hosts has no dots at the end. */
	if (n > 1 && n <= sizeof whole && host[n - 1] == '.') {
		memcpy(whole, host, n - 1);
		whole[n - 1] = '\0';
		host = whole;
		qualify = false;
	}
	if (!qualify) {
		if (res_init() < 0) {
			*why = "the resolver cannot be set up";
			return NULL;
		}
		_res.options &= ~((unsigned long)RES_DEFNAMES | (unsigned long)RES_DNSRCH);
	}
	return look_up(host, family, 0, why);
}

struct addrinfo *
resolve_number(const char *ip, int family, const char **why)
{
	return look_up(ip, family, AI_NUMERICHOST, why);
}

void
resolve_simplify(union endpoint *e)
{
	if (e->any.sa_family != AF_INET6)
		return;
	if (IN6_IS_ADDR_V4MAPPED(&e->v6.sin6_addr)) {
		struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = e->v6.sin6_port};

		memcpy(&v4.sin_addr, &e->v6.sin6_addr.s6_addr[MAPPED_PREFIX], sizeof v4.sin_addr);
		e->v4 = v4;
	} else
		e->v6.sin6_scope_id = 0;
}

void
resolve_print(const union endpoint *e, char ip[UCSPI_IP], char port[UCSPI_PORT])
{
	bool v6 = e->any.sa_family == AF_INET6;
	const void *octets = v6 ? (const void *)&e->v6.sin6_addr : (const void *)&e->v4.sin_addr;

	(void)inet_ntop(e->any.sa_family, octets, ip, UCSPI_IP);
	(void)snprintf(port, UCSPI_PORT, "%u", (unsigned)ntohs(v6 ? e->v6.sin6_port : e->v4.sin_port));
}

bool
resolve_clean(const char *name, char out[DNSNAME_SIZE])
{
	size_t n = strlen(name);

	if (n > 0 && name[n - 1] == '.')
		n--;
	return dnsname_valid((const unsigned char *)name, n, out);
}

bool
resolve_name(const union endpoint *e, char out[DNSNAME_SIZE])
{
	socklen_t n = e->any.sa_family == AF_INET6 ? sizeof e->v6 : sizeof e->v4;
	char name[NI_MAXHOST];
	int code;

	do
		code = getnameinfo(&e->any, n, name, sizeof name, NULL, 0, NI_NAMEREQD);
	while (code == EAI_SYSTEM && errno == EINTR);
	return code == 0 && resolve_clean(name, out);
}
