/*
 * The engine on BearSSL. The library has four ports of its own, but of one
 * record each: many records are moved between them and ours in one go. It is
 * fed only while all that it has to give finds room at once, so that it holds
 * nothing back when it fails or is closed, where it would forget it.
 */
#include "engine/ports.h"

#include "core/address.h"
#include "core/dn.h"
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

/* The longest that the library answers to one record, in octets, once the handshake is over: an alert, twice. */
enum { ANSWER = 256 };

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

struct engine {
	struct ports ports;
	union {
		br_ssl_server_context server;
		br_ssl_client_context client;
	} br;
	br_ssl_engine_context *tls; /* inside br */
	enum engine_role role;
	bool spoken, sealed;	  /* a record of ours went out; what goes out now is encrypted */
	unsigned char offered[2]; /* the newest version that a client has, once `heard` bytes of it reach so far */
	size_t heard;
	struct signatory signer;    /* nobody, where there is no own certificate */
	struct validator validator; /* whose last part is not zeroed at first, nor is what follows */
	unsigned char buffer[BR_SSL_BUFSIZE_BIDI];
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

/* Zeroed, but for what the library and the peer fill: that would touch all of it at once. */
static struct engine *
new_engine(void)
{
	struct engine *e = malloc(sizeof *e);

	if (e)
		memset(e, 0, offsetof(struct engine, validator) + offsetof(struct validator, bytes));
	return e;
}

struct engine *
engine_open(struct engine_context *c, struct fault *f)
{
	struct engine *e = new_engine();

	if (!e || ports_start(&e->ports) < 0) {
		free(e);
		fault_set(f, FAULT_SYSTEM, "out of memory");
		return NULL;
	}
	if (fill_engine(e, c, f) < 0) {
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
	validator_close(&e->validator);
	explicit_bzero(&e->br, sizeof e->br);
	ports_end(&e->ports);
	free(e);
}

/* -- what the library has come to ------------------------------------------ */

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
	if (e->role == ENGINE_SERVER && !e->spoken && record[0] == ALERT && e->offered[0] == BR_TLS12 >> 8 &&
	    e->offered[1] < (BR_TLS12 & 0xff))
		memcpy(record + 1, e->offered, sizeof e->offered);
}

/* Tells the peer, where that can be done in the clear: the library itself stops without a word. */
static void
queue_alert(struct engine *e, unsigned char description)
{
	const unsigned char alert[] = {ALERT, BR_TLS12 >> 8, BR_TLS12 & 0xff, 0, 2, 2 /* fatal */, description};

	if (!e->sealed && description)
		(void)ports_send(&e->ports, alert, sizeof alert);
}

static void
failed(struct engine *e, int error)
{
	if (e->signer.failed)
		error = REASON_NO_SIGNATURE;
	e->ports.facts |= e->ports.facts & ENGINE_UP ? ENGINE_FAILED | ENGINE_SILENT : ENGINE_FAILED;
	if (reason_is_certificate(error))
		ports_refused(&e->ports, e->validator.why ? e->validator.why : reason_text(error));
	else
		ports_reason(&e->ports, reason_text(error));
	queue_alert(e, reason_alert(error));
}

/*
 * Of a record with a renegotiation in it and more behind that, the library never reads the rest: it has nothing to
 * give, and takes nothing.
 */
static bool
is_stuck(unsigned state)
{
	return !(state & (BR_SSL_CLOSED | BR_SSL_SENDREC | BR_SSL_RECVREC | BR_SSL_RECVAPP));
}

/* Draws the facts from the library's state. Closed, it failed, or the peer's close_notify was seen and answered. */
static void
look(struct engine *e)
{
	unsigned state = br_ssl_engine_current_state(e->tls);
	int error = br_ssl_engine_last_error(e->tls);

	if (e->ports.facts & (ENGINE_FAILED | ENGINE_NOTIFIED))
		return;
	if (state & (BR_SSL_SENDAPP | BR_SSL_RECVAPP))
		e->ports.facts |= ENGINE_UP;
	if (is_stuck(state))
		failed(e, BR_ERR_UNEXPECTED);
	if (!(state & BR_SSL_CLOSED))
		return;
	/* An end before there is anything to end is none that a peer may make. */
	if (error == BR_ERR_OK && !(e->ports.facts & ENGINE_UP))
		error = BR_ERR_UNEXPECTED;
	if (error != BR_ERR_OK) {
		failed(e, error);
		return;
	}
	e->ports.facts |= ENGINE_NOTIFIED;
	e->ports.closed = true;
}

/* -- between the library's ports and ours --------------------------------- */

/* What the library has for the network, a whole record at a time. */
static void
send_records(struct engine *e)
{
	unsigned char *record;
	size_t n;

	while ((record = br_ssl_engine_sendrec_buf(e->tls, &n)) && n <= buffer_all_room(&e->ports.wire_out)) {
		speak_down(e, record);
		e->spoken = true;
		e->sealed = e->sealed || record[0] == CHANGE_CIPHER_SPEC;
		(void)ports_send(&e->ports, record, n);
		br_ssl_engine_sendrec_ack(e->tls, n);
	}
}

/* No byte of prog waits for others. */
void
ports_encrypt(struct engine *e)
{
	struct buffer *b = &e->ports.app_in;
	unsigned char *p;
	size_t n;

	while (buffer_waiting(b) > 0 && (p = br_ssl_engine_sendapp_buf(e->tls, &n))) {
		if (n > buffer_waiting(b))
			n = buffer_waiting(b);
		memcpy(p, b->p + b->begin, n);
		buffer_used(b, n);
		br_ssl_engine_sendapp_ack(e->tls, n);
		br_ssl_engine_flush(e->tls, 0);
		send_records(e);
	}
}

/* There is room: a record is let in only then. */
static void
decrypt(struct engine *e)
{
	struct buffer *b = &e->ports.app_out;
	const unsigned char *p;
	size_t n;

	while ((p = br_ssl_engine_recvapp_buf(e->tls, &n))) {
		memcpy(b->p + b->end, p, n);
		b->end += n;
		br_ssl_engine_recvapp_ack(e->tls, n);
	}
}

/* Whether there is room for all that the library may make of one more record: clear text, or an answer. */
static bool
has_room(struct engine *e)
{
	size_t n;

	return !br_ssl_engine_sendrec_buf(e->tls, &n) && buffer_all_room(&e->ports.wire_out) >= ANSWER &&
	       buffer_room(&e->ports.app_out) >= RECORD;
}

/* Feeds the library at most one record. Returns whether it took a byte. */
static bool
feed(struct engine *e)
{
	unsigned char *p;
	size_t n;

	if (e->ports.facts & (ENGINE_FAILED | ENGINE_NOTIFIED) || !has_room(e))
		return false;
	p = br_ssl_engine_recvrec_buf(e->tls, &n);
	n = p ? ports_receive(&e->ports, p, n) : 0;
	e->ports.hungry = p && n == 0;
	if (n == 0)
		return false;
	overhear(e, p, n);
	br_ssl_engine_recvrec_ack(e->tls, n);
	return true;
}

void
ports_pump(struct engine *e)
{
	e->ports.hungry = false;
	do {
		send_records(e);
		decrypt(e);
		look(e);
		ports_encrypt(e);
	} while (feed(e));
}

void
engine_close(struct engine *e)
{
	if (e->ports.closed || !(e->ports.facts & ENGINE_UP) || e->ports.facts & (ENGINE_FAILED | ENGINE_NOTIFIED))
		return;
	e->ports.closed = true;
	br_ssl_engine_close(e->tls);
	ports_pump(e);
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
