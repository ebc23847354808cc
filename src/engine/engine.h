/*
 * The one seam behind which a TLS library works. An engine does no I/O: bytes
 * in, bytes out, through four ports, each a window and an acknowledgement:
 *
 *     wire in   what came from the network     app in   what prog wrote
 *     wire out  what goes to the network       app out  what prog is to read
 *
 * An engine never hears of an EOF, so that only an authenticated close_notify
 * can look like one. It knows neither files nor descriptors nor variables.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "core/credentials.h"
#include "core/fault.h"
#include "core/options.h"
#include "core/session.h"
#include "core/signing.h"

#include <stdbool.h>
#include <stddef.h>

enum engine_role { ENGINE_SERVER, ENGINE_CLIENT };

/* The newest version that is offered; for tests of the older one. */
enum engine_version { ENGINE_NEWEST, ENGINE_TLS12 };

/* Where signatures come from: elsewhere, so that the engine never has the key. */
struct engine_signer {
	/* Fills signature[0..SIGNATURE_MAX) and returns its length, or -1: refused, or nobody is there. */
	long (*sign)(void *with, const struct signing *request, unsigned char *signature);
	void *with;
};

/*
 * What is to be spoken. Everything pointed at stays the caller's and is not
 * needed after engine_prepare, but servername.
 */
struct engine_policy {
	enum engine_role role;
	enum engine_version newest;
	enum verify verify;	     /* of the peer's certificate; a client has no VERIFY_OPTIONAL */
	const struct blob *key;	     /* private key in DER; for a backend that does not sign elsewhere */
	struct engine_signer signer; /* for one that does; both are for an own chain only */
	const struct blobs *chain;   /* own certificates in DER, leaf first; a client may have none */
	const struct blobs *anchors; /* needed where the peer is verified */
	/*
	 * For a client. A host name (no dot behind it) is sent as SNI; the server's certificate must bear it, or the
	 * address (IPv4 or IPv6, in numbers), unless any_name or VERIFY_NONE. NULL: neither.
	 */
	const char *servername;
	bool any_name;
};

/* Ready for any number of connections: everything parsed and found to fit together. */
struct engine_context;

/* One connection. */
struct engine;

/* Facts about an engine that only ever become true. */
enum engine_fact {
	ENGINE_UP = 1,	     /* the handshake is complete */
	ENGINE_NOTIFIED = 2, /* the peer's close_notify came, and all before it was decrypted */
	ENGINE_FAILED = 4,   /* nothing more is decrypted or encrypted; an alert may wait at wire out */
	ENGINE_SILENT = 8,   /* failed behind the handshake, and no alert tells the peer */
};

/* Which backend this is, by the name that chooses it when configuring: "openssl". Constant text. */
const char *engine_backend_name(void);

/* The library's name and version, for --backend and log lines. Constant text. */
const char *engine_backend(void);

/* Whether the backend has its signatures made by policy.signer, and never needs policy.key. */
bool engine_signs_elsewhere(void);

/*
 * Checks and loads everything the policy names. Returns NULL and fills *f on
 * failure: FAULT_CONTEXT names the file at fault, FAULT_ENGINE a library that
 * does not work.
 */
struct engine_context *engine_prepare(const struct engine_policy *policy, struct fault *f);

/* Forgets the private key, where there is one; engines that were opened before keep theirs. */
void engine_context_wipe(struct engine_context *c);

/* To be called when no engine of the context is left. */
void engine_context_free(struct engine_context *c);

/* Starts a connection; a client's first bytes then wait at wire out. Returns NULL and fills *f on failure. */
struct engine *engine_open(struct engine_context *c, struct fault *f);
void engine_free(struct engine *e);

/* A set of enum engine_fact. */
unsigned engine_facts(const struct engine *e);

/* After ENGINE_FAILED: why, one printable line, for as long as e lives. */
const char *engine_reason(const struct engine *e);

/*
 * The ports. Each returns the length of a window at *buf, 0 when there is none
 * now; *_ack says that the first n bytes of it were filled, or used. Windows
 * stay valid until the next call of an _ack or of engine_close.
 */
size_t engine_wire_in(struct engine *e, unsigned char **buf);
void engine_wire_in_ack(struct engine *e, size_t n);
size_t engine_wire_out(struct engine *e, const unsigned char **buf);
void engine_wire_out_ack(struct engine *e, size_t n);
size_t engine_app_in(struct engine *e, unsigned char **buf);
void engine_app_in_ack(struct engine *e, size_t n);
size_t engine_app_out(struct engine *e, const unsigned char **buf);
void engine_app_out_ack(struct engine *e, size_t n);

/* Whether bytes taken at app in have not all become records at wire out. */
bool engine_app_busy(const struct engine *e);

/* Whether all that came from the wire was decrypted, but for what is not whole yet. */
bool engine_hungry(const struct engine *e);

/* Queues close_notify at wire out, once, behind everything else. Not while engine_app_busy. */
void engine_close(struct engine *e);

/*
 * After ENGINE_UP: what the peers agreed on, and whom the peer proved to be. A
 * server's has the SNI; a client's has the names in the server's certificate.
 * Returns -1 and fills *f when it cannot be told whole.
 */
int engine_session(const struct engine *e, struct session *s, struct fault *f);

/* Whether the version lets the peer send on after our close_notify (RFC 8446, 6.1). */
bool engine_half_close(const struct engine *e);

/* Whether bytes are still taken at app in once the peer's close_notify came (RFC 5246, 7.2.1 does not ask for it). */
bool engine_replies_after_close(const struct engine *e);

/* Forgets the private key, where there is one; to be called once ENGINE_UP. Nothing is signed from then on. */
void engine_wipe(struct engine *e);

/* -- the other side of a signer: for backends that sign elsewhere ---------- */

struct engine_key;

/*
 * The private key, in DER, of the certificate `leaf`, ready to sign. Returns
 * NULL and fills *f on failure: FAULT_CONTEXT names the file at fault, or both
 * when they do not belong together. The blobs are not needed afterwards.
 */
struct engine_key *engine_key_load(const struct blob *key, const struct blob *leaf, struct fault *f);

/*
 * Signs what was found to be TLS (signing_refusal), if the scheme is one for
 * this key. Returns as engine_signer.sign does.
 */
long engine_key_sign(const struct engine_key *k, const struct signing *request, unsigned char *signature);

/* Overwrites and frees. */
void engine_key_free(struct engine_key *k);

#endif
