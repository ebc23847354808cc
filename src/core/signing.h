/*
 * What an engine asks to have signed, and what may be: nothing but the texts
 * that TLS has the owner of a certificate sign.
 */
#ifndef CORE_SIGNING_H
#define CORE_SIGNING_H

#include "core/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum signing_role { SIGNING_SERVER, SIGNING_CLIENT };

enum {
	SIGNING_TEXT_MAX = 256 * 1024, /* a TLS 1.2 client signs its whole handshake so far */
	SIGNING_MAX = SIGNING_TEXT_MAX + 8,
	SIGNATURE_MAX = 2048, /* RSA of 16384 bits */
};

/* By its number in RFC 8446, 4.2.3; with TLS 1.2 an ECDSA scheme names the hash alone. */
struct signing {
	uint16_t scheme;
	bool hashed; /* text is the hash of what is to be signed: all that a BearSSL client hands over */
	struct span text;
};

/* Writes a request into out[0..SIGNING_MAX). Returns its length, or -1 when the text is too long. */
long signing_pack(unsigned char *out, const struct signing *s);

/* Reads a whole request; s->text then points into it. Returns 0, or -1 when it is not exactly of its form. */
int signing_unpack(struct span in, struct signing *s);

/*
 * Whether the text is what TLS asks this role to sign: with 1.3, 64 spaces and
 * the role's context string (RFC 8446, 4.4.3); with 1.2, a server's randoms
 * and key-exchange parameters (RFC 5246, 7.4.3; RFC 8422, 5.4), a client's
 * handshake, which begins with a ClientHello (RFC 5246, 7.4.8). Returns NULL,
 * or why not: constant text.
 */
const char *signing_refusal(enum signing_role role, const struct signing *s);

#endif
