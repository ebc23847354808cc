/*
 * The connections there are, as links: their memory, their clocks, the pids of
 * their processes; and what the loop waits for. Decides nothing about them.
 */
#include "sys/serving.h"

#include "sys/clock.h"
#include "sys/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

struct server server;

/* -- sources ------------------------------------------------------------- */

int
serving_watch(struct source *s, enum source_kind kind, int fd, unsigned events)
{
	struct epoll_event e = {.events = events, .data.ptr = s};

	s->kind = kind;
	s->fd = fd;
	return epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &e);
}

/* Children may still have copies, for a moment: closing alone would not take it out of the set. */
void
serving_forget(struct source *s)
{
	if (s->fd >= 0)
		(void)epoll_ctl(server.epoll, EPOLL_CTL_DEL, s->fd, NULL);
	s->fd = -1;
}

/* -- links --------------------------------------------------------------- */

/* Memory that children do not get: an engine that is taken over learns nothing of other connections. */
void *
serving_own_memory(size_t n, struct fault *f)
{
	void *own = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (own != MAP_FAILED && madvise(own, n, MADV_DONTFORK) == 0)
		return own;
	(void)fault_set(f, FAULT_SYSTEM, "no memory for so many connections: %s", strerror(errno));
	return NULL;
}

/* All links there may be. */
int
links_make(size_t n, struct fault *f)
{
	server.arena = serving_own_memory(n * sizeof *server.arena, f);
	server.links = n;
	return server.arena ? 0 : -1;
}

/* Links that were never used come last, and stay untouched till then. */
struct link *
link_take(void)
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

void
link_give(struct link *l)
{
	l->stage = STAGE_FREE;
	l->next = server.free;
	server.free = l;
}

/* From now on lines are about it; NULL: about the server. */
void
serving_speak_of(const struct link *l)
{
	log_connection(l ? l->engine : 0, l ? l->peer : "");
}

void
link_untime(struct link *l)
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

/* Has the link's clocks looked at by `at`; -1: it has none. */
static void
time_at(struct link *l, int64_t at)
{
	link_untime(l);
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
void
link_retime(struct link *l)
{
	int64_t ms = monitor_keep_time(&l->monitor), at = ms < 0 ? -1 : clock_ms() + ms;

	time_at(l, l->stage == STAGE_OVER ? -1 : sooner(at, sooner(l->named_by, l->run_at)));
}

void
link_add_child(struct link *l, struct child *c, enum child_kind kind, pid_t pid)
{
	struct child **chain = &server.children[pid % PIDS];

	*c = (struct child){.kind = kind, .pid = pid, .link = l, .next = *chain};
	*chain = c;
}

/* Takes the child with that pid out of its chain. Returns NULL when there is none. */
struct child *
link_take_child(pid_t pid)
{
	struct child **p = &server.children[pid % PIDS], *c;

	while (*p && (*p)->pid != pid)
		p = &(*p)->next;
	c = *p;
	if (c)
		*p = c->next;
	return c;
}

/* Acts on each link that has an engine or a prog, once; what is done ends none at once. */
void
links_each(void (*act)(struct link *l))
{
	for (size_t i = 0; i < PIDS; i++)
		for (struct child *c = server.children[i]; c; c = c->next)
			if (c->kind == CHILD_ENGINE || (c->kind == CHILD_PROG && !c->link->monitor.engine))
				act(c->link);
}

/* A look-up that still runs keeps its link until it is reaped. */
void
links_free(void)
{
	struct link *kept = NULL, *next;

	for (struct link *l = server.over; l; l = next) {
		next = l->next;
		if (!l->asks) {
			link_give(l);
			continue;
		}
		l->next = kept;
		kept = l;
	}
	server.over = kept;
}

/* -- trouble ------------------------------------------------------------- */

/* The system has no room: connections wait in the kernel's queue. Said once, until something goes well again. */
void
serving_back_off(const char *text, int ms)
{
	if (!server.troubled)
		log_line(LOG_LEVEL_WARNING, "%s; connections wait", text);
	server.troubled = true;
	server.calm_at = clock_ms() + ms;
}

bool
serving_calm(void)
{
	return clock_ms() >= server.calm_at;
}

bool
serving_no_room(int error)
{
	return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE || error == ENOBUFS;
}
