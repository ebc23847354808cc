/*
 * One connection as its monitor sees it: an engine and prog, each a child, the
 * channel to the engine, and how it all ended. It waits for nothing: whoever
 * has the connection, alone (solo.h) or with many others (server.h), tells it
 * what came. What the engine says is checked before it is believed; an engine
 * that talks nonsense is killed. It reads nothing from the network.
 */
#ifndef SYS_MONITOR_H
#define SYS_MONITOR_H

#include "core/message.h"
#include "core/options.h"
#include "core/ucspi.h"
#include "core/verdict.h"
#include "sys/log.h"
#include "sys/privileges.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct monitor;

/* What the one who has the connection does for it. */
struct monitor_owner {
	/*
	 * Runs prog and tells the engine. Returns 0 with m->prog; 1 when that
	 * cannot be now: the owner calls monitor_run_prog when it can; -1 with *f.
	 */
	int (*run)(struct monitor *m, const struct session *session, struct fault *f);
	/* Nothing is to be signed any more. */
	void (*forget_key)(struct monitor *m);
	/* The channel is about to be closed; NULL: that is nobody's concern. */
	void (*hang_up)(struct monitor *m);
	/* How its failures are told: a program's one connection is all there is to it. */
	enum log_level failure;
};

/* Times are moments of clock_ms, -1: never. */
struct monitor {
	const struct config *config;
	const struct monitor_owner *owner;
	int64_t start;	     /* from which its time counts */
	int channel;	     /* to the engine; -1 when it has hung up */
	pid_t engine, prog;  /* 0: not running */
	bool dials;	     /* the engine makes the connection, */
	bool connected;	     /* and has, */
	int64_t dial_by;     /* by this moment at most */
	struct ucspi tcp;    /* of the connection, where we or the engine made it */
	bool ready;	     /* the engine waits for a connection, or never says so */
	bool up;	     /* the engine has reported the handshake, */
	unsigned char *news; /* in these bytes, kept until prog runs; NULL */
	size_t news_n;
	bool reported;	   /* the engine has said how it ended */
	bool asked;	   /* the engine asked once whether prog has exited */
	int64_t answer_at; /* when to answer that prog lives; -1: not asked, or answered */
	int64_t patience;  /* when an engine that should be gone is killed */
	bool killed;	   /* it was */
	struct report report;
	struct outcome outcome;
};

/* Says of what protects the key and the machine what is not there. */
void monitor_tell_weakness(const struct config *config, const struct privileges *privileges);

/* Nothing has come yet, no process runs. */
void monitor_begin(struct monitor *m, const struct config *config, const struct monitor_owner *owner, int64_t start);

/* A failure of the connection; the first one is the one that is told. */
void monitor_fail(struct monitor *m, enum fault_code code, const char *text);

/* Likewise, and its engine is not to be believed any more. */
void monitor_distrust(struct monitor *m, enum fault_code code, const char *text);

/* The engine has its connection, and an end of the handshake by which it has to be over, if there is one. */
void monitor_connected(struct monitor *m, int64_t start);

/* Sends the engine a message that is its type alone. */
void monitor_tell(struct monitor *m, enum message_type type);

/* Takes everything that waits in the channel. */
void monitor_hear(struct monitor *m);

/* Once more what run was asked for and put off. */
void monitor_run_prog(struct monitor *m);

/* Its engine or its prog has exited, with the status of waitpid(2). */
void monitor_engine_exited(struct monitor *m, int status);
void monitor_prog_exited(struct monitor *m, int status);

/* Ends the connection as after a failure, because of that signal, which prog gets as well. */
void monitor_stop(struct monitor *m, int signal);

/* Kills what there is of it. */
void monitor_kill(struct monitor *m);

/* Does what it is time for. Returns the time until the next such moment in ms, or -1. */
int64_t monitor_keep_time(struct monitor *m);

/* Tells of the end. Returns verdict() of it, once neither engine nor prog runs. */
int monitor_end(struct monitor *m);

#endif
