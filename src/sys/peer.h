/*
 * Who is at the other end, for log lines.
 */
#ifndef SYS_PEER_H
#define SYS_PEER_H

#include <stddef.h>

/*
 * Writes the peer of the socket fd into out: address and port, "127.0.0.1:4711"
 * or "[::1]:4711", or else what TCPREMOTEIP or REMOTE_ADDR say, or "unknown".
 * Printable text without blanks, cut to size.
 */
void peer_name(int fd, char *out, size_t size);

/* Likewise from an address in numbers and a port. */
void peer_format(const char *ip, const char *port, char *out, size_t size);

#endif
