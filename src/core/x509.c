/*
 * Walks to the extensions of a certificate and reads five of them.
 */
#include "core/x509.h"

#include "core/address.h"
#include "core/der.h"
#include "core/dnsname.h"

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

/* Bits in the first octet of a key usage (RFC 5280, 4.2.1.3). */
enum { DIGITAL_SIGNATURE = 0x80, KEY_CERT_SIGN = 0x04 };

/* The fields of a certificate behind its version. */
enum field { SERIAL, SIGNATURE, ISSUER, VALIDITY, SUBJECT, KEY, FIELDS };

/* Takes all of them off *tbs, the extensions' list; -1 when malformed. */
static int
fields(struct span der, struct span *tbs, struct span found[FIELDS])
{
	struct span certificate, version;

	if (der_expect(&der, DER_SEQUENCE, &certificate) < 0 || der_expect(&certificate, DER_SEQUENCE, tbs) < 0)
		return -1;
	(void)der_expect(tbs, DER_CONTEXT_0, &version); /* absent in the first */
	for (int i = 0; i < FIELDS; i++)
		if (der_expect(tbs, i == SERIAL ? DER_INTEGER : DER_SEQUENCE, &found[i]) < 0)
			return -1;
	return 0;
}

/* Returns 1 and the list of extensions, 0 when there is none, -1 when the certificate is malformed before. */
static int
extensions(struct span der, struct span *list)
{
	struct span tbs, skipped, outer, before[FIELDS];

	if (fields(der, &tbs, before) < 0)
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

/* Whether there is no key usage, or one with the bit. */
static bool
key_usage(struct span der, unsigned bit)
{
	struct span value, bits;
	int found = x509_extension(der, X509_KEY_USAGE, &value);

	if (found <= 0)
		return found == 0;
	/* The first octet of a BIT STRING counts unused bits. */
	return der_expect(&value, BIT_STRING, &bits) == 0 && bits.n > 1 && bits.p[1] & bit;
}

bool
x509_signs_certificates(struct span der)
{
	return key_usage(der, KEY_CERT_SIGN);
}

bool
x509_signs_handshakes(struct span der)
{
	return key_usage(der, DIGITAL_SIGNATURE);
}

bool
x509_authority(struct span der)
{
	struct span value, inside, authority;

	return x509_extension(der, X509_BASIC_CONSTRAINTS, &value) == 1 &&
	       der_expect(&value, DER_SEQUENCE, &inside) == 0 && der_expect(&inside, BOOLEAN, &authority) == 0 &&
	       authority.n == 1 && authority.p[0] != 0 && x509_signs_certificates(der);
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

int
x509_issuer(struct span der, struct span *name)
{
	struct span tbs, found[FIELDS];

	if (fields(der, &tbs, found) < 0)
		return -1;
	*name = found[ISSUER];
	return 0;
}

int
x509_subject(struct span der, struct span *name)
{
	struct span tbs, found[FIELDS];

	if (fields(der, &tbs, found) < 0)
		return -1;
	*name = found[SUBJECT];
	return 0;
}

/* Whether a wildcard may stand for the name's first label. */
static bool
expandable(const char *name)
{
	const char *rest = strchr(name, '.');
	char lower[DNSNAME_SIZE];

	return rest && strchr(rest + 1, '.') && !strchr(name, '_') &&
	       dnsname_valid((const unsigned char *)name, strlen(name), lower);
}

static bool
host_matches(struct span pattern, const char *name)
{
	const char *rest = strchr(name, '.');

	if (same(&pattern, name, strlen(name)))
		return true;
	if (pattern.n < 2 || memcmp(pattern.p, "*.", 2) != 0 || !expandable(name))
		return false;
	pattern.p++;
	pattern.n--;
	return same(&pattern, rest, strlen(rest));
}

/* A name that is made to be read as another (RFC 5280, 4.2.1.6): who has it is nobody. */
static bool
deceptive(unsigned tag, struct span name)
{
	return tag == DNS_NAME && name.n > 0 && (memchr(name.p, '\0', name.n) || (name.n == 1 && name.p[0] == ' '));
}

/* Returns whether the certificate has a list of names, and what is in it. */
static bool
alternative_names(struct span der, struct span *list)
{
	struct span value;

	return x509_extension(der, X509_ALT_NAME, &value) == 1 && der_expect(&value, DER_SEQUENCE, list) == 0 &&
	       value.n == 0;
}

bool
x509_names(struct span der, const char *name)
{
	struct span list, one;
	unsigned char address[16];
	size_t octets = address_parse(name, address);
	bool found = false;
	unsigned tag;

	if (!alternative_names(der, &list))
		return false;
	while (list.n > 0) {
		if (der_next(&list, &tag, &one) < 0 || deceptive(tag, one))
			return false;
		if (octets && tag == IP_ADDRESS && one.n == octets && memcmp(one.p, address, octets) == 0)
			found = true;
		if (!octets && tag == DNS_NAME && one.n > 0 && host_matches(one, name))
			found = true;
	}
	return found;
}

/* -- names as text ------------------------------------------------------- */

/* A list in the making; at n there is always room for `between`, "..." and a NUL. */
struct names {
	char *out;
	size_t n, most;
	const char *between;
	bool cut;
};

/* Puts what fits; returns whether it was all. */
static bool
put(struct names *l, const char *text, size_t n)
{
	if (n > l->most - l->n)
		return false;
	memcpy(l->out + l->n, text, n);
	l->n += n;
	return true;
}

static bool
put_escaped(struct names *l, struct span name)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = name.p[i];
		const char plain[] = {(char)c}, code[] = {'\\', hex[c >> 4], hex[c & 15]};
		bool fit = c > ' ' && c < 0x7f && c != ',' && c != '"' && c != '\\';

		if (!(fit ? put(l, plain, sizeof plain) : put(l, code, sizeof code)))
			return false;
	}
	return true;
}

static void
put_name(struct names *l, struct span name)
{
	size_t before = l->n;

	if (l->cut || ((before == 0 || put(l, l->between, strlen(l->between))) && put_escaped(l, name)))
		return;
	l->cut = true;
	l->n = before;
	l->most += strlen(l->between) + 3;
	if (before > 0)
		(void)put(l, l->between, strlen(l->between));
	(void)put(l, "...", 3);
}

long
x509_names_text(struct span der, const char *between, char *out, size_t size)
{
	struct names l = {.out = out, .most = size - 1 - strlen(between) - 3, .between = between};
	struct span list = {0}, one, value;
	char address[ADDRESS_SIZE];
	unsigned tag;

	out[0] = '\0';
	if (!alternative_names(der, &list))
		return x509_extension(der, X509_ALT_NAME, &value) == 0 ? 0 : -1;
	while (list.n > 0) {
		if (der_next(&list, &tag, &one) < 0) {
			out[0] = '\0';
			return -1;
		}
		if (tag == DNS_NAME && one.n > 0)
			put_name(&l, one);
		if (tag == IP_ADDRESS && address_print(one.p, one.n, address))
			put_name(&l, (struct span){(const unsigned char *)address, strlen(address)});
	}
	out[l.n] = '\0';
	return (long)l.n;
}
