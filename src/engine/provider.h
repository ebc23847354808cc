/*
 * A built-in provider of OpenSSL: keys that have a public part only, and whose
 * signatures are made elsewhere.
 */
#ifndef ENGINE_PROVIDER_H
#define ENGINE_PROVIDER_H

#include "engine/engine.h"

#include <openssl/types.h>

#include <stdbool.h>

/* Has the library know of the provider, once and for good. Returns whether it does. */
bool provider_load(void);

/*
 * What the library takes for the private key that belongs to `public`, of which
 * it keeps a reference. For each signature the signer is asked; with no `sign`
 * in it there is none. Freed by the caller, as `with` is, which has to live as
 * long. Returns NULL when that fails, with the library's error.
 */
EVP_PKEY *provider_key(EVP_PKEY *public, struct engine_signer signer);

#endif
