/*
 * The network side of the engine: one descriptor to read from, one to write
 * to, which may be the same socket, two, or no socket at all. It never changes
 * a flag of theirs: others share the open descriptions.
 */
#ifndef SYS_WIRE_H
#define SYS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

struct wire {
	int in, out; /* -1: closed */
	bool in_socket, out_socket;
	bool guarded;	     /* the socket is set so that any close of it is a reset */
	struct linger found; /* how it was set before */
	bool hurried;	     /* TCP_NODELAY is set, and was not before */
};

/* Takes over the two descriptors. Until wire_fin or wire_close, a death of this process resets the connection. */
void wire_open(struct wire *w, int in, int out);

/*
 * Read and write as read(2) and write(2) do, without ever waiting once poll has
 * said that the descriptor is ready; on a socket without that, too.
 */
ssize_t wire_read(const struct wire *w, void *buf, size_t n);
ssize_t wire_write(const struct wire *w, const void *buf, size_t n);

/*
 * Has each write leave at once: the records of a flight may come one by one,
 * and the second would wait for the peer to acknowledge the first (RFC 896).
 * And back to how it was.
 */
void wire_hurry(struct wire *w);
void wire_relax(struct wire *w);

/*
 * Acknowledges at once what was read. A peer that sends a little and then a
 * little more, as a client at the end of its handshake, waits for that (RFC
 * 896), while the kernel waits for something to send it with (RFC 1122, 4.2.3.2).
 */
void wire_acknowledge(const struct wire *w);

/* How many written bytes the peer has not acknowledged; 0 where that is not known. */
size_t wire_unsent(const struct wire *w);

/* Half closes: no more bytes from us. All that was written is delivered. */
void wire_fin(struct wire *w);

/* Closes; what was written is still delivered. */
void wire_close(struct wire *w);

/* Closes so that the peer cannot take what it got for the whole: by RST where there is a socket. */
void wire_reset(struct wire *w);

#endif
