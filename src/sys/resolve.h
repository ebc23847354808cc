/*
 * Names to addresses and back, as the system's resolver has them. Never
 * connects, and knows no time limit: the resolver's own hold.
 */
#ifndef SYS_RESOLVE_H
#define SYS_RESOLVE_H

#include "core/ucspi.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

union endpoint {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_storage room;
};

/* A decimal number, or the name of a TCP service. Returns 0 to 65535, or -1 for what is neither. */
int resolve_port(const char *text);

/* Puts the port, in the host's byte order, into an IPv4 or IPv6 endpoint. */
void resolve_set_port(union endpoint *e, int port);

/*
 * The addresses of a host, a name or an address in numbers, best first;
 * family is an AF_. A trailing dot makes a name a whole one. Without qualify,
 * any name is: then this process never again tries the search domains of
 * resolv.conf, but finds what /etc/hosts has. (musl's resolver has no such
 * switch; it searches for names without a dot.) Returns a list for
 * freeaddrinfo(3), or NULL with *why.
 */
struct addrinfo *resolve_host(const char *host, int family, bool qualify, const char **why);

/* Likewise, of an address in numbers alone; an IPv6 one may have a zone. */
struct addrinfo *resolve_number(const char *ip, int family, const char **why);

/* Makes an IPv4-mapped address one of IPv4 (RFC 4291, 2.5.5.2), and takes an IPv6 zone away. */
void resolve_simplify(union endpoint *e);

/* Writes address and port of a simple endpoint in numbers. */
void resolve_print(const union endpoint *e, char ip[UCSPI_IP], char port[UCSPI_PORT]);

/* Keeps in out what is a valid DNS name, without a trailing dot and in lower case. Returns whether it is one. */
bool resolve_clean(const char *name, char out[DNSNAME_SIZE]);

/* Asks for the name of a simple endpoint's address. Returns whether there is one that is valid. */
bool resolve_name(const union endpoint *e, char out[DNSNAME_SIZE]);

#endif
