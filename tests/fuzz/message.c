/*
 * Fuzzes the readers of messages, and of the session block in one of them; the
 * first byte, the message's type, chooses which. Checks that the others refuse
 * it, that every text is fit to print, that what was read is the one message
 * that writes as these bytes, and that a session that is wiped leaves nothing.
 */
#include "core/message.h"

#include "fuzz.h"

#include <string.h>

/* Exactly the room that a writer may count on. */
static unsigned char *
room(void)
{
	unsigned char *out = malloc(MESSAGE_MAX);

	CHECK(out != NULL);
	return out;
}

static void
check_same(unsigned char *out, long written, struct span in)
{
	CHECK(written >= 0 && (size_t)written == in.n && memcmp(out, in.p, in.n) == 0);
	free(out);
}

static void
check_up(struct span in, const struct session *s)
{
	unsigned char *out = room();
	char lower[DNSNAME_SIZE];

	CHECK(strncmp(s->protocol, "TLSv1.", 6) == 0 && printable(s->protocol));
	CHECK(strncmp(s->cipher, "TLS_", 4) == 0 && printable(s->cipher));
	CHECK(printable(s->sni) && printable(s->hash) && printable(s->subject));
	CHECK(s->has_sni ? dnsname_valid((const unsigned char *)s->sni, strlen(s->sni), lower) : s->sni[0] == '\0');
	CHECK(printable(s->names) && printable(s->expires) && (!s->has_names || s->has_peer));
	CHECK(!strpbrk(s->names, " \"") && strlen(s->expires) == (s->has_names ? 20 : 0));
	CHECK(strlen(s->hash) == (s->has_peer ? 71 : 0));
	check_same(out, message_up(out, s), in);
}

/* As what was known of one connection is before the next. */
static void
check_wiped(struct session *s)
{
	const char *const texts[] = {s->protocol, s->cipher, s->sni, s->hash, s->subject, s->names, s->expires};
	size_t known[sizeof texts / sizeof *texts];

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		known[i] = strlen(texts[i]);
	session_wipe(s);
	CHECK(!s->has_sni && !s->has_peer && !s->has_names);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		for (size_t at = 0; at < known[i]; at++)
			CHECK(texts[i][at] == '\0');
}

/* Between monitor and signer. */
static void
check_signer(struct span in)
{
	char text[FAULT_TEXT];
	unsigned char *out;
	uint64_t number;

	memset(text, 0x7f, sizeof text);
	if (message_read_sign(in, &number) == 0) {
		CHECK(in.p[0] == MSG_SIGN);
		out = room();
		check_same(out, message_sign(out, number), in);
	}
	if (message_read_refused(in, &number, text) == 0) {
		CHECK(in.p[0] == MSG_REFUSED && printable(text));
		out = room();
		check_same(out, message_refused(out, number, text), in);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = {.p = data, .n = n};
	static struct session session;
	struct report report;
	struct ucspi tcp;
	struct fault fault;
	unsigned char *out;

	/* What a reader leaves out must not look like a text. */
	memset(&session, 0x7f, sizeof session);
	memset(&report, 0x7f, sizeof report);
	memset(&tcp, 0x7f, sizeof tcp);
	memset(&fault, 0x7f, sizeof fault);
	if (message_read_up(in, &session) == 0) {
		CHECK(data[0] == MSG_UP);
		check_up(in, &session);
		check_wiped(&session);
	}
	if (message_read_end(in, &report) == 0) {
		CHECK(data[0] == MSG_END && report.end > END_NONE && report.end < END_COUNT && printable(report.text));
		out = room();
		check_same(out, message_end(out, &report), in);
	}
	if (message_read_connected(in, &tcp) == 0) {
		CHECK(data[0] == MSG_CONNECTED);
		out = room();
		check_same(out, message_connected(out, &tcp), in);
	}
	if (message_read_fault(in, &fault) == 0) {
		CHECK(data[0] == MSG_FAULT && fault.code != FAULT_NONE && printable(fault.text));
		out = room();
		check_same(out, message_fault(out, &fault), in);
	}
	memset(&fault, 0x7f, sizeof fault);
	if (message_read_key_fault(in, &fault) == 0) {
		CHECK(data[0] == MSG_FAULT && fault.code != FAULT_NONE && fault.code != FAULT_TLS &&
		      printable(fault.text));
		out = room();
		check_same(out, message_fault(out, &fault), in);
	}
	check_signer(in);
	return 0;
}
