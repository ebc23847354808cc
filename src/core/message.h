/*
 * The messages between monitor and engine, and between monitor and signer, one
 * a packet: a type, and for some of them a body. Whoever reads one checks every
 * byte of it.
 */
#ifndef CORE_MESSAGE_H
#define CORE_MESSAGE_H

#include "core/fault.h"
#include "core/relay.h"
#include "core/session.h"
#include "core/span.h"
#include "core/ucspi.h"

#include <stdint.h>

enum message_type {
	/* From the engine. */
	MSG_UP = 1,	   /* handshake complete; body: the session block */
	MSG_END,	   /* the connection is over; body: struct report */
	MSG_FAULT,	   /* the engine could not be set up; body: struct fault */
	MSG_ASK,	   /* has prog exited? */
	MSG_ASK_PATIENTLY, /* likewise, when its stdout has just closed: wait ASK_PATIENCE_MS for it */
	MSG_CONNECTED,	   /* to the server, where the engine connects; body: the ucspi block */
	MSG_READY,	   /* for a connection, sealed; or, from a signer, to sign */
	/* From the monitor. */
	MSG_START,   /* all is in order: read from the network, on the descriptor that comes with it, if one does */
	MSG_RUN,     /* prog runs; its stdin and stdout come with it where the engine has none */
	MSG_NOT_RUN, /* prog will not run */
	MSG_EXITED,  /* prog has exited; also an answer to MSG_ASK */
	MSG_ALIVE,   /* the other answer */
	MSG_STOP,    /* end the connection as after a failure */
	/* Between monitor and signer. */
	MSG_SIGN,    /* for the engine whose socket comes with it; body: the connection's number */
	MSG_REFUSED, /* what an engine asked for was none of its business; body: likewise, and a text */
};

/* How long a process may take from closing its descriptors to its end, on a machine that is busy. */
#define ASK_PATIENCE_MS 200

/* How a connection ended. */
struct report {
	enum relay_end end;
	uint64_t in, out;      /* bytes that prog was given, and that were taken from it */
	char text[FAULT_TEXT]; /* what to say of a failure; "" otherwise */
};

/* The longest message, its type included. */
#define MESSAGE_MAX (1 + SESSION_MAX)

/* Each writes a whole message into out[0..MESSAGE_MAX) and returns its length, or -1 when it does not fit. */
long message_up(unsigned char *out, const struct session *s);
long message_connected(unsigned char *out, const struct ucspi *u);
long message_end(unsigned char *out, const struct report *r);
long message_fault(unsigned char *out, const struct fault *f);

/* Each reads a whole message of its type. Returns 0, or -1 when it is not exactly of its form. */
int message_read_up(struct span in, struct session *s);
int message_read_connected(struct span in, struct ucspi *u);
int message_read_end(struct span in, struct report *r);
int message_read_fault(struct span in, struct fault *f);

/* As above. A signer's fault may be of any code; its file is what it reads. */
int message_read_key_fault(struct span in, struct fault *f);
long message_sign(unsigned char *out, uint64_t number);
int message_read_sign(struct span in, uint64_t *number);
long message_refused(unsigned char *out, uint64_t number, const char *text);
int message_read_refused(struct span in, uint64_t *number, char text[FAULT_TEXT]);

#endif
