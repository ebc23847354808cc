/*
 * From the command line to the exit code. Must read every option and file, and
 * find all that is wrong with them, before the engine hears from the network.
 */
#include "prog/program.h"

#include "engine/engine.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/listen.h"
#include "sys/log.h"
#include "sys/material.h"
#include "sys/peer.h"
#include "sys/privileges.h"
#include "sys/seal.h"
#include "sys/server.h"
#include "sys/signer.h"
#include "sys/solo.h"
#include "sys/warm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The one way out for whatever failed before there was a connection. */
static _Noreturn void
die(const struct fault *f)
{
	log_fault(f);
	exit((int)f->code);
}

static _Noreturn void
die_of(int signal)
{
	struct sigaction deadly = {.sa_handler = SIG_DFL};
	sigset_t set;

	(void)sigaction(signal, &deadly, NULL);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, signal);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(signal);
	exit(128 + signal);
}

/* --help and its like. */
static int
show(const struct config *config)
{
	char help[8192];

	if (config->show == SHOW_VERSION)
		(void)printf("%s " VERSION "\n", options_name(config->program));
	else if (config->show == SHOW_BACKEND)
		(void)printf("%s: %s%s\n", engine_backend_name(), engine_backend(),
		    engine_signs_elsewhere() ? "" : "; the engine holds the private key");
	else if (options_help(config->program, help, sizeof help) > 0)
		(void)fputs(help, stdout);
	return fflush(stdout) == 0 ? 0 : FAULT_SYSTEM;
}

/* Whether the program is started on a connection, and does not make it. */
static bool
has_connection(const struct config *config)
{
	return config->program & (TLSD | TLSC);
}

/* Sends messages where --log-fd says, which is none of the descriptors that the network or prog is on. */
static int
direct_log(const struct config *config, struct fault *f)
{
	int fd = config->log_fd;

	log_verbosity(config->verbosity);
	if (fd < 0)
		return 0;
	if (config->program != TLSSERVER && (fd == config->rfd || fd == config->wfd || fds_is_connection(fd)))
		return fault_set(f, FAULT_USAGE, "--log-fd=%d is the connection itself", fd);
	if (!fds_open(fd))
		return fault_set(f, FAULT_USAGE, "--log-fd=%d is not open", fd);
	log_to(fd);
	return 0;
}

/* Where messages may go depends on where the connection is, and so on options that may be wrong. */
static void
parse(enum program program, struct config *config, char *const argv[])
{
	struct fault f = {0};
	char usage[4096];
	int parsed = options_parse(program, listen_handed_over(), config, argv, &f);

	if (has_connection(config))
		fds_connection(config->rfd, config->wfd);
	log_start(options_name(program), fds_is_connection(STDERR_FILENO));
	if (parsed == 0)
		return;
	(void)direct_log(config, &(struct fault){0}); /* as far as it was understood */
	if (options_usage(program, usage, sizeof usage) > 0)
		log_line(LOG_LEVEL_FATAL, "%s; usage: %s", f.text, usage);
	exit(FAULT_USAGE);
}

/* fd must have been open at the start, whatever is there now. */
static int
check_open(int fd, const bool closed[3], const char *what, struct fault *f)
{
	if ((fd > STDERR_FILENO || !closed[fd]) && fds_open(fd))
		return 0;
	return fault_set(f, FAULT_SYSTEM, "fd %d, where %s should be, is closed", fd, what);
}

static int
check_both(int in, int out, const bool closed[3], const char *what, struct fault *f)
{
	return check_open(in, closed, what, f) < 0 ? -1 : check_open(out, closed, what, f);
}

/* Where a word goes once, and what is closed then, is nothing that is needed later. */
static int
check_notify(const struct config *config, struct fault *f)
{
	int fd = config->notify_fd;

	if (fd < 0)
		return 0;
	if (fd == STDERR_FILENO || fd == config->log_fd || fd == config->listen_fd)
		return fault_set(f, FAULT_USAGE, "--notify-fd=%d is in use for something else", fd);
	return fds_open(fd) ? 0 : fault_set(f, FAULT_USAGE, "--notify-fd=%d is not open", fd);
}

/* Takes the connection away from everything but its own descriptors, or keeps prog's places free. */
static int
prepare_fds(const struct config *config, const bool closed[3], struct fault *f)
{
	char peer[128];

	if (direct_log(config, f) < 0)
		return -1;
	if (config->program == TLSSERVER)
		return check_notify(config, f);
	if (!config->prog && check_both(STDIN_FILENO, STDOUT_FILENO, closed, "the terminal", f) < 0)
		return -1;
	if (!has_connection(config))
		return fds_reserve(config->rfd, f) < 0 ? -1 : fds_reserve(config->wfd, f);
	if (check_both(config->rfd, config->wfd, closed, "the network", f) < 0 || fds_hide_connection(f) < 0)
		return -1;
	peer_name(config->rfd, peer, sizeof peer);
	log_connection(0, peer);
	return 0;
}

/* What is not verified is said each time. */
static void
warn(const struct config *config)
{
	if (config->ident)
		log_line(LOG_LEVEL_WARNING, "-r: IDENT is not done");
	if (config->program & SERVERS)
		return;
	if (config->verify == VERIFY_NONE)
		log_line(LOG_LEVEL_WARNING, "--no-verify-cert: the server can be anybody");
	else if (config->any_name)
		log_line(LOG_LEVEL_WARNING,
		    "--no-verify-name: the server can be any that a trust anchor stands for, whatever its name");
	else if (!config->servername[0])
		log_line(LOG_LEVEL_WARNING,
		    "no -k: the server can be any that a trust anchor stands for, whatever its name");
}

/* Reads and checks everything but the key, where that is not the engine's: it is read when the engine is forked. */
static struct engine_context *
prepare(const struct config *config, struct material *m, struct signer *signer, struct fault *f)
{
	bool server = config->program == TLSD;
	bool key = config->certificate && !signer;
	struct engine_context *context;

	if (material_load(m, config, key, f) < 0 ||
	    (signer && signer_open(signer, server ? SIGNING_SERVER : SIGNING_CLIENT, f) < 0))
		return NULL;
	context = engine_prepare(&(struct engine_policy){.role = server ? ENGINE_SERVER : ENGINE_CLIENT,
				     .verify = (enum verify)config->verify,
				     .key = &m->key,
				     .signer = {.sign = signer ? signer_ask : NULL, .with = signer},
				     .chain = &m->chain,
				     .anchors = &m->anchors,
				     .servername = config->servername[0] ? config->servername : NULL,
				     .any_name = config->any_name},
	    f);
	blob_wipe(&m->key);
	return context;
}

/* The connection, from the files to the exit code, or -n for signal n. */
static int
serve(const struct config *config, int64_t start)
{
	struct signer signer = {.ask = -1, .answer = -1};
	struct connection c = {.config = config, .start = start};
	struct privileges privileges;
	struct material m = {0};
	struct fault f;
	int code;

	if (config->certificate && engine_signs_elsewhere())
		c.signer = &signer;
	if (privileges_plan(&privileges, &f) < 0)
		die(&f);
	if (config->program == TLSSERVER)
		return server_run(config, &privileges);
	c.context = prepare(config, &m, c.signer, &f);
	if (!c.context)
		die(&f);
	c.privileges = &privileges;
	c.leaf = m.chain.n > 0 ? &m.chain.v[0] : NULL;
	code = solo_run(&c);
	material_wipe(&m);
	return code;
}

int
program_run(enum program program, char *const argv[])
{
	int64_t start = clock_ms();
	struct config config;
	bool closed[3];
	struct fault f;
	int code;

	(void)signal(SIGPIPE, SIG_IGN); /* nobody reading a message must not change the exit code */
	if (fds_occupy(closed, &f) < 0)
		exit((int)f.code);
	parse(program, &config, argv);
	if (config.show != SHOW_NONE)
		return show(&config);
	if (program == TLSSERVER)
		warm_parent();
	if (prepare_fds(&config, closed, &f) < 0 || seal_begin((enum sandbox)config.sandbox, &f) < 0)
		die(&f);
	warn(&config);
	code = serve(&config, start);
	if (code < 0)
		die_of(-code);
	return code;
}
