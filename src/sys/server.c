/*
 * One loop, in which nothing waits for one connection. What there is to wait
 * for is in one epoll set; what is told to a connection is in monitor.c.
 */
#include "sys/server.h"

#include "sys/access.h"
#include "sys/channel.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/log.h"
#include "sys/lookup.h"
#include "sys/serving.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

/* -- signals ------------------------------------------------------------- */

static const int watched[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGABRT, SIGUSR1};
static volatile sig_atomic_t told[NSIG];

static void
note_signal(int signal)
{
	told[signal] = told[signal] + 1;
}

static void
watch_signals(void)
{
	struct sigaction noted = {.sa_handler = note_signal};
	sigset_t blocked;

	(void)sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
		(void)sigaddset(&blocked, watched[i]);
		(void)sigaction(watched[i], &noted, NULL);
	}
	(void)sigprocmask(SIG_BLOCK, &blocked, &server.mask);
}

sigset_t
serving_open_mask(void)
{
	sigset_t open = server.mask;

	for (size_t i = 0; i < sizeof watched / sizeof *watched; i++)
		(void)sigdelset(&open, watched[i]);
	return open;
}

/* How often it came since the last time it was asked. */
static int
heard(int signal)
{
	int n = told[signal];

	told[signal] = told[signal] - n;
	return n;
}

bool
serving_interrupted(void)
{
	return told[SIGTERM] || told[SIGINT] || told[SIGQUIT] || told[SIGABRT];
}

/* -- children ------------------------------------------------------------ */

/* What it said of its end may not have been heard yet. */
static void
first_exited(const struct link *l)
{
	static unsigned char message[MESSAGE_MAX];
	long n = l->monitor.channel < 0 ? -1 : channel_receive(l->monitor.channel, message);

	if (n <= 0 || message_read_fault((struct span){message, (size_t)n}, &server.fault) < 0)
		(void)fault_set(&server.fault, FAULT_ENGINE, "the first engine died");
}

/* An engine without a connection that ends by itself will do so again. */
static void
spare_exited(const struct link *l)
{
	if (server.starting && server.fault.code == FAULT_NONE)
		first_exited(l);
	if (l->stage == STAGE_SPARE && !server.starting && ++server.spares_lost > SPARES_LOST)
		serving_back_off("engines end before they have a connection", RETRY_MS);
}

static void
engine_exited(struct link *l, int status, const struct rusage *usage)
{
	log_line(
	    LOG_LEVEL_DEBUG, "event=exit engine=%ld faults=%ld", (long)l->engine, usage->ru_minflt + usage->ru_majflt);
	if (l->peer[0]) {
		monitor_engine_exited(&l->monitor, status);
		return;
	}
	l->monitor.engine = 0;
	spare_exited(l);
}

static void
lookup_exited(struct link *l)
{
	l->asks = 0;
	if (l->stage == STAGE_OVER || l->named)
		return;
	if (l->lookup.fd >= 0)
		(void)lookup_take(l->lookup.fd, &l->monitor.tcp);
	admit_names(l);
}

/* Whoever it is: children that came with the exec are reaped, and that is all. */
static void
reap(void)
{
	struct rusage usage;
	struct child *c;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
		c = link_take_child(pid);
		if (!c) {
			certs_exited(pid);
			continue;
		}
		serving_speak_of(c->link);
		switch (c->kind) {
		case CHILD_ENGINE: engine_exited(c->link, status, &usage); break;
		case CHILD_PROG: monitor_prog_exited(&c->link->monitor, status); break;
		case CHILD_LOOKUP: lookup_exited(c->link); break;
		}
		link_settle(c->link);
	}
}

/* -- what is told to us ---------------------------------------------------- */

/* Prog hears of it each time, also one that is stopped. */
static void
stop_link(struct link *l)
{
	struct monitor *m = &l->monitor;

	if (!l->peer[0])
		return;
	serving_speak_of(l);
	if (m->outcome.signal && m->prog)
		(void)kill(m->prog, SIGTERM);
	monitor_stop(m, SIGTERM);
	if (m->prog)
		(void)kill(m->prog, SIGCONT);
	link_settle(l);
}

static void
kill_link(struct link *l)
{
	monitor_kill(&l->monitor);
}

/* First connections go on; then they are ended; then nothing is asked. */
static void
end(int how)
{
	server.ending += how;
	admit_none();
	fds_close(&server.held);
	spare_drop(true, NULL);
	if (server.ending > 1)
		links_each(stop_link);
	if (server.ending > 2)
		links_each(kill_link);
}

static void
heed_signals(void)
{
	int n;

	if ((n = heard(SIGTERM)) > 0)
		end(n);
	if ((n = heard(SIGQUIT) + heard(SIGINT)) > 0)
		end(n + (server.ending == 0));
	if (heard(SIGHUP))
		links_each(stop_link);
	if (heard(SIGABRT))
		end(3);
	if (heard(SIGUSR1) && !server.ending)
		certs_reload();
}

/* The server is up when its first engine is. */
static void
be_ready(void)
{
	const int keep[] = {STDERR_FILENO, server.config->log_fd};
	char ip[UCSPI_IP], port[UCSPI_PORT];

	server.starting = false;
	listen_place(&server.listening, ip, port);
	log_line(LOG_LEVEL_INFO, "event=start pid=%ld local=%s port=%s connections=%d", (long)getpid(), ip, port,
	    server.config->connections);
	listen_announce(&server.listening, server.config);
	/* Who reads the port is told that there is no more. */
	(void)fds_silence(keep, sizeof keep / sizeof *keep, &(struct fault){0});
}

/* -- the loop -------------------------------------------------------------- */

/* The one thing an engine says before it has a connection is taken here. */
static void
hear_spare(struct link *l)
{
	static unsigned char message[MESSAGE_MAX];
	struct fault f;
	long n = channel_receive(l->monitor.channel, message);

	if (n == 0)
		return;
	if (n == 1 && message[0] == MSG_READY && !l->monitor.ready) {
		l->monitor.ready = true;
		if (server.starting)
			be_ready();
		return;
	}
	if (n > 0 && message_read_fault((struct span){message, (size_t)n}, &f) == 0) {
		if (server.starting)
			server.fault = f;
		else if (server.spares_lost == 0)
			monitor_fail(&l->monitor, f.code, f.text);
	}
	serving_forget(&l->channel); /* its end comes next */
	fds_close(&l->monitor.channel);
	(void)kill(l->engine, SIGKILL);
}

static void
hear_link(struct link *l)
{
	serving_speak_of(l);
	if (l->stage == STAGE_SPARE)
		hear_spare(l);
	else
		monitor_hear(&l->monitor);
	link_settle(l);
}

#define LINK_OF(source, member) ((struct link *)(void *)((char *)(source)-offsetof(struct link, member)))

static void
take_event(struct source *s)
{
	struct link *l;

	if (s->fd < 0)
		return; /* an event before this one was its end */
	switch (s->kind) {
	case SOURCE_LISTENER: admit_all(s->fd); break;
	case SOURCE_SIGNER: certs_hear(s); break;
	case SOURCE_CHANNEL: hear_link(LINK_OF(s, channel)); break;
	case SOURCE_LOOKUP:
		l = LINK_OF(s, lookup);
		serving_speak_of(l);
		if (lookup_take(s->fd, &l->monitor.tcp) > 0)
			admit_names(l);
		link_settle(l);
		break;
	}
}

/* Does what it is time for in links. Returns the moment of the next such thing, or -1. */
static int64_t
keep_time(void)
{
	int64_t now = clock_ms(), next = -1;
	struct link *following;

	for (struct link *l = server.timed; l; l = following) {
		following = l->out;
		if (l->due <= now) {
			serving_speak_of(l);
			if (l->named_by >= 0 && l->named_by <= now)
				admit_names(l);
			if (l->run_at >= 0 && l->run_at <= now) {
				link_put_off(l, -1);
				monitor_run_prog(&l->monitor);
			}
			link_settle(l);
		}
		if (l->timed)
			next = sooner(next, l->due);
	}
	return next;
}

static void
refill(void)
{
	while (!server.ending && server.put_off == 0 &&
	       server.spares < (server.starting && server.config->spare < 1 ? 1 : server.config->spare) &&
	       serving_calm() && spare_add())
		;
}

static int64_t
next_moment(void)
{
	int64_t at = keep_time();

	if (!server.ending)
		at = sooner(at, sooner(server.look_at, server.mend_at));
	return !serving_calm() && !server.ending ? sooner(at, server.calm_at) : at;
}

static void
turn(const sigset_t *open)
{
	struct epoll_event events[EVENTS];
	sigset_t blocked;
	int64_t at = next_moment(), ms = at < 0 ? -1 : at - clock_ms();
	int n = epoll_pwait(server.epoll, events, EVENTS, ms < 0 ? (at < 0 ? -1 : 0) : (int)ms, open);

	/* Where there are events, epoll_pwait does not open the mask. */
	(void)sigprocmask(SIG_SETMASK, open, &blocked);
	(void)sigprocmask(SIG_SETMASK, &blocked, NULL);
	if (heard(SIGCHLD))
		reap();
	heed_signals();
	for (int i = 0; i < n; i++)
		take_event(events[i].data.ptr);
	certs_mend();
	certs_look();
	serving_make_way();
	admit_held();
	refill();
	admit_while(!server.starting && admit_has_room());
	links_free();
}

/* -- starting -------------------------------------------------------------- */

/* Raises the limit of descriptors to what there may be; says how many connections that is enough for. */
static int
get_descriptors(struct fault *f)
{
	enum { OURS = 64 + LISTEN_MAX };
	const struct config *c = server.config;
	rlim_t each = c->no_lookup ? 1 : 2, needed;
	struct rlimit raised;

	if (getrlimit(RLIMIT_NOFILE, &server.files) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot read the limit of open files: %s", strerror(errno));
	raised = (struct rlimit){.rlim_cur = server.files.rlim_max, .rlim_max = server.files.rlim_max};
	if (setrlimit(RLIMIT_NOFILE, &raised) < 0)
		raised = server.files;
	needed = OURS + (rlim_t)c->spare + each * (rlim_t)c->connections;
	if (raised.rlim_cur < needed)
		return fault_set(f, FAULT_SYSTEM, "-c %d needs %llu open files, and the limit (RLIMIT_NOFILE) is %llu",
		    c->connections, (unsigned long long)needed, (unsigned long long)raised.rlim_cur);
	return 0;
}

static int
listen_here(struct fault *f)
{
	for (size_t i = 0; i < server.listening.n; i++)
		if (serving_watch(&server.listeners[i], SOURCE_LISTENER, server.listening.fd[i], 0) < 0)
			return fault_set(f, FAULT_SYSTEM, "cannot wait for connections: %s", strerror(errno));
	certs_watch(server.now);
	return 0;
}

static int
start(struct fault *f)
{
	const struct config *c = server.config;
	int others = privileges_identity(server.privileges, c, &server.identity, f);

	if (others < 0 || get_descriptors(f) < 0 || listen_open(&server.listening, c, f) < 0)
		return -1;
	server.others = others > 0;
	if (c->rules && (server.rules = access_open(c->rules, f)) < 0)
		return -1;
	/* One more than may be used: an engine's end is reaped a moment later. */
	if (links_make(2 * ((size_t)c->connections + (size_t)c->spare) + 16, f) < 0)
		return -1;
	server.children = serving_own_memory(PIDS * sizeof(struct child *), f);
	server.clients = serving_own_memory(clients_size((size_t)c->connections + 1), f);
	if (!server.children || !server.clients)
		return -1;
	clients_init(server.clients, (size_t)c->connections + 1);
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (server.epoll < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot get ready: %s", strerror(errno));
	if (privileges_narrow(server.privileges, f) < 0 || certs_load(f) < 0)
		return -1;
	return listen_here(f);
}

static int
fail(const struct fault *f)
{
	generation_end(server.now);
	log_fault(f);
	return (int)f->code;
}

int
server_run(const struct config *config, const struct privileges *privileges)
{
	struct fault f;
	sigset_t open;

	server.config = config;
	server.privileges = privileges;
	server.rules = -1;
	server.asking = (struct signer){.ask = -1, .answer = -1};
	server.mend_at = -1;
	server.held = -1;
	server.starting = true;
	for (size_t i = 0; i < sizeof server.signers / sizeof *server.signers; i++)
		server.signers[i].fd = -1;
	watch_signals();
	open = serving_open_mask();
	if (start(&f) < 0) {
		if (!serving_interrupted())
			return fail(&f);
		generation_end(server.now);
		return 0;
	}
	monitor_tell_weakness(config, privileges);
	refill();
	while ((!server.ending || server.live > 0) && server.fault.code == FAULT_NONE && server.ending < 3)
		turn(&open);
	if (server.fault.code != FAULT_NONE)
		return fail(&server.fault);
	generation_end(server.now);
	return 0;
}
