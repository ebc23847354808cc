/*
 * BearSSL's error numbers in words, and as the alerts that it does not send.
 */
#ifndef ENGINE_BEARSSL_REASON_H
#define ENGINE_BEARSSL_REASON_H

#include <stdbool.h>

/* A number of our own beside the library's: what was to be signed with the private key was not. */
#define REASON_NO_SIGNATURE (-1)

/* A few lower-case words for any value of br_ssl_engine_last_error, for our own, or of a decoder; constant text. */
const char *reason_text(int error);

/* Whether the error is about a certificate. */
bool reason_is_certificate(int error);

/* Whether it is one that the library also gives, or gives too early, for other faults of a chain. */
bool reason_is_vague(int error);

/* The alert (RFC 5246, 7.2.2) that tells the peer of the error; 0 where the peer knows, or was told by the library. */
unsigned char reason_alert(int error);

#endif
