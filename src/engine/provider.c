/*
 * Keys and signatures for OpenSSL without a private key. A key wraps a public
 * key of the library's own provider, which answers all that is asked of it; a
 * signature is a request, whole and with its scheme, to a struct engine_signer.
 * What TLS does not ask for is refused. (provider-keymgmt(7), provider-signature(7))
 */
#include "engine/provider.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>

#include <stdlib.h>
#include <string.h>

/* By its name it comes behind "default": the first to know an algorithm is taken where none is asked for by name. */
#define NAME "elsewhere"
#define PROPERTIES "provider=" NAME

/* Under this name provider_key hands over a struct parts. */
#define PARTS NAME "-parts"

struct parts {
	EVP_PKEY *public;
	struct engine_signer signer;
};

struct signature {
	const struct parts *key;
	int hash; /* which of `hashes` */
	bool pss;
	bool salted; /* salt as long as the hash: all that TLS has (RFC 8446, 4.2.3) */
};

/* Those of the schemes' names, in the order of their numbers; NO_HASH for what hashes by itself. */
static const char *const hashes[] = {"SHA256", "SHA384", "SHA512"};
enum { HASHES = sizeof hashes / sizeof *hashes, NO_HASH = HASHES, BAD_HASH };

typedef void function(void);
#define FUNCTION(id, f)                                                                                                \
	{                                                                                                              \
		(id), (function *)(f)                                                                                  \
	}

/* -- keys ------------------------------------------------------------------ */

static void *
key_new(void *context)
{
	(void)context;
	return calloc(1, sizeof(struct parts));
}

static void
key_free(void *key)
{
	struct parts *k = key;

	EVP_PKEY_free(k ? k->public : NULL);
	free(k);
}

/* It has whatever it is to be asked for: the private part, elsewhere. */
static int
key_has(const void *key, int selection)
{
	const struct parts *k = key;

	(void)selection;
	return k->public != NULL;
}

static int
key_match(const void *a, const void *b, int selection)
{
	const struct parts *x = a, *y = b;

	(void)selection;
	return x->public && y->public && EVP_PKEY_eq(x->public, y->public) == 1;
}

/* Nothing comes in but by provider_key. */
static int
key_import(void *key, int selection, const OSSL_PARAM params[])
{
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, PARTS);
	const void *parts;
	struct parts *k = key;
	size_t n;

	(void)selection;
	if (!p || k->public || OSSL_PARAM_get_octet_ptr(p, &parts, &n) != 1 || n != sizeof *k)
		return 0;
	memcpy(k, parts, n);
	if (EVP_PKEY_up_ref(k->public) == 1)
		return 1;
	k->public = NULL;
	return 0;
}

/* The public part. With a private one, the library would take the key elsewhere, and sign there. */
static int
key_export(void *key, int selection, OSSL_CALLBACK *take, void *with)
{
	const struct parts *k = key;
	OSSL_PARAM *params = NULL;
	int ok;

	if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY || !k->public)
		return 0;
	ok = EVP_PKEY_todata(k->public, EVP_PKEY_PUBLIC_KEY, &params) == 1 && take(params, with);
	OSSL_PARAM_free(params);
	return ok;
}

/* No list: it does not say more than a key that is asked. */
static const OSSL_PARAM *
key_no_types(int selection)
{
	(void)selection;
	return NULL;
}

static int
key_get_params(void *key, OSSL_PARAM params[])
{
	const struct parts *k = key;

	return k->public && EVP_PKEY_get_params(k->public, params) == 1;
}

static const OSSL_PARAM *
key_gettable_params(void *context)
{
	static const OSSL_PARAM list[] = {OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
	    OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL), OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
	    OSSL_PARAM_END};

	(void)context;
	return list;
}

static const char *
rsa_operation(int id)
{
	(void)id;
	return "RSA";
}

static const char *
ec_operation(int id)
{
	(void)id;
	return "ECDSA";
}

#define KEY_FUNCTIONS                                                                                                  \
	FUNCTION(OSSL_FUNC_KEYMGMT_NEW, key_new), FUNCTION(OSSL_FUNC_KEYMGMT_FREE, key_free),                          \
	    FUNCTION(OSSL_FUNC_KEYMGMT_HAS, key_has), FUNCTION(OSSL_FUNC_KEYMGMT_MATCH, key_match),                    \
	    FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT, key_import), FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_no_types),    \
	    FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT, key_export), FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_no_types),    \
	    FUNCTION(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params),                                                    \
	    FUNCTION(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable_params)

static const OSSL_DISPATCH key_functions[] = {KEY_FUNCTIONS, {0, NULL}};
static const OSSL_DISPATCH rsa_functions[] = {
    KEY_FUNCTIONS, FUNCTION(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, rsa_operation), {0, NULL}};
static const OSSL_DISPATCH ec_functions[] = {
    KEY_FUNCTIONS, FUNCTION(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, ec_operation), {0, NULL}};

/* By the names and numbers that certificates and the library have for them. */
static const OSSL_ALGORITHM keys[] = {
    {"RSA:rsaEncryption:1.2.840.113549.1.1.1", PROPERTIES, rsa_functions, NULL},
    {"RSA-PSS:RSASSA-PSS:1.2.840.113549.1.1.10", PROPERTIES, rsa_functions, NULL},
    {"EC:id-ecPublicKey:1.2.840.10045.2.1", PROPERTIES, ec_functions, NULL},
    {"ED25519:1.3.101.112", PROPERTIES, key_functions, NULL},
    {"ED448:1.3.101.113", PROPERTIES, key_functions, NULL},
    {NULL, NULL, NULL, NULL},
};

/* -- signatures ------------------------------------------------------------ */

static void *
signature_new(void *context, const char *properties)
{
	(void)context;
	(void)properties;
	return calloc(1, sizeof(struct signature));
}

static void
signature_free(void *signature)
{
	free(signature);
}

static int
find_hash(const char *name)
{
	EVP_MD *md;
	int i;

	if (!name || !*name)
		return NO_HASH;
	md = EVP_MD_fetch(NULL, name, NULL);
	for (i = 0; i < HASHES; i++)
		if (md && EVP_MD_is_a(md, hashes[i]))
			break;
	EVP_MD_free(md);
	return i < HASHES ? i : BAD_HASH;
}

/* An RSA signature's padding, and the length of its salt. */
static int
set_param(struct signature *s, const OSSL_PARAM *p)
{
	const char *text = NULL;
	int number = 0;

	if (strcmp(p->key, OSSL_SIGNATURE_PARAM_PAD_MODE) == 0 && OSSL_PARAM_get_int(p, &number) == 1) {
		s->pss = number == RSA_PKCS1_PSS_PADDING;
		return s->pss || number == RSA_PKCS1_PADDING;
	}
	if (strcmp(p->key, OSSL_SIGNATURE_PARAM_PSS_SALTLEN) != 0)
		return 0;
	if (OSSL_PARAM_get_utf8_string_ptr(p, &text) == 1)
		s->salted = strcmp(text, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0;
	else
		s->salted = OSSL_PARAM_get_int(p, &number) == 1 && number == RSA_PSS_SALTLEN_DIGEST;
	return s->salted;
}

static int
signature_set_params(void *signature, const OSSL_PARAM params[])
{
	for (; params && params->key; params++)
		if (!set_param(signature, params))
			return 0;
	return 1;
}

static const OSSL_PARAM *
signature_settable_params(void *signature, void *context)
{
	static const OSSL_PARAM list[] = {OSSL_PARAM_int(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL),
	    OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0), OSSL_PARAM_END};

	(void)signature;
	(void)context;
	return list;
}

static int
signature_start(void *signature, const char *hash, void *key, const OSSL_PARAM params[])
{
	struct signature *s = signature;

	*s = (struct signature){.key = key, .hash = find_hash(hash)};
	s->pss = EVP_PKEY_is_a(s->key->public, "RSA-PSS");
	return s->hash != BAD_HASH && signature_set_params(s, params);
}

/* Its number (RFC 8446, 4.2.3), or 0 when TLS has none for it. */
static uint16_t
scheme(const struct signature *s)
{
	static const uint16_t pkcs1[] = {0x0401, 0x0501, 0x0601}, ecdsa[] = {0x0403, 0x0503, 0x0603},
			      pss_rsae[] = {0x0804, 0x0805, 0x0806}, pss_pss[] = {0x0809, 0x080a, 0x080b};
	const EVP_PKEY *k = s->key->public;

	if (EVP_PKEY_is_a(k, "ED25519") || EVP_PKEY_is_a(k, "ED448"))
		return s->hash != NO_HASH ? 0 : EVP_PKEY_is_a(k, "ED25519") ? 0x0807 : 0x0808;
	if (s->hash >= HASHES)
		return 0;
	if (EVP_PKEY_is_a(k, "EC"))
		return ecdsa[s->hash];
	if (EVP_PKEY_is_a(k, "RSA-PSS"))
		return s->pss && s->salted ? pss_pss[s->hash] : 0;
	if (s->pss)
		return s->salted ? pss_rsae[s->hash] : 0;
	return pkcs1[s->hash];
}

static int
signature_sign(
    void *signature, unsigned char *out, size_t *n, size_t size, const unsigned char *text, size_t text_length)
{
	const struct signature *s = signature;
	const struct parts *k = s->key;
	struct signing request = {.text = {text, text_length}};
	unsigned char buffer[SIGNATURE_MAX];
	long length;

	if (!out) {
		*n = (size_t)EVP_PKEY_get_size(k->public);
		return 1;
	}
	request.scheme = scheme(s);
	if (!request.scheme || !k->signer.sign)
		return 0;
	length = k->signer.sign(k->signer.with, &request, buffer);
	if (length <= 0 || length > SIGNATURE_MAX || (size_t)length > size)
		return 0;
	memcpy(out, buffer, (size_t)length);
	*n = (size_t)length;
	return 1;
}

static const OSSL_DISPATCH signature_functions[] = {FUNCTION(OSSL_FUNC_SIGNATURE_NEWCTX, signature_new),
    FUNCTION(OSSL_FUNC_SIGNATURE_FREECTX, signature_free),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signature_start),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, signature_sign),
    FUNCTION(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signature_set_params),
    FUNCTION(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, signature_settable_params), {0, NULL}};

static const OSSL_ALGORITHM signatures[] = {
    {"RSA:rsaEncryption:1.2.840.113549.1.1.1", PROPERTIES, signature_functions, NULL},
    {"ECDSA", PROPERTIES, signature_functions, NULL},
    {"ED25519:1.3.101.112", PROPERTIES, signature_functions, NULL},
    {"ED448:1.3.101.113", PROPERTIES, signature_functions, NULL},
    {NULL, NULL, NULL, NULL},
};

/* -- the provider ---------------------------------------------------------- */

static const OSSL_ALGORITHM *
query(void *context, int operation, int *no_cache)
{
	(void)context;
	*no_cache = 0;
	return operation == OSSL_OP_KEYMGMT ? keys : operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int
start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **context)
{
	static const OSSL_DISPATCH functions[] = {FUNCTION(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query), {0, NULL}};
	static char nothing;

	(void)handle;
	(void)in;
	*context = &nothing;
	*out = functions;
	return 1;
}

bool
provider_load(void)
{
	/* First the library's own, which is not there by itself once any other is. */
	static OSSL_PROVIDER *own, *ours;

	if (!own)
		own = OSSL_PROVIDER_load(NULL, "default");
	if (own && !ours && OSSL_PROVIDER_add_builtin(NULL, NAME, start) == 1)
		ours = OSSL_PROVIDER_load(NULL, NAME);
	return ours != NULL;
}

EVP_PKEY *
provider_key(EVP_PKEY *public, struct engine_signer signer)
{
	struct parts parts = {public, signer};
	void *p = &parts;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_ptr(PARTS, &p, sizeof parts), OSSL_PARAM_END};
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, EVP_PKEY_get0_type_name(public), PROPERTIES);
	EVP_PKEY *key = NULL;

	if (!c || EVP_PKEY_fromdata_init(c) != 1 || EVP_PKEY_fromdata(c, &key, EVP_PKEY_KEYPAIR, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(c);
	return key;
}
