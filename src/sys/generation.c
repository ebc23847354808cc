/*
 * Of the key's file only the time is looked at here; a signer reads it.
 */
#include "sys/generation.h"

#include "sys/fds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long a signature for nobody may take. */
enum { REHEARSAL_MS = 2000 };

/* One for each core; but what is no file can be read by one alone. */
static size_t
signers(void)
{
	const char *path = getenv("KEYFILE");
	struct stat st;
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

	if (path && stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		n = 1;
	return n < 1 ? 1 : n > GENERATION_SIGNERS ? GENERATION_SIGNERS : (size_t)n;
}

struct generation *
generation_start(const struct config *c, const struct privileges *p, struct fault *f)
{
	bool elsewhere = engine_signs_elsewhere();
	struct generation *g = calloc(1, sizeof *g);
	size_t n = elsewhere ? signers() : 0;

	if (!g) {
		fault_set(f, FAULT_SYSTEM, "out of memory");
		return NULL;
	}
	if (material_load(&g->material, c, !elsewhere, f) < 0) {
		free(g);
		return NULL;
	}
	while (g->n < n) {
		if (notary_start(&g->signers[g->n], &g->material.chain.v[0], p, f) < 0) {
			generation_end(g);
			return NULL;
		}
		g->n++;
	}
	return g;
}

bool
generation_ready(const struct generation *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (!g->signers[i].ready)
			return false;
	return true;
}

/* Moves what waits at one engine's wire out to the other's wire in. Returns whether there was any. */
static bool
carry(struct engine *from, struct engine *to)
{
	const unsigned char *out;
	unsigned char *in;
	size_t n = engine_wire_out(from, &out), room = engine_wire_in(to, &in);

	if (n > room)
		n = room;
	if (n == 0)
		return false;
	memcpy(in, out, n);
	engine_wire_in_ack(to, n);
	engine_wire_out_ack(from, n);
	return true;
}

/*
 * A library finds much out when it first needs it: the algorithms of a
 * handshake, say. What this process knows, each engine that is forked from it
 * knows, and so there is one handshake in memory. What comes of it does not matter.
 */
static void
rehearse(struct generation *g, struct signer *asking)
{
	const struct notary *signer = generation_signer(g);
	struct engine_context *context =
	    engine_prepare(&(struct engine_policy){.role = ENGINE_CLIENT}, &(struct fault){0});
	struct engine *client = NULL, *server = NULL;
	struct fault f;

	if (signer && (signer_open(asking, SIGNING_SERVER, &f) < 0 || signer_limit(asking->ask, REHEARSAL_MS, &f) < 0 ||
			  notary_serve(signer, asking->answer, 0) < 0))
		signer_close(asking);
	fds_close(&asking->answer);
	if (context) {
		client = engine_open(context, &f);
		server = engine_open(g->context, &f);
	}
	for (bool moved = client && server; moved;) {
		moved = carry(client, server);
		moved = carry(server, client) || moved;
	}
	engine_free(client);
	engine_free(server);
	engine_context_free(context);
	signer_close(asking);
}

int
generation_finish(struct generation *g, const struct config *c, struct signer *asking, struct fault *f)
{
	g->context = engine_prepare(&(struct engine_policy){.role = ENGINE_SERVER,
					.verify = (enum verify)c->verify,
					.key = &g->material.key,
					.signer = {.sign = g->n ? signer_ask : NULL, .with = asking},
					.chain = &g->material.chain,
					.anchors = &g->material.anchors},
	    f);
	blob_wipe(&g->material.key);
	if (!g->context)
		return -1;
	rehearse(g, asking);
	return 0;
}

struct notary *
generation_signer(struct generation *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct notary *s = &g->signers[g->next++ % g->n];

		if (s->ready)
			return s;
	}
	return NULL;
}

void
generation_end(struct generation *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n; i++) {
		if (!g->signers[i].ready && g->signers[i].pid > 0)
			(void)kill(g->signers[i].pid, SIGKILL);
		notary_release(&g->signers[i]);
	}
	engine_context_free(g->context);
	material_wipe(&g->material);
	free(g);
}

/* -- files that change --------------------------------------------------- */

/* FNV-1a over the bytes of one number. */
static void
mix(uint64_t *stamp, uint64_t n)
{
	for (int i = 0; i < 8; i++, n >>= 8)
		*stamp = (*stamp ^ (n & 0xff)) * UINT64_C(1099511628211);
}

/* A file that is not there is one that has changed, when it was. */
static int
mix_file(uint64_t *stamp, int dir, const char *path, const char *name, bool folders, struct fault *f)
{
	struct stat st;

	if (fstatat(dir, path, &st, 0) < 0) {
		mix(stamp, (uint64_t)errno);
		return 0;
	}
	if (!S_ISREG(st.st_mode) && !(folders && S_ISDIR(st.st_mode)))
		return fault_set(f, FAULT_SYSTEM, "%s %s: not a regular file, cannot be read again", name, path);
	mix(stamp, (uint64_t)st.st_dev);
	mix(stamp, (uint64_t)st.st_ino);
	mix(stamp, (uint64_t)st.st_size);
	mix(stamp, (uint64_t)st.st_mtim.tv_sec);
	mix(stamp, (uint64_t)st.st_mtim.tv_nsec);
	mix(stamp, (uint64_t)st.st_ctim.tv_sec);
	mix(stamp, (uint64_t)st.st_ctim.tv_nsec);
	return 0;
}

static int
mix_variable(uint64_t *stamp, const char *name, struct fault *f)
{
	const char *path = getenv(name);

	return path && *path ? mix_file(stamp, AT_FDCWD, path, name, false, f) : 0;
}

/* The order of a directory's entries is its own, and so is each entry's share of the sum. */
static int
mix_directory(uint64_t *stamp, const char *path, struct fault *f)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	uint64_t sum = 0;
	int got = 0;

	if (!dir) {
		mix(stamp, (uint64_t)errno);
		return 0;
	}
	while (got == 0 && (entry = readdir(dir))) {
		uint64_t one = UINT64_C(14695981039346656037);

		if (entry->d_name[0] == '.')
			continue;
		got = mix_file(&one, dirfd(dir), entry->d_name, "CADIR:", true, f);
		for (const char *p = entry->d_name; *p; p++)
			mix(&one, (unsigned char)*p);
		sum += one;
	}
	(void)closedir(dir);
	mix(stamp, sum);
	return got;
}

int
generation_stamp(const struct config *c, uint64_t *stamp, struct fault *f)
{
	const char *directory = getenv("CADIR");

	*stamp = UINT64_C(14695981039346656037);
	if (mix_variable(stamp, "KEYFILE", f) < 0 || mix_variable(stamp, "CERTFILE", f) < 0)
		return -1;
	if (c->verify == VERIFY_NONE)
		return 0;
	if (directory && *directory)
		return mix_directory(stamp, directory, f);
	return mix_variable(stamp, "CAFILE", f);
}
