/*
 * Preloaded into a program, a libc whose calls of the system fail, by plan, for
 * tests/program/test_kernel.py. $FAIL is "who call nth error": in the process
 * `who` ("first"; "spawned", which is between clone and exec; or 1, 2, ... for the
 * children in the order of their forks) the nth call of that name fails with
 * that errno, or, where it is 0, reads or writes a single byte. "syscall-N" is a call by
 * syscall(2) of number N. The file $FAIL_TALLY gets, while all run, how often each
 * call was made by whom, and whether the one that is to fail has: an array of
 * struct tally. In programs of other names it does nothing.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 8, FIRST = 0, SPAWNED = CHILDREN + 1, PROCESSES, CALLS = 96 };

/* A name, and for each process how often it made that call. */
struct tally {
	char name[32];
	uint32_t state, struck, made[PROCESSES];
};

/* Of a tally: processes that meet a call at the same time must not name one at the same time. */
enum { FREE, BEING_NAMED, NAMED };

static struct tally *tallies;
static struct {
	int who, error;
	char call[32];
	unsigned long nth;
} plan;
static int self;       /* which process this is; one that shares our memory is SPAWNED */
static pid_t self_pid; /* 0: this is none of our programs */
static int forked;     /* children so far */

static void *
real(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

static pid_t
pid(void)
{
	static long (*call)(long, ...);

	if (!call)
		*(void **)&call = real("syscall");
	return (pid_t)call(SYS_getpid);
}

static void
read_plan(const char *text)
{
	char who[16] = "";

	if (!text || sscanf(text, "%15s %31s %lu %d", who, plan.call, &plan.nth, &plan.error) != 4)
		return;
	plan.who = strcmp(who, "first") == 0 ? FIRST : strcmp(who, "spawned") == 0 ? SPAWNED : atoi(who);
}

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("FAIL_TALLY");
	int fd;

	if (!path || strncmp(program_invocation_short_name, "s6-tls", 6) != 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	tallies = mmap(NULL, CALLS * sizeof *tallies, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || tallies == MAP_FAILED)
		abort();
	(void)close(fd);
	read_plan(getenv("FAIL"));
	self_pid = pid();
}

static struct tally *
tally_of(const char *name)
{
	for (int i = 0; i < CALLS; i++) {
		struct tally *t = &tallies[i];
		uint32_t expected = FREE;

		if (__atomic_compare_exchange_n(
			&t->state, &expected, BEING_NAMED, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
			(void)snprintf(t->name, sizeof t->name, "%s", name);
			__atomic_store_n(&t->state, NAMED, __ATOMIC_RELEASE);
		}
		while (__atomic_load_n(&t->state, __ATOMIC_ACQUIRE) != NAMED)
			;
		if (strcmp(t->name, name) == 0)
			return t;
	}
	abort();
}

/* Counts a call. Returns whether it is the one that fails, with errno set to how. */
static bool
fails(const char *name)
{
	struct tally *t;
	int who;

	if (!self_pid)
		return false;
	who = pid() == self_pid ? self : SPAWNED;
	t = tally_of(name);
	if (++t->made[who] != plan.nth || who != plan.who || strcmp(name, plan.call) != 0)
		return false;
	t->struck = 1;
	errno = plan.error;
	return true;
}

/* A call with all its arguments. */
#define CALL(type, failure, name, parameters, arguments)                                                               \
	type name parameters;                                                                                          \
	type name parameters                                                                                           \
	{                                                                                                              \
		static type(*next) parameters;                                                                         \
                                                                                                                       \
		if (!next)                                                                                             \
			*(void **)&next = real(#name);                                                                 \
		return fails(#name) ? (failure) : next arguments;                                                      \
	}

/* Likewise, of one that may move fewer of its n bytes. */
#define MOVE(name, parameters, arguments)                                                                              \
	ssize_t name parameters;                                                                                       \
	ssize_t name parameters                                                                                        \
	{                                                                                                              \
		static ssize_t(*next) parameters;                                                                      \
                                                                                                                       \
		if (!next)                                                                                             \
			*(void **)&next = real(#name);                                                                 \
		if (fails(#name)) {                                                                                    \
			if (plan.error)                                                                                \
				return -1;                                                                             \
			n = n > 1 ? 1 : n;                                                                             \
		}                                                                                                      \
		return next arguments;                                                                                 \
	}

MOVE(read, (int fd, void *p, size_t n), (fd, p, n))
MOVE(write, (int fd, const void *p, size_t n), (fd, p, n))
MOVE(recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
MOVE(send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))
CALL(ssize_t, -1, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
CALL(ssize_t, -1, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
CALL(int, -1, poll, (struct pollfd * p, nfds_t n, int ms), (p, n, ms))
CALL(int, -1, ppoll, (struct pollfd * p, nfds_t n, const struct timespec *t, const sigset_t *mask), (p, n, t, mask))
CALL(int, -1, epoll_create1, (int flags), (flags))
CALL(int, -1, epoll_ctl, (int set, int what, int fd, struct epoll_event *e), (set, what, fd, e))
CALL(int, -1, epoll_pwait, (int set, struct epoll_event *e, int n, int ms, const sigset_t *mask), (set, e, n, ms, mask))
CALL(int, -1, epoll_wait, (int set, struct epoll_event *e, int n, int ms), (set, e, n, ms))
CALL(int, -1, pipe2, (int ends[2], int flags), (ends, flags))
CALL(int, -1, socket, (int domain, int type, int protocol), (domain, type, protocol))
CALL(int, -1, socketpair, (int domain, int type, int protocol, int ends[2]), (domain, type, protocol, ends))
CALL(int, -1, bind, (int fd, __CONST_SOCKADDR_ARG a, socklen_t n), (fd, a, n))
CALL(int, -1, listen, (int fd, int n), (fd, n))
CALL(int, -1, accept4, (int fd, __SOCKADDR_ARG a, socklen_t *n, int flags), (fd, a, n, flags))
CALL(int, -1, getpeername, (int fd, __SOCKADDR_ARG a, socklen_t *n), (fd, a, n))
CALL(int, -1, getsockname, (int fd, __SOCKADDR_ARG a, socklen_t *n), (fd, a, n))
CALL(int, -1, shutdown, (int fd, int how), (fd, how))
CALL(int, -1, setsockopt, (int fd, int level, int name, const void *p, socklen_t n), (fd, level, name, p, n))
CALL(int, -1, dup2, (int from, int to), (from, to))
CALL(int, -1, dup3, (int from, int to, int flags), (from, to, flags))
CALL(int, -1, fstat, (int fd, struct stat *s), (fd, s))
CALL(int, -1, stat, (const char *path, struct stat *s), (path, s))
CALL(DIR *, NULL, opendir, (const char *path), (path))
CALL(int, -1, sigaction, (int signal, const struct sigaction *act, struct sigaction *old), (signal, act, old))
CALL(int, -1, sigprocmask, (int how, const sigset_t *set, sigset_t *old), (how, set, old))
CALL(pid_t, -1, waitpid, (pid_t child, int *status, int options), (child, status, options))
CALL(int, -1, setgroups, (size_t n, const gid_t *list), (n, list))
CALL(int, -1, setresgid, (gid_t r, gid_t e, gid_t s), (r, e, s))
CALL(int, -1, setresuid, (uid_t r, uid_t e, uid_t s), (r, e, s))
CALL(int, -1, getgroups, (int n, gid_t *list), (n, list))
CALL(int, -1, kill, (pid_t other, int signal), (other, signal))
CALL(int, -1, getresuid, (uid_t * r, uid_t *e, uid_t *s), (r, e, s))
CALL(int, -1, getresgid, (gid_t * r, gid_t *e, gid_t *s), (r, e, s))
CALL(int, -1, setrlimit, (__rlimit_resource_t what, const struct rlimit *l), (what, l))
CALL(int, -1, getrlimit, (__rlimit_resource_t what, struct rlimit *l), (what, l))
CALL(int, -1, madvise, (void *p, size_t n, int advice), (p, n, advice))
CALL(int, -1, execvpe, (const char *file, char *const argv[], char *const envp[]), (file, argv, envp))

/* -- calls with more to them ------------------------------------------------- */

/* A child counts for itself, from nothing. */
pid_t
fork(void)
{
	static pid_t (*next)(void);
	pid_t child;

	if (!next)
		*(void **)&next = real("fork");
	if (fails("fork"))
		return -1;
	child = next();
	forked++;
	if (child == 0 && self_pid) {
		self = forked <= CHILDREN ? forked : CHILDREN;
		self_pid = pid();
	}
	return child;
}

int
clone(int (*f)(void *), void *stack, int flags, void *argument, ...)
{
	static int (*next)(int (*)(void *), void *, int, void *, ...);

	if (!next)
		*(void **)&next = real("clone");
	return fails("clone") ? -1 : next(f, stack, flags, argument);
}

/* What such a call has behind its first arguments, as far as any has. */
#define TAKE(last, ...)                                                                                                \
	va_list ap;                                                                                                    \
	va_start(ap, last);                                                                                            \
	__VA_ARGS__;                                                                                                   \
	va_end(ap)

int
open(const char *path, int flags, ...)
{
	static int (*next)(const char *, int, ...);

	TAKE(flags, int mode = flags & O_CREAT ? va_arg(ap, int) : 0);
	if (!next)
		*(void **)&next = real("open");
	return fails("open") ? -1 : next(path, flags, mode);
}

int
openat(int at, const char *path, int flags, ...)
{
	static int (*next)(int, const char *, int, ...);

	TAKE(flags, int mode = flags & O_CREAT ? va_arg(ap, int) : 0);
	if (!next)
		*(void **)&next = real("openat");
	return fails("openat") ? -1 : next(at, path, flags, mode);
}

int
fcntl(int fd, int what, ...)
{
	static int (*next)(int, int, ...);

	TAKE(what, void *argument = va_arg(ap, void *));
	if (!next)
		*(void **)&next = real("fcntl");
	return fails("fcntl") ? -1 : next(fd, what, argument);
}

int
ioctl(int fd, unsigned long what, ...)
{
	static int (*next)(int, unsigned long, ...);

	TAKE(what, void *argument = va_arg(ap, void *));
	if (!next)
		*(void **)&next = real("ioctl");
	return fails("ioctl") ? -1 : next(fd, what, argument);
}

int
prctl(int what, ...)
{
	static int (*next)(int, ...);
	char name[32];

	TAKE(what, unsigned long a = va_arg(ap, unsigned long), b = va_arg(ap, unsigned long),
	    c = va_arg(ap, unsigned long), d = va_arg(ap, unsigned long));
	if (!next)
		*(void **)&next = real("prctl");
	(void)snprintf(name, sizeof name, "prctl-%d", what);
	return fails(name) ? -1 : next(what, a, b, c, d);
}

long
syscall(long number, ...)
{
	static long (*next)(long, ...);
	char name[32];

	TAKE(number, long a = va_arg(ap, long), b = va_arg(ap, long), c = va_arg(ap, long), d = va_arg(ap, long),
	    e = va_arg(ap, long), f = va_arg(ap, long));
	if (!next)
		*(void **)&next = real("syscall");
	(void)snprintf(name, sizeof name, "syscall-%ld", number);
	return fails(name) ? -1 : next(number, a, b, c, d, e, f);
}

void *
mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
	static void *(*next)(void *, size_t, int, int, int, off_t);

	if (!next)
		*(void **)&next = real("mmap");
	return fails("mmap") ? MAP_FAILED : next(at, n, protection, flags, fd, offset);
}
