/*
 * In place of sys/loop.c: an engine that was taken over by its first byte, and
 * is what sys/worker.c made of it by then. It attempts what $PRISONER names,
 * on $VICTIM, a process id (its monitor if that is unset), and tells the monitor
 * what came of it: "done", or "refused: " and why. With $UP it first says that
 * the handshake is over, and so does it beside a monitor that has made prog run.
 */
#include "sys/channel.h"
#include "sys/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Known before the seal, which would not tell. */
static pid_t monitor;

static void __attribute__((constructor)) note_monitor(void)
{
	monitor = getpid();
}

/* Each returns less than 0, with errno, when it was refused. */

static long
open_file(pid_t victim)
{
	(void)victim;
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long
create_file(pid_t victim)
{
	(void)victim;
	return open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static long
make_socket(pid_t victim)
{
	(void)victim;
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* The victim is a port. */
static long
connect_tcp(pid_t victim)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)victim)};
	int fd = (int)make_socket(0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof to);
}

static long
bind_tcp(pid_t victim)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fd = (int)make_socket(0);

	(void)victim;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return fd < 0 ? -1 : bind(fd, (struct sockaddr *)&to, sizeof to);
}

/* An abstract socket, named for the victim. */
static long
connect_abstract(pid_t victim)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int n = snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "s6-tlsd-%ld", (long)victim);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1
		      : connect(fd, (struct sockaddr *)&to,
			    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n));
}

static long
fork_child(pid_t victim)
{
	pid_t child = fork();

	(void)victim;
	if (child == 0)
		_exit(0);
	return child < 0 ? -1 : waitpid(child, NULL, 0);
}

static long
exec_program(pid_t victim)
{
	(void)victim;
	return execl("/bin/true", "true", (char *)NULL);
}

static long
trace(pid_t victim)
{
	long result = ptrace(PTRACE_SEIZE, victim, 0, 0);

	if (result == 0)
		(void)ptrace(PTRACE_DETACH, victim, 0, 0);
	return result;
}

static long
open_memory(pid_t victim)
{
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/%ld/mem", (long)victim);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static long
read_memory(pid_t victim)
{
	static char here;
	char copy;
	struct iovec to = {&copy, 1}, from = {&here, 1};

	return process_vm_readv(victim, &to, 1, &from, 1, 0);
}

static long
send_signal(pid_t victim)
{
	return kill(victim, SIGCONT);
}

static long
become_root(pid_t victim)
{
	(void)victim;
	return setuid(0);
}

static long
run_memory(pid_t victim)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)victim;
	if (p == MAP_FAILED)
		return -1;
	return mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static long
raise_limit(pid_t victim)
{
	struct rlimit l = {.rlim_cur = 1000, .rlim_max = 1000};

	(void)victim;
	return setrlimit(RLIMIT_NPROC, &l);
}

/* Descriptors, until there are no more: done if that was never so. */
static long
many_descriptors(pid_t victim)
{
	(void)victim;
	for (int i = 0; i < 16; i++)
		if (dup(0) < 0)
			return -1;
	return 0;
}

/* What a relay needs, and more than once: this must always be done. */
static long
allocate(pid_t victim)
{
	void *p[64];

	(void)victim;
	for (size_t i = 0; i < 64; i++) {
		p[i] = malloc((size_t)1000 << i % 14);
		if (!p[i])
			return -1;
		memset(p[i], 1, (size_t)1000 << i % 14);
	}
	for (size_t i = 0; i < 64; i++)
		free(p[i]);
	return 0;
}

static const struct {
	const char *name;
	long (*attempt)(pid_t victim);
} attempts[] = {{"open", open_file}, {"create", create_file}, {"socket", make_socket}, {"connect", connect_tcp},
    {"bind", bind_tcp}, {"abstract", connect_abstract}, {"fork", fork_child}, {"exec", exec_program}, {"ptrace", trace},
    {"mem", open_memory}, {"readv", read_memory}, {"kill", send_signal}, {"setuid", become_root}, {"run", run_memory},
    {"limit", raise_limit}, {"dup", many_descriptors}, {"allocate", allocate}};

/* Says that the handshake is over, and waits for the answer. */
static void
come_up(int channel, bool verified)
{
	const struct session session = {.protocol = "TLSv1.3",
	    .cipher = "TLS_AES_128_GCM_SHA256",
	    .has_peer = verified,
	    .hash = "SHA256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	    .subject = "CN=somebody"};
	static unsigned char message[MESSAGE_MAX];
	struct pollfd p = {.fd = channel, .events = POLLIN};

	(void)channel_send(channel, message, (size_t)message_up(message, &session));
	(void)poll(&p, 1, -1);
}

void
loop_run(struct engine *e, const struct loop_fds *fds, const struct config *config, int64_t start)
{
	static unsigned char message[MESSAGE_MAX];
	const char *name = getenv("PRISONER"), *victim = getenv("VICTIM");
	struct fault f;
	long result = -1;

	(void)e, (void)start;
	if (getenv("UP"))
		come_up(fds->channel, config->verify == VERIFY_REQUIRED);
	errno = ENOENT; /* no such attempt */
	for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
		if (name && strcmp(name, attempts[i].name) == 0)
			result = attempts[i].attempt(victim ? (pid_t)atol(victim) : monitor);
	if (result < 0)
		(void)fault_set(&f, FAULT_TLS, "%s: refused: %s", name ? name : "", strerror(errno));
	else
		(void)fault_set(&f, FAULT_TLS, "%s: done", name);
	(void)channel_send(fds->channel, message, (size_t)message_fault(message, &f));
}
