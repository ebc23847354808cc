/*
 * SOCK_SEQPACKET: what is sent in one call is received in one call.
 */
#include "sys/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int
channel_create(int ends[2], struct fault *f)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot create a socket pair: %s", strerror(errno));
	return 0;
}

int
channel_send(int fd, const unsigned char *message, size_t n)
{
	ssize_t sent;

	do
		sent = send(fd, message, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)n ? 0 : -1;
}

int
channel_tell(int fd, enum message_type type)
{
	unsigned char message = (unsigned char)type;

	return channel_send(fd, &message, 1);
}

long
channel_receive(int fd, unsigned char *buf)
{
	struct iovec iov = {.iov_base = buf, .iov_len = MESSAGE_MAX};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	/* ECONNRESET, once, says that the other side left something of ours unread; what it sent before is still there.
	 */
	do
		n = recvmsg(fd, &header, MSG_DONTWAIT);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0)
		return -1;
	if (header.msg_flags & MSG_TRUNC)
		return -2;
	return n == 0 ? -1 : n;
}
