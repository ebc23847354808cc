/*
 * What the engine tells and the monitor believes: the session block, the
 * messages around it, and the environment that comes of it.
 */
#include "core/session.h"
#include "core/message.h"
#include "core/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HASH "SHA256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct session full = {.protocol = "TLSv1.3",
    .cipher = "TLS_AES_128_GCM_SHA256",
    .has_sni = true,
    .sni = "www.example.org",
    .has_peer = true,
    .hash = HASH,
    .subject = "CN=alice,O=Acme",
    .has_names = true,
    .names = "localhost,127.0.0.1,a\\00b,...",
    .expires = "2026-12-24T03:42:00Z"};
static struct session plain = {.protocol = "TLSv1.2", .cipher = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"};

static unsigned char buf[MESSAGE_MAX];

static void
round_trip(void **state)
{
	static struct session *const sessions[] = {&full, &plain};
	static struct session back;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		long n = message_up(buf, sessions[i]);

		assert_true(n > 0);
		assert_int_equal(message_read_up((struct span){buf, (size_t)n}, &back), 0);
		assert_string_equal(back.protocol, sessions[i]->protocol);
		assert_string_equal(back.cipher, sessions[i]->cipher);
		assert_int_equal(back.has_sni, sessions[i]->has_sni);
		assert_string_equal(back.sni, sessions[i]->sni);
		assert_int_equal(back.has_peer, sessions[i]->has_peer);
		assert_string_equal(back.hash, sessions[i]->hash);
		assert_string_equal(back.subject, sessions[i]->subject);
		assert_int_equal(back.has_names, sessions[i]->has_names);
		assert_string_equal(back.names, sessions[i]->names);
		assert_string_equal(back.expires, sessions[i]->expires);
		/* Cut anywhere, or longer, it is refused. */
		for (long cut = 0; cut < n; cut++)
			assert_int_equal(message_read_up((struct span){buf, (size_t)cut}, &back), -1);
		buf[n] = 0;
		assert_int_equal(message_read_up((struct span){buf, (size_t)n + 1}, &back), -1);
	}
}

static void
connected(void **state)
{
	static const struct ucspi u = {.local_ip = "192.0.2.1",
	    .remote_ip = "::1",
	    .local_port = "1",
	    .remote_port = "443",
	    .has_remote_host = true,
	    .remote_host = "there"};
	struct ucspi back;
	long n = message_connected(buf, &u);

	(void)state;
	assert_true(n > 0);
	assert_int_equal(message_read_connected((struct span){buf, (size_t)n}, &back), 0);
	assert_string_equal(back.remote_ip, "::1");
	assert_string_equal(back.remote_port, "443");
	assert_string_equal(back.remote_host, "there");
	assert_false(back.has_local_host);
	for (long cut = 0; cut < n; cut++)
		assert_int_equal(message_read_connected((struct span){buf, (size_t)cut}, &back), -1);
	buf[0] ^= 1; /* another message */
	assert_int_equal(message_read_connected((struct span){buf, (size_t)n}, &back), -1);
}

/* Not only is each text empty then: nothing is left of it. */
static void
wiped(void **state)
{
	static const struct session none;
	static struct session s;

	(void)state;
	strcpy(s.protocol, full.protocol);
	strcpy(s.cipher, full.cipher);
	strcpy(s.sni, full.sni);
	strcpy(s.hash, full.hash);
	strcpy(s.subject, full.subject);
	strcpy(s.names, full.names);
	strcpy(s.expires, full.expires);
	s.has_sni = s.has_peer = s.has_names = true;
	session_wipe(&s);
	assert_memory_equal(&s, &none, sizeof s);
}

static void
fill(char *text, size_t size, const char *start)
{
	memset(text, 'x', size - 1);
	text[size - 1] = '\0';
	memcpy(text, start, strlen(start));
}

static void
the_longest_texts_fit(void **state)
{
	static struct session long_one, back;

	(void)state;
	long_one = full;
	memset(long_one.cipher, 'X', sizeof long_one.cipher - 1);
	memcpy(long_one.cipher, "TLS_", 4);
	fill(long_one.sni, sizeof long_one.sni, "");
	for (size_t i = 60; i < sizeof long_one.sni - 1; i += 60)
		long_one.sni[i] = '.';
	fill(long_one.subject, sizeof long_one.subject, "CN=");
	fill(long_one.names, sizeof long_one.names, "");
	long n = message_up(buf, &long_one);
	assert_true(n > (long)(sizeof long_one.subject + sizeof long_one.names));
	assert_int_equal(message_read_up((struct span){buf, (size_t)n}, &back), 0);
	assert_string_equal(back.subject, long_one.subject);
	assert_string_equal(back.names, long_one.names);
	assert_int_equal(session_pack(&long_one, buf, (size_t)n - 2), -1);
	/* An octet more is none that an engine packed. */
	memmove(buf + n - 23, buf + n - 24, 24);
	assert_int_equal(message_read_up((struct span){buf, (size_t)n + 1}, &back), -1);
}

#define BLOCK(text)                                                                                                    \
	{                                                                                                              \
		(const unsigned char *)(text), sizeof(text) - 1                                                        \
	}

#define TIME "2026-12-24T03:42:00Z"
#define PEER "+TLSv1.3\0+TLS_X\0-\0+" HASH "\0+CN=a\0"

static void
lies_are_refused(void **state)
{
	static const struct span blocks[] = {
	    BLOCK("+TLSv1.1\0+TLS_X\0-\0-\0-\0-\0-\0"),
	    BLOCK("-\0+TLS_X\0-\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+tls_x\0-\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X Y\0-\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0-\0-\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0+UPPER.example\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0+../x\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0+\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0-x\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0?x\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0\0-\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0-\0+SHA256:00\0+CN=a\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0-\0-\0+CN=a\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0-\0+" HASH "\0-\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0-\0+" HASH "\0+CN=\n\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0-\0+" HASH "\0+CN=\xc3\xa4\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0-\0+" HASH "0\0+CN=a\0-\0-\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0-\0+sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\0+a\0-"
		  "\0-\0"),
	    /* Names without a time, a time without names, neither told, and both without a peer. */
	    BLOCK(PEER "+a\0-\0"),
	    BLOCK(PEER "-\0+" TIME "\0"),
	    BLOCK(PEER),
	    BLOCK(PEER "+a\0"),
	    BLOCK("+TLSv1.3\0+TLS_X\0-\0-\0-\0+a\0+" TIME "\0"),
	    BLOCK(PEER "+a b\0+" TIME "\0"),
	    BLOCK(PEER "+a\"\0+" TIME "\0"),
	    BLOCK(PEER "+a\\\0+" TIME "\0"),
	    BLOCK(PEER "+a\\0\0+" TIME "\0"),
	    BLOCK(PEER "+a\\0a\0+" TIME "\0"),
	    BLOCK(PEER "+a\n\0+" TIME "\0"),
	    BLOCK(PEER "+a\0+2026-12-24T03:42:00\0"),
	    BLOCK(PEER "+a\0+" TIME "Z\0"),
	    BLOCK(PEER "+a\0+2026-12-24 03:42:00Z\0"),
	    BLOCK(PEER "+a\0+2026-12-24T03:42:0:Z\0"),
	    BLOCK(PEER "+a\0+\0"),
	};
	static const struct span named = BLOCK(PEER "+\0+" TIME "\0");
	static const struct span truth = BLOCK("+TLSv1.3\0+TLS_X\0+a.b\0+" HASH "\0+\0-\0-\0");
	static struct session s;

	(void)state;
	for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
		if (session_unpack(blocks[i], &s) == 0)
			fail_msg("block %zu was believed", i);
	assert_int_equal(session_unpack(truth, &s), 0);
	assert_true(s.has_peer);
	assert_string_equal(s.subject, "");
	assert_false(s.has_names);
	assert_int_equal(session_unpack(named, &s), 0);
	assert_true(s.has_names);
	assert_string_equal(s.names, "");
}

static void
reports_and_faults(void **state)
{
	struct report r = {.end = END_RESET, .in = 0x0102030405060708, .out = 9, .text = "TLS failed: why"}, back;
	struct fault f = {.code = FAULT_ENGINE, .text = "no engine"}, f_back;
	long n = message_end(buf, &r);

	(void)state;
	assert_int_equal(message_read_end((struct span){buf, (size_t)n}, &back), 0);
	assert_int_equal(back.end, r.end);
	assert_true(back.in == r.in && back.out == r.out);
	assert_string_equal(back.text, r.text);
	for (size_t cut = 0; cut < 18; cut++)
		assert_int_equal(message_read_end((struct span){buf, cut}, &back), -1);
	buf[20] = '\n';
	assert_int_equal(message_read_end((struct span){buf, (size_t)n}, &back), -1);
	buf[20] = 'x';
	buf[1] = END_NONE;
	assert_int_equal(message_read_end((struct span){buf, (size_t)n}, &back), -1);
	buf[1] = END_COUNT;
	assert_int_equal(message_read_end((struct span){buf, (size_t)n}, &back), -1);
	memset(buf, 'x', sizeof buf);
	buf[0] = MSG_END;
	buf[1] = END_RESET;
	assert_int_equal(message_read_end((struct span){buf, 18 + FAULT_TEXT - 1}, &back), 0);
	assert_int_equal(message_read_end((struct span){buf, 18 + FAULT_TEXT}, &back), -1);
	n = message_fault(buf, &f);
	assert_int_equal(message_read_fault((struct span){buf, (size_t)n}, &f_back), 0);
	assert_int_equal(f_back.code, f.code);
	assert_string_equal(f_back.text, f.text);
	assert_int_equal(message_read_fault((struct span){buf, 1}, &f_back), -1);
	for (int code = 0; code < 256; code++) {
		buf[1] = (unsigned char)code;
		assert_int_equal(message_read_fault((struct span){buf, (size_t)n}, &f_back),
		    code == FAULT_ENGINE || code == FAULT_TLS || code == FAULT_SYSTEM ? 0 : -1);
	}
	/* One type is never read as another. */
	buf[0] = MSG_UP;
	assert_int_equal(message_read_fault((struct span){buf, (size_t)n}, &f_back), -1);
	assert_int_equal(message_read_end((struct span){buf, 40}, &back), -1);
}

/* What a signer is told, and what it says. */
static void
signers(void **state)
{
	static const uint64_t numbers[] = {0, 1, 0x0102030405060708, UINT64_MAX};
	struct fault f;
	char text[FAULT_TEXT];
	uint64_t back;

	(void)state;
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		long n = message_sign(buf, numbers[i]);

		assert_int_equal(message_read_sign((struct span){buf, (size_t)n}, &back), 0);
		assert_true(back == numbers[i]);
		assert_int_equal(message_read_sign((struct span){buf, (size_t)n - 1}, &back), -1);
		assert_int_equal(message_read_sign((struct span){buf, (size_t)n + 1}, &back), -1);
		assert_int_equal(message_read_refused((struct span){buf, (size_t)n}, &back, text), -1);
		n = message_refused(buf, numbers[i], "a malformed request");
		assert_int_equal(message_read_refused((struct span){buf, (size_t)n}, &back, text), 0);
		assert_true(back == numbers[i]);
		assert_string_equal(text, "a malformed request");
		for (size_t cut = 0; cut < 9; cut++)
			assert_int_equal(message_read_refused((struct span){buf, cut}, &back, text), -1);
		assert_int_equal(message_read_sign((struct span){buf, (size_t)n}, &back), -1);
		buf[9] = '\n';
		assert_int_equal(message_read_refused((struct span){buf, (size_t)n}, &back, text), -1);
	}
	memset(buf, 'x', sizeof buf);
	buf[0] = MSG_REFUSED;
	assert_int_equal(message_read_refused((struct span){buf, 9 + FAULT_TEXT - 1}, &back, text), 0);
	assert_int_equal(message_read_refused((struct span){buf, 9 + FAULT_TEXT}, &back, text), -1);
	/* A key may be at fault in every way but that of a connection. */
	buf[0] = MSG_FAULT;
	for (int code = 0; code < 256; code++) {
		buf[1] = (unsigned char)code;
		assert_int_equal(message_read_key_fault((struct span){buf, 20}, &f),
		    code == FAULT_CONTEXT || code == FAULT_ENGINE || code == FAULT_USAGE || code == FAULT_SYSTEM ? 0
														 : -1);
	}
	assert_int_equal(message_read_key_fault((struct span){buf, 1}, &f), -1);
	buf[0] = MSG_END;
	buf[1] = FAULT_SYSTEM;
	assert_int_equal(message_read_key_fault((struct span){buf, 20}, &f), -1);
}

static void
verdicts(void **state)
{
	static const struct {
		struct outcome outcome;
		int code;
	} cases[] = {
	    {{.ran = true, .status = 0}, 0},
	    {{.ran = true, .status = 7 << 8}, 7},
	    {{.ran = true, .status = 127 << 8}, 127},
	    {{.ran = true, .status = 128 << 8}, 128},
	    {{.ran = true, .status = 255 << 8}, 128},
	    {{.ran = true, .status = 9}, 137},
	    {{.ran = true, .status = 9 | 0x80}, 137},
	    {{.ran = true, .status = 7 << 8, .fault = FAULT_TLS}, 98},
	    {{.fault = FAULT_SYSTEM}, 111},
	    {{.ran = true, .fault = FAULT_TLS, .signal = 15}, -15},
	    {{.signal = 2}, -2},
	    {{.ran = false}, 98},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(verdict(&cases[i].outcome), cases[i].code);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(round_trip),
	    cmocka_unit_test(connected),
	    cmocka_unit_test(wiped),
	    cmocka_unit_test(the_longest_texts_fit),
	    cmocka_unit_test(lies_are_refused),
	    cmocka_unit_test(reports_and_faults),
	    cmocka_unit_test(signers),
	    cmocka_unit_test(verdicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
