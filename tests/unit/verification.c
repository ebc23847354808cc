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
#include <strings.h>

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
	NO_SIGNER,  /* its key usage leaves certificates out */
	BOUND,	    /* name constraints, which its leaves obey */
	OLD,	    /* expired */
	OLD_MIDDLE, /* likewise, signed by ROOT */
	BARE,	    /* no authority, and does not say that it signs */
	SIGNER,	    /* a root that may sign, and does not say that it is an authority */
	FIRST,	    /* a root of X.509's first version, that can say nothing */
	RSA_ROOT,
	STRANGER,
	STRANGER_MIDDLE,
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
	a[OLD_MIDDLE] = identity_with("Old middle", "P-256", &a[ROOT], plain, -2);
	a[BARE] = identity_with("Bare", "P-256", &a[ROOT], EXTENSIONS({NID_subject_alt_name, "DNS:bare"}), 1);
	a[SIGNER] = identity_with("Signer", "P-256", NULL, EXTENSIONS({NID_key_usage, "critical,keyCertSign"}), 1);
	a[FIRST] = identity_with("First", "P-256", NULL, EXTENSIONS({0, NULL}), 1);
	a[RSA_ROOT] = identity_with("RSA", "RSA", NULL, plain, 1);
	a[STRANGER] = identity_with("Root", "P-256", NULL, plain, 1);
	a[STRANGER_MIDDLE] = identity_with("Middle", "P-256", &a[ROOT], plain, 1);
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
	else
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
    {"below an anchor that does not say what it is", "P-256", NULL, SIGNER, {0}, SIGNER, 0, false},
    {"below an anchor that does not, sent", "P-256", NULL, SIGNER, {SIGNER}, SIGNER, 1, false},
    {"below an anchor of the first version", "P-256", NULL, FIRST, {0}, FIRST, 0, false},
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

#define REFUSED "the peer's certificate is refused: "
#define USAGE REFUSED "its key usage is not that of a TLS server"

enum { HOUR = 3600, DAY = 24 * HOUR };

/* What a server shows, what its client asks for, and what comes of it. */
struct server {
	const char *what;
	const char *names, *wanted; /* NULL: none */
	const char *reason;	    /* "" for one that is believed */
	const char *type;	    /* of the key; NULL: P-256 */
	enum who issuer, sent[SENT], anchor;
	size_t n; /* of those sent */
	const char *extended, *usage;
	long from, until; /* both 0: for a day */
	bool alone;	  /* signed by itself */
	bool any_name;
	bool unverified;
	bool odd;    /* has an extension that must be known, and is not */
	bool newest; /* alone: in TLS 1.2, servers on libcrypto do not offer what such a key may not sign */
};

static struct identity
make_server(const struct server *s)
{
	struct extension all[6] = {{NID_basic_constraints, "CA:FALSE"}};
	size_t n = 1;

	if (s->names)
		all[n++] = (struct extension){NID_subject_alt_name, s->names};
	if (s->extended)
		all[n++] = (struct extension){NID_ext_key_usage, s->extended};
	if (s->usage)
		all[n++] = (struct extension){NID_key_usage, s->usage};
	if (s->odd)
		all[n++] = (struct extension){NID_netscape_comment, "critical,DER:0500"};
	return identity_valid("www.example.org", s->type ? s->type : "P-256", s->alone ? NULL : &authorities[s->issuer],
	    all, s->from ? s->from : -HOUR, s->until ? s->until : DAY);
}

static bool
is_host(const char *name)
{
	return name && !strchr(name, ':') && strspn(name, "0123456789.") < strlen(name);
}

/* An address is in no hello, whatever a server would make of it. */
static void
check_hello(struct engine *client, const char *wanted)
{
	const unsigned char *hello;
	size_t n = engine_wire_out(client, &hello);

	assert_true(n > 0);
	/* A dot at the end does not belong into SNI, and one of the libraries knows. */
	if (!wanted || wanted[strlen(wanted) - 1] == '.')
		return;
	if ((memmem(hello, n, wanted, strlen(wanted)) != NULL) != is_host(wanted))
		fail_msg("%s in the hello: %d", wanted, !is_host(wanted));
}

/* The sessions of both, once they have shaken hands: names are a client's, and SNI is a server's and no address. */
static void
check_sessions(const struct server *s, const struct engine *client, const struct engine *server)
{
	static struct session session;
	bool host = is_host(s->wanted);
	struct fault f;

	assert_int_equal(engine_session(client, &session, &f), 0);
	assert_int_equal(session.has_peer, !s->unverified);
	assert_int_equal(session.has_names, !s->unverified);
	assert_int_equal(strlen(session.expires), s->unverified ? 0 : strlen("2026-12-24T03:42:00Z"));
	assert_false(session.has_sni);
	assert_int_equal(engine_session(server, &session, &f), 0);
	assert_false(session.has_names);
	assert_int_equal(session.has_sni, host);
	assert_int_equal(strcasecmp(session.sni, host ? s->wanted : ""), 0);
}

static void
meet_server(const struct server *s, enum engine_version newest, char *reason, size_t size)
{
	struct identity id = make_server(s);
	struct blob sent[1 + SENT] = {id.cert};
	struct blobs chain = {sent, 1 + s->n}, anchors = {&authorities[s->anchor].cert, 1};
	struct engine_context *contexts[2];
	struct engine *client, *server;

	for (size_t i = 0; i < s->n; i++)
		sent[1 + i] = authorities[s->sent[i]].cert;
	client = open_engine(&(struct engine_policy){.role = ENGINE_CLIENT,
				 .newest = newest,
				 .verify = s->unverified ? VERIFY_NONE : VERIFY_REQUIRED,
				 .anchors = &anchors,
				 .servername = s->wanted,
				 .any_name = s->any_name},
	    &contexts[0]);
	server = open_engine(&(struct engine_policy){.role = ENGINE_SERVER,
				 .newest = newest,
				 .key = &id.key,
				 .signer = identity_signer(&id, ENGINE_SERVER),
				 .chain = &chain},
	    &contexts[1]);
	check_hello(client, s->wanted);
	while (carry(client, server) + carry(server, client) > 0)
		continue;
	(void)snprintf(reason, size, "%s", engine_facts(client) & ENGINE_FAILED ? engine_reason(client) : "");
	if (!*reason) {
		assert_true(engine_facts(client) & ENGINE_UP);
		check_sessions(s, client, server);
	} else {
		assert_false(engine_facts(client) & ENGINE_UP);
		/* It was told, and has no handshake behind it. */
		assert_true(engine_facts(server) & ENGINE_FAILED);
		assert_false(engine_facts(server) & ENGINE_UP);
	}
	engine_free(client);
	engine_free(server);
	engine_context_free(contexts[0]);
	engine_context_free(contexts[1]);
	identity_free(&id);
}

/* Says what is not as it should be; returns whether all is. */
static bool
as_expected(const struct server *s)
{
	char reason[1024];
	bool good = true;

	for (int newest = ENGINE_NEWEST; newest <= (s->newest ? ENGINE_NEWEST : ENGINE_TLS12); newest++) {
		meet_server(s, (enum engine_version)newest, reason, sizeof reason);
		if (strcmp(reason, s->reason) == 0)
			continue;
		print_error("%s, %s for %s: %s\n", s->what ? s->what : "name", s->names ? s->names : "no name",
		    s->wanted ? s->wanted : "any name", *reason ? reason : "believed");
		good = false;
	}
	return good;
}

#define WWW .names = "DNS:www.example.org", .wanted = "www.example.org"

static const struct server servers[] = {
    {"good", WWW, .reason = ""},
    {"good, RSA", WWW, .reason = "", .type = "RSA"},
    {"good, below an intermediate", WWW, .reason = "", .issuer = MIDDLE, .sent = {MIDDLE}, .n = 1},
    {"good, below two, root sent", WWW, .reason = "", .issuer = BELOW, .sent = {BELOW, MIDDLE, ROOT}, .n = 3},
    {"good, with every usage", WWW, .reason = "", .extended = "serverAuth,clientAuth", .usage = "digitalSignature"},
    {"good, one of several names", .names = "DNS:a.example,IP:192.0.2.1,DNS:www.example.org",
	.wanted = "www.example.org", .reason = ""},
    {"good, any name asked", .names = "DNS:www.example.org", .reason = ""},
    {"expired", WWW, .reason = REFUSED "certificate has expired", .from = -2 * DAY, .until = -DAY},
    {"not yet valid", WWW, .reason = REFUSED "certificate is not yet valid", .from = DAY, .until = 2 * DAY},
    {"unknown authority", WWW, .reason = REFUSED "its chain leads to no trust anchor", .issuer = RSA_ROOT},
    {"unknown authority, sent", WWW, .reason = REFUSED "its chain leads to no trust anchor", .issuer = RSA_ROOT,
	.sent = {RSA_ROOT}, .n = 1},
    {"intermediate missing", WWW, .reason = REFUSED "its chain leads to no trust anchor", .issuer = MIDDLE},
    {"unknown authority, expired", WWW, .reason = REFUSED "its chain leads to no trust anchor", .issuer = RSA_ROOT,
	.from = -2 * DAY, .until = -DAY},
    {"self-signed", WWW, .reason = REFUSED "it is self-signed, and no trust anchor", .alone = true},
    {"self-signed, expired", WWW, .reason = REFUSED "it is self-signed, and no trust anchor", .alone = true,
	.from = -2 * DAY, .until = -DAY},
    {"wrong name", .names = "DNS:www.example.org", .wanted = "example.net",
	.reason = REFUSED "it is not for example.net, but for www.example.org"},
    {"wrong name, expired", .names = "DNS:www.example.org", .wanted = "example.net",
	.reason = REFUSED "certificate has expired", .from = -2 * DAY, .until = -DAY},
    {"no name", .names = "email:a@example.org", .wanted = "www.example.org",
	.reason = REFUSED "it is not for www.example.org, and bears no name"},
    {"issuer is no authority", WWW, .reason = REFUSED "issued by one that is no CA", .issuer = BARE, .sent = {BARE},
	.n = 1},
    {"issuer is no authority, and signs", WWW, .reason = REFUSED "issued by one that is no CA", .issuer = PLAIN,
	.sent = {PLAIN}, .n = 1},
    {"issuer may not sign", WWW, .reason = REFUSED "issued by one that is no CA", .issuer = NO_SIGNER,
	.sent = {NO_SIGNER}, .n = 1},
    {"anchor does not say what it is", WWW, .reason = REFUSED "issued by one that is no CA", .issuer = SIGNER,
	.anchor = SIGNER},
    {"anchor is of the first version", WWW, .reason = REFUSED "issued by one that is no CA", .issuer = FIRST,
	.sent = {FIRST}, .n = 1, .anchor = FIRST},
    {"anchor is no authority", WWW, .reason = REFUSED "issued by one that is no CA", .issuer = BARE, .anchor = BARE},
    {"below a path length of 0", WWW, .reason = REFUSED "below the path length of an authority", .issuer = PAST,
	.sent = {PAST, NARROW}, .n = 2},
    {"intermediate expired", WWW, .reason = REFUSED "certificate has expired", .issuer = OLD_MIDDLE,
	.sent = {OLD_MIDDLE}, .n = 1},
    {"for clients", WWW, .reason = USAGE, .extended = "clientAuth"},
    {"below an authority for clients", WWW, .reason = USAGE, .issuer = FOR_CLIENT, .sent = {FOR_CLIENT}, .n = 1},
    {"for any use by that name", WWW, .reason = USAGE, .extended = "anyExtendedKeyUsage"},
    {"for gated cryptography", WWW, .reason = USAGE, .extended = "msSGC"},
    {"may sign certificates only", WWW, .reason = USAGE, .type = "RSA", .usage = "keyCertSign"},
    {"may not sign, EC", WWW, .reason = USAGE, .usage = "keyAgreement", .newest = true},
    {"may not sign, RSA", WWW, .reason = USAGE, .type = "RSA", .usage = "keyEncipherment"},
    {"signed with another key", WWW, .reason = REFUSED "bad signature in its chain", .issuer = STRANGER},
    {"signed with another key, below an intermediate", WWW, .reason = REFUSED "bad signature in its chain",
	.issuer = STRANGER_MIDDLE, .sent = {MIDDLE}, .n = 1},
    /* Of several faults all backends tell the same one. */
    {"expired, may not sign", WWW, .reason = USAGE, .type = "RSA", .usage = "keyEncipherment", .from = -2 * DAY,
	.until = -DAY},
    {"wrong name, may not sign", .names = "DNS:www.example.org", .wanted = "example.net", .reason = USAGE,
	.type = "RSA", .usage = "keyEncipherment"},
    {"anchor is no authority, expired", WWW, .reason = REFUSED "issued by one that is no CA", .issuer = SIGNER,
	.anchor = SIGNER, .from = -2 * DAY, .until = -DAY},
    {"anchor is no authority, wrong name", .names = "DNS:www.example.org", .wanted = "example.net",
	.reason = REFUSED "issued by one that is no CA", .issuer = FIRST, .anchor = FIRST},
    {"anchor is no authority, may not sign", WWW, .reason = USAGE, .type = "RSA", .usage = "keyEncipherment",
	.issuer = SIGNER, .anchor = SIGNER},
    {"signed with another key, expired", WWW, .reason = REFUSED "certificate has expired", .issuer = STRANGER,
	.from = -2 * DAY, .until = -DAY},
    {"signed with another key below an intermediate, expired", WWW, .reason = REFUSED "certificate has expired",
	.issuer = STRANGER_MIDDLE, .sent = {MIDDLE}, .n = 1, .from = -2 * DAY, .until = -DAY},
    {"critical extension", WWW, .reason = REFUSED "unhandled critical extension", .odd = true},
    {"wrong name that does not matter", .names = "DNS:www.example.org", .wanted = "example.net", .reason = "",
	.any_name = true},
    {"wrong address that does not matter", .names = "DNS:www.example.org", .wanted = "192.0.2.1", .reason = "",
	.any_name = true},
    {"no name, and none matters", .wanted = "example.net", .reason = "", .any_name = true},
    {"expired, whatever the name", WWW, .reason = REFUSED "certificate has expired", .from = -2 * DAY, .until = -DAY,
	.any_name = true},
    {"nothing matters", .names = "DNS:www.example.org", .wanted = "example.net", .reason = "", .unverified = true,
	.alone = true, .extended = "clientAuth", .from = -2 * DAY, .until = -DAY},
    {"nothing matters, an address", .wanted = "2001:db8::1", .reason = "", .unverified = true, .issuer = STRANGER},
};

static void
servers_are_believed_or_not(void **state)
{
	bool good = true;

	(void)state;
	for (size_t i = 0; i < sizeof servers / sizeof *servers; i++)
		good = as_expected(&servers[i]) && good;
	assert_true(good);
}

/* Names in a certificate, the name that is asked for, and what a refusal lists; NULL: that is its name. */
static const struct {
	const char *names, *wanted, *listed;
} names[] = {
    {"DNS:www.example.org", "www.example.org", NULL},
    {"DNS:www.example.org", "WWW.Example.Org", NULL},
    {"DNS:WWW.EXAMPLE.ORG", "www.example.org", NULL},
    {"DNS:a.example,DNS:www.example.org", "www.example.org", NULL},
    {"DNS:localhost", "localhost", NULL},
    {"DNS:a_b.example.org", "a_b.example.org", NULL},
    {"DNS:www.example.org", "example.org", "www.example.org"},
    {"DNS:www.example.org", "www.example.or", "www.example.org"},
    {"DNS:www.example.org", "www.example.org.", "www.example.org"},
    {"DNS:www.example.org", "wwwxexample.org", "www.example.org"},
    {"DNS:www.example.org", ".example.org", "www.example.org"},
    {"DNS:.example.org", "www.example.org", ".example.org"},
    {"DNS:*.example.org", "www.example.org", NULL},
    {"DNS:*.EXAMPLE.org", "WWW.example.ORG", NULL},
    {"DNS:*.example.org", "xn--bcher-kva.example.org", NULL},
    {"DNS:*.example.org", "a.b.example.org", "*.example.org"},
    {"DNS:*.example.org", "example.org", "*.example.org"},
    {"DNS:*.example.org", ".example.org", "*.example.org"},
    {"DNS:*.example.org", "a_b.example.org", "*.example.org"},
    {"DNS:*.example.org", "-a.example.org", "*.example.org"},
    {"DNS:*.e_x.example.org", "a.e_x.example.org", "*.e_x.example.org"},
    {"DNS:*.org", "example.org", "*.org"},
    {"DNS:*", "localhost", "*"},
    {"DNS:*.", "localhost.", "*."},
    {"DNS:*..org", "a..org", "*..org"},
    {"DNS:w*.example.org", "www.example.org", "w*.example.org"},
    {"DNS:*w.example.org", "www.example.org", "*w.example.org"},
    {"DNS:w*w.example.org", "www.example.org", "w*w.example.org"},
    {"DNS:www.*.org", "www.example.org", "www.*.org"},
    {"DNS:*.*.org", "www.example.org", "*.*.org"},
    {"DNS:xn--*.example.org", "xn--a.example.org", "xn--*.example.org"},
    {"IP:192.0.2.1", "192.0.2.1", NULL},
    {"IP:192.0.2.1", "192.0.2.2", "192.0.2.1"},
    {"DNS:192.0.2.1", "192.0.2.1", "192.0.2.1"},
    {"DNS:*.0.2.1", "192.0.2.1", "*.0.2.1"},
    {"IP:2001:db8::1", "2001:db8::1", NULL},
    {"IP:2001:db8::1", "2001:0DB8:0::0:1", NULL},
    {"IP:2001:db8::1", "2001:db8::2", "2001:db8::1"},
    {"DNS:2001:db8::1", "2001:db8::1", "2001:db8::1"},
    {"IP:::ffff:192.0.2.1", "192.0.2.1", "::ffff:c000:201"},
    {"IP:192.0.2.1,DNS:a.example", "::ffff:192.0.2.1", "192.0.2.1, a.example"},
    {"email:www.example.org", "www.example.org", ""},
    {"URI:https://www.example.org/", "www.example.org", ""},
    {"email:a@example.org,DNS:example.org,IP:::1", "www.example.org", "example.org, ::1"},
    {NULL, "www.example.org", ""}, /* that is the common name */
    /* A NUL in the middle: www.example.org, then .example.net; and a good name behind, or before it. */
    {"DER:301e821c7777772e6578616d706c652e6f7267002e6578616d706c652e6e6574", "www.example.org",
	"www.example.org\\00.example.net"},
    {"DER:301a82076100622e6f7267820f7777772e6578616d706c652e6f7267", "www.example.org", "a\\00b.org, www.example.org"},
    {"DER:301a820f7777772e6578616d706c652e6f726782076100622e6f7267", "www.example.org", "www.example.org, a\\00b.org"},
    /* A blank. */
    {"DER:3014820120820f7777772e6578616d706c652e6f7267", "www.example.org", "\\20, www.example.org"},
};

static void
names_are_the_same_to_all(void **state)
{
	bool good = true;

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const char *listed = names[i].listed;
		char reason[512] = "";

		if (listed)
			(void)snprintf(reason, sizeof reason, REFUSED "it is not for %s, %s%s", names[i].wanted,
			    *listed ? "but for " : "and bears no name", listed);
		good = as_expected(
			   &(struct server){.names = names[i].names, .wanted = names[i].wanted, .reason = reason}) &&
		       good;
	}
	assert_true(good);
}

/* More names than a message has room for are cut, and the client's session has as many as fit. */
static void
many_names(void **state)
{
	struct server s = {"many", .wanted = "www.example.org"};
	char list[100 * 24] = "DNS:host-000.example.org", reason[1024];

	(void)state;
	for (int i = 1; i < 100; i++)
		(void)snprintf(list + strlen(list), sizeof list - strlen(list), ",DNS:host-%03d.example.org", i);
	s.names = list;
	for (int newest = ENGINE_NEWEST; newest <= ENGINE_TLS12; newest++) {
		meet_server(&s, (enum engine_version)newest, reason, sizeof reason);
		assert_non_null(
		    strstr(reason, REFUSED "it is not for www.example.org, but for host-000.example.org, "));
		assert_string_equal(reason + strlen(reason) - 9, ".org, ...");
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
	    cmocka_unit_test(names_are_the_same_to_all),
	    cmocka_unit_test(many_names),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
