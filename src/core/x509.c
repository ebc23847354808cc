/*
 * Walks to the extensions of a certificate and reads five of them.
 */
#include "core/x509.h"

#include "core/address.h"
#include "core/der.h"

#include <string.h>
#include <strings.h>

enum {
	BOOLEAN = 0x01,
	BIT_STRING = 0x03,
	OCTET_STRING = 0x04,
	UNIQUE_ISSUER = 0x81, /* RFC 5280, 4.1: both are IMPLICIT BIT STRING */
	UNIQUE_SUBJECT = 0x82,
	EXTENSIONS = 0xa3,
	DNS_NAME = 0x82, /* RFC 5280, 4.2.1.6 */
	IP_ADDRESS = 0x87,
};

/* The bit of keyCertSign in the first octet of a key usage (RFC 5280, 4.2.1.3). */
#define KEY_CERT_SIGN 0x04

/* Returns 1 and the list of extensions, 0 when there is none, -1 when the certificate is malformed before. */
static int
extensions(struct span der, struct span *list)
{
	static const unsigned before[] = {
	    DER_INTEGER,  /* serialNumber */
	    DER_SEQUENCE, /* signature */
	    DER_SEQUENCE, /* issuer */
	    DER_SEQUENCE, /* validity */
	    DER_SEQUENCE, /* subject */
	    DER_SEQUENCE, /* subjectPublicKeyInfo */
	};
	struct span certificate, tbs, skipped, outer;

	if (der_expect(&der, DER_SEQUENCE, &certificate) < 0 || der_expect(&certificate, DER_SEQUENCE, &tbs) < 0)
		return -1;
	(void)der_expect(&tbs, DER_CONTEXT_0, &skipped); /* version, absent in the first */
	for (size_t i = 0; i < sizeof before / sizeof *before; i++)
		if (der_expect(&tbs, before[i], &skipped) < 0)
			return -1;
	(void)der_expect(&tbs, UNIQUE_ISSUER, &skipped);
	(void)der_expect(&tbs, UNIQUE_SUBJECT, &skipped);
	if (tbs.n == 0)
		return 0;
	if (der_expect(&tbs, EXTENSIONS, &outer) < 0 || der_expect(&outer, DER_SEQUENCE, list) < 0)
		return -1;
	return 1;
}

int
x509_extension(struct span der, enum x509_extension which, struct span *value)
{
	const unsigned char wanted[] = {0x55, 0x1d, (unsigned char)which};
	struct span list, one, oid, critical, inside;
	int found = extensions(der, &list);

	if (found <= 0)
		return found;
	for (found = 0; list.n > 0;) {
		if (der_expect(&list, DER_SEQUENCE, &one) < 0 || der_expect(&one, DER_OID, &oid) < 0)
			return -1;
		(void)der_expect(&one, BOOLEAN, &critical);
		if (der_expect(&one, OCTET_STRING, &inside) < 0)
			return -1;
		if (oid.n != sizeof wanted || memcmp(oid.p, wanted, sizeof wanted) != 0)
			continue;
		if (found++)
			return -1;
		*value = inside;
	}
	return found;
}

bool
x509_purpose(struct span der, bool server)
{
	/* id-kp-serverAuth and id-kp-clientAuth (RFC 5280, 4.2.1.12). */
	const unsigned char wanted[] = {0x2b, 6, 1, 5, 5, 7, 3, server ? 1 : 2};
	struct span value, list, oid;
	int found = x509_extension(der, X509_EXTENDED_KEY_USAGE, &value);

	if (found <= 0)
		return found == 0;
	if (der_expect(&value, DER_SEQUENCE, &list) < 0)
		return false;
	while (der_expect(&list, DER_OID, &oid) == 0)
		if (oid.n == sizeof wanted && memcmp(oid.p, wanted, sizeof wanted) == 0)
			return true;
	return false;
}

bool
x509_signs_certificates(struct span der)
{
	struct span value, bits;
	int found = x509_extension(der, X509_KEY_USAGE, &value);

	if (found <= 0)
		return found == 0;
	/* The first octet of a BIT STRING counts unused bits. */
	return der_expect(&value, BIT_STRING, &bits) == 0 && bits.n > 1 && bits.p[1] & KEY_CERT_SIGN;
}

long
x509_path_length(struct span der)
{
	struct span value, inside, authority, length;
	int found = x509_extension(der, X509_BASIC_CONSTRAINTS, &value);

	if (found <= 0)
		return found == 0 ? -1 : -2;
	if (der_expect(&value, DER_SEQUENCE, &inside) < 0)
		return -2;
	(void)der_expect(&inside, BOOLEAN, &authority);
	if (inside.n == 0)
		return -1;
	if (der_expect(&inside, DER_INTEGER, &length) < 0 || length.n != 1 || length.p[0] > 0x7f)
		return -2;
	return length.p[0];
}

/* -- names --------------------------------------------------------------- */

static bool
same(const struct span *pattern, const char *name, size_t n)
{
	return pattern->n == n && strncasecmp((const char *)pattern->p, name, n) == 0;
}

static bool
host_matches(struct span pattern, const char *name)
{
	const char *rest = strchr(name, '.');

	if (memchr(pattern.p, '\0', pattern.n))
		return false;
	if (same(&pattern, name, strlen(name)))
		return true;
	if (pattern.n < 2 || memcmp(pattern.p, "*.", 2) != 0 || !rest || rest == name || !strchr(rest + 1, '.'))
		return false;
	pattern.p++;
	pattern.n--;
	return same(&pattern, rest, strlen(rest));
}

bool
x509_names(struct span der, const char *name)
{
	struct span value, list, one;
	unsigned char address[16];
	size_t octets = address_parse(name, address);
	unsigned tag;

	if (x509_extension(der, X509_ALT_NAME, &value) != 1 || der_expect(&value, DER_SEQUENCE, &list) < 0)
		return false;
	while (der_next(&list, &tag, &one) == 0) {
		if (octets && tag == IP_ADDRESS && one.n == octets && memcmp(one.p, address, octets) == 0)
			return true;
		if (!octets && tag == DNS_NAME && one.n > 0 && host_matches(one, name))
			return true;
	}
	return false;
}
