/*
 * What a certificate says of its own use (RFC 5280, 4.2.1), for engines whose
 * library does not judge it. The signature is not looked at: only ask of a
 * certificate that was verified. It comes from a peer: anything may be in it.
 */
#ifndef CORE_X509_H
#define CORE_X509_H

#include "core/span.h"

#include <stdbool.h>
#include <stddef.h>

/* The last octet of the extension's identifier: they all are 2.5.29.n. */
enum x509_extension {
	X509_KEY_USAGE = 15,
	X509_ALT_NAME = 17,
	X509_BASIC_CONSTRAINTS = 19,
	X509_NAME_CONSTRAINTS = 30,
	X509_EXTENDED_KEY_USAGE = 37,
};

/*
 * Finds an extension of the certificate `der`; *value gets what is inside its
 * OCTET STRING. Returns 1; 0 when it has none; -1 when the certificate is
 * malformed up to its extensions, or has this one twice.
 */
int x509_extension(struct span der, enum x509_extension which, struct span *value);

/* Whether the certificate's extended key usage, if it has any, lists TLS servers (or clients, where `server` is false).
 */
bool x509_purpose(struct span der, bool server);

/* Whether its key usage, if it has any, lets its key sign certificates. */
bool x509_signs_certificates(struct span der);

/* Whether its key usage, if it has any, lets its key sign a handshake (RFC 8446, 4.4.2.2; RFC 5246, 7.4.2, 7.4.6). */
bool x509_signs_handshakes(struct span der);

/* Whether it is one of an authority: its basic constraints say so, and it may sign certificates. */
bool x509_authority(struct span der);

/* *name gets what is inside the Name. Each returns 0, or -1 when the certificate is malformed up to there. */
int x509_issuer(struct span der, struct span *name);
int x509_subject(struct span der, struct span *name);

/* How many authorities may stand between it and a leaf: -1 where it does not say, -2 where that is malformed. */
long x509_path_length(struct span der);

/*
 * Whether a subject alternative name of the certificate is `name`, an address
 * in numbers or a host name, in any case of letters. A first label "*" stands
 * for one label of letters, digits and hyphens in front of at least two others
 * (RFC 9525, 6.3). The subject's common name does not count, an address is no
 * host name, and a certificate with a host name that has a NUL in it, or is a
 * blank, bears no name at all.
 */
bool x509_names(struct span der, const char *name);

/*
 * Prints the host names and addresses among the subject alternative names into
 * out[0..size), NUL-terminated, with `between` between any two. What is in a
 * name and no printable ASCII, or a blank, a comma, a quote or a backslash, is
 * \XX in upper-case hex. Names stay whole: where one does not fit, the list ends
 * in "...". `size` is at least strlen(between) + 4. Returns the length, which
 * is 0 without any such name, or -1 and an empty text where they cannot be read.
 */
long x509_names_text(struct span der, const char *between, char *out, size_t size);

#endif
