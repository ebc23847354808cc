/*
 * The socketpair between monitor and engine: whole messages, in order.
 */
#ifndef SYS_CHANNEL_H
#define SYS_CHANNEL_H

#include "core/fault.h"
#include "core/message.h"

#include <stddef.h>

/* The most descriptors that come with a message. */
#define CHANNEL_FDS 2

/* Two connected ends, close-on-exec, that keep the bounds of messages. */
int channel_create(int ends[2], struct fault *f);

/* Sends a message without waiting. Returns 0, or -1 when the other side is gone, or (errno EAGAIN) does not read what
 * it is sent. */
int channel_send(int fd, const unsigned char *message, size_t n);

/* Sends it with copies of fds[0..fds_n), at most CHANNEL_FDS; likewise. */
int channel_send_fds(int fd, const unsigned char *message, size_t n, const int *fds, size_t fds_n);

/* Sends a message that is its type alone. */
int channel_tell(int fd, enum message_type type);

/*
 * Receives one without waiting into buf[0..MESSAGE_MAX). Returns its length; 0
 * when none is there; -1 when the other side is gone; -2 when it sent one that
 * is too long.
 */
long channel_receive(int fd, unsigned char *buf);

/*
 * Likewise, into buf[0..size), of one that should not be longer, with the
 * descriptors that came with it, close-on-exec; those that did not are -1.
 */
long channel_receive_fds(int fd, unsigned char *buf, size_t size, int fds[CHANNEL_FDS]);

#endif
