/*
 * Bodies of messages as bytes: numbers big endian, texts last and up to the
 * end of the packet. What a text may hold is what a log line may hold.
 */
#include "core/message.h"

#include <string.h>

/* Type, end, and two numbers of bytes. */
#define END_HEAD (2 + 16)

static void
put64(unsigned char *out, uint64_t n)
{
	for (int i = 7; i >= 0; i--, n >>= 8)
		out[i] = (unsigned char)(n & 0xff);
}

static uint64_t
get64(const unsigned char *in)
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | in[i];
	return n;
}

/* Reads a text of printable ASCII into text[FAULT_TEXT]. */
static int
get_text(struct span in, char *text)
{
	if (in.n >= FAULT_TEXT)
		return -1;
	for (size_t i = 0; i < in.n; i++)
		if (in.p[i] < 0x20 || in.p[i] > 0x7e)
			return -1;
	memcpy(text, in.p, in.n);
	text[in.n] = '\0';
	return 0;
}

long
message_up(unsigned char *out, const struct session *s)
{
	long n = session_pack(s, out + 1, MESSAGE_MAX - 1);

	out[0] = MSG_UP;
	return n < 0 ? -1 : n + 1;
}

int
message_read_up(struct span in, struct session *s)
{
	if (in.n < 1 || in.p[0] != MSG_UP)
		return -1;
	return session_unpack((struct span){in.p + 1, in.n - 1}, s);
}

long
message_connected(unsigned char *out, const struct ucspi *u)
{
	long n = ucspi_pack(u, out + 1, MESSAGE_MAX - 1);

	out[0] = MSG_CONNECTED;
	return n < 0 ? -1 : n + 1;
}

int
message_read_connected(struct span in, struct ucspi *u)
{
	if (in.n < 1 || in.p[0] != MSG_CONNECTED)
		return -1;
	return ucspi_unpack((struct span){in.p + 1, in.n - 1}, u);
}

long
message_end(unsigned char *out, const struct report *r)
{
	size_t n = strlen(r->text);

	out[0] = MSG_END;
	out[1] = (unsigned char)r->end;
	put64(out + 2, r->in);
	put64(out + 10, r->out);
	memcpy(out + END_HEAD, r->text, n);
	return (long)(END_HEAD + n);
}

int
message_read_end(struct span in, struct report *r)
{
	if (in.n < END_HEAD || in.p[0] != MSG_END || in.p[1] == END_NONE || in.p[1] >= END_COUNT)
		return -1;
	r->end = (enum relay_end)in.p[1];
	r->in = get64(in.p + 2);
	r->out = get64(in.p + 10);
	return get_text((struct span){in.p + END_HEAD, in.n - END_HEAD}, r->text);
}

long
message_fault(unsigned char *out, const struct fault *f)
{
	size_t n = strlen(f->text);

	out[0] = MSG_FAULT;
	out[1] = (unsigned char)f->code;
	memcpy(out + 2, f->text, n);
	return (long)(2 + n);
}

static int
get_fault(struct span in, struct fault *f)
{
	f->code = (enum fault_code)in.p[1];
	return get_text((struct span){in.p + 2, in.n - 2}, f->text);
}

int
message_read_fault(struct span in, struct fault *f)
{
	if (in.n < 2 || in.p[0] != MSG_FAULT)
		return -1;
	if (in.p[1] != FAULT_ENGINE && in.p[1] != FAULT_TLS && in.p[1] != FAULT_SYSTEM)
		return -1;
	return get_fault(in, f);
}

int
message_read_key_fault(struct span in, struct fault *f)
{
	if (in.n < 2 || in.p[0] != MSG_FAULT)
		return -1;
	if (in.p[1] != FAULT_CONTEXT && in.p[1] != FAULT_ENGINE && in.p[1] != FAULT_USAGE && in.p[1] != FAULT_SYSTEM)
		return -1;
	return get_fault(in, f);
}

long
message_sign(unsigned char *out, uint64_t number)
{
	out[0] = MSG_SIGN;
	put64(out + 1, number);
	return 1 + 8;
}

int
message_read_sign(struct span in, uint64_t *number)
{
	if (in.n != 1 + 8 || in.p[0] != MSG_SIGN)
		return -1;
	*number = get64(in.p + 1);
	return 0;
}

long
message_refused(unsigned char *out, uint64_t number, const char *text)
{
	size_t n = strlen(text);

	out[0] = MSG_REFUSED;
	put64(out + 1, number);
	memcpy(out + 1 + 8, text, n); /* NOLINT(bugprone-not-null-terminated-result): it ends with the packet */
	return (long)(1 + 8 + n);
}

int
message_read_refused(struct span in, uint64_t *number, char text[FAULT_TEXT])
{
	if (in.n < 1 + 8 || in.p[0] != MSG_REFUSED)
		return -1;
	*number = get64(in.p + 1);
	return get_text((struct span){in.p + 1 + 8, in.n - 1 - 8}, text);
}
