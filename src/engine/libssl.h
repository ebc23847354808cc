/*
 * The libssl that libtls stands on: OpenSSL under libretls, LibreSSL's own
 * under LibreSSL. Only what libtls has no call for goes here, and only by
 * public calls that act on the process, not on libtls's private objects.
 */
#ifndef ENGINE_LIBSSL_H
#define ENGINE_LIBSSL_H

#include "core/fault.h"
#include "core/span.h"

#include <stdbool.h>

/* Brings the policy of the project to every later context of the process. Returns 0, or -1 and fills *f. */
int libssl_prepare(struct fault *f);

/* Name and version. */
const char *libssl_version(void);

/* Forgets the reasons of earlier failures; to be called before a call that may fail. */
void libssl_forget(void);

/* Why the last call failed, in libssl's words, and what it found at the bottom of it; NULL: no word. Constant text. */
const char *libssl_reason(void);
const char *libssl_cause(void);

/*
 * If the last call failed because the peer's certificate was refused: why, in the
 * words that all backends have where there are any. Else NULL. Constant text.
 */
const char *libssl_refusal(bool server);

/* The certificate of the peer whose chain was judged last, since libssl_forget, good or bad; .p is NULL: none was. */
struct span libssl_leaf(void);

#endif
