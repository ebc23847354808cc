/*
 * Subjects as text: one row, one subject, in the language of derasm.h. The
 * certificate around it is the least that is one; some whole and real ones are
 * at the end. Laws: the text can be read back, and is all or nothing.
 */
#include "core/dn.h"

#include "derasm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEXT 8192

/* An RDN of one attribute, by the OID's contents; and common ones. */
#define RDN(oid, value) "31(30(06(" oid ") " value "))"
#define CN(value) RDN("550403", value)
#define O(value) RDN("55040a", value)
#define OU(value) RDN("55040b", value)
#define X(oid) RDN(oid, "0500")

/* want is NULL where the certificate must be refused. */
static const struct row {
	const char *what, *source, *want;
} subjects[] = {
    {"empty", "", ""},
    {"one", CN("0c('alice')"), "CN=alice"},
    {"last first", O("0c('Acme')") CN("0c('alice')"), "CN=alice,O=Acme"},
    {"three", RDN("550406", "13('DE')") O("0c('Acme')") CN("0c('alice')"), "CN=alice,O=Acme,C=DE"},
    {"duplicates", CN("0c('a')") CN("0c('a')") CN("0c('b')"), "CN=b,CN=a,CN=a"},
    {"several attributes in one RDN", O("0c('Acme')") "31(30(06(550403) 0c('a')) 30(06(55040b) 0c('b')))",
	"CN=a+OU=b,O=Acme"},
    {"several attributes in each RDN",
	"31(30(06(550403) 0c('a')) 30(06(550403) 0c('b')) 30(06(550403) 0c('c')))"
	"31(30(06(55040b) 0c('d')) 30(06(55040b) 0c('e')))",
	"OU=d+OU=e,CN=a+CN=b+CN=c"},

    {"CN", RDN("550403", "0c('x')"), "CN=x"},
    {"L", RDN("550407", "0c('x')"), "L=x"},
    {"ST", RDN("550408", "0c('x')"), "ST=x"},
    {"O", RDN("55040a", "0c('x')"), "O=x"},
    {"OU", RDN("55040b", "0c('x')"), "OU=x"},
    {"C", RDN("550406", "0c('x')"), "C=x"},
    {"STREET", RDN("550409", "0c('x')"), "STREET=x"},
    {"DC", RDN("0992268993f22c640119", "16('x')"), "DC=x"},
    {"UID", RDN("0992268993f22c640101", "0c('x')"), "UID=x"},
    {"surname has no keyword", RDN("550404", "0c('x')"), "2.5.4.4=#0C0178"},
    {"serialNumber has no keyword", RDN("550405", "13('7')"), "2.5.4.5=#130137"},
    {"emailAddress has no keyword", RDN("2a864886f70d010901", "16('a@b')"), "1.2.840.113549.1.9.1=#1603614062"},
    {"longer than CN", RDN("55040301", "0c('x')"), "2.5.4.3.1=#0C0178"},
    {"shorter than CN", RDN("5504", "0c('x')"), "2.5.4=#0C0178"},

    {"slash is nothing special", CN("0c('/CN=admin')"), "CN=/CN=admin"},
    {"comma", O("0c('Acme,CN=admin')"), "O=Acme\\,CN=admin"},
    {"plus", CN("0c('a+OU=b')"), "CN=a\\+OU=b"},
    {"all specials", CN("0c('\"+,;<>\\')"), "CN=\\\"\\+\\,\\;\\<\\>\\\\"},
    {"not special", CN("0c('!$%&()*-./:=?@[]^_`{|}~')"), "CN=!$%&()*-./:=?@[]^_`{|}~"},
    {"backslash last", CN("0c('a\\')") O("0c('b')"), "O=b,CN=a\\\\"},
    {"leading space", CN("0c(' a')"), "CN=\\ a"},
    {"trailing space", CN("0c('a ')"), "CN=a\\ "},
    {"inner spaces", CN("0c('a  b')"), "CN=a  b"},
    {"one space", CN("0c(' ')"), "CN=\\ "},
    {"two spaces", CN("0c('  ')"), "CN=\\ \\ "},
    {"three spaces", CN("0c('   ')"), "CN=\\  \\ "},
    {"leading #", CN("0c('#130161')"), "CN=\\#130161"},
    {"inner #", CN("0c('a#')"), "CN=a#"},
    {"space and #", CN("0c(' #')"), "CN=\\ #"},
    {"newline, ESC, DEL", CN("0c('a' 0a 1b 7f)"), "CN=a\\0A\\1B\\7F"},
    {"NUL", CN("0c('admin' 00 '.evil')"), "CN=admin\\00.evil"},
    {"only NUL", CN("0c(00)"), "CN=\\00"},
    {"UTF-8", CN("0c('Zo' c3ab)"), "CN=Zo\\C3\\AB"},
    {"not UTF-8", CN("0c(ff c3)"), "CN=\\FF\\C3"},
    {"empty value", CN("0c()") O("0c()"), "O=,CN="},
    {"text that looks like an escape", CN("0c('\\00')"), "CN=\\\\00"},

    {"UTF8String", CN("0c('1')"), "CN=1"},
    {"NumericString", CN("12('1')"), "CN=1"},
    {"PrintableString", CN("13('1')"), "CN=1"},
    {"IA5String", CN("16('1')"), "CN=1"},
    {"VisibleString", CN("1a('1')"), "CN=1"},
    {"T61String", CN("14('1')"), "CN=#140131"},
    {"VideotexString", CN("15('1')"), "CN=#150131"},
    {"GraphicString", CN("19('1')"), "CN=#190131"},
    {"GeneralString", CN("1b('1')"), "CN=#1B0131"},
    {"INTEGER", CN("02(01)"), "CN=#020101"},
    {"NULL", CN("0500"), "CN=#0500"},
    {"BIT STRING", CN("03(00ab)"), "CN=#030200AB"},
    {"SEQUENCE", CN("30(0c('a'))"), "CN=#30030C0161"},
    {"UTF8String in pieces", CN("2c(0c('a'))"), "CN=#2C030C0161"},
    {"context tag", CN("8c('a')"), "CN=#8C0161"},

    {"BMPString", CN("1e(0041 0042)"), "CN=AB"},
    {"BMPString, empty", CN("1e()"), "CN="},
    {"BMPString, two and three bytes of UTF-8", CN("1e(00eb 20ac)"), "CN=\\C3\\AB\\E2\\82\\AC"},
    {"BMPString, specials", CN("1e(002c 0020 005c 0000)"), "CN=\\, \\\\\\00"},
    {"BMPString, spaces", CN("1e(0020 0020 0020)"), "CN=\\  \\ "},
    {"BMPString, leading #", CN("1e(0023 0023)"), "CN=\\##"},
    {"BMPString, low byte of a comma", CN("1e(2c2c)"), "CN=\\E2\\B0\\AC"},
    {"BMPString, a pair", CN("1e(d83d de00)"), "CN=\\F0\\9F\\98\\80"},
    {"BMPString, a pair and a trailing space", CN("1e(d83d de00 0020)"), "CN=\\F0\\9F\\98\\80\\ "},
    {"BMPString, first and last pair", CN("1e(d800 dc00 dbff dfff)"), "CN=\\F0\\90\\80\\80\\F4\\8F\\BF\\BF"},
    {"BMPString, odd", CN("1e(0041 00)"), "CN=#1E03004100"},
    {"BMPString, high surrogate last", CN("1e(0041 d83d)"), "CN=#1E040041D83D"},
    {"BMPString, high surrogate and half a unit", CN("1e(d83d de)"), "CN=#1E03D83DDE"},
    {"BMPString, high surrogate alone", CN("1e(d83d 0041)"), "CN=#1E04D83D0041"},
    {"BMPString, low surrogate alone", CN("1e(de00 0041)"), "CN=#1E04DE000041"},
    {"BMPString, two high surrogates", CN("1e(d83d d83d de00)"), "CN=#1E06D83DD83DDE00"},
    {"BMPString of no keyword", RDN("550404", "1e(0041)"), "2.5.4.4=#1E020041"},
    {"UniversalString", CN("1c(00000041 000000eb 000020ac 0001f600)"), "CN=A\\C3\\AB\\E2\\82\\AC\\F0\\9F\\98\\80"},
    {"UniversalString, empty", CN("1c()"), "CN="},
    {"UniversalString, last", CN("1c(0010ffff)"), "CN=\\F4\\8F\\BF\\BF"},
    {"UniversalString, beyond", CN("1c(00110000)"), "CN=#1C0400110000"},
    {"UniversalString, far beyond", CN("1c(80000041)"), "CN=#1C0480000041"},
    {"UniversalString, surrogate pair", CN("1c(0000d83d 0000de00)"), "CN=#1C080000D83D0000DE00"},
    {"UniversalString, cut", CN("1c(00000041 000000)"), "CN=#1C0700000041000000"},

    {"OID 0.0", X("00"), "0.0=#0500"},
    {"OID 0.39", X("27"), "0.39=#0500"},
    {"OID 1.0", X("28"), "1.0=#0500"},
    {"OID 1.39", X("4f"), "1.39=#0500"},
    {"OID 2.0", X("50"), "2.0=#0500"},
    {"OID 2.19", X("63"), "2.19=#0500"},
    {"OID 2.20", X("64"), "2.20=#0500"},
    {"OID 2.47", X("7f"), "2.47=#0500"},
    {"OID 2.48", X("8100"), "2.48=#0500"},
    {"OID 2.999", X("8837"), "2.999=#0500"},
    {"OID 2.920, where 80 is borrowed", X("8768"), "2.920=#0500"},
    {"OID with zeros", X("2a000000"), "1.2.0.0.0=#0500"},
    {"OID arc 2^32 - 1", X("2a 8fffffff7f"), "1.2.4294967295=#0500"},
    {"OID arc 2^64 - 1", X("2a 81ffffffffffffffff7f"), "1.2.18446744073709551615=#0500"},
    {"OID arc 2^64", X("2a 82808080808080808000"), "1.2.18446744073709551616=#0500"},
    {"OID of a UUID, 2^128 - 1", X("69 83ffffffffffffffffffffffffffffffffff7f"),
	"2.25.340282366920938463463374607431768211455=#0500"},
    {"OID arc of 19 octets", X("2a ffffffffffffffffffffffffffffffffffff7f"),
	"1.2.10889035741470030830827987437816582766591=#0500"},
    {"OID first arc of 19 octets", X("ffffffffffffffffffffffffffffffffffff7f"),
	"2.10889035741470030830827987437816582766511=#0500"},
    {"OID arc of 20 octets", X("2a 81808080808080808080808080808080808080 00"), NULL},
    {"OID empty", X(""), NULL},
    {"OID cut", X("2a 86"), NULL},
    {"OID cut in the first arc", X("88"), NULL},
    {"OID padded", X("2a 8001"), NULL},
    {"OID padded in the first arc", X("80 55 04 03"), NULL},
    {"CN's OID padded", RDN("5504 8003", "0c('x')"), NULL},

    {"RDN without attribute", "31()", NULL},
    {"RDN without attribute after a good one", CN("0c('a')") "31()", NULL},
    {"RDN is a SEQUENCE", "30(30(06(550403) 0c('a')))", NULL},
    {"attribute is a SET", "31(31(06(550403) 0c('a')))", NULL},
    {"attribute empty", "31(30())", NULL},
    {"attribute without value", "31(30(06(550403)))", NULL},
    {"attribute of three", "31(30(06(550403) 0c('a') 0c('b')))", NULL},
    {"attribute and a byte", "31(30(06(550403) 0c('a') 00))", NULL},
    {"attribute's type is a string", "31(30(0c('CN') 0c('a')))", NULL},
    {"RDN and a byte", "31(30(06(550403) 0c('a')) 00)", NULL},
    {"byte after the RDNs", CN("0c('a')") "00", NULL},
    {"value longer than its attribute", "31(30(06(550403) 0c05 'a'))" CN("0c('abcdef')"), NULL},
    {"value of indefinite length", "31(30(06(550403) 0c80 'a' 0000))", NULL},
    {"value with a padded length", "31(30(06(550403) 0c8101 'a'))", NULL},
    {"value with a tag of two bytes", "31(30(06(550403) 1f1f01 'a'))", NULL},
};

/* Two certificates that openssl and one that Python's cryptography made. */
#define OPENSSL_V1                                                                                                     \
	"3081f43081a70214391d5141384fb852a2da12f5466887be4b950fcc300506032b6570301d310d300b060355040a0c044163"         \
	"6d65310c300a06035504030c03626f62301e170d3236313132333132313333395a170d3336313132303132313333395a301d"         \
	"310d300b060355040a0c0441636d65310c300a06035504030c03626f62302a300506032b6570032100d7c78ac539cf205af0"         \
	"fd2f91526698065c7b259f2c3d87ced14e3bf5741303eb300506032b65700341002805aac4e296b708734049c6cb9605bfa1"         \
	"7b7f9b5960cf5c0cd60b36687380722112a47b78bd3655a903c8b861cbb498a6ab527691bd0cbc825b51dc8ad1ce0e"
#define OPENSSL_BMP                                                                                                    \
	"3082011e3081d1021429b6c4476f58f6df600d291afb90b1006111d621300506032b65703032311f301d060355040b1e1600"         \
	"4b00e4007300650020002b002000420072006f0074310f300d06035504031e06005a006f00eb301e170d3236313132333132"         \
	"313334305a170d3336313132303132313334305a3032311f301d060355040b1e16004b00e4007300650020002b0020004200"         \
	"72006f0074310f300d06035504031e06005a006f00eb302a300506032b6570032100ce27c89b67db1d3fee2f757ba2bbbff3"         \
	"f0c785236dde66eedb2804f6b92f1c12300506032b657003410047461e774f0b7688879b5d686f645ce6f8022cbdf3470ef7"         \
	"a82afdbe2a7af6ebe78136625bdaf4d6d36edda6a8ee245d3d4aa32001a14232a5cfb34a8b522b03"
#define PYTHON_V3                                                                                                      \
	"308201bf30820165a00302010202021234300a06082a8648ce3d0403023011310f300d06035504030c06697373756572301e"         \
	"170d3234303130313030303030305a170d3334303130313030303030305a3081bf310b3009060355040613024445311b3019"         \
	"06035504080c12426164656e2d57c3bc727474656d6265726731273025060355040a0c1e4dc3bc6c6c65722c202253c3b668"         \
	"6e6522202b20436f2e203c783e3b205c31173015060a0992268993f22c64011916076578616d706c653120300c0603550403"         \
	"0c05616c6963653010060a0992268993f22c6401010c0261313120301e06092a864886f70d0109011611616c696365406578"         \
	"616d706c652e6f7267310d300b060355040b0c04202331203059301306072a8648ce3d020106082a8648ce3d030107034200"         \
	"047e065808a6b481987ac537d5ba71f28c1e056cc52ba09714434f01b60f3948dd9461bea622b632bd011e37ba416986c4ec"         \
	"af5e9b1b5664317db503b1d6206728300a06082a8648ce3d04030203480030450221009ac6715958c81b1a07d2cfa9243465"         \
	"466a1d2ac0891b3af02f63523385eccbd202206d91dfdeed4000ebe2a2ac4162625ed03e5580c9e68f86614b20b7d0875eb3"         \
	"94"

#define V3 "a0(020102) 020107"
#define FIELDS " 30() 30() 30() "

static const struct row certificates[] = {
    {"version 3", "30(30(" V3 FIELDS "30(" CN("0c('a')") ") 30()) 30() 03(00))", "CN=a"},
    {"no version", "30(30(020107" FIELDS "30(" CN("0c('a')") ")))", "CN=a"},
    {"the issuer is not the subject", "30(30(" V3 "30() 30(" CN("0c('ca')") ") 30() 30(" CN("0c('a')") ")))", "CN=a"},
    {"openssl, version 1", OPENSSL_V1, "CN=bob,O=Acme"},
    {"openssl, BMPString", OPENSSL_BMP, "CN=Zo\\C3\\AB,OU=K\\C3\\A4se \\+ Brot"},
    {"cryptography", PYTHON_V3,
	"OU=\\ #1\\ ,1.2.840.113549.1.9.1=#1611616C696365406578616D706C652E6F7267,CN=alice+UID=a1,DC=example,"
	"O=M\\C3\\BCller\\, \\\"S\\C3\\B6hne\\\" \\+ Co. \\<x\\>\\; \\\\,ST=Baden-W\\C3\\BCrttemberg,C=DE"},
    {"nothing", "", NULL},
    {"an empty SEQUENCE", "30()", NULL},
    {"an empty tbsCertificate", "30(30())", NULL},
    {"not a SEQUENCE", "31(30(" V3 FIELDS "30()))", NULL},
    {"a tbsCertificate that is a SET", "30(31(" V3 FIELDS "30()))", NULL},
    {"a byte behind", "30(30(" V3 FIELDS "30())) 00", NULL},
    {"two certificates", "30(30(" V3 FIELDS "30())) 30(30(" V3 FIELDS "30()))", NULL},
    {"no serial number", "30(30(a0(020102)" FIELDS "30()))", NULL},
    {"two versions", "30(30(a0(020102)" V3 FIELDS "30()))", NULL},
    {"version in another tag", "30(30(a1(020102) 020107" FIELDS "30()))", NULL},
    {"signature is no SEQUENCE", "30(30(" V3 "31() 30() 30() 30()))", NULL},
    {"issuer is no SEQUENCE", "30(30(" V3 "30() 31() 30() 30()))", NULL},
    {"validity is no SEQUENCE", "30(30(" V3 "30() 30() 31() 30()))", NULL},
    {"subject is no SEQUENCE", "30(30(" V3 FIELDS "31()))", NULL},
    {"no subject", "30(30(" V3 FIELDS "))", NULL},
    {"subject outside", "30(30(" V3 FIELDS ") 30())", NULL},
    {"subject longer than the certificate", "30(30(" V3 FIELDS "3005 00))", NULL},
    {"indefinite length", "3080 30(" V3 FIELDS "30()) 0000", NULL},
    {"PEM", "'-----BEGIN CERTIFICATE-----'", NULL},
};

/* The certificate around a subject. */
static struct derasm
certificate(const char *subject)
{
	static char source[4 * TEXT];

	assert_true(snprintf(source, sizeof source, "30(30(" V3 FIELDS "30(%s)))", subject) < (int)sizeof source);
	return derasm(source);
}

/* Asks with a copy of the certificate and an out that end where their memory ends; what comes must keep the contract.
 */
static long
subject_in(const unsigned char *der, size_t n, char *text, size_t size)
{
	unsigned char *copy = malloc(n + (n == 0));
	char *out = malloc(size + (size == 0));

	assert_non_null(copy);
	assert_non_null(out);
	memcpy(copy, der, n);
	memset(out, 0x7f, size);
	long r = dn_subject((struct span){.p = copy, .n = n}, out, size);
	assert_in_range(r + 1, 0, size);
	if (size > 0) {
		size_t len = r < 0 ? 0 : (size_t)r;
		for (size_t i = 0; i < len; i++)
			assert_in_range(out[i], 0x20, 0x7e);
		assert_int_equal(out[len], '\0');
		memcpy(text, out, len + 1);
	}
	free(copy);
	free(out);
	return r;
}

static void
check(const struct row *row, const struct derasm *d)
{
	char got[TEXT] = "";
	long r = subject_in(d->byte, d->n, got, sizeof got);

	if ((r < 0) != (row->want == NULL) || (r >= 0 && strcmp(got, row->want) != 0))
		fail_msg("%s: %ld, %s", row->what, r, got);
	if (r >= 0)
		assert_int_equal(r, strlen(row->want));
}

static void
test_subjects(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
		struct derasm d = certificate(subjects[i].source);
		check(&subjects[i], &d);
	}
}

static void
test_certificates(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof certificates / sizeof certificates[0]; i++) {
		struct derasm d = derasm(certificates[i].source);
		check(&certificates[i], &d);
	}
}

static void
test_seventy_units(void **state)
{
	(void)state;
	char source[TEXT] = "", want[TEXT] = "", got[TEXT];

	for (int i = 0; i < 70; i++) {
		snprintf(source + strlen(source), sizeof source - strlen(source), OU("0c('unit %d')"), i);
		snprintf(want + strlen(want), sizeof want - strlen(want), "%sOU=unit %d", i == 0 ? "" : ",", 69 - i);
	}
	struct derasm d = certificate(source);
	assert_int_equal(subject_in(d.byte, d.n, got, sizeof got), strlen(want));
	assert_string_equal(got, want);
}

/* Whatever the room: the whole text, or none. */
static void
test_never_cut(void **state)
{
	(void)state;
	char want[TEXT], got[TEXT];

	for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
		struct derasm d = certificate(subjects[i].source);
		long whole = subject_in(d.byte, d.n, want, sizeof want);
		for (size_t size = 0; whole >= 0 && size <= (size_t)whole + 2; size++) {
			long r = subject_in(d.byte, d.n, got, size);
			assert_int_equal(r, size > (size_t)whole ? whole : -1);
			if (r >= 0)
				assert_string_equal(got, want);
		}
	}
}

/* A cut certificate is refused wherever it is cut. */
static void
test_every_cut(void **state)
{
	(void)state;
	struct derasm d = derasm(PYTHON_V3);
	char got[TEXT];

	for (size_t n = 0; n < d.n; n++)
		assert_int_equal(subject_in(d.byte, n, got, sizeof got), -1);
}

/* Each byte of a certificate set to each value: subject_in sees to it that the answer is fit to print. */
static void
test_every_changed_byte(void **state)
{
	(void)state;
	struct derasm d = derasm(PYTHON_V3);
	char got[TEXT], want[TEXT];
	size_t refused = 0, same = 0;

	subject_in(d.byte, d.n, want, sizeof want);
	for (size_t i = 0; i < d.n; i++) {
		unsigned char was = d.byte[i];
		for (unsigned v = 0; v < 256; v++) {
			d.byte[i] = (unsigned char)v;
			if (subject_in(d.byte, d.n, got, sizeof got) < 0)
				refused++;
			else
				same += strcmp(got, want) == 0;
		}
		d.byte[i] = was;
	}
	/* Neither all nor nothing: the change got somewhere. */
	assert_in_range(refused, 1, 256 * d.n - same - 1);
	assert_true(same >= d.n);
}

static unsigned
hex_value(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Reads "CN=value" back into bytes, by RFC 4514, section 3; as strict as that is. Returns their number. */
static size_t
unescape(const char *text, unsigned char *out)
{
	size_t n = 0;

	assert_memory_equal(text, "CN=", 3);
	assert_int_not_equal(text[3], '#');
	assert_int_not_equal(text[3], ' ');
	for (const char *s = text + 3; *s != '\0'; s++) {
		assert_null(strchr("\"+,;<>", *s));
		assert_false(s[0] == ' ' && s[1] == '\0');
		if (*s != '\\') {
			out[n++] = (unsigned char)*s;
		} else if (strchr("\"+,;<>\\ #", *++s) != NULL) {
			out[n++] = (unsigned char)*s;
		} else {
			out[n++] = (unsigned char)(hex_value(s[0]) << 4 | hex_value(s[1]));
			s++;
		}
	}
	return n;
}

/* All values of up to three bytes that matter, at each place, can be read back. */
static void
test_bytes_can_be_read_back(void **state)
{
	(void)state;
	static const char others[] = "a #\\,0";
	struct derasm d = certificate(CN("0c('abc')"));
	const size_t at = d.n - 3;
	unsigned char back[16];
	char got[64];

	for (unsigned c = 0; c < 256; c++) {
		for (size_t k = 0; k < 3 * 36; k++) {
			d.byte[at] = (unsigned char)others[k % 6];
			d.byte[at + 1] = (unsigned char)others[k / 6 % 6];
			d.byte[at + 2] = d.byte[at + k / 36];
			d.byte[at + k / 36] = (unsigned char)c;
			assert_true(subject_in(d.byte, d.n, got, sizeof got) > 0);
			assert_int_equal(unescape(got, back), 3);
			assert_memory_equal(back, d.byte + at, 3);
		}
	}
}

/* The character that the n bytes are in UTF-8, of the shortest form; cmocka fails on what is none. */
static uint32_t
utf8_read(const unsigned char *p, size_t n)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);

	assert_in_range(n, 1, 4);
	assert_int_equal(n == 1 ? p[0] >> 7 : p[0] >> (7 - n), n == 1 ? 0 : (1u << (n + 1)) - 2);
	for (size_t i = 1; i < n; i++) {
		assert_int_equal(p[i] >> 6, 2);
		c = c << 6 | (p[i] & 0x3f);
	}
	assert_true(c >= least[n]);
	return c;
}

/* Every character, as BMPString (with a pair where it takes one) and as UniversalString, is that character in UTF-8. */
static void
test_every_character(void **state)
{
	(void)state;
	static const struct {
		const char *source;
		size_t width;
	} forms[] = {{CN("1e(0000)"), 2}, {CN("1e(0000 0000)"), 4}, {CN("1c(00000000)"), 4}};
	unsigned char back[16];
	char got[64];

	for (size_t f = 0; f < 3; f++) {
		struct derasm d = certificate(forms[f].source);
		unsigned char *p = d.byte + d.n - forms[f].width;
		uint32_t first = f == 1 ? 0x10000 : 0, last = f == 0 ? 0xffff : f == 1 ? 0x10ffff : 0x110fff;
		for (uint32_t c = first; c <= last; c++) {
			uint32_t v = c;
			if (f == 1)
				v = (0xd800 + ((c - 0x10000) >> 10)) << 16 | (0xdc00 + (c & 0x3ff));
			for (size_t i = 0; i < forms[f].width; i++)
				p[i] = (unsigned char)(v >> 8 * (forms[f].width - 1 - i));
			assert_true(dn_subject((struct span){.p = d.byte, .n = d.n}, got, sizeof got) > 0);
			if ((c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
				assert_memory_equal(got, "CN=#1", 5);
			else if (utf8_read(back, unescape(got, back)) != c)
				fail_msg("U+%04X: %s", c, got);
		}
	}
}

/* Every OID arc that borrows, carries or takes one octet more, against printf. */
static void
test_arcs_against_printf(void **state)
{
	(void)state;
	char got[128], want[128];

	for (unsigned shift = 0; shift < 64; shift++) {
		for (int delta = -130; delta <= 130; delta++) {
			uint64_t v = (UINT64_C(1) << shift) + (uint64_t)(int64_t)delta;
			char source[256] = "", oid[64] = "";
			for (unsigned k = 9; k > 0; k--)
				if (v >> 7 * k != 0)
					snprintf(oid + strlen(oid), 3, "%02x", 0x80 | (unsigned)(v >> 7 * k & 0x7f));
			snprintf(oid + strlen(oid), 3, "%02x", (unsigned)(v & 0x7f));
			snprintf(source, sizeof source, X("%s%s"), oid, oid);
			uint64_t root = v < 40 ? 0 : v < 80 ? 1 : 2;
			snprintf(want, sizeof want, "%ju.%ju.%ju=#0500", (uintmax_t)root, (uintmax_t)(v - 40 * root),
			    (uintmax_t)v);
			struct derasm d = certificate(source);
			assert_true(subject_in(d.byte, d.n, got, sizeof got) > 0);
			assert_string_equal(got, want);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_subjects),
	    cmocka_unit_test(test_certificates),
	    cmocka_unit_test(test_seventy_units),
	    cmocka_unit_test(test_never_cut),
	    cmocka_unit_test(test_every_cut),
	    cmocka_unit_test(test_every_changed_byte),
	    cmocka_unit_test(test_bytes_can_be_read_back),
	    cmocka_unit_test(test_every_character),
	    cmocka_unit_test(test_arcs_against_printf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
