/*
 * Requests for signatures: how one is packed, and whether TLS would make it.
 *
 * No text that is let through can be taken for one of another form, whoever
 * chose the random bytes in it, so that a signature is good for nothing but the
 * message that it was asked for:
 *
 *	TLS 1.3, either role	its byte 64 is the 'T' of a context string
 *	TLS 1.2, server		its byte 64 is the 3 of named_curve, and it has 201 bytes at most
 *	TLS 1.2, client		begins with 1, where the first has a space, and is longer than the second
 *
 * A request holds the scheme (2 bytes, the higher first), whether the text is a
 * hash (1 byte), and the text.
 */
#include "core/signing.h"

#include <string.h>

enum { HEAD = 3, RANDOMS = 64, HELLO_RANDOM = 32 };

/* Before a server's point: the kind of curve, the curve, the length (RFC 8422, 5.4). */
enum { NAMED_CURVE = 3, POINT_HEAD = 4, POINT_MAX = 133, SERVER_MAX = RANDOMS + POINT_HEAD + POINT_MAX };

/* A handshake's messages (RFC 5246, 7.4). */
enum { MESSAGE_HEAD = 4, CLIENT_HELLO = 1, SERVER_HELLO = 2 };

/* Those behind the hellos, up to what a client signs: the server asked for a certificate, and got one. */
static const struct {
	int type;
	bool optional;
} flights[] = {
    {11, false}, /* Certificate */
    {22, true},	 /* CertificateStatus (RFC 6066, 8) */
    {12, true},	 /* ServerKeyExchange */
    {13, false}, /* CertificateRequest */
    {14, false}, /* ServerHelloDone */
    {11, false}, /* Certificate, the client's */
    {16, false}, /* ClientKeyExchange */
};

/* RFC 8446, 4.2.3. */
static const struct scheme {
	uint16_t number;
	uint16_t hash; /* bytes, where a hash alone may be signed */
	bool old;      /* for handshakes of TLS 1.2 alone */
} schemes[] = {
    {0x0401, 32, true}, {0x0501, 48, true}, {0x0601, 64, true},	   /* rsa_pkcs1_sha256, 384, 512 */
    {0x0403, 32, false}, {0x0503, 48, false}, {0x0603, 64, false}, /* ecdsa_secp256r1_sha256 and so on */
    {0x0804, 0, false}, {0x0805, 0, false}, {0x0806, 0, false},	   /* rsa_pss_rsae_sha256, 384, 512 */
    {0x0809, 0, false}, {0x080a, 0, false}, {0x080b, 0, false},	   /* rsa_pss_pss_sha256, 384, 512 */
    {0x0807, 0, false}, {0x0808, 0, false},			   /* ed25519, ed448 */
};

/* RFC 8422, 5.1.1 and 5.4; RFC 8446, 4.2.7. */
static const struct curve {
	uint16_t number;
	uint8_t point;	   /* bytes */
	bool uncompressed; /* they begin with 4 */
} curves[] = {
    {23, 65, true}, {24, 97, true}, {25, POINT_MAX, true}, /* secp256r1, 384, 521 */
    {29, 32, false}, {30, 56, false},			   /* x25519, x448 */
};

long
signing_pack(unsigned char *out, const struct signing *s)
{
	if (s->text.n > SIGNING_TEXT_MAX)
		return -1;
	out[0] = (unsigned char)(s->scheme >> 8);
	out[1] = (unsigned char)(s->scheme & 0xff);
	out[2] = s->hashed;
	if (s->text.n > 0)
		memcpy(out + HEAD, s->text.p, s->text.n);
	return HEAD + (long)s->text.n;
}

int
signing_unpack(struct span in, struct signing *s)
{
	if (in.n < HEAD || in.n - HEAD > SIGNING_TEXT_MAX || in.p[2] > 1)
		return -1;
	s->scheme = (uint16_t)(in.p[0] << 8 | in.p[1]);
	s->hashed = in.p[2];
	s->text = (struct span){in.p + HEAD, in.n - HEAD};
	return 0;
}

static const struct scheme *
find_scheme(uint16_t number)
{
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
		if (schemes[i].number == number)
			return &schemes[i];
	return NULL;
}

/* Behind 64 spaces, the role's context string and a 0: the hash of the handshake, SHA-256 or SHA-384. */
static bool
is_tls13(enum signing_role role, struct span t)
{
	static const char *const strings[] = {"TLS 1.3, server CertificateVerify", "TLS 1.3, client CertificateVerify"};
	const char *string = strings[role == SIGNING_CLIENT];
	size_t head = RANDOMS + strlen(string) + 1;

	if (t.n != head + 32 && t.n != head + 48)
		return false;
	for (size_t i = 0; i < RANDOMS; i++)
		if (t.p[i] != ' ')
			return false;
	return memcmp(t.p + RANDOMS, string, strlen(string) + 1) == 0;
}

/*
 * Both randoms, a named curve and a point on it, by its looks. No parameters of
 * a finite field: no backend that asks for signatures has any.
 */
static bool
is_server_params(struct span t)
{
	const unsigned char *p = t.p + RANDOMS;

	if (t.n < RANDOMS + POINT_HEAD + 1 || p[0] != NAMED_CURVE)
		return false;
	for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
		if (curves[i].number == (p[1] << 8 | p[2]))
			return p[3] == curves[i].point && t.n == (size_t)RANDOMS + POINT_HEAD + p[3] &&
			       (!curves[i].uncompressed || p[POINT_HEAD] == 4);
	return false;
}

/* Takes a message off *t. Returns its type, or -1 when that is not whole. */
static int
next_message(struct span *t, struct span *body)
{
	int type;

	if (t->n < MESSAGE_HEAD)
		return -1;
	type = t->p[0];
	*body = (struct span){t->p + MESSAGE_HEAD, (size_t)t->p[1] << 16 | (size_t)t->p[2] << 8 | t->p[3]};
	if (body->n > t->n - MESSAGE_HEAD)
		return -1;
	t->p += MESSAGE_HEAD + body->n;
	t->n -= MESSAGE_HEAD + body->n;
	return type;
}

/* A hello of TLS 1.2, or one that offers more (RFC 8446, 4.1.2): version and random. */
static bool
next_hello(struct span *t, int type)
{
	struct span body;

	return next_message(t, &body) == type && body.n >= 2 + HELLO_RANDOM && body.p[0] == 3 && body.p[1] == 3;
}

/* From the ClientHello to the ClientKeyExchange (RFC 5246, 7.3); with two certificates in it, it cannot be short. */
static bool
is_handshake(struct span t)
{
	struct span body;

	if (t.n <= SERVER_MAX || !next_hello(&t, CLIENT_HELLO) || !next_hello(&t, SERVER_HELLO))
		return false;
	for (size_t i = 0; i < sizeof flights / sizeof *flights; i++) {
		if (t.n > 0 && t.p[0] != flights[i].type && flights[i].optional)
			continue;
		if (next_message(&t, &body) != flights[i].type)
			return false;
	}
	return t.n == 0;
}

const char *
signing_refusal(enum signing_role role, const struct signing *s)
{
	const struct scheme *scheme = find_scheme(s->scheme);

	if (!scheme)
		return "unknown signature scheme";
	if (s->text.n > SIGNING_TEXT_MAX)
		return "too long a text to sign";
	if (s->hashed && role != SIGNING_CLIENT)
		return "a server signs no hash";
	if (s->hashed)
		return scheme->hash > 0 && s->text.n == scheme->hash ? NULL : "no hash of the signature scheme";
	if (is_tls13(role, s->text))
		return scheme->old ? "a signature scheme that TLS 1.3 does not have" : NULL;
	if (role == SIGNING_CLIENT ? is_handshake(s->text) : is_server_params(s->text))
		return NULL;
	return "not what TLS has this side sign";
}
