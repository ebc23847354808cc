/*
 * The socketpair between monitor and engine: whole messages, in order.
 */
#ifndef SYS_CHANNEL_H
#define SYS_CHANNEL_H

#include "core/fault.h"
#include "core/message.h"

#include <stddef.h>

/* Two connected ends, close-on-exec, that keep the bounds of messages. */
int channel_create(int ends[2], struct fault *f);

/* Sends a message without waiting. Returns 0, or -1 when the other side is gone, or (errno EAGAIN) does not read what
 * it is sent. */
int channel_send(int fd, const unsigned char *message, size_t n);

/* Sends a message that is its type alone. */
int channel_tell(int fd, enum message_type type);

/*
 * Receives one without waiting into buf[0..MESSAGE_MAX). Returns its length; 0
 * when none is there; -1 when the other side is gone; -2 when it sent one that
 * is empty or too long.
 */
long channel_receive(int fd, unsigned char *buf);

#endif
