/*
 * Fuzzes an engine by its wire. The first byte chooses its role, and who
 * speaks: a stranger, whose bytes all others are, or a peer that has completed
 * the handshake, of either version, and means ill: records of any type and
 * content, under its keys; a client's name for the server may come before
 * them. The second byte is the length of the pieces in which all is fed, the
 * third says how willingly the engine's bytes are taken. Checks that no byte
 * comes out on either side but those that were put in on the other, that the
 * engine never waits for anything but the peer, and that of names it tells
 * those alone that are.
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

/* The first byte of the input: the engine is a client, the peer no stranger, of the older version, names the server. */
enum { INSIDE = 1, CLIENT = 2, TLS12 = 4, NAMES = 8 };

/* The most plaintext in a record, and what is around it: header, nonce or inner type, tag (RFC 8446, 5.2; RFC 5288). */
enum { RECORD = 16384, AROUND = 5 + 8 + 16 };

/* The first byte of a record in the input: its type, 0 for what prog does; whether it is full, or sent MANY times. */
enum { TYPE = 0x3f, OFTEN = 0x40, FULL = 0x80, MANY = 30 };

/* The engine, how it is treated, what was seen of it, and what went through it. */
struct subject {
	struct engine *e;
	enum engine_role role;
	size_t piece;
	bool deaf;   /* nothing is taken before the engine can take nothing more */
	size_t most; /* ... and then this much */
	unsigned facts;
	SSL *peer;	     /* reads what the engine sends; NULL for a stranger */
	size_t said, got;    /* bytes for prog */
	size_t wrote, heard; /* bytes from it */
	bool closed;
	bool wished; /* the peer began a message of a handshake: a library may hold back what prog says before it is
			whole */
};

/* What protects the peer's records: AES-128-GCM, in both versions with SHA-256. */
struct keys {
	const char *label; /* of the secret, in the line that tells it */
	bool tls12;
	unsigned char secret[48], key[16], iv[12];
	uint64_t sequence;
};

static unsigned char said[3 * MANY * RECORD];

/* -- the engine ---------------------------------------------------------- */

static struct identity id;

static struct engine_context *
context(enum engine_role role)
{
	static struct engine_context *contexts[2];
	struct fault f;

	if (contexts[role])
		return contexts[role];
	/* Before the certificate is made with a library that the engine may have to set up first. */
	engine_context_free(engine_prepare(&(struct engine_policy){.role = ENGINE_CLIENT}, &f));
	if (!id.pkey)
		id = identity_make("localhost", "P-256", NULL);
	struct blobs chain = {.v = &id.cert, .n = 1};
	bool server = role == ENGINE_SERVER;
	contexts[role] = engine_prepare(&(struct engine_policy){.role = role,
					    .verify = server ? VERIFY_OPTIONAL : VERIFY_REQUIRED,
					    .key = &id.key,
					    .signer = identity_signer(&id, role),
					    .chain = &chain,
					    .anchors = &chain,
					    .servername = server ? NULL : "localhost"},
	    &f);
	CHECK(contexts[role] != NULL);
	return contexts[role];
}

/* What holds at any time. */
static void
check(struct subject *s)
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
	CHECK(waits || facts & ENGINE_FAILED || s->wished || !engine_app_busy(s->e));
}

static unsigned char
pattern(size_t at)
{
	return (unsigned char)(at * 2654435761u >> 7 & 0xff);
}

/* The peer reads; an error that the engine may well have told it of is an end. */
static void
hear(struct subject *s, const unsigned char *p, size_t n)
{
	static unsigned char text[RECORD];
	size_t length;

	CHECK(BIO_write(SSL_get_rbio(s->peer), p, (int)n) == (int)n);
	while (SSL_read_ex(s->peer, text, sizeof text, &length) == 1)
		for (size_t i = 0; i < length; i++)
			CHECK(s->heard < s->wrote && text[i] == pattern(s->heard++));
}

/* Takes a piece from both ports. Returns whether there was any. */
static bool
take(struct subject *s, size_t most)
{
	const unsigned char *p;
	size_t app = engine_app_out(s->e, &p), wire;

	if (app > 0) {
		engine_app_out_ack(s->e, app < most ? app : most);
		s->got += app < most ? app : most;
	}
	check(s);
	wire = engine_wire_out(s->e, &p);
	if (wire > 0 && s->peer)
		hear(s, p, wire < most ? wire : most);
	if (wire > 0)
		engine_wire_out_ack(s->e, wire < most ? wire : most);
	check(s);
	return wire > 0 || app > 0;
}

/* Feeds the wire, as long as the engine can be fed. */
static void
feed(struct subject *s, const unsigned char *from, size_t n)
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
write_prog(struct subject *s, size_t n)
{
	unsigned char *p;
	size_t room = engine_app_in(s->e, &p);

	if (n == 0 && !engine_app_busy(s->e)) {
		engine_close(s->e);
		s->closed = true;
	}
	if (n == 0 || room == 0)
		return;
	n = n < room ? n : room;
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(s->wrote++);
	engine_app_in_ack(s->e, n);
}

/* -- the peer ------------------------------------------------------------ */

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

/* Of the key block of TLS 1.2 what is the peer's (RFC 5246, 6.3; RFC 5288, 3): behind its Finished. */
static void
set_keys_tls12(struct keys *k, SSL *peer)
{
	static const char label[] = "key expansion";
	unsigned char seed[sizeof label - 1 + 2 * SSL3_RANDOM_SIZE], block[2 * 16 + 2 * 4];
	size_t server = SSL_is_server(peer) ? 1 : 0;
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
	EVP_KDF_CTX *c = EVP_KDF_CTX_new(kdf);

	memcpy(seed, label, sizeof label - 1);
	SSL_get_server_random(peer, seed + sizeof label - 1, SSL3_RANDOM_SIZE);
	SSL_get_client_random(peer, seed + sizeof label - 1 + SSL3_RANDOM_SIZE, SSL3_RANDOM_SIZE);
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", (char[]){"SHA256"}, 0),
	    OSSL_PARAM_construct_octet_string("secret", k->secret, 48),
	    OSSL_PARAM_construct_octet_string("seed", seed, sizeof seed), OSSL_PARAM_END};
	CHECK(EVP_KDF_derive(c, block, sizeof block, params) == 1);
	EVP_KDF_CTX_free(c);
	EVP_KDF_free(kdf);
	memcpy(k->key, block + 16 * server, 16);
	memcpy(k->iv, block + 32 + 4 * server, 4);
	k->sequence = 1;
}

/* The library tells its secrets, a line each: label, random, secret. */
static void
note_secret(const SSL *ssl, const char *line)
{
	struct keys *k = SSL_get_app_data(ssl);
	size_t n;

	if (strncmp(line, k->label, strlen(k->label)) == 0)
		CHECK(OPENSSL_hexstr2buf_ex(k->secret, sizeof k->secret, &n, strrchr(line, ' ') + 1, '\0') == 1);
}

/* Of a peer of the role. */
static SSL_CTX *
peer_context(enum engine_role role)
{
	static SSL_CTX *contexts[2];
	SSL_CTX *c = contexts[role];

	if (c)
		return c;
	contexts[role] = c = SSL_CTX_new(role == ENGINE_SERVER ? TLS_server_method() : TLS_client_method());
	CHECK(c != NULL && SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256") == 1);
	CHECK(SSL_CTX_set_cipher_list(c, "ECDHE-ECDSA-AES128-GCM-SHA256") == 1);
	if (role == ENGINE_SERVER)
		CHECK(SSL_CTX_use_PrivateKey(c, id.pkey) == 1 && SSL_CTX_use_certificate(c, id.x509) == 1);
	/* No record of the peer's but those that are made here. */
	CHECK(SSL_CTX_set_num_tickets(c, 0) == 1);
	(void)SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
	SSL_CTX_set_keylog_callback(c, note_secret);
	return c;
}

/* What the engine tells of a connection in which the client asked for the name, if for any. */
static void
check_session(struct subject *s, const char *name)
{
	static struct session session;
	char lower[DNSNAME_SIZE];
	struct fault f;

	CHECK(engine_session(s->e, &session, &f) == 0);
	CHECK(strcmp(session.protocol, SSL_get_version(s->peer)) == 0);
	if (s->role == ENGINE_CLIENT) {
		CHECK(!session.has_sni && session.has_peer && session.has_names);
		CHECK(strcmp(session.names, "localhost") == 0 && strcmp(session.subject, "CN=localhost") == 0);
		return;
	}
	CHECK(!session.has_peer && session.has_sni == dnsname_valid((const unsigned char *)name, strlen(name), lower));
	CHECK(!session.has_sni || strcmp(session.sni, lower) == 0);
}

/* Completes a handshake; from here on the peer only reads. Returns whether it could with that name for the server. */
static bool
handshake(struct subject *s, struct keys *k, const char *name)
{
	enum engine_role role = s->role == ENGINE_SERVER ? ENGINE_CLIENT : ENGINE_SERVER;
	SSL *peer = SSL_new(peer_context(role));
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	const unsigned char *p;
	unsigned char *sent;
	int done;

	SSL_set_bio(peer, in, out);
	SSL_set_app_data(peer, k);
	if (role == ENGINE_SERVER)
		SSL_set_accept_state(peer);
	else
		SSL_set_connect_state(peer);
	CHECK(SSL_set_max_proto_version(peer, k->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) == 1);
	k->label = k->tls12		   ? "CLIENT_RANDOM "
		   : role == ENGINE_SERVER ? "SERVER_TRAFFIC_SECRET_0 "
					   : "CLIENT_TRAFFIC_SECRET_0 ";
	if (role == ENGINE_CLIENT && *name)
		CHECK(SSL_set_tlsext_host_name(peer, name) == 1);
	do {
		done = SSL_do_handshake(peer);
		size_t m = (size_t)BIO_get_mem_data(out, &sent);
		feed(s, sent, m);
		(void)BIO_reset(out);
		size_t n = engine_wire_out(s->e, &p);
		if (n > 0) {
			CHECK(BIO_write(in, p, (int)n) == (int)n);
			engine_wire_out_ack(s->e, n);
		}
	} while (done != 1 && !(engine_facts(s->e) & ENGINE_FAILED));
	s->peer = peer;
	if (engine_facts(s->e) & ENGINE_FAILED)
		return false;
	if (k->tls12)
		set_keys_tls12(k, peer);
	else
		set_keys(k);
	CHECK(engine_facts(s->e) == ENGINE_UP);
	engine_wipe(s->e);
	check_session(s, name);
	return true;
}

static void
put_sequence(const struct keys *k, unsigned char *out)
{
	for (int i = 0; i < 8; i++)
		out[7 - i] = (unsigned char)(k->sequence >> 8 * i & 0xff);
}

/* AES-GCM of n bytes, and the tag behind them. */
static void
protect(const unsigned char *key, const unsigned char nonce[12], const unsigned char *aad, size_t aad_n,
    const unsigned char *p, size_t n, unsigned char *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int m;

	CHECK(EVP_EncryptInit_ex2(c, EVP_aes_128_gcm(), key, nonce, NULL) == 1);
	CHECK(EVP_EncryptUpdate(c, NULL, &m, aad, (int)aad_n) == 1);
	CHECK(EVP_EncryptUpdate(c, out, &m, p, (int)n) == 1 && (size_t)m == n);
	CHECK(EVP_EncryptFinal_ex(c, out + n, &m) == 1);
	CHECK(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, out + n) == 1);
	EVP_CIPHER_CTX_free(c);
}

static void
put_header(unsigned char *out, unsigned char type, size_t n)
{
	const unsigned char header[] = {type, 3, 3, (unsigned char)(n >> 8), (unsigned char)(n & 0xff)};

	memcpy(out, header, sizeof header);
}

/* A record of n bytes; returns how many are at out then. */
static size_t
seal_tls12(struct keys *k, unsigned char type, unsigned char *p, size_t n, unsigned char *out)
{
	unsigned char nonce[12], aad[13];

	put_header(out, type, 8 + n + 16);
	put_sequence(k, out + 5);
	put_sequence(k, aad);
	put_header(aad + 8, type, n);
	memcpy(nonce, k->iv, 4);
	put_sequence(k, nonce + 4);
	k->sequence++;
	protect(k->key, nonce, aad, sizeof aad, p, n, out + 5 + 8);
	return 5 + 8 + n + 16;
}

/* Likewise, and the byte behind them is the type's. */
static size_t
seal_tls13(struct keys *k, unsigned char type, unsigned char *p, size_t n, unsigned char *out)
{
	unsigned char nonce[12] = {0};

	p[n++] = type;
	put_header(out, 23, n + 16);
	put_sequence(k, nonce + 4);
	for (size_t i = 0; i < sizeof nonce; i++)
		nonce[i] ^= k->iv[i];
	k->sequence++;
	protect(k->key, nonce, out, 5, p, n, out + 5);
	return 5 + n + 16;
}

/* A record of the type and the content. Returns whether it is data or a key update, as an honest client's are. */
static bool
send_record(struct subject *s, struct keys *k, unsigned char type, const uint8_t *content, size_t n)
{
	static unsigned char plain[RECORD + 1], out[RECORD + AROUND];
	bool updates = !k->tls12 && type == 22 && n == 5 && memcmp(content, "\x18\0\0\1", 4) == 0 && content[4] < 2;

	memcpy(plain, content, n);
	if (type == 23) {
		CHECK(n <= sizeof said - s->said);
		memcpy(said + s->said, content, n);
		s->said += n;
	}
	feed(s, out, (k->tls12 ? seal_tls12 : seal_tls13)(k, type, plain, n, out));
	if (updates) {
		expand(k->secret, "traffic upd", k->secret, 32);
		set_keys(k);
	}
	return updates || (type == 23 && n > 0);
}

/* Each record is a type, the length of its content, and that. FULL repeats the content, OFTEN the record. */
static void
send_records(struct subject *s, struct keys *k, const uint8_t *p, size_t size)
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
			s->wished |= (p[0] & TYPE) == SSL3_RT_HANDSHAKE;
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
	/* Some hear nothing any more behind their close_notify. */
	honest = honest && (!s->closed || abilities()->hears_on);
	CHECK(!honest || (s->got == s->said && s->heard == s->wrote && s->facts == ENGINE_UP));
}

/* Takes the name off what a peer sends: its length, and that. */
static void
take_name(const uint8_t **data, size_t *n, char name[256])
{
	size_t length = *n ? **data : 0;

	name[0] = '\0';
	if (*n == 0)
		return;
	length = length < *n - 1 ? length : *n - 1;
	memcpy(name, *data + 1, length);
	name[length] = '\0';
	*data += 1 + length;
	*n -= 1 + length;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct keys keys = {.tls12 = n > 0 && (data[0] & TLS12 || !abilities()->tls13)};
	char name[256] = "";
	struct fault f;

	if (n < 3)
		return 0;
	const enum engine_role role = data[0] & CLIENT ? ENGINE_CLIENT : ENGINE_SERVER;
	struct subject s = {.e = engine_open(context(role), &f), .role = role, .piece = SIZE_MAX, .deaf = true};
	const unsigned how = data[0], piece = data[1], taken = data[2];
	CHECK(s.e != NULL);
	check(&s);
	data += 3;
	n -= 3;
	if (how & INSIDE && how & NAMES)
		take_name(&data, &n, name);
	bool up = how & INSIDE && handshake(&s, &keys, name);
	s.piece = piece ? piece : RECORD;
	s.deaf = taken & 1;
	s.most = taken & 2 ? 5000 : SIZE_MAX;
	if (up)
		send_records(&s, &keys, data, n);
	else if (!(how & INSIDE))
		feed(&s, data, n);
	SSL_free(s.peer);
	engine_free(s.e);
	return 0;
}
