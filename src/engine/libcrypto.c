/*
 * The library's decoders free copies of a private key as they stand, so nothing
 * is freed here without being wiped.
 */
#include "engine/libcrypto.h"

#include <openssl/crypto.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static void *
allocate(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return malloc(n);
}

static void
release(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *
reallocate(void *p, size_t n, const char *file, int line)
{
	void *q = n ? malloc(n) : NULL;
	size_t old = p ? malloc_usable_size(p) : 0;

	if (p && q)
		memcpy(q, p, old < n ? old : n);
	if (q || !n)
		release(p, file, line);
	return q;
}

bool
libcrypto_wipes(void)
{
	CRYPTO_malloc_fn m;
	CRYPTO_realloc_fn r;
	CRYPTO_free_fn f;

	CRYPTO_get_mem_functions(&m, &r, &f);
	return f == release || CRYPTO_set_mem_functions(allocate, reallocate, release) == 1;
}
