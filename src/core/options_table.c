/*
 * Every option of every program, a row each. A new option is a new row here:
 * parser, usage line and help of each of its programs follow by themselves.
 */
#include "core/options_table.h"

#define FIELD(name) offsetof(struct config, name)

/* Those that follow the letters of s6-tcpclient and s6-tcpserver. */
#define TCP (TLSCLIENT | TLSSERVER)

const struct option options_table[] = {
    {PROGRAMS, 'S', "close-notify", SET, FIELD(close), CLOSE_NOTIFY, NULL, "send prog's EOF as close_notify, then end"},
    {PROGRAMS, 's', "no-close-notify", SET, FIELD(close), CLOSE_FIN, NULL,
	"send prog's EOF as TCP half close (default)"},
    {PROGRAMS, 0, "half-close-notify", SET, FIELD(close), CLOSE_NOTIFY_HALF, NULL,
	"as -S, but on TLS 1.3 still deliver what the peer sends"},
    {PROGRAMS, 'J', "enforce-close-notify", SET, FIELD(enforce), 1, NULL,
	"the peer's EOF without close_notify is an error"},
    {PROGRAMS, 'j', NULL, SET, FIELD(enforce), 0, NULL, "the peer's EOF without close_notify is normal (default)"},
    {SERVERS, 'Y', "client-cert", SET, FIELD(verify), VERIFY_OPTIONAL, NULL,
	"ask for a client certificate; refuse a bad one"},
    {SERVERS, 'y', "mandatory-client-cert", SET, FIELD(verify), VERIFY_REQUIRED, NULL, "demand a client certificate"},
    {CLIENTS, 'Y', NULL, SET, FIELD(certificate), 0, NULL, "send no client certificate (default)"},
    {CLIENTS, 'y', NULL, SET, FIELD(certificate), 1, NULL, "send the client certificate in CERTFILE if asked for one"},
    {CLIENTS, 'k', "servername", NAME, FIELD(servername), 0, "name",
	"ask for this server, whose certificate must bear the name"},
    {CLIENTS, 0, "no-verify-name", SET, FIELD(any_name), 1, NULL, "any name in a verified certificate will do"},
    {CLIENTS, 0, "no-verify-cert", SET, FIELD(verify), VERIFY_NONE, NULL, "any certificate will do: for debugging"},
    {PROGRAMS, 'Z', "keep", SET, FIELD(keep), 1, NULL, "keep our variables in prog's environment"},
    {PROGRAMS, 'z', "no-keep", SET, FIELD(keep), 0, NULL, "remove them (default)"},
    {TLSD | TLSC, 'v', "verbosity", NUMBER, FIELD(verbosity), 0, "n",
	"0 fatal errors, 1 warnings (default), 2 connections, 3 debug"},
    {TCP, 'q', NULL, SET, FIELD(verbosity), 0, NULL, "tell of fatal errors alone"},
    {TCP, 'Q', NULL, SET, FIELD(verbosity), 1, NULL, "and of warnings (default)"},
    {TCP, 'v', NULL, SET, FIELD(verbosity), 2, NULL, "and of connections"},
    {TCP, 0, "verbosity", NUMBER, FIELD(verbosity), 0, "n", "0 as -q, 1 as -Q, 2 as -v, 3 debug"},
    {PROGRAMS, 'K', "idle-timeout", NUMBER, FIELD(idle_ms), 0, "ms",
	"end when neither side sends for so long (0: never)"},
    {PROGRAMS, 0, "handshake-timeout", NUMBER, FIELD(handshake_ms), 0, "ms",
	"bound the handshake (0: never; s6-tlsserver: 30000)"},
    {PROGRAMS, 0, "linger", NUMBER, FIELD(linger_ms), 0, "ms", "bound the wait for a peer after our last byte (2000)"},
    {TLSC, '6', NULL, NUMBER, FIELD(rfd), 0, "rfd", "read from the network, and prog from us, on this descriptor (6)"},
    {TLSC, '7', NULL, NUMBER, FIELD(wfd), 0, "wfd", "write to the network, and prog to us, on this descriptor (7)"},
    {TCP, '4', NULL, SET, FIELD(family), 4, NULL, "use IPv4 alone"},
    {TCP, '6', NULL, SET, FIELD(family), 6, NULL, "use IPv6 alone"},
    {TLSCLIENT, 'T', NULL, ROUNDS, FIELD(round_s), 0, "x[+y]",
	"give an address x seconds, and y when it is tried again (2+58)"},
    {TLSCLIENT, 't', NULL, NUMBER, FIELD(connect_s), 0, "s", "give up when there is no connection by then (0: never)"},
    {TLSCLIENT, 'i', NULL, ADDRESS, FIELD(local_ip), 0, "localip", "connect from this address"},
    {TLSCLIENT, 'p', NULL, PORT, FIELD(local_port), 0, "localport", "connect from this port"},
    {TLSSERVER, '1', NULL, SET, FIELD(print_port), 1, NULL, "write the port to stdout when ready"},
    {TLSSERVER, 0, "notify-fd", NUMBER, FIELD(notify_fd), 0, "fd", "write a newline there when ready"},
    {TLSSERVER, 0, "listen-fd", NUMBER, FIELD(listen_fd), 0, "fd", "take connections from this socket: no ip and port"},
    {TLSSERVER, 'c', NULL, NUMBER, FIELD(connections), 0, "n", "so many connections at a time; others wait (40)"},
    {TLSSERVER, 'C', NULL, NUMBER, FIELD(per_client), 0, "n",
	"so many of one client address; others are closed (as -c)"},
    {TLSSERVER, 0, "max-handshakes", NUMBER, FIELD(handshakes), 0, "n",
	"so many handshakes at a time; others wait (as -c)"},
    {TLSSERVER, 0, "spare", NUMBER, FIELD(spare), 0, "n", "keep so many engines ready (2)"},
    {TLSSERVER, 'b', NULL, NUMBER, FIELD(backlog), 0, "n", "so many may wait (1024)"},
    {TLSSERVER, 'i', NULL, TEXT, FIELD(rules), 0, "rulesdir", "who may connect, and with which variables"},
    {TLSSERVER, 'u', NULL, NUMBER, FIELD(uid), 0, "uid", "run prog under this uid"},
    {TLSSERVER, 'g', NULL, NUMBER, FIELD(gid), 0, "gid", "under this gid"},
    {TLSSERVER, 'G', NULL, LIST, FIELD(groups), 0, "gid,...", "with these supplementary groups"},
    {TLSSERVER, 'U', NULL, SET, FIELD(ids_from_env), 1, NULL, "take them from UID, GID and GIDLIST"},
    {TCP, 'd', NULL, SET, FIELD(nodelay), 0, NULL, "leave TCP_NODELAY unset (default)"},
    {TCP, 'D', NULL, SET, FIELD(nodelay), 1, NULL, "set it: no small packet waits"},
    {TLSCLIENT, 'n', NULL, SET, FIELD(unqualified), 0, NULL,
	"look host up in the system's search domains too (default)"},
    {TLSCLIENT, 'N', NULL, SET, FIELD(unqualified), 1, NULL, "look it up as it stands"},
    {TCP, 'h', NULL, SET, FIELD(no_lookup), 0, NULL, "look up the names of both addresses (s6-tlsclient: default)"},
    {TCP, 'H', NULL, SET, FIELD(no_lookup), 1, NULL, "do not (s6-tlsserver: default)"},
    {TLSSERVER, 'p', NULL, SET, FIELD(paranoid), 1, NULL, "believe a name only if it leads back to the address"},
    {TLSSERVER, 'P', NULL, SET, FIELD(paranoid), 0, NULL, "believe it (default)"},
    {TLSSERVER, 't', NULL, NUMBER, FIELD(lookup_ms), 0, "ms", "do without names that take longer (10000)"},
    {TCP, 'l', NULL, TEXT, FIELD(local_name), 0, "localname", "the local name, instead of a look-up"},
    {TCP, 'r', NULL, SET, FIELD(ident), 1, NULL, "IDENT: is not done, and warned of"},
    {TCP, 'R', NULL, SET, FIELD(ident), 0, NULL, "no IDENT (default)"},
    {PROGRAMS, 0, "log-fd", NUMBER, FIELD(log_fd), 0, "fd", "write messages there instead of stderr"},
    {PROGRAMS, 0, "sandbox", CHOICE, FIELD(sandbox), 0, "try|require|off",
	"seal the engine (try: as far as the kernel can)"},
    {PROGRAMS, 0, "backend", SET, FIELD(show), SHOW_BACKEND, NULL, "print the TLS library and its version"},
    {PROGRAMS, 0, "version", SET, FIELD(show), SHOW_VERSION, NULL, "print the version"},
    {PROGRAMS, 0, "help", SET, FIELD(show), SHOW_HELP, NULL, "print this"},
    {0},
};

#undef TCP

const struct option *
options_next(enum program program, size_t *i)
{
	while (options_table[*i].programs && !(options_table[*i].programs & program))
		++*i;
	return options_table[*i].programs ? &options_table[(*i)++] : NULL;
}

/* What a program is called, and what follows its options. */
static const struct {
	enum program program;
	const char *name, *rest;
} programs[] = {
    {TLSD, "s6-tlsd", "prog..."},
    {TLSC, "s6-tlsc", "prog..."},
    {TLSCLIENT, "s6-tlsclient", "host port [ prog... ]"},
    {TLSSERVER, "s6-tlsserver", "ip port prog..."},
};

static size_t
place(enum program program)
{
	size_t i = 0;

	while (programs[i].program != program)
		i++;
	return i;
}

const char *
options_name(enum program program)
{
	return programs[place(program)].name;
}

const char *
options_rest(enum program program)
{
	return programs[place(program)].rest;
}
