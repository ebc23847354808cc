/*
 * The two classes by which BearSSL has an own certificate chosen and signed
 * for. Signatures over ephemeral keys and handshakes only: with a method that
 * takes the certificate's key itself for the key exchange there is nothing to do.
 */
#include "engine/bearssl_signer.h"

#include <string.h>

/* The part of a scheme that names the hash is TLS's number for it, and BearSSL's (RFC 5246, 7.4.1.4.1). */
static const int hashes[] = {br_sha256_ID, br_sha384_ID, br_sha512_ID};

/* So is the part that names the kind of signature. */
static unsigned
kind(const struct signatory *s)
{
	return s->chain->type == BR_KEYTYPE_RSA ? BR_AUTH_RSA : BR_AUTH_ECDSA;
}

static uint16_t
scheme(const struct signatory *s, int hash)
{
	return (uint16_t)((unsigned)hash << 8 | kind(s));
}

/* The best that the peer takes, who says so in bits: hash x under RSA is bit x, under ECDSA bit 8 + x. 0: none. */
static int
choose_hash(const struct signatory *s, uint32_t taken)
{
	if (kind(s) == BR_AUTH_ECDSA)
		taken >>= 8;
	for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
		if (taken >> hashes[i] & 1)
			return hashes[i];
	return 0;
}

/* Lays the signature over what is to be signed, if it fits. Returns its length, or 0. */
static size_t
sign(struct signatory *s, const struct signing *request, unsigned char *over, size_t room)
{
	unsigned char signature[SIGNATURE_MAX];
	long n = s->from.sign ? s->from.sign(s->from.with, request, signature) : -1;

	if (n <= 0 || n > SIGNATURE_MAX || (size_t)n > room) {
		s->failed = true;
		return 0;
	}
	memcpy(over, signature, (size_t)n);
	return (size_t)n;
}

/* -- a server -------------------------------------------------------------- */

static struct signatory *
server_self(const br_ssl_server_policy_class **context)
{
	/* The vtable is the first member. */
	return (struct signatory *)(void *)context;
}

/* The library has put what both sides know into our order. */
static int
server_choose(
    const br_ssl_server_policy_class **context, const br_ssl_server_context *server, br_ssl_server_choices *to)
{
	const struct signatory *s = server_self(context);
	unsigned exchange = kind(s) == BR_AUTH_RSA ? BR_SSLKEYX_ECDHE_RSA : BR_SSLKEYX_ECDHE_ECDSA;
	int hash = choose_hash(s, br_ssl_server_get_client_hashes(server));
	size_t n;
	const br_suite_translated *suites = br_ssl_server_get_client_suites(server, &n);

	for (size_t i = 0; hash && i < n; i++) {
		if ((unsigned)suites[i][1] >> 12 != exchange)
			continue;
		*to = (br_ssl_server_choices){.cipher_suite = suites[i][0],
		    .algo_id = scheme(s, hash),
		    .chain = s->chain->v,
		    .chain_len = s->chain->n};
		return 1;
	}
	return 0;
}

static uint32_t
server_do_keyx(const br_ssl_server_policy_class **context, unsigned char *data, size_t *n)
{
	(void)context;
	(void)data;
	(void)n;
	return 0;
}

static size_t
server_do_sign(
    const br_ssl_server_policy_class **context, unsigned algorithm, unsigned char *data, size_t n, size_t room)
{
	const struct signing request = {.scheme = (uint16_t)algorithm, .text = {data, n}};

	return sign(server_self(context), &request, data, room);
}

static const br_ssl_server_policy_class server_methods = {
    .context_size = sizeof(struct signatory),
    .choose = server_choose,
    .do_keyx = server_do_keyx,
    .do_sign = server_do_sign,
};

void
signatory_open_server(
    struct signatory *s, br_ssl_server_context *server, const struct chain *chain, const struct engine_signer *from)
{
	*s = (struct signatory){.vtable.server = &server_methods, .chain = chain, .from = *from};
	br_ssl_server_set_policy(server, &s->vtable.server);
}

/* -- a client -------------------------------------------------------------- */

static struct signatory *
client_self(const br_ssl_client_certificate_class **context)
{
	/* The vtable is the first member. */
	return (struct signatory *)(void *)context;
}

/* There is one certificate: it is shown whatever authorities the server names. */
static void
client_list(const br_ssl_client_certificate_class **context)
{
	(void)context;
}

static void
client_start_name(const br_ssl_client_certificate_class **context, size_t n)
{
	(void)context;
	(void)n;
}

static void
client_append_name(const br_ssl_client_certificate_class **context, const unsigned char *data, size_t n)
{
	(void)context;
	(void)data;
	(void)n;
}

static void
client_choose(const br_ssl_client_certificate_class **context, const br_ssl_client_context *client, uint32_t types,
    br_ssl_client_certificate *to)
{
	const struct signatory *s = client_self(context);
	int hash = choose_hash(s, types);

	(void)client;
	*to = (br_ssl_client_certificate){0};
	if (hash)
		*to = (br_ssl_client_certificate){
		    .auth_type = (int)kind(s), .hash_id = hash, .chain = s->chain->v, .chain_len = s->chain->n};
}

static uint32_t
client_do_keyx(const br_ssl_client_certificate_class **context, unsigned char *data, size_t *n)
{
	(void)context;
	(void)data;
	(void)n;
	return 0;
}

static size_t
client_do_sign(const br_ssl_client_certificate_class **context, int hash, size_t n, unsigned char *data, size_t room)
{
	struct signatory *s = client_self(context);
	const struct signing request = {.scheme = scheme(s, hash), .hashed = true, .text = {data, n}};

	return sign(s, &request, data, room);
}

static const br_ssl_client_certificate_class client_methods = {
    .context_size = sizeof(struct signatory),
    .start_name_list = client_list,
    .start_name = client_start_name,
    .append_name = client_append_name,
    .end_name = client_list,
    .end_name_list = client_list,
    .choose = client_choose,
    .do_keyx = client_do_keyx,
    .do_sign = client_do_sign,
};

void
signatory_open_client(
    struct signatory *s, br_ssl_client_context *client, const struct chain *chain, const struct engine_signer *from)
{
	*s = (struct signatory){.vtable.client = &client_methods, .chain = chain, .from = *from};
	br_ssl_client_set_client_certificate(client, &s->vtable.client);
}

void
signatory_close(struct signatory *s)
{
	s->from = (struct engine_signer){0};
}
