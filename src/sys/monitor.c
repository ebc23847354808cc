/*
 * Facts of one connection, in the order in which they come: the handshake, prog,
 * the end; and the clocks of an engine that should have come to it.
 */
#include "sys/monitor.h"

#include "core/session.h"
#include "engine/engine.h"
#include "sys/channel.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/peer.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

void
monitor_tell_weakness(const struct config *config, const struct privileges *privileges)
{
	if (privileges->root && !privileges->drop)
		log_line(LOG_LEVEL_INFO,
		    "TLS_UID and TLS_GID are not set: the engine keeps uid 0, without capabilities and groups");
	if (config->certificate && !engine_signs_elsewhere())
		log_line(LOG_LEVEL_INFO, "the engine holds the private key: %s cannot sign elsewhere",
		    engine_backend_name());
}

void
monitor_begin(struct monitor *m, const struct config *config, const struct monitor_owner *owner, int64_t start)
{
	*m = (struct monitor){.config = config,
	    .owner = owner,
	    .start = start,
	    .ready = config->program != TLSSERVER,
	    .channel = -1,
	    .dials = config->program == TLSCLIENT,
	    .dial_by = config->connect_s ? start + (int64_t)config->connect_s * 1000 : -1,
	    .answer_at = -1,
	    .patience = -1};
}

void
monitor_fail(struct monitor *m, enum fault_code code, const char *text)
{
	if (m->outcome.fault != FAULT_NONE)
		return;
	m->outcome.fault = code;
	log_line(m->owner->failure, "%s", text);
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
void
monitor_tell(struct monitor *m, enum message_type type)
{
	if (m->channel < 0 || channel_tell(m->channel, type) == 0 || errno == EPIPE || errno == ECONNRESET)
		return;
	if (errno != EAGAIN)
		monitor_fail(m, FAULT_SYSTEM, "the engine cannot be told: the system does not take the message");
	expect_exit(m, 0);
}

static void
hang_up(struct monitor *m)
{
	if (m->channel >= 0 && m->owner->hang_up)
		m->owner->hang_up(m);
	fds_close(&m->channel);
}

void
monitor_connected(struct monitor *m, int64_t start)
{
	m->start = start;
	if (m->config->handshake_ms)
		expect_exit(m, (int64_t)m->config->handshake_ms + m->config->linger_ms + PATIENCE_MS);
}

void
monitor_distrust(struct monitor *m, enum fault_code code, const char *text)
{
	m->owner->forget_key(m);
	monitor_fail(m, code, text);
	expect_exit(m, 0);
	hang_up(m);
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
	explicit_bzero(words, strlen(words));
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
	log_connection(0, peer);
	log_line(LOG_LEVEL_DEBUG, "event=connect local=%s port=%s", m->tcp.local_ip, m->tcp.local_port);
}

/* What was said of the handshake is needed no more. */
static void
forget_news(struct monitor *m)
{
	if (m->news)
		(void)munmap(m->news, m->news_n);
	m->news = NULL;
}

/* Prog is to run, if there still is a reason to. Returns what the owner says. */
static int
run(struct monitor *m, const struct session *session)
{
	struct fault f;
	int got;

	if (!m->engine)
		return 0; /* it died meanwhile: prog never runs */
	if (m->outcome.signal || m->outcome.fault != FAULT_NONE || m->reported) {
		monitor_tell(m, MSG_NOT_RUN);
		return 0;
	}
	got = m->owner->run(m, session, &f);
	if (got >= 0)
		return got;
	monitor_fail(m, f.code, f.text);
	monitor_tell(m, MSG_NOT_RUN);
	return 0;
}

/* The one place for a session, which is large: of one connection at a time, and then of none. */
static struct session session;

void
monitor_run_prog(struct monitor *m)
{
	int got = 0;

	if (!m->news)
		return;
	if (message_read_up((struct span){m->news, m->news_n}, &session) == 0)
		got = run(m, &session);
	session_wipe(&session);
	if (got == 0)
		forget_news(m);
}

/* What cannot be done now is kept as it came, where no child of ours finds it. */
static void
keep_news(struct monitor *m, struct span message)
{
	void *own = mmap(NULL, message.n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (own == MAP_FAILED || madvise(own, message.n, MADV_DONTFORK) < 0) {
		monitor_fail(m, FAULT_SYSTEM, "out of memory");
		monitor_tell(m, MSG_NOT_RUN);
		return;
	}
	m->news = memcpy(own, message.p, message.n);
	m->news_n = message.n;
}

/* An engine has verified what it was to verify, or there is no session. */
static bool
believable(const struct monitor *m, const struct session *s)
{
	return s->has_peer ? m->config->verify != VERIFY_NONE : m->config->verify != VERIFY_REQUIRED;
}

static bool
take_up(struct monitor *m, struct span message)
{
	if (message_read_up(message, &session) < 0 || !believable(m, &session)) {
		session_wipe(&session);
		return false;
	}
	m->up = true;
	if (!m->outcome.signal && m->outcome.fault == FAULT_NONE)
		m->patience = -1;
	m->owner->forget_key(m);
	if (m->engine && !m->outcome.signal && m->outcome.fault == FAULT_NONE)
		log_handshake(m, &session);
	if (run(m, &session) > 0)
		keep_news(m, message);
	session_wipe(&session);
	return true;
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
		monitor_fail(m, ended.end == END_NOT_RUN ? FAULT_SYSTEM : FAULT_TLS,
		    m->report.text[0] ? m->report.text : "engine ended without a reason");
	else if (!m->outcome.ran)
		monitor_fail(m, FAULT_TLS, "engine ended before the handshake");
}

/* One message of n bytes. Returns whether it was one that may come now. */
static bool
take_message(struct monitor *m, const unsigned char *message, size_t n)
{
	struct span in = {message, n};
	struct fault f;

	switch (message[0]) {
	case MSG_UP: return !m->up && !m->reported && m->dials == m->connected && take_up(m, in);
	case MSG_CONNECTED:
		if (!m->dials || m->connected || m->reported || message_read_connected(in, &m->tcp) < 0)
			return false;
		take_connected(m);
		return true;
	case MSG_READY:
		if (m->ready || m->up || m->reported || n != 1)
			return false;
		m->ready = true;
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
		monitor_fail(m, f.code, f.text);
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

void
monitor_hear(struct monitor *m)
{
	static unsigned char message[MESSAGE_MAX];
	long n;

	while (m->channel >= 0 && (n = channel_receive(m->channel, message)) != 0) {
		bool taken = n > 0 && take_message(m, message, (size_t)n);

		if (n > 0)
			explicit_bzero(message, (size_t)n);
		if (taken)
			continue;
		if (n != -1)
			monitor_fail(m, FAULT_TLS, "engine sent a malformed message");
		expect_exit(m, n == -1 ? PATIENCE_MS : 0);
		hang_up(m);
	}
}

/* -- children ------------------------------------------------------------ */

void
monitor_engine_exited(struct monitor *m, int status)
{
	char text[64];

	m->engine = 0;
	m->owner->forget_key(m);
	monitor_hear(m);
	hang_up(m);
	if (m->reported || m->outcome.signal)
		return;
	if (WIFSIGNALED(status))
		(void)snprintf(text, sizeof text, "engine died (signal %d)", WTERMSIG(status));
	else
		(void)snprintf(text, sizeof text, "engine died (exit code %d)", WEXITSTATUS(status));
	monitor_fail(m, FAULT_TLS, text);
}

void
monitor_prog_exited(struct monitor *m, int status)
{
	m->prog = 0;
	m->outcome.status = status;
	log_line(LOG_LEVEL_DEBUG, "event=exit %s=%d", WIFSIGNALED(status) ? "signal" : "code",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	m->answer_at = -1; /* this is the answer */
	monitor_tell(m, MSG_EXITED);
}

/* -- the end ------------------------------------------------------------- */

void
monitor_stop(struct monitor *m, int signal)
{
	if (m->outcome.signal)
		return;
	m->outcome.signal = signal;
	monitor_tell(m, MSG_STOP);
	/* Who still makes a connection has nobody to end it with, and does not listen. */
	expect_exit(m, m->dials && !m->connected ? 0 : (int64_t)m->config->linger_ms + PATIENCE_MS);
	if (m->prog)
		(void)kill(m->prog, signal); /* fails where the ids do not allow it: prog has its EOF */
}

void
monitor_kill(struct monitor *m)
{
	if (m->engine)
		(void)kill(m->engine, SIGKILL);
	if (m->prog)
		(void)kill(m->prog, SIGKILL);
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

	monitor_hear(m);
	if (m->connected)
		return;
	m->dial_by = -1;
	(void)snprintf(text, sizeof text, "cannot connect to %s port %s: not done, look-ups included, after %d s",
	    m->config->host, m->config->port, m->config->connect_s);
	monitor_fail(m, FAULT_SYSTEM, text);
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

/* A prog that has exited and was not reaped yet is not alive: the news of that, which comes next, is the answer. */
static bool
prog_lives(const struct monitor *m)
{
	siginfo_t info = {0};

	return m->prog && (waitid(P_PID, (id_t)m->prog, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0);
}

int64_t
monitor_keep_time(struct monitor *m)
{
	int64_t now = clock_ms(), next;

	if (m->answer_at >= 0 && now >= m->answer_at) {
		m->answer_at = -1;
		if (prog_lives(m))
			monitor_tell(m, MSG_ALIVE);
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

int
monitor_end(struct monitor *m)
{
	int code = verdict(&m->outcome);

	forget_news(m);
	log_end(m, code);
	return code;
}
