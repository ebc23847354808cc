/*
 * Reads into memory that is wiped on every way out but success.
 */
#include "sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads all of fd into *file, whose memory holds FILE_MAX + 1 bytes. Returns 0, or -1 with errno. */
static int
read_all(int fd, struct blob *file)
{
	while (file->n <= FILE_MAX) {
		ssize_t n = read(fd, file->p + file->n, FILE_MAX + 1 - file->n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (int)n;
		file->n += (size_t)n;
	}
	return 0;
}

static int
fill(const char *path, struct blob *file, struct fault *f)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	int got, error;

	if (fd < 0)
		return fault_set(f, FAULT_SYSTEM, "%s: cannot open: %s", file->name, strerror(errno));
	/* Some file systems let a directory be read. */
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		(void)close(fd);
		return fault_set(f, FAULT_SYSTEM, "%s: cannot read: %s", file->name, strerror(EISDIR));
	}
	got = read_all(fd, file);
	error = errno;
	(void)close(fd);
	if (got < 0)
		return fault_set(f, FAULT_SYSTEM, "%s: cannot read: %s", file->name, strerror(error));
	if (file->n > FILE_MAX)
		return fault_set(f, FAULT_CONTEXT, "%s: larger than 1 MiB", file->name);
	return 0;
}

int
file_read(const char *path, const char *name, struct blob *file, struct fault *f)
{
	*file = (struct blob){.p = malloc(FILE_MAX + 1), .name = strdup(name)};
	if (!file->p || !file->name)
		fault_set(f, FAULT_SYSTEM, "%s: out of memory", name);
	else if (fill(path, file, f) == 0)
		return 0;
	blob_wipe(file);
	return -1;
}
