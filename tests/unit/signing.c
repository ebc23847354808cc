/*
 * What may be signed: every form of text as TLS makes it, and each of them with
 * something wrong.
 */
#include "core/signing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SERVER = SIGNING_SERVER, CLIENT = SIGNING_CLIENT };

static const struct {
	uint16_t number;
	size_t hash; /* 0: signs no hash by itself */
	bool tls13;
} schemes[] = {
    {0x0401, 32, false}, {0x0501, 48, false}, {0x0601, 64, false}, /* PKCS #1 */
    {0x0403, 32, true}, {0x0503, 48, true}, {0x0603, 64, true},	   /* ECDSA */
    {0x0804, 0, true}, {0x0805, 0, true}, {0x0806, 0, true},	   /* PSS */
    {0x0809, 0, true}, {0x080a, 0, true}, {0x080b, 0, true},	   /* PSS, with a key for nothing else */
    {0x0807, 0, true}, {0x0808, 0, true},			   /* Ed25519, Ed448 */
};

static const struct {
	unsigned char number, point;
	bool uncompressed;
} curves[] = {{23, 65, true}, {24, 97, true}, {25, 133, true}, {29, 32, false}, {30, 56, false}};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The text at hand. */
static unsigned char text[SIGNING_TEXT_MAX + 1];
static size_t length;

static bool
good_with(int role, uint16_t scheme)
{
	return !signing_refusal(
	    (enum signing_role)role, &(struct signing){.scheme = scheme, .text = {.p = text, .n = length}});
}

/* Whether it is let through for this role; never is it for the other. */
static bool
good(int role)
{
	bool server = good_with(SERVER, 0x0403), client = good_with(CLIENT, 0x0403);

	assert_false(server && client);
	return role == SERVER ? server : client;
}

static void
append(const void *p, size_t n)
{
	assert_true(n <= sizeof text - length);
	memcpy(text + length, p, n);
	length += n;
}

/* -- the three forms -------------------------------------------------------- */

static void
make_tls13(int role, size_t hash)
{
	static const unsigned char zeros[64];

	memset(text, ' ', 64);
	length = 64;
	append(role == SERVER ? "TLS 1.3, server CertificateVerify" : "TLS 1.3, client CertificateVerify", 34);
	append(zeros, hash);
}

static void
make_params(size_t curve)
{
	unsigned char params[4 + 133] = {3, 0, curves[curve].number, curves[curve].point, 4};

	if (!curves[curve].uncompressed)
		params[4] = 0xee;
	memset(text, 0xab, 64);
	length = 64;
	append(params, 4 + (size_t)curves[curve].point);
}

static size_t
add_message(unsigned char type, const void *body, size_t n)
{
	const unsigned char head[] = {
	    type, (unsigned char)(n >> 16), (unsigned char)(n >> 8 & 255), (unsigned char)(n & 255)};
	size_t at = length;

	append(head, sizeof head);
	append(body, n);
	return at;
}

/* Where its messages begin. The server's certificate is as long as asked, and zeros: messages of no length, too. */
enum { MESSAGES = 8 };
static size_t at[MESSAGES + 1];
static const unsigned char types[MESSAGES] = {1, 2, 11, 12, 13, 14, 11, 16};

static void
make_handshake(size_t certificate)
{
	static const size_t lengths[MESSAGES] = {200, 70, 0, 150, 20, 0, 500, 33};
	static unsigned char body[SIGNING_TEXT_MAX] = {3, 3};

	length = 0;
	for (int i = 0; i < MESSAGES; i++)
		at[i] = add_message(types[i], body, i == 2 ? certificate : lengths[i]);
	at[MESSAGES] = length;
}

/* -- tests ------------------------------------------------------------------ */

/* The text is let through as it stands, and at no other length. */
static void
assert_length(int role)
{
	size_t whole = length;

	assert_true(good(role));
	memset(text + length, 0, 300);
	for (length = 0; length < whole + 300; length++)
		assert_int_equal(good(role), length == whole);
	length = whole;
}

/* Each bit of a run matters. */
static void
assert_fixed(int role, size_t from, size_t n)
{
	for (size_t i = from * 8; i < (from + n) * 8; i++) {
		text[i / 8] ^= (unsigned char)(1 << i % 8);
		if (good(role))
			fail_msg("byte %zu may be %d", i / 8, text[i / 8]);
		text[i / 8] ^= (unsigned char)(1 << i % 8);
	}
	assert_true(good(role));
}

static void
every_form(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(schemes); i++) {
		uint16_t scheme = schemes[i].number;

		for (int role = SERVER; role <= CLIENT; role++)
			for (size_t hash = 32; hash <= 48; hash += 16) {
				make_tls13(role, hash);
				assert_int_equal(good_with(role, scheme), schemes[i].tls13);
				assert_false(good_with(1 - role, scheme));
			}
		for (size_t curve = 0; curve < COUNT(curves); curve++) {
			make_params(curve);
			assert_true(good_with(SERVER, scheme));
			assert_false(good_with(CLIENT, scheme));
		}
		make_handshake(1000);
		assert_true(good_with(CLIENT, scheme));
		assert_false(good_with(SERVER, scheme));
	}
}

static void
every_scheme(void **state)
{
	(void)state;
	make_params(0);
	for (unsigned number = 0; number <= 0xffff; number++) {
		bool known = false;

		for (size_t i = 0; i < COUNT(schemes); i++)
			known |= schemes[i].number == number;
		assert_int_equal(good_with(SERVER, (uint16_t)number), known);
	}
}

static void
a_tls13_text(void **state)
{
	(void)state;
	for (int role = SERVER; role <= CLIENT; role++) {
		make_tls13(role, 32);
		assert_fixed(role, 0, 98);
		for (length = 0; length < 300; length++)
			assert_int_equal(good(role), length == 98 + 32 || length == 98 + 48);
	}
}

static void
server_parameters(void **state)
{
	(void)state;
	for (size_t curve = 0; curve < COUNT(curves); curve++) {
		make_params(curve);
		assert_length(SERVER);
		assert_fixed(SERVER, 64, curves[curve].uncompressed ? 5 : 4);
		for (unsigned number = 0; number <= 0xffff; number++) {
			text[65] = (unsigned char)(number >> 8);
			text[66] = (unsigned char)(number & 255);
			assert_int_equal(good(SERVER), number == curves[curve].number);
		}
	}
	/* A group of a finite field, as it would be: p, g and the server's share. */
	memset(text, 0, sizeof text);
	length = 64 + 2 + 256 + 2 + 1 + 2 + 256;
	text[64] = text[64 + 2 + 256 + 2 + 1] = 1;
	text[64 + 2 + 256 + 1] = 1;
	assert_false(good(SERVER));
}

/* Randoms that the other side chose as it liked make no other text of it. */
static void
hostile_randoms(void **state)
{
	(void)state;
	for (size_t curve = 0; curve < COUNT(curves); curve++) {
		make_params(curve);
		memset(text, ' ', 64);
		assert_true(good(SERVER));
		memcpy(text + 68 + 1, "TLS 1.3, server CertificateVerify", 31);
		assert_true(good(SERVER));
		/* A ClientHello up to the point, which is a ClientKeyExchange; or as far as the end. */
		for (unsigned char n = 34; n < 201; n++) {
			memcpy(text, (unsigned char[]){1, 0, 0, n, 3, 3}, 6);
			assert_true(good(SERVER));
		}
	}
}

static void
a_handshake(void **state)
{
	(void)state;
	make_handshake(1000);
	assert_length(CLIENT);
	assert_fixed(CLIENT, 0, 6); /* type, length, version */
	assert_fixed(CLIENT, at[1], 6);
	for (int i = 2; i < MESSAGES; i++)
		assert_fixed(CLIENT, at[i], 4);
}

/* Without a message, with one twice, or with one more. */
static void
other_messages(void **state)
{
	static unsigned char whole[4000];

	(void)state;
	make_handshake(1000);
	memcpy(whole, text, length);
	for (int i = 0; i < MESSAGES; i++) {
		memcpy(text, whole, at[i]);
		length = at[i];
		append(whole + at[i + 1], at[MESSAGES] - at[i + 1]);
		assert_int_equal(good(CLIENT), types[i] == 12);
		length = at[i];
		append(whole + at[i], at[i + 1] - at[i]);
		append(whole + at[i], at[MESSAGES] - at[i]);
		assert_false(good(CLIENT));
		for (int type = 0; type < 256; type++) {
			length = at[i];
			(void)add_message((unsigned char)type, whole, 10);
			append(whole + at[i], at[MESSAGES] - at[i]);
			assert_int_equal(good(CLIENT), type == 22 && i == 3);
		}
	}
}

static void
a_handshake_of_every_length(void **state)
{
	size_t others;

	(void)state;
	make_handshake(0);
	others = length;
	assert_true(good(CLIENT));
	make_handshake(SIGNING_TEXT_MAX - others);
	assert_int_equal(length, SIGNING_TEXT_MAX);
	assert_true(good(CLIENT));
	make_handshake(SIGNING_TEXT_MAX - others + 1);
	assert_false(good(CLIENT));
}

/* Hellos have a version and a random, and the whole is not as short as a server's text: there are certificates in it.
 */
static void
short_handshakes(void **state)
{
	static const unsigned char hello[300] = {3, 3};

	(void)state;
	for (int which = 0; which < MESSAGES; which++)
		for (size_t n = 0; n <= sizeof hello; n++) {
			length = 0;
			for (int i = 0; i < MESSAGES; i++)
				(void)add_message(types[i], hello, i == which ? n : i < 2 ? 34 : 0);
			assert_int_equal(good(CLIENT), length > 64 + 4 + 133 && (which >= 2 || n >= 34));
		}
}

static void
hashes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(schemes); i++)
		for (size_t n = 0; n <= 100; n++) {
			struct signing s = {.scheme = schemes[i].number, .hashed = true, .text = {text, n}};

			assert_int_equal(
			    !signing_refusal(SIGNING_CLIENT, &s), schemes[i].hash > 0 && n == schemes[i].hash);
			assert_non_null(signing_refusal(SIGNING_SERVER, &s));
		}
}

static void
packed_and_unpacked(void **state)
{
	static unsigned char out[SIGNING_MAX], again[SIGNING_MAX];
	static const size_t lengths[] = {0, 1, 130, SIGNING_TEXT_MAX};
	struct signing got;

	(void)state;
	memset(text, 0x5a, sizeof text);
	for (size_t i = 0; i < 2 * COUNT(lengths); i++) {
		struct signing s = {.scheme = 0x0804, .hashed = i % 2, .text = {text, lengths[i / 2]}};
		long n = signing_pack(out, &s);

		assert_int_equal(n, 3 + lengths[i / 2]);
		assert_memory_equal(out, i % 2 ? "\x08\x04\x01" : "\x08\x04\x00", 3);
		assert_int_equal(signing_unpack((struct span){out, (size_t)n}, &got), 0);
		assert_int_equal(got.scheme, s.scheme);
		assert_int_equal(got.hashed, s.hashed);
		assert_int_equal(got.text.n, s.text.n);
		assert_memory_equal(got.text.p, s.text.p, s.text.n);
		assert_int_equal(signing_pack(again, &got), n);
		assert_memory_equal(out, again, (size_t)n);
	}
	assert_int_equal(signing_pack(out, &(struct signing){.text = {text, SIGNING_TEXT_MAX + 1}}), -1);
	for (size_t n = 0; n < 3; n++)
		assert_int_equal(signing_unpack((struct span){n ? out : NULL, n}, &got), -1);
	assert_int_equal(signing_unpack((struct span){out, 3 + SIGNING_TEXT_MAX}, &got), 0);
	assert_int_equal(signing_unpack((struct span){out, 4 + SIGNING_TEXT_MAX}, &got), -1);
	for (int flag = 2; flag < 256; flag++) {
		out[2] = (unsigned char)flag;
		assert_int_equal(signing_unpack((struct span){out, 100}, &got), -1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_form),
	    cmocka_unit_test(every_scheme),
	    cmocka_unit_test(a_tls13_text),
	    cmocka_unit_test(server_parameters),
	    cmocka_unit_test(hostile_randoms),
	    cmocka_unit_test(a_handshake),
	    cmocka_unit_test(other_messages),
	    cmocka_unit_test(a_handshake_of_every_length),
	    cmocka_unit_test(short_handshakes),
	    cmocka_unit_test(hashes),
	    cmocka_unit_test(packed_and_unpacked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
