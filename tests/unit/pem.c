/*
 * PEM blocks: what is found, every way in which a block can be malformed, and
 * that no decoded byte outlives its block. The source itself is included, so
 * that its memory can be watched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The one allocation that a block makes: must be all zeros when it is freed. */
static struct {
	unsigned char *p;
	size_t n;
	bool fail;
	unsigned live;
} spy;

static void *
spy_malloc(size_t n)
{
	if (spy.fail)
		return NULL;
	assert_int_equal(spy.live, 0);
	spy.p = calloc(1, n);
	assert_non_null(spy.p);
	spy.n = n;
	spy.live++;
	return spy.p;
}

static void
spy_free(void *p)
{
	if (p == NULL)
		return;
	assert_ptr_equal(p, spy.p);
	for (size_t i = 0; i < spy.n; i++)
		assert_int_equal(spy.p[i], 0);
	spy.live--;
	free(p);
}

#define malloc spy_malloc
#define free spy_free
#include "core/pem.c"
#undef malloc
#undef free

#define CERT "-----BEGIN CERTIFICATE-----\n"
#define CERT_END "-----END CERTIFICATE-----\n"
#define KEY "-----BEGIN RSA PRIVATE KEY-----\n"
#define KEY_END "-----END RSA PRIVATE KEY-----\n"
#define L63 "A23456789 B23456789 C23456789 D23456789 E23456789 F23456789 G23"

/* A text and its length, which may hold NULs. */
#define T(s) s, sizeof s - 1

/* want: for each block its label, "!" when encrypted, its bytes in hex; in the end "." or the error. */
static const struct row {
	const char *what, *text;
	size_t n;
	const char *want;
} rows[] = {
    {"nothing", T(""), "."},
    {"a newline", T("\n"), "."},
    {"one block", T(CERT "AQID\n" CERT_END), "CERTIFICATE 010203, ."},
    {"two blocks", T(CERT "AQID\n" CERT_END KEY "BAU=\n" KEY_END), "CERTIFICATE 010203, RSA PRIVATE KEY 0405, ."},
    {"text around", T("subject=x\n" CERT "AQID\n" CERT_END "\nissuer=y\n" CERT "BA==\n" CERT_END "end"),
	"CERTIFICATE 010203, CERTIFICATE 04, ."},
    {"CRLF", T("text\r\n-----BEGIN CERTIFICATE-----\r\nAQID\r\nBAUG\r\n-----END CERTIFICATE-----\r\n"),
	"CERTIFICATE 010203040506, ."},
    {"CR", T("text\r-----BEGIN CERTIFICATE-----\rAQID\r-----END CERTIFICATE-----\r"), "CERTIFICATE 010203, ."},
    {"trailing blanks", T("-----BEGIN CERTIFICATE----- \t\nAQID \t\n-----END CERTIFICATE----- \n"),
	"CERTIFICATE 010203, ."},
    {"no newline at the end", T(CERT "AQID\n-----END CERTIFICATE-----"), "CERTIFICATE 010203, ."},
    {"white space inside", T(CERT "\n A\tQ\n\n\v\fI D\n\n" CERT_END), "CERTIFICATE 010203, ."},
    {"one long line", T(CERT "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8w\n" CERT_END),
	"CERTIFICATE 0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B"
	"2C2D2E2F30, ."},
    {"binary before", T("\0\0\xff\xfe-----\0\n\0-----BEGIN X-----\n" CERT "AQID\n" CERT_END "\0"),
	"CERTIFICATE 010203, ."},
    {"only binary", T("\0\x30\x82\x01\x00\xff"), "."},
    {"the longest label", T("-----BEGIN " L63 "-----\nAQID\n-----END " L63 "-----\n"), L63 " 010203, ."},
    {"a label with the last of ASCII", T("-----BEGIN ~A~-----\nAQID\n-----END ~A~-----\n"), "~A~ 010203, ."},
    {"a label with dashes", T("-----BEGIN A-B-----\nAQID\n-----END A-B-----\n"), "A-B 010203, ."},
    {"BEGIN that is not at the start of a line", T("#" CERT "AQID\n#" CERT_END), "."},
    {"END without BEGIN", T("AQID\n" CERT_END CERT "BA==\n" CERT_END), "CERTIFICATE 04, ."},
    {"END of another before BEGIN", T(KEY_END CERT "BA==\n" CERT_END), "CERTIFICATE 04, ."},

    {"encrypted", T(KEY "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00FF\n\nAQID\n" KEY_END),
	"RSA PRIVATE KEY !010203, ."},
    {"encrypted, CRLF",
	T("-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: X\r\n\r\nAQID\r\n" KEY_END),
	"RSA PRIVATE KEY !010203, ."},
    {"encrypted, other blanks", T(KEY "Proc-Type:\t 4,ENCRYPTED \n \t\nAQID\n" KEY_END), "RSA PRIVATE KEY !010203, ."},
    {"encrypted, no blank", T(KEY "Proc-Type:4,ENCRYPTED\n\nAQID\n" KEY_END), "RSA PRIVATE KEY !010203, ."},
    {"encrypted, not the first header", T(KEY "DEK-Info: X\nProc-Type: 4,ENCRYPTED\n\nAQID\n" KEY_END),
	"RSA PRIVATE KEY !010203, ."},
    {"headers with a folded line", T(KEY "Comment: AQID\n AQID\n\nBA==\n" KEY_END), "RSA PRIVATE KEY 04, ."},
    {"other Proc-Type", T(KEY "Proc-Type: 4,MIC-CLEAR\n\nAQID\n" KEY_END), "RSA PRIVATE KEY 010203, ."},
    {"longer Proc-Type", T(KEY "Proc-Type: 4,ENCRYPTEDX\n\nAQID\n" KEY_END), "RSA PRIVATE KEY 010203, ."},
    {"the flag is the block's own", T(KEY "Proc-Type: 4,ENCRYPTED\n\nAQID\n" KEY_END KEY "BA==\n" KEY_END),
	"RSA PRIVATE KEY !010203, RSA PRIVATE KEY 04, ."},
    {"blank lines in a body without headers", T(CERT "AQID\n\nBAUG\n" CERT_END), "CERTIFICATE 010203040506, ."},

    {"no END line", T(CERT "AQID\n"), "no END line"},
    {"nothing after BEGIN", T(CERT), "no END line"},
    {"BEGIN in a block", T(CERT "AQID\n" CERT "AQID\n" CERT_END), "no END line"},
    {"END not at the start of a line", T(CERT "AQID\n " CERT_END), "no END line"},
    {"labels differ", T(CERT "AQID\n" KEY_END), "END line does not match BEGIN line"},
    {"END label longer", T("-----BEGIN X-----\nAQID\n-----END XY-----\n"), "END line does not match BEGIN line"},
    {"END label shorter", T("-----BEGIN XY-----\nAQID\n-----END X-----\n"), "END line does not match BEGIN line"},
    {"END label in lower case", T(CERT "AQID\n-----END certificate-----\n"), "END line does not match BEGIN line"},
    {"no newline between files", T(CERT "AQID\n-----END CERTIFICATE-----" CERT "AQID\n" CERT_END),
	"END line does not match BEGIN line"},
    {"END without dashes", T(CERT "AQID\n-----END CERTIFICATE\n"), "bad END line"},
    {"END with four dashes", T(CERT "AQID\n-----END CERTIFICATE----\n"), "bad END line"},
    {"END and more", T(CERT "AQID\n-----END CERTIFICATE----- x\n"), "bad END line"},
    {"BEGIN without dashes", T("-----BEGIN CERTIFICATE\nAQID\n" CERT_END), "bad BEGIN line"},
    {"BEGIN and more", T("-----BEGIN CERTIFICATE----- x\nAQID\n" CERT_END), "bad BEGIN line"},
    {"empty label", T("-----BEGIN -----\nAQID\n-----END -----\n"), "bad BEGIN line"},
    {"label too long", T("-----BEGIN " L63 "H-----\nAQID\n-----END " L63 "H-----\n"), "bad BEGIN line"},
    {"NUL in label", T("-----BEGIN A\0B-----\nAQID\n-----END A\0C-----\n"), "bad BEGIN line"},
    {"ESC in label", T("-----BEGIN A\x1b-----\nAQID\n-----END A\x1b-----\n"), "bad BEGIN line"},
    {"NUL first in label", T("-----BEGIN \0A-----\nAQID\n-----END \0A-----\n"), "bad BEGIN line"},
    {"DEL in label", T("-----BEGIN A\x7f-----\nAQID\n-----END A\x7f-----\n"), "bad BEGIN line"},
    {"empty body", T(CERT CERT_END), "empty block"},
    {"blank body", T(CERT " \n\n" CERT_END), "empty block"},
    {"headers and no body", T(KEY "Proc-Type: 4,ENCRYPTED\n\n" KEY_END), "empty block"},
    {"headers up to END", T(KEY "Proc-Type: 4,ENCRYPTED\nAQID\n" KEY_END), "no blank line after headers"},
    {"headers up to the end of text", T(KEY "Proc-Type: 4,ENCRYPTED\n"), "no blank line after headers"},
    {"Proc-Type and the end of text", T(KEY "Proc-Type:"), "no blank line after headers"},
    {"headers after the first line", T(KEY "AQID\nProc-Type: 4,ENCRYPTED\n\nAQID\n" KEY_END), "bad base64"},

    {"not of the alphabet", T(CERT "AQ*D\n" CERT_END), "bad base64"},
    {"NUL in body", T(CERT "AQ\0ID\n" CERT_END), "bad base64"},
    {"URL alphabet", T(CERT "-_-_\n" CERT_END), "bad base64"},
    {"one character", T(CERT "A\n" CERT_END), "bad base64"},
    {"two characters", T(CERT "AQ\n" CERT_END), "bad base64"},
    {"three characters", T(CERT "AQI\n" CERT_END), "bad base64"},
    {"five characters", T(CERT "AQIDB\n" CERT_END), "bad base64"},
    {"one = missing", T(CERT "BA=\n" CERT_END), "bad base64"},
    {"one = too many", T(CERT "BAU==\n" CERT_END), "bad base64"},
    {"three =", T(CERT "B===\n" CERT_END), "bad base64"},
    {"four =", T(CERT "====\n" CERT_END), "bad base64"},
    {"= after a full group", T(CERT "AQID=\n" CERT_END), "bad base64"},
    {"= in the middle", T(CERT "B=A=\n" CERT_END), "bad base64"},
    {"more after =", T(CERT "BA==AQID\n" CERT_END), "bad base64"},
    {"four more =", T(CERT "BAU=====\n" CERT_END), "bad base64"},
    {"bits left over, ==", T(CERT "BB==\n" CERT_END), "bad base64"},
    {"bits left over, =", T(CERT "BAV=\n" CERT_END), "bad base64"},
    {"error in the second block", T(CERT "AQID\n" CERT_END CERT "A\n" CERT_END), "CERTIFICATE 010203, bad base64"},
};

/* Reads all of a text from memory that ends where the text ends, and tells what came, in the words of the table. */
static void
pem_tell(const char *text, size_t n, char *out, size_t size)
{
	unsigned char *copy = n > 0 ? malloc(n) : NULL;
	struct span in = {.p = copy, .n = n};
	struct pem_block b;
	const char *why = ".";
	FILE *f = fmemopen(out, size, "w");
	int r;

	assert_non_null(f);
	if (n > 0) {
		assert_non_null(copy);
		memcpy(copy, text, n);
	}
	memset(&b, 0xff, sizeof b);
	while ((r = pem_next(&in, &b, &why)) == 1) {
		assert_true(b.n > 0);
		assert_ptr_equal(b.der, spy.p);
		fprintf(f, "%s %s", b.label, b.encrypted ? "!" : "");
		for (size_t i = 0; i < b.n; i++)
			fprintf(f, "%02X", b.der[i]);
		fputs(", ", f);
		pem_wipe(&b);
		assert_null(b.der);
	}
	assert_int_equal(r < 0, strcmp(why, ".") != 0);
	assert_null(b.der);
	assert_int_equal(b.n, 0);
	assert_int_equal(spy.live, 0);
	if (r == 0)
		assert_int_equal(in.n, 0);
	fprintf(f, "%s", why);
	fclose(f);
	free(copy);
}

static void
test_table(void **state)
{
	(void)state;
	char got[512];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		pem_tell(rows[i].text, rows[i].n, got, sizeof got);
		if (strcmp(got, rows[i].want) != 0)
			fail_msg("%s: got \"%s\"", rows[i].what, got);
	}
}

/* A block that is cut anywhere is text or an error, never a shorter block. */
static void
test_every_cut(void **state)
{
	(void)state;
	static const char whole[] = KEY "DEK-Info: X\n\nAQIDBAUGBwgJCgsM\nDQ4PEBESExQ=\n-----END RSA PRIVATE KEY-----";
	char got[512];

	for (size_t n = 0; n < sizeof whole - 1; n++) {
		pem_tell(whole, n, got, sizeof got);
		/* The blank at the end of "-----BEGIN " is a trailing one as long as nothing follows. */
		bool block = n > strlen("-----BEGIN ");
		if (strchr(got, ',') != NULL || (strcmp(got, ".") != 0) != block)
			fail_msg("cut at %zu: %s", n, got);
	}
	pem_tell(whole, sizeof whole - 1, got, sizeof got);
	assert_string_equal(got, "RSA PRIVATE KEY 0102030405060708090A0B0C0D0E0F1011121314, .");
}

/* Encodes p with a line end after each `width` characters: written apart from the decoder, to check it. */
static void
encode(FILE *f, const unsigned char *p, size_t n, size_t width)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t column = 0;

	for (size_t bit = 0; bit < (n + 2) / 3 * 24; bit += 6) {
		unsigned value = 0;
		for (size_t i = bit; i < bit + 6; i++)
			value = value << 1 | (i / 8 < n && (p[i / 8] >> (7 - i % 8) & 1));
		fputc(bit / 8 < n ? alphabet[value] : '=', f);
		if (++column % width == 0)
			fputc('\n', f);
	}
	fputc('\n', f);
}

static void
test_decode_undoes_encode(void **state)
{
	(void)state;
	unsigned char bytes[256];
	char text[2048];

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)(255 - i * 37);
	for (size_t n = 1; n <= sizeof bytes; n++) {
		FILE *f = fmemopen(text, sizeof text, "w");
		fputs(CERT, f);
		encode(f, bytes, n, 1 + n % 67);
		fputs(CERT_END, f);
		fclose(f);

		struct span in = {.p = (unsigned char *)text, .n = strlen(text)};
		struct pem_block b;
		const char *why;
		assert_int_equal(pem_next(&in, &b, &why), 1);
		assert_int_equal(b.n, n);
		assert_memory_equal(b.der, bytes, n);
		pem_wipe(&b);
	}
}

/* Each byte at each place of a group: the alphabet is taken, '=' at the end is, nothing else. */
static void
test_every_byte_in_a_group(void **state)
{
	(void)state;
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (int c = 0; c < 256; c++) {
		for (size_t place = 0; place < 4; place++) {
			char text[] = CERT "AAAA\n" CERT_END, got[64];
			text[strlen(CERT) + place] = (char)c;
			pem_tell(text, strlen(CERT "AAAA\n" CERT_END), got, sizeof got);
			bool good = (c != 0 && strchr(alphabet, c) != NULL) || (c == '=' && place == 3);
			if ((strncmp(got, "CERTIFICATE ", 12) == 0) != good)
				fail_msg("byte 0x%02x at %zu: %s", (unsigned)c, place, got);
		}
	}
}

static void
test_out_of_memory(void **state)
{
	(void)state;
	static const char text[] = CERT "AQID\n" CERT_END;
	struct span in = {.p = (const unsigned char *)text, .n = sizeof text - 1};
	struct pem_block b;
	const char *why = NULL;

	spy.fail = true;
	assert_int_equal(pem_next(&in, &b, &why), -1);
	spy.fail = false;
	assert_null(why);
	assert_null(b.der);
	pem_wipe(&b);
}

/* spy_free looks: here once for a block that was given out, once for one that broke off in the middle. */
static void
test_decoded_bytes_are_wiped(void **state)
{
	(void)state;
	static const char text[] = KEY "//////8=\n" KEY_END KEY "////////*\n" KEY_END;
	struct span in = {.p = (const unsigned char *)text, .n = sizeof text - 1};
	struct pem_block b;
	const char *why = NULL;

	assert_int_equal(pem_next(&in, &b, &why), 1);
	assert_memory_equal(b.der, "\xff\xff\xff\xff\xff", 5);
	pem_wipe(&b);
	assert_null(b.der);
	assert_int_equal(b.n, 0);
	assert_string_equal(b.label, "");
	pem_wipe(&b);
	assert_int_equal(pem_next(&in, &b, &why), -1);
	assert_int_equal(spy.live, 0);
}

/* What is written has the form of RFC 7468, just the length that was promised, and reads back as it was. */
static void
test_write(void **state)
{
	(void)state;
	unsigned char bytes[256];
	char text[1024], want[1024];

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)(i * 37 + 251);
	for (size_t n = 1; n <= sizeof bytes; n++) {
		FILE *f = fmemopen(want, sizeof want, "w");
		fputs(KEY, f);
		encode(f, bytes, n, 64);
		long at = ftell(f);
		/* encode ends a full last line twice. */
		if ((n + 2) / 3 % 16 == 0)
			fseek(f, at - 1, SEEK_SET);
		fputs(KEY_END, f);
		fclose(f);

		memset(text, 'x', sizeof text);
		char *end = pem_write("RSA PRIVATE KEY", (struct span){bytes, n}, text);
		assert_int_equal(end - text, pem_length("RSA PRIVATE KEY", n));
		assert_int_equal(*end, 'x');
		assert_int_equal(end - text, strlen(want));
		assert_memory_equal(text, want, strlen(want));

		struct span in = {.p = (unsigned char *)text, .n = (size_t)(end - text)};
		struct pem_block b;
		const char *why;
		assert_int_equal(pem_next(&in, &b, &why), 1);
		assert_int_equal(b.n, n);
		assert_memory_equal(b.der, bytes, n);
		pem_wipe(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_every_cut),
	    cmocka_unit_test(test_decode_undoes_encode),
	    cmocka_unit_test(test_every_byte_in_a_group),
	    cmocka_unit_test(test_out_of_memory),
	    cmocka_unit_test(test_decoded_bytes_are_wiped),
	    cmocka_unit_test(test_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
