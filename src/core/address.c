/*
 * Reads from left to right; what a "::" leaves out is known at the end.
 */
#include "core/address.h"

#include <stdio.h>
#include <string.h>

enum { IPV4 = 4, IPV6 = 16, WIDEST_GROUP = 4 };

/* Takes 0 to 255 off *text. */
static bool
octet(const char **text, unsigned char *out)
{
	const char *p = *text;
	unsigned n = 0;

	while (*p >= '0' && *p <= '9' && n <= 255)
		n = n * 10 + (unsigned)(*p++ - '0');
	if (p == *text || n > 255 || (**text == '0' && p - *text > 1))
		return false;
	*out = (unsigned char)n;
	*text = p;
	return true;
}

static bool
four_octets(const char *text, unsigned char out[IPV4])
{
	for (int i = 0; i < IPV4; i++)
		if ((i > 0 && *text++ != '.') || !octet(&text, &out[i]))
			return false;
	return *text == '\0';
}

/* Takes up to four hexadecimal digits off *text. */
static bool
group(const char **text, unsigned char out[2])
{
	static const char digits[] = "0123456789abcdefABCDEF";
	const char *p = *text, *digit;
	unsigned n = 0;

	for (; *p && (digit = strchr(digits, *p)); p++)
		n = n << 4 | (unsigned)(digit - digits < IPV6 ? digit - digits : digit - digits - 6);
	if (p == *text || p - *text > WIDEST_GROUP)
		return false;
	out[0] = (unsigned char)(n >> 8 & 0xff);
	out[1] = (unsigned char)(n & 0xff);
	*text = p;
	return true;
}

/* What is behind a "::" moves to the end; `at` octets were read. */
static bool
spread(unsigned char out[IPV6], size_t at, size_t gap)
{
	memmove(out + gap + IPV6 - at, out + gap, at - gap);
	memset(out + gap, 0, IPV6 - at);
	return at < IPV6;
}

static bool
groups(const char *text, unsigned char out[IPV6])
{
	size_t at = 0, gap = IPV6 + 1;

	if (text[0] == ':' && text[1] != ':')
		return false;
	while (*text) {
		if (gap > IPV6 && text[0] == ':' && text[1] == ':') {
			gap = at;
			text += 2;
			continue;
		}
		if (at > 0 && gap != at && *text++ != ':')
			return false;
		if (at + IPV4 <= IPV6 && four_octets(text, out + at)) {
			at += IPV4;
			break;
		}
		if (at == IPV6 || !group(&text, out + at))
			return false;
		at += 2;
	}
	return gap > IPV6 ? at == IPV6 : spread(out, at, gap);
}

size_t
address_parse(const char *text, unsigned char out[16])
{
	unsigned char octets[IPV6];
	size_t n = four_octets(text, octets) ? IPV4 : groups(text, octets) ? IPV6 : 0;

	memcpy(out, octets, n);
	return n;
}

static unsigned
group_at(const unsigned char *octets, size_t i)
{
	return (unsigned)octets[2 * i] << 8 | octets[2 * i + 1];
}

/* The first longest run of two and more groups of zero; its length is *n, 0 when there is none. */
static size_t
longest_zeros(const unsigned char *octets, size_t *n)
{
	size_t at = 0, run = 0;

	*n = 0;
	for (size_t i = 0; i < IPV6 / 2; i++) {
		run = group_at(octets, i) == 0 ? run + 1 : 0;
		if (run > 1 && run > *n) {
			*n = run;
			at = i + 1 - run;
		}
	}
	return at;
}

bool
address_print(const unsigned char *octets, size_t n, char out[ADDRESS_SIZE])
{
	size_t zeros, gap;
	char *p = out;

	if (n == IPV4)
		(void)sprintf(out, "%u.%u.%u.%u", octets[0], octets[1], octets[2], octets[3]);
	if (n != IPV6)
		return n == IPV4;
	gap = longest_zeros(octets, &zeros);
	for (size_t i = 0; i < IPV6 / 2;) {
		if (zeros > 0 && i == gap) {
			p += sprintf(p, "::");
			i += zeros;
			continue;
		}
		p += sprintf(p, "%s%x", p > out && p[-1] != ':' ? ":" : "", group_at(octets, i));
		i++;
	}
	return true;
}
