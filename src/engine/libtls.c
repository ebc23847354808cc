/*
 * The engine on libtls: a struct tls between two buffers that its callbacks
 * take for its network. The callbacks never report an end, so that tls_read
 * gives 0 for close_notify alone.
 *
 * libtls signs nowhere but where it is: the engine holds the private key, and
 * there is no call that takes it out again. What is ours to forget is forgotten.
 *
 * Tried with libretls 3.7. Written for LibreSSL's own libtls too, and not
 * tested with it.
 */
#include "engine/ports.h"

#include "core/der.h"
#include "core/dn.h"
#include "core/pem.h"
#include "engine/libssl.h"

#include <tls.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct engine_context {
	struct tls_config *config;
	struct tls *server; /* what connections are accepted with; NULL for a client */
	char *servername;   /* NULL: none */
	enum verify verify;
	bool any_name;
};

struct engine {
	struct ports ports;
	struct tls *tls;
	struct libssl_connection beneath;
	bool server, verified;
	bool required; /* the peer's certificate: it may not go without */
};

const char *
engine_backend_name(void)
{
	return "libtls";
}

const char *
engine_backend(void)
{
	static char text[128];

	(void)snprintf(text, sizeof text, "libtls %s, API %d, on %s", LIBTLS_VERSION, TLS_API, libssl_version());
	return text;
}

bool
engine_signs_elsewhere(void)
{
	return false;
}

/* -- no owner of a key but the engine --------------------------------------- */

struct engine_key *
engine_key_load(const struct blob *key, const struct blob *leaf, struct fault *f)
{
	(void)key;
	(void)leaf;
	fault_set(f, FAULT_ENGINE, "libtls does not sign elsewhere");
	return NULL;
}

long
engine_key_sign(const struct engine_key *k, const struct signing *request, unsigned char *signature)
{
	(void)k;
	(void)request;
	(void)signature;
	return -1;
}

void
engine_key_free(struct engine_key *k)
{
	(void)k;
}

/* -- cipher suites ------------------------------------------------------- */

/* The library's names and IANA's, best first. */
struct suite {
	const char *name, *iana;
};

/* All that is offered of TLS 1.2: forward secrecy only. */
static const struct suite suites[] = {
    {"ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
    {"ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
    {"DHE-RSA-AES256-GCM-SHA384", "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"},
    {"ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
    {"ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
    {"DHE-RSA-CHACHA20-POLY1305", "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
    {"ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
    {"ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
    {"DHE-RSA-AES128-GCM-SHA256", "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"},
    {"ECDHE-ECDSA-AES256-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"},
    {"ECDHE-RSA-AES256-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"},
    {"DHE-RSA-AES256-SHA256", "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256"},
    {"ECDHE-ECDSA-AES128-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"},
    {"ECDHE-RSA-AES128-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"},
    {"DHE-RSA-AES128-SHA256", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256"},
    {"ECDHE-ECDSA-AES256-SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"},
    {"ECDHE-RSA-AES256-SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"},
    {"DHE-RSA-AES256-SHA", "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"},
    {"ECDHE-ECDSA-AES128-SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"},
    {"ECDHE-RSA-AES128-SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"},
    {"DHE-RSA-AES128-SHA", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"},
};

/* Of TLS 1.3 the library offers what it holds for good. LibreSSL has names of its own for these. */
static const struct suite suites13[] = {
    {"AEAD-AES256-GCM-SHA384", "TLS_AES_256_GCM_SHA384"},
    {"AEAD-CHACHA20-POLY1305-SHA256", "TLS_CHACHA20_POLY1305_SHA256"},
    {"AEAD-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"},
};

enum { SUITES = sizeof suites / sizeof *suites, SUITES13 = sizeof suites13 / sizeof *suites13 };

/* IANA's name for the library's; NULL when it is none that was offered. */
static const char *
iana_name(const char *name)
{
	for (size_t i = 0; i < SUITES; i++)
		if (strcmp(name, suites[i].name) == 0)
			return suites[i].iana;
	for (size_t i = 0; i < SUITES13; i++)
		if (strcmp(name, suites13[i].name) == 0 || strcmp(name, suites13[i].iana) == 0)
			return suites13[i].iana;
	return NULL;
}

static int
set_ciphers(struct tls_config *config)
{
	char list[SUITES * 32] = "";

	for (size_t i = 0; i < SUITES; i++)
		(void)snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ":" : "", suites[i].name);
	return tls_config_set_ciphers(config, list);
}

/* -- PEM, the only form that libtls takes from memory --------------------- */

struct text {
	char *p;
	size_t n;
};

static const uint8_t *
bytes(const struct text *t)
{
	return (const uint8_t *)t->p;
}

static void
text_wipe(struct text *t)
{
	if (t->p)
		explicit_bzero(t->p, t->n);
	free(t->p);
	*t = (struct text){0};
}

static struct span
span(const struct blob *b)
{
	return (struct span){b->p, b->n};
}

/* All n blobs, one after another. */
static int
encode(struct text *t, const char *label, const struct blob *v, size_t n, struct fault *f)
{
	char *end;

	*t = (struct text){0};
	for (size_t i = 0; i < n; i++)
		t->n += pem_length(label, v[i].n);
	t->p = end = malloc(t->n + 1);
	if (!t->p)
		return fault_set(f, FAULT_SYSTEM, "out of memory");
	for (size_t i = 0; i < n; i++)
		end = pem_write(label, span(&v[i]), end);
	return 0;
}

/* -- what a file holds --------------------------------------------------- */

/* The library's own word for what just failed to be set up; that of libtls is the more general one. */
static const char *
cause(const char *text)
{
	const char *why = libssl_cause();

	return why ? why : text ? text : "unknown error";
}

static int
bad_file(struct fault *f, const struct blob *b, const char *what, const char *why)
{
	return fault_set(f, FAULT_CONTEXT, "%s: %s: %s", b->name, what, why);
}

/* What may stand in PKCS#8 as the algorithm: RSA, RSASSA-PSS (RFC 8017, A.1 and A.2.3), EC (RFC 5480, 2.1.1), Ed25519
 * and Ed448 (RFC 8410, 3). */
static bool
usable_algorithm(struct span algorithm)
{
	static const struct span usable[] = {
	    {(const unsigned char *)"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", 9},
	    {(const unsigned char *)"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", 9},
	    {(const unsigned char *)"\x2a\x86\x48\xce\x3d\x02\x01", 7},
	    {(const unsigned char *)"\x2b\x65\x70", 3},
	    {(const unsigned char *)"\x2b\x65\x71", 3},
	};
	struct span oid;

	if (der_expect(&algorithm, DER_OID, &oid) < 0)
		return false;
	for (size_t i = 0; i < sizeof usable / sizeof *usable; i++)
		if (oid.n == usable[i].n && memcmp(oid.p, usable[i].p, oid.n) == 0)
			return true;
	return false;
}

/* The label for a key in DER, by what follows the number that each form starts with. NULL and *f if it is none. */
static const char *
key_label(const struct blob *b, struct fault *f)
{
	struct span der = span(b), key, field = {0};
	unsigned tag = 0;

	if (der_expect(&der, DER_SEQUENCE, &key) == 0 && der.n == 0 && der_expect(&key, DER_INTEGER, &field) == 0)
		(void)der_next(&key, &tag, &field);
	switch (tag) {
	case DER_OCTETSTRING: return "EC PRIVATE KEY";
	case DER_INTEGER: return "RSA PRIVATE KEY";
	case DER_SEQUENCE:
		if (usable_algorithm(field))
			return "PRIVATE KEY";
		fault_set(f, FAULT_CONTEXT, "%s: keys of this type cannot be used", b->name);
		return NULL;
	default: bad_file(f, b, "not a private key", "malformed DER"); return NULL;
	}
}

/* The library would take no notice of bytes behind a certificate. */
static int
check_frames(const struct blobs *certs, struct fault *f)
{
	for (size_t i = 0; i < certs->n; i++)
		if (!der_is_sequence(span(&certs->v[i])))
			return bad_file(f, &certs->v[i], "not a certificate", "malformed DER");
	return 0;
}

/*
 * Names the certificate that the library cannot parse, if there is one: as
 * somebody's own it is parsed when it is set.
 */
static int
blame_certificate(const struct blobs *certs, struct fault *f)
{
	struct tls_config *config = tls_config_new();
	int got = config ? 0 : fault_set(f, FAULT_SYSTEM, "out of memory");

	for (size_t i = 0; got == 0 && i < certs->n; i++) {
		struct text t;

		got = encode(&t, "CERTIFICATE", &certs->v[i], 1, f);
		libssl_forget();
		if (got == 0 && tls_config_set_cert_mem(config, bytes(&t), t.n) < 0)
			got = bad_file(f, &certs->v[i], "not a certificate", cause(tls_config_error(config)));
		text_wipe(&t);
	}
	tls_config_free(config);
	return got;
}

/* The library tells that something cannot be used, and `text` says what kind of thing; the file is for us to find. */
static int
blame(const struct engine_policy *p, const char *text, struct fault *f)
{
	const char *why = cause(text);
	bool own = p->chain && p->chain->n > 0, anchors = p->verify != VERIFY_NONE;

	text = text ? text : "";
	if (own && strstr(text, "read private key"))
		return bad_file(f, p->key, "not a private key", why);
	if ((own && blame_certificate(p->chain, f) < 0) || (anchors && blame_certificate(p->anchors, f) < 0))
		return -1;
	if (own && strstr(text, "key"))
		return fault_set(f, FAULT_CONTEXT, "%s does not belong to %s", p->key->name, p->chain->v[0].name);
	if (own && strstr(text, "certificate"))
		return bad_file(f, &p->chain->v[0], "the certificate cannot be used", why);
	if (anchors && strstr(text, "verify"))
		return bad_file(f, &p->anchors->v[0], "the certificate cannot be used", why);
	return fault_set(f, FAULT_ENGINE, "cannot create a TLS context: %s", why);
}

/* -- context ------------------------------------------------------------- */

static int
add_identity(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	struct text chain = {0}, key = {0};
	const char *label;
	int got;

	if (!p->chain || p->chain->n == 0)
		return 0;
	label = key_label(p->key, f);
	if (!label || check_frames(p->chain, f) < 0)
		return -1;
	got = encode(&chain, "CERTIFICATE", p->chain->v, p->chain->n, f);
	if (got == 0)
		got = encode(&key, label, p->key, 1, f);
	if (got == 0 && tls_config_set_keypair_mem(c->config, bytes(&chain), chain.n, bytes(&key), key.n) < 0)
		got = blame(p, tls_config_error(c->config), f);
	text_wipe(&chain);
	text_wipe(&key);
	return got;
}

/* Without anchors of ours the library would open the system's: nothing is verified then, or nothing prepared. */
static int
add_anchors(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	struct text t = {0};
	int got;

	if (p->verify == VERIFY_NONE) {
		tls_config_insecure_noverifycert(c->config);
		return 0;
	}
	if (p->anchors->n == 0)
		return fault_set(f, FAULT_CONTEXT, "no trust anchors");
	got = check_frames(p->anchors, f);
	if (got == 0)
		got = encode(&t, "CERTIFICATE", p->anchors->v, p->anchors->n, f);
	if (got == 0 && tls_config_set_ca_mem(c->config, bytes(&t), t.n) < 0)
		got = fault_set(f, FAULT_ENGINE, "cannot set up verification: %s", tls_config_error(c->config));
	text_wipe(&t);
	if (p->role == ENGINE_SERVER && p->verify == VERIFY_OPTIONAL)
		tls_config_verify_client_optional(c->config);
	else if (p->role == ENGINE_SERVER)
		tls_config_verify_client(c->config);
	return got;
}

/* The groups that OpenSSL offers by itself; the second list is for a library that does not know all of them. */
static int
set_groups(struct tls_config *config)
{
	if (tls_config_set_ecdhecurves(
		config, "X25519,P-256,X448,P-521,P-384,ffdhe2048,ffdhe3072,ffdhe4096,ffdhe6144,ffdhe8192") == 0)
		return 0;
	return tls_config_set_ecdhecurves(config, "X25519,P-256,P-521,P-384");
}

static int
set_policy(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	uint32_t protocols = p->newest == ENGINE_TLS12 ? TLS_PROTOCOL_TLSv1_2 : TLS_PROTOCOLS_DEFAULT;

	tls_config_prefer_ciphers_server(c->config);
	if (p->verify == VERIFY_NONE || p->any_name || !p->servername)
		tls_config_insecure_noverifyname(c->config);
	/* The library's 6 is less than a chain may have; LibreSSL builds none longer than 32. */
	if (tls_config_set_protocols(c->config, protocols) < 0 || set_ciphers(c->config) < 0 ||
	    set_groups(c->config) < 0 || tls_config_set_verify_depth(c->config, 31) < 0)
		return fault_set(f, FAULT_ENGINE, "cannot set the TLS policy: %s", tls_config_error(c->config));
	return 0;
}

/* Nothing goes over the network of a trial. */
static ssize_t
no_read(struct tls *tls, void *out, size_t n, void *arg)
{
	(void)tls, (void)out, (void)n, (void)arg;
	return TLS_WANT_POLLIN;
}

static ssize_t
no_write(struct tls *tls, const void *in, size_t n, void *arg)
{
	(void)tls, (void)in, (void)n, (void)arg;
	return TLS_WANT_POLLOUT;
}

/* Has the library look at everything that it was given: a server's context does so, a client only as it connects. */
static int
try_out(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	struct tls *tls = p->role == ENGINE_SERVER ? tls_server() : tls_client();
	int got = 0;

	if (!tls)
		return fault_set(f, FAULT_SYSTEM, "out of memory");
	libssl_forget();
	if (tls_configure(tls, c->config) < 0 ||
	    (p->role == ENGINE_CLIENT && tls_connect_cbs(tls, no_read, no_write, NULL, c->servername) < 0))
		got = blame(p, tls_error(tls), f);
	if (p->role == ENGINE_SERVER)
		c->server = tls;
	else
		tls_free(tls);
	return got;
}

static int
fill_context(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	if (libssl_prepare(f) < 0)
		return -1;
	if (tls_init() < 0)
		return fault_set(f, FAULT_ENGINE, "cannot start libtls: %s", cause(NULL));
	c->verify = p->verify;
	c->any_name = p->any_name;
	c->config = tls_config_new();
	if (!c->config || (p->servername && !(c->servername = strdup(p->servername))))
		return fault_set(f, FAULT_SYSTEM, "out of memory");
	libssl_forget();
	if (set_policy(c, p, f) < 0 || add_identity(c, p, f) < 0 || add_anchors(c, p, f) < 0)
		return -1;
	return try_out(c, p, f);
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

/*
 * What we gave to the library is overwritten; what a server's context and an
 * open engine made of it stays there until they are freed. The context itself
 * must outlive its engines: the library looks at it when a client names a server.
 */
void
engine_context_wipe(struct engine_context *c)
{
	tls_config_clear_keys(c->config);
}

void
engine_context_free(struct engine_context *c)
{
	if (!c)
		return;
	tls_free(c->server);
	tls_config_free(c->config); /* and wipes it, once nobody uses it */
	free(c->servername);
	free(c);
}

/* -- one connection ------------------------------------------------------ */

/* libtls also says TLS_WANT_POLLIN after a record without data: whether it lacks bytes shows here alone. */
static ssize_t
wire_read(struct tls *tls, void *out, size_t size, void *arg)
{
	struct ports *p = arg;
	size_t n = ports_receive(p, out, size);

	(void)tls;
	p->hungry = n == 0;
	return n > 0 ? (ssize_t)n : TLS_WANT_POLLIN;
}

static ssize_t
wire_write(struct tls *tls, const void *in, size_t size, void *arg)
{
	size_t n = ports_send(arg, in, size);

	(void)tls;
	return n > 0 ? (ssize_t)n : TLS_WANT_POLLOUT;
}

static int
start(struct engine *e, struct engine_context *c, struct fault *f)
{
	int got;

	libssl_forget();
	if (c->server) {
		libssl_expect();
		got = tls_accept_cbs(c->server, &e->tls, wire_read, wire_write, &e->ports);
		return got < 0 ? fault_set(f, FAULT_ENGINE, "cannot open a TLS engine: %s", cause(tls_error(c->server)))
			       : 0;
	}
	e->tls = tls_client();
	if (!e->tls)
		return fault_set(f, FAULT_SYSTEM, "out of memory");
	got = tls_configure(e->tls, c->config);
	libssl_expect();
	if (got == 0)
		got = tls_connect_cbs(e->tls, wire_read, wire_write, &e->ports, c->servername);
	return got < 0 ? fault_set(f, FAULT_ENGINE, "cannot open a TLS engine: %s", cause(tls_error(e->tls))) : 0;
}

struct engine *
engine_open(struct engine_context *c, struct fault *f)
{
	struct engine *e = calloc(1, sizeof *e);
	int got;

	if (!e || ports_start(&e->ports) < 0) {
		free(e);
		fault_set(f, FAULT_SYSTEM, "out of memory");
		return NULL;
	}
	e->server = c->server != NULL;
	e->verified = c->verify != VERIFY_NONE;
	e->required = e->verified && (!e->server || c->verify == VERIFY_REQUIRED);
	got = start(e, c, f);
	if (got == 0 && libssl_take(&e->beneath, e->verified, c->any_name ? NULL : c->servername) < 0)
		got = fault_set(f, FAULT_ENGINE, "cannot open a TLS engine: what libtls does with libssl is not known");
	if (got < 0) {
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
	tls_free(e->tls);
	ports_end(&e->ports);
	free(e);
}

/* Keeps the first failure's reason: what later calls say of it is nothing, or "success". */
static void
failed(struct engine *e)
{
	const char *text = tls_error(e->tls), *why = libssl_reason(), *refused = libssl_refusal(&e->beneath);
	struct ports *p = &e->ports;

	p->facts |= ENGINE_FAILED;
	if (refused)
		ports_refused(p, refused);
	else
		ports_reason(p, why ? why : text ? text : "protocol error");
}

/* Judges a call of the library that did not succeed. Returns whether there is more in it without more from the wire. */
static bool
judge(struct engine *e, ssize_t ret)
{
	if (ret == TLS_WANT_POLLIN)
		return !e->ports.hungry;
	if (ret != TLS_WANT_POLLOUT)
		failed(e);
	return false;
}

/* libtls is content, which alone means little: it is with a close_notify, too. */
static void
settle(struct engine *e)
{
	bool shown = tls_peer_cert_provided(e->tls);

	if (!libssl_complete(&e->beneath)) {
		ports_ended_early(&e->ports);
	} else if (e->verified && (shown ? !e->beneath.against.good : e->required)) {
		e->ports.facts |= ENGINE_FAILED;
		ports_refused(&e->ports, shown ? "it was not judged" : "there is none");
	} else {
		e->ports.facts |= ENGINE_UP;
	}
}

static void
shake_hands(struct engine *e)
{
	int ret;

	do {
		libssl_forget();
		ret = tls_handshake(e->tls);
	} while (ret != 0 && judge(e, ret));
	if (ret == 0)
		settle(e);
}

void
ports_encrypt(struct engine *e)
{
	struct buffer *b = &e->ports.app_in;
	ssize_t n;

	while (buffer_waiting(b) > 0 && !(e->ports.facts & ENGINE_FAILED)) {
		libssl_forget();
		n = tls_write(e->tls, b->p + b->begin, buffer_waiting(b));
		if (n <= 0) {
			(void)judge(e, n);
			return;
		}
		buffer_used(b, (size_t)n);
	}
}

/* Decrypts as much as there is, and as there is room for. */
static void
decrypt(struct engine *e)
{
	struct buffer *b = &e->ports.app_out;
	size_t room;
	ssize_t n;

	while (!(e->ports.facts & (ENGINE_FAILED | ENGINE_NOTIFIED)) && (room = buffer_room(b)) > 0) {
		libssl_forget();
		n = tls_read(e->tls, b->p + b->end, room);
		if (n < 0 && !judge(e, n))
			return;
		if (n == 0)
			e->ports.facts |= ENGINE_NOTIFIED;
		if (n > 0)
			b->end += (size_t)n;
	}
}

void
ports_pump(struct engine *e)
{
	e->ports.hungry = false;
	if (!(e->ports.facts & (ENGINE_UP | ENGINE_FAILED)))
		shake_hands(e);
	if (!(e->ports.facts & ENGINE_UP))
		return;
	ports_encrypt(e);
	decrypt(e);
}

void
engine_close(struct engine *e)
{
	struct ports *p = &e->ports;

	if (p->closed || !(p->facts & ENGINE_UP) || p->facts & ENGINE_FAILED)
		return;
	p->closed = true;
	(void)tls_close(e->tls); /* queues it: wire out keeps room for so much */
}

/* -- the session --------------------------------------------------------- */

/* The peer's certificate, which the library gives in PEM, the leaf first. */
static int
peer_leaf(const struct engine *e, struct pem_block *leaf, const char **why)
{
	size_t n = 0;
	const uint8_t *pem = tls_peer_cert_chain_pem(e->tls, &n);
	struct span text = {pem, pem ? n : 0};

	*why = "none";
	return pem_next(&text, leaf, why) == 1 ? 0 : -1;
}

/* What the peer's certificate says of its owner. */
static int
peer_names(const struct engine *e, struct session *s, struct fault *f)
{
	struct pem_block leaf;
	const char *why;
	long printed;

	if (peer_leaf(e, &leaf, &why) < 0)
		return fault_set(
		    f, FAULT_TLS, "the peer's certificate cannot be read: %s", why ? why : "out of memory");
	printed = dn_subject((struct span){leaf.der, leaf.n}, s->subject, sizeof s->subject);
	if (!e->server)
		session_set_names(s, (struct span){leaf.der, leaf.n});
	pem_wipe(&leaf);
	if (printed < 0)
		return fault_set(f, FAULT_TLS, "the subject of the peer's certificate cannot be told whole");
	return 0;
}

static int
peer_session(const struct engine *e, struct session *s, struct fault *f)
{
	const char *hash;

	/* With verification asked for, one that does not verify ended the handshake. */
	if (!e->verified || !tls_peer_cert_provided(e->tls))
		return 0;
	hash = tls_peer_cert_hash(e->tls);
	if (!hash || strlen(hash) >= sizeof s->hash)
		return fault_set(f, FAULT_TLS, "the peer's certificate cannot be read: no hash");
	(void)snprintf(s->hash, sizeof s->hash, "%s", hash);
	s->has_peer = true;
	return peer_names(e, s, f);
}

int
engine_session(const struct engine *e, struct session *s, struct fault *f)
{
	const char *name = tls_conn_cipher(e->tls), *version = tls_conn_version(e->tls);
	const char *cipher = name ? iana_name(name) : NULL, *sni = tls_conn_servername(e->tls);

	session_clear(s);
	if (!cipher)
		return fault_set(f, FAULT_TLS, "the cipher suite has no name");
	(void)snprintf(s->protocol, sizeof s->protocol, "%s", version ? version : "");
	(void)snprintf(s->cipher, sizeof s->cipher, "%s", cipher);
	s->has_sni = e->server && sni && dnsname_valid((const unsigned char *)sni, strlen(sni), s->sni);
	return peer_session(e, s, f);
}

bool
engine_half_close(const struct engine *e)
{
	const char *version = tls_conn_version(e->tls);

	return version && strcmp(version, "TLSv1.3") == 0;
}

bool
engine_replies_after_close(const struct engine *e)
{
	(void)e;
	return true;
}

/* The library has no call for it: as long as the engine lives, so does its copy of the key. */
void
engine_wipe(struct engine *e)
{
	(void)e;
}
