/*
 * The sockets that a server listens on, and the word that it does.
 */
#ifndef SYS_LISTEN_H
#define SYS_LISTEN_H

#include "core/fault.h"
#include "core/options.h"
#include "core/ucspi.h"

#include <stddef.h>

/* No more sockets are handed over than these. */
#define LISTEN_MAX 32

struct listening {
	int fd[LISTEN_MAX]; /* non-blocking, close-on-exec */
	size_t n;
};

/* How many sockets a service manager has handed over to this process (LISTEN_PID, LISTEN_FDS; sd_listen_fds(3)). */
int listen_handed_over(void);

/* Takes the sockets that are there, or makes one, of the first address that it can have. Returns -1 with *f. */
int listen_open(struct listening *l, const struct config *c, struct fault *f);

void listen_close(struct listening *l);

/* Where the first one listens: address and port, in numbers. */
void listen_place(const struct listening *l, char ip[UCSPI_IP], char port[UCSPI_PORT]);

/*
 * Says that connections are taken: the port to stdout, a newline to the
 * descriptor, a datagram to NOTIFY_SOCKET (sd_notify(3)), as the configuration
 * has it. What cannot be said is warned of.
 */
void listen_announce(const struct listening *l, const struct config *c);

/*
 * Takes a connection off a socket. Fills *u but for names. Returns a
 * descriptor, close-on-exec, or -1 with errno.
 */
int listen_accept(int fd, const struct config *c, struct ucspi *u);

#endif
