/*
 * One loop, in which nothing waits for one connection. What there is to wait
 * for is in one epoll set; what is told to a connection is in monitor.c; which
 * certificate and signers a new one gets, in generation.c.
 *
 * A connection is accepted only when there is an engine for it, so that none
 * is lost for want of a process, a descriptor or memory: it waits in the
 * kernel's queue. Its engine is told of it, and from then on this process has
 * one descriptor of it, the channel.
 */
#include "sys/server.h"

#include "core/clients.h"
#include "core/environment.h"
#include "sys/access.h"
#include "sys/channel.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/generation.h"
#include "sys/listen.h"
#include "sys/log.h"
#include "sys/lookup.h"
#include "sys/monitor.h"
#include "sys/peer.h"
#include "sys/spawn.h"
#include "sys/warm.h"
#include "sys/worker.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum {
	EVENTS = 64,	 /* taken from the kernel at a time */
	PIDS = 4096,	 /* chains of children by pid */
	TICK_MS = 250,	 /* between looks at the files */
	AGAIN_MS = 100,	 /* between tries of what the system had no room for */
	RETRY_MS = 1000, /* between tries of what fails by itself: engines, signers */
};

/* What an event of the epoll set is about. */
struct source {
	enum { SOURCE_LISTENER, SOURCE_CHANNEL, SOURCE_LOOKUP, SOURCE_SIGNER } kind;
	int fd;
};

enum stage {
	STAGE_FREE,
	STAGE_SPARE,	 /* an engine without a connection */
	STAGE_HANDSHAKE, /* it has one */
	STAGE_UP,	 /* whose handshake is over */
	STAGE_OVER,	 /* nothing of it runs any more; freed behind the events that are being looked at */
};

/* A process of a link's, by its pid. */
struct child {
	enum { CHILD_ENGINE, CHILD_PROG, CHILD_LOOKUP } kind;
	pid_t pid;
	struct link *link;
	struct child *next; /* of its chain */
};

/* A connection, or an engine that waits for one. */
struct link {
	struct monitor monitor; /* first: its owner's functions get this */
	struct source channel, lookup;
	struct link *next;     /* in the list of its stage, for FREE, SPARE and OVER */
	struct link *in, *out; /* neighbours among those that wait for a time; */
	bool timed;	       /* it is among them, */
	int64_t due;	       /* until this moment */
	struct child engine_child, prog_child, lookup_child;
	enum stage stage;
	unsigned long generation;
	const struct notary *signer; /* of its engine; NULL: it has been told, or there is none */
	uint64_t number;	     /* by which signers know it */
	pid_t engine, asks;	     /* its engine's pid, also when that is gone; the look-up's, or 0 */
	int64_t named_by, run_at;    /* when to do without names; when to try to run prog again; -1 */
	bool named;		     /* its names are known, or never will be */
	bool judged;		     /* it may connect */
	struct changes changes;	     /* what the rule says of prog's environment */
	unsigned char key[CLIENTS_KEY];
	char peer[64];
};

static struct server {
	const struct config *config;
	const struct privileges *privileges;
	struct identity identity;
	bool others;	     /* prog gets that identity */
	struct rlimit files; /* that prog gets */
	sigset_t mask;	     /* that prog gets */
	int rules;	     /* -1: everybody may connect */
	int epoll;
	struct listening listening;
	struct source listeners[LISTEN_MAX];
	bool listens; /* for connections, now */

	struct generation *now, *coming;
	unsigned long generation;		       /* its count */
	struct source signers[2 * GENERATION_SIGNERS]; /* of now, and of coming */
	struct signer asking;			       /* the engine's end, in the engine */
	uint64_t stamp, seen;			       /* of the files: of `now`, and at the last look */
	int64_t look_at;			       /* the next look; -1: none */
	int64_t mend_at;			       /* when to start signers that died; -1 */

	struct link *arena, *free, *spare, *over, *timed;
	size_t links;
	struct child *children[PIDS];
	struct clients *clients;
	int live, handshakes, spares;
	uint64_t number;
	int64_t calm_at; /* not before is anything started or accepted */
	bool troubled;	 /* that was said */
	int ending;	 /* how often we were told to end */
	bool starting;	 /* no engine has been ready yet */
	struct fault fault;
} server;

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

static sigset_t
open_mask(void)
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

/* -- sources ------------------------------------------------------------- */

static int
watch(struct source *s, int kind, int fd, unsigned events)
{
	struct epoll_event e = {.events = events, .data.ptr = s};

	s->kind = kind;
	s->fd = fd;
	return epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &e);
}

/* Children may still have copies, for a moment: closing alone would not take it out of the set. */
static void
forget(struct source *s)
{
	if (s->fd >= 0)
		(void)epoll_ctl(server.epoll, EPOLL_CTL_DEL, s->fd, NULL);
	s->fd = -1;
}

/* -- links --------------------------------------------------------------- */

/* Memory that children do not get: an engine that is taken over learns nothing of other connections. */
static void *
own_memory(size_t n, struct fault *f)
{
	void *own = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (own != MAP_FAILED && madvise(own, n, MADV_DONTFORK) == 0)
		return own;
	(void)fault_set(f, FAULT_SYSTEM, "no memory for so many connections: %s", strerror(errno));
	return NULL;
}

/* All links there may be. */
static int
make_links(size_t n, struct fault *f)
{
	server.arena = own_memory(n * sizeof *server.arena, f);
	server.links = n;
	return server.arena ? 0 : -1;
}

/* Links that were never used come last, and stay untouched till then. */
static struct link *
take_link(void)
{
	struct link *l = server.free;

	if (l)
		server.free = l->next;
	else if (server.links > 0)
		l = &server.arena[--server.links];
	if (!l)
		return NULL;
	*l = (struct link){.channel.fd = -1, .lookup.fd = -1, .number = ++server.number, .named_by = -1, .run_at = -1};
	monitor_begin(&l->monitor, server.config, NULL, clock_ms());
	return l;
}

static void
give_link(struct link *l)
{
	l->stage = STAGE_FREE;
	l->next = server.free;
	server.free = l;
}

/* From now on lines are about it; NULL: about the server. */
static void
speak_of(const struct link *l)
{
	log_connection(l ? l->engine : 0, l ? l->peer : "");
}

static void
untime(struct link *l)
{
	if (!l->timed)
		return;
	l->timed = false;
	if (l->in)
		l->in->out = l->out;
	else
		server.timed = l->out;
	if (l->out)
		l->out->in = l->in;
}

static int64_t
sooner(int64_t a, int64_t b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Has the link's clocks looked at by `at`; -1: it has none. */
static void
time_at(struct link *l, int64_t at)
{
	untime(l);
	if (at < 0)
		return;
	l->timed = true;
	l->due = at;
	l->in = NULL;
	l->out = server.timed;
	if (l->out)
		l->out->in = l;
	server.timed = l;
}

/* Looks at its clocks again. */
static void
retime(struct link *l)
{
	int64_t ms = monitor_keep_time(&l->monitor), at = ms < 0 ? -1 : clock_ms() + ms;

	time_at(l, l->stage == STAGE_OVER ? -1 : sooner(at, sooner(l->named_by, l->run_at)));
}

/* -- trouble ------------------------------------------------------------- */

/* The system has no room: connections wait in the kernel's queue. Said once, until something goes well again. */
static void
back_off(const char *text, int ms)
{
	if (!server.troubled)
		log_line(LOG_LEVEL_WARNING, "%s; connections wait", text);
	server.troubled = true;
	server.calm_at = clock_ms() + ms;
}

static bool
calm(void)
{
	return clock_ms() >= server.calm_at;
}

/* -- engines ------------------------------------------------------------- */

static const struct monitor_owner spare_owner, owner;

static void
add_child(struct link *l, struct child *c, int kind, pid_t pid)
{
	struct child **chain = &server.children[pid % PIDS];

	*c = (struct child){.kind = kind, .pid = pid, .link = l, .next = *chain};
	*chain = c;
}

/* Ends that a child does not need are closed in it by worker_run. */
static pid_t
fork_engine(int channel, int ask, struct fault *f)
{
	struct engine_context *context = server.now->context;
	sigset_t mask = open_mask();
	pid_t self = getpid(), pid = fork();

	if (pid < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot fork: %s", strerror(errno));
	if (pid == 0) {
		struct loop_fds fds = {
		    .wire_in = -1, .wire_out = -1, .prog_in = -1, .prog_out = -1, .channel = channel, .signer = ask};

		warm_child();
		server.asking.ask = ask;
		worker_run(context, &fds, server.config, server.privileges, &mask, self, 0);
	}
	return pid;
}

/* Gives a new engine its channel and its signer. Returns 0, or -1 with *f and nothing left. */
static int
start_engine(struct link *l, const struct notary *signer, struct fault *f)
{
	struct signer s = {.ask = -1, .answer = -1};
	int channel[2] = {-1, -1};
	int got = channel_create(channel, f);

	if (got == 0 && signer)
		got = signer_open(&s, SIGNING_SERVER, f);
	if (got == 0 && signer && notary_serve(signer, s.answer, l->number) < 0)
		got = fault_set(f, FAULT_SYSTEM, "a signer takes no engine: %s", strerror(errno));
	if (got == 0)
		l->monitor.engine = fork_engine(channel[1], s.ask, f);
	if (l->monitor.engine <= 0)
		got = -1;
	if (got == 0 && watch(&l->channel, SOURCE_CHANNEL, channel[0], EPOLLIN) < 0) {
		got = fault_set(f, FAULT_SYSTEM, "cannot wait for an engine: %s", strerror(errno));
		(void)kill(l->monitor.engine, SIGKILL);
	}
	signer_close(&s);
	fds_close(&channel[1]);
	if (got < 0)
		fds_close(&channel[0]);
	l->monitor.channel = channel[0];
	return got;
}

/* One more spare engine. Returns whether there is one. */
static bool
add_spare(void)
{
	struct notary *signer = generation_signer(server.now);
	struct link *l = server.now->n == 0 || signer ? take_link() : NULL;
	struct fault f;

	if (!l) {
		back_off(signer ? "engines that have ended are still there" : "no signer is ready", AGAIN_MS);
		return false;
	}
	if (start_engine(l, signer, &f) < 0) {
		give_link(l);
		back_off(f.text, AGAIN_MS);
		return false;
	}
	server.troubled = false;
	l->monitor.owner = &spare_owner;
	l->engine = l->monitor.engine;
	l->signer = signer;
	l->generation = server.generation;
	add_child(l, &l->engine_child, CHILD_ENGINE, l->engine);
	l->stage = STAGE_SPARE;
	l->next = server.spare;
	server.spare = l;
	server.spares++;
	log_line(LOG_LEVEL_DEBUG, "event=fork engine=%ld populated=%zu", (long)l->engine, warm_pages());
	return true;
}

/* Takes one out of the list of those that wait for a connection. */
static void
remove_spare(struct link *l)
{
	struct link **p = &server.spare;

	while (*p && *p != l)
		p = &(*p)->next;
	if (!*p)
		return;
	*p = l->next;
	server.spares--;
}

/* Ends spare engines: all; or those of an earlier generation, or of a signer that is gone. */
static void
drop_spares(bool all, const struct notary *signer)
{
	struct link *next;

	for (struct link *l = server.spare; l; l = next) {
		next = l->next;
		if (!all && l->generation == server.generation && (!signer || l->signer != signer))
			continue;
		remove_spare(l);
		l->stage = STAGE_HANDSHAKE; /* of nobody: it ends with its engine */
		(void)kill(l->engine, SIGKILL);
	}
}

/* -- the end of a connection --------------------------------------------- */

static void
tell_status(void)
{
	speak_of(NULL);
	log_line(LOG_LEVEL_INFO, "status: %d/%d", server.live, server.config->connections);
}

static void
leave_handshake(struct link *l)
{
	if (l->stage == STAGE_HANDSHAKE && l->peer[0])
		server.handshakes--;
	l->signer = NULL;
}

static void
end_lookup(struct link *l)
{
	int fd = l->lookup.fd;

	forget(&l->lookup);
	fds_close(&fd);
	l->named_by = -1;
	if (l->asks)
		(void)kill(l->asks, SIGKILL);
}

/* Nothing of it runs any more. */
static void
end_link(struct link *l)
{
	bool connected = l->peer[0] != '\0';

	remove_spare(l);
	leave_handshake(l);
	end_lookup(l);
	forget(&l->channel);
	fds_close(&l->monitor.channel);
	speak_of(l);
	if (connected) {
		(void)monitor_end(&l->monitor);
		(void)clients_remove(server.clients, l->key);
		server.live--;
		tell_status();
	}
	speak_of(NULL);
	changes_free(&l->changes);
	l->stage = STAGE_OVER;
	untime(l);
	l->next = server.over;
	server.over = l;
}

/* After whatever was told to it. */
static void
settle(struct link *l)
{
	if (l->monitor.channel < 0)
		forget(&l->channel);
	if (l->stage == STAGE_HANDSHAKE && l->monitor.up) {
		leave_handshake(l);
		l->stage = STAGE_UP;
	}
	if (l->monitor.engine || l->monitor.prog)
		retime(l);
	else if (l->stage != STAGE_OVER)
		end_link(l);
	speak_of(NULL);
}

/* A look-up that still runs keeps its link until it is reaped. */
static void
free_links(void)
{
	struct link *kept = NULL, *next;

	for (struct link *l = server.over; l; l = next) {
		next = l->next;
		if (!l->asks) {
			give_link(l);
			continue;
		}
		l->next = kept;
		kept = l;
	}
	server.over = kept;
}

/* -- prog ---------------------------------------------------------------- */

static bool
no_room(int error)
{
	return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE || error == ENOBUFS;
}

/* Two pipes: pipes[0] to prog's stdin, pipes[1] from its stdout; our ends do not block. Returns 0 or an errno. */
static int
make_pipes(int pipes[2][2])
{
	struct fault f;

	if (fds_pipe(pipes[0], &f) == 0 && fds_pipe(pipes[1], &f) == 0 && fds_nonblock(pipes[0][1], &f) == 0 &&
	    fds_nonblock(pipes[1][0], &f) == 0)
		return 0;
	return errno;
}

static int
spawn_prog(struct link *l, const struct session *session, int pipes[2][2])
{
	const struct config *c = server.config;
	char **env = environment_plan(environ, session, &l->monitor.tcp, c->local_name, c->keep, &l->changes);
	struct spawn how = {.argv = c->prog,
	    .env = env,
	    .mask = &server.mask,
	    .in = pipes[0][0],
	    .out = pipes[1][1],
	    .ids = server.others ? &server.identity : NULL,
	    .files = &server.files};
	int error = env ? spawn(&how, &l->monitor.prog) : ENOMEM;

	/* It tells of the client, and the next engine is a copy of us. */
	if (env)
		explicit_bzero(env, malloc_usable_size(env));
	free(env);
	return error;
}

/* The engine gets its ends with the word that prog runs. */
static int
hand_over_prog(struct link *l, int pipes[2][2])
{
	static const unsigned char message[] = {MSG_RUN};
	const int ends[] = {pipes[0][1], pipes[1][0]};

	l->monitor.outcome.ran = true;
	add_child(l, &l->prog_child, CHILD_PROG, l->monitor.prog);
	log_line(LOG_LEVEL_DEBUG, "event=start prog=%ld", (long)l->monitor.prog);
	/* An engine that is gone is seen by its end, and prog by that of its input. */
	return channel_send_fds(l->monitor.channel, message, sizeof message, ends, 2);
}

/* Prog starts when its names are known and the system has room. */
static int
run(struct monitor *m, const struct session *session, struct fault *f)
{
	struct link *l = (struct link *)m;
	int pipes[2][2] = {{-1, -1}, {-1, -1}}, error;

	l->run_at = -1;
	if (!l->named)
		return 1;
	error = make_pipes(pipes);
	if (!error)
		error = spawn_prog(l, session, pipes);
	if (!error)
		(void)hand_over_prog(l, pipes);
	for (int i = 0; i < 4; i++)
		fds_close(&pipes[i / 2][i % 2]);
	if (!error)
		return 0;
	if (!no_room(error))
		return fault_set(f, FAULT_SYSTEM, "cannot run %s: %s", server.config->prog[0], strerror(error));
	if (!server.troubled)
		log_line(LOG_LEVEL_WARNING, "cannot run %s now: %s", server.config->prog[0], strerror(error));
	server.troubled = true;
	l->run_at = clock_ms() + AGAIN_MS;
	return 1;
}

static void
forget_key(struct monitor *m)
{
	(void)m; /* a signer answers an engine once */
}

static int
run_nothing(struct monitor *m, const struct session *session, struct fault *f)
{
	(void)m;
	(void)session;
	return fault_set(f, FAULT_TLS, "a handshake without a connection");
}

/* What befalls an engine without a connection is the server's own trouble. */
static const struct monitor_owner spare_owner = {
    .run = run_nothing, .forget_key = forget_key, .failure = LOG_LEVEL_WARNING};

static const struct monitor_owner owner = {.run = run, .forget_key = forget_key, .failure = LOG_LEVEL_WARNING};

/* -- who may connect ------------------------------------------------------- */

static void
refuse(struct link *l, const char *why)
{
	log_line(LOG_LEVEL_INFO, "event=refused why=\"%s\"", why);
	l->monitor.outcome.fault = FAULT_TLS;
	(void)kill(l->engine, SIGKILL);
}

/* By its name, where its address did not decide. */
static bool
judge_by_name(struct link *l)
{
	const struct ucspi *u = &l->monitor.tcp;
	enum access a = ACCESS_NONE;
	struct fault f;

	if (server.rules < 0 || l->judged)
		return true;
	if (u->has_remote_host)
		a = access_by_name(server.rules, u->remote_host, &l->changes, &f);
	if (a == ACCESS_ERROR)
		log_line(LOG_LEVEL_WARNING, "%s", f.text);
	return a == ACCESS_ALLOW;
}

static void
take_names(struct link *l)
{
	end_lookup(l);
	l->named = true;
	if (judge_by_name(l))
		monitor_run_prog(&l->monitor);
	else
		refuse(l, "no access rule allows it");
}

/* Whether the address may connect; ACCESS_NONE: that is for its name to decide. */
static enum access
judge_by_address(const struct ucspi *u, struct changes *changes)
{
	enum access a = ACCESS_ALLOW;
	struct fault f;

	if (server.rules >= 0)
		a = access_by_address(server.rules, u->remote_ip, changes, &f);
	if (a == ACCESS_ERROR)
		log_line(LOG_LEVEL_WARNING, "%s", f.text);
	return a == ACCESS_NONE && server.config->no_lookup ? ACCESS_DENY : a;
}

/* -- new connections ------------------------------------------------------ */

static void
ask_names(struct link *l)
{
	struct fault f;
	int channel;
	pid_t pid;

	l->named = server.config->no_lookup;
	if (l->named)
		return;
	pid = lookup_start(&l->monitor.tcp, server.config, server.privileges, &channel, &f);
	if (pid < 0) {
		log_line(LOG_LEVEL_WARNING, "no names: %s", f.text);
		take_names(l);
		return;
	}
	l->asks = pid;
	add_child(l, &l->lookup_child, CHILD_LOOKUP, pid);
	l->named_by = clock_ms() + server.config->lookup_ms;
	if (watch(&l->lookup, SOURCE_LOOKUP, channel, EPOLLIN) < 0)
		take_names(l);
}

/* The engine gets it. */
static bool
hand_over(const struct link *l, int sock)
{
	static const unsigned char message[] = {MSG_START};

	return channel_send_fds(l->monitor.channel, message, sizeof message, &sock, 1) == 0;
}

static void
begin(struct link *l, const struct ucspi *u, const unsigned char *key)
{
	struct monitor *m = &l->monitor;

	m->owner = &owner;
	m->start = clock_ms();
	m->tcp = *u;
	memcpy(l->key, key, CLIENTS_KEY);
	(void)snprintf(m->tcp.connections, sizeof m->tcp.connections, "%u", clients_add(server.clients, key));
	peer_format(u->remote_ip, u->remote_port, l->peer, sizeof l->peer);
	server.live++;
	server.handshakes++;
	tell_status();
	speak_of(l);
	log_line(LOG_LEVEL_DEBUG, "event=accept local=%s port=%s", u->local_ip, u->local_port);
	ask_names(l);
	settle(l);
}

static void
turn_away(const struct ucspi *u, const char *why)
{
	char peer[64];

	peer_format(u->remote_ip, u->remote_port, peer, sizeof peer);
	log_connection(0, peer);
	log_line(LOG_LEVEL_INFO, "event=refused why=\"%s\"", why);
	speak_of(NULL);
}

/* Whether it is one of too many of its client's. */
static bool
too_many(const unsigned char *key)
{
	unsigned most = (unsigned)server.config->per_client;

	return most > 0 && clients_count(server.clients, key) >= most;
}

/* The first spare engine that takes it has it. Returns whose it is, or NULL. */
static struct link *
find_engine(int sock)
{
	struct link *l;

	while ((l = server.spare) || (add_spare() && (l = server.spare))) {
		remove_spare(l);
		l->stage = STAGE_HANDSHAKE;
		if (hand_over(l, sock))
			return l; /* one that does not take it is dead, which will be told */
	}
	return NULL;
}

/* What comes of a connection that was accepted. Returns why it is turned away, or NULL. */
static const char *
admit(int sock, const struct ucspi *u)
{
	struct changes changes = {0};
	unsigned char key[CLIENTS_KEY];
	struct link *l = NULL;
	enum access a;

	if (clients_key(u->remote_ip, key) < 0 || too_many(key))
		return "too many connections of this client";
	a = judge_by_address(u, &changes);
	if (a == ACCESS_DENY || a == ACCESS_ERROR)
		return "no access rule allows it";
	l = find_engine(sock);
	if (!l) {
		changes_free(&changes);
		return "there is no engine for it";
	}
	l->changes = changes;
	l->judged = a == ACCESS_ALLOW;
	begin(l, u, key);
	return NULL;
}

/* It is about one connection, which is gone by now (accept(2)). */
static bool
passing(int error)
{
	return error == ECONNABORTED || error == EINTR || error == EPROTO || error == ENETDOWN || error == EHOSTDOWN ||
	       error == ENONET || error == EHOSTUNREACH || error == ENETUNREACH || error == ENOPROTOOPT;
}

static bool
cannot_accept(int error)
{
	char text[128];

	(void)snprintf(text, sizeof text, "cannot accept: %s", strerror(error));
	back_off(text, AGAIN_MS);
	return false;
}

/* Takes what waits at a socket, one connection. Returns whether there may be more. */
static bool
accept_one(int fd)
{
	const char *why;
	struct ucspi u;
	int sock;

	if (!server.spare && !add_spare())
		return false;
	sock = listen_accept(fd, server.config, &u);
	if (sock < 0) {
		return passing(errno) || (errno != EAGAIN && cannot_accept(errno));
	}
	why = admit(sock, &u);
	if (why)
		turn_away(&u, why);
	(void)close(sock);
	return true;
}

static bool
has_room(void)
{
	const struct config *c = server.config;
	int handshakes = c->handshakes > 0 ? c->handshakes : c->connections;

	return !server.ending && server.live < c->connections && server.handshakes < handshakes && calm();
}

static void
accept_all(int fd)
{
	/* The first may have an engine made for it, others are for those that are ready. */
	for (int i = 0; i < EVENTS && has_room() && (i == 0 || server.spare) && accept_one(fd); i++)
		;
}

/* Whether the sockets are looked at for connections. */
static void
listen_while(bool wanted)
{
	if (wanted == server.listens)
		return;
	server.listens = wanted;
	for (size_t i = 0; i < server.listening.n; i++) {
		struct epoll_event e = {.events = wanted ? EPOLLIN : 0, .data.ptr = &server.listeners[i]};

		(void)epoll_ctl(server.epoll, EPOLL_CTL_MOD, server.listening.fd[i], &e);
	}
}

static void
stop_listening(void)
{
	for (size_t i = 0; i < server.listening.n; i++)
		forget(&server.listeners[i]);
	listen_close(&server.listening);
}

/* -- generations --------------------------------------------------------- */

/* Places of a generation's signers among the sources. */
static struct source *
signer_source(const struct generation *g, size_t i)
{
	return &server.signers[(g == server.coming ? GENERATION_SIGNERS : 0) + i];
}

static void
watch_signers(const struct generation *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->signers[i].control >= 0)
			(void)watch(signer_source(g, i), SOURCE_SIGNER, g->signers[i].control, EPOLLIN);
}

static void
forget_signers(const struct generation *g)
{
	for (size_t i = 0; g && i < g->n; i++)
		forget(signer_source(g, i));
}

static void
drop_coming(const struct fault *f)
{
	log_line(LOG_LEVEL_WARNING, "%s; the certificate stays as it was", f->text);
	forget_signers(server.coming);
	generation_end(server.coming);
	server.coming = NULL;
}

/* What is new holds for new connections. */
static void
use_coming(void)
{
	struct generation *old = server.now, *g = server.coming;
	struct fault f;

	if (generation_finish(g, server.config, &server.asking, &f) < 0) {
		drop_coming(&f);
		return;
	}
	forget_signers(g);
	forget_signers(old);
	generation_end(old);
	server.coming = NULL;
	server.now = g;
	server.generation++;
	server.mend_at = -1;
	watch_signers(g);
	drop_spares(false, NULL);
	log_line(LOG_LEVEL_INFO, "event=reload");
}

static void
reload(void)
{
	struct fault f;

	if (server.coming) {
		forget_signers(server.coming);
		generation_end(server.coming);
		server.coming = NULL;
	}
	if (generation_stamp(server.config, &server.stamp, &f) < 0) {
		server.stamp = server.seen = 0; /* as the next look finds them: said once */
		log_line(LOG_LEVEL_WARNING, "%s; the certificate stays as it was", f.text);
		return;
	}
	server.seen = server.stamp;
	server.coming = generation_start(server.config, server.privileges, &f);
	if (!server.coming)
		log_line(LOG_LEVEL_WARNING, "%s; the certificate stays as it was", f.text);
	else if (server.coming->n == 0)
		use_coming();
	else
		watch_signers(server.coming);
}

/* Files that are being written are left alone until two looks find them alike. */
static void
look_for_changes(void)
{
	uint64_t stamp;
	struct fault f;

	if (server.look_at < 0 || clock_ms() < server.look_at)
		return;
	server.look_at = clock_ms() + TICK_MS;
	if (generation_stamp(server.config, &stamp, &f) < 0)
		stamp = 0;
	if (stamp != server.stamp && stamp == server.seen)
		reload();
	else
		server.seen = stamp;
}

/* In place of signers that died, new ones of the same key. */
static void
mend_signers(void)
{
	struct generation *g = server.now;

	if (server.mend_at < 0 || clock_ms() < server.mend_at || server.ending)
		return;
	server.mend_at = -1;
	for (size_t i = 0; i < g->n; i++) {
		struct notary *s = &g->signers[i];
		struct fault f;

		if (s->control >= 0)
			continue;
		if (s->pid == 0 && notary_start(s, &g->material.chain.v[0], server.privileges, &f) == 0 &&
		    watch(signer_source(g, i), SOURCE_SIGNER, s->control, EPOLLIN) == 0)
			continue;
		server.mend_at = clock_ms() + AGAIN_MS; /* it is not reaped yet, or there is no room */
	}
}

static struct notary *
signer_of(const struct source *s, struct generation **g)
{
	size_t place = (size_t)(s - server.signers);

	*g = place < GENERATION_SIGNERS ? server.now : server.coming;
	return &(*g)->signers[place % GENERATION_SIGNERS];
}

/* It died, or could not begin. */
static void
lose_signer(struct generation *g, struct notary *s, struct source *source, const struct fault *f)
{
	if (g == server.coming) {
		drop_coming(f);
		return;
	}
	log_line(LOG_LEVEL_WARNING, "%s; another signer will take its place", f->text);
	server.mend_at = clock_ms() + (s->ready ? 0 : RETRY_MS);
	forget(source);
	notary_release(s);
	if (s->pid)
		(void)kill(s->pid, SIGKILL);
	drop_spares(false, s);
}

static void
refuse_signature(uint64_t number, const struct fault *f)
{
	for (size_t i = 0; i < PIDS; i++)
		for (struct child *c = server.children[i]; c; c = c->next)
			if (c->kind == CHILD_ENGINE && c->link->number == number) {
				speak_of(c->link);
				monitor_distrust(&c->link->monitor, f->code, f->text);
				settle(c->link);
				return;
			}
}

/* Returns whether it said something. */
static bool
hear_signer(struct source *source)
{
	struct generation *g;
	struct notary *s = signer_of(source, &g);
	struct fault f = {.code = FAULT_SYSTEM};
	uint64_t number;

	switch (notary_hear(s, &number, &f)) {
	case NOTARY_NOTHING: return false;
	case NOTARY_READY:
		if (g == server.coming && generation_ready(g))
			use_coming();
		break;
	case NOTARY_GONE:
		(void)fault_set(&f, FAULT_SYSTEM, "a signer died");
		lose_signer(g, s, source, &f);
		break;
	case NOTARY_FAILED: lose_signer(g, s, source, &f); break;
	case NOTARY_REFUSED: refuse_signature(number, &f); break;
	}
	return true;
}

/* Where the child was a signer of a generation that is in use, or may be: what it said before, and its end. */
static void
signer_exited(pid_t pid)
{
	for (size_t i = 0; i < sizeof server.signers / sizeof *server.signers; i++) {
		struct source *source = &server.signers[i];
		struct generation *g = i < GENERATION_SIGNERS ? server.now : server.coming;
		struct notary *s;

		if (!g || i % GENERATION_SIGNERS >= g->n)
			continue;
		s = &g->signers[i % GENERATION_SIGNERS];
		if (s->pid != pid)
			continue;
		s->pid = 0;
		while (source->fd >= 0 && hear_signer(source))
			;
		return;
	}
}

/* -- children ------------------------------------------------------------ */

/* Takes the child with that pid out of its chain. Returns NULL when there is none. */
static struct child *
take_child(pid_t pid)
{
	struct child **p = &server.children[pid % PIDS], *c;

	while (*p && (*p)->pid != pid)
		p = &(*p)->next;
	c = *p;
	if (c)
		*p = c->next;
	return c;
}

/* An engine without a connection that ends by itself will do so again. */
static void
spare_exited(const struct link *l)
{
	if (server.starting && server.fault.code == FAULT_NONE)
		(void)fault_set(&server.fault, FAULT_ENGINE, "the first engine died");
	if (l->stage == STAGE_SPARE)
		back_off("engines end before they have a connection", RETRY_MS);
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
	take_names(l);
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
		c = take_child(pid);
		if (!c) {
			signer_exited(pid);
			continue;
		}
		speak_of(c->link);
		switch (c->kind) {
		case CHILD_ENGINE: engine_exited(c->link, status, &usage); break;
		case CHILD_PROG: monitor_prog_exited(&c->link->monitor, status); break;
		case CHILD_LOOKUP: lookup_exited(c->link); break;
		}
		settle(c->link);
	}
}

/* -- what is told to us ---------------------------------------------------- */

/* Acts on each link that has an engine or a prog, once; what is done ends none at once. */
static void
each_link(void (*act)(struct link *l))
{
	for (size_t i = 0; i < PIDS; i++)
		for (struct child *c = server.children[i]; c; c = c->next)
			if (c->kind == CHILD_ENGINE || (c->kind == CHILD_PROG && !c->link->monitor.engine))
				act(c->link);
}

static void
stop_link(struct link *l)
{
	if (!l->peer[0])
		return;
	speak_of(l);
	monitor_stop(&l->monitor, SIGTERM);
	settle(l);
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
	stop_listening();
	drop_spares(true, NULL);
	if (server.ending > 1)
		each_link(stop_link);
	if (server.ending > 2)
		each_link(kill_link);
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
		each_link(stop_link);
	if (heard(SIGABRT))
		end(3);
	if (heard(SIGUSR1) && !server.ending)
		reload();
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
		else
			monitor_fail(&l->monitor, f.code, f.text);
	}
	forget(&l->channel); /* its end comes next */
	fds_close(&l->monitor.channel);
	(void)kill(l->engine, SIGKILL);
}

static void
hear_link(struct link *l)
{
	speak_of(l);
	if (l->stage == STAGE_SPARE)
		hear_spare(l);
	else
		monitor_hear(&l->monitor);
	settle(l);
}

#define LINK_OF(source, member) ((struct link *)(void *)((char *)(source)-offsetof(struct link, member)))

static void
take_event(struct source *s)
{
	struct link *l;

	if (s->fd < 0)
		return; /* an event before this one was its end */
	switch (s->kind) {
	case SOURCE_LISTENER: accept_all(s->fd); break;
	case SOURCE_SIGNER: hear_signer(s); break;
	case SOURCE_CHANNEL: hear_link(LINK_OF(s, channel)); break;
	case SOURCE_LOOKUP:
		l = LINK_OF(s, lookup);
		speak_of(l);
		if (lookup_take(s->fd, &l->monitor.tcp) > 0)
			take_names(l);
		settle(l);
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
			speak_of(l);
			if (l->named_by >= 0 && l->named_by <= now)
				take_names(l);
			if (l->run_at >= 0 && l->run_at <= now)
				monitor_run_prog(&l->monitor);
			settle(l);
		}
		if (l->timed)
			next = sooner(next, l->due);
	}
	return next;
}

static void
refill(void)
{
	while (!server.ending &&
	       server.spares < (server.starting && server.config->spare < 1 ? 1 : server.config->spare) && calm() &&
	       add_spare())
		;
}

static int64_t
next_moment(void)
{
	int64_t at = keep_time();

	if (!server.ending)
		at = sooner(at, sooner(server.look_at, server.mend_at));
	return !calm() && !server.ending ? sooner(at, server.calm_at) : at;
}

static void
turn(const sigset_t *open)
{
	struct epoll_event events[EVENTS];
	int64_t at = next_moment(), ms = at < 0 ? -1 : at - clock_ms();
	int n = epoll_pwait(server.epoll, events, EVENTS, ms < 0 ? (at < 0 ? -1 : 0) : (int)ms, open);

	if (heard(SIGCHLD))
		reap();
	heed_signals();
	for (int i = 0; i < n; i++)
		take_event(events[i].data.ptr);
	mend_signers();
	look_for_changes();
	refill();
	listen_while(!server.starting && has_room());
	free_links();
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

/* The first generation, without which there is nothing to serve. */
static int
load(struct fault *f)
{
	struct generation *g;

	if (generation_stamp(server.config, &server.stamp, f) < 0)
		server.look_at = -1; /* it can be read once only */
	else
		server.look_at = clock_ms() + TICK_MS;
	server.seen = server.stamp;
	g = generation_start(server.config, server.privileges, f);
	if (!g)
		return -1;
	server.now = g;
	for (size_t i = 0; i < g->n; i++) {
		struct pollfd p = {.fd = g->signers[i].control, .events = POLLIN};
		enum notary_news news;

		while ((news = notary_hear(&g->signers[i], NULL, f)) == NOTARY_NOTHING)
			if (ppoll(&p, 1, NULL, &server.mask) < 0 && told[SIGCHLD] == 0)
				return fault_set(f, FAULT_SYSTEM, "interrupted");
		if (news == NOTARY_FAILED)
			return -1;
		if (news != NOTARY_READY)
			return fault_set(f, FAULT_SYSTEM, "a signer died");
	}
	return generation_finish(g, server.config, &server.asking, f);
}

static int
listen_here(struct fault *f)
{
	for (size_t i = 0; i < server.listening.n; i++)
		if (watch(&server.listeners[i], SOURCE_LISTENER, server.listening.fd[i], 0) < 0)
			return fault_set(f, FAULT_SYSTEM, "cannot wait for connections: %s", strerror(errno));
	watch_signers(server.now);
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
	if (make_links(2 * ((size_t)c->connections + (size_t)c->spare) + 16, f) < 0)
		return -1;
	server.clients = own_memory(clients_size((size_t)c->connections + 1), f);
	if (!server.clients)
		return -1;
	clients_init(server.clients, (size_t)c->connections + 1);
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (server.epoll < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot get ready: %s", strerror(errno));
	if (privileges_narrow(server.privileges, f) < 0 || load(f) < 0)
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
	server.starting = true;
	for (size_t i = 0; i < sizeof server.signers / sizeof *server.signers; i++)
		server.signers[i].fd = -1;
	watch_signals();
	open = open_mask();
	if (start(&f) < 0)
		return fail(&f);
	monitor_tell_weakness(config, privileges);
	refill();
	while ((!server.ending || server.live > 0) && server.fault.code == FAULT_NONE && server.ending < 3)
		turn(&open);
	if (server.fault.code != FAULT_NONE)
		return fail(&server.fault);
	generation_end(server.now);
	return 0;
}
