/*
 * Writes the seccomp filters as C arrays, for sys/seal.c: run at build
 * time with the name of the architecture that the program is built for. What
 * is not listed here kills the process.
 */
#include "sys/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* Some names are those of one architecture or one libc: they are passed over where they do not exist. */

/* Memory, time, randomness, the end. libc reads the clock without a call where it can. */
static const char *const common[] = {"brk", "munmap", "mremap", "madvise", "futex", "futex_time64", "clock_gettime",
    "clock_gettime64", "gettimeofday", "time", "getrandom", "getpid", "rt_sigreturn", "sigreturn", "restart_syscall",
    "exit", "exit_group", "write", "writev", "close", "recvmsg", "ppoll", "ppoll_time64", NULL};

/* qsort of many things asks sysinfo how much memory there is: OpenSSL sorts trust anchors when it first needs one. */
static const char *const relay[] = {
    "read", "readv", "poll", "_newselect", "shutdown", "recvfrom", "recv", "sysinfo", NULL};

/* It waits for many. */
static const char *const signing[] = {
    "epoll_wait", "epoll_pwait", "epoll_ctl", "poll", "recvfrom", "recv", "sysinfo", NULL};

static const char *const watching[] = {"wait4", "waitid", "waitpid", "kill", "tgkill", "tkill", "gettid",
    "rt_sigaction", "sigaction", "rt_sigprocmask", "sigprocmask", NULL};

/* What syslog(3) does when its daemon has gone away: it gives up, and the connection goes on. */
static const char *const refused[] = {"socket", "connect", NULL};

static _Noreturn void
die(const char *what, int error)
{
	fprintf(stderr, "filters: %s: %s\n", what, strerror(error));
	exit(1);
}

static struct scmp_arg_cmp
argument_is(unsigned place, uint64_t value)
{
	return (struct scmp_arg_cmp){.arg = place, .op = SCMP_CMP_EQ, .datum_a = value};
}

static struct scmp_arg_cmp
argument_lacks(unsigned place, uint64_t bits)
{
	return (struct scmp_arg_cmp){.arg = place, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits, .datum_b = 0};
}

/* Calls are allowed, or refused with an errno, if the arguments are such. */
static void
rule(scmp_filter_ctx c, uint32_t action, const char *name, unsigned n, const struct scmp_arg_cmp *args)
{
	int number = seccomp_syscall_resolve_name(name), error;

	if (number == __NR_SCMP_ERROR)
		return;
	error = seccomp_rule_add_array(c, action, number, n, args);
	if (error < 0 && error != -EDOM)
		die(name, -error);
}

static void
rules(scmp_filter_ctx c, uint32_t action, const char *const *names)
{
	for (; *names; names++)
		rule(c, action, *names, 0, NULL);
}

/* name(_, a, b, ...) alone. */
static void
allow_pair(scmp_filter_ctx c, const char *name, uint64_t a, uint64_t b)
{
	struct scmp_arg_cmp args[] = {argument_is(1, a), argument_is(2, b)};

	rule(c, SCMP_ACT_ALLOW, name, 2, args);
}

/* Memory that can be run is only what was loaded at the start. */
static void
allow_memory(scmp_filter_ctx c, bool has_mmap2)
{
	const struct scmp_arg_cmp no_exec = argument_lacks(2, PROT_EXEC);

	/* Where there is mmap2, mmap takes its arguments in memory, where a filter does not see them. */
	rule(c, SCMP_ACT_ALLOW, has_mmap2 ? "mmap2" : "mmap", 1, &no_exec);
	rule(c, SCMP_ACT_ALLOW, "mprotect", 1, &no_exec);
}

/* Messages go to whom a socket is connected to. */
static void
allow_send(scmp_filter_ctx c)
{
	const struct scmp_arg_cmp no_address = argument_is(4, 0);

	rule(c, SCMP_ACT_ALLOW, "sendto", 1, &no_address);
	rule(c, SCMP_ACT_ALLOW, "send", 0, NULL);
}

static void
allow_socket(scmp_filter_ctx c)
{
	const struct scmp_arg_cmp received = argument_is(1, FIONREAD), unsent = argument_is(1, SIOCOUTQ);

	rule(c, SCMP_ACT_ALLOW, "ioctl", 1, &received);
	rule(c, SCMP_ACT_ALLOW, "ioctl", 1, &unsent);
	allow_pair(c, "setsockopt", SOL_SOCKET, SO_LINGER);
	allow_pair(c, "setsockopt", IPPROTO_TCP, TCP_QUICKACK);
	allow_pair(c, "setsockopt", IPPROTO_TCP, TCP_NODELAY);
	allow_pair(c, "getsockopt", IPPROTO_TCP, TCP_NODELAY);
	allow_pair(c, "getsockopt", SOL_SOCKET, SO_LINGER);
	allow_pair(c, "getsockopt", SOL_SOCKET, SO_TYPE);
}

/* Pipes may be given the one size that a stream has. */
static void
allow_pipe(scmp_filter_ctx c)
{
	allow_pair(c, "fcntl", F_SETPIPE_SZ, PIPE_WIDE);
	allow_pair(c, "fcntl64", F_SETPIPE_SZ, PIPE_WIDE);
}

static scmp_filter_ctx
start(uint32_t arch)
{
	scmp_filter_ctx c = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (!c)
		die("seccomp_init", ENOMEM);
	if (arch != seccomp_arch_native() &&
	    (seccomp_arch_add(c, arch) < 0 || seccomp_arch_remove(c, seccomp_arch_native()) < 0))
		die("architecture", EINVAL);
	/* A call of another architecture, x32 on x86_64 included, is not looked at. */
	if (seccomp_attr_set(c, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) < 0)
		die("attribute", EINVAL);
	(void)seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a search tree; libseccomp 2.5 */
	return c;
}

static void
print(scmp_filter_ctx c, const char *name)
{
	struct sock_filter i;
	FILE *file = tmpfile();

	if (!file || seccomp_export_bpf(c, fileno(file)) < 0)
		die(name, EIO);
	rewind(file);
	printf("\nstatic struct sock_filter %s[] = {\n", name);
	while (fread(&i, sizeof i, 1, file) == 1)
		printf("    {0x%04x, %d, %d, 0x%08x},\n", i.code, i.jt, i.jf, i.k);
	printf("};\n");
	fclose(file);
	seccomp_release(c);
}

int
main(int argc, char *argv[])
{
	uint32_t arch = argc == 2 ? seccomp_arch_resolve_name(argv[1]) : 0;
	bool has_mmap2 = arch && seccomp_syscall_resolve_name_arch(arch, "mmap2") >= 0;
	scmp_filter_ctx engine, signer, monitor;

	if (!arch) {
		fprintf(stderr, "usage: make-filters ARCHITECTURE (one that libseccomp knows)\n");
		return 1;
	}
	engine = start(arch);
	rules(engine, SCMP_ACT_ALLOW, common);
	rules(engine, SCMP_ACT_ALLOW, relay);
	allow_memory(engine, has_mmap2);
	allow_send(engine);
	allow_socket(engine);
	allow_pipe(engine);
	signer = start(arch);
	rules(signer, SCMP_ACT_ALLOW, common);
	rules(signer, SCMP_ACT_ALLOW, signing);
	allow_memory(signer, has_mmap2);
	allow_send(signer);
	monitor = start(arch);
	rules(monitor, SCMP_ACT_ALLOW, common);
	rules(monitor, SCMP_ACT_ALLOW, watching);
	rules(monitor, SCMP_ACT_ERRNO(EACCES), refused);
	allow_memory(monitor, has_mmap2);
	allow_send(monitor);
	printf("/* Made by tools/filters.c. */\n#ifndef SYS_FILTERS_H\n#define SYS_FILTERS_H\n\n#include "
	       "<linux/filter.h>\n");
	print(engine, "engine_filter");
	print(signer, "signer_filter");
	print(monitor, "monitor_filter");
	printf("\n#endif\n");
	return fflush(stdout) == 0 ? 0 : 1;
}
