/*
 * Fuzzes what is read of a certificate's extensions. The input is a
 * certificate; and, wrapped into one that is good, the contents of each of the
 * extensions, so that what is inside is reached at once.
 */
#include "core/x509.h"
#include "core/dn.h"
#include "core/refusal.h"
#include "core/session.h"

#include "fuzz.h"

#include <stdio.h>
#include <string.h>

static const enum x509_extension kinds[] = {
    X509_KEY_USAGE, X509_ALT_NAME, X509_BASIC_CONSTRAINTS, X509_NAME_CONSTRAINTS, X509_EXTENDED_KEY_USAGE};
static const char *const names[] = {"a", "www.example.org", "*.example.org", "192.0.2.1", "::1", ".", "..", ""};

/* Whatever room there is, the text keeps to it, has nothing that a log must not have, and says when it was cut. */
static void
check_text(struct span der, size_t size)
{
	char *out = malloc(size), *whole = malloc(3 * der.n + 5 + 40 * der.n);
	long n, all;

	CHECK(out != NULL && whole != NULL);
	n = x509_names_text(der, ",", out, size);
	all = x509_names_text(der, ",", whole, 3 * der.n + 5 + 40 * der.n);
	CHECK((n < 0) == (all < 0) && strlen(out) == (n < 0 ? 0 : (size_t)n) && (n < 0 || (size_t)n < size));
	CHECK(printable(out) && printable(whole) && !strpbrk(whole, " \""));
	CHECK(n < 0 || strcmp(out, whole) == 0 || (n >= 3 && strcmp(out + n - 3, "...") == 0));
	CHECK(n < 4 || strcmp(out, whole) == 0 || strncmp(out, whole, (size_t)n - 3) == 0);
	free(out);
	free(whole);
}

/* What is composed of it for people. */
static void
check_refusal(struct span der)
{
	char text[REFUSAL_SIZE];
	struct refused_chain c = {&der, &der, 1, 1, true, 0};
	size_t anchor;

	refusal_name(der, "www.example.org", text);
	CHECK(printable(text) && strncmp(text, "it is not for www.example.org, ", 31) == 0);
	CHECK(refusal_text(refusal_of_chain(&c, &anchor), true) && anchor == 0);
	c.anchors_n = 0;
	CHECK(refusal_text(refusal_of_chain(&c, &anchor), true) && anchor == 0);
	CHECK(refusal_of_leaf(der, true, NULL) ==
	      (x509_purpose(der, true) && x509_signs_handshakes(der) ? REFUSAL_NONE : REFUSAL_USAGE));
}

/* What an honest engine tells of a peer with it is believed. */
static void
check_session(struct span der)
{
	static struct session s, again;
	static unsigned char packed[SESSION_MAX];
	long n;

	session_clear(&s);
	strcpy(s.protocol, "TLSv1.3");
	strcpy(s.cipher, "TLS_X");
	(void)sprintf(s.hash, "SHA256:%064d", 0);
	if (dn_subject(der, s.subject, sizeof s.subject) < 0)
		return;
	s.has_peer = true;
	session_set_names(&s, der);
	CHECK((n = session_pack(&s, packed, sizeof packed)) > 0);
	CHECK(session_unpack((struct span){packed, (size_t)n}, &again) == 0 && again.has_names == s.has_names);
	CHECK(strcmp(again.subject, s.subject) == 0 && strcmp(again.names, s.names) == 0);
}

/* No answer depends on anything but the bytes, and what is found is among them. */
static void
check(struct span der)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct span value = {0};
		int found = x509_extension(der, kinds[i], &value);

		CHECK(found >= -1 && found <= 1);
		CHECK(found != 1 || (value.p >= der.p && value.p + value.n <= der.p + der.n));
		if (kinds[i] == X509_ALT_NAME && found != 1)
			CHECK(!x509_names(der, "www.example.org"));
		if (kinds[i] == X509_EXTENDED_KEY_USAGE && found == -1)
			CHECK(!x509_purpose(der, true) && !x509_purpose(der, false));
	}
	CHECK(x509_path_length(der) >= -2 && x509_path_length(der) <= 127);
	CHECK(!x509_authority(der) || x509_signs_certificates(der));
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		(void)x509_names(der, names[i]);
	for (size_t size = 5; size < 60; size += 11)
		check_text(der, size);
	check_refusal(der);
	check_session(der);
}

/* The bytes, 60 at most, as the value of the extension. */
static void
check_wrapped(const uint8_t *p, size_t n, enum x509_extension kind)
{
	const unsigned char s = (unsigned char)n;
	const unsigned char head[] = {0x30, s + 28, 0x30, s + 26, 2, 1, 7, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0,
	    0xa3, s + 11, 0x30, s + 9, 0x30, s + 7, 6, 3, 0x55, 0x1d, (unsigned char)kind, 4, s};
	unsigned char der[sizeof head + 60];
	struct span value;

	_Static_assert(sizeof head == 30, "the lengths in head count on it");
	memcpy(der, head, sizeof head);
	memcpy(der + sizeof head, p, n);
	CHECK(x509_extension((struct span){der, sizeof head + n}, kind, &value) == 1 && value.n == n);
	check((struct span){der, sizeof head + n});
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	check((struct span){data, n});
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds && n <= 60; i++)
		check_wrapped(data, n, kinds[i]);
	return 0;
}
