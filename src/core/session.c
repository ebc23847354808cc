/*
 * The session block: five texts in fixed order, each a '+' and the text, or a
 * '-', and a NUL.
 */
#include "core/session.h"

#include <string.h>

static int
put(unsigned char **out, size_t *room, bool there, const char *text)
{
	size_t n = there ? strlen(text) : 0;

	if (*room < n + 2)
		return -1;
	**out = there ? '+' : '-';
	memcpy(*out + 1, text, n);
	(*out)[n + 1] = '\0';
	*out += n + 2;
	*room -= n + 2;
	return 0;
}

long
session_pack(const struct session *s, unsigned char *out, size_t size)
{
	unsigned char *p = out;

	if (put(&p, &size, true, s->protocol) < 0 || put(&p, &size, true, s->cipher) < 0 ||
	    put(&p, &size, s->has_sni, s->sni) < 0 || put(&p, &size, s->has_peer, s->hash) < 0 ||
	    put(&p, &size, s->has_peer, s->subject) < 0)
		return -1;
	return p - out;
}

/* Takes one text off *in. Returns whether it was there (1 or 0), or -1 for what is no text or does not fit. */
static int
get(struct span *in, char *text, size_t size)
{
	const unsigned char *end = in->n ? memchr(in->p, '\0', in->n) : NULL;
	size_t n;

	if (!end || end == in->p || (size_t)(end - in->p) > size)
		return -1;
	n = (size_t)(end - in->p) - 1;
	for (size_t i = 1; i <= n; i++)
		if (in->p[i] < 0x20 || in->p[i] > 0x7e)
			return -1;
	if (in->p[0] != '+' && (in->p[0] != '-' || n != 0))
		return -1;
	memcpy(text, in->p + 1, n);
	text[n] = '\0';
	bool there = in->p[0] == '+';
	in->p = end + 1;
	in->n -= n + 2;
	return there;
}

static bool
only(const char *text, const char *set)
{
	return text[strspn(text, set)] == '\0';
}

static bool
is_protocol(const char *text)
{
	return strcmp(text, "TLSv1.2") == 0 || strcmp(text, "TLSv1.3") == 0;
}

static bool
is_cipher(const char *text)
{
	return strncmp(text, "TLS_", 4) == 0 && only(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
}

static bool
is_hash(const char *text)
{
	return strncmp(text, "SHA256:", 7) == 0 && strlen(text) == 7 + 64 && only(text + 7, "0123456789abcdef");
}

static bool
is_sni(const char *text)
{
	char lower[DNSNAME_SIZE];

	return dnsname_valid((const unsigned char *)text, strlen(text), lower) && strcmp(text, lower) == 0;
}

int
session_unpack(struct span in, struct session *s)
{
	int sni, hash, subject;

	if (get(&in, s->protocol, sizeof s->protocol) != 1 || !is_protocol(s->protocol))
		return -1;
	if (get(&in, s->cipher, sizeof s->cipher) != 1 || !is_cipher(s->cipher))
		return -1;
	if ((sni = get(&in, s->sni, sizeof s->sni)) < 0 || (sni == 1 && !is_sni(s->sni)))
		return -1;
	if ((hash = get(&in, s->hash, sizeof s->hash)) < 0 || (hash == 1 && !is_hash(s->hash)))
		return -1;
	if ((subject = get(&in, s->subject, sizeof s->subject)) < 0 || subject != hash || in.n != 0)
		return -1;
	s->has_sni = sni == 1;
	s->has_peer = hash == 1;
	return 0;
}
