/*
 * One loop over one channel and the signals. What the engine says is checked
 * before it is believed; an engine that talks nonsense is killed.
 */
#include "sys/monitor.h"

#include "core/environment.h"
#include "core/message.h"
#include "core/verdict.h"
#include "sys/channel.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/log.h"
#include "sys/material.h"
#include "sys/peer.h"
#include "sys/seal.h"
#include "sys/terminal.h"
#include "sys/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct monitor {
	const struct config *config;
	const struct privileges *privileges;
	struct signer *signer; /* NULL: the engine has the key */
	int64_t start;
	int channel;	    /* to the engine; -1 when it has hung up */
	int ends[2];	    /* prog's of the pipes, until they are where prog expects them */
	pid_t engine, prog; /* 0: not running */
	bool dials;	    /* the engine makes the connection, */
	bool connected;	    /* and has, */
	int64_t dial_by;    /* by this moment at most; -1: whenever */
	struct ucspi tcp;   /* to there */
	bool up;	    /* the engine has reported the handshake */
	bool reported;	    /* the engine has said how it ended */
	bool asked;	    /* the engine asked once whether prog has exited */
	int64_t answer_at;  /* when to answer that prog lives; -1: not asked, or answered */
	int64_t patience;   /* when an engine that should be gone is killed; -1: it may live */
	bool killed;	    /* it was */
	struct report report;
	struct outcome outcome;
	sigset_t mask; /* as it was at the start */
};

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

static void
watch_signals(const int *signals, size_t n)
{
	struct sigaction noted = {.sa_handler = note_signal};
	sigset_t blocked;

	(void)sigemptyset(&blocked);
	for (size_t i = 0; i < n; i++)
		(void)sigaddset(&blocked, signals[i]);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	for (size_t i = 0; i < n; i++)
		(void)sigaction(signals[i], &noted, NULL);
}

/* The mask at the start, but open to what the program itself needs to hear. */
static sigset_t
open_mask(const struct monitor *m)
{
	sigset_t open = m->mask;

	for (size_t i = 0; i < sizeof watched / sizeof *watched; i++)
		(void)sigdelset(&open, watched[i]);
	return open;
}

/* -- starting ------------------------------------------------------------ */

/* A failure of the connection; the first one is the one that is told. */
static void
give_fault(struct monitor *m, enum fault_code code, const char *text)
{
	if (m->outcome.fault != FAULT_NONE)
		return;
	m->outcome.fault = code;
	log_line(LOG_LEVEL_FATAL, "%s", text);
}

/* Makes channel and pipes and forks the engine. */
static int
start_engine(struct monitor *m, struct engine_context *context, struct fault *f)
{
	int channel[2], to_prog[2], from_prog[2];
	sigset_t mask = open_mask(m);
	pid_t self = getpid();

	if (channel_create(channel, f) < 0 || fds_pipe(to_prog, f) < 0 || fds_pipe(from_prog, f) < 0 ||
	    fds_nonblock(to_prog[1], f) < 0 || fds_nonblock(from_prog[0], f) < 0)
		return -1;
	m->engine = fork();
	if (m->engine < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot fork: %s", strerror(errno));
	if (m->engine == 0) {
		struct loop_fds fds = {.wire_in = m->dials ? -1 : m->config->rfd,
		    .wire_out = m->dials ? -1 : m->config->wfd,
		    .prog_in = to_prog[1],
		    .prog_out = from_prog[0],
		    .channel = channel[1],
		    .signer = m->signer ? m->signer->ask : -1};

		worker_run(context, &fds, m->config, m->privileges, &mask, self, m->start);
	}
	m->channel = channel[0];
	m->ends[0] = to_prog[0];
	m->ends[1] = from_prog[1];
	fds_close(&channel[1]);
	if (m->signer)
		fds_close(&m->signer->ask);
	fds_close(&to_prog[1]);
	fds_close(&from_prog[0]);
	return 0;
}

/* The connection's descriptors become prog's ends of the pipes: the monitor keeps nothing of the network. */
static int
leave_network(struct monitor *m, struct fault *f)
{
	const int places[] = {m->config->rfd, m->config->wfd};

	for (int i = 0; i < 2; i++) {
		if (dup2(m->ends[i], places[i]) < 0)
			return fault_set(f, FAULT_SYSTEM, "cannot move a pipe: %s", strerror(errno));
		fds_close(&m->ends[i]);
	}
	return 0;
}

/* prog starts as this program did: its mask, and default dispositions. Returns 0 or an errno. */
static int
spawn(struct monitor *m, char *const *argv, char *const *env)
{
	posix_spawnattr_t attr;
	sigset_t all;
	int error = posix_spawnattr_init(&attr);

	if (error)
		return error;
	(void)sigfillset(&all);
	error = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	if (!error)
		error = posix_spawnattr_setsigdefault(&attr, &all);
	if (!error)
		error = posix_spawnattr_setsigmask(&attr, &m->mask);
	if (!error)
		error = posix_spawnp(&m->prog, argv[0], NULL, &attr, argv, env);
	(void)posix_spawnattr_destroy(&attr);
	if (error)
		m->prog = 0;
	return error;
}

/* What execvp does with a script that names no interpreter, and posix_spawnp does not. */
static int
spawn_script(struct monitor *m, char *const *env)
{
	static char *const shell[] = {"/bin/sh", "-c", "exec \"$0\" \"$@\""};
	size_t n = 0;
	char **argv;
	int error;

	while (m->config->prog[n])
		n++;
	argv = malloc((3 + n + 1) * sizeof *argv);
	if (!argv)
		return ENOMEM;
	memcpy(argv, shell, sizeof shell);
	memcpy(argv + 3, m->config->prog, (n + 1) * sizeof *argv);
	error = spawn(m, argv, env);
	free(argv);
	return error;
}

/* Where no program was given, a child of ours takes its place between the pipes and the terminal. */
static int
spawn_terminal(struct monitor *m)
{
	m->prog = fork();
	if (m->prog == 0)
		terminal_run(m->config->rfd, m->config->wfd, m->config->log_fd, m->privileges, &m->mask);
	if (m->prog > 0)
		return 0;
	m->prog = 0;
	return errno;
}

static int
spawn_prog(struct monitor *m, const struct session *session)
{
	const struct config *c = m->config;
	char **env = environment_plan(environ, session, m->dials ? &m->tcp : NULL, c->local_name, c->keep);
	int error = env ? spawn(m, c->prog, env) : ENOMEM;

	if (error == ENOEXEC)
		error = spawn_script(m, env);
	free(env);
	return error;
}

/* What is prog's alone from now on: who waits for the end of its output must not wait for us. */
static void
leave_to_prog(const struct monitor *m)
{
	const int fds[] = {STDIN_FILENO, STDOUT_FILENO, m->config->rfd, m->config->wfd};

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] != m->config->log_fd)
			(void)close(fds[i]);
}

/* Runs prog with what it is to know, and gives up what is not needed for the rest. */
static int
start_prog(struct monitor *m, const struct session *session, struct fault *f)
{
	bool given = m->config->prog != NULL;
	int error = given ? spawn_prog(m, session) : spawn_terminal(m);

	leave_to_prog(m);
	if (error)
		return fault_set(
		    f, FAULT_SYSTEM, "cannot run %s: %s", given ? m->config->prog[0] : "the terminal", strerror(error));
	m->outcome.ran = true;
	log_line(LOG_LEVEL_DEBUG, "event=start prog=%ld", (long)m->prog);
	return privileges_drop(m->privileges, f) < 0 ? -1 : seal_monitor(f);
}

/* -- the engine, told and watched ----------------------------------------- */

/* An engine that should be gone and is not has been taken over, or is stuck. */
enum { PATIENCE_MS = 5000 };

static void
expect_exit(struct monitor *m, int64_t ms)
{
	int64_t at = clock_ms() + ms;

	if (m->patience < 0 || at < m->patience)
		m->patience = at;
}

/* Tells the engine. One that does not read what it is told is not ours any more; one that hung up is seen by that. */
static void
tell(struct monitor *m, enum message_type type)
{
	if (m->channel >= 0 && channel_tell(m->channel, type) < 0 && errno == EAGAIN)
		expect_exit(m, 0);
}

/* -- the engine's messages ----------------------------------------------- */

/* Appends " key=value" where there is a value; "quote" is put around it. Returns the length with it. */
static size_t
add_word(char *out, size_t size, size_t n, bool there, const char *key, const char *quote, const char *value)
{
	int added = there ? snprintf(out + n, size - n, " %s=%s%s%s", key, quote, value, quote) : 0;

	return added > 0 && (size_t)added < size - n ? n + (size_t)added : n;
}

static void
log_handshake(const struct monitor *m, const struct session *s)
{
	static char words[2 * SESSION_MAX];
	size_t n = 0;

	words[0] = '\0';
	n = add_word(words, sizeof words, n, s->has_sni, "sni", "", s->sni);
	n = add_word(words, sizeof words, n, s->has_peer, "subject", "\"", s->subject);
	n = add_word(words, sizeof words, n, s->has_names, "names", "\"", s->names);
	(void)add_word(words, sizeof words, n, s->has_names, "expires", "", s->expires);
	log_line(LOG_LEVEL_INFO, "event=handshake protocol=%s cipher=%s%s ms=%" PRId64, s->protocol, s->cipher, words,
	    clock_ms() - m->start);
}

/* The time of the connection counts from here. */
static void
take_connected(struct monitor *m)
{
	char peer[128];

	m->connected = true;
	m->dial_by = -1;
	m->start = clock_ms();
	peer_format(m->tcp.remote_ip, m->tcp.remote_port, peer, sizeof peer);
	log_peer(peer);
	log_line(LOG_LEVEL_DEBUG, "event=connect local=%s port=%s", m->tcp.local_ip, m->tcp.local_port);
}

static void
forget_key(struct monitor *m)
{
	if (m->signer)
		signer_close(m->signer);
}

static void
take_up(struct monitor *m, const struct session *session)
{
	struct fault f;

	m->up = true;
	forget_key(m);
	if (!m->engine)
		return; /* it died meanwhile: prog never runs */
	if (m->outcome.signal || m->outcome.fault != FAULT_NONE) {
		tell(m, MSG_NOT_RUN);
		return;
	}
	log_handshake(m, session);
	if (start_prog(m, session, &f) == 0) {
		tell(m, MSG_RUN);
		return;
	}
	give_fault(m, f.code, f.text);
	tell(m, MSG_NOT_RUN);
}

static void
take_end(struct monitor *m)
{
	struct relay ended = {.end = m->report.end};

	m->reported = true;
	expect_exit(m, PATIENCE_MS);
	if (m->outcome.signal || m->outcome.fault != FAULT_NONE)
		return;
	if (relay_failed(&ended))
		give_fault(m, FAULT_TLS, m->report.text[0] ? m->report.text : "engine ended without a reason");
	else if (!m->outcome.ran)
		give_fault(m, FAULT_TLS, "engine ended before the handshake");
}

/* One message of n bytes. Returns whether it was one that may come now. */
static bool
take_message(struct monitor *m, const unsigned char *message, size_t n)
{
	static struct session session;
	struct span in = {message, n};
	struct fault f;

	switch (message[0]) {
	case MSG_UP:
		if (m->up || m->reported || m->dials != m->connected || message_read_up(in, &session) < 0)
			return false;
		take_up(m, &session);
		return true;
	case MSG_CONNECTED:
		if (!m->dials || m->connected || m->reported || message_read_connected(in, &m->tcp) < 0)
			return false;
		take_connected(m);
		return true;
	case MSG_END:
		if (m->reported || message_read_end(in, &m->report) < 0)
			return false;
		take_end(m);
		return true;
	case MSG_FAULT:
		if (m->up || m->reported || message_read_fault(in, &f) < 0)
			return false;
		m->reported = true;
		expect_exit(m, (int64_t)m->config->linger_ms + PATIENCE_MS);
		give_fault(m, f.code, f.text);
		return true;
	case MSG_ASK:
	case MSG_ASK_PATIENTLY:
		if (!m->outcome.ran || m->asked || m->reported || n != 1)
			return false;
		m->asked = true;
		m->answer_at = clock_ms() + (message[0] == MSG_ASK ? 0 : ASK_PATIENCE_MS);
		return true;
	default: return false;
	}
}

/* Takes everything that waits in the channel. */
static void
read_channel(struct monitor *m)
{
	static unsigned char message[MESSAGE_MAX];
	long n;

	while (m->channel >= 0 && (n = channel_receive(m->channel, message)) != 0) {
		if (n > 0 && take_message(m, message, (size_t)n))
			continue;
		if (n != -1)
			give_fault(m, FAULT_TLS, "engine sent a malformed message");
		expect_exit(m, n == -1 ? PATIENCE_MS : 0);
		fds_close(&m->channel);
	}
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

	if (!m->signer || m->signer->answer < 0)
		return;
	if (m->up || m->reported || m->channel < 0 || m->outcome.signal || m->outcome.fault != FAULT_NONE) {
		forget_key(m);
		return;
	}
	if (signer_serve(m->signer, &f) == 0)
		return;
	forget_key(m);
	give_fault(m, f.code, f.text);
	expect_exit(m, 0);
	fds_close(&m->channel);
}

/* -- children ------------------------------------------------------------ */

static void
engine_exited(struct monitor *m, int status)
{
	char text[64];

	m->engine = 0;
	forget_key(m);
	read_channel(m);
	fds_close(&m->channel);
	if (m->reported || m->outcome.signal)
		return;
	if (WIFSIGNALED(status))
		(void)snprintf(text, sizeof text, "engine died (signal %d)", WTERMSIG(status));
	else
		(void)snprintf(text, sizeof text, "engine died (exit code %d)", WEXITSTATUS(status));
	give_fault(m, FAULT_TLS, text);
}

static void
prog_exited(struct monitor *m, int status)
{
	m->prog = 0;
	m->outcome.status = status;
	log_line(LOG_LEVEL_DEBUG, "event=exit %s=%d", WIFSIGNALED(status) ? "signal" : "code",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	m->answer_at = -1; /* this is the answer */
	tell(m, MSG_EXITED);
}

/* Whoever it is: children that came with the exec are reaped, and that is all. */
static void
reap(struct monitor *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == m->engine)
			engine_exited(m, status);
		else if (pid == m->prog)
			prog_exited(m, status);
	}
}

/* -- the end ------------------------------------------------------------- */

/* Acts on the first signal; a second one means now. Returns whether to go on. */
static bool
heed_signals(struct monitor *m)
{
	if (!told_to_end)
		return true;
	if (!m->outcome.signal) {
		m->outcome.signal = told_to_end;
		tell(m, MSG_STOP);
		/* Who still makes a connection has nobody to end it with, and does not listen. */
		expect_exit(m, m->dials && !m->connected ? 0 : (int64_t)m->config->linger_ms + PATIENCE_MS);
		if (m->prog)
			(void)kill(m->prog, told_to_end); /* fails where the ids do not allow it: prog has its EOF */
	}
	if (times_told < 2)
		return true;
	if (m->engine)
		(void)kill(m->engine, SIGKILL);
	return false;
}

static void
log_end(const struct monitor *m, int code)
{
	const struct report *r = &m->report;

	log_line(LOG_LEVEL_INFO, "event=end by=%s how=%s in=%" PRIu64 " out=%" PRIu64 " ms=%" PRId64 " %s=%d",
	    relay_end_by(r->end), m->reported ? relay_end_how(r->end) : "engine-died", r->in, r->out,
	    clock_ms() - m->start, code < 0 ? "signal" : "code", code < 0 ? -code : code);
}

/* It is too late for a connection, but for one that the engine has told of by now. */
static void
give_up_dialing(struct monitor *m)
{
	char text[FAULT_TEXT];

	read_channel(m);
	if (m->connected)
		return;
	m->dial_by = -1;
	(void)snprintf(text, sizeof text, "cannot connect to %s port %s: not done, look-ups included, after %d s",
	    m->config->host, m->config->port, m->config->connect_s);
	give_fault(m, FAULT_SYSTEM, text);
	expect_exit(m, 0);
}

/* The sooner of two times left; -1: never. */
static int64_t
sooner(int64_t a, int64_t b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static int64_t
left(int64_t at, int64_t now)
{
	return at < 0 ? -1 : at > now ? at - now : 0;
}

/* Does what it is time for. Returns the time until the next such moment in ms, or -1. */
static int64_t
keep_time(struct monitor *m)
{
	int64_t now = clock_ms(), next;

	if (m->answer_at >= 0 && now >= m->answer_at) {
		m->answer_at = -1;
		tell(m, MSG_ALIVE);
	}
	if (m->dial_by >= 0 && now >= m->dial_by)
		give_up_dialing(m);
	if (m->engine && m->patience >= 0 && now >= m->patience && !m->killed) {
		m->killed = true;
		(void)kill(m->engine, SIGKILL);
	}
	next = sooner(left(m->answer_at, now), left(m->dial_by, now));
	return m->engine && !m->killed ? sooner(next, left(m->patience, now)) : next;
}

/* Children first: what an engine said before it died is heard when its death is known. */
static void
watch(struct monitor *m)
{
	sigset_t open = open_mask(m);

	while (m->engine || m->prog) {
		int64_t ms = keep_time(m);
		struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
		struct pollfd p[] = {
		    {.fd = m->channel, .events = POLLIN}, {.fd = m->signer ? m->signer->answer : -1, .events = POLLIN}};

		(void)ppoll(p, 2, ms >= 0 ? &wait : NULL, &open);
		reap(m);
		read_channel(m);
		if (!heed_signals(m))
			return;
		serve_signer(m); /* last: behind all that speaks against it */
	}
}

/* With the engine on its own, the key is read; the engine begins when that is in order. */
static int
get_ready(struct monitor *m, const struct blob *leaf, struct fault *f)
{
	struct blob key = {0};

	if (m->signer) {
		if (material_load_key(&key, f) < 0)
			return -1;
		m->signer->key = engine_key_load(&key, leaf, f);
		blob_wipe(&key);
		if (!m->signer->key)
			return -1;
	}
	return leave_network(m, f);
}

/* Returns 0, or -1 with *f and nothing left running. */
static int
begin(struct monitor *m, const struct connection *c, struct fault *f)
{
	int code = start_engine(m, c->context, f);

	engine_context_free(c->context);
	if (code == 0)
		code = get_ready(m, c->leaf, f);
	if (code < 0 && m->engine > 0) {
		(void)kill(m->engine, SIGKILL);
		(void)waitpid(m->engine, NULL, 0);
	}
	return code;
}

/* Of what protects the key and the machine, what is not there. */
static void
tell_weakness(const struct monitor *m)
{
	if (m->privileges->root && !m->privileges->drop)
		log_line(LOG_LEVEL_INFO,
		    "TLS_UID and TLS_GID are not set: the engine keeps uid 0, without capabilities and groups");
	if (m->config->certificate && !m->signer)
		log_line(LOG_LEVEL_INFO, "the engine holds the private key: %s cannot sign elsewhere",
		    engine_backend_name());
}

int
monitor_run(const struct connection *c)
{
	struct monitor m = {.config = c->config,
	    .privileges = c->privileges,
	    .signer = c->signer,
	    .start = c->start,
	    .channel = -1,
	    .dials = c->config->host != NULL,
	    .dial_by = c->config->connect_s ? c->start + (int64_t)c->config->connect_s * 1000 : -1,
	    .answer_at = -1,
	    .patience = -1};
	struct fault f;
	int code;

	(void)sigprocmask(SIG_BLOCK, NULL, &m.mask);
	watch_signals(watched, 1);
	if (begin(&m, c, &f) < 0) {
		log_fault(&f);
		return (int)f.code;
	}
	tell_weakness(&m);
	/* Only now, so that any of them ends a program that waits for its key to be read. */
	watch_signals(watched + 1, sizeof watched / sizeof *watched - 1);
	tell(&m, MSG_START);
	log_line(LOG_LEVEL_DEBUG, "event=fork engine=%ld", (long)m.engine);
	watch(&m);
	code = verdict(&m.outcome);
	log_end(&m, code);
	return code;
}
