/*
 * Fuzzes pem_next over whole files. Checks that it always moves on, keeps to
 * its text, leaves nothing behind on failure, and that a block which was found
 * is found again, the same, in the one ordinary form of it.
 */
#include "core/pem.h"

#include "fuzz.h"

#include <stdio.h>
#include <string.h>

static void
encode(FILE *f, const unsigned char *p, size_t n)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		unsigned b = p[i], c = i + 1 < n ? p[i + 1] : 0, d = i + 2 < n ? p[i + 2] : 0;
		fputc(alphabet[b >> 2], f);
		fputc(alphabet[(b << 4 | c >> 4) & 63], f);
		fputc(i + 1 < n ? alphabet[(c << 2 | d >> 6) & 63] : '=', f);
		fputc(i + 2 < n ? alphabet[d & 63] : '=', f);
		if (i % 48 == 45 && i + 3 < n)
			fputc('\n', f);
	}
	fputc('\n', f);
}

/* The program's own writer writes the same. */
static void
check_written(const struct pem_block *b, const char *text, size_t n)
{
	char *out = malloc(n);

	CHECK(out != NULL && pem_length(b->label, b->n) == n);
	CHECK(pem_write(b->label, (struct span){b->der, b->n}, out) == out + n && memcmp(out, text, n) == 0);
	free(out);
}

static void
check_again(const struct pem_block *b)
{
	struct pem_block same;
	const char *why = NULL;
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	CHECK(f != NULL);
	fprintf(f, "-----BEGIN %s-----\n%s", b->label, b->encrypted ? "Proc-Type: 4,ENCRYPTED\n\n" : "");
	encode(f, b->der, b->n);
	fprintf(f, "-----END %s-----\n", b->label);
	fclose(f);
	if (!b->encrypted)
		check_written(b, text, n);

	struct span in = {.p = (const unsigned char *)text, .n = n};
	CHECK(pem_next(&in, &same, &why) == 1);
	CHECK(in.n == 0 && same.n == b->n && same.encrypted == b->encrypted);
	CHECK(strcmp(same.label, b->label) == 0 && memcmp(same.der, b->der, b->n) == 0);
	pem_wipe(&same);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = {.p = data, .n = n};
	const char *why = NULL;
	struct pem_block b;
	size_t before = n;

	/* After an error too: it must not matter. */
	for (int r; (r = pem_next(&in, &b, &why)) != 0; before = in.n) {
		CHECK(in.n < before && in.p == data + n - in.n);
		CHECK(r == 1 || r == -1);
		if (r < 0) {
			CHECK(why != NULL && b.der == NULL && b.n == 0);
			why = NULL;
			continue;
		}
		CHECK(why == NULL && b.der != NULL && b.n > 0 && b.n <= (before - in.n) / 4 * 3);
		CHECK(memchr(b.label, '\0', sizeof b.label) != NULL && b.label[0] != '\0');
		for (const char *s = b.label; *s != '\0'; s++)
			CHECK(*s >= 0x20 && *s <= 0x7e);
		check_again(&b);
		pem_wipe(&b);
		CHECK(b.der == NULL);
	}
	CHECK(in.n == 0 && b.der == NULL);
	return 0;
}
