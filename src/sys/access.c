/*
 * Each rule is opened once and looked at through that descriptor, so that of one
 * that is being replaced no halves are mixed. Links are followed: who keeps the
 * directory shares rules by them. Must never let somebody in because a call
 * failed, or a link leads nowhere.
 */
#include "sys/access.h"

#include "core/rules.h"
#include "sys/fds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int
access_open(const char *dir, struct fault *f)
{
	/* O_PATH: as a path does, it asks for leave to search, not to list. */
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 ? fd : fault_set(f, FAULT_SYSTEM, "-i %s: cannot open: %s", dir, strerror(errno));
}

/* The reading of one rule: what it is called, and opened as. */
struct rule {
	const char *key;
	int fd;
};

static int
fail(const struct rule *r, const char *what, int error, struct fault *f)
{
	return fault_set(f, FAULT_SYSTEM, "access rule %s: cannot read %s: %s", r->key, what, strerror(error));
}

/* Whether nothing has that name, not even a link. */
static bool
missing(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

/* Whether the rule has a file of that name: 1 or 0; or -1 with *f. */
static int
has(const struct rule *r, const char *file, struct fault *f)
{
	if (missing(r->fd, file))
		return 0;
	return faccessat(r->fd, file, R_OK, AT_EACCESS) == 0 ? 1 : fail(r, file, errno, f);
}

/* Reads what is in fd, up to `size` bytes. Returns the length, or -1 with errno. */
static long
read_up_to(int fd, unsigned char *out, size_t size)
{
	size_t n = 0;

	while (n < size) {
		ssize_t got = read(fd, out + n, size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (long)n;
}

/* Opens a regular file in env/. Returns its descriptor, or -1 with *f. */
static int
open_variable(const struct rule *r, int env, const char *name, struct fault *f)
{
	/* O_NONBLOCK: a FIFO would keep all peers waiting. */
	int fd = openat(env, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return fail(r, name, errno, f);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	fds_close(&fd);
	return fault_set(f, FAULT_SYSTEM, "access rule %s: cannot read %s: not a regular file", r->key, name);
}

/* Reads the variable into `content` on its way. */
static int
add_content(const struct rule *r, int fd, const char *name, unsigned char content[CHANGES_MAX + 1],
    struct changes *changes, struct fault *f)
{
	long n = read_up_to(fd, content, CHANGES_MAX + 1);

	if (n < 0)
		return fail(r, name, errno, f);
	if ((size_t)n > (size_t)CHANGES_MAX)
		return fault_set(f, FAULT_USAGE, "access rule %s: %s: larger than 64 KiB", r->key, name);
	if (changes_add(changes, name, (struct span){content, (size_t)n}, f) < 0)
		return fault_set(f, f->code, "access rule %s: %s", r->key, f->text);
	return 0;
}

/* What is read is about one peer, and the next engine is a copy of us: nothing of it stays behind. */
static int
add_variable(const struct rule *r, int env, const char *name, struct changes *changes, struct fault *f)
{
	unsigned char content[CHANGES_MAX + 1];
	int fd = open_variable(r, env, name, f), added;

	if (fd < 0)
		return -1;
	added = add_content(r, fd, name, content, changes, f);
	explicit_bzero(content, sizeof content);
	fds_close(&fd);
	return added;
}

static int
add_variables(const struct rule *r, DIR *env, struct changes *changes, struct fault *f)
{
	for (;;) {
		const struct dirent *entry;

		errno = 0;
		entry = readdir(env);
		if (!entry)
			return errno == 0 ? 0 : fail(r, "env", errno, f);
		if (changes_name_valid(entry->d_name) && add_variable(r, dirfd(env), entry->d_name, changes, f) < 0)
			return -1;
	}
}

/* Reads env/, if there is one. Returns 0, or -1 with *f and nothing in *changes. */
static int
read_env(const struct rule *r, struct changes *changes, struct fault *f)
{
	DIR *env;
	int fd, got;

	if (missing(r->fd, "env"))
		return 0;
	fd = openat(r->fd, "env", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(r, "env", errno, f);
	env = fdopendir(fd);
	if (!env) {
		got = fail(r, "env", errno, f);
		fds_close(&fd);
		return got;
	}
	got = add_variables(r, env, changes, f);
	(void)closedir(env);
	if (got < 0)
		changes_free(changes);
	return got;
}

/* What `has` said of a file becomes a judgement. */
static enum access
judge(int there, enum access judgement)
{
	return there < 0 ? ACCESS_ERROR : there > 0 ? judgement : ACCESS_NONE;
}

static enum access
read_rule(const struct rule *r, struct changes *env, struct fault *f)
{
	enum access found = judge(has(r, "allow", f), ACCESS_ALLOW);
	int other;

	if (found == ACCESS_NONE)
		return judge(has(r, "deny", f), ACCESS_DENY);
	if (found != ACCESS_ALLOW)
		return found;
	other = has(r, "exec", f);
	if (other > 0)
		(void)fault_set(f, FAULT_USAGE, "access rule %s: a file \"exec\" is not supported", r->key);
	return other != 0 || read_env(r, env, f) < 0 ? ACCESS_ERROR : ACCESS_ALLOW;
}

static enum access
try_rule(int dir, const char *key, struct changes *env, struct fault *f)
{
	struct rule r = {.key = key};
	enum access found;

	if (missing(dir, key))
		return ACCESS_NONE;
	r.fd = openat(dir, key, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r.fd < 0) {
		(void)fault_set(f, FAULT_SYSTEM, "access rule %s: cannot open: %s", key, strerror(errno));
		return ACCESS_ERROR;
	}
	found = read_rule(&r, env, f);
	fds_close(&r.fd);
	return found;
}

/* Tries the peer's keys, one after another. */
static enum access
look_up(int dir, bool (*key_of)(const char *, size_t, char[RULES_KEY]), const char *peer, struct changes *env,
    struct fault *f)
{
	enum access found = ACCESS_NONE;
	char key[RULES_KEY];
	size_t i = 0;

	*env = (struct changes){0};
	for (; found == ACCESS_NONE && key_of(peer, i, key); i++)
		found = try_rule(dir, key, env, f);
	if (i > 0)
		return found;
	(void)fault_set(f, FAULT_USAGE, "access rules: \"%s\" is neither an address nor a name", peer);
	return ACCESS_ERROR;
}

enum access
access_by_address(int dir, const char *ip, struct changes *env, struct fault *f)
{
	return look_up(dir, rules_address_key, ip, env, f);
}

enum access
access_by_name(int dir, const char *name, struct changes *env, struct fault *f)
{
	return look_up(dir, rules_name_key, name, env, f);
}
