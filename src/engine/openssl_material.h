/*
 * Keys and certificates as OpenSSL takes them, and what to say when it does not.
 */
#ifndef ENGINE_OPENSSL_MATERIAL_H
#define ENGINE_OPENSSL_MATERIAL_H

#include "core/credentials.h"
#include "core/fault.h"

#include <openssl/types.h>

#include <stdbool.h>

/*
 * Starts OpenSSL with no configuration file, so with none that the environment
 * names, and with memory that is wiped. Returns 0, or -1 with *f (FAULT_ENGINE).
 */
int material_start(struct fault *f);

/* The library's own word for what just failed. */
const char *material_reason(void);

/* The library does not take what is in this file. Returns -1. */
int material_refuse(struct fault *f, const struct blob *b, const char *what);

/* Whether TLS signs with such a key, public or private. */
bool material_usable(const EVP_PKEY *k);

/* The whole blob as a certificate, for the caller to free. Returns NULL, and *f, if it is none. */
X509 *material_certificate(const struct blob *b, struct fault *f);

/* The whole blob as a private key of a type that can be used, for the caller to free. Returns NULL, and *f, if it is
 * none. */
EVP_PKEY *material_key(const struct blob *b, struct fault *f);

#endif
