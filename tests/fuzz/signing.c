/*
 * Fuzzes signing_unpack and signing_refusal. The first byte is the role, the
 * others are a packet. Checks that a packet survives being read and written,
 * and that no text that is let through is good for the other role, as another
 * form, or with a byte more or less.
 */
#include "core/signing.h"

#include "fuzz.h"

#include <string.h>

static bool
good(enum signing_role role, const struct signing *s)
{
	const char *why = signing_refusal(role, s);

	CHECK(!why || (*why && printable(why)));
	return !why;
}

/* Byte 64 of a text, and its first, tell which form it is. */
static void
check_form(enum signing_role role, const struct signing *s)
{
	const unsigned char *p = s->text.p;
	size_t n = s->text.n;

	CHECK(n > 64);
	if (p[64] == 'T' && p[0] == ' ') {
		CHECK(n == 130 || n == 146);
		CHECK(memcmp(p + 64, role == SIGNING_SERVER ? "TLS 1.3, s" : "TLS 1.3, c", 10) == 0);
	} else if (role == SIGNING_SERVER)
		CHECK(n <= 201 && p[64] == 3 && p[65] == 0 && n == 68u + p[67]);
	else
		CHECK(n > 201 && p[0] == 1 && p[4] == 3 && p[5] == 3);
}

static void
check_neighbours(enum signing_role role, const struct signing *s)
{
	static unsigned char longer[SIGNING_TEXT_MAX + 1];
	struct signing other = *s;

	memcpy(longer, s->text.p, s->text.n);
	longer[s->text.n] = 0;
	other.text.p = longer;
	other.text.n = s->text.n + 1;
	CHECK(!good(role, &other));
	other.text.n = s->text.n - 1;
	CHECK(!good(role, &other));
	other.text.n = s->text.n;
	other.scheme ^= 0x1000;
	CHECK(!good(role, &other));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static unsigned char out[SIGNING_MAX];
	struct signing s;

	if (n < 1)
		return 0;
	enum signing_role role = data[0] & 1 ? SIGNING_CLIENT : SIGNING_SERVER;
	enum signing_role other = data[0] & 1 ? SIGNING_SERVER : SIGNING_CLIENT;
	if (signing_unpack((struct span){data + 1, n - 1}, &s) < 0)
		return 0;
	CHECK(s.text.n == n - 4 && s.text.n <= SIGNING_TEXT_MAX);
	CHECK(signing_pack(out, &s) == (long)n - 1 && memcmp(out, data + 1, n - 1) == 0);
	if (!good(role, &s))
		return 0;
	CHECK(!good(other, &s));
	if (s.hashed)
		CHECK(role == SIGNING_CLIENT && (s.text.n == 32 || s.text.n == 48 || s.text.n == 64));
	else
		check_form(role, &s);
	check_neighbours(role, &s);
	return 0;
}
