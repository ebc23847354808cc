/*
 * Engine against engine, in memory: no descriptor, no clock, every byte in the
 * test's hands.
 */
#include "engine/engine.h"

#include "abilities.h"
#include "derasm.h"
#include "identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ssl.h>

/* One side: what it has to send, how much of it is gone, and how much it has got. */
struct side {
	struct engine_context *context;
	struct engine *engine;
	size_t total, sent, got;
	unsigned seed;
	bool deaf; /* takes nothing at app out */
};

static struct identity ca, stranger;

static unsigned char
pattern(size_t at, unsigned seed)
{
	return (unsigned char)((at * 2654435761u >> 7) + seed);
}

static struct side
open_side(const struct engine_policy *policy, unsigned seed)
{
	struct fault f = {0};
	struct side s = {.seed = seed, .context = engine_prepare(policy, &f)};

	if (!s.context)
		fail_msg("engine_prepare: %d %s", (int)f.code, f.text);
	s.engine = engine_open(s.context, &f);
	assert_non_null(s.engine);
	engine_context_wipe(s.context);
	return s;
}

static void
close_side(struct side *s)
{
	engine_free(s->engine);
	engine_context_free(s->context);
}

/* Moves up to `most` bytes of ciphertext. */
static size_t
carry(struct engine *from, struct engine *to, size_t most)
{
	const unsigned char *out;
	unsigned char *in;
	size_t n = engine_wire_out(from, &out), space = engine_wire_in(to, &in);

	n = n < most ? n : most;
	n = n < space ? n : space;
	if (n == 0)
		return 0;
	memcpy(in, out, n);
	engine_wire_in_ack(to, n);
	engine_wire_out_ack(from, n);
	return n;
}

static size_t
give(struct side *s)
{
	unsigned char *p;
	size_t n = engine_app_in(s->engine, &p);

	n = n < s->total - s->sent ? n : s->total - s->sent;
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(s->sent + i, s->seed);
	if (n == 0)
		return 0;
	engine_app_in_ack(s->engine, n);
	s->sent += n;
	return n;
}

static size_t
take(struct side *s, unsigned seed)
{
	const unsigned char *p;
	size_t n = s->deaf ? 0 : engine_app_out(s->engine, &p);

	for (size_t i = 0; i < n; i++)
		assert_int_equal(p[i], pattern(s->got + i, seed));
	if (n)
		engine_app_out_ack(s->engine, n);
	s->got += n;
	return n;
}

/* Moves everything until nothing moves any more. */
static void
run(struct side *a, struct side *b, size_t most)
{
	size_t moved;

	do {
		moved = carry(a->engine, b->engine, most) + carry(b->engine, a->engine, most);
		moved += give(a) + give(b) + take(a, b->seed) + take(b, a->seed);
	} while (moved);
}

static struct blobs
one(struct blob *b)
{
	return (struct blobs){.v = b, .n = 1};
}

/* A server with the identity, and a client that trusts its authority and names localhost. */
static void
open_pair(struct side *server, struct side *client, struct identity *id, enum engine_version newest)
{
	struct blobs chain = one(&id->cert), anchors = one(&ca.cert);

	*server = open_side(&(struct engine_policy){.role = ENGINE_SERVER,
				.newest = newest,
				.key = &id->key,
				.signer = identity_signer(id, ENGINE_SERVER),
				.chain = &chain},
	    1);
	*client = open_side(&(struct engine_policy){.role = ENGINE_CLIENT,
				.newest = newest,
				.verify = VERIFY_REQUIRED,
				.anchors = &anchors,
				.servername = "localhost"},
	    2);
}

static void
assert_up(const struct side *s)
{
	if (!(engine_facts(s->engine) & ENGINE_UP) || engine_facts(s->engine) & ENGINE_FAILED)
		fail_msg("facts %u: %s", engine_facts(s->engine), engine_reason(s->engine));
}

/* A handshake, bulk both ways in pieces of every size, and both ends. */
static void
converse(const char *type, enum engine_version newest, size_t most)
{
	struct identity id = identity_make("localhost", type, &ca);
	static struct session session;
	struct side server, client;
	bool tls13 = newest != ENGINE_TLS12 && abilities()->tls13;
	struct fault f;

	open_pair(&server, &client, &id, newest);
	run(&server, &client, most);
	assert_up(&server);
	assert_up(&client);
	engine_wipe(server.engine);
	assert_int_equal(engine_session(server.engine, &session, &f), 0);
	assert_string_equal(session.protocol, tls13 ? "TLSv1.3" : "TLSv1.2");
	assert_memory_equal(session.cipher, "TLS_", 4);
	assert_true(session.has_sni);
	assert_string_equal(session.sni, "localhost");
	assert_false(session.has_peer);
	assert_false(session.has_names);
	assert_int_equal(engine_session(client.engine, &session, &f), 0);
	assert_true(session.has_peer);
	assert_string_equal(session.subject, "CN=localhost");
	assert_false(session.has_sni);
	assert_true(session.has_names);
	assert_string_equal(session.names, "localhost");
	assert_int_equal(engine_half_close(server.engine), tls13);
	server.total = client.total = most < 100 ? 20000 : 3000000;
	run(&server, &client, most);
	assert_int_equal(server.got, client.total);
	assert_int_equal(client.got, server.total);
	assert_int_equal(id.asked, engine_signs_elsewhere());
	close_side(&server);
	close_side(&client);
	identity_free(&id);
}

/* A client proves with such a key who it is. */
static void
prove(const char *type, enum engine_version newest)
{
	struct identity id = identity_make("localhost", "P-256", &ca), alice = identity_make("alice", type, &ca);
	struct blobs chain = one(&id.cert), anchors = one(&ca.cert), shown = one(&alice.cert);
	struct side server = open_side(&(struct engine_policy){.role = ENGINE_SERVER,
					   .newest = newest,
					   .verify = VERIFY_REQUIRED,
					   .key = &id.key,
					   .signer = identity_signer(&id, ENGINE_SERVER),
					   .chain = &chain,
					   .anchors = &anchors},
	    1);
	struct side client = open_side(&(struct engine_policy){.role = ENGINE_CLIENT,
					   .newest = newest,
					   .verify = VERIFY_REQUIRED,
					   .key = &alice.key,
					   .signer = identity_signer(&alice, ENGINE_CLIENT),
					   .chain = &shown,
					   .anchors = &anchors},
	    2);

	run(&server, &client, SIZE_MAX);
	assert_up(&server);
	assert_up(&client);
	assert_int_equal(id.asked, engine_signs_elsewhere());
	assert_int_equal(alice.asked, engine_signs_elsewhere());
	close_side(&server);
	close_side(&client);
	identity_free(&id);
	identity_free(&alice);
}

static void
every_key_and_version(void **state)
{
	static const char *const types[] = {"P-256", "P-384", "P-521", "RSA", "RSA-PSS", "ED25519", "ED448"};
	size_t n = sizeof types / sizeof *types - (abilities()->ed25519 ? 0 : 3);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		converse(types[i], ENGINE_NEWEST, SIZE_MAX);
		converse(types[i], ENGINE_TLS12, SIZE_MAX);
		prove(types[i], ENGINE_NEWEST);
		prove(types[i], ENGINE_TLS12);
	}
}

static long
refuse(void *with, const struct signing *request, unsigned char *signature)
{
	(void)with;
	(void)request;
	(void)signature;
	return -1;
}

/* Of the right length, and wrong. */
static long
lie(void *id, const struct signing *request, unsigned char *signature)
{
	struct engine_signer honest = identity_signer(id, ENGINE_SERVER);
	long n = honest.sign(honest.with, request, signature);

	assert_true(n > 0);
	signature[n - 1] ^= 1;
	return n;
}

/* An engine without a signature fails and says so; one with a wrong one does not get far with its peer. */
static void
no_good_signature(void **state)
{
	static const char *const types[] = {"P-256", "RSA"};
	struct blobs anchors = one(&ca.cert);

	(void)state;
	if (!engine_signs_elsewhere())
		return;
	for (int i = 0; i < 8; i++) {
		enum engine_version newest = i % 2 ? ENGINE_TLS12 : ENGINE_NEWEST;
		struct identity id = identity_make("localhost", types[i / 4], &ca);
		struct engine_signer signer = {i & 2 ? lie : refuse, &id};
		struct blobs chain = one(&id.cert);
		struct side server = open_side(
		    &(struct engine_policy){.role = ENGINE_SERVER, .newest = newest, .signer = signer, .chain = &chain},
		    1);
		struct side client = open_side(
		    &(struct engine_policy){
			.role = ENGINE_CLIENT, .newest = newest, .verify = VERIFY_REQUIRED, .anchors = &anchors},
		    2);
		struct side *first = i & 2 ? &client : &server;

		run(&server, &client, SIZE_MAX);
		assert_true(engine_facts(first->engine) & ENGINE_FAILED);
		assert_non_null(strstr(engine_reason(first->engine), "signature"));
		assert_false((engine_facts(server.engine) | engine_facts(client.engine)) & ENGINE_UP);
		close_side(&server);
		close_side(&client);
		identity_free(&id);
	}
}

static void
assert_fault(const struct fault *f, const char *text)
{
	assert_int_equal(f->code, FAULT_CONTEXT);
	if (!strstr(f->text, text))
		fail_msg("\"%s\" is not in \"%s\"", text, f->text);
}

static void
expect_refusal(const struct engine_policy *policy, const char *text)
{
	struct fault f = {0};

	assert_null(engine_prepare(policy, &f));
	assert_fault(&f, text);
}

/* By whoever loads the key. */
static void
expect_key_refusal(struct blob *key, struct blob *leaf, const char *text)
{
	struct blobs chain = one(leaf);
	struct fault f = {0};

	if (engine_signs_elsewhere())
		assert_null(engine_key_load(key, leaf, &f));
	else
		assert_null(engine_prepare(&(struct engine_policy){.key = key, .chain = &chain}, &f));
	assert_fault(&f, text);
}

/* Where a type of key is unknown, it is refused by name at the start, by the engine and by the key's owner. */
static void
an_unknown_type_of_key(void **state)
{
	struct identity id = identity_make("localhost", abilities()->ed25519 ? "X25519" : "ED25519", &ca);
	struct blobs chain = one(&id.cert);

	(void)state;
	expect_refusal(&(struct engine_policy){.key = &id.key, .chain = &chain},
	    engine_signs_elsewhere() ? "CERTFILE test: keys of this type cannot be used"
				     : "KEYFILE test: keys of this type cannot be used");
	expect_key_refusal(&id.key, &id.cert, "KEYFILE test: keys of this type cannot be used");
	identity_free(&id);
}

static void
pieces_of_every_size(void **state)
{
	static const size_t sizes[] = {1, 2, 3, 7, 1000, 16383, 16405, 16406, 65536};

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		converse("P-256", ENGINE_NEWEST, sizes[i]);
		converse("P-256", ENGINE_TLS12, sizes[i]);
	}
}

/* A peer's close_notify ends its direction alone, is seen behind its last byte, and ours is sent once. */
static void
close_notify_closes_one_way(enum engine_version newest)
{
	struct identity id = identity_make("localhost", "P-256", &ca);
	struct side server, client;

	open_pair(&server, &client, &id, newest);
	run(&server, &client, SIZE_MAX);
	client.total = 1000000;
	server.deaf = true;
	run(&server, &client, SIZE_MAX);
	client.total = client.sent;
	assert_false(engine_app_busy(client.engine));
	engine_close(client.engine);
	engine_close(client.engine);
	run(&server, &client, SIZE_MAX);
	assert_false(engine_facts(server.engine) & ENGINE_NOTIFIED);
	server.deaf = false;
	run(&server, &client, SIZE_MAX);
	assert_int_equal(server.got, client.sent);
	assert_true(engine_facts(server.engine) & ENGINE_NOTIFIED);
	assert_true(engine_hungry(server.engine));
	server.total = 200000;
	run(&server, &client, SIZE_MAX);
	assert_int_equal(client.got, engine_replies_after_close(server.engine) ? 200000 : 0);
	assert_false(engine_facts(client.engine) & ENGINE_FAILED);
	assert_int_equal(!(engine_facts(client.engine) & ENGINE_NOTIFIED), engine_replies_after_close(server.engine));
	engine_close(server.engine);
	run(&server, &client, SIZE_MAX);
	assert_true(engine_facts(client.engine) & ENGINE_NOTIFIED);
	assert_false((engine_facts(client.engine) | engine_facts(server.engine)) & ENGINE_FAILED);
	close_side(&server);
	close_side(&client);
	identity_free(&id);
}

static void
close_notify(void **state)
{
	(void)state;
	close_notify_closes_one_way(ENGINE_NEWEST);
	close_notify_closes_one_way(ENGINE_TLS12);
}

/* A reader that takes nothing stops the wire, and loses nothing. */
static void
a_deaf_reader_holds_the_wire_back(void **state)
{
	struct identity id = identity_make("localhost", "P-256", &ca);
	struct side server, client;

	(void)state;
	open_pair(&server, &client, &id, ENGINE_NEWEST);
	run(&server, &client, SIZE_MAX);
	client.total = 10000000;
	server.deaf = true;
	run(&server, &client, SIZE_MAX);
	assert_true(client.sent < 1000000);
	assert_false(engine_hungry(server.engine));
	server.deaf = false;
	run(&server, &client, SIZE_MAX);
	assert_int_equal(server.got, client.total);
	close_side(&server);
	close_side(&client);
	identity_free(&id);
}

/* A flipped bit fails the engine behind the last good byte, with an alert for the peer. */
static void
a_flipped_bit_fails(void **state)
{
	struct identity id = identity_make("localhost", "P-256", &ca);

	for (int newest = ENGINE_NEWEST; newest <= ENGINE_TLS12; newest++) {
		struct side server, client;
		const unsigned char *out;
		unsigned char *in;
		size_t n;

		open_pair(&server, &client, &id, (enum engine_version)newest);
		run(&server, &client, SIZE_MAX);
		client.total = 10;
		run(&server, &client, SIZE_MAX);
		client.total = 20;
		(void)give(&client);
		n = engine_wire_out(client.engine, &out) - 1;
		while (n > 0)
			n -= carry(client.engine, server.engine, n);
		assert_int_equal(engine_wire_out(client.engine, &out), 1);
		assert_true(engine_wire_in(server.engine, &in) > 0);
		*in = *out ^ 1;
		engine_wire_in_ack(server.engine, 1);
		engine_wire_out_ack(client.engine, 1);
		assert_true(engine_facts(server.engine) & ENGINE_FAILED);
		assert_true(engine_reason(server.engine)[0]);
		assert_int_equal(engine_wire_in(server.engine, &in), 0);
		assert_int_equal(engine_app_in(server.engine, &in), 0);
		assert_int_equal(engine_wire_out(server.engine, &out) > 0, abilities()->late_alerts);
		assert_int_equal(!(engine_facts(server.engine) & ENGINE_SILENT), abilities()->late_alerts);
		run(&server, &client, SIZE_MAX);
		assert_int_equal(server.got, 10);
		assert_int_equal(!!(engine_facts(client.engine) & ENGINE_FAILED), abilities()->late_alerts);
		close_side(&server);
		close_side(&client);
	}
	identity_free(&id);
	(void)state;
}

/* What was decrypted before our own close_notify is still there behind it. */
static void
closing_drops_nothing(void **state)
{
	struct identity id = identity_make("localhost", "P-256", &ca);

	(void)state;
	for (int newest = ENGINE_NEWEST; newest <= ENGINE_TLS12; newest++) {
		struct side server, client;

		open_pair(&server, &client, &id, (enum engine_version)newest);
		run(&server, &client, SIZE_MAX);
		client.total = 1000;
		server.deaf = true;
		run(&server, &client, SIZE_MAX);
		engine_close(server.engine);
		run(&server, &client, SIZE_MAX);
		assert_true(engine_facts(client.engine) & ENGINE_NOTIFIED);
		server.deaf = false;
		run(&server, &client, SIZE_MAX);
		assert_int_equal(server.got, 1000);
		assert_false((engine_facts(server.engine) | engine_facts(client.engine)) & ENGINE_FAILED);
		close_side(&server);
		close_side(&client);
	}
	identity_free(&id);
}

/* A record that is half sent when the engine fails is sent to its end. */
static void
a_failure_lets_records_out(void **state)
{
	struct identity id = identity_make("localhost", "P-256", &ca);

	(void)state;
	for (int newest = ENGINE_NEWEST; newest <= ENGINE_TLS12; newest++) {
		/* No record of any version: its type is unknown, and its length too large. */
		const unsigned char junk[] = {99, 3, 3, 0xff, 0xff};
		struct side server, client;
		unsigned char *in;

		open_pair(&server, &client, &id, (enum engine_version)newest);
		run(&server, &client, SIZE_MAX);
		server.total = 1000;
		assert_int_equal(give(&server), 1000);
		assert_int_equal(carry(server.engine, client.engine, 3), 3);
		assert_true(engine_wire_in(server.engine, &in) >= sizeof junk);
		memcpy(in, junk, sizeof junk);
		engine_wire_in_ack(server.engine, sizeof junk);
		assert_true(engine_facts(server.engine) & ENGINE_FAILED);
		run(&server, &client, SIZE_MAX);
		assert_int_equal(client.got, 1000);
		assert_int_equal(!!(engine_facts(client.engine) & ENGINE_FAILED), abilities()->late_alerts);
		close_side(&server);
		close_side(&client);
	}
	identity_free(&id);
}

/* What a client shows, what the server asks, and whether they get together. */
static void
client_certificates(void **state)
{
	static const struct {
		enum verify verify;
		int shown; /* 0: none; 1: one of the authority; 2: a stranger's */
		bool good;
	} cases[] = {{VERIFY_NONE, 0, true}, {VERIFY_NONE, 1, true}, {VERIFY_OPTIONAL, 0, true},
	    {VERIFY_OPTIONAL, 1, true}, {VERIFY_OPTIONAL, 2, false}, {VERIFY_REQUIRED, 0, false},
	    {VERIFY_REQUIRED, 1, true}, {VERIFY_REQUIRED, 2, false}};
	struct identity id = identity_make("localhost", "P-256", &ca), alice = identity_make("alice", "P-256", &ca),
			mallory = identity_make("alice", "P-256", &stranger);
	static struct session session;
	struct fault f;
	char hash[72];

	(void)state;
	identity_hash(&alice, hash);
	for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
		size_t at = i / 2;
		enum engine_version newest = i % 2 ? ENGINE_TLS12 : ENGINE_NEWEST;
		struct identity *own = cases[at].shown == 2 ? &mallory : &alice;
		struct blobs chain = one(&id.cert), anchors = one(&ca.cert), shown = one(&own->cert);
		struct side server = open_side(&(struct engine_policy){.role = ENGINE_SERVER,
						   .newest = newest,
						   .verify = cases[at].verify,
						   .key = &id.key,
						   .signer = identity_signer(&id, ENGINE_SERVER),
						   .chain = &chain,
						   .anchors = &anchors},
		    1);
		struct side client = open_side(&(struct engine_policy){.role = ENGINE_CLIENT,
						   .newest = newest,
						   .verify = VERIFY_REQUIRED,
						   .key = &own->key,
						   .signer = identity_signer(own, ENGINE_CLIENT),
						   .chain = cases[at].shown ? &shown : NULL,
						   .anchors = &anchors},
		    2);

		run(&server, &client, SIZE_MAX);
		assert_int_equal(!(engine_facts(server.engine) & ENGINE_FAILED), cases[at].good);
		if (cases[at].good) {
			bool proved = cases[at].verify != VERIFY_NONE && cases[at].shown == 1;

			assert_int_equal(engine_session(server.engine, &session, &f), 0);
			assert_int_equal(id.asked, engine_signs_elsewhere());
			assert_int_equal(own->asked, engine_signs_elsewhere() && proved);
			assert_int_equal(session.has_peer, proved);
			assert_false(session.has_names);
			assert_string_equal(session.subject, proved ? "CN=alice" : "");
			assert_string_equal(session.hash, proved ? hash : "");
		}
		id.asked = own->asked = 0;
		close_side(&server);
		close_side(&client);
	}
	identity_free(&id);
	identity_free(&alice);
	identity_free(&mallory);
}

/* A server that cannot be what it says is refused: a stranger's certificate, or another's name in it. */
static void
refuse_server(struct identity *id, const char *name, enum engine_version newest)
{
	struct blobs chain = one(&id->cert), anchors = one(&ca.cert);
	struct side server = open_side(&(struct engine_policy){.role = ENGINE_SERVER,
					   .newest = newest,
					   .key = &id->key,
					   .signer = identity_signer(id, ENGINE_SERVER),
					   .chain = &chain},
	    1);
	struct side client = open_side(&(struct engine_policy){.role = ENGINE_CLIENT,
					   .newest = newest,
					   .verify = VERIFY_REQUIRED,
					   .anchors = &anchors,
					   .servername = name},
	    2);

	run(&server, &client, SIZE_MAX);
	assert_true(engine_facts(client.engine) & ENGINE_FAILED);
	assert_false(engine_facts(client.engine) & ENGINE_UP);
	assert_non_null(strstr(engine_reason(client.engine), "certificate is refused"));
	assert_true(engine_facts(server.engine) & ENGINE_FAILED);
	assert_false(engine_facts(server.engine) & ENGINE_UP);
	close_side(&server);
	close_side(&client);
}

static void
a_client_refuses_wrong_servers(void **state)
{
	struct identity wrong = identity_make("localhost", "P-256", &stranger), id = identity_make("x", "P-256", &ca);

	(void)state;
	for (int newest = ENGINE_NEWEST; newest <= ENGINE_TLS12; newest++) {
		refuse_server(&wrong, "localhost", (enum engine_version)newest);
		refuse_server(&id, "elsewhere.example", (enum engine_version)newest);
	}
	identity_free(&wrong);
	identity_free(&id);
}

/* Moves one record; returns whether there was one. */
static bool
carry_record(struct engine *from, struct engine *to)
{
	const unsigned char *out;
	size_t left = engine_wire_out(from, &out) > 0 ? 5 + ((size_t)out[3] << 8 | out[4]) : 0, n;

	if (left == 0)
		return false;
	while ((n = carry(from, to, left)) > 0)
		left -= n;
	assert_int_equal(left, 0);
	return true;
}

/* Two that both have to show a certificate. */
static void
open_demanding_pair(struct side *server, struct side *client, struct identity ids[2], enum engine_version newest)
{
	struct blobs chains[] = {one(&ids[0].cert), one(&ids[1].cert)}, anchors = one(&ca.cert);

	*server = open_side(&(struct engine_policy){.role = ENGINE_SERVER,
				.newest = newest,
				.verify = VERIFY_REQUIRED,
				.key = &ids[0].key,
				.signer = identity_signer(&ids[0], ENGINE_SERVER),
				.chain = &chains[0],
				.anchors = &anchors},
	    1);
	*client = open_side(&(struct engine_policy){.role = ENGINE_CLIENT,
				.newest = newest,
				.verify = VERIFY_REQUIRED,
				.key = &ids[1].key,
				.signer = identity_signer(&ids[1], ENGINE_CLIENT),
				.chain = &chains[1],
				.anchors = &anchors,
				.servername = "localhost"},
	    2);
}

/* Lets the victim have so many records of its peer's. Returns whether it is not up by then. */
static bool
shake_partly(struct engine *victim, struct engine *peer, size_t records)
{
	while (carry_record(victim, peer))
		continue;
	for (size_t n = 0; n < records; n++) {
		if (!carry_record(peer, victim))
			return false;
		while (carry_record(victim, peer))
			continue;
	}
	return !(engine_facts(victim) & ENGINE_UP);
}

/* Whoever may end the connection so, the handshake has failed, and none of what was to come behind it comes. */
static void
end_early(struct engine *victim)
{
	static const unsigned char end[] = {21, 3, 3, 0, 2, 1, 0};
	unsigned char *in;
	const unsigned char *out;
	size_t n;

	for (size_t i = 0; i < sizeof end && engine_wire_in(victim, &in) > 0; i++) {
		*in = end[i];
		engine_wire_in_ack(victim, 1);
	}
	while ((n = engine_wire_out(victim, &out)) > 0)
		engine_wire_out_ack(victim, n);
	assert_true(engine_facts(victim) & ENGINE_FAILED);
	assert_false(engine_facts(victim) & (ENGINE_UP | ENGINE_NOTIFIED));
	assert_true(engine_reason(victim)[0]);
	assert_int_equal(engine_app_in(victim, &in), 0);
	assert_int_equal(engine_app_out(victim, &out), 0);
}

/* A close_notify before or inside the handshake, at every place that a peer may choose, is no handshake well done. */
static void
an_end_before_there_is_anything_to_end(void **state)
{
	struct identity ids[] = {identity_make("localhost", "P-256", &ca), identity_make("alice", "P-256", &ca)};

	(void)state;
	for (int i = 0; i < 4; i++) {
		enum engine_version newest = i & 1 ? ENGINE_TLS12 : ENGINE_NEWEST;
		bool more = true;

		for (size_t n = 0; more; n++) {
			struct side server, client, *victim = i & 2 ? &server : &client;
			struct side *peer = i & 2 ? &client : &server;

			open_demanding_pair(&server, &client, ids, newest);
			more = shake_partly(victim->engine, peer->engine, n);
			if (more)
				end_early(victim->engine);
			else
				assert_true(n > 1 && engine_facts(victim->engine) & ENGINE_UP);
			close_side(&server);
			close_side(&client);
		}
	}
	identity_free(&ids[0]);
	identity_free(&ids[1]);
}

static void
bad_material_is_refused(void **state)
{
	struct identity a = identity_make("a", "P-256", &ca), b = identity_make("b", "P-256", &ca);
	struct blob junk = {.p = (unsigned char *)"0junk", .n = 5, .name = "CAFILE junk"};
	struct blob empty = {.p = (unsigned char *)"\x30\x03\x02\x01\x00", .n = 5, .name = "CAFILE empty"};
	struct blob second[] = {a.cert, empty}, third[] = {a.cert, b.cert, empty, ca.cert};
	struct blobs chain = one(&a.cert), junk_chain = one(&junk), empty_chain = one(&empty);
	struct blobs long_chain = {.v = second, .n = 2}, many = {.v = third, .n = 4};

	(void)state;
	for (int i = ENGINE_SERVER; i <= ENGINE_CLIENT; i++) {
		enum engine_role role = (enum engine_role)i;
		struct engine_policy p = {
		    .role = role, .verify = VERIFY_REQUIRED, .key = &a.key, .chain = &chain, .anchors = &chain};

		p.chain = &junk_chain;
		expect_refusal(&p, "CAFILE junk: not a certificate");
		p.chain = &empty_chain;
		expect_refusal(&p, "CAFILE empty: not a certificate");
		p.chain = &long_chain;
		expect_refusal(&p, "CAFILE empty: not a certificate");
		p.chain = &chain;
		p.anchors = &junk_chain;
		expect_refusal(&p, "CAFILE junk: not a certificate");
		p.anchors = &many;
		expect_refusal(&p, "CAFILE empty: not a certificate");
		p.chain = NULL;
		if (role == ENGINE_CLIENT)
			expect_refusal(&p, "CAFILE empty: not a certificate");
	}
	expect_key_refusal(&b.key, &a.cert, "KEYFILE test does not belong to CERTFILE");
	expect_key_refusal(&junk, &a.cert, "CAFILE junk: not a private key");
	expect_key_refusal(&empty, &a.cert, "CAFILE empty: not a private key");
	expect_key_refusal(&a.key, &junk, "CAFILE junk: not a certificate");
	/* Bytes behind a certificate are no part of it. */
	struct blob longer = {.p = malloc(a.cert.n + 1), .n = a.cert.n + 1, .name = "CERTFILE longer"};
	assert_non_null(longer.p);
	memcpy(longer.p, a.cert.p, a.cert.n);
	longer.p[a.cert.n] = 0;
	struct blobs longer_chain = one(&longer);
	expect_refusal(
	    &(struct engine_policy){.key = &a.key, .chain = &longer_chain}, "CERTFILE longer: not a certificate");
	free(longer.p);
	identity_free(&a);
	identity_free(&b);
}

/* 520 octets, more than 4096 bits. */
#define X40 "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'"
#define X520 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40
#define X400 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40

#define RSA_ALGORITHM "30( 06(2a864886f70d010101) 05() )"
#define P256 "a0( 06(2a8648ce3d030107) )"
#define EIGHT(octet) octet octet octet octet octet octet octet octet

/* What looks like a key and is none, or none of this certificate, is refused, whatever is wrong with it. */
static void
bad_keys_are_refused(void **state)
{
	static const char *const sources[] = {
	    "30( 02(01) 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) )",
	    "30( 02(00) 02(03) 02() 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) )",
	    "30( 02(00) 02(80) 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) )",
	    "30( 02(00) 02(00) 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) )",
	    "30( 02(00) 02(000f) 02(03) 02(03) 02(03) 02(05) 02(03) 02(03) 02(03) )",
	    "30( 02(00) 02(" X520 ") 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) 02(03) )",
	    "30( 02(00) 02(" X520 ") 02(03) 02(03) 02(" X400 ") 02(03) 02(03) 02(03) 02(03) )",
	    "30( 02(00) 02(" X400 ") 02(03) 02(03) 02(" X400 ") 02(03) 02(03) 02(03) 02(03) )",
	    "30( 02(00) 02(03) )",
	    "30( 02(00) " RSA_ALGORITHM " 05() )",
	    "30( 02(00) " RSA_ALGORITHM " 04( 05() ) )",
	    "30( 02(00) 30( 05() ) 04( 30() ) )",
	    "30( 02(00) 30( 06(2a) ) 04( 30() ) )",
	    "30( 05() )",
	    "30( 02(01) 04(" EIGHT("00000000") ") " P256 " )",
	    "30( 02(01) 04(" EIGHT("ffffffff") ") " P256 " )",
	    "30( 02(01) 04(" EIGHT("00000001") ") " P256 " )",
	    "30( 02(01) 04() " P256 " )",
	    "30( 02(01) 04(01) a0( 06(2a) ) )",
	};
	struct identity a = identity_make("a", "P-256", &ca), r = identity_make("r", "RSA", &ca);

	(void)state;
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		struct derasm d = derasm(sources[i]);
		struct blob bad = {.p = d.byte, .n = d.n, .name = "KEYFILE bad"};

		expect_key_refusal(&bad, &a.cert, "KEYFILE bad");
		expect_key_refusal(&bad, &r.cert, "KEYFILE bad");
	}
	identity_free(&a);
	identity_free(&r);
}

/* A client of OpenSSL's own, between memory and memory, that has asked for the shortest records there are. */
static SSL *
open_thrifty(SSL_CTX *c)
{
	SSL *ssl = SSL_new(c);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

	assert_true(ssl && in && out);
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	assert_int_equal(SSL_set_tlsext_max_fragment_length(ssl, TLSEXT_max_fragment_length_512), 1);
	return ssl;
}

static void
send_thrifty(SSL *ssl, struct engine *to)
{
	unsigned char *in;
	size_t space = engine_wire_in(to, &in), n;

	if (space > 0 && BIO_read_ex(SSL_get_wbio(ssl), in, space, &n) == 1)
		engine_wire_in_ack(to, n);
}

static void
feed_thrifty(SSL *ssl, struct engine *from)
{
	const unsigned char *out;
	size_t length = engine_wire_out(from, &out), n;

	if (length == 0)
		return;
	assert_int_equal(BIO_write_ex(SSL_get_rbio(ssl), out, length, &n), 1);
	engine_wire_out_ack(from, n);
}

/* All that is to be had. */
static size_t
take_thrifty(SSL *ssl, struct side *server)
{
	static unsigned char bytes[16384];
	const unsigned char *out;
	size_t got = 0, n;

	do {
		feed_thrifty(ssl, server->engine);
		for (; SSL_read_ex(ssl, bytes, sizeof bytes, &n) == 1; got += n)
			for (size_t i = 0; i < n; i++)
				assert_int_equal(bytes[i], pattern(got + i, server->seed));
	} while (engine_wire_out(server->engine, &out) > 0);
	return got;
}

/* Gives bytes in such pieces, until no more are taken. */
static void
give_in_pieces(struct side *s, size_t piece)
{
	do
		s->total = s->sent + piece;
	while (give(s) > 0);
	s->total = s->sent;
}

/* What the engine takes of prog goes out whole, however short its records are, and keeps nothing from coming in. */
static void
short_records_have_room(void **state)
{
	struct identity id = identity_make("localhost", "P-256", &ca);
	static const char *const suites[] = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-SHA384"};
	struct side server, client;
	const unsigned char *out;
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	SSL *ssl;

	(void)state;
	for (size_t i = 1; i <= 80; i++) {
		assert_int_equal(SSL_CTX_set_cipher_list(c, suites[i % 2]), 1);
		open_pair(&server, &client, &id, ENGINE_TLS12);
		ssl = open_thrifty(c);
		for (int j = 0; j < 4; j++) {
			(void)SSL_do_handshake(ssl);
			send_thrifty(ssl, server.engine);
			feed_thrifty(ssl, server.engine);
		}
		assert_up(&server);
		give_in_pieces(&server, i * 1024);
		assert_false(engine_app_busy(server.engine));
		assert_int_equal(SSL_write(ssl, "heard", 5), 5);
		send_thrifty(ssl, server.engine);
		assert_int_equal(engine_app_out(server.engine, &out), 5);
		assert_int_equal(take_thrifty(ssl, &server), server.sent);
		SSL_free(ssl);
		close_side(&server);
		close_side(&client);
	}
	SSL_CTX_free(c);
	identity_free(&id);
}

/* Nothing is offered before the handshake, and nothing is taken. */
static void
windows_before_the_handshake(void **state)
{
	struct identity id = identity_make("localhost", "P-256", &ca);
	struct side server, client;
	const unsigned char *out;
	unsigned char *in;

	(void)state;
	open_pair(&server, &client, &id, ENGINE_NEWEST);
	assert_int_equal(engine_wire_out(server.engine, &out), 0);
	assert_true(engine_wire_out(client.engine, &out) > 0);
	assert_true(engine_wire_in(server.engine, &in) > 0);
	assert_int_equal(engine_app_in(server.engine, &in), 0);
	assert_int_equal(engine_app_out(server.engine, &out), 0);
	engine_close(server.engine);
	assert_int_equal(engine_wire_out(server.engine, &out), 0);
	assert_int_equal(engine_facts(server.engine), 0);
	close_side(&server);
	close_side(&client);
	identity_free(&id);
}

static int
set_up(void **state)
{
	struct fault f;

	(void)state;
	/* Before the certificates are made with a library that the engine may have to set up first. */
	engine_context_free(engine_prepare(&(struct engine_policy){.role = ENGINE_CLIENT}, &f));
	ca = identity_make("Test CA", "P-256", NULL);
	stranger = identity_make("Stranger", "P-256", NULL);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	identity_free(&ca);
	identity_free(&stranger);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_key_and_version),
	    cmocka_unit_test(no_good_signature),
	    cmocka_unit_test(an_unknown_type_of_key),
	    cmocka_unit_test(pieces_of_every_size),
	    cmocka_unit_test(close_notify),
	    cmocka_unit_test(a_deaf_reader_holds_the_wire_back),
	    cmocka_unit_test(a_flipped_bit_fails),
	    cmocka_unit_test(closing_drops_nothing),
	    cmocka_unit_test(a_failure_lets_records_out),
	    cmocka_unit_test(client_certificates),
	    cmocka_unit_test(a_client_refuses_wrong_servers),
	    cmocka_unit_test(an_end_before_there_is_anything_to_end),
	    cmocka_unit_test(bad_material_is_refused),
	    cmocka_unit_test(bad_keys_are_refused),
	    cmocka_unit_test(short_records_have_room),
	    cmocka_unit_test(windows_before_the_handshake),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
