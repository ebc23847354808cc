/*
 * SOCK_SEQPACKET: what is sent in one call is received in one call.
 */
#include "sys/channel.h"

#include <errno.h>
#include <stdint.h>
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

/* A control message with descriptors in it. */
union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(CHANNEL_FDS * sizeof(int))];
};

int
channel_send_fds(int fd, const unsigned char *message, size_t n, const int *fds, size_t fds_n)
{
	union control control = {.room = {0}};
	union {
		const unsigned char *in;
		void *base;
	} bytes = {.in = message}; /* which sendmsg(2) only reads */
	struct iovec iov = {.iov_base = bytes.base, .iov_len = n};
	struct msghdr header = {.msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = CMSG_SPACE(fds_n * sizeof *fds)};
	ssize_t sent;

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(fds_n * sizeof *fds);
	memcpy(CMSG_DATA(&control.header), fds, fds_n * sizeof *fds);
	do
		sent = sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)n ? 0 : -1;
}

static long
receive(int fd, struct msghdr *header)
{
	ssize_t n;

	/* ECONNRESET, once, says that the other side left something of ours unread; what it sent before is still there.
	 */
	do
		n = recvmsg(fd, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0)
		return -1;
	if (header->msg_flags & MSG_TRUNC)
		return -2;
	return n == 0 ? -1 : n;
}

long
channel_receive(int fd, unsigned char *buf)
{
	struct iovec iov = {.iov_base = buf, .iov_len = MESSAGE_MAX};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};

	return receive(fd, &header);
}

long
channel_receive_fds(int fd, unsigned char *buf, size_t size, int fds[CHANNEL_FDS])
{
	union control control = {.room = {0}};
	struct iovec iov = {.iov_base = buf, .iov_len = size};
	struct msghdr header = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	long n = receive(fd, &header);
	const struct cmsghdr *first = n > 0 ? CMSG_FIRSTHDR(&header) : NULL;

	for (size_t i = 0; i < CHANNEL_FDS; i++) {
		fds[i] = -1;
		if (first && first->cmsg_type == SCM_RIGHTS && first->cmsg_len >= CMSG_LEN((i + 1) * sizeof *fds))
			memcpy(&fds[i], CMSG_DATA(first) + i * sizeof *fds, sizeof *fds);
	}
	return n;
}
