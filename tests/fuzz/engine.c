/*
 * Fuzzes a server engine by its wire. The first byte chooses who speaks: a
 * stranger, whose bytes all others are, or a client that has completed the
 * handshake and means ill: records of any type and content, under its keys.
 * The second byte is the length of the pieces in which all is fed, the third
 * says how willingly the engine's bytes are taken. Checks that no byte comes
 * out on either side but those that were put in on the other, and that the
 * engine never waits for anything but the peer.
 */
#include "engine/engine.h"

#include "fuzz.h"
#include "unit/abilities.h"
#include "unit/identity.h"

#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>

#include <string.h>

/* The most plaintext in a record, and what is before and behind it: header, inner type, tag (RFC 8446, 5.2). */
enum { RECORD = 16384, AROUND = 5 + 1 + 16 };

/* The first byte of a record in the input: its type, 0 for what prog does; whether it is full, or sent MANY times. */
enum { TYPE = 0x3f, OFTEN = 0x40, FULL = 0x80, MANY = 30 };

/* The engine, how it is treated, what was seen of it, and what went through it. */
struct server {
	struct engine *e;
	size_t piece;
	bool deaf;   /* nothing is taken before the engine can take nothing more */
	size_t most; /* ... and then this much */
	unsigned facts;
	SSL *client;	     /* reads what the engine sends; NULL for a stranger */
	size_t said, got;    /* bytes for prog */
	size_t wrote, heard; /* bytes from it */
};

/* What protects the client's records: TLS_AES_128_GCM_SHA256. */
struct keys {
	unsigned char secret[32], key[16], iv[12];
	uint64_t sequence;
};

static unsigned char said[3 * MANY * RECORD];

/* -- the engine ---------------------------------------------------------- */

static struct engine_context *
context(void)
{
	static struct engine_context *c;
	static struct identity id;
	struct fault f;

	if (c)
		return c;
	/* Before the certificate is made with a library that the engine may have to set up first. */
	engine_context_free(engine_prepare(&(struct engine_policy){.role = ENGINE_CLIENT}, &f));
	id = identity_make("localhost", "P-256", NULL);
	struct blobs chain = {.v = &id.cert, .n = 1};
	c = engine_prepare(&(struct engine_policy){.role = ENGINE_SERVER,
			       .verify = VERIFY_OPTIONAL,
			       .key = &id.key,
			       .signer = identity_signer(&id, ENGINE_SERVER),
			       .chain = &chain,
			       .anchors = &chain},
	    &f);
	CHECK(c != NULL);
	return c;
}

/* What holds at any time. */
static void
check(struct server *s)
{
	unsigned facts = engine_facts(s->e);
	const unsigned char *out;
	unsigned char *in;
	bool waits = engine_wire_out(s->e, &out) > 0;
	size_t n = engine_app_out(s->e, &out);

	CHECK((s->facts & ~facts) == 0);
	s->facts = facts;
	CHECK(n <= s->said - s->got && (n == 0 || memcmp(out, said + s->got, n) == 0));
	waits = waits || n > 0;
	if (!(facts & ENGINE_UP))
		CHECK(n == 0 && engine_app_in(s->e, &in) == 0 && !(facts & ENGINE_NOTIFIED));
	if (facts & ENGINE_FAILED) {
		CHECK(engine_wire_in(s->e, &in) == 0 && engine_app_in(s->e, &in) == 0);
		CHECK(engine_reason(s->e)[0] != '\0' && printable(engine_reason(s->e)));
	}
	CHECK(waits || engine_hungry(s->e));
	CHECK(waits || facts & (ENGINE_FAILED | ENGINE_NOTIFIED) || engine_wire_in(s->e, &in) > 0);
	CHECK(waits || facts & ENGINE_FAILED || !engine_app_busy(s->e));
}

static unsigned char
pattern(size_t at)
{
	return (unsigned char)(at * 2654435761u >> 7 & 0xff);
}

/* The client reads; an error that the engine may well have told it of is an end. */
static void
hear(struct server *s, const unsigned char *p, size_t n)
{
	static unsigned char text[RECORD];
	size_t length;

	CHECK(BIO_write(SSL_get_rbio(s->client), p, (int)n) == (int)n);
	while (SSL_read_ex(s->client, text, sizeof text, &length) == 1)
		for (size_t i = 0; i < length; i++)
			CHECK(s->heard < s->wrote && text[i] == pattern(s->heard++));
}

/* Takes a piece from both ports. Returns whether there was any. */
static bool
take(struct server *s, size_t most)
{
	const unsigned char *p;
	size_t app = engine_app_out(s->e, &p), wire;

	if (app > 0) {
		engine_app_out_ack(s->e, app < most ? app : most);
		s->got += app < most ? app : most;
	}
	check(s);
	wire = engine_wire_out(s->e, &p);
	if (wire > 0 && s->client)
		hear(s, p, wire < most ? wire : most);
	if (wire > 0)
		engine_wire_out_ack(s->e, wire < most ? wire : most);
	check(s);
	return wire > 0 || app > 0;
}

/* Feeds the wire, as long as the engine can be fed. */
static void
feed(struct server *s, const unsigned char *from, size_t n)
{
	while (n > 0) {
		unsigned char *p;
		size_t room = engine_wire_in(s->e, &p), step = n < s->piece ? n : s->piece;

		if (room == 0 && !take(s, s->most))
			return;
		step = step < room ? step : room;
		if (step == 0)
			continue;
		memcpy(p, from, step);
		engine_wire_in_ack(s->e, step);
		check(s);
		if (!s->deaf)
			(void)take(s, s->piece);
		from += step;
		n -= step;
	}
}

/* prog writes, and never more than it may; of nothing, it ends. */
static void
write_prog(struct server *s, size_t n)
{
	unsigned char *p;
	size_t room = engine_app_in(s->e, &p);

	if (n == 0 && !engine_app_busy(s->e))
		engine_close(s->e);
	if (n == 0 || room == 0)
		return;
	n = n < room ? n : room;
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(s->wrote++);
	engine_app_in_ack(s->e, n);
}

/* -- the client ---------------------------------------------------------- */

/* HKDF-Expand-Label, with no context (RFC 8446, 7.1). */
static void
expand(unsigned char secret[32], const char *label, unsigned char *out, size_t n)
{
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", NULL);
	EVP_KDF_CTX *c = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[] = {OSSL_PARAM_construct_int("mode", &mode),
	    OSSL_PARAM_construct_utf8_string("digest", (char[]){"SHA256"}, 0),
	    OSSL_PARAM_construct_octet_string("key", secret, 32),
	    OSSL_PARAM_construct_octet_string("prefix", (char[]){"tls13 "}, 6),
	    OSSL_PARAM_construct_octet_string("label", (void *)(uintptr_t)label, strlen(label)), OSSL_PARAM_END};

	CHECK(EVP_KDF_derive(c, out, n, params) == 1);
	EVP_KDF_CTX_free(c);
	EVP_KDF_free(kdf);
}

static void
set_keys(struct keys *k)
{
	expand(k->secret, "key", k->key, sizeof k->key);
	expand(k->secret, "iv", k->iv, sizeof k->iv);
	k->sequence = 0;
}

/* The library tells its secrets, a line each: label, random, secret. */
static void
note_secret(const SSL *ssl, const char *line)
{
	struct keys *k = SSL_get_app_data(ssl);
	size_t n;

	if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0)
		CHECK(OPENSSL_hexstr2buf_ex(k->secret, sizeof k->secret, &n, strrchr(line, ' ') + 1, '\0') == 1);
}

static SSL_CTX *
client_context(void)
{
	static SSL_CTX *c;

	if (c)
		return c;
	c = SSL_CTX_new(TLS_client_method());
	CHECK(c != NULL && SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256") == 1);
	SSL_CTX_set_keylog_callback(c, note_secret);
	return c;
}

/* Completes a handshake; from here on the client only reads. */
static void
handshake(struct server *s, struct keys *k)
{
	SSL *client = SSL_new(client_context());
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	static struct session session;
	const unsigned char *p;
	unsigned char *sent;
	struct fault f;
	int done;

	SSL_set_bio(client, in, out);
	SSL_set_app_data(client, k);
	do {
		done = SSL_connect(client);
		size_t m = (size_t)BIO_get_mem_data(out, &sent);
		feed(s, sent, m);
		(void)BIO_reset(out);
		size_t n = engine_wire_out(s->e, &p);
		if (n > 0) {
			CHECK(BIO_write(in, p, (int)n) == (int)n);
			engine_wire_out_ack(s->e, n);
		}
	} while (done != 1);
	s->client = client;
	set_keys(k);
	CHECK(engine_facts(s->e) == ENGINE_UP);
	engine_wipe(s->e);
	CHECK(engine_session(s->e, &session, &f) == 0 && !session.has_sni && !session.has_peer);
}

/* Protects a record's n bytes at p, the type included; returns how many are at out then. */
static size_t
seal(struct keys *k, const unsigned char *p, size_t n, unsigned char *out)
{
	const unsigned char header[] = {23, 3, 3, (unsigned char)((n + 16) >> 8), (unsigned char)((n + 16) & 0xff)};
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	unsigned char nonce[12];
	int m;

	memcpy(nonce, k->iv, sizeof nonce);
	for (int i = 0; i < 8; i++)
		nonce[11 - i] ^= (unsigned char)(k->sequence >> 8 * i & 0xff);
	k->sequence++;
	memcpy(out, header, sizeof header);
	CHECK(EVP_EncryptInit_ex2(c, EVP_aes_128_gcm(), k->key, nonce, NULL) == 1);
	CHECK(EVP_EncryptUpdate(c, NULL, &m, header, sizeof header) == 1);
	CHECK(EVP_EncryptUpdate(c, out + 5, &m, p, (int)n) == 1 && (size_t)m == n);
	CHECK(EVP_EncryptFinal_ex(c, out + 5 + n, &m) == 1);
	CHECK(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, out + 5 + n) == 1);
	EVP_CIPHER_CTX_free(c);
	return 5 + n + 16;
}

/* A record of the type and the content. Returns whether it is data or a key update, as an honest client's are. */
static bool
send_record(struct server *s, struct keys *k, unsigned char type, const uint8_t *content, size_t n)
{
	static unsigned char plain[RECORD + 1], out[RECORD + AROUND];
	bool updates = type == 22 && n == 5 && memcmp(content, "\x18\0\0\1", 4) == 0 && content[4] < 2;

	memcpy(plain, content, n);
	plain[n] = type;
	if (type == 23) {
		CHECK(n <= sizeof said - s->said);
		memcpy(said + s->said, content, n);
		s->said += n;
	}
	feed(s, out, seal(k, plain, n + 1, out));
	if (updates) {
		expand(k->secret, "traffic upd", k->secret, sizeof k->secret);
		set_keys(k);
	}
	return updates || (type == 23 && n > 0);
}

/* Each record is a type, the length of its content, and that. FULL repeats the content, OFTEN the record. */
static void
send_records(struct server *s, struct keys *k, const uint8_t *p, size_t size)
{
	static uint8_t full[RECORD];
	bool honest = true;

	while (size >= 2 && sizeof said - s->said >= MANY * RECORD) {
		const uint8_t *content = p + 2;
		size_t n = p[1] < size - 2 ? p[1] : size - 2, length = n;

		if (p[0] & FULL && n > 0) {
			for (length = 0; length < sizeof full; length++)
				full[length] = p[2 + length % n];
			content = full;
		}
		for (int i = p[0] & OFTEN ? MANY : 1; i > 0; i--) {
			if ((p[0] & TYPE) == 0)
				write_prog(s, length);
			else
				honest &= send_record(s, k, p[0] & TYPE, content, length);
			check(s);
		}
		p += 2 + n;
		size -= 2 + n;
	}
	while (take(s, s->most))
		;
	CHECK(!honest || (s->got == s->said && s->heard == s->wrote && s->facts == ENGINE_UP));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct keys keys = {0};
	struct fault f;

	if (n < 3)
		return 0;
	/* The client that means ill knows TLS 1.3 alone. */
	bool client = data[0] & 1 && abilities()->tls13;
	struct server s = {.e = engine_open(context(), &f), .piece = SIZE_MAX, .deaf = true};
	CHECK(s.e != NULL);
	check(&s);
	if (client)
		handshake(&s, &keys);
	s.piece = data[1] ? data[1] : RECORD;
	s.deaf = data[2] & 1;
	s.most = data[2] & 2 ? 5000 : SIZE_MAX;
	if (client)
		send_records(&s, &keys, data + 3, n - 3);
	else
		feed(&s, data + 3, n - 3);
	SSL_free(s.client);
	engine_free(s.e);
	return 0;
}
