/*
 * Every engine as a server with every engine as a client, in memory. Each is a
 * module of its own, in one process: tests/meson.build names their files.
 */
#include "engine/engine.h"

#include "engine/libcrypto.h"

#include "abilities.h"
#include "identity.h"

#include <dlfcn.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- the backends ---------------------------------------------------------- */

/* What is used of engine.h, without engine_. */
#define FUNCTIONS(F)                                                                                                   \
	F(backend_name)                                                                                                \
	F(signs_elsewhere)                                                                                             \
	F(key_load)                                                                                                    \
	F(key_sign)                                                                                                    \
	F(key_free)                                                                                                    \
	F(prepare)                                                                                                     \
	F(context_wipe)                                                                                                \
	F(context_free)                                                                                                \
	F(open)                                                                                                        \
	F(free)                                                                                                        \
	F(facts)                                                                                                       \
	F(reason)                                                                                                      \
	F(wire_in)                                                                                                     \
	F(wire_in_ack)                                                                                                 \
	F(wire_out)                                                                                                    \
	F(wire_out_ack)                                                                                                \
	F(app_in)                                                                                                      \
	F(app_in_ack)                                                                                                  \
	F(app_out)                                                                                                     \
	F(app_out_ack)                                                                                                 \
	F(app_busy)                                                                                                    \
	F(close)                                                                                                       \
	F(session)                                                                                                     \
	F(half_close)                                                                                                  \
	F(replies_after_close)                                                                                         \
	F(wipe)

#define MEMBER(f) __typeof__(engine_##f) *f;
#define ENTRY(f) {"engine_" #f, offsetof(struct backend, f)},

struct backend {
	const char *name;
	bool there; /* its library was when this was built */
	FUNCTIONS(MEMBER)
};

/*
 * In the order of the arguments. libtls comes last: it shares its libcrypto with the first, and what it sets there
 * for all of the process is not to help any pair without it.
 */
static struct backend backends[] = {{.name = "openssl"}, {.name = "bearssl"}, {.name = "libtls"}};

enum { BACKENDS = sizeof backends / sizeof *backends };

static void
load(struct backend *b, const char *file)
{
	static const struct {
		const char *symbol;
		size_t at;
	} functions[] = {FUNCTIONS(ENTRY)};
	void *module = dlopen(file, RTLD_NOW | RTLD_LOCAL), *p = module;

	for (size_t i = 0; p && i < sizeof functions / sizeof *functions; i++) {
		p = dlsym(module, functions[i].symbol);
		memcpy((char *)b + functions[i].at, &p, sizeof p);
	}
	if (!p) {
		(void)fprintf(stderr, "%s: %s\n", b->name, dlerror());
		exit(1);
	}
	if (strcmp(b->backend_name(), b->name) != 0) {
		(void)fprintf(stderr, "%s: the module is %s\n", b->name, b->backend_name());
		exit(1);
	}
	b->there = true;
}

/* -- keys, for identity.c: each belongs to the backend that made it --------- */

struct engine_key {
	const struct backend *api;
	struct engine_key *theirs;
};

static const struct backend *maker; /* of the next key */

bool
engine_signs_elsewhere(void)
{
	return maker->signs_elsewhere();
}

struct engine_key *
engine_key_load(const struct blob *key, const struct blob *leaf, struct fault *f)
{
	struct engine_key *k = malloc(sizeof *k);

	if (!k)
		abort();
	*k = (struct engine_key){maker, maker->key_load(key, leaf, f)};
	return k;
}

long
engine_key_sign(const struct engine_key *k, const struct signing *request, unsigned char *signature)
{
	return k->api->key_sign(k->theirs, request, signature);
}

void
engine_key_free(struct engine_key *k)
{
	if (k)
		k->api->key_free(k->theirs);
	free(k);
}

/* The identity's key becomes one of this backend's. */
static struct engine_signer
signer_of(const struct backend *api, struct identity *id, enum engine_role role)
{
	maker = api;
	engine_key_free(id->owner);
	id->owner = NULL;
	return identity_signer(id, role);
}

/* -- two sides ------------------------------------------------------------- */

/* One side: what it has to send, how much of it is gone, and how much it has got. */
struct side {
	const struct backend *api;
	struct engine_context *context;
	struct engine *engine;
	size_t total, sent, got;
	unsigned seed;
	bool deaf; /* takes nothing at app out */
};

struct pair {
	const struct backend *server, *client;
};

static struct identity ca, servers[2], clients[2]; /* RSA and P-256 */

static unsigned char
pattern(size_t at, unsigned seed)
{
	return (unsigned char)((at * 2654435761u >> 7) + seed);
}

static struct side
open_side(const struct backend *api, const struct engine_policy *policy)
{
	struct fault f = {0};
	struct side s = {.api = api, .seed = policy->role, .context = api->prepare(policy, &f)};

	if (!s.context)
		fail_msg("%s: engine_prepare: %d %s", api->name, (int)f.code, f.text);
	s.engine = api->open(s.context, &f);
	if (!s.engine)
		fail_msg("%s: engine_open: %d %s", api->name, (int)f.code, f.text);
	api->context_wipe(s.context);
	return s;
}

static void
close_side(struct side *s)
{
	s->api->free(s->engine);
	s->api->context_free(s->context);
}

static size_t
carry(struct side *from, struct side *to)
{
	const unsigned char *out;
	unsigned char *in;
	size_t n = from->api->wire_out(from->engine, &out), room = to->api->wire_in(to->engine, &in);

	n = n < room ? n : room;
	if (n == 0)
		return 0;
	memcpy(in, out, n);
	to->api->wire_in_ack(to->engine, n);
	from->api->wire_out_ack(from->engine, n);
	return n;
}

static size_t
give(struct side *s)
{
	unsigned char *p;
	size_t n = s->api->app_in(s->engine, &p);

	n = n < s->total - s->sent ? n : s->total - s->sent;
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(s->sent + i, s->seed);
	if (n == 0)
		return 0;
	s->api->app_in_ack(s->engine, n);
	s->sent += n;
	return n;
}

static size_t
take(struct side *s, const struct side *from)
{
	const unsigned char *p;
	size_t n = s->deaf ? 0 : s->api->app_out(s->engine, &p), good = 0;

	while (good < n && p[good] == pattern(s->got + good, from->seed))
		good++;
	assert_int_equal(good, n);
	if (n)
		s->api->app_out_ack(s->engine, n);
	s->got += n;
	return n;
}

/* Moves everything until nothing moves any more. */
static void
run(struct side *a, struct side *b)
{
	while (carry(a, b) + carry(b, a) + give(a) + give(b) + take(a, b) + take(b, a) > 0)
		continue;
}

static const struct abilities *
able(const struct side *s)
{
	return abilities_of(s->api->name);
}

static bool
is(const struct side *s, unsigned fact)
{
	return s->api->facts(s->engine) & fact;
}

static void
assert_up(const struct side *s)
{
	if (!is(s, ENGINE_UP) || is(s, ENGINE_FAILED))
		fail_msg("%s: facts %u: %s", s->api->name, s->api->facts(s->engine), s->api->reason(s->engine));
}

/* Both are up, and no key is needed any more. */
static void
shake_hands(struct side *server, struct side *client)
{
	run(server, client);
	assert_up(client);
	assert_up(server);
	server->api->wipe(server->engine);
	client->api->wipe(client->engine);
}

/* The two shake hands; own is what the client shows, and is asked for; NULL: neither. */
static void
connect_pair(const struct pair *p, struct side *server, struct side *client, enum engine_version newest,
    struct identity *id, struct identity *own)
{
	struct blobs chain = {.v = &id->cert, .n = 1}, anchors = {.v = &ca.cert, .n = 1};
	struct blobs shown = {.v = own ? &own->cert : NULL, .n = !!own};

	*server = open_side(p->server, &(struct engine_policy){.role = ENGINE_SERVER,
					   .newest = newest,
					   .verify = own ? VERIFY_REQUIRED : VERIFY_NONE,
					   .key = &id->key,
					   .signer = signer_of(p->server, id, ENGINE_SERVER),
					   .chain = &chain,
					   .anchors = &anchors});
	*client = open_side(
	    p->client, &(struct engine_policy){.role = ENGINE_CLIENT,
			   .newest = newest,
			   .verify = VERIFY_REQUIRED,
			   .key = own ? &own->key : NULL,
			   .signer = own ? signer_of(p->client, own, ENGINE_CLIENT) : (struct engine_signer){0},
			   .chain = &shown,
			   .anchors = &anchors,
			   .servername = "localhost"});
	shake_hands(server, client);
}

/* -- what each pair does --------------------------------------------------- */

static struct session
session_of(const struct side *s)
{
	static struct session session;
	struct fault f = {0};

	if (s->api->session(s->engine, &session, &f) != 0)
		fail_msg("%s: engine_session: %s", s->api->name, f.text);
	return session;
}

/* The session, as both know it; the client proved to be subject, or nobody where that is empty. */
static void
agree(const struct side *server, const struct side *client, enum engine_version newest, const char *subject)
{
	static struct session ours, theirs;
	bool tls13 = newest != ENGINE_TLS12 && able(server)->tls13 && able(client)->tls13;

	ours = session_of(server);
	theirs = session_of(client);
	assert_string_equal(ours.protocol, tls13 ? "TLSv1.3" : "TLSv1.2");
	assert_string_equal(theirs.protocol, ours.protocol);
	assert_memory_equal(ours.cipher, "TLS_", 4);
	assert_string_equal(theirs.cipher, ours.cipher);
	assert_true(ours.has_sni);
	assert_string_equal(ours.sni, "localhost");
	assert_int_equal(ours.has_peer, *subject != '\0');
	assert_string_equal(ours.subject, subject);
	assert_true(theirs.has_peer);
	assert_string_equal(theirs.subject, "CN=localhost");
	assert_false(theirs.has_sni);
	assert_false(ours.has_names);
	assert_true(theirs.has_names);
	assert_string_equal(theirs.names, "localhost");
	assert_int_equal(server->api->half_close(server->engine), tls13);
	assert_int_equal(client->api->half_close(client->engine), tls13);
}

static void
bulk(struct side *a, struct side *b)
{
	a->total = b->total = 1500000;
	run(a, b);
	assert_int_equal(a->got, b->total);
	assert_int_equal(b->got, a->total);
}

/* One ends its direction behind its last bytes; the other sees that behind them, may answer, and ends its own. */
static void
part(struct side *first, struct side *last)
{
	bool replies = last->api->replies_after_close(last->engine);
	size_t got = first->got;

	first->total += 1000000;
	last->deaf = true;
	run(first, last);
	first->total = first->sent;
	assert_true(first->sent > last->got);
	assert_false(first->api->app_busy(first->engine));
	first->api->close(first->engine);
	run(first, last);
	assert_false(is(last, ENGINE_NOTIFIED));
	last->deaf = false;
	run(first, last);
	assert_int_equal(last->got, first->total);
	assert_true(is(last, ENGINE_NOTIFIED));
	/* Who takes no answer from prog has sent its own close_notify by now. */
	assert_int_equal(is(first, ENGINE_NOTIFIED), !replies);
	last->total += 100000;
	run(first, last);
	assert_int_equal(last->total - last->sent, replies ? 0 : 100000);
	assert_int_equal(first->got - got, replies && able(first)->hears_on ? 100000 : 0);
	assert_false(last->api->app_busy(last->engine));
	last->api->close(last->engine);
	run(first, last);
	assert_true(is(first, ENGINE_NOTIFIED));
	assert_up(first);
	assert_up(last);
}

static void
need_both(const struct pair *p)
{
	if (!p->server->there || !p->client->there)
		skip();
}

static void
converse(void **state)
{
	const struct pair *p = *state;
	struct side server, client;

	need_both(p);
	/* A bit each: the server's key, the newest version offered, who is the first to end. */
	for (int i = 0; i < 8; i++) {
		enum engine_version newest = i & 2 ? ENGINE_TLS12 : ENGINE_NEWEST;

		connect_pair(p, &server, &client, newest, &servers[i & 1], NULL);
		agree(&server, &client, newest, "");
		bulk(&server, &client);
		part(i & 4 ? &server : &client, i & 4 ? &client : &server);
		close_side(&server);
		close_side(&client);
	}
}

static void
show_certificate(void **state)
{
	static const char *const subjects[] = {"CN=alice", "CN=bob"};
	const struct pair *p = *state;
	struct side server, client;

	need_both(p);
	/* A bit each: the client's key, the newest version offered, the server's key. */
	for (int i = 0; i < 8; i++) {
		enum engine_version newest = i & 2 ? ENGINE_TLS12 : ENGINE_NEWEST;
		static struct session session;
		char hash[72];

		identity_hash(&clients[i & 1], hash);
		connect_pair(p, &server, &client, newest, &servers[i >> 2], &clients[i & 1]);
		agree(&server, &client, newest, subjects[i & 1]);
		session = session_of(&server);
		assert_string_equal(session.hash, hash);
		bulk(&server, &client);
		close_side(&server);
		close_side(&client);
	}
}

/* -- all pairs ------------------------------------------------------------- */

static int
set_up(void **state)
{
	(void)state;
	/* The modules find this very function, so that each finds its libcrypto set up. */
	assert_true(libcrypto_wipes());
	ca = identity_make("Test CA", "P-256", NULL);
	servers[0] = identity_make("localhost", "RSA", &ca);
	servers[1] = identity_make("localhost", "P-256", &ca);
	clients[0] = identity_make("alice", "RSA", &ca);
	clients[1] = identity_make("bob", "P-256", &ca);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		identity_free(&servers[i]);
		identity_free(&clients[i]);
	}
	identity_free(&ca);
	return 0;
}

/* Adds to tests, of which there are n, what a pair does. Returns the new n. */
static size_t
add(struct CMUnitTest *tests, size_t n, const struct backend *server, const struct backend *client)
{
	static struct pair pairs[BACKENDS * BACKENDS];
	static char names[2 * BACKENDS * BACKENDS][80];
	struct pair *p = &pairs[n / 2];

	*p = (struct pair){server, client};
	(void)snprintf(names[n], sizeof *names, "%s serves %s", server->name, client->name);
	(void)snprintf(names[n + 1], sizeof *names, "%s asks %s for a certificate", server->name, client->name);
	tests[n] = (struct CMUnitTest){.name = names[n], .test_func = converse, .initial_state = p};
	tests[n + 1] = (struct CMUnitTest){.name = names[n + 1], .test_func = show_certificate, .initial_state = p};
	return n + 2;
}

int
main(int argc, char **argv)
{
	struct CMUnitTest tests[2 * BACKENDS * BACKENDS];
	size_t n = 0;

	if (argc != 1 + BACKENDS)
		return 100;
	for (int i = 0; i < BACKENDS; i++)
		if (strcmp(argv[1 + i], "-") != 0)
			load(&backends[i], argv[1 + i]);
	/* Each with itself and with those before it. */
	for (size_t i = 0; i < BACKENDS; i++) {
		n = add(tests, n, &backends[i], &backends[i]);
		for (size_t j = 0; j < i; j++) {
			n = add(tests, n, &backends[i], &backends[j]);
			n = add(tests, n, &backends[j], &backends[i]);
		}
	}
	return cmocka_run_group_tests_name("nine", tests, set_up, tear_down);
}
