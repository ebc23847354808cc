/*
 * The command line as a table: words in, fields or one clear line out.
 */
#include "core/options_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORDS 14

/* As long as a name may be, with its dot or without. */
#define LABEL "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG_NAME LABEL "." LABEL "." LABEL ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct good {
	const char *words[WORDS];
	struct config config; /* prog aside; .sockets: so many were handed over */
	int prog;	      /* the place of prog among the words; -1: none */
};

#define LISTENS                                                                                                        \
	.listen_fd = -1, .backlog = 1024, .connections = 40, .spare = 2, .notify_fd = -1, .lookup_ms = 10000,          \
	.uid = -1, .gid = -1
#define REST .linger_ms = 2000, .log_fd = -1, .round_s = {2, 58}, LISTENS
#define SERVER .program = TLSD, .rfd = 0, .wfd = 1, .certificate = 1, REST
#define DEFAULTS SERVER, .verbosity = 1
#define CLIENT(p) .program = (p), .verify = VERIFY_REQUIRED, .verbosity = 1, REST
#define C CLIENT(TLSC)
#define TO(h) CLIENT(TLSCLIENT), .rfd = 6, .wfd = 7, .host = (h), .port = "443"
#define FDS .rfd = 6, .wfd = 7
#define GIVEN                                                                                                          \
	.program = TLSSERVER, .wfd = 1, .certificate = 1, .verbosity = 1, .handshake_ms = 30000, .no_lookup = 1, REST
#define AT(h, p) .host = (h), .port = (p)
#define S GIVEN, AT("0", "443")

static const struct good goods[] = {
    {{"cat"}, {DEFAULTS}, 0},
    {{"cat", "-S", "--help"}, {DEFAULTS}, 0},
    {{"--", "-S"}, {DEFAULTS}, 1},
    {{"-"}, {DEFAULTS}, 0},
    {{"-S", "cat"}, {DEFAULTS, .close = CLOSE_NOTIFY}, 1},
    {{"--close-notify", "cat"}, {DEFAULTS, .close = CLOSE_NOTIFY}, 1},
    {{"-S", "-s", "cat"}, {DEFAULTS}, 2},
    {{"-s", "--half-close-notify", "cat"}, {DEFAULTS, .close = CLOSE_NOTIFY_HALF}, 2},
    {{"--half-close-notify", "--no-close-notify", "cat"}, {DEFAULTS}, 2},
    {{"-J", "cat"}, {DEFAULTS, .enforce = 1}, 1},
    {{"--enforce-close-notify", "-j", "cat"}, {DEFAULTS}, 2},
    {{"-Y", "cat"}, {DEFAULTS, .verify = VERIFY_OPTIONAL}, 1},
    {{"--client-cert", "cat"}, {DEFAULTS, .verify = VERIFY_OPTIONAL}, 1},
    {{"-Yy", "cat"}, {DEFAULTS, .verify = VERIFY_REQUIRED}, 1},
    {{"--mandatory-client-cert", "cat"}, {DEFAULTS, .verify = VERIFY_REQUIRED}, 1},
    {{"-Z", "cat"}, {DEFAULTS, .keep = 1}, 1},
    {{"--keep", "--no-keep", "cat"}, {DEFAULTS}, 2},
    {{"-Zz", "cat"}, {DEFAULTS}, 1},
    {{"-v2", "cat"}, {SERVER, .verbosity = 2}, 1},
    {{"-v", "0", "cat"}, {SERVER, .verbosity = 0}, 2},
    {{"--verbosity=3", "cat"}, {SERVER, .verbosity = 3}, 1},
    {{"--verbosity", "3", "cat"}, {SERVER, .verbosity = 3}, 2},
    {{"-K700", "cat"}, {DEFAULTS, .idle_ms = 700}, 1},
    {{"-K", "700", "cat"}, {DEFAULTS, .idle_ms = 700}, 2},
    {{"-SJK", "700", "cat"}, {DEFAULTS, .idle_ms = 700, .close = CLOSE_NOTIFY, .enforce = 1}, 2},
    {{"-SJK700", "cat"}, {DEFAULTS, .idle_ms = 700, .close = CLOSE_NOTIFY, .enforce = 1}, 1},
    {{"--idle-timeout=2147483647", "cat"}, {DEFAULTS, .idle_ms = 2147483647}, 1},
    {{"-K0700", "cat"}, {DEFAULTS, .idle_ms = 700}, 1},
    {{"--handshake-timeout=5", "cat"}, {DEFAULTS, .handshake_ms = 5}, 1},
    {{"--linger=0", "cat"},
	{.program = TLSD, .wfd = 1, .certificate = 1, .verbosity = 1, .log_fd = -1, .round_s = {2, 58}, LISTENS}, 1},
    {{"--log-fd=7", "cat"},
	{.program = TLSD,
	    .wfd = 1,
	    .certificate = 1,
	    .verbosity = 1,
	    .linger_ms = 2000,
	    .log_fd = 7,
	    .round_s = {2, 58},
	    LISTENS},
	1},
    {{"--sandbox=try", "cat"}, {DEFAULTS}, 1},
    {{"--sandbox=require", "cat"}, {DEFAULTS, .sandbox = SANDBOX_REQUIRE}, 1},
    {{"--sandbox", "off", "cat"}, {DEFAULTS, .sandbox = SANDBOX_OFF}, 2},
    {{"--sandbox=off", "--sandbox=require", "cat"}, {DEFAULTS, .sandbox = SANDBOX_REQUIRE}, 2},
    {{"--help"}, {DEFAULTS, .show = SHOW_HELP}, -1},
    {{"--version", "--nonsense"}, {DEFAULTS, .show = SHOW_VERSION}, -1},
    {{"-S", "--backend"}, {DEFAULTS, .close = CLOSE_NOTIFY, .show = SHOW_BACKEND}, -1},

    {{"cat"}, {C, FDS}, 0},
    {{"-y", "cat"}, {C, FDS, .certificate = 1}, 1},
    {{"-yY", "cat"}, {C, FDS}, 1},
    {{"-k", "Example.ORG", "cat"}, {C, FDS, .servername = "example.org"}, 2},
    {{"-kexample.org.", "cat"}, {C, FDS, .servername = "example.org"}, 1},
    {{"--servername=192.0.2.1", "cat"}, {C, FDS, .servername = "192.0.2.1"}, 1},
    {{"-k2001:DB8::1", "cat"}, {C, FDS, .servername = "2001:DB8::1"}, 1},
    {{"-kfe80::1%eth0", "cat"}, {C, FDS, .servername = "fe80::1"}, 1},
    {{"-k", LONG_NAME, "cat"}, {C, FDS, .servername = LONG_NAME}, 2},
    {{"-k", LONG_NAME ".", "cat"}, {C, FDS, .servername = LONG_NAME}, 2},
    {{"-ka", "-kb", "cat"}, {C, FDS, .servername = "b"}, 2},
    {{"--no-verify-name", "cat"}, {C, FDS, .any_name = 1}, 1},
    {{"--no-verify-cert", "cat"}, {.program = TLSC, FDS, .verbosity = 1, REST}, 1},
    {{"-6", "0", "-71", "cat"}, {C, .rfd = 0, .wfd = 1}, 3},
    {{"-v2", "cat"}, {.program = TLSC, FDS, .verify = VERIFY_REQUIRED, .verbosity = 2, REST}, 1},

    {{"localhost", "443"}, {TO("localhost"), .servername = "localhost"}, -1},
    {{"localhost", "443", "cat", "-S"}, {TO("localhost"), .servername = "localhost"}, 2},
    {{"Example.org.", "443", "cat"}, {TO("Example.org."), .servername = "example.org"}, 2},
    {{"::1", "443", "cat"}, {TO("::1"), .servername = "::1"}, 2},
    {{"-k", "a.b", "0", "443", "cat"}, {TO("0"), .servername = "a.b"}, 4},
    {{"--no-verify-name", "0", "443"}, {TO("0"), .any_name = 1}, -1},
    {{"-H", "localhost", "443"}, {TO("localhost"), .servername = "localhost", .no_lookup = 1}, -1},
    {{"-Hh", "localhost", "443"}, {TO("localhost"), .servername = "localhost"}, -1},
    {{"-4", "localhost", "443"}, {TO("localhost"), .servername = "localhost", .family = 4}, -1},
    {{"-46", "localhost", "443"}, {TO("localhost"), .servername = "localhost", .family = 6}, -1},
    {{"-DdD", "localhost", "443"}, {TO("localhost"), .servername = "localhost", .nodelay = 1}, -1},
    {{"-nN", "localhost", "443"}, {TO("localhost"), .servername = "localhost", .unqualified = 1}, -1},
    {{"-r", "localhost", "443"}, {TO("localhost"), .servername = "localhost", .ident = 1}, -1},
    {{"-rR", "localhost", "443"}, {TO("localhost"), .servername = "localhost"}, -1},
    {{"-l0", "-t5", "localhost", "443"},
	{TO("localhost"), .servername = "localhost", .local_name = "0", .connect_s = 5}, -1},
    {{"-i::1", "-p", "1023", "localhost", "443"},
	{TO("localhost"), .servername = "localhost", .local_ip = "::1", .local_port = "1023"}, -1},
    {{"-QqvT3", "localhost", "443"},
	{.program = TLSCLIENT,
	    FDS,
	    .verify = VERIFY_REQUIRED,
	    .verbosity = 2,
	    .linger_ms = 2000,
	    .log_fd = -1,
	    .host = "localhost",
	    .port = "443",
	    .servername = "localhost",
	    .round_s = {3, 0},
	    LISTENS},
	-1},
    {{"-T", "1+2", "localhost", "443"},
	{.program = TLSCLIENT,
	    FDS,
	    .verify = VERIFY_REQUIRED,
	    .verbosity = 1,
	    .linger_ms = 2000,
	    .log_fd = -1,
	    .host = "localhost",
	    .port = "443",
	    .servername = "localhost",
	    .round_s = {1, 2},
	    LISTENS},
	-1},

    {{"0", "443", "cat"}, {S}, 2},
    {{"--", "::", "443", "cat", "-1"}, {GIVEN, AT("::", "443")}, 3},
    {{"0", "65535", "cat"}, {GIVEN, AT("0", "65535")}, 2},
    {{"-1", "localhost", "https", "cat"}, {GIVEN, AT("localhost", "https"), .print_port = 1}, 3},
    {{"-SJyZK5", "0", "443", "cat"},
	{S, .close = CLOSE_NOTIFY, .enforce = 1, .verify = VERIFY_REQUIRED, .keep = 1, .idle_ms = 5}, 3},
    {{"-vQ", "0", "443", "cat"}, {S}, 3},
    {{"-C3", "--max-handshakes=4", "-i", "rules", "0", "443", "cat"},
	{S, .per_client = 3, .handshakes = 4, .rules = "rules"}, 6},
    {{"-UpG", "", "0", "443", "cat"}, {S, .ids_from_env = 1, .paranoid = 1, .groups = ""}, 4},
    {{"-dhDHpPrR46", "0", "443", "cat"}, {S, .nodelay = 1, .family = 6}, 3},
    {{"-lhere", "0", "443", "cat"}, {S, .local_name = "here"}, 3},
    {{"0", "443", "cat"}, {GIVEN, .sockets = 1}, 0},
    {{"-1", "cat"}, {GIVEN, .sockets = 2, .print_port = 1}, 1},
    {{"--help"}, {GIVEN, .show = SHOW_HELP}, -1},
    /* Of what has a default: another one. */
    {{"-hvb1", "-c2", "--spare=0", "--notify-fd=3", "-t4", "-u0", "-g1", "-G2,3", "--listen-fd=5",
	 "--handshake-timeout=0", "0", "443", "cat"},
	{.program = TLSSERVER,
	    .wfd = 1,
	    .certificate = 1,
	    .verbosity = 2,
	    .linger_ms = 2000,
	    .log_fd = -1,
	    .round_s = {2, 58},
	    .listen_fd = 5,
	    .backlog = 1,
	    .connections = 2,
	    .notify_fd = 3,
	    .lookup_ms = 4,
	    .gid = 1,
	    .groups = "2,3"},
	10},
};

/* argv as a program gets it. */
static void
build(const char *const words[WORDS], char *argv[WORDS + 2])
{
	argv[0] = "s6-tlsd";
	for (int i = 0; i < WORDS; i++)
		argv[i + 1] = (char *)(uintptr_t)words[i];
	argv[WORDS + 1] = NULL;
}

static bool
same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* But for prog. */
static bool
same(const struct config *a, const struct config *b)
{
	return a->program == b->program && a->rfd == b->rfd && a->wfd == b->wfd && a->close == b->close &&
	       a->enforce == b->enforce && a->verify == b->verify && a->certificate == b->certificate &&
	       a->keep == b->keep && a->verbosity == b->verbosity && a->idle_ms == b->idle_ms &&
	       a->handshake_ms == b->handshake_ms && a->linger_ms == b->linger_ms && a->log_fd == b->log_fd &&
	       a->sandbox == b->sandbox && a->show == b->show && same_text(a->servername, b->servername) &&
	       a->any_name == b->any_name && same_text(a->host, b->host) && same_text(a->port, b->port) &&
	       a->family == b->family && same_text(a->local_ip, b->local_ip) &&
	       same_text(a->local_port, b->local_port) && same_text(a->local_name, b->local_name) &&
	       a->nodelay == b->nodelay && a->unqualified == b->unqualified && a->no_lookup == b->no_lookup &&
	       a->ident == b->ident && a->round_s[0] == b->round_s[0] && a->round_s[1] == b->round_s[1] &&
	       a->connect_s == b->connect_s && a->listen_fd == b->listen_fd && a->sockets == b->sockets &&
	       a->backlog == b->backlog && a->connections == b->connections && a->per_client == b->per_client &&
	       a->handshakes == b->handshakes && a->spare == b->spare && a->print_port == b->print_port &&
	       a->notify_fd == b->notify_fd && same_text(a->rules, b->rules) && a->paranoid == b->paranoid &&
	       a->lookup_ms == b->lookup_ms && a->uid == b->uid && a->gid == b->gid &&
	       same_text(a->groups, b->groups) && a->ids_from_env == b->ids_from_env;
}

static void
what_is_right(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
		const struct good *g = &goods[i];
		char *argv[WORDS + 2];
		struct config config;
		struct fault f = {0};

		build(g->words, argv);
		if (options_parse(g->config.program, g->config.sockets, &config, argv, &f) < 0)
			fail_msg("%s: %s", g->words[0], f.text);
		assert_ptr_equal(config.prog, g->prog < 0 ? NULL : argv + 1 + g->prog);
		if (!same(&config, &g->config))
			fail_msg("row %zu: %s", i, g->words[0]);
	}
}

static void
what_is_wrong(void **state)
{
	static const struct {
		const char *words[WORDS];
		const char *text;
		enum program program;
	} bads[] = {
	    {{NULL}, "no host given", TLSCLIENT},
	    {{"-S", "--"}, "no host given", TLSCLIENT},
	    {{"localhost"}, "no port given", TLSCLIENT},
	    {{"", "443"}, "the host is empty", TLSCLIENT},
	    {{"localhost", ""}, "the port is empty", TLSCLIENT},
	    {{"0", "443"}, "no certificate can name the host \"0\": use -k", TLSCLIENT},
	    {{"a b", "443"}, "no certificate can name the host", TLSCLIENT},
	    {{"-T", "0", "localhost", "443"}, "-T takes seconds, x[+y] with x of 1 or more, not \"0\"", TLSCLIENT},
	    {{"-T1+", "localhost", "443"}, "not \"1+\"", TLSCLIENT},
	    {{"-T1+2+3", "localhost", "443"}, "not \"1+2+3\"", TLSCLIENT},
	    {{"-T", "1+2147483648", "localhost", "443"}, "-T takes seconds", TLSCLIENT},
	    {{"-i", "localhost", "localhost", "443"}, "-i takes an IP address, not \"localhost\"", TLSCLIENT},
	    {{"-p65536", "localhost", "443"}, "-p takes a number up to 65535 or a service, not \"65536\"", TLSCLIENT},
	    {{"localhost", "65536"}, "the port is a number up to 65535 or a service, not \"65536\"", TLSCLIENT},
	    {{"0", "65536", "cat"}, "the port is a number up to 65535 or a service", TLSSERVER},
	    {{"-p", "", "localhost", "443"}, "-p needs an argument that is not empty", TLSCLIENT},
	    {{"-v2", "localhost", "443"}, "unknown option -2", TLSCLIENT},
	    {{"-7", "8", "localhost", "443"}, "unknown option -7", TLSCLIENT},
	    {{"-k", "", "cat"}, "-k takes a DNS name or an IP address, not \"\"", TLSC},
	    {{"-k.", "cat"}, "not \".\"", TLSC},
	    {{"-k", "a..b", "cat"}, "not \"a..b\"", TLSC},
	    {{"-k", "*.b.c", "cat"}, "not \"*.b.c\"", TLSC},
	    {{"-k", LONG_NAME "x", "cat"}, "-k takes a DNS name or an IP address, not \"aaaa", TLSC},
	    {{"-k", "127.1", "cat"}, "not \"127.1\"", TLSC},
	    {{"-k", ":", "cat"}, "not \":\"", TLSC},
	    {{"-k", "%a", "cat"}, "not \"%a\"", TLSC},
	    {{"--servername=a\nb", "cat"}, "--servername takes a DNS name", TLSC},
	    {{"-6", "7", "cat"}, "-6 and -7 name the same descriptor, 7", TLSC},
	    {{"-7", "2", "cat"}, "-7 2: the network cannot be on standard error", TLSC},
	    {{"-6", "2", "cat"}, "-6 2: the network cannot be on standard error", TLSC},
	    {{"-q", "cat"}, "unknown option -q", TLSC},
	    {{"-4", "cat"}, "unknown option -4", TLSC},
	    {{"-k", "a", "cat"}, "unknown option -k", TLSD},
	    {{"--client-cert", "cat"}, "unknown option --client-cert", TLSC},
	    {{NULL}, "no ip given", TLSSERVER},
	    {{"0"}, "no port given", TLSSERVER},
	    {{"", "443", "cat"}, "the ip is empty", TLSSERVER},
	    {{"0", "", "cat"}, "the port is empty", TLSSERVER},
	    {{"0", "443"}, "no program given", TLSSERVER},
	    {{"--listen-fd=5"}, "no program given", TLSSERVER},
	    {{"-c0", "0", "443", "cat"}, "-c 0: nobody could connect", TLSSERVER},
	    {{"-c", "-1", "0", "443", "cat"}, "-c takes a number from 0 to 2147483647, not \"-1\"", TLSSERVER},
	    {{"-v2", "0", "443", "cat"}, "unknown option -2", TLSSERVER},
	    {{"-T1", "0", "443", "cat"}, "unknown option -T", TLSSERVER},
	    {{"-k", "a", "0", "443", "cat"}, "unknown option -k", TLSSERVER},
	    {{"-i", "", "0", "443", "cat"}, "-i needs an argument that is not empty", TLSSERVER},
	    {{"-i"}, "-i needs an argument: rulesdir", TLSSERVER},
	    {{"-u", "root", "0", "443", "cat"}, "-u takes a number from 0 to 2147483647, not \"root\"", TLSSERVER},
	    {{"-g4294967296", "0", "443", "cat"}, "-g takes a number from 0 to ", TLSSERVER},
	    {{"-G", "1,", "0", "443", "cat"}, "-G takes up to 256 numbers with commas between, not \"1,\"", TLSSERVER},
	    {{"-G1, 2", "0", "443", "cat"}, "not \"1, 2\"", TLSSERVER},
	    {{"-G,", "0", "443", "cat"}, "not \",\"", TLSSERVER},
	    {{"-G4294967295", "0", "443", "cat"}, "not \"4294967295\"", TLSSERVER},
	    {{"-G"}, "-G needs an argument: gid,...", TLSSERVER},
	    {{"-1", "443", "cat"}, "unknown option -1", TLSCLIENT},
	    {{"--listen-fd=3", "cat"}, "unknown option --listen-fd", TLSD},
	    {{NULL}, "no program given", TLSD},
	    {{"-S"}, "no program given", TLSD},
	    {{"--"}, "no program given", TLSD},
	    {{"-x", "cat"}, "unknown option -x", TLSD},
	    {{"-Sx", "cat"}, "unknown option -x", TLSD},
	    {{"--x", "cat"}, "unknown option --x", TLSD},
	    {{"--clos", "cat"}, "unknown option --clos", TLSD},
	    {{"---S", "cat"}, "unknown option ---S", TLSD},
	    {{"--=", "cat"}, "unknown option --=", TLSD},
	    {{"--close-notify=1", "cat"}, "--close-notify takes no argument", TLSD},
	    {{"-K"}, "-K needs an argument: ms", TLSD},
	    {{"-SK"}, "-K needs an argument: ms", TLSD},
	    {{"--linger"}, "--linger needs an argument: ms", TLSD},
	    {{"--linger=", "cat"}, "--linger takes a number from 0 to 2147483647, not \"\"", TLSD},
	    {{"-K", "", "cat"}, "-K takes a number from 0 to 2147483647, not \"\"", TLSD},
	    {{"-K", "-1", "cat"}, "not \"-1\"", TLSD},
	    {{"-K+1", "cat"}, "not \"+1\"", TLSD},
	    {{"-K", " 1", "cat"}, "not \" 1\"", TLSD},
	    {{"-K1x", "cat"}, "not \"1x\"", TLSD},
	    {{"-K0x10", "cat"}, "not \"0x10\"", TLSD},
	    {{"-K2147483648", "cat"}, "not \"2147483648\"", TLSD},
	    {{"-K99999999999999999999999999", "cat"}, "-K takes a number", TLSD},
	    {{"--sandbox", "cat"}, "--sandbox takes try|require|off, not \"cat\"", TLSD},
	    {{"--sandbox=", "cat"}, "--sandbox takes try|require|off, not \"\"", TLSD},
	    {{"--sandbox=tr", "cat"}, "not \"tr\"", TLSD},
	    {{"--sandbox=trying", "cat"}, "not \"trying\"", TLSD},
	    {{"--sandbox=try|require", "cat"}, "not \"try|require\"", TLSD},
	    {{"--sandbox"}, "--sandbox needs an argument: try|require|off", TLSD},
	    {{"-v", "cat"}, "-v takes a number from 0 to 2147483647, not \"cat\"", TLSD},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
		char *argv[WORDS + 2];
		struct config config;
		struct fault f = {0};

		build(bads[i].words, argv);
		assert_int_equal(options_parse(bads[i].program, 0, &config, argv, &f), -1);
		assert_int_equal(f.code, FAULT_USAGE);
		if (!strstr(f.text, bads[i].text))
			fail_msg("\"%s\" is not in \"%s\"", bads[i].text, f.text);
	}
}

static void
no_argv_at_all(void **state)
{
	char *argv[] = {NULL};
	struct config config;
	struct fault f = {0};

	(void)state;
	assert_int_equal(options_parse(TLSC, 0, &config, argv, &f), -1);
	assert_int_equal(f.code, FAULT_USAGE);
}

/* Every option stands in the usage and in the help of its programs, and neither is ever cut. */
static void
usage_and_help(void **state)
{
	static const struct {
		enum program program;
		const char *part;
	} in_usage[] = {
	    {PROGRAMS, "-S | -s | --half-close-notify"},
	    {PROGRAMS, "[ -J | -j ]"},
	    {PROGRAMS, "[ -Y | -y ]"},
	    {PROGRAMS, "[ -Z | -z ]"},
	    {TLSD | TLSC, "[ -v n ]"},
	    {TLSCLIENT | TLSSERVER, "[ -q | -Q | -v ] [ --verbosity=n ]"},
	    {PROGRAMS, "[ -K ms ] [ --handshake-timeout=ms ] [ --linger=ms ]"},
	    {PROGRAMS, "[ --log-fd=fd ] [ --sandbox=try|require|off ] [ --backend | --version | --help ] [ -- ] "},
	    {CLIENTS, "[ -k name ] [ --no-verify-name ] [ --no-verify-cert ]"},
	    {TLSC, "[ -6 rfd ] [ -7 wfd ]"},
	    {TLSCLIENT, "[ -4 | -6 ] [ -T x[+y] ] [ -t s ] [ -i localip ] [ -p localport ] [ -d | -D ] [ -n | -N ]"},
	    {TLSCLIENT, "[ -h | -H ] [ -l localname ] [ -r | -R ]"},
	    {TLSSERVER, "[ -4 | -6 ] [ -1 ] [ --notify-fd=fd ] [ --listen-fd=fd ] [ -c n ] [ -C n ]"},
	    {TLSSERVER, "[ --max-handshakes=n ] [ --spare=n ] [ -b n ] [ -i rulesdir ]"},
	    {TLSSERVER, "[ -u uid ] [ -g gid ] [ -G gid,... ] [ -U ] [ -d | -D ]"},
	    {TLSSERVER, "[ -h | -H ] [ -p | -P ] [ -t ms ] [ -l localname ] [ -r | -R ]"},
	    {TLSD | TLSC, "[ -- ] prog..."},
	    {TLSSERVER, "[ -- ] ip port prog..."},
	    {TLSCLIENT, "[ -- ] host port [ prog... ]"},
	};
	char usage[2048], help[8192];

	(void)state;
	for (unsigned p = TLSD; p <= TLSSERVER; p *= 2) {
		enum program program = (enum program)p;

		assert_true(options_usage(program, usage, sizeof usage) > 0);
		assert_memory_equal(usage, options_name(program), strlen(options_name(program)));
		for (size_t i = 0; i < sizeof in_usage / sizeof *in_usage; i++)
			if ((in_usage[i].program & program) != 0 && !strstr(usage, in_usage[i].part))
				fail_msg("\"%s\" is not in \"%s\"", in_usage[i].part, usage);
		assert_null(strchr(usage, '\n'));
		int n = options_help(program, help, sizeof help);
		assert_int_equal(n, strlen(help));
		assert_non_null(strstr(help, usage));
		assert_non_null(strstr(help, "-K, --idle-timeout=ms"));
		assert_int_equal(options_help(program, help, (size_t)n), -1);
		assert_int_equal(options_help(program, help, (size_t)n + 1), n);
		n = options_usage(program, usage, sizeof usage);
		assert_int_equal(options_usage(program, usage, (size_t)n), -1);
		assert_int_equal(options_usage(program, usage, (size_t)n + 1), n);
		assert_int_equal(options_usage(program, usage, 10), -1);
	}
}

/* A word for the option's argument that is not its default. */
static const char *
sample(const struct option *o)
{
	switch (o->kind) {
	case SET: return NULL;
	case NUMBER: return "1234";
	case ROUNDS: return "3+4";
	case CHOICE: return "require";
	case TEXT: return "text";
	case NAME: return "example.org";
	case PORT: return "1023";
	case ADDRESS: return "192.0.2.1";
	case LIST: return "5,6";
	}
	return NULL;
}

/* Parses one option of a program, by its letter or its name. */
static struct config
parse_one(enum program program, const struct option *o, bool by_letter)
{
	char word[64];
	char *argv[] = {"program", word, (char *)(uintptr_t)sample(o), "localhost", "443", "cat", NULL};
	struct config config;
	struct fault f = {0};

	if (by_letter)
		(void)snprintf(word, sizeof word, "-%c", o->letter);
	else
		(void)snprintf(word, sizeof word, "--%s", o->name);
	if (!argv[2])
		memmove(argv + 2, argv + 3, 4 * sizeof *argv);
	if (options_parse(program, 0, &config, argv, &f) < 0)
		fail_msg("%s %s: %s", options_name(program), word, f.text);
	return config;
}

static bool
same_field(const struct option *o, const struct config *a, const struct config *b)
{
	const void *x = (const char *)a + o->field, *y = (const char *)b + o->field;

	switch (o->kind) {
	case SET:
	case NUMBER:
	case CHOICE: return *(const int *)x == *(const int *)y;
	case ROUNDS: return memcmp(x, y, 2 * sizeof(int)) == 0;
	case NAME: return strcmp(x, y) == 0;
	case TEXT:
	case PORT:
	case LIST:
	case ADDRESS: return strcmp(*(const char *const *)x, *(const char *const *)y) == 0;
	}
	return false;
}

/* What a row stores it stores in each program that has it, and by letter as by name. */
static void
every_option_arrives_everywhere(void **state)
{
	(void)state;
	for (const struct option *o = options_table; o->programs; o++) {
		struct config first, other;
		bool known = false;

		for (unsigned p = TLSD; p <= TLSSERVER; p *= 2)
			for (int form = 0; form < 2; form++) {
				if (!(o->programs & p) || (form ? !o->name : !o->letter))
					continue;
				other = parse_one((enum program)p, o, form == 0);
				if (!known)
					first = other;
				known = true;
				assert_true(same_field(o, &first, &other));
				if (o->kind == SET)
					assert_int_equal(*(int *)(void *)((char *)&other + o->field), o->value);
			}
		assert_true(known);
	}
}

/* Sockets that are there leave no place for ip and port, which are prog then. */
static void
sockets_handed_over(void **state)
{
	char *argv[] = {"program", "127.0.0.1", "443", "cat", NULL};
	struct config config;
	struct fault f = {0};

	(void)state;
	for (int sockets = 0; sockets < 3; sockets++) {
		assert_int_equal(options_parse(TLSSERVER, sockets, &config, argv, &f), 0);
		assert_int_equal(config.sockets, sockets);
		assert_ptr_equal(config.prog, argv + (sockets ? 1 : 3));
		assert_ptr_equal(config.host, sockets ? NULL : argv[1]);
		assert_ptr_equal(config.port, sockets ? NULL : argv[2]);
		/* Nobody else listens. */
		assert_int_equal(options_parse(TLSD, sockets, &config, argv, &f), 0);
		assert_ptr_equal(config.prog, argv + 1);
	}
}

/* No program has a letter or a name twice, and no two rows say the same. */
static void
no_option_stands_twice(void **state)
{
	(void)state;
	for (const struct option *a = options_table; a->programs; a++)
		for (const struct option *b = a + 1; b->programs; b++) {
			if ((a->programs & b->programs) != 0) {
				assert_false(a->letter && a->letter == b->letter);
				assert_false(a->name && b->name && strcmp(a->name, b->name) == 0);
			}
			assert_false(strcmp(a->help, b->help) == 0);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_right),
	    cmocka_unit_test(what_is_wrong),
	    cmocka_unit_test(no_argv_at_all),
	    cmocka_unit_test(usage_and_help),
	    cmocka_unit_test(every_option_arrives_everywhere),
	    cmocka_unit_test(sockets_handed_over),
	    cmocka_unit_test(no_option_stands_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
