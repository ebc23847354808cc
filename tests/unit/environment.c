/*
 * What prog's environment is made of, word for word.
 */
#include "core/environment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HASH "SHA256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHERS "PROTO=UDP", "TCPREMOTEIP=evil", "TCPREMOTEINFO=root", "TCPLOCALHOST=evil", "TCPREMOTEIPS=mine"

static const struct session plain = {.protocol = "TLSv1.2", .cipher = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"};

static const struct session full = {.protocol = "TLSv1.3",
    .cipher = "TLS_AES_128_GCM_SHA256",
    .has_sni = true,
    .sni = "www.example.org",
    .has_peer = true,
    .hash = HASH,
    .subject = "CN=alice,O=Acme"};

static void
expect_changed(const struct session *s, const struct ucspi *tcp, const char *local_name, bool keep,
    const struct changes *changes, const char *const *expected)
{
	static char *const old[] = {"PATH=/bin", "KEYFILE=k", "CERTFILE=c", "CADIR=d", "CAFILE=f", "TLS_UID=1",
	    "TLS_GID=2", "KEYFILE:x=1", "CERTFILE:y.z=2", "KEYFILES=mine", "XKEYFILE=mine", "KEYFILE",
	    "SSL_PROTOCOL=SSLv2", "SSL_CIPHER=NULL", "SSL_TLS_SNI_SERVERNAME=evil", "SSL_PEER_CERT_HASH=evil",
	    "SSL_PEER_CERT_SUBJECT=CN=root", "SSL_PROTOCOLS=mine", "PROTO=UDP", "TCPREMOTEIP=evil",
	    "TCPREMOTEINFO=root", "TCPLOCALHOST=evil", "TCPREMOTEIPS=mine", "=odd", NULL};
	char **plan = environment_plan(old, s, tcp, local_name, keep, changes);
	size_t i = 0;

	assert_non_null(plan);
	for (; expected[i]; i++) {
		assert_non_null(plan[i]);
		assert_string_equal(plan[i], expected[i]);
	}
	assert_null(plan[i]);
	free(plan);
}

static void
expect(const struct session *s, const struct ucspi *tcp, const char *local_name, bool keep, const char *const *expected)
{
	static const struct changes none = {0};

	expect_changed(s, tcp, local_name, keep, NULL, expected);
	expect_changed(s, tcp, local_name, keep, &none, expected);
}

/* Somebody else made the connection: its variables are his. */
static void
given_a_connection(void **state)
{
	(void)state;
	expect(&plain, NULL, NULL, false,
	    (const char *const[]){"PATH=/bin", "KEYFILES=mine", "XKEYFILE=mine", "KEYFILE", "SSL_PROTOCOLS=mine",
		OTHERS, "=odd", "SSL_PROTOCOL=TLSv1.2", "SSL_CIPHER=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", NULL});
	expect(&full, NULL, NULL, false,
	    (const char *const[]){"PATH=/bin", "KEYFILES=mine", "XKEYFILE=mine", "KEYFILE", "SSL_PROTOCOLS=mine",
		OTHERS, "=odd", "SSL_PROTOCOL=TLSv1.3", "SSL_CIPHER=TLS_AES_128_GCM_SHA256",
		"SSL_TLS_SNI_SERVERNAME=www.example.org", "SSL_PEER_CERT_HASH=" HASH,
		"SSL_PEER_CERT_SUBJECT=CN=alice,O=Acme", NULL});
	expect(&plain, NULL, NULL, true,
	    (const char *const[]){"PATH=/bin", "KEYFILE=k", "CERTFILE=c", "CADIR=d", "CAFILE=f", "TLS_UID=1",
		"TLS_GID=2", "KEYFILE:x=1", "CERTFILE:y.z=2", "KEYFILES=mine", "XKEYFILE=mine", "KEYFILE",
		"SSL_PROTOCOLS=mine", OTHERS, "=odd", "SSL_PROTOCOL=TLSv1.2",
		"SSL_CIPHER=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", NULL});
}

#define KEPT "PATH=/bin", "KEYFILES=mine", "XKEYFILE=mine", "KEYFILE", "SSL_PROTOCOLS=mine", "TCPREMOTEIPS=mine", "=odd"
#define SESSION "SSL_PROTOCOL=TLSv1.2", "SSL_CIPHER=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
#define NUMBERS "PROTO=TCP", "TCPLOCALIP=192.0.2.1", "TCPLOCALPORT=1024", "TCPREMOTEIP=192.0.2.2", "TCPREMOTEPORT=443"

/* The program made it: what others said of one is gone. */
static void
made_a_connection(void **state)
{
	struct ucspi tcp = {
	    .local_ip = "192.0.2.1", .local_port = "1024", .remote_ip = "192.0.2.2", .remote_port = "443"};

	(void)state;
	expect(&plain, &tcp, NULL, false, (const char *const[]){KEPT, SESSION, NUMBERS, NULL});
	expect(&plain, &tcp, "0", false, (const char *const[]){KEPT, SESSION, NUMBERS, "TCPLOCALHOST=0", NULL});
	tcp.has_local_host = tcp.has_remote_host = true;
	strcpy(tcp.local_host, "here.example");
	strcpy(tcp.remote_host, "there.example");
	expect(&plain, &tcp, NULL, false,
	    (const char *const[]){
		KEPT, SESSION, NUMBERS, "TCPLOCALHOST=here.example", "TCPREMOTEHOST=there.example", NULL});
	expect(&plain, &tcp, "me", false,
	    (const char *const[]){KEPT, SESSION, NUMBERS, "TCPLOCALHOST=me", "TCPREMOTEHOST=there.example", NULL});
}

#define CHANGES(s) (&(const struct changes){.text = (char[]){s}, .n = sizeof s})

/* A rule sets and takes away what it likes, even what we say of the connection. */
static void
changed_by_a_rule(void **state)
{
	static const struct ucspi tcp = {
	    .local_ip = "192.0.2.1", .local_port = "1024", .remote_ip = "192.0.2.2", .remote_port = "443"};

	(void)state;
	expect_changed(&plain, &tcp, "me", false,
	    CHANGES("PATH=/opt\0XKEYFILE\0NEW=1=2\0TCPREMOTEIP=::1\0TCPLOCALHOST\0KEYFILES=\0NEVER\0TCPREMOTEIPS"),
	    (const char *const[]){"KEYFILE", "SSL_PROTOCOLS=mine", "=odd", SESSION, "PROTO=TCP", "TCPLOCALIP=192.0.2.1",
		"TCPLOCALPORT=1024", "TCPREMOTEPORT=443", "PATH=/opt", "NEW=1=2", "TCPREMOTEIP=::1",
		"KEYFILES=", NULL});
	/* Of names that begin alike, the one; of changes to one, the last. */
	expect_changed(&plain, NULL, NULL, false, CHANGES("PAT=1\0PATH=2\0PATHS=3\0PATH=4\0PAT\0X=1\0X"),
	    (const char *const[]){"KEYFILES=mine", "XKEYFILE=mine", "KEYFILE", "SSL_PROTOCOLS=mine", OTHERS, "=odd",
		SESSION, "PATHS=3", "PATH=4", NULL});
}

/* But none of these, kept or not. */
static void
not_changed_by_a_rule(void **state)
{
	static char evil[] =
	    "KEYFILE=e\0CERTFILE=e\0CADIR=e\0CAFILE=e\0TLS_UID=0\0TLS_GID=0\0KEYFILE:x=e\0CERTFILE:z=e\0"
	    "SSL_PROTOCOL=e\0SSL_CIPHER=e\0SSL_TLS_SNI_SERVERNAME=e\0SSL_PEER_CERT_HASH=e\0"
	    "SSL_PEER_CERT_SUBJECT=e\0SSL_PROTOCOLS=e\0SSL_=e\0SSL_NEW=e\0KEYFILE\0CADIR\0TLS_UID\0"
	    "KEYFILE:x\0SSL_PROTOCOL\0SSL_PROTOCOLS";
	const struct changes changes = {.text = evil, .n = sizeof evil};

	(void)state;
	expect_changed(&plain, NULL, NULL, false, &changes,
	    (const char *const[]){"PATH=/bin", "KEYFILES=mine", "XKEYFILE=mine", "KEYFILE", "SSL_PROTOCOLS=mine",
		OTHERS, "=odd", SESSION, NULL});
	expect_changed(&plain, NULL, NULL, true, &changes,
	    (const char *const[]){"PATH=/bin", "KEYFILE=k", "CERTFILE=c", "CADIR=d", "CAFILE=f", "TLS_UID=1",
		"TLS_GID=2", "KEYFILE:x=1", "CERTFILE:y.z=2", "KEYFILES=mine", "XKEYFILE=mine", "KEYFILE",
		"SSL_PROTOCOLS=mine", OTHERS, "=odd", SESSION, NULL});
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(given_a_connection),
	    cmocka_unit_test(made_a_connection),
	    cmocka_unit_test(changed_by_a_rule),
	    cmocka_unit_test(not_changed_by_a_rule),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
