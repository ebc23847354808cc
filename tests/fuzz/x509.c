/*
 * Fuzzes what is read of a certificate's extensions. The input is a
 * certificate; and, wrapped into one that is good, the contents of each of the
 * extensions, so that what is inside is reached at once.
 */
#include "core/x509.h"

#include "fuzz.h"

#include <string.h>

static const enum x509_extension kinds[] = {
    X509_KEY_USAGE, X509_ALT_NAME, X509_BASIC_CONSTRAINTS, X509_NAME_CONSTRAINTS, X509_EXTENDED_KEY_USAGE};
static const char *const names[] = {"a", "www.example.org", "*.example.org", "192.0.2.1", "::1", ".", "..", ""};

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
	(void)x509_signs_certificates(der);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		(void)x509_names(der, names[i]);
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
