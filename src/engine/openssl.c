/*
 * The engine on OpenSSL 3: an SSL object between two buffers that it takes for
 * its network. The buffers are empty at times but never at an end, so the
 * library knows close_notify and nothing else as an end of data.
 *
 * There is no private key here: what the library takes for one (provider.h)
 * asks the engine that it was made for, and that asks the policy's signer.
 */
#include "engine/ports.h"

#include "core/address.h"
#include "core/dn.h"
#include "engine/openssl_material.h"
#include "engine/provider.h"
#include "engine/refused.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine_context {
	SSL_CTX *ctx;
	EVP_PKEY *public; /* of the leaf, which is the ctx's; NULL: there is none */
	struct engine_signer signer;
	BIO_METHOD *bio;
	char *servername; /* NULL: none */
	enum engine_role role;
	enum verify verify;
	bool any_name;
};

struct engine {
	struct ports ports;
	SSL *ssl;
	struct engine_signer signer;
	const char *name;	/* that the peer has to bear; NULL: any */
	struct refused against; /* the peer's certificate */
	bool verified;
	bool refused; /* a signature was wanted and could not be had */
};

const char *
engine_backend_name(void)
{
	return "openssl";
}

const char *
engine_backend(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

bool
engine_signs_elsewhere(void)
{
	return true;
}

/* -- the library's network ----------------------------------------------- */

static int
wire_read(BIO *bio, char *out, size_t size, size_t *n)
{
	BIO_clear_retry_flags(bio);
	*n = ports_receive(BIO_get_data(bio), out, size);
	if (*n == 0)
		BIO_set_retry_read(bio);
	return *n > 0;
}

static int
wire_write(BIO *bio, const char *in, size_t size, size_t *n)
{
	BIO_clear_retry_flags(bio);
	*n = ports_send(BIO_get_data(bio), in, size);
	if (*n == 0)
		BIO_set_retry_write(bio);
	return *n > 0;
}

static long
wire_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static int
wire_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static BIO_METHOD *
wire_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wire");

	if (!m || BIO_meth_set_read_ex(m, wire_read) != 1 || BIO_meth_set_write_ex(m, wire_write) != 1 ||
	    BIO_meth_set_ctrl(m, wire_ctrl) != 1 || BIO_meth_set_create(m, wire_create) != 1) {
		BIO_meth_free(m);
		return NULL;
	}
	return m;
}

/* -- context ------------------------------------------------------------- */

static int
add_chain(struct engine_context *c, const struct blobs *chain, struct fault *f)
{
	for (size_t i = 0; i < chain->n; i++) {
		X509 *x = material_certificate(&chain->v[i], f);
		long ok;

		if (!x)
			return -1;
		ok = i == 0 ? SSL_CTX_use_certificate(c->ctx, x) : SSL_CTX_add1_chain_cert(c->ctx, x);
		X509_free(x);
		if (ok != 1)
			return material_refuse(f, &chain->v[i], "the certificate cannot be used");
	}
	return 0;
}

static int
check_leaf(const struct blob *leaf, struct fault *f)
{
	X509 *x = material_certificate(leaf, f);
	EVP_PKEY *k = x ? X509_get0_pubkey(x) : NULL;
	int got = x ? 0 : -1;

	if (x && !k)
		got = material_refuse(f, leaf, "the certificate cannot be used");
	else if (x && !material_usable(k))
		got = fault_set(f, FAULT_CONTEXT, "%s: keys of this type cannot be used", leaf->name);
	X509_free(x);
	return got;
}

/* Loads the chain, and has the leaf's key sign nothing: whatever is signed, an engine of the context signs. */
static int
add_identity(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	EVP_PKEY *key;
	int ok;

	if (!p->chain || p->chain->n == 0)
		return 0;
	if (!provider_load())
		return fault_set(f, FAULT_ENGINE, "cannot have signatures made elsewhere: %s", material_reason());
	if (check_leaf(&p->chain->v[0], f) < 0 || add_chain(c, p->chain, f) < 0)
		return -1;
	c->public = X509_get0_pubkey(SSL_CTX_get0_certificate(c->ctx));
	key = provider_key(c->public, (struct engine_signer){0});
	ok = key && SSL_CTX_use_PrivateKey(c->ctx, key) == 1;
	EVP_PKEY_free(key);
	if (!ok)
		return material_refuse(f, &p->chain->v[0], "the certificate cannot be used");
	c->signer = p->signer;
	return 0;
}

/* The library's every step of a verification. */
static int
step(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct engine *e = SSL_get_app_data(ssl);

	return refused_step(ok, store, !SSL_is_server(ssl), e->name, &e->against);
}

/* Every anchor is trusted as it stands: a chain may end at an intermediate whose root is not there. */
static int
add_anchors(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	X509_STORE *store = SSL_CTX_get_cert_store(c->ctx);
	int mode = SSL_VERIFY_PEER;

	if (p->verify == VERIFY_NONE)
		return 0;
	for (size_t i = 0; i < p->anchors->n; i++) {
		X509 *x = material_certificate(&p->anchors->v[i], f);
		int ok = x && X509_STORE_add_cert(store, x) == 1;

		X509_free(x);
		if (!x)
			return -1;
		if (!ok)
			return material_refuse(f, &p->anchors->v[i], "the certificate cannot be used");
	}
	if (p->verify == VERIFY_REQUIRED)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_verify(c->ctx, mode, step);
	if (X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c->ctx), X509_V_FLAG_PARTIAL_CHAIN) != 1)
		return fault_set(f, FAULT_ENGINE, "cannot set up verification: %s", material_reason());
	return 0;
}

/* The library's secure defaults, without what the policy of the project leaves out. */
static int
set_policy(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	int newest = p->newest == ENGINE_TLS12 ? TLS1_2_VERSION : 0;

	SSL_CTX_set_options(c->ctx,
	    SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(c->ctx, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	(void)SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF);
	if (SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(c->ctx, newest) != 1 || SSL_CTX_set_num_tickets(c->ctx, 0) != 1 ||
	    SSL_CTX_set_cipher_list(c->ctx, "DEFAULT:!kRSA:!PSK:!SRP") != 1)
		return fault_set(f, FAULT_ENGINE, "cannot set the TLS policy: %s", material_reason());
	return 0;
}

static int
fill_context(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	if (material_start(f) < 0)
		return -1;
	c->role = p->role;
	c->verify = p->verify;
	c->any_name = p->any_name;
	c->ctx = SSL_CTX_new(p->role == ENGINE_SERVER ? TLS_server_method() : TLS_client_method());
	c->bio = wire_method();
	if (!c->ctx || !c->bio)
		return fault_set(f, FAULT_ENGINE, "cannot create a TLS context: %s", material_reason());
	if (p->servername && !(c->servername = strdup(p->servername)))
		return fault_set(f, FAULT_SYSTEM, "out of memory");
	if (set_policy(c, p, f) < 0 || add_identity(c, p, f) < 0)
		return -1;
	return add_anchors(c, p, f);
}

struct engine_context *
engine_prepare(const struct engine_policy *policy, struct fault *f)
{
	struct engine_context *c = calloc(1, sizeof *c);

	if (!c) {
		fault_set(f, FAULT_SYSTEM, "out of memory");
		return NULL;
	}
	if (fill_context(c, policy, f) == 0)
		return c;
	engine_context_free(c);
	return NULL;
}

void
engine_context_wipe(struct engine_context *c)
{
	c->signer = (struct engine_signer){0};
}

void
engine_context_free(struct engine_context *c)
{
	if (!c)
		return;
	SSL_CTX_free(c->ctx);
	BIO_meth_free(c->bio);
	free(c->servername);
	free(c);
}

/* -- one connection ------------------------------------------------------ */

/* SNI, where the name is none of an address (RFC 6066, 3), and the name that the peer has to prove. */
static int
set_servername(struct engine *e, const struct engine_context *c)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(e->ssl);
	unsigned char address[16];
	size_t octets = address_parse(c->servername, address);

	if (octets == 0 && SSL_set_tlsext_host_name(e->ssl, c->servername) != 1)
		return 0;
	if (c->any_name || c->verify == VERIFY_NONE)
		return 1;
	e->name = c->servername;
	if (octets > 0)
		return X509_VERIFY_PARAM_set1_ip(param, address, octets);
	X509_VERIFY_PARAM_set_hostflags(
	    param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return SSL_set1_host(e->ssl, c->servername);
}

/* What the provider asks: once ENGINE_UP or wiped, an engine has nothing to sign. */
static long
sign(void *with, const struct signing *request, unsigned char *signature)
{
	struct engine *e = with;
	long n = -1;

	if (e->signer.sign && !(e->ports.facts & ENGINE_UP))
		n = e->signer.sign(e->signer.with, request, signature);
	e->refused = n < 0;
	return n;
}

static int
use_signer(struct engine *e, const struct engine_context *c)
{
	EVP_PKEY *key = provider_key(c->public, (struct engine_signer){sign, e});
	int ok = key && SSL_use_PrivateKey(e->ssl, key) == 1;

	EVP_PKEY_free(key);
	e->signer = c->signer;
	return ok ? 0 : -1;
}

static int
fill_engine(struct engine *e, struct engine_context *c)
{
	BIO *bio;

	e->ssl = SSL_new(c->ctx);
	bio = BIO_new(c->bio);
	if (!e->ssl || !bio) {
		BIO_free(bio);
		return -1;
	}
	BIO_set_data(bio, &e->ports);
	SSL_set_bio(e->ssl, bio, bio);
	if (SSL_set_app_data(e->ssl, e) != 1)
		return -1;
	if (c->public && use_signer(e, c) < 0)
		return -1;
	if (c->role == ENGINE_SERVER)
		SSL_set_accept_state(e->ssl);
	else
		SSL_set_connect_state(e->ssl);
	return !c->servername || set_servername(e, c) == 1 ? 0 : -1;
}

struct engine *
engine_open(struct engine_context *c, struct fault *f)
{
	struct engine *e = calloc(1, sizeof *e);

	ERR_clear_error();
	if (!e || ports_start(&e->ports) < 0) {
		free(e);
		fault_set(f, FAULT_SYSTEM, "out of memory");
		return NULL;
	}
	e->verified = c->verify != VERIFY_NONE;
	if (fill_engine(e, c) < 0) {
		fault_set(f, FAULT_ENGINE, "cannot open a TLS engine: %s", material_reason());
		engine_free(e);
		return NULL;
	}
	ports_pump(e);
	return e;
}

void
engine_free(struct engine *e)
{
	if (!e)
		return;
	SSL_free(e->ssl);
	ports_end(&e->ports);
	free(e);
}

static void
failed(struct engine *e)
{
	unsigned long error = ERR_peek_last_error(); /* libssl's own word comes after those of what it called */
	const char *text = ERR_reason_error_string(error);

	e->ports.facts |= ENGINE_FAILED;
	if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		ports_refused(
		    &e->ports, refused_text(&e->against, !SSL_is_server(e->ssl), SSL_get_verify_result(e->ssl)));
	else if (e->refused)
		ports_reason(&e->ports, "no signature could be had for the certificate");
	else
		ports_reason(&e->ports, text ? text : "protocol error");
}

/* Judges a call of the library that returned `ret`. Returns whether it succeeded. */
static bool
succeeded(struct engine *e, int ret)
{
	if (ret == 1)
		return true;
	switch (SSL_get_error(e->ssl, ret)) {
	case SSL_ERROR_WANT_READ: e->ports.hungry = true; break;
	case SSL_ERROR_WANT_WRITE: break;
	case SSL_ERROR_ZERO_RETURN:
		if (e->ports.facts & ENGINE_UP)
			e->ports.facts |= ENGINE_NOTIFIED;
		else
			ports_ended_early(&e->ports);
		break;
	default: failed(e);
	}
	return false;
}

/* Encrypts what was taken from prog. It fits, but for a flood of alerts and key updates that the peer asked for. */
void
ports_encrypt(struct engine *e)
{
	struct buffer *b = &e->ports.app_in;
	size_t n;

	if (buffer_waiting(b) == 0 || e->ports.facts & ENGINE_FAILED)
		return;
	ERR_clear_error();
	if (succeeded(e, SSL_write_ex(e->ssl, b->p + b->begin, buffer_waiting(b), &n)))
		buffer_used(b, n);
}

/* Decrypts as much as there is, and as there is room for. */
static void
pump_in(struct engine *e)
{
	struct buffer *b = &e->ports.app_out;
	size_t n;

	while (!(e->ports.facts & (ENGINE_FAILED | ENGINE_NOTIFIED)) && buffer_room(b) > 0) {
		ERR_clear_error();
		if (!succeeded(e, SSL_read_ex(e->ssl, b->p + b->end, buffer_room(b), &n)))
			return;
		b->end += n;
	}
}

void
ports_pump(struct engine *e)
{
	e->ports.hungry = false;
	if (!(e->ports.facts & (ENGINE_UP | ENGINE_FAILED))) {
		ERR_clear_error();
		if (succeeded(e, SSL_do_handshake(e->ssl)))
			e->ports.facts |= ENGINE_UP;
	}
	if (!(e->ports.facts & ENGINE_UP))
		return;
	ports_encrypt(e);
	pump_in(e);
}

void
engine_close(struct engine *e)
{
	if (e->ports.closed || !(e->ports.facts & ENGINE_UP) || e->ports.facts & ENGINE_FAILED)
		return;
	e->ports.closed = true;
	ERR_clear_error();
	(void)SSL_shutdown(e->ssl); /* 0: queued, and the peer's has not come */
}

/* -- the session --------------------------------------------------------- */

static int
peer_session(const struct engine *e, struct session *s, struct fault *f)
{
	X509 *leaf = SSL_get0_peer_certificate(e->ssl);
	unsigned char *der = NULL, hash[32];
	size_t n = sizeof hash;
	int length;

	if (!leaf || !e->verified || SSL_get_verify_result(e->ssl) != X509_V_OK)
		return 0;
	length = i2d_X509(leaf, &der);
	if (length < 0 || EVP_Q_digest(NULL, "SHA256", NULL, der, (size_t)length, hash, &n) != 1) {
		OPENSSL_free(der);
		return fault_set(f, FAULT_TLS, "the peer's certificate cannot be read: %s", material_reason());
	}
	memcpy(s->hash, "SHA256:", 7);
	for (size_t i = 0; i < sizeof hash; i++)
		(void)sprintf(s->hash + 7 + 2 * i, "%02x", hash[i]);
	long printed = dn_subject((struct span){der, (size_t)length}, s->subject, sizeof s->subject);
	if (!SSL_is_server(e->ssl))
		session_set_names(s, (struct span){der, (size_t)length});
	OPENSSL_free(der);
	if (printed < 0)
		return fault_set(f, FAULT_TLS, "the subject of the peer's certificate cannot be told whole");
	s->has_peer = true;
	return 0;
}

int
engine_session(const struct engine *e, struct session *s, struct fault *f)
{
	const char *cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(e->ssl));
	const char *sni = SSL_get_servername(e->ssl, TLSEXT_NAMETYPE_host_name);

	session_clear(s);
	if (!cipher || strlen(cipher) >= sizeof s->cipher)
		return fault_set(f, FAULT_TLS, "the cipher suite has no name");
	(void)snprintf(s->protocol, sizeof s->protocol, "%s", SSL_get_version(e->ssl));
	(void)snprintf(s->cipher, sizeof s->cipher, "%s", cipher);
	s->has_sni = SSL_is_server(e->ssl) && sni && dnsname_valid((const unsigned char *)sni, strlen(sni), s->sni);
	return peer_session(e, s, f);
}

bool
engine_half_close(const struct engine *e)
{
	return SSL_version(e->ssl) == TLS1_3_VERSION;
}

bool
engine_replies_after_close(const struct engine *e)
{
	(void)e;
	return true;
}

void
engine_wipe(struct engine *e)
{
	e->signer = (struct engine_signer){0};
	SSL_certs_clear(e->ssl);
}
