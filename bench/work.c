#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done <= 0)
			return 0;
		p += done;
		n -= (size_t)done;
	}
	return 1;
}

static int
read_all(int fd, char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = read(fd, p, n);

		if (done <= 0)
			return 0;
		p += done;
		n -= (size_t)done;
	}
	return 1;
}

static size_t
part(unsigned long left)
{
	return left < BLOCK ? left : BLOCK;
}

static int
send_bytes(int out, const char *block, unsigned long n)
{
	for (; n > 0; n -= part(n))
		if (!write_all(out, block, part(n)))
			return 0;
	return 1;
}

static int
take_bytes(int in, int out, char *block, unsigned long n)
{
	while (n > 0) {
		ssize_t done = read(in, block, part(n));

		if (done <= 0)
			return 0;
		n -= (size_t)done;
	}
	return write_all(out, "", 1);
}

static int
echo(int in, int out, char *block)
{
	ssize_t n;

	while ((n = read(in, block, BLOCK)) > 0)
		if (!write_all(out, block, (size_t)n))
			return 0;
	return n == 0;
}

static int
later(ssize_t n)
{
	return n < 0 && errno == EAGAIN;
}

/* Neither way waits for the other. */
static int
both(int in, int out, char *block, unsigned long n)
{
	unsigned long to_send = n, to_take = n;

	(void)fcntl(in, F_SETFL, O_NONBLOCK);
	(void)fcntl(out, F_SETFL, O_NONBLOCK);
	while (to_send > 0 || to_take > 0) {
		struct pollfd p[2] = {{to_take ? in : -1, POLLIN, 0}, {to_send ? out : -1, POLLOUT, 0}};
		ssize_t done;

		if (poll(p, 2, -1) < 0)
			return 0;
		if (p[0].revents && !later(done = read(in, block, part(to_take)))) {
			if (done <= 0)
				return 0;
			to_take -= (size_t)done;
		}
		if (p[1].revents && !later(done = write(out, block, part(to_send)))) {
			if (done <= 0)
				return 0;
			to_send -= (size_t)done;
		}
	}
	(void)fcntl(out, F_SETFL, 0);
	return write_all(out, "", 1);
}

static int
perform(int in, int out, const char *request, char *block)
{
	unsigned long n = strtoul(request + 1, NULL, 10);

	switch (request[0]) {
	case 'e': return write_all(out, request, REQUEST);
	case 'd': return send_bytes(out, block, n);
	case 'u': return take_bytes(in, out, block, n);
	case 'b': return both(in, out, block, n);
	case 'p': return write_all(out, request, REQUEST) && echo(in, out, block);
	default: return 0;
	}
}

int
work(int in, int out)
{
	char request[REQUEST + 1] = {0}, *block;
	int done;

	if (!read_all(in, request, REQUEST))
		return 0;
	block = calloc(1, BLOCK);
	done = block && perform(in, out, request, block);
	free(block);
	return done;
}
