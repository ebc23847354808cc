/*
 * The system refuses a call once: the first, the second, and so on to the last
 * that a step makes. Each time, the step either says why it failed, or it has
 * done all that it is there for. This matters most where privileges are
 * dropped and descriptors closed: what was not done must not look done.
 *
 * The linker lets the calls come here. Each round is a child, which may lose
 * ids and descriptors.
 */
#include "sys/access.h"
#include "sys/channel.h"
#include "sys/dial.h"
#include "sys/fds.h"
#include "sys/file.h"
#include "sys/listen.h"
#include "sys/log.h"
#include "sys/lookup.h"
#include "sys/notary.h"
#include "sys/privileges.h"
#include "sys/seal.h"
#include "sys/signer.h"
#include "sys/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* -- calls ----------------------------------------------------------------- */

static volatile long until_refusal = -1; /* how many more calls go through; negative: all */
static volatile bool refused;
static int reason; /* the errno of a refusal */

static bool
refuse(void)
{
	if (until_refusal < 0 || until_refusal-- > 0)
		return false;
	refused = true;
	errno = reason;
	return true;
}

/* The linker's names for what is called by the plain ones. NOLINTBEGIN */
#define REFUSABLE(type, no, name, parameters, arguments)                                                               \
	type __real_##name parameters;                                                                                 \
	type __wrap_##name parameters;                                                                                 \
	type __wrap_##name parameters                                                                                  \
	{                                                                                                              \
		return refuse() ? (no) : __real_##name arguments;                                                      \
	}

REFUSABLE(int, -1, accept4, (int fd, void *a, void *n, int flags), (fd, a, n, flags))
REFUSABLE(int, -1, bind, (int fd, const void *a, socklen_t n), (fd, a, n))
REFUSABLE(int, -1, clone, (int (*f)(void *), void *stack, int flags, void *arg), (f, stack, flags, arg))
REFUSABLE(int, -1, dup2, (int a, int b), (a, b))
REFUSABLE(int, -1, dup3, (int a, int b, int flags), (a, b, flags))
REFUSABLE(int, -1, execvpe, (const char *file, char *const *argv, char *const *env), (file, argv, env))
REFUSABLE(int, -1, faccessat, (int dir, const char *path, int mode, int flags), (dir, path, mode, flags))
REFUSABLE(int, -1, fcntl64, (int fd, int command, long arg), (fd, command, arg))
REFUSABLE(DIR *, NULL, fdopendir, (int fd), (fd))
REFUSABLE(pid_t, -1, fork, (void), ())
REFUSABLE(int, -1, fstat64, (int fd, void *st), (fd, st))
REFUSABLE(int, -1, fstatat64, (int dir, const char *path, void *st, int flags), (dir, path, st, flags))
REFUSABLE(int, -1, getgroups, (int n, gid_t *list), (n, list))
REFUSABLE(int, -1, getpeername, (int fd, void *a, socklen_t *n), (fd, a, n))
REFUSABLE(int, -1, getresgid, (gid_t * a, gid_t *b, gid_t *c), (a, b, c))
REFUSABLE(int, -1, getresuid, (uid_t * a, uid_t *b, uid_t *c), (a, b, c))
REFUSABLE(int, -1, getsockname, (int fd, void *a, socklen_t *n), (fd, a, n))
REFUSABLE(int, -1, getsockopt, (int fd, int l, int o, void *v, socklen_t *n), (fd, l, o, v, n))
REFUSABLE(int, -1, listen, (int fd, int backlog), (fd, backlog))
REFUSABLE(void *, MAP_FAILED, mmap64, (void *p, size_t n, int a, int b, int fd, off_t o), (p, n, a, b, fd, o))
REFUSABLE(int, -1, open64, (const char *path, int flags, mode_t mode), (path, flags, mode))
REFUSABLE(int, -1, openat64, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))
REFUSABLE(DIR *, NULL, opendir, (const char *path), (path))
REFUSABLE(int, -1, pipe2, (int *ends, int flags), (ends, flags))
REFUSABLE(int, -1, poll, (struct pollfd * v, nfds_t n, int ms), (v, n, ms))
REFUSABLE(int, -1, prctl, (int o, long a, long b, long c, long d), (o, a, b, c, d))
REFUSABLE(ssize_t, -1, read, (int fd, void *p, size_t n), (fd, p, n))
REFUSABLE(struct dirent *, NULL, readdir64, (DIR * dir), (dir))
REFUSABLE(
    ssize_t, -1, sendto, (int fd, const void *p, size_t n, int f, const void *a, socklen_t m), (fd, p, n, f, a, m))
REFUSABLE(int, -1, setgid, (gid_t g), (g))
REFUSABLE(int, -1, setgroups, (size_t n, const gid_t *list), (n, list))
REFUSABLE(int, -1, setresgid, (gid_t a, gid_t b, gid_t c), (a, b, c))
REFUSABLE(int, -1, setresuid, (uid_t a, uid_t b, uid_t c), (a, b, c))
REFUSABLE(int, -1, setrlimit64, (int which, const void *limits), (which, limits))
REFUSABLE(int, -1, setsockopt, (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n))
REFUSABLE(int, -1, setuid, (uid_t u), (u))
REFUSABLE(int, -1, socket, (int domain, int type, int protocol), (domain, type, protocol))
REFUSABLE(int, -1, socketpair, (int domain, int type, int protocol, int *ends), (domain, type, protocol, ends))
REFUSABLE(long, -1, syscall, (long n, long a, long b, long c, long d), (n, a, b, c, d))
REFUSABLE(ssize_t, -1, write, (int fd, const void *p, size_t n), (fd, p, n))

/* Interrupted, it goes on all the same. */
int __real_connect(int fd, const void *a, socklen_t n);
int __wrap_connect(int fd, const void *a, socklen_t n);

int
__wrap_connect(int fd, const void *a, socklen_t n)
{
	if (!refuse())
		return __real_connect(fd, a, n);
	if (reason == EINTR)
		(void)__real_connect(fd, a, n);
	errno = reason;
	return -1;
}
/* NOLINTEND */

/* -- rounds ------------------------------------------------------------------- */

struct step {
	const char *name;
	void (*prepare)(void);
	bool (*run)(struct fault *f); /* returns whether it says that all went well; else why not */
	bool (*holds)(void);	      /* whether all did */
};

static _Noreturn void
round_of(const struct step *s, long n, int error)
{
	int out = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
	const char *wrong = NULL;
	struct fault f = {0};
	bool done;

	if (s->prepare)
		s->prepare();
	reason = error;
	until_refusal = n;
	done = s->run(&f);
	until_refusal = -1;
	if (done && !s->holds())
		wrong = "says that it was done, and it was not";
	else if (!done && !refused)
		wrong = "fails by itself";
	else if (!done && f.text[0] == '\0')
		wrong = "does not say why it failed";
	if (wrong)
		(void)dprintf(out, "%s, call %ld, %s: %s: %s\n", s->name, n, strerror(error), wrong, f.text);
	_exit(wrong ? 2 : refused);
}

/* Returns how many calls there were to refuse. */
static long
walk(const struct step *s, int error)
{
	for (long n = 0;; n++) {
		int status;
		pid_t pid;

		(void)fflush(NULL);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			round_of(s, n, error);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_in_range(WEXITSTATUS(status), 0, 1);
		if (WEXITSTATUS(status) == 0)
			return n;
	}
}

static void
walk_all(const struct step *steps, size_t n)
{
	static const int errors[] = {EPERM, EINTR, EINVAL};

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < sizeof errors / sizeof *errors; k++)
			assert_true(walk(&steps[i], errors[k]) > 0);
}

#define WALK(steps) walk_all(steps, sizeof(steps) / sizeof *(steps))

/* -- descriptors ---------------------------------------------------------------- */

static bool
is_null(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static void
close_three(void)
{
	for (int fd = 0; fd < 3; fd++)
		(void)close(fd);
}

static bool
occupy(struct fault *f)
{
	bool closed[3];

	return fds_occupy(closed, f) == 0;
}

static bool
silence(struct fault *f)
{
	return fds_silence(NULL, 0, f) == 0;
}

static bool
three_are_null(void)
{
	return is_null(0) && is_null(1) && is_null(2);
}

static bool
reserve(struct fault *f)
{
	return fds_reserve(50, f) == 0;
}

static bool
fifty_is_null(void)
{
	return is_null(50);
}

/* The connection is on 40; 0 and 50 are copies. */
static void
copy_connection(void)
{
	int ends[2];

	if (pipe(ends) < 0 || dup2(ends[0], 40) < 0 || dup2(ends[0], 50) < 0 || dup2(ends[0], 0) < 0)
		abort();
	(void)close(ends[0]);
	fds_connection(40, 40);
}

static bool
hide(struct fault *f)
{
	return fds_hide_connection(f) == 0;
}

/* What cannot be looked at counts as no connection, and so a copy may be left. */
static bool
connection_is_open(void)
{
	return fds_open(40);
}

static bool
close_others(struct fault *f)
{
	(void)f;
	fds_close_others((const int[]){50, 40}, 2);
	return true;
}

static bool
others_are_closed(void)
{
	for (int fd = 3; fd < 1000; fd++)
		if (fds_open(fd) != (fd == 40 || fd == 50))
			return false;
	return true;
}

static int made[2] = {-1, -1};

static bool
make_pipe(struct fault *f)
{
	return fds_pipe(made, f) == 0 && fds_nonblock(made[0], f) == 0;
}

static bool
pipe_does_not_block(void)
{
	return fcntl(made[0], F_GETFD) == FD_CLOEXEC && fcntl(made[0], F_GETFL) & O_NONBLOCK;
}

static void
descriptors(void **state)
{
	static const struct step steps[] = {
	    {"fds_occupy", close_three, occupy, three_are_null},
	    {"fds_silence", NULL, silence, three_are_null},
	    {"fds_reserve", NULL, reserve, fifty_is_null},
	    {"fds_hide_connection", copy_connection, hide, connection_is_open},
	    {"fds_close_others", copy_connection, close_others, others_are_closed},
	    {"fds_pipe", NULL, make_pipe, pipe_does_not_block},
	};

	(void)state;
	WALK(steps);
}

/* -- ids ------------------------------------------------------------------------ */

enum { SOMEBODY = 4711 };

static const struct privileges as_root = {.root = true};
static const struct privileges as_somebody = {.root = true, .drop = true, .uid = SOMEBODY, .gid = SOMEBODY};

static bool
shed(struct fault *f)
{
	return privileges_shed(&as_somebody, false, f) == 0;
}

static bool
shed_but_one(struct fault *f)
{
	return privileges_shed(&as_somebody, true, f) == 0;
}

static bool
shed_and_finish(struct fault *f)
{
	return privileges_shed(&as_somebody, true, f) == 0 && privileges_finish(f) == 0;
}

static bool
shed_as_root(struct fault *f)
{
	return privileges_shed(&as_root, false, f) == 0;
}

static bool
narrow(struct fault *f)
{
	return privileges_narrow(&as_root, f) == 0;
}

/* All sets of capabilities together. */
static uint64_t
capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &header, d, 0L, 0L) < 0)
		return UINT64_MAX;
	return (uint64_t)(d[1].effective | d[1].permitted | d[1].inheritable) << 32 |
	       (d[0].effective | d[0].permitted | d[0].inheritable);
}

static bool
ids_are(uid_t want)
{
	uid_t u[3];
	gid_t g[3];

	if (getresuid(&u[0], &u[1], &u[2]) < 0 || getresgid(&g[0], &g[1], &g[2]) < 0 || getgroups(0, NULL) != 0)
		return false;
	for (int i = 0; i < 3; i++)
		if (u[i] != want || g[i] != want)
			return false;
	return true;
}

static bool
is_somebody(void)
{
	return ids_are(SOMEBODY) && capabilities() == 0;
}

/* KEEPCAPS is a wish: without it there is one capability less, and a low port cannot be had. */
static bool
is_somebody_who_binds(void)
{
	return ids_are(SOMEBODY) && (capabilities() & ~(UINT64_C(1) << CAP_NET_BIND_SERVICE)) == 0;
}

static bool
is_root_without_capabilities(void)
{
	return ids_are(0) && capabilities() == 0;
}

static bool
has_five_at_most(void)
{
	return __builtin_popcountll(capabilities()) <= 6;
}

static void
take_a_group(void)
{
	if (setgroups(1, &(gid_t){SOMEBODY}) < 0)
		abort();
}

static void
ids(void **state)
{
	static const struct step steps[] = {
	    {"privileges_shed", take_a_group, shed, is_somebody},
	    {"privileges_shed, bind", take_a_group, shed_but_one, is_somebody_who_binds},
	    {"privileges_finish", take_a_group, shed_and_finish, is_somebody},
	    {"privileges_shed, root", take_a_group, shed_as_root, is_root_without_capabilities},
	    {"privileges_narrow", NULL, narrow, has_five_at_most},
	};

	(void)state;
	if (geteuid() != 0)
		skip();
	WALK(steps);
}

/* -- prog ------------------------------------------------------------------------ */

static pid_t prog;

/* Who it is, how many files it may open, and where its stdout goes, are what was asked for. */
static bool
start_prog(struct fault *f)
{
	static const struct identity somebody = {.uid = SOMEBODY, .gid = SOMEBODY, .groups_n = 0};
	static const struct rlimit files = {100, 100};
	static char *argv[] = {
	    "sh", "-c", "test `id -u`.`id -g`.`id -G`.`ulimit -n` = 4711.4711.4711.100 && echo good", NULL};
	sigset_t none;
	int ends[2], error;

	(void)sigemptyset(&none);
	if (pipe(made) < 0 || pipe(ends) < 0)
		abort();
	error = spawn(&(struct spawn){.argv = argv,
			  .env = environ,
			  .mask = &none,
			  .in = ends[0],
			  .out = made[1],
			  .ids = &somebody,
			  .files = &files},
	    &prog);
	(void)close(made[1]);
	return error ? fault_set(f, FAULT_SYSTEM, "spawn: %s", strerror(error)) == 0 : true;
}

static bool
prog_ran(void)
{
	char said[8] = "";
	int status;

	return read(made[0], said, sizeof said) == 5 && memcmp(said, "good\n", 5) == 0 &&
	       waitpid(prog, &status, 0) == prog && status == 0;
}

static void
progs(void **state)
{
	static const struct step steps[] = {{"spawn", NULL, start_prog, prog_ran}};

	(void)state;
	if (geteuid() != 0)
		skip();
	WALK(steps);
	/* What musl's exec says of a script without an interpreter: a shell is started for it. */
	assert_true(walk(steps, ENOEXEC) > 0);
}

/* -- sockets ---------------------------------------------------------------------- */

static struct listening listening;
static struct ucspi met;
static const struct config at_home = {.host = "127.0.0.1", .port = "0", .listen_fd = -1, .backlog = 8, .nodelay = 1};

static void
listen_at_home(void)
{
	struct fault f;

	if (listen_open(&listening, &at_home, &f) < 0)
		abort();
}

static bool
listens(void)
{
	char ip[UCSPI_IP], port[UCSPI_PORT];

	listen_place(&listening, ip, port);
	return strcmp(ip, "127.0.0.1") == 0 && strcmp(port, "0") != 0;
}

static bool
open_new(struct fault *f)
{
	return listen_open(&listening, &at_home, f) == 0;
}

/* A socket that was handed over, where prog is to have its stdin. */
static void
give_socket(void)
{
	listen_at_home();
	if (dup2(listening.fd[0], 0) < 0)
		abort();
	listen_close(&listening);
}

static bool
take_given(struct fault *f)
{
	struct config c = at_home;

	c.listen_fd = 0;
	return listen_open(&listening, &c, f) == 0;
}

static bool
listens_elsewhere(void)
{
	return listens() && listening.fd[0] > 2 && fcntl(listening.fd[0], F_GETFD) == FD_CLOEXEC;
}

static char home_port[UCSPI_PORT];

static void
listen_and_remember(void)
{
	char ip[UCSPI_IP];

	listen_at_home();
	listen_place(&listening, ip, home_port);
}

static bool
dial_home(struct fault *f)
{
	const struct dial d = {.host = "127.0.0.1",
	    .port = home_port,
	    .local_ip = "127.0.0.2",
	    .local_port = "0",
	    .nodelay = true,
	    .first_s = 1};

	made[0] = dial(&d, &met, f);
	return made[0] >= 0;
}

static bool
is_connected(void)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof a;

	return getpeername(made[0], (struct sockaddr *)&a, &n) == 0 && !(fcntl(made[0], F_GETFL) & O_NONBLOCK) &&
	       strcmp(met.remote_port, home_port) == 0 && strcmp(met.local_ip, "127.0.0.2") == 0;
}

static void
call_home(void)
{
	struct fault f = {0};

	listen_and_remember();
	if (!dial_home(&f))
		abort();
}

static bool
accept_one(struct fault *f)
{
	made[1] = listen_accept(listening.fd[0], &at_home, &met);
	return made[1] >= 0 ? true : fault_set(f, FAULT_SYSTEM, "accept: %s", strerror(errno)) == 0;
}

static bool
is_accepted(void)
{
	return fcntl(made[1], F_GETFD) == FD_CLOEXEC && strcmp(met.remote_ip, "127.0.0.2") == 0;
}

/* That it is ready, somebody who is not told does not know: no reason to end. */
static void
wait_for_news(void)
{
	struct config c = at_home;

	(void)c;
	listen_at_home();
	if (pipe(made) < 0 || setenv("NOTIFY_SOCKET", "@tests/unit/calls", 1) < 0)
		abort();
}

static bool
announce(struct fault *f)
{
	struct config c = at_home;

	(void)f;
	c.notify_fd = made[1];
	listen_announce(&listening, &c);
	return true;
}

static bool
nothing_is_left_of_it(void)
{
	return !fds_open(made[1]) && !getenv("NOTIFY_SOCKET");
}

static bool
open_signer(struct fault *f)
{
	struct signer s;

	return signer_open(&s, SIGNING_SERVER, f) == 0 && signer_limit(s.ask, 10, f) == 0;
}

static bool
yes(void)
{
	return true;
}

static void
sockets(void **state)
{
	static const struct step steps[] = {
	    {"listen_open", NULL, open_new, listens},
	    {"listen_open, given", give_socket, take_given, listens_elsewhere},
	    {"listen_accept", call_home, accept_one, is_accepted},
	    {"listen_announce", wait_for_news, announce, nothing_is_left_of_it},
	    {"dial", listen_and_remember, dial_home, is_connected},
	    {"signer", NULL, open_signer, yes},
	};

	(void)state;
	WALK(steps);
}

/* -- processes ---------------------------------------------------------------------- */

static bool
start_lookup(struct fault *f)
{
	const struct ucspi u = {
	    .local_ip = "127.0.0.1", .local_port = "1", .remote_ip = "127.0.0.1", .remote_port = "2"};

	prog = lookup_start(&u, &(struct config){.local_name = "here"}, &(struct privileges){0}, &made[0], f);
	return prog > 0;
}

static bool
start_notary(struct fault *f)
{
	static struct notary n;
	bool done = notary_start(&n, &(struct blob){0}, &(struct privileges){0}, f) == 0;

	prog = n.pid;
	made[0] = n.control;
	return done;
}

static bool
runs(void)
{
	int status;

	return fds_open(made[0]) && waitpid(prog, &status, 0) == prog;
}

static void
processes(void **state)
{
	static const struct step steps[] = {
	    {"lookup_start", NULL, start_lookup, runs},
	    {"notary_start", NULL, start_notary, runs},
	};

	(void)state;
	WALK(steps);
}

/* -- the seal ------------------------------------------------------------------------ */

static bool
begin_to_seal(struct fault *f)
{
	return seal_begin(SANDBOX_TRY, f) == 0;
}

static bool
require_seal(struct fault *f)
{
	return seal_begin(SANDBOX_REQUIRE, f) == 0;
}

static void
begin(void)
{
	struct fault f;

	if (seal_begin(SANDBOX_TRY, &f) < 0)
		abort();
}

static bool
seal_for_good(struct fault *f)
{
	return seal_engine(f) == 0;
}

static void
seals(void **state)
{
	static const struct step steps[] = {
	    {"seal_begin, try", NULL, begin_to_seal, yes},
	    {"seal_begin, require", NULL, require_seal, yes},
	    {"seal_engine", begin, seal_for_good, yes},
	};
	struct fault f;

	(void)state;
	/* Built with a sanitizer, there is no seal. */
	if (seal_begin(SANDBOX_REQUIRE, &f) < 0)
		skip();
	WALK(steps);
}

/* -- files ---------------------------------------------------------------------------- */

static char home[] = "/tmp/test-calls-XXXXXX";
static struct blob content;
static int rules = -1;
static struct changes env;

static void
put(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof path, "%s/%s", home, name);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void
make(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof path, "%s/%s", home, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static bool
read_file(struct fault *f)
{
	char path[128];

	(void)snprintf(path, sizeof path, "%s/file", home);
	return file_read(path, "CAFILE f", &content, f) == 0;
}

static bool
is_read(void)
{
	return content.n == 7 && memcmp(content.p, "content", 7) == 0;
}

static enum access got;

static bool
look_up_allowed(struct fault *f)
{
	got = access_by_address(rules, "192.0.2.1", &env, f);
	return got != ACCESS_ERROR;
}

static bool
is_allowed(void)
{
	return got == ACCESS_ALLOW && env.n == 4 && strcmp(env.text, "A=1") == 0;
}

static bool
look_up_denied(struct fault *f)
{
	got = access_by_address(rules, "192.0.2.2", &env, f);
	return got != ACCESS_ERROR;
}

static bool
is_denied(void)
{
	return got == ACCESS_DENY;
}

static void
files(void **state)
{
	static const struct step steps[] = {
	    {"file_read", NULL, read_file, is_read},
	    {"access, allowed", NULL, look_up_allowed, is_allowed},
	    {"access, denied", NULL, look_up_denied, is_denied},
	};
	char command[64];
	struct fault f;

	(void)state;
	assert_non_null(mkdtemp(home));
	put("file", "content");
	make("ip4");
	make("ip4/192.0.2.1_32");
	make("ip4/192.0.2.1_32/env");
	put("ip4/192.0.2.1_32/allow", "");
	put("ip4/192.0.2.1_32/env/A", "1");
	make("ip4/192.0.2.2_32");
	put("ip4/192.0.2.2_32/deny", "");
	rules = access_open(home, &f);
	assert_true(rules >= 0);
	WALK(steps);
	(void)close(rules);
	(void)snprintf(command, sizeof command, "rm -r %s", home);
	assert_int_equal(system(command), 0);
}

/* -- lines -------------------------------------------------------------------------- */

static void
log_to_pipe(void)
{
	if (pipe(made) < 0)
		abort();
	log_start("calls", false);
	log_verbosity(1);
	log_to(made[1]);
}

static bool
write_line(struct fault *f)
{
	log_line(LOG_LEVEL_FATAL, "a line");
	return refused && reason != EINTR ? fault_set(f, FAULT_SYSTEM, "nobody is told") == 0 : true;
}

/* Interrupted, it is written again. */
static bool
line_is_whole(void)
{
	char line[128] = "";
	ssize_t n = read(made[0], line, sizeof line - 1);

	return n > 8 && strcmp(line + n - 7, "a line\n") == 0;
}

static void
lines(void **state)
{
	static const struct step steps[] = {{"log_line", log_to_pipe, write_line, line_is_whole}};

	(void)state;
	WALK(steps);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(descriptors),
	    cmocka_unit_test(ids),
	    cmocka_unit_test(progs),
	    cmocka_unit_test(sockets),
	    cmocka_unit_test(processes),
	    cmocka_unit_test(seals),
	    cmocka_unit_test(files),
	    cmocka_unit_test(lines),
	};

	log_verbosity(0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
