/*
 * s6-tlsd: the server side of TLS on fds 0 and 1, for a program that knows
 * nothing of it. Parse, prepare, act.
 */
#include "core/options.h"
#include "engine/engine.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/log.h"
#include "sys/material.h"
#include "sys/monitor.h"
#include "sys/peer.h"
#include "sys/privileges.h"
#include "sys/seal.h"
#include "sys/signer.h"

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
	char help[4096];

	if (config->show == SHOW_VERSION)
		(void)puts("s6-tlsd " VERSION);
	else if (config->show == SHOW_BACKEND)
		(void)printf("%s: %s%s\n", engine_backend_name(), engine_backend(),
		    engine_signs_elsewhere() ? "" : "; the engine holds the private key");
	else if (options_help(help, sizeof help) > 0)
		(void)fputs(help, stdout);
	return fflush(stdout) == 0 ? 0 : FAULT_SYSTEM;
}

/* Sends messages where --log-fd says. Fds 0 and 1 are not the monitor's to write to, whatever they are. */
static int
direct_log(const struct config *config, struct fault *f)
{
	log_verbosity(config->verbosity);
	if (config->log_fd < 0)
		return 0;
	if (config->log_fd <= STDOUT_FILENO || fds_is_connection(config->log_fd))
		return fault_set(f, FAULT_USAGE, "--log-fd=%d is the connection itself", config->log_fd);
	if (!fds_open(config->log_fd))
		return fault_set(f, FAULT_USAGE, "--log-fd=%d is not open", config->log_fd);
	log_to(config->log_fd);
	return 0;
}

static void
parse(struct config *config, char *const argv[])
{
	struct fault f;
	char usage[1024];

	if (options_parse(config, argv, &f) == 0)
		return;
	(void)direct_log(config, &(struct fault){0}); /* as far as it was understood */
	if (options_usage(usage, sizeof usage) > 0)
		log_line(LOG_LEVEL_FATAL, "%s; usage: %s", f.text, usage);
	exit(FAULT_USAGE);
}

/* Takes the connection away from everything but fds 0 and 1. */
static int
prepare_fds(const struct config *config, int missing, struct fault *f)
{
	char peer[128];

	if (direct_log(config, f) < 0)
		return -1;
	if (missing >= 0)
		return fault_set(f, FAULT_SYSTEM, "fd %d, where the network should be, is closed", missing);
	if (fds_hide_connection(f) < 0)
		return -1;
	peer_name(peer, sizeof peer);
	log_peer(peer);
	return 0;
}

/* Reads and checks everything but the key, where that is not the engine's: it is read when the engine is forked. */
static struct engine_context *
prepare(const struct config *config, struct material *m, struct signer *signer, struct fault *f)
{
	struct engine_context *context;

	if (material_load(m, config, !signer, f) < 0 || (signer && signer_open(signer, SIGNING_SERVER, f) < 0))
		return NULL;
	context = engine_prepare(&(struct engine_policy){.role = ENGINE_SERVER,
				     .verify = (enum verify)config->verify,
				     .key = &m->key,
				     .signer = {.sign = signer_ask, .with = signer},
				     .chain = &m->chain,
				     .anchors = &m->anchors},
	    f);
	blob_wipe(&m->key);
	return context;
}

/* The connection, from the files to the exit code, or -n for signal n. */
static int
serve(const struct config *config, int64_t start)
{
	struct signer signer = {.ask = -1, .answer = -1};
	struct connection c = {.signer = engine_signs_elsewhere() ? &signer : NULL, .config = config, .start = start};
	struct privileges privileges;
	struct material m = {0};
	struct fault f;
	int code;

	if (privileges_plan(&privileges, &f) < 0)
		die(&f);
	c.context = prepare(config, &m, c.signer, &f);
	if (!c.context)
		die(&f);
	c.privileges = &privileges;
	c.leaf = &m.chain.v[0];
	code = monitor_run(&c);
	material_wipe(&m);
	return code;
}

int
main(int argc, char *argv[])
{
	int64_t start = clock_ms();
	struct config config;
	struct fault f;
	int missing, code;

	(void)argc;
	(void)signal(SIGPIPE, SIG_IGN); /* nobody reading a message must not change the exit code */
	if (fds_occupy(&missing, &f) < 0)
		exit((int)f.code);
	log_start(fds_is_connection(STDERR_FILENO));
	parse(&config, argv);
	if (config.show != SHOW_NONE)
		return show(&config);
	if (prepare_fds(&config, missing, &f) < 0 || seal_begin((enum sandbox)config.sandbox, &f) < 0)
		die(&f);
	code = serve(&config, start);
	if (code < 0)
		die_of(-code);
	return code;
}
