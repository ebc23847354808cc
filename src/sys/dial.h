/*
 * A TCP connection to a host, by whichever of its addresses answers first.
 */
#ifndef SYS_DIAL_H
#define SYS_DIAL_H

#include "core/fault.h"
#include "core/ucspi.h"

#include <stdbool.h>

struct dial {
	const char *host;	/* a name, or an address in numbers; a trailing dot, and an IPv6 zone, are possible */
	const char *port;	/* a number, or the name of a service */
	int family;		/* 0 for any, 4, or 6 */
	const char *local_ip;	/* in numbers; it decides the family, too; NULL: the system's choice */
	const char *local_port; /* a number, or the name of a service; NULL: the system's choice */
	bool nodelay;		/* TCP_NODELAY */
	bool qualify;		/* resolv.conf's search domains apply, unless a dot ends the name */
	bool lookup;		/* ask for the names of both addresses */
	const char *local_name; /* what ours is called, if that is a DNS name; NULL: ask, if `lookup` */
	int first_s, second_s;	/* how long an attempt may take, above 0; once more, for those that took longer, or 0 */
};

/*
 * Connects, as core/race.h has it. Returns a socket, blocking and
 * close-on-exec, and fills *u; or returns -1 with *f (FAULT_SYSTEM), which
 * names the address, or each address, with what is at fault. Signals that
 * interrupt system calls do no harm. Resolving is bounded by the resolver's own
 * limits, and may change its settings for this process (sys/resolve.h).
 */
int dial(const struct dial *d, struct ucspi *u, struct fault *f);

#endif
