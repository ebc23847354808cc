/*
 * What runs for a connection, from the spare engine to the last of its
 * processes: engines are forked warm, prog is started when there is a session.
 */
#include "sys/serving.h"

#include "core/environment.h"
#include "sys/channel.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/log.h"
#include "sys/spawn.h"
#include "sys/warm.h"
#include "sys/worker.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

extern char **environ;

/* -- engines ------------------------------------------------------------- */

static const struct monitor_owner spare_owner;

/* Ends that a child does not need are closed in it by worker_run. */
static pid_t
fork_engine(int channel, int ask, struct fault *f)
{
	struct engine_context *context = server.now->context;
	sigset_t mask = serving_open_mask();
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
	/* One that does not take it has died, which will be told: the engine dies of that as well. */
	if (got == 0 && signer && notary_serve(signer, s.answer, l->number) < 0 && errno != EPIPE &&
	    errno != ECONNRESET)
		got = fault_set(f, FAULT_SYSTEM, "a signer takes no engine: %s", strerror(errno));
	if (got == 0)
		l->monitor.engine = fork_engine(channel[1], s.ask, f);
	if (l->monitor.engine <= 0)
		got = -1;
	if (got == 0 && serving_watch(&l->channel, SOURCE_CHANNEL, channel[0], EPOLLIN) < 0) {
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
bool
spare_add(void)
{
	struct notary *signer = generation_signer(server.now);
	struct link *l = link_take();
	struct fault f = {.code = FAULT_NONE};

	if (!l)
		(void)fault_set(&f, FAULT_SYSTEM, "engines that have ended are still there");
	else if (!signer && server.now->n > 0)
		(void)fault_set(&f, FAULT_SYSTEM, "no signer is ready");
	else
		(void)start_engine(l, signer, &f);
	if (!l || f.code != FAULT_NONE) {
		if (l)
			link_give(l);
		serving_back_off(f.text, AGAIN_MS);
		server.scarce_until = clock_ms() + SCARCE_MS;
		return false;
	}
	l->monitor.owner = &spare_owner;
	l->engine = l->monitor.engine;
	l->signer = signer;
	l->generation = server.generation;
	link_add_child(l, &l->engine_child, CHILD_ENGINE, l->engine);
	l->stage = STAGE_SPARE;
	l->next = server.spare;
	server.spare = l;
	server.spares++;
	log_line(LOG_LEVEL_DEBUG, "event=fork engine=%ld populated=%zu", (long)l->engine, warm_pages());
	return true;
}

/* Takes one out of the list of those that wait for a connection. */
void
spare_remove(struct link *l)
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
void
spare_drop(bool all, const struct notary *signer)
{
	struct link *next;

	for (struct link *l = server.spare; l; l = next) {
		next = l->next;
		if (!all && l->generation == server.generation && (!signer || l->signer != signer))
			continue;
		spare_remove(l);
		l->stage = STAGE_HANDSHAKE; /* of nobody: it ends with its engine */
		(void)kill(l->engine, SIGKILL);
	}
}

/* -- the end of a connection --------------------------------------------- */

void
serving_tell_status(void)
{
	serving_speak_of(NULL);
	log_line(LOG_LEVEL_INFO, "status: %d/%d", server.live, server.config->connections);
}

static void
leave_handshake(struct link *l)
{
	if (l->stage == STAGE_HANDSHAKE && l->peer[0])
		server.handshakes--;
	l->signer = NULL;
}

void
link_end_lookup(struct link *l)
{
	int fd = l->lookup.fd;

	serving_forget(&l->lookup);
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

	spare_remove(l);
	leave_handshake(l);
	link_end_lookup(l);
	link_put_off(l, -1);
	serving_forget(&l->channel);
	fds_close(&l->monitor.channel);
	serving_speak_of(l);
	if (connected) {
		(void)monitor_end(&l->monitor);
		(void)clients_remove(server.clients, l->key);
		server.live--;
		serving_tell_status();
	}
	serving_speak_of(NULL);
	if (l->changes.text)
		(void)munmap(l->changes.text, l->changes.n);
	l->changes = (struct changes){0};
	l->stage = STAGE_OVER;
	link_untime(l);
	l->next = server.over;
	server.over = l;
}

/* After whatever was told to it. */
void
link_settle(struct link *l)
{
	if (l->stage == STAGE_HANDSHAKE && l->monitor.up) {
		leave_handshake(l);
		l->stage = STAGE_UP;
	}
	if (l->monitor.engine || l->monitor.prog)
		link_retime(l);
	else if (l->stage != STAGE_OVER)
		end_link(l);
	serving_speak_of(NULL);
}

/* -- prog ---------------------------------------------------------------- */

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
	link_add_child(l, &l->prog_child, CHILD_PROG, l->monitor.prog);
	log_line(LOG_LEVEL_DEBUG, "event=start prog=%ld", (long)l->monitor.prog);
	/* An engine that is gone is seen by its end, and prog by that of its input. */
	return channel_send_fds(l->monitor.channel, message, sizeof message, ends, 2);
}

/*
 * The connection waits, and what engines without one take is for progs. None
 * of the others comes in meanwhile, and for a while only one at a time: what
 * one takes, another one's prog may lack.
 */
static int
put_off(struct link *l, int error)
{
	char text[FAULT_TEXT];

	(void)snprintf(text, sizeof text, "cannot run %.900s now: %s", server.config->prog[0], strerror(error));
	serving_back_off(text, AGAIN_MS);
	if (server.put_off == 0)
		server.started_at = clock_ms();
	link_put_off(l, clock_ms() + AGAIN_MS);
	server.scarce_until = clock_ms() + SCARCE_MS;
	spare_drop(true, NULL);
	return 1;
}

void
link_put_off(struct link *l, int64_t until)
{
	server.put_off += (until >= 0) - (l->run_at >= 0);
	l->run_at = until;
}

void
serving_make_way(void)
{
	struct link *youngest = NULL;

	/* While any prog runs, there is one that may end. */
	if (server.put_off == 0 || server.live > server.put_off || clock_ms() < server.started_at + RETRY_MS)
		return;
	for (struct link *l = server.timed; l; l = l->out)
		if (l->run_at >= 0 && (!youngest || l->number > youngest->number))
			youngest = l;
	if (!youngest)
		return;
	server.started_at = clock_ms();
	serving_speak_of(youngest);
	monitor_distrust(&youngest->monitor, FAULT_SYSTEM, "there is no room for prog, and others wait for it too");
	(void)kill(youngest->engine, SIGKILL);
	link_settle(youngest);
}

/* Prog starts when its names are known and the system has room. */
static int
run(struct monitor *m, const struct session *session, struct fault *f)
{
	struct link *l = (struct link *)m;
	int pipes[2][2] = {{-1, -1}, {-1, -1}}, error;

	link_put_off(l, -1);
	if (!l->named)
		return 1;
	error = make_pipes(pipes);
	if (!error)
		error = spawn_prog(l, session, pipes);
	if (!error && hand_over_prog(l, pipes) < 0 && errno != EPIPE && errno != ECONNRESET)
		monitor_distrust(m, FAULT_SYSTEM, "the engine cannot be told that prog runs");
	for (int i = 0; i < 4; i++)
		fds_close(&pipes[i / 2][i % 2]);
	if (!error) {
		server.started_at = clock_ms();
		return 0;
	}
	if (!serving_no_room(error))
		return fault_set(f, FAULT_SYSTEM, "cannot run %s: %s", server.config->prog[0], strerror(error));
	return put_off(l, error);
}

static void
forget_key(struct monitor *m)
{
	(void)m; /* a signer answers an engine once */
}

/* Before it is closed: in the set it would stay as long as a child has a copy of it. */
static void
hang_up(struct monitor *m)
{
	serving_forget(&((struct link *)m)->channel);
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
    .run = run_nothing, .hang_up = hang_up, .forget_key = forget_key, .failure = LOG_LEVEL_WARNING};

const struct monitor_owner serving_owner = {
    .run = run, .hang_up = hang_up, .forget_key = forget_key, .failure = LOG_LEVEL_WARNING};
