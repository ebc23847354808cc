/*
 * The subject of a certificate as text (RFC 4514), the same on every backend
 * because no backend is asked. The certificate comes from a peer: anything may
 * be in it.
 */
#ifndef CORE_DN_H
#define CORE_DN_H

#include "core/span.h"

/*
 * Prints the subject of the X.509 certificate `der` into out[0..size), NUL
 * terminated: last RDN first, the nine keywords of RFC 4514 section 3, other
 * types as OID=#hex, multi-valued RDNs in their order, joined by '+'. Everything outside
 * printable ASCII is \XX (upper-case hex of the UTF-8), so that the text is
 * unambiguous and fit for an environment variable or a log. Values of string
 * types that have no clear translation to UTF-8 are #hex of their DER. Arcs of
 * an OID are exact up to 133 bits, which a UUID needs; beyond is malformed.
 * Returns the text's length without the NUL, or -1 when the certificate is not
 * well formed up to its subject (the rest is not looked at) or the text does
 * not fit: it is never cut, and out is then the empty text.
 */
long dn_subject(struct span der, char *out, size_t size);

#endif
