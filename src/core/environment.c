/*
 * Which variables are ours is said in three lists, and nowhere else.
 */
#include "core/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read by the program: removed unless kept. A name with a colon stands for all that begin with it. */
static const char *const read_by_us[] = {
    "CADIR", "CAFILE", "KEYFILE", "CERTFILE", "TLS_UID", "TLS_GID", "KEYFILE:", "CERTFILE:"};

/* Written by the program: never inherited. */
struct written {
	const char *name, *value; /* value NULL: there is none */
};

enum { WRITTEN = 14 };

static bool
named(const char *variable, const char *name)
{
	size_t n = strlen(name);

	return strncmp(variable, name, n) == 0 && (name[n - 1] == ':' || variable[n] == '=');
}

static bool
reads(const char *variable)
{
	for (size_t i = 0; i < sizeof read_by_us / sizeof *read_by_us; i++)
		if (named(variable, read_by_us[i]))
			return true;
	return false;
}

static bool
writes(const struct written *w, size_t n, const char *variable)
{
	for (size_t i = 0; i < n; i++)
		if (named(variable, w[i].name))
			return true;
	return false;
}

static size_t
list_session(const struct session *s, struct written *w)
{
	size_t n = 0;

	w[n++] = (struct written){"SSL_PROTOCOL", s->protocol};
	w[n++] = (struct written){"SSL_CIPHER", s->cipher};
	w[n++] = (struct written){"SSL_TLS_SNI_SERVERNAME", s->has_sni ? s->sni : NULL};
	w[n++] = (struct written){"SSL_PEER_CERT_HASH", s->has_peer ? s->hash : NULL};
	w[n++] = (struct written){"SSL_PEER_CERT_SUBJECT", s->has_peer ? s->subject : NULL};
	return n;
}

/* As tcp-environ(5) has them. */
static size_t
list_tcp(const struct ucspi *u, const char *local_name, struct written *w)
{
	size_t n = 0;

	w[n++] = (struct written){"PROTO", "TCP"};
	w[n++] = (struct written){"TCPLOCALIP", u->local_ip};
	w[n++] = (struct written){"TCPLOCALPORT", u->local_port};
	w[n++] = (struct written){"TCPREMOTEIP", u->remote_ip};
	w[n++] = (struct written){"TCPREMOTEPORT", u->remote_port};
	w[n++] = (struct written){"TCPLOCALHOST", local_name ? local_name : u->has_local_host ? u->local_host : NULL};
	w[n++] = (struct written){"TCPREMOTEHOST", u->has_remote_host ? u->remote_host : NULL};
	w[n++] = (struct written){"TCPREMOTEINFO", NULL};
	w[n++] = (struct written){"TCPCONNNUM", u->connections[0] ? u->connections : NULL};
	return n;
}

/* Whether no change may be about the variable: it is read by us, or tells of the session. */
static bool
reserved(const char *change)
{
	size_t n = strcspn(change, "=");

	for (size_t i = 0; i < sizeof read_by_us / sizeof *read_by_us; i++) {
		size_t length = strlen(read_by_us[i]);

		if (strncmp(change, read_by_us[i], length) == 0 && (read_by_us[i][length - 1] == ':' || n == length))
			return true;
	}
	return strncmp(change, "SSL_", 4) == 0;
}

/* What is in the plan, up to `end`, without the variable that the change is about. Returns the new end. */
static char **
without(char **plan, char **end, const char *change)
{
	size_t n = strcspn(change, "=");
	char **kept = plan;

	for (char **p = plan; p < end; p++)
		if (strncmp(*p, change, n) != 0 || (*p)[n] != '=')
			*kept++ = *p;
	return kept;
}

static size_t
count(const struct changes *changes)
{
	size_t n = 0;

	for (size_t at = 0; at < changes->n; at += strlen(changes->text + at) + 1)
		n++;
	return n;
}

/* Changes the plan, up to `end`. Returns the new end. */
static char **
apply(char **plan, char **end, const struct changes *changes)
{
	for (size_t at = 0; at < changes->n; at += strlen(changes->text + at) + 1) {
		char *change = changes->text + at;

		if (reserved(change))
			continue;
		end = without(plan, end, change);
		if (strchr(change, '='))
			*end++ = change;
	}
	return end;
}

char **
environment_plan(char *const old[], const struct session *session, const struct ucspi *tcp, const char *local_name,
    bool keep, const struct changes *changes)
{
	static const struct changes none = {0};
	struct written w[WRITTEN];
	size_t n = list_session(session, w), inherited = 0, most, text = 0;
	char **plan, *p, **next;

	if (!changes)
		changes = &none;
	if (tcp)
		n += list_tcp(tcp, local_name, w + n);
	while (old[inherited])
		inherited++;
	for (size_t i = 0; i < n; i++)
		if (w[i].value)
			text += strlen(w[i].name) + 1 + strlen(w[i].value) + 1;
	most = inherited + n + count(changes) + 1;
	plan = malloc(most * sizeof *plan + text);
	if (!plan)
		return NULL;
	next = plan;
	p = (char *)(plan + most);
	for (size_t i = 0; i < inherited; i++)
		if (!writes(w, n, old[i]) && (keep || !reads(old[i])))
			*next++ = old[i];
	for (size_t i = 0; i < n; i++) {
		if (!w[i].value)
			continue;
		*next++ = p;
		p += sprintf(p, "%s=%s", w[i].name, w[i].value) + 1;
	}
	*apply(plan, next, changes) = NULL;
	return plan;
}
