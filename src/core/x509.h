/*
 * What a certificate says of its own use (RFC 5280, 4.2.1), for engines whose
 * library does not judge it. The signature is not looked at: only ask of a
 * certificate that was verified. It comes from a peer: anything may be in it.
 */
#ifndef CORE_X509_H
#define CORE_X509_H

#include "core/span.h"

#include <stdbool.h>

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

/* How many authorities may stand between it and a leaf: -1 where it does not say, -2 where that is malformed. */
long x509_path_length(struct span der);

/*
 * Whether a subject alternative name of the certificate is `name`, an address
 * in numbers or a host name. A first label "*" stands for one label in front
 * of at least two others. The subject's common name does not count (RFC 9525).
 */
bool x509_names(struct span der, const char *name);

#endif
