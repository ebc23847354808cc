/*
 * Fuzzes dn_subject with certificates, and with subjects in a certificate that
 * is good, so that the fuzzer need not first learn to write one. The first two
 * bytes choose the room. Checks the contract: fit to print, whole or nothing.
 */
#include "core/dn.h"

#include "fuzz.h"

#include <string.h>

/* An out of exactly that size, so that the sanitizer sees a write behind it; the caller frees what is returned. */
static char *
subject(struct span der, size_t size, long *r)
{
	char *out = malloc(size + (size == 0));

	CHECK(out != NULL);
	memset(out, 0x7f, size);
	*r = dn_subject(der, out, size);
	CHECK(*r >= -1 && *r < (long)size);
	if (size > 0) {
		for (long i = 0; i < *r; i++)
			CHECK(out[i] >= 0x20 && out[i] <= 0x7e);
		CHECK(out[*r < 0 ? 0 : *r] == '\0');
	}
	return out;
}

/* Each RDN and attribute has a type and a value, separated as RFC 4514 says: all else is escaped. */
static void
check_syntax(const char *s)
{
	bool in_type = true;

	for (; *s != '\0'; s++) {
		if (in_type) {
			CHECK((*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '.' || *s == '=');
			in_type = *s != '=';
		} else if (*s == '\\') {
			s++;
			CHECK(*s != '\0');
			CHECK(strchr("\"+,;<>\\ #", *s) != NULL || strspn(s, "0123456789ABCDEF") >= 2);
		} else {
			CHECK(strchr("\";<>", *s) == NULL);
			in_type = *s == ',' || *s == '+';
		}
	}
	CHECK(!in_type);
}

static void
check(struct span der, size_t size)
{
	const size_t enough = 16 * der.n + 64;
	long whole, r;
	char *want = subject(der, enough, &whole);

	if (whole > 0)
		check_syntax(want);
	char *got = subject(der, size, &r);
	CHECK(r == (whole < (long)size ? whole : -1));
	CHECK(r < 0 || strcmp(got, want) == 0);
	free(got);
	free(subject(der, (size_t)(whole < 0 ? 0 : whole), &r));
	CHECK(r == -1);
	free(want);
}

/* Puts tag and length of the n bytes from end on before them; returns how many bytes that took. */
static size_t
wrap(unsigned char *end, unsigned tag, size_t n)
{
	unsigned char *p = end;

	*--p = (unsigned char)n;
	if (n > 0xff)
		*--p = (unsigned char)(n >> 8);
	if (n > 0x7f)
		*--p = n > 0xff ? 0x82 : 0x81;
	*--p = (unsigned char)tag;
	return (size_t)(end - p);
}

/* Checks the certificate of which the bytes are the subject's contents. */
static void
check_wrapped(const uint8_t *data, size_t n, size_t size)
{
	static const unsigned char before[] = {0xa0, 3, 2, 1, 2, 2, 1, 7, 0x30, 0, 0x30, 0, 0x30, 0};
	const size_t room = n + sizeof before + 3 * 4;
	unsigned char *buffer = malloc(room), *p = buffer + room - n;

	CHECK(buffer != NULL);
	memcpy(p, data, n);
	p -= wrap(p, 0x30, n);
	p -= sizeof before;
	memcpy(p, before, sizeof before);
	p -= wrap(p, 0x30, (size_t)(buffer + room - p));
	p -= wrap(p, 0x30, (size_t)(buffer + room - p));
	check((struct span){.p = p, .n = (size_t)(buffer + room - p)}, size);
	free(buffer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 2 || n > 0xf000)
		return 0;
	size_t size = (size_t)data[0] << 8 | data[1];

	check((struct span){.p = data + 2, .n = n - 2}, size);
	check_wrapped(data + 2, n - 2, size);
	return 0;
}
