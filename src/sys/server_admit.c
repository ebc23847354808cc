/*
 * Who comes in: connections are taken when there is an engine for them, counted
 * by client, held against the access rules, and given to the engine.
 */
#include "sys/serving.h"

#include "sys/access.h"
#include "sys/channel.h"
#include "sys/clock.h"
#include "sys/log.h"
#include "sys/lookup.h"
#include "sys/peer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* -- who may connect ------------------------------------------------------- */

static void
refuse(struct link *l, const char *why)
{
	log_line(LOG_LEVEL_INFO, "event=refused why=\"%s\"", why);
	l->monitor.outcome.fault = FAULT_TLS;
	(void)kill(l->engine, SIGKILL);
}

/* What a rule says of prog's environment goes to memory that no child gets, as the rest of a link. */
static bool
keep_changes(struct link *l, struct changes *changes)
{
	struct fault f;
	char *own = changes->n > 0 ? serving_own_memory(changes->n, &f) : NULL;
	bool kept = changes->n == 0 || own;

	if (own) {
		memcpy(own, changes->text, changes->n);
		l->changes = (struct changes){.text = own, .n = changes->n};
	}
	changes_free(changes);
	return kept;
}

/* By its name, where its address did not decide. */
static bool
judge_by_name(struct link *l)
{
	const struct ucspi *u = &l->monitor.tcp;
	struct changes changes = {0};
	enum access a = ACCESS_NONE;
	struct fault f;

	if (server.rules < 0 || l->judged)
		return true;
	if (u->has_remote_host)
		a = access_by_name(server.rules, u->remote_host, &changes, &f);
	if (a == ACCESS_ERROR)
		log_line(LOG_LEVEL_WARNING, "%s", f.text);
	return keep_changes(l, &changes) && a == ACCESS_ALLOW;
}

void
admit_names(struct link *l)
{
	link_end_lookup(l);
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
		admit_names(l);
		return;
	}
	l->asks = pid;
	link_add_child(l, &l->lookup_child, CHILD_LOOKUP, pid);
	l->named_by = clock_ms() + server.config->lookup_ms;
	if (serving_watch(&l->lookup, SOURCE_LOOKUP, channel, EPOLLIN) < 0)
		admit_names(l);
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

	m->owner = &serving_owner;
	monitor_connected(m, clock_ms());
	m->tcp = *u;
	memcpy(l->key, key, CLIENTS_KEY);
	(void)snprintf(m->tcp.connections, sizeof m->tcp.connections, "%u", clients_add(server.clients, key));
	peer_format(u->remote_ip, u->remote_port, l->peer, sizeof l->peer);
	server.live++;
	server.handshakes++;
	server.spares_lost = 0;
	server.troubled = server.put_off > 0;
	serving_tell_status();
	serving_speak_of(l);
	log_line(LOG_LEVEL_DEBUG, "event=accept local=%s port=%s", u->local_ip, u->local_port);
	ask_names(l);
	link_settle(l);
}

static void
turn_away(const struct ucspi *u, const char *why)
{
	char peer[64];

	peer_format(u->remote_ip, u->remote_port, peer, sizeof peer);
	log_connection(0, peer);
	log_line(LOG_LEVEL_INFO, "event=refused why=\"%s\"", why);
	serving_speak_of(NULL);
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

	while ((l = server.spare) || (spare_add() && (l = server.spare))) {
		spare_remove(l);
		l->stage = STAGE_HANDSHAKE;
		if (hand_over(l, sock))
			return l;
		(void)kill(l->engine, SIGKILL); /* it is dead, or as good as that */
	}
	return NULL;
}

/* Gives it to an engine. Without one it is held until there is. */
static void
place(int sock, const struct ucspi *u, const unsigned char *key, struct changes *changes, bool judged)
{
	struct link *l = find_engine(sock);

	if (!l) {
		changes_free(changes);
		server.held = sock;
		server.held_from = *u;
		return;
	}
	l->judged = judged;
	if (!keep_changes(l, changes))
		(void)kill(l->engine, SIGKILL); /* there is no memory: prog must not run without them */
	begin(l, u, key);
	(void)close(sock);
}

/* What comes of a connection that was accepted. */
static void
admit(int sock, const struct ucspi *u)
{
	struct changes changes = {0};
	unsigned char key[CLIENTS_KEY];
	const char *why = NULL;
	enum access a = ACCESS_DENY;

	if (clients_key(u->remote_ip, key) < 0)
		why = "its address is not known";
	else if (too_many(key))
		why = "too many connections of this client";
	else if ((a = judge_by_address(u, &changes)) == ACCESS_DENY || a == ACCESS_ERROR)
		why = "no access rule allows it";
	if (!why) {
		place(sock, u, key, &changes, a == ACCESS_ALLOW);
		return;
	}
	turn_away(u, why);
	(void)close(sock);
}

void
admit_held(void)
{
	int sock = server.held;

	if (sock < 0 || !serving_calm())
		return;
	server.held = -1;
	admit(sock, &server.held_from);
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
	serving_back_off(text, AGAIN_MS);
	return false;
}

/* Takes what waits at a socket, one connection. Returns whether there may be more. */
static bool
accept_one(int fd)
{
	struct ucspi u;
	int sock;

	/* The last spare engine keeps the place of a prog, for those that are in. */
	if (server.spares < 1 + (server.handshakes + server.put_off > 0) && !spare_add())
		return false;
	sock = listen_accept(fd, server.config, &u);
	if (sock < 0)
		return passing(errno) || (errno != EAGAIN && cannot_accept(errno));
	admit(sock, &u);
	return true;
}

bool
admit_has_room(void)
{
	const struct config *c = server.config;
	int handshakes = c->handshakes > 0 ? c->handshakes : c->connections;

	/* Where there is little room, those that are in have it. */
	if (server.put_off > 0 || server.held >= 0 || (clock_ms() < server.scarce_until && server.handshakes > 0))
		return false;
	return !server.ending && server.live < c->connections && server.handshakes < handshakes && serving_calm();
}

void
admit_all(int fd)
{
	/* The first may have an engine made for it, others are for those that are ready. */
	for (int i = 0; i < EVENTS && admit_has_room() && (i == 0 || server.spares > 1) && accept_one(fd); i++)
		;
}

/* Whether the sockets are looked at for connections. */
void
admit_while(bool wanted)
{
	if (wanted == server.listens)
		return;
	server.listens = wanted;
	for (size_t i = 0; i < server.listening.n; i++) {
		struct epoll_event e = {.events = wanted ? EPOLLIN : 0, .data.ptr = &server.listeners[i]};

		(void)epoll_ctl(server.epoll, EPOLL_CTL_MOD, server.listening.fd[i], &e);
	}
}

void
admit_none(void)
{
	for (size_t i = 0; i < server.listening.n; i++)
		serving_forget(&server.listeners[i]);
	listen_close(&server.listening);
}
