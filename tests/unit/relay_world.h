/*
 * A small world around the relay: peer, prog, monitor, engine, kernel, and the
 * loop that stands between them (src/sys/loop.c). relay_world.c lets it take
 * one step, relay_laws.c judges each, relay_model.c visits every state.
 *
 * A byte is a cell in one of the buffers on its way:
 *
 *     peer -> net -> undecrypted -> app_out -> prog
 *     prog -> pipe -> (busy) -> wire_out -> peer
 *
 * A buffer is empty or full; wire_out, where it makes a difference to the loop,
 * may also hold some. Cells leave in the order in which they came, so that what
 * there is to prove is that none is dropped, and where the ends stand among
 * them. Of the buffers behind the relay, the socket's and the pipe to prog, only
 * this counts: that a write is taken whole, in part or not at all, which is the
 * world's choice each time. Peer and prog may do at any time whatever they can.
 *
 * Taken for granted of the parts that are not the relay, each with a test of its
 * own: an engine that is busy has something for the wire; the engine is hungry
 * before the wire's end is told; the monitor answers a question once, and not
 * that prog lives after it has exited; prog runs before that is told.
 */
#ifndef TESTS_RELAY_WORLD_H
#define TESTS_RELAY_WORLD_H

#include "core/relay.h"

#include <stdbool.h>
#include <stdint.h>

/* What comes or goes on the wire, the size of a record but for the first. */
enum cell {
	CELL_PART,	/* the beginning of a record; the next cell is its rest */
	CELL_HANDSHAKE, /* or any other record that is not about prog's bytes */
	CELL_DATA,
	CELL_NOTIFY,
	CELL_BAD,   /* from the peer: what makes the engine fail, a fatal alert for instance */
	CELL_ALERT, /* to the peer */
};

/* Handshake, close_notify and alert find room in wire_out all the same. */
enum { NET_FULL = 1, UNDECRYPTED_FULL = 1, APP_OUT_FULL = 1, PIPE_FULL = 1, WIRE_OUT_FULL = 2, WIRE_OUT_MOST = 6 };

/* How the peer's direction ended. */
enum ending { GOES_ON, FIN, RST };

enum prog { PROG_NOT_YET, PROG_LIVES, PROG_GONE };

/* What the monitor was told and has told. */
enum monitor {
	MONITOR_IDLE,
	MONITOR_REPORTED,
	MONITOR_SAYS_RUN,
	MONITOR_SAYS_NOT_RUN,
	MONITOR_ANSWERED,
	MONITOR_GONE,
};

/* Whether it was asked if prog lives, and said that it does. */
enum alive { UNSAID, SAID, HEARD };

/* What was asked of the loop so far. */
enum done {
	DID_CLOSE_PROG_IN = 1,
	DID_CLOSE_PROG_OUT = 2,
	DID_NOTIFY = 4,
	DID_FIN = 8,
	DID_CLOSE_WIRE = 16,
	DID_RESET_WIRE = 32,
	DID_ASK = 64,
	DID_SEND_NOTIFY = 128, /* the wire took it */
};

/* What the peer did that a relay may hold against it. */
enum misdeed { MISDEED_CUT = 1, MISDEED_NO_NOTIFY = 2, MISDEED_RESET = 4, MISDEED_TLS = 8 };

/* All but the relay. Bytes alone, so that states can be compared as bytes. */
struct around {
	/* The peer, and what it sent that was not read. */
	uint8_t net[NET_FULL], net_n;
	uint8_t peer_end, peer_inside, peer_notified, peer_broke;
	uint8_t deaf; /* the wire takes nothing more, and nothing was read that says so */
	/* The engine. `mute`: it falls silent with the peer's close_notify, and fails without an alert (BearSSL). */
	uint8_t flights; /* of the peer's handshake, still to come */
	uint8_t undecrypted[UNDECRYPTED_FULL], undecrypted_n;
	uint8_t inside; /* the last cell that was read is not the last of its record */
	uint8_t app_out, busy;
	uint8_t wire_out[WIRE_OUT_MOST], wire_out_n;
	uint8_t up, notified, failed, silent, closed, mute, tls13;
	/* The loop. */
	uint8_t seen, ended, wire_end, exited, rest;
	/* Prog, and the pipe from it: `own` cells of it are prog's, what is behind them its heir's. */
	uint8_t prog, in_shut, out_shut, heir, pipe, own;
	/* The monitor. */
	uint8_t monitor, says_alive, stopped;
	/* What happened. `early`: misdeeds at a moment when not all was over. */
	uint8_t done, early;
	uint8_t lost;	 /* a byte of prog's never reached the wire, and no rule says that it need not */
	uint8_t cut;	 /* the answer was cut where its next byte might be missing */
	uint8_t refused; /* the wire refused a byte of prog's while it still brought some */
};

struct world {
	struct relay relay;
	struct around a;
};

/* What a step took of the world that not every world gives. */
enum needs {
	NEEDS_MISFORTUNE = 1, /* a failure, a signal */
	NEEDS_PEER = 2,	      /* the peer to do something, or to take a byte */
	NEEDS_CLOCK = 4,      /* a clock to run out */
	NEEDS_PROG = 8,	      /* prog to do more than exit */
	NEEDS_TURN = 16,      /* the loop to turn: all other steps are the world's */
};

/* Which of n things happens, from 0; relay_model.c sees to it that all of them do. */
unsigned choose(unsigned n);

/* Tells of the step, where somebody listens. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A start: how the program was called, and what the backend can. */
struct world world_start(bool client, bool notify, bool half, bool enforce, bool tls13, bool mute);

/* One step of the world or one turn of the loop. Returns whether there was one, and adds to *needs. */
bool world_step(struct world *w, unsigned *needs);

/* Whether poll waits in the next turn, for all that is ready by now. */
bool world_waits(const struct world *w);

/* What is so in this world: enum relay_fact. */
unsigned world_facts(const struct world *w, enum relay_event event);

/* Cells of prog that were taken and are not yet with the wire. */
bool world_on_the_way(const struct around *a);

/* Whether prog has exited and the wire has its last byte. */
bool world_over(const struct around *a);

/* -- laws: each ends the test where it does not hold ----------------------- */

/* One call of relay_step: from `before`, by the event with these facts, to w->relay, which asks for `todo`. Called
 * before anything is performed. */
void laws_of_step(const struct relay *before, const struct world *w, enum relay_event event, unsigned todo);

/* One cell that the wire takes, or that is dropped on the way to it or on the way to prog. */
void laws_of_sending(const struct world *w, enum cell cell);
void laws_of_dropping(const struct world *w, bool unread);

/* What is waited for, and for how long. */
void laws_of_waiting(const struct world *w);

/* A relay that does not come to rest. */
void laws_of_rest(unsigned rounds);

/* Fails, with all that led there, unless it holds. */
void law(bool holds, const char *name);

#endif
