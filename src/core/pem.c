/*
 * Cuts PEM text into its blocks and decodes them, by lines: RFC 7468, section
 * 3, with the headers of RFC 1421, section 4.4, passed over. A block may be a
 * private key: decoded bytes live only in pem_block.der, are overwritten before
 * they are freed, and must never appear in an error text.
 */
#include "core/pem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN "-----BEGIN "
#define END "-----END "
#define DASHES "-----"

static int
pem_fail(const char **why, const char *text)
{
	*why = text;
	return -1;
}

static void
span_skip(struct span *s, size_t n)
{
	s->p += n;
	s->n -= n;
}

/* If *s starts with the given text, takes that off. */
static bool
span_take(struct span *s, const char *start)
{
	size_t n = strlen(start);

	if (s->n < n || memcmp(s->p, start, n) != 0)
		return false;
	span_skip(s, n);
	return true;
}

static bool
starts_with(struct span s, const char *start)
{
	return span_take(&s, start);
}

/* The white space of RFC 7468, section 3, but for the ends of lines. */
static bool
is_blank(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\v' || c == '\f';
}

static bool
is_eol(unsigned char c)
{
	return c == '\n' || c == '\r';
}

/* Takes a line off *text, its end (LF, CRLF or CR) and trailing blanks left out; false when nothing is left. */
static bool
line_next(struct span *text, struct span *line)
{
	size_t n = 0;

	if (text->n == 0)
		return false;
	while (n < text->n && !is_eol(text->p[n]))
		n++;
	*line = (struct span){.p = text->p, .n = n};
	span_skip(text, n);
	if (!span_take(text, "\r\n") && text->n > 0)
		span_skip(text, 1);
	while (line->n > 0 && is_blank(line->p[line->n - 1]))
		line->n--;
	return true;
}

/* Reads the label out of a line that is `start`, label, five dashes. */
static bool
line_label(struct span line, const char *start, char label[PEM_LABEL])
{
	const size_t dashes = strlen(DASHES);

	if (!span_take(&line, start) || line.n <= dashes || line.n - dashes >= PEM_LABEL)
		return false;
	if (memcmp(line.p + line.n - dashes, DASHES, dashes) != 0)
		return false;
	line.n -= dashes;
	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] < 0x20 || line.p[i] > 0x7e)
			return false;
	memcpy(label, line.p, line.n);
	label[line.n] = '\0';
	return true;
}

/* Whether a header line says that the body is encrypted (RFC 1421, section 4.6.1.1). */
static bool
header_encrypts(struct span line)
{
	if (!span_take(&line, "Proc-Type:"))
		return false;
	while (line.n > 0 && is_blank(line.p[0]))
		span_skip(&line, 1);
	return span_take(&line, "4,ENCRYPTED") && line.n == 0;
}

/* Passes over the headers, if there are any: base64 has no ':'. False when no blank line ends them. */
static bool
headers_skip(struct span *text, bool *encrypted)
{
	struct span rest = *text, line;

	if (!line_next(&rest, &line) || memchr(line.p, ':', line.n) == NULL)
		return true;
	while (line.n > 0) {
		*encrypted |= header_encrypts(line);
		if (!line_next(&rest, &line) || starts_with(line, DASHES))
			return false;
	}
	*text = rest;
	return true;
}

/* Takes the lines up to and with the END line off *text; *body gets what stands before that line. */
static int
body_take(struct span *text, const char *label, struct span *body, const char **why)
{
	char found[PEM_LABEL];
	struct span line;

	*body = (struct span){.p = text->p, .n = 0};
	while (line_next(text, &line)) {
		if (starts_with(line, BEGIN))
			break;
		if (starts_with(line, END)) {
			if (!line_label(line, END, found))
				return pem_fail(why, "bad END line");
			return strcmp(found, label) == 0 ? 0 : pem_fail(why, "END line does not match BEGIN line");
		}
		body->n = (size_t)(text->p - body->p);
	}
	return pem_fail(why, "no END line");
}

/* RFC 4648, section 4; -1 for what is not in the alphabet. By comparison: no table that key bytes would index. */
static int
base64_value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/*
 * Decodes into out, which has room for three bytes for each four of in. *n is
 * the number of bytes written, on failure too. Bits that padding leaves over
 * must be zero (RFC 4648, section 3.5).
 */
static bool
base64_decode(struct span in, unsigned char *out, size_t *n)
{
	uint32_t group = 0;
	unsigned chars = 0, pad = 0;

	*n = 0;
	for (size_t i = 0; i < in.n; i++) {
		if (is_blank(in.p[i]) || is_eol(in.p[i]))
			continue;
		int value = in.p[i] == '=' ? 0 : base64_value(in.p[i]);
		pad += in.p[i] == '=';
		if (value < 0 || pad > 2 || (pad > 0 && in.p[i] != '='))
			return false;
		group = group << 6 | (uint32_t)value;
		if (++chars < 4)
			continue;

		if ((group & ((1u << 8 * pad) - 1)) != 0)
			return false;
		for (unsigned k = 0; k < 3 - pad; k++)
			out[(*n)++] = (unsigned char)(group >> (16 - 8 * k));
		group = chars = 0;
	}
	return chars == 0;
}

static int
body_decode(struct span body, struct pem_block *b, const char **why)
{
	b->der = malloc(body.n / 4 * 3 + 3);
	if (b->der == NULL)
		return pem_fail(why, NULL);
	if (!base64_decode(body, b->der, &b->n))
		return pem_fail(why, "bad base64");
	return b->n > 0 ? 1 : pem_fail(why, "empty block");
}

/* Reads the block whose BEGIN line is `begin`. */
static int
block_read(struct span begin, struct span *text, struct pem_block *b, const char **why)
{
	struct span body;

	if (!line_label(begin, BEGIN, b->label))
		return pem_fail(why, "bad BEGIN line");
	if (!headers_skip(text, &b->encrypted))
		return pem_fail(why, "no blank line after headers");
	if (body_take(text, b->label, &body, why) < 0)
		return -1;
	return body_decode(body, b, why);
}

int
pem_next(struct span *text, struct pem_block *b, const char **why)
{
	struct span line;

	*b = (struct pem_block){0};
	while (line_next(text, &line)) {
		if (!starts_with(line, BEGIN))
			continue;
		int r = block_read(line, text, b, why);
		if (r < 0)
			pem_wipe(b);
		return r;
	}
	return 0;
}

void
pem_wipe(struct pem_block *b)
{
	if (b->der != NULL)
		explicit_bzero(b->der, b->n);
	free(b->der);
	*b = (struct pem_block){0};
}

/* -- writing ------------------------------------------------------------- */

/* Characters a line (RFC 7468, section 2), and how many bytes these are. */
enum { LINE = 64, LINE_BYTES = LINE / 4 * 3 };

/* What stands for no bits at all. */
enum { PAD = 64 };

/* As base64_value, the other way round. */
static char
base64_char(unsigned value)
{
	if (value < 26)
		return (char)('A' + value);
	if (value < 52)
		return (char)('a' + value - 26);
	if (value < 62)
		return (char)('0' + value - 52);
	if (value == PAD)
		return '=';
	return value == 62 ? '+' : '/';
}

static char *
text_write(char *out, const char *text)
{
	while (*text)
		*out++ = *text++;
	return out;
}

/* A line of at most LINE_BYTES bytes, padded where they end within a group. */
static char *
line_write(char *out, struct span in)
{
	while (in.n > 0) {
		size_t n = in.n < 3 ? in.n : 3;
		uint32_t group = 0;

		for (size_t i = 0; i < 3; i++)
			group = group << 8 | (i < n ? in.p[i] : 0);
		for (size_t i = 0; i < 4; i++)
			*out++ = base64_char(i <= n ? group >> (18 - 6 * i) & 63 : PAD);
		span_skip(&in, n);
	}
	*out++ = '\n';
	return out;
}

size_t
pem_length(const char *label, size_t n)
{
	size_t lines = (n + LINE_BYTES - 1) / LINE_BYTES;

	return strlen(BEGIN) + strlen(END) + 2 * (strlen(label) + strlen(DASHES "\n")) + (n + 2) / 3 * 4 + lines;
}

char *
pem_write(const char *label, struct span der, char *out)
{
	out = text_write(text_write(text_write(out, BEGIN), label), DASHES "\n");
	while (der.n > 0) {
		struct span line = {der.p, der.n < LINE_BYTES ? der.n : LINE_BYTES};

		out = line_write(out, line);
		span_skip(&der, line.n);
	}
	return text_write(text_write(text_write(out, END), label), DASHES "\n");
}
