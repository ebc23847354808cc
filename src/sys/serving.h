/*
 * What the files of the super-server share: its connections, and what each of
 * them does for the others. server.c has the loop, serving.c the connections
 * there are, server_admit.c those that come, server_engines.c what runs for
 * them, server_certs.c what they are made from.
 */
#ifndef SYS_SERVING_H
#define SYS_SERVING_H

#include "core/changes.h"
#include "core/clients.h"
#include "core/options.h"
#include "sys/generation.h"
#include "sys/listen.h"
#include "sys/monitor.h"
#include "sys/privileges.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum {
	EVENTS = 64,	   /* taken from the kernel at a time, or off a socket */
	PIDS = 4096,	   /* chains of children by pid */
	TICK_MS = 250,	   /* between looks at the files */
	AGAIN_MS = 100,	   /* between tries of what the system had no room for */
	RETRY_MS = 1000,   /* between tries of what fails by itself: engines, signers */
	SCARCE_MS = 10000, /* how long a system without room is thought to have little */
	SPARES_LOST = 3,   /* engines in a row that may end by themselves before that is a reason to wait */
};

enum source_kind { SOURCE_LISTENER, SOURCE_CHANNEL, SOURCE_LOOKUP, SOURCE_SIGNER };

/* What an event of the epoll set is about. */
struct source {
	enum source_kind kind;
	int fd;
};

enum stage {
	STAGE_FREE,
	STAGE_SPARE,	 /* an engine without a connection */
	STAGE_HANDSHAKE, /* it has one */
	STAGE_UP,	 /* whose handshake is over */
	STAGE_OVER,	 /* nothing of it runs any more; freed behind the events that are being looked at */
};

enum child_kind { CHILD_ENGINE, CHILD_PROG, CHILD_LOOKUP };

/* A process of a link's, by its pid. */
struct child {
	enum child_kind kind;
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

struct server {
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
	struct child **children; /* PIDS chains */
	struct clients *clients;
	int live, handshakes, spares;
	int put_off;		/* connections whose prog could not be started yet */
	int64_t scarce_until;	/* the system had no room for one: not more than one comes in at a time */
	int64_t started_at;	/* the last prog */
	int spares_lost;	/* in a row, that ended by themselves */
	int held;		/* a connection that no engine could be had for yet; -1 */
	struct ucspi held_from; /* its addresses */
	uint64_t number;
	int64_t calm_at; /* not before is anything started or accepted */
	bool troubled;	 /* that was said */
	bool mending;	 /* likewise, of signers that do not come back */
	int ending;	 /* how often we were told to end */
	bool starting;	 /* no engine has been ready yet */
	struct fault fault;
};

extern struct server server;

/* The sooner of two moments; -1: never. */
static inline int64_t
sooner(int64_t a, int64_t b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* -- server.c ---------------------------------------------------------------- */

/* The mask at the start, but open to the signals that are acted on. */
sigset_t serving_open_mask(void);

/* Whether a signal came that means an end. */
bool serving_interrupted(void);

/* -- serving.c --------------------------------------------------------------- */

/* Has the loop wait for fd. Returns 0, or -1 with errno. */
int serving_watch(struct source *s, enum source_kind kind, int fd, unsigned events);

/* No longer; before fd is closed. */
void serving_forget(struct source *s);

/* Memory that no child gets, zeroed. Returns NULL with *f. */
void *serving_own_memory(size_t n, struct fault *f);

/* From now on lines are about it; NULL: about the server. */
void serving_speak_of(const struct link *l);

/* The system has no room: connections wait in the kernel's queue for so long. Said once, until something goes well. */
void serving_back_off(const char *text, int ms);
bool serving_calm(void);

/* Whether the errno is one of a system that has no room now. */
bool serving_no_room(int error);

/* Room for n links. Returns 0, or -1 with *f. */
int links_make(size_t n, struct fault *f);

/* An unused link, with nothing known; NULL: all are used. And back. */
struct link *link_take(void);
void link_give(struct link *l);

/* Looks at the link's clocks again; has none looked at. */
void link_retime(struct link *l);
void link_untime(struct link *l);

/* A process belongs to the link, until it is reaped: then it is taken out. NULL: nobody's. */
void link_add_child(struct link *l, struct child *c, enum child_kind kind, pid_t pid);
struct child *link_take_child(pid_t pid);

/* Acts on each link that has an engine or a prog, once; what is done ends none at once. */
void links_each(void (*act)(struct link *l));

/* Gives back links that are over, when no event is about them any more. */
void links_free(void);

/* -- server_engines.c -------------------------------------------------------- */

/* Of a link with a connection. */
extern const struct monitor_owner serving_owner;

/* One more spare engine. Returns whether there is one. */
bool spare_add(void);

/* Takes one out of the list of those that wait for a connection. */
void spare_remove(struct link *l);

/* Ends spare engines: all; or those of an earlier generation, or of a signer that is gone. */
void spare_drop(bool all, const struct notary *signer);

/* After whatever was told to the link: it may be over now. */
void link_settle(struct link *l);

/* Prog was put off until then; -1: not any more. */
void link_put_off(struct link *l, int64_t until);

/* Where all progs are put off and none runs, a connection gives its place to the others. */
void serving_make_way(void);

/* Nobody waits for names any more. */
void link_end_lookup(struct link *l);

void serving_tell_status(void);

/* -- server_admit.c ---------------------------------------------------------- */

/* Takes what waits at a listening socket, as far as there is room. */
void admit_all(int fd);

/* Whether one more connection may be taken; has the sockets looked at while that is so; and never again. */
bool admit_has_room(void);
void admit_while(bool wanted);
void admit_none(void);

/* Once more the connection that is held. */
void admit_held(void);

/* The link's names are known, or never will be. */
void admit_names(struct link *l);

/* -- server_certs.c ---------------------------------------------------------- */

/* The first generation, without which there is nothing to serve. Returns 0, or -1 with *f. */
int certs_load(struct fault *f);
void certs_watch(const struct generation *g);

/* Starts the next one: when it is told to; when the files have changed and it is time to look. */
void certs_reload(void);
void certs_look(void);

/* Takes what a signer says, and whether it said something; its end; and puts others in place of those that died. */
bool certs_hear(struct source *source);
void certs_exited(pid_t pid);
void certs_mend(void);

#endif
