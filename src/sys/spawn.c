/*
 * As posix_spawn(3) does it, which knows no groups and no limits: the child
 * shares our memory, on a stack of its own, and we stand still, until it has
 * its own by exec. Between the two it makes system calls and nothing else, for
 * what it writes is ours.
 */
#include "sys/spawn.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What execvpe(3) takes for a path, generously; a script's arguments come on top. */
enum { STACK = 65536 };

/* What parent and child share. */
struct start {
	const struct spawn *spawn;
	const sigset_t *used;
	int error; /* the child's, when it does not get as far as exec */
};

/* The signals that are ignored or have a handler: the same ones from the first start on, so they are looked for once.
 */
static const sigset_t *
used_signals(void)
{
	static sigset_t used;
	static bool known;
	struct sigaction now;

	if (known)
		return &used;
	(void)sigemptyset(&used);
	for (int i = 1; i < NSIG; i++)
		if (sigaction(i, NULL, &now) == 0 && now.sa_handler != SIG_DFL)
			(void)sigaddset(&used, i);
	known = true;
	return &used;
}

/* What was ignored would stay so, and a handler of ours would run on our memory until exec ends it. */
static int
reset_signals(const sigset_t *used, const sigset_t *mask)
{
	struct sigaction fresh = {.sa_handler = SIG_DFL};

	for (int i = 1; i < NSIG; i++)
		if (sigismember(used, i) == 1)
			(void)sigaction(i, &fresh, NULL);
	return sigprocmask(SIG_SETMASK, mask, NULL);
}

/* By bare calls: libc would have the threads of another process follow. */
static int
become(const struct identity *ids)
{
	uid_t uid[3];

	if (ids->groups_n >= 0 && syscall(SYS_setgroups, (size_t)ids->groups_n, ids->groups) < 0)
		return -1;
	if (ids->gid != (gid_t)-1 && syscall(SYS_setresgid, ids->gid, ids->gid, ids->gid) < 0)
		return -1;
	if (ids->uid == (uid_t)-1)
		return 0;
	if (syscall(SYS_setresuid, ids->uid, ids->uid, ids->uid) < 0 || getresuid(&uid[0], &uid[1], &uid[2]) < 0)
		return -1;
	errno = EPERM;
	return uid[0] == ids->uid && uid[1] == ids->uid && uid[2] == ids->uid ? 0 : -1;
}

static int
set_up(const struct spawn *s, const sigset_t *used)
{
	if (s->in >= 0 && (dup2(s->in, STDIN_FILENO) < 0 || dup2(s->out, STDOUT_FILENO) < 0))
		return -1;
	if (s->files && setrlimit(RLIMIT_NOFILE, s->files) < 0)
		return -1;
	if (s->ids && become(s->ids) < 0)
		return -1;
	return reset_signals(used, s->mask);
}

static int
child(void *argument)
{
	struct start *s = argument;

	if (set_up(s->spawn, s->used) == 0)
		(void)execvpe(s->spawn->argv[0], s->spawn->argv, s->spawn->env);
	s->error = errno;
	_exit(127);
}

/* Returns 0 or an errno. */
static int
start(const struct spawn *spawn, pid_t *pid)
{
	struct start s = {.spawn = spawn, .used = used_signals()};
	size_t size = STACK;
	sigset_t all, old;
	char *stack;

	for (char *const *arg = spawn->argv; *arg; arg++)
		size += sizeof *arg;
	stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return errno;
	/* A handler of ours would run in the child, on our memory. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &old);
	*pid = clone(child, stack + size / 16 * 16, CLONE_VM | CLONE_VFORK | SIGCHLD, &s);
	if (*pid < 0)
		s.error = errno;
	else if (s.error)
		(void)waitpid(*pid, NULL, 0);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	(void)munmap(stack, size);
	return s.error;
}

/* What execvp(3) does with a script that names no interpreter, and musl does not. */
static int
start_script(const struct spawn *spawn, pid_t *pid)
{
	static char *const shell[] = {"/bin/sh", "-c", "exec \"$0\" \"$@\""};
	struct spawn script = *spawn;
	size_t n = 0;
	char **argv;
	int error;

	while (spawn->argv[n])
		n++;
	argv = malloc((3 + n + 1) * sizeof *argv);
	if (!argv)
		return ENOMEM;
	memcpy(argv, shell, sizeof shell);
	memcpy(argv + 3, spawn->argv, (n + 1) * sizeof *argv);
	script.argv = argv;
	error = start(&script, pid);
	free(argv);
	return error;
}

int
spawn(const struct spawn *s, pid_t *pid)
{
	int error = start(s, pid);

	if (error == ENOEXEC)
		error = start_script(s, pid);
	if (error)
		*pid = 0;
	return error;
}
