/*
 * Whoever asks for memory is refused it once: at the first time, at the second,
 * and so on to the last. Each time the failure is said, nothing is torn and
 * nothing is left behind; and when there is memory again, all works as before.
 *
 * The linker lets our calls of malloc(3) and its like come here. Those of the
 * libraries do not: OpenSSL 3.0 does not survive a refusal everywhere.
 */
#include "core/changes.h"
#include "core/credentials.h"
#include "core/environment.h"
#include "core/pem.h"
#include "engine/engine.h"

#include "abilities.h"
#include "identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- memory -------------------------------------------------------------- */

static long until_refusal = -1; /* how many more times there is memory; negative: always */
static bool refused;
static long blocks; /* how many there are */

static bool
refuse(void)
{
	if (until_refusal < 0 || until_refusal-- > 0)
		return false;
	refused = true;
	return true;
}

static void *
count(void *p)
{
	blocks += p != NULL;
	return p;
}

/* The linker's names for what is called by the plain ones. NOLINTBEGIN */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
void __real_free(void *p);
int __wrap_CRYPTO_set_mem_functions(const void *allocate, const void *reallocate, const void *release);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);
void __wrap_free(void *p);

void *
__wrap_malloc(size_t n)
{
	return refuse() ? NULL : count(__real_malloc(n));
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return refuse() ? NULL : count(__real_calloc(n, size));
}

void *
__wrap_realloc(void *p, size_t n)
{
	if (refuse())
		return NULL;
	blocks += p == NULL;
	return __real_realloc(p, n);
}

void *
__wrap_reallocarray(void *p, size_t n, size_t size)
{
	if (refuse())
		return NULL;
	blocks += p == NULL;
	return __real_reallocarray(p, n, size);
}

char *
__wrap_strdup(const char *s)
{
	return refuse() ? NULL : count(__real_strdup(s));
}

void
__wrap_free(void *p)
{
	blocks -= p != NULL;
	__real_free(p);
}

/* OpenSSL would be told to have its memory from us. */
int
__wrap_CRYPTO_set_mem_functions(const void *allocate, const void *reallocate, const void *release)
{
	(void)allocate;
	(void)reallocate;
	(void)release;
	return 1;
}
/* NOLINTEND */

/*
 * Has act() refused memory for the first time, the second, ..., until it needs none any more. It returns whether it
 * succeeded, says why if not, and gives back what it took. Returns how many times that was.
 */
static long
starve(bool (*act)(struct fault *f), bool (*good)(const struct fault *f))
{
	for (long n = 0;; n++) {
		long before = blocks;
		struct fault f = {0};
		bool done;

		refused = false;
		until_refusal = n;
		done = act(&f);
		until_refusal = -1;
		assert_int_equal(blocks, before);
		assert_true(done || refused);
		if (!refused)
			return n;
		/* OpenSSL may find another way. */
		if (!done && !good(&f))
			fail_msg("refused for the %ld. time: %d \"%s\"", n, (int)f.code, f.text);
	}
}

static bool
names_memory(const struct fault *f)
{
	return f->code == FAULT_SYSTEM && strstr(f->text, "out of memory");
}

/* A library that could not get on says so in its own words. */
static bool
says_something(const struct fault *f)
{
	return f->code != 0 && f->text[0];
}

/* -- files and variables ---------------------------------------------------- */

#define BLOCK(label) "-----BEGIN " label "-----\nQUJD\n-----END " label "-----\n"

static struct span
text(const char *s)
{
	return (struct span){(const unsigned char *)s, strlen(s)};
}

static bool
key_in_pem(struct fault *f)
{
	struct blob key;
	bool good = credentials_key(text(BLOCK("CERTIFICATE") BLOCK("PRIVATE KEY")), "KEYFILE k", &key, f) == 0;

	blob_wipe(&key);
	return good;
}

static bool
key_in_der(struct fault *f)
{
	struct blob key;
	bool good = credentials_key(text("0\001x"), "KEYFILE k", &key, f) == 0;

	blob_wipe(&key);
	return good;
}

static bool
certificates_in_pem(struct fault *f)
{
	struct blobs list = {0};
	bool good = credentials_certs(text(BLOCK("CERTIFICATE") BLOCK("PRIVATE KEY") BLOCK("CERTIFICATE")), "CAFILE f",
			&list, f) == 2;

	blobs_wipe(&list);
	return good;
}

static bool
certificate_in_der(struct fault *f)
{
	struct blobs list = {0};
	bool good = credentials_certs(text("0\001x"), "CAFILE f", &list, f) == 1;

	blobs_wipe(&list);
	return good;
}

static void
files(void **state)
{
	(void)state;
	assert_int_equal(starve(key_in_der, names_memory), 2);
	assert_int_equal(starve(certificate_in_der, names_memory), 3);
	assert_true(starve(key_in_pem, names_memory) > 2);
	assert_true(starve(certificates_in_pem, names_memory) > 6);
}

/* What was there before stays. */
static bool
two_changes(struct fault *f)
{
	struct changes c = {0};
	bool first = changes_add(&c, "A", text("1"), f) == 0, second = first && changes_add(&c, "B", text("2"), f) == 0;

	if (first)
		assert_string_equal(c.text, "A=1");
	assert_int_equal(c.n, 4 * (first + second));
	changes_free(&c);
	return second;
}

static bool
plan(struct fault *f)
{
	static char *const old[] = {"PATH=/bin", NULL};
	static const struct session session = {.protocol = "TLSv1.3", .cipher = "TLS_AES_128_GCM_SHA256"};
	char **planned = environment_plan(old, &session, NULL, NULL, false, NULL);

	if (!planned)
		fault_set(f, FAULT_SYSTEM, "out of memory");
	free(planned);
	return planned != NULL;
}

static void
variables(void **state)
{
	(void)state;
	assert_int_equal(starve(two_changes, names_memory), 2);
	assert_int_equal(starve(plan, names_memory), 1);
}

/* -- engines --------------------------------------------------------------- */

static struct identity ca, server, client;

static struct blobs
one(struct blob *b)
{
	return (struct blobs){.v = b, .n = 1};
}

static struct engine_context *
prepare(enum engine_role role, struct fault *f)
{
	struct identity *own = role == ENGINE_SERVER ? &server : &client;
	struct blobs chain = one(&own->cert), anchors = one(&ca.cert);

	return engine_prepare(&(struct engine_policy){.role = role,
				  .verify = VERIFY_REQUIRED,
				  .key = &own->key,
				  .signer = identity_signer(own, role),
				  .chain = &chain,
				  .anchors = &anchors,
				  .servername = role == ENGINE_CLIENT ? "localhost" : NULL},
	    f);
}

static bool
prepare_server(struct fault *f)
{
	struct engine_context *c = prepare(ENGINE_SERVER, f);

	engine_context_free(c);
	return c != NULL;
}

static bool
prepare_client(struct fault *f)
{
	struct engine_context *c = prepare(ENGINE_CLIENT, f);

	engine_context_free(c);
	return c != NULL;
}

static bool
load_key(struct fault *f)
{
	struct engine_key *k = engine_key_load(&server.key, &server.cert, f);

	engine_key_free(k);
	return k != NULL;
}

static void
contexts_and_keys(void **state)
{
	(void)state;
	assert_true(starve(prepare_server, says_something) > 0);
	assert_true(starve(prepare_client, says_something) > 0);
	if (engine_signs_elsewhere())
		assert_true(starve(load_key, says_something) > 0);
}

static int
set_up(void **state)
{
	struct fault f;

	(void)state;
	/* Before the certificates are made with a library that the engine may have to set up first. */
	engine_context_free(engine_prepare(&(struct engine_policy){.role = ENGINE_CLIENT}, &f));
	ca = identity_make("Test CA", "P-256", NULL);
	server = identity_make("localhost", "RSA", &ca);
	client = identity_make("alice", "P-256", &ca);
	/* What a library sets up once, it sets up now, for whether that fails it keeps in mind. */
	return prepare_server(&f) && prepare_client(&f) ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	identity_free(&ca);
	identity_free(&server);
	identity_free(&client);
	return 0;
}

static size_t
carry(struct engine *from, struct engine *to)
{
	const unsigned char *out;
	unsigned char *in;
	size_t n = engine_wire_out(from, &out), space = engine_wire_in(to, &in);

	n = n < space ? n : space;
	if (n == 0)
		return 0;
	memcpy(in, out, n);
	engine_wire_in_ack(to, n);
	engine_wire_out_ack(from, n);
	return n;
}

static struct engine_context *contexts[2];

/* What an engine says at its end. */
static bool
judge(const struct engine *e, struct fault *f)
{
	struct session s;

	if (engine_facts(e) & ENGINE_UP && !(engine_facts(e) & ENGINE_FAILED))
		return engine_session(e, &s, f) == 0;
	if (engine_facts(e) & ENGINE_FAILED)
		assert_true(engine_reason(e)[0]);
	fault_set(f, FAULT_TLS, "%s", engine_facts(e) & ENGINE_FAILED ? engine_reason(e) : "it waits");
	return false;
}

/* A whole handshake, with a certificate on both sides. */
static bool
meet(struct fault *f)
{
	struct engine *a = engine_open(contexts[0], f), *b = a ? engine_open(contexts[1], f) : NULL;
	bool done;

	while (b && carry(a, b) + carry(b, a) > 0)
		;
	done = b && judge(a, f) && judge(b, f);
	engine_free(a);
	engine_free(b);
	return done;
}

static void
connections(void **state)
{
	struct fault f = {0};

	(void)state;
	contexts[0] = prepare(ENGINE_SERVER, &f);
	contexts[1] = prepare(ENGINE_CLIENT, &f);
	assert_non_null(contexts[0]);
	assert_non_null(contexts[1]);
	assert_true(meet(&f));
	(void)starve(meet, says_something);
	engine_context_free(contexts[0]);
	engine_context_free(contexts[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(files),
	    cmocka_unit_test(variables),
	    cmocka_unit_test(contexts_and_keys),
	    cmocka_unit_test(connections),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
