/*
 * Finds the files by their variables. What a file has to hold is judged here,
 * what is in it by core/credentials.
 */
#include "sys/material.h"

#include "core/validity.h"
#include "sys/file.h"
#include "sys/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

void
material_wipe(struct material *m)
{
	blob_wipe(&m->key);
	blobs_wipe(&m->chain);
	blobs_wipe(&m->anchors);
}

/* "KEYFILE /etc/key.pem": what messages call a file. Allocated. */
static char *
title(const char *variable, const char *path, struct fault *f)
{
	char *text;

	if (asprintf(&text, "%s %s", variable, path) >= 0)
		return text;
	fault_set(f, FAULT_SYSTEM, "%s: out of memory", variable);
	return NULL;
}

/* Reads the file that the variable names. */
static int
read_named(const char *variable, struct blob *file, struct fault *f)
{
	const char *path = getenv(variable);
	char *name;
	int got;

	if (!path)
		return fault_set(f, FAULT_USAGE, "%s is not set", variable);
	if (*path == '\0')
		return fault_set(f, FAULT_USAGE, "%s is empty", variable);
	name = title(variable, path, f);
	got = name ? file_read(path, name, file, f) : -1;
	free(name);
	return got;
}

static struct span
bytes(const struct blob *b)
{
	return (struct span){b->p, b->n};
}

int
material_load_key(struct blob *key, struct fault *f)
{
	struct blob file = {0};
	int got;

	if (read_named("KEYFILE", &file, f) < 0)
		return -1;
	got = credentials_key(bytes(&file), file.name, key, f);
	blob_wipe(&file);
	return got;
}

/* A certificate out of its time is the peers' to refuse, but its owner should know. */
static void
warn_validity(const struct blob *leaf)
{
	switch (validity_at(bytes(leaf), time(NULL))) {
	case VALIDITY_EARLY: log_line(LOG_LEVEL_WARNING, "%s: the certificate is not valid yet", leaf->name); break;
	case VALIDITY_EXPIRED: log_line(LOG_LEVEL_WARNING, "%s: the certificate has expired", leaf->name); break;
	case VALIDITY_UNKNOWN:
	case VALIDITY_GOOD: break;
	}
}

/* All certificates in the file that the variable names. */
static int
load_certs(const char *variable, struct blobs *certs, struct fault *f)
{
	struct blob file = {0};
	long got;

	if (read_named(variable, &file, f) < 0)
		return -1;
	got = credentials_certs(bytes(&file), file.name, certs, f);
	if (got == 0)
		got = fault_set(
		    f, FAULT_CONTEXT, "%s: %s", file.name, file.n ? "no certificate in it" : "the file is empty");
	blob_wipe(&file);
	return got < 0 ? -1 : 0;
}

/* One entry of CADIR. What cannot hold an anchor is passed over; what should and does not is an error. */
static int
load_entry(const char *path, struct blobs *anchors, struct fault *f)
{
	struct blob file = {0};
	struct stat st;
	char *name;
	long got;

	if (stat(path, &st) < 0 && errno == ENOENT) {
		log_line(LOG_LEVEL_WARNING, "CADIR: %s: a dangling link", path);
		return 0;
	}
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	/* A FIFO would keep the start waiting for ever. */
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return fault_set(f, FAULT_SYSTEM, "CADIR: %s: cannot read: not a regular file", path);
	name = title("CADIR:", path, f);
	got = name ? file_read(path, name, &file, f) : -1;
	free(name);
	if (got < 0)
		return -1;
	got = credentials_certs(bytes(&file), file.name, anchors, f);
	if (got == 0)
		log_line(LOG_LEVEL_WARNING, "%s: no certificate in it", file.name);
	blob_wipe(&file);
	return got < 0 ? -1 : 0;
}

static int
visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int
load_directory(const char *directory, struct blobs *anchors, struct fault *f)
{
	struct dirent **entries;
	int n = scandir(directory, &entries, visible, alphasort), got = 0;

	if (n < 0)
		return fault_set(f, FAULT_SYSTEM, "CADIR %s: cannot read: %s", directory, strerror(errno));
	for (int i = 0; i < n; i++) {
		char *path = NULL;

		if (got == 0 && asprintf(&path, "%s/%s", directory, entries[i]->d_name) < 0)
			got = fault_set(f, FAULT_SYSTEM, "CADIR %s: out of memory", directory);
		else if (got == 0)
			got = load_entry(path, anchors, f);
		free(path);
		free(entries[i]);
	}
	free(entries);
	if (got == 0 && anchors->n == 0)
		return fault_set(f, FAULT_CONTEXT, "CADIR %s: no trust anchor in it", directory);
	return got;
}

static int
load_anchors(struct material *m, struct fault *f)
{
	const char *directory = getenv("CADIR"), *file = getenv("CAFILE");

	if (directory && *directory)
		return load_directory(directory, &m->anchors, f);
	if (file && *file)
		return load_certs("CAFILE", &m->anchors, f);
	return fault_set(f, FAULT_USAGE, "verification needs CADIR or CAFILE, and neither is set");
}

int
material_load(struct material *m, const struct config *config, bool key, struct fault *f)
{
	*m = (struct material){0};
	/* The key last, as where it is read later. */
	if ((config->certificate && load_certs("CERTFILE", &m->chain, f) < 0) ||
	    (config->verify != VERIFY_NONE && load_anchors(m, f) < 0) || (key && material_load_key(&m->key, f) < 0)) {
		material_wipe(m);
		return -1;
	}
	if (m->chain.n > 0)
		warn_validity(&m->chain.v[0]);
	return 0;
}
