/*
 * The engine on BearSSL, whose own four ports are those of the seam: windows
 * into its buffers, no copies. What the library does not tell, that close_notify
 * came while our last record is still on its way, is seen in the records' types.
 */
#include "engine/engine.h"

#include "core/address.h"
#include "core/dn.h"
#include "core/record.h"
#include "engine/bearssl_material.h"
#include "engine/bearssl_reason.h"
#include "engine/bearssl_signer.h"
#include "engine/bearssl_validator.h"

#include <bearssl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Content types (RFC 5246, 6.2.1). */
enum { CHANGE_CIPHER_SPEC = 20, ALERT = 21 };

/* Fresh randomness for each connection, beside what the library's seeder gives. */
#define SEED_BYTES 32

struct engine_context {
	enum engine_role role;
	enum verify verify;
	struct engine_signer signer;
	struct chain chain;
	struct anchors anchors;
	char *servername; /* NULL: none */
	bool any_name;
};

/* A direction of the wire: where its records begin and end, and the type of the last that began. */
struct flow {
	struct record record;
	unsigned char type;
};

struct engine {
	union {
		br_ssl_server_context server;
		br_ssl_client_context client;
	} br;
	br_ssl_engine_context *tls; /* inside br */
	enum engine_role role;
	unsigned facts;
	bool closed, sealed; /* close_notify was queued by us; what goes out is encrypted from here on */
	struct flow in, out;
	unsigned char offered[2]; /* the newest version that a client has, once `heard` bytes of it reach so far */
	size_t heard;
	struct span rest;  /* after a failure: what is left of the record that was going out */
	struct span alert; /* and the alert behind it, within alert_bytes */
	struct span kept;  /* decrypted before engine_close, which makes the library forget it; within kept_bytes */
	char reason[FAULT_TEXT];
	unsigned char alert_bytes[7];
	struct signatory signer; /* nobody, where there is no own certificate */
	struct validator validator;
	unsigned char buffer[BR_SSL_BUFSIZE_BIDI], kept_bytes[BR_SSL_BUFSIZE_INPUT];
};

const char *
engine_backend_name(void)
{
	return "bearssl";
}

const char *
engine_backend(void)
{
	return "BearSSL 0.6"; /* the one release with this interface; the library itself does not tell */
}

bool
engine_signs_elsewhere(void)
{
	return true;
}

/* -- policy --------------------------------------------------------------- */

/* The suites that are offered, best first, and their names at IANA. Ephemeral keys only, no SHA-1, no short tags. */
static const struct suite {
	uint16_t number;
	unsigned char key; /* BR_KEYTYPE_ of the server's */
	const char *name;
} suites[] = {
#define SUITE(key, name)                                                                                               \
	{                                                                                                              \
		BR_##name, key, #name                                                                                  \
	}
    SUITE(BR_KEYTYPE_EC, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    SUITE(BR_KEYTYPE_RSA, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    SUITE(BR_KEYTYPE_EC, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    SUITE(BR_KEYTYPE_RSA, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    SUITE(BR_KEYTYPE_EC, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    SUITE(BR_KEYTYPE_RSA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    SUITE(BR_KEYTYPE_EC, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384),
    SUITE(BR_KEYTYPE_RSA, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384),
    SUITE(BR_KEYTYPE_EC, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256),
    SUITE(BR_KEYTYPE_RSA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256),
#undef SUITE
};

enum { SUITES = sizeof suites / sizeof *suites };

/* Whether ChaCha20 beats what the library has of AES on this processor. */
static bool
slow_aes(void)
{
	return !br_aes_x86ni_ctr_get_vtable() && !br_aes_pwr8_ctr_get_vtable();
}

/* A server has one key, and offers what that can sign; a client (key 0) takes all. */
static void
set_suites(br_ssl_engine_context *tls, int key)
{
	uint16_t numbers[SUITES];
	size_t n = 0;

	for (int turn = 0; turn < 2; turn++)
		for (size_t i = 0; i < SUITES; i++) {
			bool first = slow_aes() && strstr(suites[i].name, "CHACHA20");

			if (first == (turn == 0) && (key == 0 || suites[i].key == key))
				numbers[n++] = suites[i].number;
		}
	br_ssl_engine_set_suites(tls, numbers, n);
}

/* What the full profiles of the library allow, less what the policy of the project leaves out. */
static void
set_policy(struct engine *e, int key)
{
	br_ssl_engine_set_versions(e->tls, BR_TLS12, BR_TLS12);
	br_ssl_engine_set_all_flags(e->tls, BR_OPT_NO_RENEGOTIATION | BR_OPT_ENFORCE_SERVER_PREFERENCES);
	set_suites(e->tls, key);
	br_ssl_engine_set_hash(e->tls, br_md5_ID, NULL);
	br_ssl_engine_set_hash(e->tls, br_sha1_ID, NULL);
	br_ssl_engine_set_default_rsavrfy(e->tls);
	br_ssl_engine_set_default_ecdsa(e->tls);
}

/* -- context ------------------------------------------------------------- */

static int
load(struct engine_context *c, const struct engine_policy *p, struct fault *f)
{
	c->role = p->role;
	c->verify = p->verify;
	c->signer = p->signer;
	c->any_name = p->any_name;
	if (!br_prng_seeder_system(NULL))
		return fault_set(f, FAULT_ENGINE, "BearSSL knows no source of randomness on this system");
	if (p->servername && !(c->servername = strdup(p->servername)))
		return fault_set(f, FAULT_SYSTEM, "out of memory");
	if (p->chain && p->chain->n > 0 && chain_load(&c->chain, p->chain, f) < 0)
		return -1;
	if (p->verify != VERIFY_NONE)
		return anchors_load(&c->anchors, p->anchors, p->role == ENGINE_CLIENT, f);
	return 0;
}

struct engine_context *
engine_prepare(const struct engine_policy *policy, struct fault *f)
{
	struct engine_context *c = calloc(1, sizeof *c);

	if (!c) {
		fault_set(f, FAULT_SYSTEM, "out of memory");
		return NULL;
	}
	if (load(c, policy, f) == 0)
		return c;
	engine_context_free(c);
	return NULL;
}

void
engine_context_wipe(struct engine_context *c)
{
	/* There is none: signatures come from elsewhere. */
	(void)c;
}

void
engine_context_free(struct engine_context *c)
{
	if (!c)
		return;
	chain_free(&c->chain);
	anchors_free(&c->anchors);
	free(c->servername);
	free(c);
}

/* -- one connection ------------------------------------------------------ */

/* What the suites need of the library, whose own profiles for servers want a key. */
static void
set_parts(br_ssl_engine_context *tls)
{
	br_ssl_engine_set_hash(tls, br_sha224_ID, &br_sha224_vtable);
	br_ssl_engine_set_hash(tls, br_sha256_ID, &br_sha256_vtable);
	br_ssl_engine_set_hash(tls, br_sha384_ID, &br_sha384_vtable);
	br_ssl_engine_set_hash(tls, br_sha512_ID, &br_sha512_vtable);
	br_ssl_engine_set_prf_sha256(tls, br_tls12_sha256_prf);
	br_ssl_engine_set_prf_sha384(tls, br_tls12_sha384_prf);
	br_ssl_engine_set_default_aes_cbc(tls);
	br_ssl_engine_set_default_aes_gcm(tls);
	br_ssl_engine_set_default_chapol(tls);
	br_ssl_engine_set_default_ec(tls);
}

static void
set_server(struct engine *e, struct engine_context *c)
{
	br_ssl_server_context *s = &e->br.server;

	e->tls = &s->eng;
	br_ssl_server_zero(s);
	set_parts(e->tls);
	set_policy(e, c->chain.type);
	signatory_open_server(&e->signer, s, &c->chain, &c->signer);
	if (c->verify == VERIFY_NONE)
		return;
	br_ssl_server_set_trust_anchor_names(s, c->anchors.names, c->anchors.n);
	if (c->verify == VERIFY_OPTIONAL)
		br_ssl_engine_add_flags(e->tls, BR_OPT_TOLERATE_NO_CLIENT_AUTH);
}

static void
set_client(struct engine *e, struct engine_context *c)
{
	br_ssl_client_context *s = &e->br.client;

	e->tls = &s->eng;
	/* The validator that this also sets up is replaced by our own, around its own copy. */
	br_ssl_client_init_full(s, &e->validator.inner, NULL, 0);
	set_policy(e, 0);
	if (c->chain.n > 0)
		signatory_open_client(&e->signer, s, &c->chain, &c->signer);
}

/* SNI names hosts alone (RFC 6066, 3). */
static const char *
sni(const char *name)
{
	unsigned char address[16];

	return name && address_parse(name, address) == 0 ? name : NULL;
}

/* The library's seeder may be the processor's alone: it gets no more trust than it needs. */
static int
start(struct engine *e, const char *name, struct fault *f)
{
	unsigned char seed[SEED_BYTES];
	int started;

	if (getentropy(seed, sizeof seed) < 0)
		return fault_set(f, FAULT_ENGINE, "cannot open a TLS engine: no randomness");
	br_ssl_engine_set_buffer(e->tls, e->buffer, sizeof e->buffer, 1);
	br_ssl_engine_inject_entropy(e->tls, seed, sizeof seed);
	explicit_bzero(seed, sizeof seed);
	if (e->role == ENGINE_SERVER)
		started = br_ssl_server_reset(&e->br.server);
	else
		started = br_ssl_client_reset(&e->br.client, sni(name), 0);
	if (!started)
		return fault_set(
		    f, FAULT_ENGINE, "cannot open a TLS engine: %s", reason_text(br_ssl_engine_last_error(e->tls)));
	return 0;
}

static int
fill_engine(struct engine *e, struct engine_context *c, struct fault *f)
{
	bool server = c->role == ENGINE_SERVER;

	e->role = c->role;
	if (server)
		set_server(e, c);
	else
		set_client(e, c);
	if (validator_open(&e->validator, e->tls, c->verify, &c->anchors, !server, c->any_name ? NULL : c->servername) <
	    0)
		return fault_set(f, FAULT_SYSTEM, "out of memory");
	return start(e, c->servername, f);
}

struct engine *
engine_open(struct engine_context *c, struct fault *f)
{
	struct engine *e = calloc(1, sizeof *e);

	if (!e) {
		fault_set(f, FAULT_SYSTEM, "out of memory");
		return NULL;
	}
	if (fill_engine(e, c, f) == 0)
		return e;
	engine_free(e);
	return NULL;
}

void
engine_free(struct engine *e)
{
	if (!e)
		return;
	validator_close(&e->validator);
	explicit_bzero(&e->br, sizeof e->br);
	free(e);
}

unsigned
engine_facts(const struct engine *e)
{
	return e->facts;
}

const char *
engine_reason(const struct engine *e)
{
	return e->reason;
}

/* -- what the library has come to ------------------------------------------ */

/* Follows n bytes of one direction. A window of the library never holds more than one record. */
static void
follow(struct flow *w, const unsigned char *p, size_t n)
{
	if (!record_inside(&w->record))
		w->type = p[0];
	record_feed(&w->record, p, n);
}

/* A client's version stands behind the headers of its first record (5 octets) and message (4). */
static void
overhear(struct engine *e, const unsigned char *p, size_t n)
{
	enum { BEFORE = 9, BEHIND = BEFORE + sizeof e->offered };

	for (size_t i = 0; i < n && e->heard < BEHIND; i++, e->heard++)
		if (e->heard >= BEFORE)
			e->offered[e->heard - BEFORE] = p[i];
}

/* A client that is too old does not understand an alert in a newer version, as the library sends it. */
static void
speak_down(struct engine *e, unsigned char *record)
{
	if (e->role == ENGINE_SERVER && !(e->facts & ENGINE_UP) && record[0] == ALERT && !e->out.type &&
	    e->offered[0] == BR_TLS12 >> 8 && e->offered[1] < (BR_TLS12 & 0xff))
		memcpy(record + 1, e->offered, sizeof e->offered);
}

/* Tells the peer, where that can be done in the clear: the library itself stops without a word. */
static void
queue_alert(struct engine *e, unsigned char description)
{
	const unsigned char alert[] = {ALERT, BR_TLS12 >> 8, BR_TLS12 & 0xff, 0, 2, 2 /* fatal */, description};

	if (!record_inside(&e->out.record) && e->rest.n > 0 && e->rest.p[0] == CHANGE_CIPHER_SPEC)
		e->sealed = true;
	if (e->sealed || !description)
		return;
	memcpy(e->alert_bytes, alert, sizeof alert);
	e->alert = (struct span){e->alert_bytes, sizeof alert};
}

static void
failed(struct engine *e, int error)
{
	const char *why = e->validator.why ? e->validator.why : reason_text(error);

	if (e->signer.failed)
		error = REASON_NO_SIGNATURE;
	e->facts |= e->facts & ENGINE_UP ? ENGINE_FAILED | ENGINE_SILENT : ENGINE_FAILED;
	if (reason_is_certificate(error))
		(void)snprintf(e->reason, sizeof e->reason, "the peer's certificate is refused: %s", why);
	else
		(void)snprintf(e->reason, sizeof e->reason, "%s", reason_text(error));
	queue_alert(e, reason_alert(error));
}

/* The library is done: it failed, or the peer's close_notify was seen and answered. */
static void
ended(struct engine *e)
{
	int error = br_ssl_engine_last_error(e->tls);

	if (error != BR_ERR_OK) {
		failed(e, error);
	} else if (!(e->facts & ENGINE_UP)) {
		/* An end before there is anything to end is none that a peer may make. */
		failed(e, BR_ERR_UNEXPECTED);
	} else if (e->kept.n == 0) {
		e->facts |= ENGINE_NOTIFIED;
	}
}

/* Draws the facts from the library's state. */
static void
look(struct engine *e)
{
	unsigned state = br_ssl_engine_current_state(e->tls);

	if (e->facts & (ENGINE_FAILED | ENGINE_NOTIFIED))
		return;
	if (state & BR_SSL_CLOSED) {
		ended(e);
		return;
	}
	if (state & (BR_SSL_SENDAPP | BR_SSL_RECVAPP))
		e->facts |= ENGINE_UP;
	/* Only one alert makes the library want no more of the wire, and leaves it alive. */
	if (e->facts & ENGINE_UP && e->in.type == ALERT && !(state & (BR_SSL_RECVREC | BR_SSL_RECVAPP)) &&
	    e->kept.n == 0)
		e->facts |= ENGINE_NOTIFIED;
}

/* -- ports --------------------------------------------------------------- */

size_t
engine_wire_in(struct engine *e, unsigned char **buf)
{
	size_t n;

	*buf = br_ssl_engine_recvrec_buf(e->tls, &n);
	return n;
}

void
engine_wire_in_ack(struct engine *e, size_t n)
{
	size_t going, room;
	const unsigned char *p = br_ssl_engine_recvrec_buf(e->tls, &room);

	follow(&e->in, p, n);
	overhear(e, p, n);
	/* A failure lets go of the record that is on its way out. It stays where it is. */
	e->rest.p = br_ssl_engine_sendrec_buf(e->tls, &going);
	e->rest.n = going;
	br_ssl_engine_recvrec_ack(e->tls, n);
	look(e);
	if (!(e->facts & ENGINE_FAILED))
		e->rest.n = 0;
}

size_t
engine_wire_out(struct engine *e, const unsigned char **buf)
{
	const struct span *left = e->rest.n > 0 ? &e->rest : &e->alert;
	unsigned char *p;
	size_t n;

	if (e->facts & ENGINE_FAILED) {
		*buf = left->p;
		return left->n;
	}
	*buf = p = br_ssl_engine_sendrec_buf(e->tls, &n);
	if (n > 0)
		speak_down(e, p);
	return n;
}

static void
used(struct span *s, size_t n)
{
	s->p += n;
	s->n -= n;
}

void
engine_wire_out_ack(struct engine *e, size_t n)
{
	size_t length;

	if (n == 0)
		return;
	if (e->facts & ENGINE_FAILED) {
		used(e->rest.n > 0 ? &e->rest : &e->alert, n);
		return;
	}
	follow(&e->out, br_ssl_engine_sendrec_buf(e->tls, &length), n);
	e->sealed = e->sealed || e->out.type == CHANGE_CIPHER_SPEC;
	br_ssl_engine_sendrec_ack(e->tls, n);
	look(e);
}

size_t
engine_app_in(struct engine *e, unsigned char **buf)
{
	size_t n;

	*buf = br_ssl_engine_sendapp_buf(e->tls, &n);
	return n;
}

void
engine_app_in_ack(struct engine *e, size_t n)
{
	br_ssl_engine_sendapp_ack(e->tls, n);
	/* No byte waits for others. */
	br_ssl_engine_flush(e->tls, 0);
	look(e);
}

size_t
engine_app_out(struct engine *e, const unsigned char **buf)
{
	size_t n;

	if (e->kept.n > 0) {
		*buf = e->kept.p;
		return e->kept.n;
	}
	*buf = br_ssl_engine_recvapp_buf(e->tls, &n);
	return n;
}

void
engine_app_out_ack(struct engine *e, size_t n)
{
	if (e->kept.n > 0)
		used(&e->kept, n);
	else
		br_ssl_engine_recvapp_ack(e->tls, n);
	look(e);
}

bool
engine_app_busy(const struct engine *e)
{
	(void)e;
	return false;
}

bool
engine_hungry(const struct engine *e)
{
	return e->facts & (ENGINE_FAILED | ENGINE_NOTIFIED) || br_ssl_engine_current_state(e->tls) & BR_SSL_RECVREC;
}

void
engine_close(struct engine *e)
{
	const unsigned char *p;
	size_t n = engine_app_out(e, &p);

	if (e->closed || !(e->facts & ENGINE_UP) || e->facts & (ENGINE_FAILED | ENGINE_NOTIFIED))
		return;
	e->closed = true;
	if (n > 0) {
		memcpy(e->kept_bytes, p, n);
		e->kept = (struct span){e->kept_bytes, n};
	}
	br_ssl_engine_close(e->tls);
	look(e);
}

/* -- the session --------------------------------------------------------- */

static int
peer_session(const struct engine *e, struct session *s, struct fault *f)
{
	struct span leaf = e->validator.certificates[0];
	unsigned char hash[br_sha256_SIZE];
	br_sha256_context sha;

	if (!e->validator.valid)
		return 0;
	br_sha256_init(&sha);
	br_sha256_update(&sha, leaf.p, leaf.n);
	br_sha256_out(&sha, hash);
	memcpy(s->hash, "SHA256:", 7);
	for (size_t i = 0; i < sizeof hash; i++)
		(void)sprintf(s->hash + 7 + 2 * i, "%02x", hash[i]);
	if (dn_subject(leaf, s->subject, sizeof s->subject) < 0)
		return fault_set(f, FAULT_TLS, "the subject of the peer's certificate cannot be told whole");
	if (e->role == ENGINE_CLIENT)
		session_set_names(s, leaf);
	s->has_peer = true;
	return 0;
}

static const char *
suite_name(const br_ssl_engine_context *tls)
{
	br_ssl_session_parameters p;
	uint16_t number;

	br_ssl_engine_get_session_parameters(tls, &p);
	number = p.cipher_suite;
	explicit_bzero(&p, sizeof p);
	for (size_t i = 0; i < SUITES; i++)
		if (suites[i].number == number)
			return suites[i].name;
	return NULL;
}

int
engine_session(const struct engine *e, struct session *s, struct fault *f)
{
	const char *cipher = suite_name(e->tls), *sni = br_ssl_engine_get_server_name(e->tls);

	session_clear(s);
	if (!cipher || br_ssl_engine_get_version(e->tls) != BR_TLS12)
		return fault_set(f, FAULT_TLS, "the cipher suite has no name");
	(void)snprintf(s->protocol, sizeof s->protocol, "TLSv1.2");
	(void)snprintf(s->cipher, sizeof s->cipher, "%s", cipher);
	s->has_sni = e->role == ENGINE_SERVER && dnsname_valid((const unsigned char *)sni, strlen(sni), s->sni);
	return peer_session(e, s, f);
}

bool
engine_half_close(const struct engine *e)
{
	(void)e;
	return false;
}

/* The library answers close_notify by its own, and takes nothing from then on. */
bool
engine_replies_after_close(const struct engine *e)
{
	(void)e;
	return false;
}

void
engine_wipe(struct engine *e)
{
	signatory_close(&e->signer);
}
