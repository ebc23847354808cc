/*
 * A kernel in memory, as far as the loop can see one: a wire, prog's two pipes,
 * the channel to the monitor, a clock. The loop is linked with its calls of the
 * system replaced by those of model.c (--wrap). The other ends are the world's,
 * which calls what is below.
 */
#ifndef TESTS_KERNEL_MODEL_H
#define TESTS_KERNEL_MODEL_H

#include "core/record.h"
#include "plan.h"
#include "sys/loop.h"

enum { RING = 65536, FIRST_FD = 1000, FDS = 16, QUEUED = 8, MESSAGE = 4096 };

/* A direction of something: what was written and not yet read. */
struct stream {
	size_t room, begin, n;
	bool ended; /* nobody writes any more */
	bool deaf;  /* nobody reads any more */
	uint64_t written, read;
	unsigned char ring[RING];
};

struct packet {
	size_t n;
	bool fds; /* prog's pipes come with it */
	unsigned char bytes[MESSAGE];
};

struct queue {
	unsigned begin, n;
	bool ended;
	struct packet packets[QUEUED];
};

/* What a descriptor is of; a socket may be both of the first. */
enum { IS_IN = 1, IS_OUT = 2, IS_PROG_IN = 4, IS_PROG_OUT = 8, IS_CHANNEL = 16, IS_SIGNER = 32 };

enum wire_end { WIRE_LIVES, WIRE_FIN, WIRE_RST };

struct kernel {
	const struct plan *plan;
	int64_t now;
	unsigned long calls, turns, faults; /* so far, of this run */
	int fds[FDS];			    /* a set of IS_, 0: closed */
	int fds_n;
	struct stream up, down, to_prog, from_prog;
	struct queue to_engine, to_monitor;
	struct record record; /* of what was read from the wire */
	int error;	      /* of the socket, told once */
	bool dead;	      /* the socket, by a RST */
	bool abort;	      /* a close of it would be one */
	bool peer_gone;	      /* what comes for it is answered by a RST */
	enum wire_end end;    /* what the peer sees of ours */
	bool may_read;	      /* poll said that the wire can be read, and it was not yet */
	unsigned counts[SITES];
	bool monitor_gone;
	/* What happened, for the judge; moments are numbers of calls, 0: never. */
	unsigned long struck[SITES]; /* by a blow */
	unsigned long trouble;	     /* the first failure of the wire that the loop was told of */
	bool read_trouble;	     /* by a read */
	bool saw_error, saw_eof, saw_cut, saw_unnotified;
	unsigned long fin;	   /* the end of what goes to the peer */
	uint64_t own_at_fin;	   /* so many bytes prog had written then, */
	uint64_t given_at_fin;	   /* and been given */
	uint64_t own, own_at_look; /* likewise now, and when the loop last asked what the pipe holds */
	bool exit_heard;	   /* prog's, by the loop, */
	uint64_t rest;		   /* which saw so much then, in all, of what prog wrote; 0: it did not look */
	bool peer_notified;	   /* its close_notify is in the wire */
};

extern struct kernel kernel;
extern bool verbose;

void kernel_begin(const struct plan *p, struct loop_fds *fds);
int kernel_open(int is); /* a new descriptor */

/* Something is not as it must be: the run ends, with this text. */
_Noreturn void wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A line of the trace. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

size_t stream_free(const struct stream *s);
size_t stream_put(struct stream *s, const unsigned char *p, size_t n);
size_t stream_get(struct stream *s, unsigned char *p, size_t n);

/* The peer's side of the wire. */
void peer_fin(void);
void peer_reset(void);
void peer_close(void);
void peer_knocks(void); /* sends to a wire that nobody reads */

/* Whether a descriptor of such a kind is still open. */
bool still_open(int is);

/* The monitor's side of the channel. */
void monitor_says(enum message_type type, bool fds);
const struct packet *monitor_hears(void); /* NULL: nothing */
void monitor_dies(void);

/* -- the world, which the kernel runs ------------------------------------- */

/* One step of anybody who can take one. */
void world_nudge(void);

/* A step of everybody. Returns whether anybody could take one. */
bool world_step(void);

/* The next moment at which somebody wakes; -1: nobody does. */
int64_t world_alarm(void);

#endif
