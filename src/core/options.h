/*
 * The command line: one table of options, from which parsing, usage and help
 * come. Reads argv, touches nothing else.
 */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include "core/fault.h"

#include <stddef.h>

/* The largest number that any option takes. */
#define OPTION_MAX 2147483647

enum verify {
	VERIFY_NONE,	 /* no certificate is asked for */
	VERIFY_OPTIONAL, /* none is fine, a bad one is refused */
	VERIFY_REQUIRED,
};

/* How prog's EOF is sent. */
enum close_mode {
	CLOSE_FIN,	   /* TCP half close */
	CLOSE_NOTIFY,	   /* close_notify, and the end */
	CLOSE_NOTIFY_HALF, /* close_notify, and where the version allows only for our direction */
};

/* What becomes of the seal, in the order of the option's words. */
enum sandbox {
	SANDBOX_TRY,	 /* what the kernel lacks is left out */
	SANDBOX_REQUIRE, /* it must have all */
	SANDBOX_OFF,
};

enum show { SHOW_NONE, SHOW_HELP, SHOW_VERSION, SHOW_BACKEND };

/* All that the command line decides. Numbers of milliseconds: 0 is never, but for linger. */
struct config {
	int close;	   /* enum close_mode */
	int enforce;	   /* the peer must send close_notify */
	int verify;	   /* enum verify */
	int keep;	   /* our variables stay in prog's environment */
	int verbosity;	   /* 0 fatal, 1 warnings, 2 a line at handshake and end, 3 debug */
	int idle_ms;	   /* no byte from either side */
	int handshake_ms;  /* the whole handshake */
	int linger_ms;	   /* waiting for a peer after our last byte */
	int log_fd;	   /* where messages go; -1: stderr */
	int sandbox;	   /* enum sandbox */
	int show;	   /* enum show: print this and exit */
	char *const *prog; /* NULL-terminated, points into argv; NULL with show */
};

/*
 * Reads argv (NULL-terminated) into *config, which gets its defaults first.
 * Returns 0, or -1 with *f: FAULT_USAGE and a text that names the option.
 */
int options_parse(struct config *config, char *const argv[], struct fault *f);

/* The one-line synopsis, written into out[0..size); returns its length, or -1 when it does not fit. */
int options_usage(char *out, size_t size);

/* The synopsis and a line an option, likewise. */
int options_help(char *out, size_t size);

#endif
