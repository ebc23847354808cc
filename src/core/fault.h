/*
 * What went wrong, told once: the exit code and one line of text, composed
 * where the knowledge is and printed by whoever may print. Never holds secrets.
 */
#ifndef CORE_FAULT_H
#define CORE_FAULT_H

/* The program's exit codes; anything else is prog's own. */
enum fault_code {
	FAULT_NONE = 0,
	FAULT_CONTEXT = 96, /* key, certificate or trust anchors */
	FAULT_ENGINE = 97,  /* the TLS engine cannot be set up */
	FAULT_TLS = 98,	    /* the handshake or the connection failed */
	FAULT_USAGE = 100,  /* wrong usage, or a variable unset or malformed */
	FAULT_SYSTEM = 111, /* a system call failed */
};

/* Room for a path of ordinary length and a reason. */
#define FAULT_TEXT 1024

struct fault {
	enum fault_code code;
	char text[FAULT_TEXT];
};

/*
 * Fills *f and returns -1, so that a caller can `return fault_set(...)`. A
 * text longer than FAULT_TEXT ends in "..."; bytes that are not printable
 * ASCII become '?', so that a text is always fit to be one line of a log. The
 * arguments may point into f->text, to put words around an earlier fault.
 */
int fault_set(struct fault *f, enum fault_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
