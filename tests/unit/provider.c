/*
 * The two ends of a signature with OpenSSL: the provider, through which the
 * library asks for it, and the key's owner. Each signature is verified by the
 * library's own provider.
 */
#include "engine/provider.h"

#include "identity.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const types[] = {"RSA", "RSA-PSS", "P-256", "P-384", "P-521", "ED25519", "ED448"};
enum { TYPES = sizeof types / sizeof *types };

static struct identity identities[TYPES];
static struct engine_key *owners[TYPES];
static EVP_PKEY *keys[TYPES];

/* What the last request was, and where it went. */
static uint16_t asked;
static size_t asked_of;

static const char text[] = "just any text";

static long
sign(void *with, const struct signing *request, unsigned char *signature)
{
	asked_of = (size_t)((struct engine_key **)with - owners);
	asked = request->scheme;
	assert_false(request->hashed);
	assert_int_equal(request->text.n, sizeof text);
	assert_memory_equal(request->text.p, text, sizeof text);
	return engine_key_sign(owners[asked_of], request, signature);
}

/* -- the library's side ------------------------------------------------------ */

enum { NO_PADDING = 0, DEFAULT_SALT = -100 };

struct how {
	const char *hash;
	int padding, salt;
};

static bool
set_padding(EVP_PKEY_CTX *c, const struct how *how)
{
	return (how->padding == NO_PADDING || EVP_PKEY_CTX_set_rsa_padding(c, how->padding) == 1) &&
	       (how->salt == DEFAULT_SALT || EVP_PKEY_CTX_set_rsa_pss_saltlen(c, how->salt) == 1);
}

/* Whether the library made a signature; then it is good. */
static bool
signs(size_t type, const struct how *how)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	EVP_PKEY_CTX *p;
	unsigned char signature[SIGNATURE_MAX];
	size_t n = sizeof signature;
	bool ok = EVP_DigestSignInit_ex(c, &p, how->hash, NULL, NULL, keys[type], NULL) == 1 && set_padding(p, how) &&
		  EVP_DigestSign(c, signature, &n, (const unsigned char *)text, sizeof text) == 1;

	EVP_MD_CTX_free(c);
	if (!ok)
		return false;
	c = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestVerifyInit_ex(c, &p, how->hash, NULL, NULL, identities[type].pkey, NULL), 1);
	assert_true(set_padding(p, how));
	assert_int_equal(EVP_DigestVerify(c, signature, n, (const unsigned char *)text, sizeof text), 1);
	EVP_MD_CTX_free(c);
	return true;
}

static void
every_scheme(void **state)
{
	static const struct {
		const char *type;
		struct how how;
		uint16_t scheme; /* 0: nobody is asked */
	} cases[] = {
	    {"RSA", {"SHA256", NO_PADDING, DEFAULT_SALT}, 0x0401},
	    {"RSA", {"SHA384", RSA_PKCS1_PADDING, DEFAULT_SALT}, 0x0501},
	    {"RSA", {"SHA512", RSA_PKCS1_PADDING, DEFAULT_SALT}, 0x0601},
	    {"RSA", {"SHA1", RSA_PKCS1_PADDING, DEFAULT_SALT}, 0},
	    {"RSA", {"SHA224", RSA_PKCS1_PADDING, DEFAULT_SALT}, 0},
	    {"RSA", {"MD5-SHA1", RSA_PKCS1_PADDING, DEFAULT_SALT}, 0},
	    {"RSA", {"SHA3-256", RSA_PKCS1_PADDING, DEFAULT_SALT}, 0},
	    {"RSA", {"SHA256", RSA_NO_PADDING, DEFAULT_SALT}, 0},
	    {"RSA", {"SHA256", RSA_X931_PADDING, DEFAULT_SALT}, 0},
	    {"RSA", {"SHA256", RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST}, 0x0804},
	    {"RSA", {"SHA384", RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST}, 0x0805},
	    {"RSA", {"SHA512", RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST}, 0x0806},
	    {"RSA", {"SHA256", RSA_PKCS1_PSS_PADDING, DEFAULT_SALT}, 0},
	    {"RSA", {"SHA256", RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_MAX}, 0},
	    {"RSA", {"SHA256", RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_AUTO}, 0},
	    {"RSA", {"SHA256", RSA_PKCS1_PSS_PADDING, 0}, 0},
	    {"RSA-PSS", {"SHA256", RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST}, 0x0809},
	    {"RSA-PSS", {"SHA384", NO_PADDING, RSA_PSS_SALTLEN_DIGEST}, 0x080a},
	    {"RSA-PSS", {"SHA512", RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST}, 0x080b},
	    {"RSA-PSS", {"SHA256", RSA_PKCS1_PADDING, DEFAULT_SALT}, 0},
	    {"P-256", {"SHA256", NO_PADDING, DEFAULT_SALT}, 0x0403},
	    {"P-256", {"SHA384", NO_PADDING, DEFAULT_SALT}, 0x0503},
	    {"P-384", {"SHA384", NO_PADDING, DEFAULT_SALT}, 0x0503},
	    {"P-384", {"SHA1", NO_PADDING, DEFAULT_SALT}, 0},
	    {"P-521", {"SHA512", NO_PADDING, DEFAULT_SALT}, 0x0603},
	    {"P-521", {"SHA224", NO_PADDING, DEFAULT_SALT}, 0},
	    {"ED25519", {NULL, NO_PADDING, DEFAULT_SALT}, 0x0807},
	    {"ED448", {NULL, NO_PADDING, DEFAULT_SALT}, 0x0808},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		size_t type = 0;

		while (strcmp(types[type], cases[i].type) != 0)
			type++;
		asked = 0;
		asked_of = TYPES;
		if (signs(type, &cases[i].how) != (cases[i].scheme != 0) || asked != cases[i].scheme)
			fail_msg("case %zu: %04x", i, asked);
		assert_true(!asked || asked_of == type);
		ERR_clear_error();
	}
}

/* A key of the provider is a public key, and is the one that it was made from. */
static void
public_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < TYPES; i++) {
		EVP_PKEY *k = keys[i], *own = identities[i].pkey;
		OSSL_PARAM *params = NULL;
		unsigned char *der = NULL;

		for (size_t j = 0; j < TYPES; j++) {
			assert_int_equal(X509_check_private_key(identities[j].x509, k) == 1, i == j);
			assert_int_equal(EVP_PKEY_eq(keys[j], k) == 1, i == j);
		}
		assert_int_equal(EVP_PKEY_get_size(k), EVP_PKEY_get_size(own));
		assert_int_equal(EVP_PKEY_get_bits(k), EVP_PKEY_get_bits(own));
		assert_int_equal(EVP_PKEY_get_security_bits(k), EVP_PKEY_get_security_bits(own));
		assert_int_equal(EVP_PKEY_todata(k, EVP_PKEY_KEYPAIR, &params), 0);
		assert_int_equal(EVP_PKEY_todata(k, EVP_PKEY_PUBLIC_KEY, &params), 1);
		for (OSSL_PARAM *p = params; p->key; p++) {
			assert_string_not_equal(p->key, OSSL_PKEY_PARAM_PRIV_KEY);
			assert_string_not_equal(p->key, OSSL_PKEY_PARAM_RSA_D);
		}
		OSSL_PARAM_free(params);
		assert_true(i2d_PrivateKey(k, &der) <= 0);
		ERR_clear_error();
	}
}

/* Nothing is done with it but to sign whole texts. */
static void
other_operations(void **state)
{
	unsigned char in[32] = {0}, out[SIGNATURE_MAX];

	(void)state;
	for (size_t i = 0; i < TYPES; i++) {
		EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_pkey(NULL, keys[i], NULL);
		EVP_MD_CTX *m = EVP_MD_CTX_new();
		const char *hash = strncmp(types[i], "ED", 2) == 0 ? NULL : "SHA256";
		size_t n = sizeof out;

		assert_non_null(c);
		asked = 0;
		assert_false(EVP_PKEY_sign_init(c) == 1 && EVP_PKEY_sign(c, out, &n, in, sizeof in) == 1);
		assert_false(EVP_PKEY_decrypt_init(c) == 1 && EVP_PKEY_decrypt(c, out, &n, in, sizeof in) == 1);
		assert_false(EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_derive_set_peer(c, identities[i].pkey) == 1 &&
			     EVP_PKEY_derive(c, out, &n) == 1);
		assert_int_equal(EVP_DigestSignInit_ex(m, NULL, hash, NULL, NULL, keys[i], NULL), 1);
		assert_false(EVP_DigestSignUpdate(m, in, sizeof in) == 1 && EVP_DigestSignFinal(m, out, &n) == 1);
		assert_int_equal(asked, 0);
		EVP_MD_CTX_free(m);
		EVP_PKEY_CTX_free(c);
		ERR_clear_error();
	}
}

/* Keys are made and read by the library's own provider, which has all of them. */
static void
nothing_is_stolen(void **state)
{
	(void)state;
	for (size_t i = 0; i < TYPES; i++) {
		const unsigned char *p = identities[i].key.p;
		EVP_PKEY *k = d2i_AutoPrivateKey(NULL, &p, (long)identities[i].key.n);

		assert_string_equal(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(k)), "default");
		assert_string_equal(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(keys[i])), "elsewhere");
		EVP_PKEY_free(k);
	}
}

static struct engine_signer
answer(long (*with)(void *, const struct signing *, unsigned char *))
{
	return (struct engine_signer){with, NULL};
}

static long
too_long(void *with, const struct signing *request, unsigned char *signature)
{
	(void)with;
	(void)request;
	memset(signature, 1, SIGNATURE_MAX);
	return SIGNATURE_MAX;
}

static long
nothing(void *with, const struct signing *request, unsigned char *signature)
{
	(void)with;
	(void)request;
	(void)signature;
	return 0;
}

/* An answer that is no signature is none for the library. */
static void
strange_answers(void **state)
{
	const struct engine_signer signers[] = {answer(NULL), answer(nothing), answer(too_long)};
	unsigned char out[SIGNATURE_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof signers / sizeof *signers; i++) {
		EVP_PKEY *k = provider_key(identities[0].pkey, signers[i]);
		EVP_MD_CTX *m = EVP_MD_CTX_new();
		size_t n = (size_t)EVP_PKEY_get_size(k);

		assert_int_equal(EVP_DigestSignInit_ex(m, NULL, "SHA256", NULL, NULL, k, NULL), 1);
		assert_int_not_equal(EVP_DigestSign(m, out, &n, (const unsigned char *)text, sizeof text), 1);
		EVP_MD_CTX_free(m);
		EVP_PKEY_free(k);
		ERR_clear_error();
	}
}

/* -- the owner's side ---------------------------------------------------------- */

static bool
owner_signs(size_t type, uint16_t scheme, bool hashed, const void *p, size_t n)
{
	const struct signing request = {.scheme = scheme, .hashed = hashed, .text = {p, n}};
	unsigned char signature[SIGNATURE_MAX];
	long length = engine_key_sign(owners[type], &request, signature);

	assert_int_equal(ERR_peek_error(), 0);
	assert_true(length == -1 || (length > 0 && length <= EVP_PKEY_get_size(identities[type].pkey)));
	return length > 0;
}

/* Each key signs by its own schemes: with TLS 1.3, an EC key by that of its curve. None signs a hash. */
static void
schemes_and_keys(void **state)
{
	static const struct {
		uint16_t scheme;
		const char *signers, *signers13; /* a letter for each of `types`, in their order */
	} cases[] = {
	    {0x0401, "r......", "r......"}, /* that 1.3 has no such scheme, others see */
	    {0x0501, "r......", "r......"},
	    {0x0403, "..abc..", "..a...."},
	    {0x0503, "..abc..", "...b..."},
	    {0x0603, "..abc..", "....c.."},
	    {0x0804, "r......", "r......"},
	    {0x0806, "r......", "r......"},
	    {0x0809, ".p.....", ".p....."},
	    {0x080b, ".p.....", ".p....."},
	    {0x0807, ".....e.", ".....e."},
	    {0x0808, "......f", "......f"},
	    {0x0201, ".......", "......."},
	    {0, ".......", "......."},
	};
	char tls13[130] = "", any[200] = "";

	(void)state;
	memset(tls13, ' ', 64);
	memcpy(tls13 + 64, "TLS 1.3, server CertificateVerify", 34);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t type = 0; type < TYPES; type++) {
			uint16_t scheme = cases[i].scheme;

			assert_int_equal(
			    owner_signs(type, scheme, false, any, sizeof any), cases[i].signers[type] != '.');
			assert_int_equal(
			    owner_signs(type, scheme, false, tls13, sizeof tls13), cases[i].signers13[type] != '.');
			for (size_t n = 0; n <= 64; n++)
				assert_false(owner_signs(type, scheme, true, any, n));
		}
}

/* -- what an engine asks for ---------------------------------------------------- */

/* Moves bytes until none move any more. Returns whether both sides are content. */
static bool
shake_hands(struct engine *e, SSL_CTX *ctx)
{
	SSL *client = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	const unsigned char *p;
	unsigned char *room;
	size_t n, moved;
	bool good;

	SSL_set_bio(client, in, out);
	do {
		(void)SSL_connect(client);
		moved = BIO_ctrl_pending(out);
		if (moved > 0) {
			assert_true(engine_wire_in(e, &room) >= moved);
			assert_int_equal(BIO_read(out, room, (int)moved), moved);
			engine_wire_in_ack(e, moved);
		}
		n = engine_wire_out(e, &p);
		assert_int_equal(n == 0 ? 0 : BIO_write(in, p, (int)n), n);
		engine_wire_out_ack(e, n);
		moved += n;
	} while (moved > 0 && !(engine_facts(e) & ENGINE_FAILED));
	good = engine_facts(e) == ENGINE_UP && SSL_is_init_finished(client);
	SSL_free(client);
	return good;
}

static struct engine_context *
prepare(size_t type)
{
	struct blobs chain = {&identities[type].cert, 1};
	struct fault f;
	struct engine_context *context = engine_prepare(
	    &(struct engine_policy){
		.role = ENGINE_SERVER, .signer = identity_signer(&identities[type], ENGINE_SERVER), .chain = &chain},
	    &f);

	assert_non_null(context);
	identities[type].asked = 0;
	return context;
}

/* An engine meets a client that offers this alone. */
static void
meet(size_t type, int version, const char *groups, const char *schemes)
{
	struct engine_context *context = prepare(type);
	struct fault f;
	struct engine *e = engine_open(context, &f);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
	assert_int_equal(SSL_CTX_set1_groups_list(ctx, groups), 1);
	assert_int_equal(SSL_CTX_set1_sigalgs_list(ctx, schemes), 1);
	if (!shake_hands(e, ctx))
		fail_msg("%s, %x, %s, %s: %s", types[type], (unsigned)version, groups, schemes, engine_reason(e));
	assert_int_equal(identities[type].asked, 1);
	SSL_CTX_free(ctx);
	engine_free(e);
	engine_context_free(context);
}

static void
every_group_and_scheme(void **state)
{
	static const char *const groups[] = {"P-256", "P-384", "P-521", "X25519", "X448"};
	static const struct {
		size_t type;
		bool tls13;
		const char *scheme;
	} cases[] = {{0, false, "RSA+SHA256"}, {0, false, "RSA+SHA384"}, {0, false, "RSA+SHA512"},
	    {0, true, "rsa_pss_rsae_sha256"}, {0, true, "rsa_pss_rsae_sha384"}, {0, true, "rsa_pss_rsae_sha512"},
	    {1, true, "rsa_pss_pss_sha256"}, {1, true, "rsa_pss_pss_sha512"}, {2, true, "ECDSA+SHA256"},
	    {2, false, "ECDSA+SHA512"}, {3, true, "ECDSA+SHA384"}, {4, true, "ECDSA+SHA512"}, {5, true, "ed25519"},
	    {6, true, "ed448"}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		/* An EC key has to be of a group that the client knows. */
		for (size_t j = 0; j < (cases[i].type >= 2 && cases[i].type <= 4 ? 1 : 5); j++) {
			const char *all = "P-256:P-384:P-521",
				   *group = cases[i].type >= 2 && cases[i].type <= 4 ? all : groups[j];

			meet(cases[i].type, TLS1_2_VERSION, group, cases[i].scheme);
			if (cases[i].tls13)
				meet(cases[i].type, TLS1_3_VERSION, group, cases[i].scheme);
		}
	}
}

/* Whatever was wiped asks nobody any more; an engine that was opened before its context was wiped does. */
static void
wiped(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct fault f;

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct engine_context *context = prepare(2);
		struct engine *early = engine_open(context, &f), *late;

		engine_context_wipe(context);
		late = engine_open(context, &f);
		if (i == 2)
			engine_wipe(early);
		assert_int_equal(shake_hands(i == 0 ? late : early, ctx), i == 1);
		assert_int_equal(identities[2].asked, i == 1);
		engine_free(early);
		engine_free(late);
		engine_context_free(context);
	}
	SSL_CTX_free(ctx);
}

/* -- at the start --------------------------------------------------------------- */

static int
set_up(void **state)
{
	struct fault f;

	(void)state;
	/* Before the certificates are made with a library that the engine may have to set up first. */
	engine_context_free(engine_prepare(&(struct engine_policy){.role = ENGINE_CLIENT}, &f));
	assert_true(provider_load());
	for (size_t i = 0; i < TYPES; i++) {
		identities[i] = identity_make("key", types[i], NULL);
		owners[i] = engine_key_load(&identities[i].key, &identities[i].cert, &f);
		assert_non_null(owners[i]);
		keys[i] = provider_key(X509_get0_pubkey(identities[i].x509), (struct engine_signer){sign, &owners[i]});
		assert_non_null(keys[i]);
	}
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < TYPES; i++) {
		EVP_PKEY_free(keys[i]);
		engine_key_free(owners[i]);
		identity_free(&identities[i]);
	}
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_scheme),
	    cmocka_unit_test(public_keys),
	    cmocka_unit_test(other_operations),
	    cmocka_unit_test(nothing_is_stolen),
	    cmocka_unit_test(strange_answers),
	    cmocka_unit_test(schemes_and_keys),
	    cmocka_unit_test(every_group_and_scheme),
	    cmocka_unit_test(wiped),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
