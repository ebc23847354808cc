/*
 * One loop over one channel and the signals.
 */
#include "sys/solo.h"

#include "core/environment.h"
#include "sys/channel.h"
#include "sys/fds.h"
#include "sys/log.h"
#include "sys/material.h"
#include "sys/monitor.h"
#include "sys/seal.h"
#include "sys/spawn.h"
#include "sys/terminal.h"
#include "sys/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The program's one connection. */
static struct solo {
	struct monitor monitor;
	const struct config *config;
	const struct privileges *privileges;
	struct signer *signer; /* NULL: the engine has the key */
	int ends[2];	       /* prog's of the pipes, until they are where prog expects them */
	sigset_t mask;	       /* as it was at the start */
} solo;

/* -- signals ------------------------------------------------------------- */

/* The signals that are acted on, SIGCHLD first, and what came. They are blocked but in ppoll, so nothing changes
 * unseen. */
static const int watched[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP};
static volatile sig_atomic_t told_to_end, times_told;

static void
note_signal(int signal)
{
	if (signal == SIGCHLD)
		return;
	if (!told_to_end)
		told_to_end = signal;
	times_told = times_told + 1;
}

/* What was ignored at the start stays so, as nohup(1) has it, but for SIGCHLD, which we cannot do without. */
static void
watch_signals(const int *signals, size_t n)
{
	struct sigaction noted = {.sa_handler = note_signal}, old;
	sigset_t blocked;

	(void)sigemptyset(&blocked);
	for (size_t i = 0; i < n; i++)
		(void)sigaddset(&blocked, signals[i]);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	for (size_t i = 0; i < n; i++)
		if (signals[i] == SIGCHLD || (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN))
			(void)sigaction(signals[i], &noted, NULL);
}

/* The mask at the start, but open to what the program itself needs to hear. */
static sigset_t
open_mask(void)
{
	sigset_t open = solo.mask;

	for (size_t i = 0; i < sizeof watched / sizeof *watched; i++)
		(void)sigdelset(&open, watched[i]);
	return open;
}

/* -- starting ------------------------------------------------------------ */

/* Makes channel and pipes and forks the engine. */
static int
start_engine(struct monitor *m, struct engine_context *context, struct fault *f)
{
	const struct config *c = solo.config;
	int channel[2], to_prog[2], from_prog[2];
	sigset_t mask = open_mask();
	pid_t self = getpid();

	if (channel_create(channel, f) < 0 || fds_pipe(to_prog, f) < 0 || fds_pipe(from_prog, f) < 0 ||
	    fds_nonblock(to_prog[1], f) < 0 || fds_nonblock(from_prog[0], f) < 0)
		return -1;
	m->engine = fork();
	if (m->engine < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot fork: %s", strerror(errno));
	if (m->engine == 0) {
		struct loop_fds fds = {.wire_in = m->dials ? -1 : c->rfd,
		    .wire_out = m->dials ? -1 : c->wfd,
		    .prog_in = to_prog[1],
		    .prog_out = from_prog[0],
		    .channel = channel[1],
		    .signer = solo.signer ? solo.signer->ask : -1};

		worker_run(context, &fds, c, solo.privileges, &mask, self, m->start);
	}
	m->channel = channel[0];
	solo.ends[0] = to_prog[0];
	solo.ends[1] = from_prog[1];
	fds_close(&channel[1]);
	if (solo.signer)
		fds_close(&solo.signer->ask);
	fds_close(&to_prog[1]);
	fds_close(&from_prog[0]);
	return 0;
}

/* The connection's descriptors become prog's ends of the pipes: the monitor keeps nothing of the network. */
static int
leave_network(struct fault *f)
{
	const int places[] = {solo.config->rfd, solo.config->wfd};

	for (int i = 0; i < 2; i++) {
		if (dup2(solo.ends[i], places[i]) < 0)
			return fault_set(f, FAULT_SYSTEM, "cannot move a pipe: %s", strerror(errno));
		fds_close(&solo.ends[i]);
	}
	return 0;
}

/* Where no program was given, a child of ours takes its place between the pipes and the terminal. */
static int
spawn_terminal(struct monitor *m)
{
	const struct config *c = solo.config;

	m->prog = fork();
	if (m->prog == 0)
		terminal_run(c->rfd, c->wfd, c->log_fd, solo.privileges, &solo.mask);
	if (m->prog > 0)
		return 0;
	m->prog = 0;
	return errno;
}

static int
spawn_prog(struct monitor *m, const struct session *session)
{
	const struct config *c = solo.config;
	char **env = environment_plan(environ, session, m->dials ? &m->tcp : NULL, c->local_name, c->keep, NULL);
	struct spawn how = {.argv = c->prog, .env = env, .mask = &solo.mask, .in = -1, .out = -1};
	int error = env ? spawn(&how, &m->prog) : ENOMEM;

	free(env);
	return error;
}

/* What is prog's alone from now on: who waits for the end of its output must not wait for us. */
static void
leave_to_prog(void)
{
	const int fds[] = {STDIN_FILENO, STDOUT_FILENO, solo.config->rfd, solo.config->wfd};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] != solo.config->log_fd)
			(void)close(fds[i]);
}

/* Runs prog with what it is to know, and gives up what is not needed for the rest. */
static int
run(struct monitor *m, const struct session *session, struct fault *f)
{
	bool given = solo.config->prog != NULL;
	int error = given ? spawn_prog(m, session) : spawn_terminal(m);

	leave_to_prog();
	if (error)
		return fault_set(f, FAULT_SYSTEM, "cannot run %s: %s", given ? solo.config->prog[0] : "the terminal",
		    strerror(error));
	m->outcome.ran = true;
	log_line(LOG_LEVEL_DEBUG, "event=start prog=%ld", (long)m->prog);
	if (privileges_drop(solo.privileges, f) < 0 || seal_monitor(f) < 0)
		return -1;
	monitor_tell(m, MSG_RUN);
	return 0;
}

static void
forget_key(struct monitor *m)
{
	(void)m;
	if (solo.signer)
		signer_close(solo.signer);
}

/*
 * The connection ends with an engine that asks for anything but its one
 * signature. When the handshake is over, or can come to nothing any more, there
 * is none at all.
 */
static void
serve_signer(struct monitor *m)
{
	struct fault f;

	if (!solo.signer || solo.signer->answer < 0)
		return;
	if (m->up || m->reported || m->channel < 0 || m->outcome.signal || m->outcome.fault != FAULT_NONE) {
		forget_key(m);
		return;
	}
	if (signer_serve(solo.signer, &f) < 0)
		monitor_distrust(m, f.code, f.text);
}

/* Whoever it is: children that came with the exec are reaped, and that is all. */
static void
reap(struct monitor *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == m->engine)
			monitor_engine_exited(m, status);
		else if (pid == m->prog)
			monitor_prog_exited(m, status);
	}
}

/* Acts on the first signal; a second one means now. Returns whether to go on. */
static bool
heed_signals(struct monitor *m)
{
	if (!told_to_end)
		return true;
	monitor_stop(m, told_to_end);
	if (times_told < 2)
		return true;
	if (m->engine)
		(void)kill(m->engine, SIGKILL);
	return false;
}

/* Children first: what an engine said before it died is heard when its death is known. */
static void
watch(struct monitor *m)
{
	sigset_t open = open_mask();

	while (m->engine || m->prog) {
		int64_t ms = monitor_keep_time(m);
		struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
		struct pollfd p[] = {{.fd = m->channel, .events = POLLIN},
		    {.fd = solo.signer ? solo.signer->answer : -1, .events = POLLIN}};

		(void)ppoll(p, 2, ms >= 0 ? &wait : NULL, &open);
		reap(m);
		monitor_hear(m);
		if (!heed_signals(m))
			return;
		serve_signer(m); /* last: behind all that speaks against it */
	}
}

/* With the engine on its own, the key is read; the engine begins when that is in order. */
static int
get_ready(const struct blob *leaf, struct fault *f)
{
	struct blob key = {0};

	if (solo.signer) {
		if (material_load_key(&key, f) < 0)
			return -1;
		solo.signer->key = engine_key_load(&key, leaf, f);
		blob_wipe(&key);
		if (!solo.signer->key)
			return -1;
	}
	return leave_network(f);
}

/* Returns 0, or -1 with *f and nothing left running. */
static int
begin(struct monitor *m, const struct connection *c, struct fault *f)
{
	int code = start_engine(m, c->context, f);

	engine_context_free(c->context);
	if (code == 0)
		code = get_ready(c->leaf, f);
	if (code < 0 && m->engine > 0) {
		(void)kill(m->engine, SIGKILL);
		(void)waitpid(m->engine, NULL, 0);
	}
	return code;
}

static const struct monitor_owner owner = {.run = run, .forget_key = forget_key, .failure = LOG_LEVEL_FATAL};

int
solo_run(const struct connection *c)
{
	struct monitor *m = &solo.monitor;
	struct fault f;

	monitor_begin(m, c->config, &owner, c->start);
	solo.config = c->config;
	solo.privileges = c->privileges;
	solo.signer = c->signer;
	(void)sigprocmask(SIG_BLOCK, NULL, &solo.mask);
	watch_signals(watched, 1);
	if (begin(m, c, &f) < 0) {
		log_fault(&f);
		return (int)f.code;
	}
	monitor_tell_weakness(c->config, c->privileges);
	/* Only now, so that any of them ends a program that waits for its key to be read. */
	watch_signals(watched + 1, sizeof watched / sizeof *watched - 1);
	monitor_tell(m, MSG_START);
	log_line(LOG_LEVEL_DEBUG, "event=fork engine=%ld", (long)m->engine);
	watch(m);
	return monitor_end(m);
}
