/*
 * Which variables are ours is said in two lists, and nowhere else.
 */
#include "core/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read by the program: removed unless kept. A name with a colon stands for all that begin with it. */
static const char *const read_by_us[] = {
    "CADIR", "CAFILE", "KEYFILE", "CERTFILE", "TLS_UID", "TLS_GID", "KEYFILE:", "CERTFILE:"};

/* Written by the program: never inherited. In the order of their values in written(). */
static const char *const written_by_us[] = {
    "SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI_SERVERNAME", "SSL_PEER_CERT_HASH", "SSL_PEER_CERT_SUBJECT"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool
named(const char *variable, const char *name)
{
	size_t n = strlen(name);

	return strncmp(variable, name, n) == 0 && (name[n - 1] == ':' || variable[n] == '=');
}

static bool
among(const char *variable, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (named(variable, names[i]))
			return true;
	return false;
}

static const char *
written(const struct session *s, size_t i)
{
	const char *const values[COUNT(written_by_us)] = {s->protocol, s->cipher, s->has_sni ? s->sni : NULL,
	    s->has_peer ? s->hash : NULL, s->has_peer ? s->subject : NULL};

	return values[i];
}

char **
environment_plan(char *const old[], const struct session *session, bool keep)
{
	size_t n = 0, text = 0;
	char **plan, *p, **next;

	while (old[n])
		n++;
	for (size_t i = 0; i < COUNT(written_by_us); i++)
		if (written(session, i))
			text += strlen(written_by_us[i]) + 1 + strlen(written(session, i)) + 1;
	plan = malloc((n + COUNT(written_by_us) + 1) * sizeof *plan + text);
	if (!plan)
		return NULL;
	next = plan;
	p = (char *)(plan + n + COUNT(written_by_us) + 1);
	for (size_t i = 0; i < n; i++)
		if (!among(old[i], written_by_us, COUNT(written_by_us)) &&
		    (keep || !among(old[i], read_by_us, COUNT(read_by_us))))
			*next++ = old[i];
	for (size_t i = 0; i < COUNT(written_by_us); i++) {
		if (!written(session, i))
			continue;
		*next++ = p;
		p += sprintf(p, "%s=%s", written_by_us[i], written(session, i)) + 1;
	}
	*next = NULL;
	return plan;
}
