/*
 * Judges the names that clients send, before anything else may see them: what
 * passes is safe in an environment variable, a log line or a file name. Must
 * never repair a name, only lower its case.
 */
#include "core/dnsname.h"

#include <string.h>

/* RFC 1035, 2.3.4. */
#define LABEL_MAX 63

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

/* ASCII only, whatever the locale. */
static unsigned char
to_lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c - 'A' + 'a') : c;
}

static bool
label_valid(const unsigned char *p, size_t n)
{
	if (n == 0 || n > LABEL_MAX || p[0] == '-' || p[n - 1] == '-')
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = to_lower(p[i]);
		if (!(c >= 'a' && c <= 'z') && !is_digit(c) && c != '-' && c != '_')
			return false;
	}
	return true;
}

static bool
label_numeric(const unsigned char *p, size_t n)
{
	size_t i = 0;

	while (i < n && is_digit(p[i]))
		i++;
	return i == n;
}

bool
dnsname_valid(const unsigned char *name, size_t n, char out[DNSNAME_SIZE])
{
	const unsigned char *label = name;
	size_t left = n;

	if (n == 0 || n >= DNSNAME_SIZE)
		return false;
	for (;;) {
		const unsigned char *dot = memchr(label, '.', left);
		size_t len = dot ? (size_t)(dot - label) : left;
		if (!label_valid(label, len))
			return false;
		if (!dot)
			break;
		label = dot + 1;
		left -= len + 1;
	}
	if (label_numeric(label, left))
		return false;

	for (size_t i = 0; i < n; i++)
		out[i] = (char)to_lower(name[i]);
	out[n] = '\0';
	return true;
}
