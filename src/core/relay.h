/*
 * The life of a connection as a pure state machine: two half-close machines,
 * one a direction, and the wire beneath them. It performs nothing: relay_step
 * says what to do, relay_want what to wait for, relay_timers which clocks run.
 * It holds no pointer and never allocates, so that all of it can be enumerated.
 *
 * rx is the way of a byte from the wire to prog's stdin, tx from prog's stdout
 * to the wire. Both only ever go forward.
 */
#ifndef CORE_RELAY_H
#define CORE_RELAY_H

#include <stdbool.h>

enum relay_stage {
	RELAY_HANDSHAKE,
	RELAY_STARTING, /* reported; prog does not run yet */
	RELAY_RUNNING,
	RELAY_ENDED, /* nothing is left to do */
};

enum relay_rx {
	RX_OPEN,  /* decrypted and handed to prog */
	RX_DROP,  /* prog takes no more: decrypted and dropped */
	RX_DRAIN, /* nothing more comes; what was decrypted still goes to prog */
	RX_DONE,  /* prog's stdin is closed, nothing is decrypted for it */
};

enum relay_tx {
	TX_OPEN,
	TX_DRAIN,  /* prog wrote its last byte; it is on its way */
	TX_NOTIFY, /* close_notify was queued behind it */
	TX_FLUSH,  /* after a failure: what the engine holds (the alert) still goes out */
	TX_SHUT,   /* FIN was sent */
	TX_CUT,	   /* bytes of prog are lost: no FIN, the wire will be reset */
	TX_DEAD,   /* the wire takes nothing any more */
};

enum relay_net {
	NET_OPEN,
	NET_LINGER, /* our last byte is out or a failure is being told; nothing is judged any more */
	NET_CLOSED,
};

/* Who or what ended the connection: the first cause. Those from END_CUT on are failures and prevail. */
enum relay_end {
	END_NONE,
	END_PROG_EOF,
	END_PROG_EXIT,
	END_PEER_EOF,
	END_PEER_NOTIFY,
	END_CUT,       /* EOF inside a record */
	END_NO_NOTIFY, /* EOF without close_notify where one is demanded */
	END_ABANDONED, /* EOF or close_notify inside the handshake */
	END_RESET,     /* the wire gave an error */
	END_TLS,       /* the engine failed */
	END_IDLE,      /* no byte from either side for too long */
	END_LATE,      /* the handshake took too long */
	END_STALLED,   /* the peer does not take the rest */
	END_NOT_RUN,   /* prog could not be run, or a pipe of it failed */
	END_SIGNAL,    /* the monitor was told to end */
	END_ORPHANED,  /* the monitor is gone */
	END_COUNT
};

/* What is so at the moment of a step. The caller gathers it, from engine, buffers and pipe. */
enum relay_fact {
	FACT_WIRE_ROOM = 1,   /* the engine can take bytes from the wire */
	FACT_WIRE_OUT = 2,    /* the engine has bytes for the wire */
	FACT_APP_ROOM = 4,    /* the engine can take bytes from prog */
	FACT_APP_OUT = 8,     /* the engine has bytes for prog */
	FACT_APP_BUSY = 16,   /* bytes of prog were taken and are not yet in a record */
	FACT_MID_RECORD = 32, /* the last byte from the wire was not the last of its record */
	FACT_REST = 64,	      /* the pipe from prog holds bytes */
	FACT_HALF = 128,      /* this protocol version lets the peer go on after our close_notify */
	FACT_MUTE = 256,      /* the engine takes nothing of prog any more: the peer closed, and cannot be answered */
	FACT_SILENT = 512,    /* the engine failed, and no alert tells the peer */
	FACT_DATA_OUT = 1024, /* bytes of prog are among those for the wire, or of the handshake before them */
	FACT_ALL = 2047,
};

enum relay_event {
	EV_MOVED,	 /* bytes moved, or an action was performed: the facts may differ */
	EV_UP,		 /* the handshake is complete */
	EV_RUN,		 /* prog runs */
	EV_NOT_RUN,	 /* prog could not be run, or a pipe of it failed */
	EV_NOTIFIED,	 /* the peer's close_notify, after its last byte was decrypted */
	EV_BROKEN,	 /* the engine failed, likewise */
	EV_WIRE_EOF,	 /* FIN, and all that came before it was decrypted */
	EV_WIRE_RESET,	 /* reading the wire gave an error, likewise */
	EV_WIRE_REFUSED, /* writing the wire gave an error */
	EV_WIRE_DRY,	 /* WANT_WIRE_LAST: nothing is left to be read */
	EV_PROG_EOF,	 /* prog's last byte was taken */
	EV_PROG_DEAF,	 /* prog closed its stdin */
	EV_PROG_EXIT,	 /* prog has exited; FACT_REST tells of what it left in the pipe */
	EV_PROG_ALIVE,	 /* the answer to DO_ASK: prog has not */
	EV_IDLE,
	EV_LATE,
	EV_STALLED,
	EV_LINGERED,
	EV_SIGNAL,
	EV_ORPHANED,
	EV_COUNT
};

/* What relay_step asks for, in the order in which it is to be performed. */
enum relay_action {
	DO_REPORT = 1,	       /* tell the monitor that the handshake is complete */
	DO_CLOSE_PROG_IN = 2,  /* prog reads EOF */
	DO_CLOSE_PROG_OUT = 4, /* prog's stdout is read no more */
	DO_NOTIFY = 8,	       /* queue close_notify */
	DO_FIN = 16,	       /* half close the wire */
	DO_CLOSE_WIRE = 32,    /* close it, nothing lost */
	DO_RESET_WIRE = 64,    /* close it so that the peer sees a cut */
	DO_ASK = 128,	       /* ask the monitor whether prog has exited; nothing is judged before it answers */
	DO_END = 256,	       /* tell the monitor how it ended, and exit */
};

/* What to poll for, and what to do with bytes that have nowhere to go. */
enum relay_want {
	WANT_WIRE_IN = 1,
	WANT_WIRE_LAST = 2, /* read without waiting; EV_WIRE_DRY when nothing is there */
	WANT_WIRE_OUT = 4,
	WANT_PROG_IN = 8,     /* write to prog's stdin */
	WANT_PROG_OUT = 16,   /* read from prog's stdout */
	WANT_RAW = 32,	      /* bytes from the wire do not go to the engine but are dropped */
	WANT_DROP_APP = 64,   /* what the engine has for prog is dropped */
	WANT_DROP_WIRE = 128, /* what the engine has for the wire is dropped */
};

enum relay_timer {
	TIMER_HANDSHAKE = 1, /* since the start; expiry is EV_LATE */
	TIMER_IDLE = 2,	     /* since the last byte from wire or prog; EV_IDLE */
	TIMER_STALL = 4,     /* since the wire last took a byte; EV_STALLED */
	TIMER_LINGER = 8,    /* since this timer began to run; EV_LINGERED */
};

/*
 * Invariants: tx is TX_SHUT only when every byte of prog was handed to the
 * wire; net is NET_CLOSED only when tx is TX_SHUT, TX_CUT or TX_DEAD; an end
 * that is a failure never changes.
 */
struct relay {
	bool notify;  /* send close_notify behind prog's last byte */
	bool half;    /* ... and still deliver what the peer sends, where FACT_HALF allows */
	bool enforce; /* the peer's EOF without close_notify is a failure */
	enum relay_stage stage;
	enum relay_rx rx;
	enum relay_tx tx;
	enum relay_net net;
	enum relay_end end;
	enum relay_end doubt; /* a failure that is none if prog had exited before; END_NONE: no doubt */
	bool exited;	      /* prog has */
	bool notified;	      /* the peer's close_notify was seen */
	bool wire_done;	      /* nothing more is read from the wire */
	bool raw;	      /* the engine is fed no more */
	bool lost;	      /* bytes of prog never reached the wire */
};

/* The state before the first byte. */
struct relay relay_start(bool notify, bool half, bool enforce);

/* Moves *r by one event; `facts` is a set of enum relay_fact. Returns a set of enum relay_action. After performing
 * a non-empty one, call again with EV_MOVED and fresh facts, until nothing is asked for. */
unsigned relay_step(struct relay *r, enum relay_event event, unsigned facts);

/* A set of enum relay_want. */
unsigned relay_want(const struct relay *r, unsigned facts);

/* A set of enum relay_timer. */
unsigned relay_timers(const struct relay *r);

/* Whether the connection failed. */
bool relay_failed(const struct relay *r);

/* "prog", "peer" or "self": who ended it; and how, one word for a log line. */
const char *relay_end_by(enum relay_end end);
const char *relay_end_how(enum relay_end end);

#endif
