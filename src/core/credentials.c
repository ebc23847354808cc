/*
 * Sorts the blocks of a file into keys and certificates. Copies of keys are
 * wiped as soon as they are not needed; nothing is parsed beyond its frame.
 */
#include "core/credentials.h"

#include "core/der.h"
#include "core/pem.h"

#include <stdlib.h>
#include <string.h>

void
blob_wipe(struct blob *b)
{
	if (b->p)
		explicit_bzero(b->p, b->n);
	free(b->p);
	free(b->name);
	*b = (struct blob){0};
}

void
blobs_wipe(struct blobs *b)
{
	for (size_t i = 0; i < b->n; i++)
		blob_wipe(&b->v[i]);
	free(b->v);
	*b = (struct blobs){0};
}

static int
no_memory(struct fault *f, const char *name)
{
	return fault_set(f, FAULT_SYSTEM, "%s: out of memory", name);
}

/* Makes *b own a copy of `name` and the allocated bytes at p. Frees p on failure. */
static int
blob_take(struct blob *b, unsigned char *p, size_t n, const char *name, struct fault *f)
{
	*b = (struct blob){.p = p, .n = n, .name = strdup(name)};
	if (b->name)
		return 0;
	blob_wipe(b);
	return no_memory(f, name);
}

static int
blob_copy(struct blob *b, struct span from, const char *name, struct fault *f)
{
	unsigned char *p = malloc(from.n);

	if (!p)
		return no_memory(f, name);
	memcpy(p, from.p, from.n);
	return blob_take(b, p, from.n, name, f);
}

static int
append(struct blobs *list, struct blob *b, struct fault *f)
{
	struct blob *v = reallocarray(list->v, list->n + 1, sizeof *v);

	if (!v) {
		no_memory(f, b->name);
		blob_wipe(b);
		return -1;
	}
	list->v = v;
	list->v[list->n++] = *b;
	return 0;
}

static bool
is_key(const struct pem_block *b)
{
	return strcmp(b->label, "PRIVATE KEY") == 0 || strcmp(b->label, "RSA PRIVATE KEY") == 0 ||
	       strcmp(b->label, "EC PRIVATE KEY") == 0 || strcmp(b->label, "ENCRYPTED PRIVATE KEY") == 0;
}

/* The next block that holds a key (or the next certificate); other blocks are passed over. As pem_next. */
static int
next_of(struct span *text, bool (*wanted)(const struct pem_block *), struct pem_block *b, const char **why)
{
	int got;

	while ((got = pem_next(text, b, why)) == 1 && !wanted(b))
		pem_wipe(b);
	return got;
}

/* As pem_next says it; NULL: there was no memory. */
static int
malformed(struct fault *f, const char *name, const char *why)
{
	return why ? fault_set(f, FAULT_CONTEXT, "%s: malformed PEM: %s", name, why) : no_memory(f, name);
}

int
credentials_key(struct span file, const char *name, struct blob *key, struct fault *f)
{
	struct pem_block b = {0};
	const char *why = NULL;
	struct span text = file;
	int got = next_of(&text, is_key, &b, &why);

	*key = (struct blob){0};
	if (got < 0)
		return malformed(f, name, why);
	if (got == 0 && der_is_sequence(file))
		return blob_copy(key, file, name, f);
	if (got == 0)
		return fault_set(
		    f, FAULT_CONTEXT, "%s: %s", name, file.n ? "no private key in it" : "the file is empty");
	if (b.encrypted || strcmp(b.label, "ENCRYPTED PRIVATE KEY") == 0) {
		pem_wipe(&b);
		return fault_set(f, FAULT_CONTEXT, "%s: the key is protected by a passphrase", name);
	}
	return blob_take(key, b.der, b.n, name, f);
}

static bool
is_certificate(const struct pem_block *b)
{
	return strcmp(b->label, "CERTIFICATE") == 0 || strcmp(b->label, "X509 CERTIFICATE") == 0 ||
	       strcmp(b->label, "TRUSTED CERTIFICATE") == 0;
}

/* A SEQUENCE of the length that a certificate has, cut or not: a text does not go on like this. */
static bool
looks_like_der(struct span file)
{
	return der_is_sequence(file) || (file.n > 1 && file.p[0] == DER_SEQUENCE && file.p[1] >= 0x80);
}

long
credentials_certs(struct span file, const char *name, struct blobs *certs, struct fault *f)
{
	size_t before = certs->n;
	struct pem_block b = {0};
	struct blob blob = {0};
	const char *why = NULL;
	struct span text = file;
	int got;

	while ((got = next_of(&text, is_certificate, &b, &why)) == 1) {
		/* Its trust settings, behind the certificate, would be ignored. */
		if (strcmp(b.label, "TRUSTED CERTIFICATE") == 0) {
			pem_wipe(&b);
			return fault_set(f, FAULT_CONTEXT, "%s: \"TRUSTED CERTIFICATE\" is not supported", name);
		}
		if (blob_take(&blob, b.der, b.n, name, f) < 0 || append(certs, &blob, f) < 0)
			return -1;
	}
	if (got < 0)
		return malformed(f, name, why);
	if (certs->n == before && looks_like_der(file) &&
	    (blob_copy(&blob, file, name, f) < 0 || append(certs, &blob, f) < 0))
		return -1;
	return (long)(certs->n - before);
}
