/*
 * What is read of certificates, hostile ones among them: names as text, use,
 * parties, the end of their time; and why a chain was refused.
 */
#include "core/x509.h"
#include "core/refusal.h"
#include "core/session.h"
#include "core/validity.h"

#include "derasm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Up to the subject and behind it: who issued it, until when, whose it is, and what extensions it has. */
#define CERT(issuer, until, subject, rest)                                                                             \
	"30( 30( 02(07) 30() 30(" issuer ") 30( 17('700101000000Z') " until ") 30(" subject ") 30() " rest " ) )"
#define FOREVER "18('99991231235959Z')"
#define EXTENSION(id, inside) "30( 06(551d" id ") 04(" inside ") )"
#define EXTENSIONS(list) "a3( 30(" list ") )"
#define NAMES(list) CERT("", FOREVER, "", EXTENSIONS(EXTENSION("11", "30(" list ")")))

static struct span
span(const struct derasm *d)
{
	return (struct span){d->byte, d->n};
}

/* -- names as text --------------------------------------------------------- */

static void
expect_names(const char *source, const char *between, size_t size, const char *expected)
{
	struct derasm d = derasm(source);
	char *out = malloc(size);
	long n;

	assert_non_null(out);
	n = x509_names_text(span(&d), between, out, size);
	if (expected)
		assert_string_equal(out, expected);
	assert_int_equal(n, expected ? (long)strlen(expected) : -1);
	assert_string_equal(out, expected ? expected : "");
	free(out);
}

static void
names_as_text(void **state)
{
	static const struct {
		const char *source, *expected;
	} cases[] = {
	    {NAMES("82('localhost') 87(7f000001)"), "localhost,127.0.0.1"},
	    {NAMES("82('*.Example.ORG')"), "*.Example.ORG"},
	    {NAMES("87(20010db8000000000000000000000001)"), "2001:db8::1"},
	    {NAMES(""), ""},
	    {NAMES("81('a@example.org') 86('http://a/') 88(0102) a4(30()) 82('b')"), "b"},
	    {NAMES("82() 87() 87(7f0000) 87(7f00000100) 82('b')"), "b"},
	    {NAMES("82('a' 00 'b')"), "a\\00b"},
	    {NAMES("82('a' 0a 'b' 0d)"), "a\\0Ab\\0D"},
	    {NAMES("82(1b '[31m')"), "\\1B[31m"},
	    {NAMES("82('a,b' 2c) 82('c')"), "a\\2Cb\\2C,c"},
	    {NAMES("82(' a b ' 22 5c 7f ff c3a4)"), "\\20a\\20b\\20\\22\\5C\\7F\\FF\\C3\\A4"},
	    {NAMES("82('\\00')"), "\\5C00"},
	    {NAMES("82('...')"), "..."},
	    {CERT("", FOREVER, "", ""), ""},
	    {CERT("", FOREVER, "", EXTENSIONS("")), ""},
	    /* Malformed: within the list, behind it, twice there, no list, no certificate. */
	    {NAMES("82('good') 82 05 'ab'"), NULL},
	    {NAMES("82('good') 82 80"), NULL},
	    {NAMES("9f(00)"), NULL},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("11", "30(82('a')) 05()"))), NULL},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("11", "30()") EXTENSION("11", "30()"))), NULL},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("11", "31(82('a'))"))), NULL},
	    {CERT("", FOREVER, "", "a3( 31() )"), NULL},
	    {CERT("", FOREVER, "", "05()"), NULL},
	    {CERT("", FOREVER, "", EXTENSIONS("31()")), NULL},
	    {CERT("", FOREVER, "", EXTENSIONS("30( 05() )")), NULL},
	    {CERT("", FOREVER, "", EXTENSIONS("30( 06(551d0f) 05() )")), NULL},
	    {"30()", NULL},
	    {"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		expect_names(cases[i].source, ",", 256, cases[i].expected);
}

/* Whatever the room, nothing is written beyond it, names stay whole, and what is left out shows. */
static void
names_are_cut(void **state)
{
	static const char three[] = NAMES("82('aaaa') 82('bbbb') 82(00)");

	(void)state;
	expect_names(three, ", ", 32, "aaaa, bbbb, \\00");
	expect_names(three, ",", 18, "aaaa,bbbb,\\00");
	expect_names(three, ",", 17, "aaaa,bbbb,...");
	expect_names(three, ",", 13, "aaaa,...");
	expect_names(three, ", ", 11, "aaaa, ...");
	expect_names(three, ",", 9, "aaaa,...");
	expect_names(three, ",", 8, "...");
	expect_names(three, ",", 5, "...");
	expect_names(NAMES("82('aaaa') 82('bbbbbbbbbbbbbbbbbbbb') 82('c')"), ",", 16, "aaaa,...");
}

static void
a_thousand_names(void **state)
{
	static char source[32768];
	struct derasm d;
	static struct session s;
	size_t n;

	(void)state;
	strcpy(source, "30( 30( 02(07) 30() 30() 30( 17('700101000000Z') 17('261224034200Z') ) 30() 30() a3( 30( 30( "
		       "06(551d11) 04( 30( ");
	for (int i = 0; i < 1000; i++)
		(void)sprintf(source + strlen(source), "82('n%d.test')", i);
	strcat(source, " ) ) ) ) ) ) )");
	d = derasm(source);
	session_set_names(&s, span(&d));
	assert_true(s.has_names);
	assert_string_equal(s.expires, "2026-12-24T03:42:00Z");
	n = strlen(s.names);
	assert_true(n < sizeof s.names && n > sizeof s.names - 20);
	assert_memory_equal(s.names, "n0.test,n1.test,", 16);
	assert_string_equal(s.names + n - 9, ".test,...");
	assert_true(x509_names(span(&d), "n999.test"));
}

static void
names_that_cannot_be_read_are_none(void **state)
{
	struct derasm d = derasm(NAMES("82('good') 82 05 'ab'")), e = derasm(CERT("", "17('x')", "", ""));
	static struct session s;

	(void)state;
	session_set_names(&s, span(&d));
	assert_false(s.has_names);
	assert_string_equal(s.names, "");
	assert_string_equal(s.expires, "");
	session_set_names(&s, span(&e));
	assert_false(s.has_names);
}

/* -- what else is read ----------------------------------------------------- */

static void
ends(void **state)
{
	static const struct {
		const char *until, *expected;
	} cases[] = {
	    {"17('261224034200Z')", "2026-12-24T03:42:00Z"},
	    {"17('491231235959Z')", "2049-12-31T23:59:59Z"},
	    {"17('500101000000Z')", "1950-01-01T00:00:00Z"},
	    {"18('20500101000000Z')", "2050-01-01T00:00:00Z"},
	    {FOREVER, "9999-12-31T23:59:59Z"},
	    {"17('2612240342Z')", NULL},
	    {"17('261224034200+')", NULL},
	    {"17('26122403420' 0a 'Z')", NULL},
	    {"18('20261324000000Z')", NULL},
	    {"", NULL},
	};
	char out[VALIDITY_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char source[512];
		struct derasm d;

		(void)snprintf(source, sizeof source,
		    "30( 30( 02(07) 30() 30() 30( 17('700101000000Z') %s ) 30() 30() ) )", cases[i].until);
		d = derasm(source);
		assert_int_equal(validity_until(span(&d), out), cases[i].expected ? 0 : -1);
		if (cases[i].expected)
			assert_string_equal(out, cases[i].expected);
	}
}

/* Bits of a key usage, and of what basic constraints make an authority. */
static void
uses(void **state)
{
	static const struct {
		const char *source;
		bool handshakes, certificates, authority;
	} cases[] = {
	    {CERT("", FOREVER, "", ""), true, true, false},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("0f", "03(0780)"))), true, false, false},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("0f", "03(0520)"))), false, false, false},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("0f", "03(0204)"))), false, true, false},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("0f", "03(00)"))), false, false, false},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("0f", "05()"))), false, false, false},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(01(ff))"))), true, true, true},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(01(00))"))), true, true, false},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30()"))), true, true, false},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(01())"))), true, true, false},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(01(ff))") EXTENSION("0f", "03(0780)"))), true, false,
		false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct derasm d = derasm(cases[i].source);

		assert_int_equal(x509_signs_handshakes(span(&d)), cases[i].handshakes);
		assert_int_equal(x509_signs_certificates(span(&d)), cases[i].certificates);
		assert_int_equal(x509_authority(span(&d)), cases[i].authority);
	}
}

/* What a certificate may be for, and how many authorities may stand below it: -1: any number, -2: it cannot be read. */
static void
purposes_and_lengths(void **state)
{
	static const struct {
		const char *source;
		bool servers, clients;
		long length;
	} cases[] = {
	    {CERT("", FOREVER, "", ""), true, true, -1},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("25", "30(06(2b06010505070301))"))), true, false, -1},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("25", "30(06(2a) 06(2b06010505070302))"))), false, true, -1},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("25", "31(06(2b06010505070301))"))), false, false, -1},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("25", "30(05() 06(2b06010505070301))"))), false, false, -1},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(01(ff))"))), true, true, -1},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(01(ff) 02(7f))"))), true, true, 127},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(02(00))"))), true, true, 0},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(01(ff) 02(80))"))), true, true, -2},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(01(ff) 02(0001))"))), true, true, -2},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "30(01(ff) 05())"))), true, true, -2},
	    {CERT("", FOREVER, "", EXTENSIONS(EXTENSION("13", "05()"))), true, true, -2},
	    {"30()", false, false, -2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct derasm d = derasm(cases[i].source);

		assert_int_equal(x509_purpose(span(&d), true), cases[i].servers);
		assert_int_equal(x509_purpose(span(&d), false), cases[i].clients);
		assert_int_equal(x509_path_length(span(&d)), cases[i].length);
	}
}

static void
parties(void **state)
{
	struct derasm d = derasm(CERT("'from'", FOREVER, "'whose'", "")), cut = derasm("30( 30( 02(07) 30() ) )");
	struct span name;

	(void)state;
	assert_int_equal(x509_issuer(span(&d), &name), 0);
	assert_int_equal(name.n, 4);
	assert_memory_equal(name.p, "from", 4);
	assert_int_equal(x509_subject(span(&d), &name), 0);
	assert_int_equal(name.n, 5);
	assert_memory_equal(name.p, "whose", 5);
	assert_int_equal(x509_issuer(span(&cut), &name), -1);
	assert_int_equal(x509_subject(span(&cut), &name), -1);
}

/* -- refusals -------------------------------------------------------------- */

#define AUTHORITY EXTENSION("13", "30(01(ff))")
#define LEAF(issuer) CERT("'" issuer "'", FOREVER, "'leaf'", "")
#define CA(issuer, subject) CERT("'" issuer "'", FOREVER, "'" subject "'", EXTENSIONS(AUTHORITY))

static const struct {
	const char *what, *chain[4], *anchors[2];
	size_t anchor; /* where it ends */
	enum refusal why;
} refusals[] = {
    {"nothing", {NULL}, {CA("r", "r")}, 1, REFUSAL_UNKNOWN},
    {"no anchor", {LEAF("r")}, {NULL}, 0, REFUSAL_UNKNOWN},
    {"another", {LEAF("x")}, {CA("r", "r")}, 1, REFUSAL_UNKNOWN},
    {"itself", {LEAF("leaf")}, {CA("r", "r")}, 1, REFUSAL_SELF_SIGNED},
    {"itself, an anchor", {LEAF("leaf")}, {LEAF("leaf")}, 0, REFUSAL_SIGNATURE},
    {"all is well", {LEAF("r")}, {CA("x", "x"), CA("r", "r")}, 1, REFUSAL_SIGNATURE},
    {"by a middle", {LEAF("m"), CA("r", "m")}, {CA("r", "r")}, 0, REFUSAL_SIGNATURE},
    {"in disorder", {LEAF("m"), CA("r", "l"), CA("l", "m")}, {CA("r", "r")}, 0, REFUSAL_SIGNATURE},
    {"in a circle", {LEAF("m"), CA("l", "m"), CA("m", "l")}, {CA("r", "r")}, 1, REFUSAL_UNKNOWN},
    {"middle without its issuer", {LEAF("m"), CA("x", "m"), CA("x", "x")}, {CA("r", "r")}, 1, REFUSAL_UNKNOWN},
    {"middle is none", {LEAF("m"), CERT("'r'", FOREVER, "'m'", "")}, {CA("r", "r")}, 0, REFUSAL_NO_CA},
    {"anchor is none", {LEAF("r")}, {CERT("'r'", FOREVER, "'r'", "")}, 0, REFUSAL_NO_CA},
    {"the better anchor", {LEAF("r")}, {CERT("'r'", FOREVER, "'r'", ""), CA("r", "r")}, 1, REFUSAL_SIGNATURE},
    {"path length", {LEAF("m"), CA("r", "m")},
	{CERT("'r'", FOREVER, "'r'", EXTENSIONS(EXTENSION("13", "30(01(ff) 02(00))")))}, 0, REFUSAL_PATH},
    {"just within it", {LEAF("r")}, {CERT("'r'", FOREVER, "'r'", EXTENSIONS(EXTENSION("13", "30(01(ff) 02(00))")))}, 0,
	REFUSAL_SIGNATURE},
    {"for clients", {CERT("'r'", FOREVER, "'leaf'", EXTENSIONS(EXTENSION("25", "30(06(2b06010505070302))")))},
	{CA("r", "r")}, 0, REFUSAL_USAGE},
    {"may not sign", {CERT("'r'", FOREVER, "'leaf'", EXTENSIONS(EXTENSION("0f", "03(0520)")))}, {CA("r", "r")}, 0,
	REFUSAL_USAGE},
    {"over", {CERT("'r'", "17('800101000000Z')", "'leaf'", "")}, {CA("r", "r")}, 0, REFUSAL_EXPIRED},
    {"anchor over", {LEAF("r")}, {CERT("'r'", "17('800101000000Z')", "'r'", EXTENSIONS(AUTHORITY))}, 0,
	REFUSAL_EXPIRED},
    {"malformed", {"30()"}, {CA("r", "r")}, 1, REFUSAL_UNKNOWN},
};

static size_t
assemble(const char *const *sources, size_t most, struct derasm *d, struct span *v)
{
	size_t n = 0;

	for (; n < most && sources[n]; n++) {
		d[n] = derasm(sources[n]);
		v[n] = span(&d[n]);
	}
	return n;
}

static void
refused_chains(void **state)
{
	static struct derasm d[4], e[2];
	struct span chain[4], anchors[2];
	const int64_t now = 1800000000;

	(void)state;
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		struct refused_chain c = {chain, anchors, assemble(refusals[i].chain, 4, d, chain),
		    assemble(refusals[i].anchors, 2, e, anchors), true, now};
		size_t anchor;
		enum refusal why = refusal_of_chain(&c, &anchor);

		if (why != refusals[i].why || anchor != refusals[i].anchor)
			fail_msg("%s: %s, anchor %zu", refusals[i].what, refusal_text(why, true), anchor);
		c.now = -1;
		if (why == REFUSAL_SIGNATURE || why == REFUSAL_EXPIRED)
			assert_int_equal(refusal_of_chain(&c, &anchor), REFUSAL_EARLY);
	}
}

/* Every reason has words, and those of a wrong name are printable and fit, whatever is in it. */
static void
words(void **state)
{
	struct derasm d = derasm(NAMES("82('a' 0a 'b') 87(7f000001)")), none = derasm(NAMES("81('a@b')"));
	char out[REFUSAL_SIZE], name[2000];

	(void)state;
	assert_null(refusal_text(REFUSAL_NONE, true));
	for (int why = REFUSAL_EXPIRED; why <= REFUSAL_NAME; why++)
		assert_true(refusal_text((enum refusal)why, true)[0] && refusal_text((enum refusal)why, false)[0]);
	assert_string_not_equal(refusal_text(REFUSAL_USAGE, true), refusal_text(REFUSAL_USAGE, false));
	refusal_name(span(&d), "c.example", out);
	assert_string_equal(out, "it is not for c.example, but for a\\0Ab, 127.0.0.1");
	refusal_name(span(&none), "c\n\x80.example", out);
	assert_string_equal(out, "it is not for c??.example, and bears no name");
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	refusal_name(span(&d), name, out);
	assert_string_equal(strchr(out, ','), ", but for a\\0Ab, 127.0.0.1");
	assert_int_equal(strchr(out, ',') - strchr(out, 'x'), 253);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_as_text),
	    cmocka_unit_test(names_are_cut),
	    cmocka_unit_test(a_thousand_names),
	    cmocka_unit_test(names_that_cannot_be_read_are_none),
	    cmocka_unit_test(ends),
	    cmocka_unit_test(uses),
	    cmocka_unit_test(purposes_and_lengths),
	    cmocka_unit_test(parties),
	    cmocka_unit_test(refused_chains),
	    cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
