/*
 * Files that hold keys and certificates, and files that do not; and the times
 * in a certificate.
 */
#include "core/credentials.h"
#include "core/validity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK(label, body) "-----BEGIN " label "-----\n" body "\n-----END " label "-----\n"
#define CERT(body) BLOCK("CERTIFICATE", body)

static struct span
text(const char *s)
{
	return (struct span){(const unsigned char *)s, strlen(s)};
}

static void
keys(void **state)
{
	static const struct {
		const char *file, *der, *why; /* why: NULL for a key */
	} cases[] = {
	    {BLOCK("PRIVATE KEY", "QUJD"), "ABC", NULL},
	    {BLOCK("RSA PRIVATE KEY", "QUJD"), "ABC", NULL},
	    {BLOCK("EC PRIVATE KEY", "QUJD"), "ABC", NULL},
	    {BLOCK("EC PARAMETERS", "WFla") BLOCK("EC PRIVATE KEY", "QUJD"), "ABC", NULL},
	    {CERT("WFla") BLOCK("PRIVATE KEY", "QUJD") CERT("WFla"), "ABC", NULL},
	    {BLOCK("PRIVATE KEY", "QUJD") BLOCK("PRIVATE KEY", "WFla"), "ABC", NULL},
	    {"0\001x", "0\001x", NULL},
	    {BLOCK("ENCRYPTED PRIVATE KEY", "QUJD"), NULL, "passphrase"},
	    {BLOCK("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nQUJD"), NULL, "passphrase"},
	    {CERT("WFla"), NULL, "no private key in it"},
	    {"", NULL, "the file is empty"},
	    {"junk", NULL, "no private key in it"},
	    {"-----BEGIN PRIVATE KEY-----\nQUJD\n", NULL, "malformed PEM"},
	    {BLOCK("PRIVATE KEY", "Q!JD"), NULL, "malformed PEM"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fault f = {0};
		struct blob key;
		int got = credentials_key(text(cases[i].file), "KEYFILE k", &key, &f);

		assert_int_equal(got, cases[i].why ? -1 : 0);
		if (cases[i].why) {
			assert_int_equal(f.code, FAULT_CONTEXT);
			assert_memory_equal(f.text, "KEYFILE k: ", 11);
			assert_non_null(strstr(f.text, cases[i].why));
			continue;
		}
		assert_int_equal(key.n, strlen(cases[i].der));
		assert_memory_equal(key.p, cases[i].der, key.n);
		assert_string_equal(key.name, "KEYFILE k");
		blob_wipe(&key);
		assert_null(key.p);
	}
}

static void
certificates(void **state)
{
	static const struct {
		const char *file;
		long n;
	} cases[] = {
	    {CERT("QUJD"), 1},
	    {"text\n" CERT("QUJD") "more\r\n" CERT("WFla") BLOCK("X509 CERTIFICATE", "QUJD"), 3},
	    {BLOCK("PRIVATE KEY", "QUJD") CERT("QUJD"), 1},
	    {"0\001x", 1},
	    {"0\x82\x02\x01 cut", 1},
	    {"0 is a digit", 0},
	    {"", 0},
	    {"README", 0},
	    {BLOCK("X509 CRL", "QUJD"), 0},
	    {CERT("QUJD") "-----BEGIN CERTIFICATE-----\n", -1},
	    {CERT("Q=="), -1},
	    {BLOCK("TRUSTED CERTIFICATE", "QUJD"), -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct blobs list = {0};
		struct fault f = {0};

		assert_int_equal(credentials_certs(text(cases[i].file), "CAFILE f", &list, &f), cases[i].n);
		if (cases[i].n < 0) {
			assert_int_equal(f.code, FAULT_CONTEXT);
			assert_memory_equal(f.text, "CAFILE f: ", 10);
		} else {
			assert_int_equal(list.n, cases[i].n);
			/* A second file's come behind. */
			assert_int_equal(credentials_certs(text(CERT("WFla")), "CAFILE g", &list, &f), 1);
			assert_int_equal(list.n, cases[i].n + 1);
			assert_memory_equal(list.v[list.n - 1].p, "XYZ", 3);
			assert_string_equal(list.v[list.n - 1].name, "CAFILE g");
		}
		blobs_wipe(&list);
		assert_int_equal(list.n, 0);
	}
}

/* The frame of a certificate up to its validity: version, serial, algorithm, issuer, then the two times. */
static size_t
frame(unsigned char *out, bool version, const char *from, const char *to)
{
	unsigned char body[128], *p = body;
	const char *times[] = {from, to};

	if (version) {
		memcpy(p, "\xa0\x03\x02\x01\x02", 5);
		p += 5;
	}
	memcpy(p, "\x02\x01\x01\x30\x00\x30\x00", 7);
	p += 7;
	*p++ = 0x30;
	*p++ = (unsigned char)(4 + strlen(from) + strlen(to));
	for (int i = 0; i < 2; i++) {
		*p++ = strlen(times[i]) > 13 ? 0x18 : 0x17;
		*p++ = (unsigned char)strlen(times[i]);
		memcpy(p, times[i], strlen(times[i]));
		p += strlen(times[i]);
	}
	out[0] = 0x30;
	out[1] = (unsigned char)(p - body + 2);
	out[2] = 0x30;
	out[3] = (unsigned char)(p - body);
	memcpy(out + 4, body, (size_t)(p - body));
	return (size_t)(p - body) + 4;
}

static void
times(void **state)
{
	static const struct {
		const char *from, *to;
		int64_t now;
		enum validity is;
	} cases[] = {
	    {"700101000000Z", "700101000001Z", 0, VALIDITY_GOOD},
	    {"700101000000Z", "700101000001Z", 1, VALIDITY_GOOD},
	    {"700101000000Z", "700101000001Z", 2, VALIDITY_EXPIRED},
	    {"700101000000Z", "700101000001Z", -1, VALIDITY_EARLY},
	    {"000229120000Z", "20500101000000Z", 951825600, VALIDITY_GOOD},
	    {"000229120000Z", "20500101000000Z", 951825599, VALIDITY_EARLY},
	    {"491231235959Z", "99991231235959Z", 2524607999, VALIDITY_GOOD},
	    {"491231235959Z", "99991231235959Z", 2524607998, VALIDITY_EARLY},
	    {"240101000000Z", "241231235959Z", 1735689599, VALIDITY_GOOD},
	    {"240101000000Z", "241231235959Z", 1735689600, VALIDITY_EXPIRED},
	    {"500101000000Z", "700101000000Z", -1, VALIDITY_GOOD},
	    {"00000101000000Z", "700101000000Z", -62167219200, VALIDITY_GOOD},
	    {"00000101000000Z", "700101000000Z", -62167219201, VALIDITY_EARLY},
	    {"7001010000Z", "700101000001Z", 0, VALIDITY_UNKNOWN},
	    {"700101000000+", "700101000001Z", 0, VALIDITY_UNKNOWN},
	    {"70x101000000Z", "700101000001Z", 0, VALIDITY_UNKNOWN},
	    {"701301000000Z", "700101000001Z", 0, VALIDITY_UNKNOWN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (int version = 0; version < 2; version++) {
			unsigned char der[160];
			size_t n = frame(der, version, cases[i].from, cases[i].to);

			assert_int_equal(validity_at((struct span){der, n}, cases[i].now), cases[i].is);
			for (size_t cut = 0; cut < n; cut++)
				assert_int_equal(validity_at((struct span){der, cut}, cases[i].now), VALIDITY_UNKNOWN);
		}
}

/* Where the two times ought to be, there is something else. */
static void
no_times(void **state)
{
	static const unsigned char sources[][16] = {
	    {0x30, 9, 0x30, 7, 0x02, 1, 1, 0x30, 0, 0x30, 0},
	    {0x30, 9, 0x30, 7, 0x04, 1, 1, 0x30, 0, 0x30, 0},
	    {0x30, 11, 0x30, 9, 0x02, 1, 1, 0x30, 0, 0x30, 0, 0x31, 0},
	};
	char out[VALIDITY_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
		struct span der = {sources[i], sources[i][1] + 2u};

		assert_int_equal(validity_at(der, 0), VALIDITY_UNKNOWN);
		assert_int_equal(validity_until(der, out), -1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keys),
	    cmocka_unit_test(certificates),
	    cmocka_unit_test(times),
	    cmocka_unit_test(no_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
