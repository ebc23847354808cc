/*
 * The command lines of all programs: one table of options, from which parsing,
 * usage and help come. Reads argv, touches nothing else.
 */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include "core/dnsname.h"
#include "core/fault.h"

#include <stddef.h>

/* The programs, as a set. */
enum program {
	TLSD = 1,
	TLSC = 2,
	TLSCLIENT = 4,
	TLSSERVER = 8,
	CLIENTS = TLSC | TLSCLIENT,
	SERVERS = TLSD | TLSSERVER,
	PROGRAMS = SERVERS | CLIENTS,
};

/* Where the sockets begin that a service manager hands over (sd_listen_fds(3)). */
#define SOCKETS_FROM 3

/* The largest number that any option takes. */
#define OPTION_MAX 2147483647

enum verify {
	VERIFY_NONE,	 /* no certificate is asked for, or whatever it is will do */
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
	enum program program;
	int rfd, wfd;	  /* the ciphertext is on these, and prog's ends of the pipes will be; they differ */
	int close;	  /* enum close_mode */
	int enforce;	  /* the peer must send close_notify */
	int verify;	  /* enum verify */
	int certificate;  /* the peer gets one of ours */
	int keep;	  /* our variables stay in prog's environment */
	int verbosity;	  /* 0 fatal, 1 warnings, 2 a line at handshake and end, 3 debug */
	int idle_ms;	  /* no byte from either side */
	int handshake_ms; /* the whole handshake */
	int linger_ms;	  /* waiting for a peer after our last byte */
	int log_fd;	  /* where messages go; -1: stderr */
	int sandbox;	  /* enum sandbox */
	int show;	  /* enum show: print this and exit */

	/* Clients. */
	char servername[DNSNAME_SIZE]; /* a DNS name without trailing dot, or an address in numbers; "": none */
	int any_name;		       /* it is only asked for, and need not be the server's */

	/* Those that make connections, or take them. */
	const char *host, *port; /* where to; NULL with sockets that are there */
	int family;		 /* 0: any; 4, 6 */
	const char *local_ip;	 /* in numbers; NULL: any */
	const char *local_port;	 /* number or service; NULL: any */
	const char *local_name;	 /* NULL: to be looked up */
	int nodelay;		 /* TCP_NODELAY */
	int unqualified;	 /* no search domain is put behind host */
	int no_lookup;		 /* of the addresses' names */
	int ident;		 /* IDENT was asked for */
	int round_s[2]; /* how long an address may take, in seconds, and how long when it is tried again; 0: it is not
			 */
	int connect_s;	/* how long all of it may take, in seconds; 0: for ever */

	/* Those that take them. */
	int listen_fd;	    /* a listening socket that is there; -1: none */
	int sockets;	    /* so many are there, from SOCKETS_FROM on */
	int backlog;	    /* connections that the system keeps for us */
	int connections;    /* at the same time, at most */
	int per_client;	    /* likewise, of one client address; 0: as connections */
	int handshakes;	    /* likewise, in progress; 0: as connections */
	int spare;	    /* engines that are ready before there is a connection for them */
	int print_port;	    /* the port goes to stdout when ready */
	int notify_fd;	    /* a newline goes there when ready; -1: nowhere */
	const char *rules;  /* a directory that says who may connect; NULL: everybody */
	int paranoid;	    /* a name must lead back to the address it is of */
	int lookup_ms;	    /* how long names may take */
	int uid, gid;	    /* of prog; -1: as we were started */
	const char *groups; /* likewise, as ids_groups reads them; NULL */
	int ids_from_env;   /* they are in UID, GID and GIDLIST */

	char *const
	    *prog; /* NULL-terminated, points into argv; NULL with show, or where the terminal takes its place */
};

/* "s6-tlsd" */
const char *options_name(enum program program);

/*
 * Reads argv (NULL-terminated) of a program into *config, which gets its
 * defaults first, and which points into argv. A server was handed over so many
 * listening sockets, and takes no ip and port where it has any. Returns 0, or -1 with *f:
 * FAULT_USAGE and a text that names the option; *config is then as far as it
 * was understood.
 */
int options_parse(enum program program, int sockets, struct config *config, char *const argv[], struct fault *f);

/* The one-line synopsis, written into out[0..size); returns its length, or -1 when it does not fit. */
int options_usage(enum program program, char *out, size_t size);

/* The synopsis and a line an option, likewise. */
int options_help(enum program program, char *out, size_t size);

#endif
