/*
 * Fuzzes the search for keys and certificates in whole files. Checks that what
 * is found is named and within the file, that a failure leaves no key and says
 * which file, and, with the sanitizer, that nothing is left behind.
 */
#include "core/credentials.h"

#include "fuzz.h"

#include <string.h>

#define NAME "KEYFILE /etc/tls/key.pem"

static void
check_fault(const struct fault *f)
{
	CHECK(f->code == FAULT_CONTEXT && printable(f->text));
	CHECK(strncmp(f->text, NAME ": ", strlen(NAME ": ")) == 0);
}

static void
check_key(struct span file)
{
	struct fault f = {0};
	struct blob key;

	memset(&key, 0x7f, sizeof key);
	if (credentials_key(file, NAME, &key, &f) == 0) {
		CHECK(key.n > 0 && key.n <= file.n && strcmp(key.name, NAME) == 0);
		blob_wipe(&key);
	} else {
		check_fault(&f);
	}
	CHECK(key.p == NULL && key.name == NULL);
}

/* Appends the file's certificates to those that are there already. */
static long
append(struct span file, struct blobs *certs)
{
	size_t before = certs->n, sum = 0;
	struct fault f = {0};
	long got = credentials_certs(file, NAME, certs, &f);

	CHECK(certs->n >= before);
	if (got < 0)
		check_fault(&f);
	else
		CHECK((size_t)got == certs->n - before);
	for (size_t i = before; i < certs->n; i++) {
		CHECK(certs->v[i].n > 0 && strcmp(certs->v[i].name, NAME) == 0);
		sum += certs->v[i].n;
	}
	CHECK(sum <= file.n);
	return got;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span file = {.p = data, .n = n};
	struct blobs certs = {0};

	check_key(file);
	long first = append(file, &certs);
	CHECK(append(file, &certs) == first);
	blobs_wipe(&certs);
	CHECK(certs.v == NULL && certs.n == 0);
	return 0;
}
