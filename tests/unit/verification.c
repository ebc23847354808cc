/*
 * Whom an engine believes: chains, what certificates say of their own use, and
 * names. A table a role; the peers shake hands in memory.
 */
#include "engine/engine.h"

#include "abilities.h"
#include "identity.h"

#include <openssl/obj_mac.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Who may sign whom; the first is the root of all. */
enum who {
	ROOT,
	MIDDLE,
	BELOW,	    /* signed by MIDDLE */
	NARROW,	    /* path length 0 */
	PAST,	    /* signed by NARROW, which lets it sign nobody */
	PLAIN,	    /* no authority, and signs */
	FOR_SERVER, /* by extended key usage */
	FOR_CLIENT,
	NO_SIGNER, /* its key usage leaves certificates out */
	BOUND,	   /* name constraints, which its leaves obey */
	OLD,	   /* expired */
	RSA_ROOT,
	STRANGER,
	AUTHORITIES
};

static struct identity authorities[AUTHORITIES];

#define CA "critical,CA:TRUE"
#define EXTENSIONS(...) ((const struct extension[]){__VA_ARGS__, {0, NULL}})

static void
make_authorities(void)
{
	const struct extension *plain = EXTENSIONS({NID_basic_constraints, CA});
	struct identity *a = authorities;

	a[ROOT] = identity_with("Root", "P-256", NULL, plain, 1);
	a[MIDDLE] = identity_with("Middle", "P-256", &a[ROOT], plain, 1);
	a[BELOW] = identity_with("Below", "P-384", &a[MIDDLE], plain, 1);
	a[NARROW] = identity_with("Narrow", "P-256", &a[ROOT], EXTENSIONS({NID_basic_constraints, CA ",pathlen:0"}), 1);
	a[PAST] = identity_with("Past", "P-256", &a[NARROW], plain, 1);
	a[PLAIN] = identity_with("Plain", "P-256", &a[ROOT], EXTENSIONS({NID_key_usage, "digitalSignature"}), 1);
	a[FOR_SERVER] = identity_with(
	    "Server", "P-256", &a[ROOT], EXTENSIONS({NID_basic_constraints, CA}, {NID_ext_key_usage, "serverAuth"}), 1);
	a[FOR_CLIENT] = identity_with(
	    "Client", "P-256", &a[ROOT], EXTENSIONS({NID_basic_constraints, CA}, {NID_ext_key_usage, "clientAuth"}), 1);
	a[NO_SIGNER] = identity_with(
	    "Mute", "P-256", &a[ROOT], EXTENSIONS({NID_basic_constraints, CA}, {NID_key_usage, "cRLSign"}), 1);
	a[BOUND] = identity_with("Bound", "P-256", &a[ROOT],
	    EXTENSIONS({NID_basic_constraints, CA}, {NID_name_constraints, "permitted;DNS:localhost"}), 1);
	a[OLD] = identity_with("Old", "P-256", NULL, plain, -2);
	a[RSA_ROOT] = identity_with("RSA", "RSA", NULL, plain, 1);
	a[STRANGER] = identity_with("Root", "P-256", NULL, plain, 1);
}

/* -- two engines ----------------------------------------------------------- */

static struct engine *
open_engine(const struct engine_policy *policy, struct engine_context **context)
{
	struct fault f = {0};
	struct engine *e;

	*context = engine_prepare(policy, &f);
	if (!*context)
		fail_msg("engine_prepare: %d %s", (int)f.code, f.text);
	e = engine_open(*context, &f);
	assert_non_null(e);
	return e;
}

static size_t
carry(struct engine *from, struct engine *to)
{
	const unsigned char *out;
	unsigned char *in;
	size_t n = engine_wire_out(from, &out), room = engine_wire_in(to, &in);

	n = n < room ? n : room;
	if (n == 0)
		return 0;
	memcpy(in, out, n);
	engine_wire_in_ack(to, n);
	engine_wire_out_ack(from, n);
	return n;
}

/* What one who verifies makes of the other: "" or the reason of the refusal. */
static void
judge(const struct engine_policy *judge_policy, const struct engine_policy *judged_policy, char *reason, size_t size)
{
	struct engine_context *contexts[2];
	struct engine *a = open_engine(judge_policy, &contexts[0]), *b = open_engine(judged_policy, &contexts[1]);

	while (carry(a, b) + carry(b, a) > 0)
		continue;
	(void)snprintf(reason, size, "%s", engine_facts(a) & ENGINE_FAILED ? engine_reason(a) : "");
	if (!*reason)
		assert_true(engine_facts(a) & ENGINE_UP);
	else if (judge_policy->role == ENGINE_SERVER || abilities()->name_alert)
		assert_true(engine_facts(b) & ENGINE_FAILED); /* it was told */
	engine_free(a);
	engine_free(b);
	engine_context_free(contexts[0]);
	engine_context_free(contexts[1]);
}

static void
expect(const char *what, const char *reason, bool good)
{
	if (good != !*reason)
		fail_msg("%s: %s", what, *reason ? reason : "let in");
	if (!good && !strstr(reason, "the peer's certificate is refused: "))
		fail_msg("%s: refused for another reason: %s", what, reason);
}

/* -- clients, as servers see them ------------------------------------------ */

#define SENT 3

static const struct client {
	const char *what;
	const char *type, *usage; /* of the leaf; usage NULL: none */
	enum who issuer, sent[SENT], anchor;
	size_t n; /* of those sent */
	bool good;
} clients[] = {
    {"signed by the root", "P-256", "clientAuth", ROOT, {0}, ROOT, 0, true},
    {"for anything", "P-256", NULL, ROOT, {0}, ROOT, 0, true},
    {"for several uses", "P-256", "serverAuth,clientAuth", ROOT, {0}, ROOT, 0, true},
    {"for servers", "P-256", "serverAuth", ROOT, {0}, ROOT, 0, false},
    {"for any use by that name", "P-256", "anyExtendedKeyUsage", ROOT, {0}, ROOT, 0, false},
    {"RSA leaf, EC root", "RSA", NULL, ROOT, {0}, ROOT, 0, true},
    {"EC leaf, RSA root", "P-256", NULL, RSA_ROOT, {0}, RSA_ROOT, 0, true},
    {"P-521", "P-521", NULL, ROOT, {0}, ROOT, 0, true},
    {"below an intermediate", "P-256", NULL, MIDDLE, {MIDDLE}, ROOT, 1, true},
    {"below two", "P-256", NULL, BELOW, {BELOW, MIDDLE}, ROOT, 2, true},
    {"with the root sent", "P-256", NULL, BELOW, {BELOW, MIDDLE, ROOT}, ROOT, 3, true},
    {"an intermediate missing", "P-256", NULL, BELOW, {BELOW}, ROOT, 1, false},
    {"anchored at the intermediate", "P-256", NULL, MIDDLE, {0}, MIDDLE, 0, true},
    {"anchored there, chain sent", "P-256", NULL, BELOW, {BELOW, MIDDLE}, MIDDLE, 2, true},
    {"below a path length of 0", "P-256", NULL, PAST, {PAST, NARROW}, ROOT, 2, false},
    {"below a path length of 0 in the anchor", "P-256", NULL, PAST, {PAST}, NARROW, 1, false},
    {"just within it", "P-256", NULL, NARROW, {0}, NARROW, 0, true},
    {"signed by one that is no authority", "P-256", NULL, PLAIN, {PLAIN}, ROOT, 1, false},
    {"anchored at one that is no authority", "P-256", NULL, PLAIN, {0}, PLAIN, 0, false},
    {"below an authority for servers", "P-256", NULL, FOR_SERVER, {FOR_SERVER}, ROOT, 1, false},
    {"below an anchor for servers", "P-256", NULL, FOR_SERVER, {0}, FOR_SERVER, 0, false},
    {"below an authority for clients", "P-256", NULL, FOR_CLIENT, {FOR_CLIENT}, ROOT, 1, true},
    {"below one that may not sign", "P-256", NULL, NO_SIGNER, {NO_SIGNER}, ROOT, 1, false},
    {"below an anchor that may not sign", "P-256", NULL, NO_SIGNER, {0}, NO_SIGNER, 0, false},
    {"below an expired anchor", "P-256", NULL, OLD, {0}, OLD, 0, false},
    {"below a stranger of the root's name", "P-256", NULL, STRANGER, {0}, ROOT, 0, false},
};

static struct identity
make_client(const struct client *c)
{
	const struct extension all[] = {{NID_basic_constraints, "CA:FALSE"}, {NID_subject_alt_name, "DNS:localhost"},
	    {c->usage ? NID_ext_key_usage : 0, c->usage}, {0, NULL}};

	return identity_with("alice", c->type, &authorities[c->issuer], all, 1);
}

static void
judge_client(const struct client *c, struct identity *leaf, struct blob *anchor, char *reason, size_t size)
{
	static struct identity server;
	struct blob sent[1 + SENT];
	struct blobs chain = {sent, 1 + c->n}, anchors = {anchor, 1}, own;

	server = identity_make("localhost", "P-256", &authorities[ROOT]);
	own = (struct blobs){&server.cert, 1};
	sent[0] = leaf->cert;
	for (size_t i = 0; i < c->n; i++)
		sent[1 + i] = authorities[c->sent[i]].cert;
	judge(&(struct engine_policy){.role = ENGINE_SERVER,
		  .newest = ENGINE_TLS12,
		  .verify = VERIFY_OPTIONAL,
		  .key = &server.key,
		  .signer = identity_signer(&server, ENGINE_SERVER),
		  .chain = &own,
		  .anchors = &anchors},
	    &(struct engine_policy){.role = ENGINE_CLIENT,
		.newest = ENGINE_TLS12,
		.key = &leaf->key,
		.signer = identity_signer(leaf, ENGINE_CLIENT),
		.chain = &chain},
	    reason, size);
	identity_free(&server);
}

static void
clients_are_believed_or_not(void **state)
{
	char reason[512];

	(void)state;
	for (size_t i = 0; i < sizeof clients / sizeof *clients; i++) {
		struct identity leaf = make_client(&clients[i]);

		judge_client(&clients[i], &leaf, &authorities[clients[i].anchor].cert, reason, sizeof reason);
		expect(clients[i].what, reason, clients[i].good);
		identity_free(&leaf);
	}
}

/* A leaf that is an anchor itself needs nobody else, but its use is judged still. */
static void
a_leaf_as_anchor(void **state)
{
	struct client good = {"alone", "P-256", "clientAuth", STRANGER, {0}, ROOT, 0, true}, bad = good;
	struct identity a, b;
	char reason[512];

	(void)state;
	bad.usage = "serverAuth";
	a = make_client(&good);
	b = make_client(&bad);
	judge_client(&good, &a, &a.cert, reason, sizeof reason);
	expect("a leaf that is an anchor", reason, true);
	judge_client(&bad, &b, &b.cert, reason, sizeof reason);
	expect("a leaf that is an anchor, for servers", reason, false);
	identity_free(&a);
	identity_free(&b);
}

/* Name constraints are obeyed, or nobody below them is believed: never ignored. */
static void
name_constraints(void **state)
{
	struct client c = {"bound", "P-256", NULL, BOUND, {BOUND}, ROOT, 1, true},
		      at = {"", "P-256", NULL, BOUND, {0}, BOUND, 0, true};
	struct identity leaf = make_client(&c);
	char reason[512];

	(void)state;
	judge_client(&c, &leaf, &authorities[ROOT].cert, reason, sizeof reason);
	expect("below name constraints", reason, abilities()->name_constraints);
	judge_client(&at, &leaf, &authorities[BOUND].cert, reason, sizeof reason);
	expect("below name constraints in an anchor", reason, abilities()->name_constraints);
	identity_free(&leaf);
}

/* A chain longer than what an engine keeps is refused, not cut. */
static void
chains_of_every_length(void **state)
{
	enum { LONGEST = 16 };
	struct identity line[LONGEST + 1];
	struct blob sent[LONGEST];

	(void)state;
	line[0] = identity_with("CA 0", "P-256", NULL, EXTENSIONS({NID_basic_constraints, CA}), 1);
	for (int i = 1; i <= LONGEST; i++) {
		char name[16];

		(void)snprintf(name, sizeof name, "CA %d", i);
		line[i] = identity_with(name, "P-256", &line[i - 1], EXTENSIONS({NID_basic_constraints, CA}), 1);
	}
	for (size_t n = 1; n <= LONGEST; n += 5) {
		struct identity server = identity_make("localhost", "P-256", &authorities[ROOT]);
		struct blobs chain = {sent, n}, anchors = {&line[0].cert, 1}, own = {&server.cert, 1};
		char reason[512];

		for (size_t i = 0; i < n; i++)
			sent[i] = line[n - i].cert;
		judge(&(struct engine_policy){.role = ENGINE_SERVER,
			  .newest = ENGINE_TLS12,
			  .verify = VERIFY_REQUIRED,
			  .key = &server.key,
			  .signer = identity_signer(&server, ENGINE_SERVER),
			  .chain = &own,
			  .anchors = &anchors},
		    &(struct engine_policy){.role = ENGINE_CLIENT,
			.newest = ENGINE_TLS12,
			.key = &line[n].key,
			.signer = identity_signer(&line[n], ENGINE_CLIENT),
			.chain = &chain},
		    reason, sizeof reason);
		expect("a long chain", reason, true);
		identity_free(&server);
	}
	for (int i = 0; i <= LONGEST; i++)
		identity_free(&line[i]);
}

/* -- servers, as clients see them ------------------------------------------ */

enum belief {
	NO,
	YES,
	BY_COMMON_NAME, /* where the library looks at that */
};

static const struct server {
	const char *names, *usage; /* of the certificate; NULL: none */
	const char *wanted;
	enum belief good;
} servers[] = {
    {"DNS:www.example.org", NULL, "www.example.org", YES},
    {"DNS:www.example.org", NULL, "WWW.Example.Org", YES},
    {"DNS:WWW.EXAMPLE.ORG", NULL, "www.example.org", YES},
    {"DNS:a.example,DNS:www.example.org", NULL, "www.example.org", YES},
    {"DNS:www.example.org", NULL, "example.org", NO},
    {"DNS:www.example.org", NULL, "www.example.or", NO},
    {"DNS:*.example.org", NULL, "www.example.org", YES},
    {"DNS:*.example.org", NULL, "a.b.example.org", NO},
    {"DNS:*.example.org", NULL, "example.org", NO},
    {"DNS:*.org", NULL, "example.org", NO},
    {"DNS:w*.example.org", NULL, "www.example.org", NO},
    {"DNS:www.*.org", NULL, "www.example.org", NO},
    {"IP:192.0.2.1", NULL, "192.0.2.1", YES},
    {"IP:192.0.2.1", NULL, "192.0.2.2", NO},
    {"DNS:192.0.2.1", NULL, "192.0.2.1", NO},
    {"IP:2001:db8::1", NULL, "2001:db8::1", YES},
    {"IP:2001:db8::1", NULL, "2001:0db8:0::0:1", YES},
    {"IP:2001:db8::1", NULL, "2001:db8::2", NO},
    {"email:www.example.org", NULL, "www.example.org", BY_COMMON_NAME},
    {NULL, NULL, "www.example.org", BY_COMMON_NAME},
    {NULL, NULL, NULL, YES},
    {"DNS:www.example.org", "serverAuth", "www.example.org", YES},
    {"DNS:www.example.org", "clientAuth", "www.example.org", NO},
};

static void
servers_are_believed_or_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof servers / sizeof *servers; i++) {
		const struct server *s = &servers[i];
		struct extension all[4] = {{NID_basic_constraints, "CA:FALSE"}};
		char reason[512], what[256];
		struct identity id;
		size_t n = 1;

		if (s->names)
			all[n++] = (struct extension){NID_subject_alt_name, s->names};
		if (s->usage)
			all[n++] = (struct extension){NID_ext_key_usage, s->usage};
		id = identity_with("www.example.org", "P-256", &authorities[ROOT], all, 1);
		struct blobs chain = {&id.cert, 1}, anchors = {&authorities[ROOT].cert, 1};
		judge(&(struct engine_policy){.role = ENGINE_CLIENT,
			  .newest = ENGINE_TLS12,
			  .verify = VERIFY_REQUIRED,
			  .anchors = &anchors,
			  .servername = s->wanted},
		    &(struct engine_policy){.role = ENGINE_SERVER,
			.newest = ENGINE_TLS12,
			.key = &id.key,
			.signer = identity_signer(&id, ENGINE_SERVER),
			.chain = &chain},
		    reason, sizeof reason);
		(void)snprintf(what, sizeof what, "%s for %s", s->names, s->wanted);
		expect(what, reason, s->good == YES || (s->good == BY_COMMON_NAME && abilities()->common_name));
		identity_free(&id);
	}
}

/* -- at the start ----------------------------------------------------------- */

static int
set_up(void **state)
{
	struct fault f;

	(void)state;
	/* Before the certificates are made with a library that the engine may have to set up first. */
	engine_context_free(engine_prepare(&(struct engine_policy){.role = ENGINE_CLIENT}, &f));
	make_authorities();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < AUTHORITIES; i++)
		identity_free(&authorities[i]);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(clients_are_believed_or_not),
	    cmocka_unit_test(a_leaf_as_anchor),
	    cmocka_unit_test(name_constraints),
	    cmocka_unit_test(chains_of_every_length),
	    cmocka_unit_test(servers_are_believed_or_not),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
