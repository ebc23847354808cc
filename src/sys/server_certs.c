/*
 * Which generation new connections are made from: the one in use, the one that
 * is being read, and signers that die. No handshake sees half of each.
 */
#include "sys/serving.h"

#include "sys/clock.h"
#include "sys/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>

/* Places of a generation's signers among the sources. */
static struct source *
signer_source(const struct generation *g, size_t i)
{
	return &server.signers[(g == server.coming ? GENERATION_SIGNERS : 0) + i];
}

void
certs_watch(const struct generation *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->signers[i].control >= 0)
			(void)serving_watch(signer_source(g, i), SOURCE_SIGNER, g->signers[i].control, EPOLLIN);
}

static void
forget_signers(const struct generation *g)
{
	for (size_t i = 0; g && i < g->n; i++)
		serving_forget(signer_source(g, i));
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
	server.mending = false;
	certs_watch(g);
	spare_drop(false, NULL);
	log_line(LOG_LEVEL_INFO, "event=reload");
}

void
certs_reload(void)
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
		certs_watch(server.coming);
}

/* Files that are being written are left alone until two looks find them alike. */
void
certs_look(void)
{
	uint64_t stamp;
	struct fault f;

	if (server.look_at < 0 || clock_ms() < server.look_at)
		return;
	server.look_at = clock_ms() + TICK_MS;
	if (generation_stamp(server.config, &stamp, &f) < 0)
		stamp = 0;
	if (stamp != server.stamp && stamp == server.seen)
		certs_reload();
	else
		server.seen = stamp;
}

/* In place of signers that died, new ones of the same key. */
void
certs_mend(void)
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
		    serving_watch(signer_source(g, i), SOURCE_SIGNER, s->control, EPOLLIN) == 0)
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
	/* Of one that does not come back it is said once. */
	if (s->ready || !server.mending)
		log_line(LOG_LEVEL_WARNING, "%s; another signer will take its place", f->text);
	server.mending = true;
	server.mend_at = clock_ms() + (s->ready ? 0 : RETRY_MS);
	serving_forget(source);
	notary_release(s);
	if (s->pid)
		(void)kill(s->pid, SIGKILL);
	spare_drop(false, s);
}

static void
refuse_signature(uint64_t number, const struct fault *f)
{
	for (size_t i = 0; i < PIDS; i++)
		for (struct child *c = server.children[i]; c; c = c->next)
			if (c->kind == CHILD_ENGINE && c->link->number == number) {
				serving_speak_of(c->link);
				monitor_distrust(&c->link->monitor, f->code, f->text);
				link_settle(c->link);
				return;
			}
}

/* Returns whether it said something. */
bool
certs_hear(struct source *source)
{
	struct generation *g;
	struct notary *s = signer_of(source, &g);
	struct fault f = {.code = FAULT_SYSTEM};
	uint64_t number;

	switch (notary_hear(s, &number, &f)) {
	case NOTARY_NOTHING: return false;
	case NOTARY_READY:
		log_line(LOG_LEVEL_DEBUG, "event=ready signer=%ld", (long)s->pid);
		server.mending = server.mending && !generation_ready(server.now);
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
void
certs_exited(pid_t pid)
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
		while (source->fd >= 0 && certs_hear(source))
			;
		return;
	}
}

/* The first generation, without which there is nothing to serve. */
int
certs_load(struct fault *f)
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
			if (ppoll(&p, 1, NULL, &server.mask) < 0 && serving_interrupted())
				return fault_set(f, FAULT_SYSTEM, "interrupted");
		if (news == NOTARY_FAILED)
			return -1;
		if (news != NOTARY_READY)
			return fault_set(f, FAULT_SYSTEM, "a signer died");
	}
	return generation_finish(g, server.config, &server.asking, f);
}
