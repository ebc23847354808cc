/*
 * What libcrypto has against a chain, in the words of core/refusal.h, for the
 * backends that stand on it. Only public calls on a verification's own object;
 * changes nothing in it.
 */
#ifndef ENGINE_REFUSED_H
#define ENGINE_REFUSED_H

#include "core/refusal.h"

#include <openssl/x509_vfy.h>

#include <stdbool.h>

/* Why the verification has failed. `server`: the peer is one. REFUSAL_NONE: only the library has words for its error.
 */
enum refusal refused_why(X509_STORE_CTX *store, bool server);

/* The peer's own certificate in DER, for the caller to give to OPENSSL_free; .p is NULL when there is none. */
struct span refused_leaf(X509_STORE_CTX *store);

#endif
