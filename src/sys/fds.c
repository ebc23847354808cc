/*
 * Inherited descriptors are looked at and closed here; no flag of an inherited
 * open description is ever changed, because others share it.
 */
#include "sys/fds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
failed(struct fault *f, const char *what)
{
	return fault_set(f, FAULT_SYSTEM, "cannot %s: %s", what, strerror(errno));
}

bool
fds_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

int
fds_occupy(bool closed[3], struct fault *f)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		closed[fd] = !fds_open(fd);
		/* The lowest that is free: fd itself. prog is to inherit it. */
		if (closed[fd] && open("/dev/null", O_RDWR) < 0) /* NOLINT(android-cloexec-open) */
			return failed(f, "open /dev/null");
	}
	return 0;
}

static int connection[2] = {-1, -1};

void
fds_connection(int in, int out)
{
	connection[0] = in;
	connection[1] = out;
}

bool
fds_is_connection(int fd)
{
	struct stat other, own;

	if (fstat(fd, &own) < 0 || (!S_ISSOCK(own.st_mode) && !S_ISFIFO(own.st_mode)))
		return false;
	for (int i = 0; i < 2; i++)
		if (fstat(connection[i], &other) == 0 && other.st_dev == own.st_dev && other.st_ino == own.st_ino)
			return true;
	return false;
}

static int
put(int null, int fd, int flags, struct fault *f)
{
	if (null >= 0 && dup3(null, fd, flags) == fd)
		return 0;
	return fault_set(f, FAULT_SYSTEM, "cannot put /dev/null on fd %d: %s", fd, strerror(errno));
}

/* Puts /dev/null on fd, whatever was there. */
static int
put_null(int fd, int flags, struct fault *f)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null == fd)
		return 0;
	if (put(null, fd, flags, f) < 0)
		return -1;
	(void)close(null);
	return 0;
}

int
fds_reserve(int fd, struct fault *f)
{
	return fds_open(fd) ? 0 : put_null(fd, O_CLOEXEC, f);
}

static bool
among(int fd, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] == fd)
			return true;
	return false;
}

int
fds_silence(const int *keep, size_t n, struct fault *f)
{
	int null = -1;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (among(fd, keep, n))
			continue;
		if ((null < 0 ? put_null(fd, O_CLOEXEC, f) : put(null, fd, O_CLOEXEC, f)) < 0)
			return -1;
		null = fd;
	}
	return 0;
}

/* Where /proc is not there to tell which descriptors are open, this many are tried. */
enum { TRIED = 65536 };

/* Calls act(fd) for every open descriptor above 2. */
static void
each_fd(void (*act)(int fd, const void *arg), const void *arg)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	for (int fd = STDERR_FILENO + 1; !dir && fd < TRIED; fd++)
		act(fd, arg);
	while (dir && (entry = readdir(dir))) {
		char *end;
		long fd = strtol(entry->d_name, &end, 10);

		if (*end == '\0' && end != entry->d_name && fd > STDERR_FILENO && fd != dirfd(dir))
			act((int)fd, arg);
	}
	if (dir)
		(void)closedir(dir);
}

static void
close_connection(int fd, const void *arg)
{
	(void)arg;
	if (!among(fd, connection, 2) && fds_is_connection(fd))
		(void)close(fd);
}

int
fds_hide_connection(struct fault *f)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (!among(fd, connection, 2) && fds_is_connection(fd) && put_null(fd, 0, f) < 0)
			return -1;
	each_fd(close_connection, NULL);
	return 0;
}

struct kept {
	const int *fds;
	size_t n;
};

static void
close_unless_kept(int fd, const void *arg)
{
	const struct kept *kept = arg;

	if (!among(fd, kept->fds, kept->n))
		(void)close(fd);
}

static int
compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

void
fds_close_others(const int *keep, size_t n)
{
	int sorted[9];
	unsigned from = STDERR_FILENO + 1;

	memcpy(sorted, keep, n * sizeof *keep);
	qsort(sorted, n, sizeof *sorted, compare);
	sorted[n] = INT_MAX;
	for (size_t i = 0; i <= n; i++) {
		unsigned next = (unsigned)sorted[i];

		if (sorted[i] < 0 || next < from)
			continue;
		if (from < next && syscall(SYS_close_range, from, next - 1, 0) < 0) {
			each_fd(close_unless_kept, &(struct kept){keep, n});
			return;
		}
		from = next + 1;
	}
}

int
fds_pipe(int ends[2], struct fault *f)
{
	return pipe2(ends, O_CLOEXEC) < 0 ? failed(f, "create a pipe") : 0;
}

void
fds_widen(int pipe)
{
	/* It has sixteen pages at first (pipe(7)): where those are large it is wide already. */
	if (sysconf(_SC_PAGESIZE) * 16 < PIPE_WIDE)
		(void)fcntl(pipe, F_SETPIPE_SZ, PIPE_WIDE);
}

int
fds_nonblock(int fd, struct fault *f)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return failed(f, "make a pipe non-blocking");
	return 0;
}

void
fds_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}
