/*
 * Why a peer's certificate is refused: one vocabulary for every backend, so
 * that the same fault reads the same whatever the library calls it. What has no
 * place here keeps the library's own words. Trusts nobody: it only finds words
 * for what was refused, and names what a library leaves to be checked.
 */
#ifndef CORE_REFUSAL_H
#define CORE_REFUSAL_H

#include "core/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum refusal {
	REFUSAL_NONE, /* no reason, or one that only the library has words for */
	REFUSAL_EXPIRED,
	REFUSAL_EARLY,
	REFUSAL_UNKNOWN,
	REFUSAL_SELF_SIGNED,
	REFUSAL_NO_CA,
	REFUSAL_PATH,
	REFUSAL_USAGE,
	REFUSAL_SIGNATURE,
	REFUSAL_EXTENSION,
	REFUSAL_NAME,
};

#define REFUSED_EXPIRED "certificate has expired"
#define REFUSED_EARLY "certificate is not yet valid"
#define REFUSED_UNKNOWN "its chain leads to no trust anchor"
#define REFUSED_SELF_SIGNED "it is self-signed, and no trust anchor"
#define REFUSED_NO_CA "issued by one that is no CA"
#define REFUSED_PATH "below the path length of an authority"
#define REFUSED_SERVER_USAGE "its key usage is not that of a TLS server"
#define REFUSED_CLIENT_USAGE "its key usage is not that of a TLS client"
#define REFUSED_SIGNATURE "bad signature in its chain"
#define REFUSED_EXTENSION "unhandled critical extension"
#define REFUSED_NAME "it is not for the expected name"

/* Room for the text of a wrong name and some of the names that there are. */
#define REFUSAL_SIZE 768

/* The constant text; NULL for REFUSAL_NONE. `server`: the peer is one, else a client. */
const char *refusal_text(enum refusal why, bool server);

/*
 * The text of REFUSAL_NAME: which name was wanted, and which the certificate
 * `leaf` bears. Printable, NUL-terminated, cut with "..." in its list when long.
 */
void refusal_name(struct span leaf, const char *name, char out[REFUSAL_SIZE]);

/*
 * What remains to be checked of a leaf whose chain is good: its key usages,
 * and its names where `name` is not NULL. Returns REFUSAL_NONE, REFUSAL_USAGE
 * or REFUSAL_NAME.
 */
enum refusal refusal_of_leaf(struct span leaf, bool server, const char *name);

/* A chain that a library refused: the peer's certificates, leaf first, and the trust anchors. */
struct refused_chain {
	const struct span *chain, *anchors;
	size_t n, anchors_n;
	bool server; /* the peer */
	int64_t now; /* seconds since 1970-01-01 UTC */
};

/*
 * Why, for libraries that do not tell, or stop at the first thing they see. The
 * chain is followed by its names; when it leads to an anchor and everything in
 * it looks right, a signature is what must be wrong. *anchor gets the anchor
 * where it ends, and `anchors_n` where it ends at none.
 */
enum refusal refusal_of_chain(const struct refused_chain *c, size_t *anchor);

#endif
