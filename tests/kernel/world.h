/*
 * Who is at the other ends: the peer, with an engine of its own, prog, and the
 * monitor. Each takes a step at a time, as the plan wants it.
 */
#ifndef TESTS_KERNEL_WORLD_H
#define TESTS_KERNEL_WORLD_H

#include "engine/engine.h"
#include "model.h"

struct peer {
	struct engine *engine;
	size_t sent, got; /* of what the two programs say to each other */
	bool notified;	  /* sends its close_notify, or has */
	bool finished;	  /* has sent FIN */
	bool alerted, rude, gone;
	bool saw_end, saw_reset;
	unsigned long steps;
	int64_t wake, leaves;
	unsigned naps;
};

struct prog {
	bool runs, exited, killed;
	bool in_open, out_open;
	size_t wrote, got;
	bool saw_eof;
	bool lives_on;
	size_t grandchild;			       /* bytes that are still to come from one */
	unsigned long steps, exit_at, deaf_at, out_at; /* moments: it exited, closed its stdin, its stdout */
	int64_t wake;
	unsigned naps;
};

struct monitor {
	bool up, run, told, reported, faulted, asked, stopped;
	bool answers; /* is to say that prog is alive, at `wake` */
	unsigned long steps, answered_at, end_at;
	struct report report;
	int64_t wake;
	int64_t run_at, exited_at; /* when it is told of */
};

struct world {
	struct peer peer;
	struct prog prog;
	struct monitor monitor;
};

extern struct world world;

void world_begin(struct engine *peer);

/* The loop has returned: everybody reads what is left. */
void world_finish(void);

#endif
