/*
 * The session block: seven texts in fixed order.
 */
#include "core/session.h"

#include "core/texts.h"
#include "core/validity.h"
#include "core/x509.h"

#include <string.h>

void
session_clear(struct session *s)
{
	s->has_sni = s->has_peer = s->has_names = false;
	s->protocol[0] = s->cipher[0] = s->sni[0] = s->hash[0] = s->subject[0] = s->names[0] = s->expires[0] = '\0';
}

void
session_wipe(struct session *s)
{
	char *const texts[] = {s->protocol, s->cipher, s->sni, s->hash, s->subject, s->names, s->expires};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		explicit_bzero(texts[i], strlen(texts[i]));
	session_clear(s);
}

void
session_set_names(struct session *s, struct span leaf)
{
	s->has_names =
	    validity_until(leaf, s->expires) == 0 && x509_names_text(leaf, ",", s->names, sizeof s->names) >= 0;
	if (!s->has_names)
		s->names[0] = s->expires[0] = '\0';
}

long
session_pack(const struct session *s, unsigned char *out, size_t size)
{
	unsigned char *p = out;

	if (texts_put(&p, &size, true, s->protocol) < 0 || texts_put(&p, &size, true, s->cipher) < 0 ||
	    texts_put(&p, &size, s->has_sni, s->sni) < 0 || texts_put(&p, &size, s->has_peer, s->hash) < 0 ||
	    texts_put(&p, &size, s->has_peer, s->subject) < 0 || texts_put(&p, &size, s->has_names, s->names) < 0 ||
	    texts_put(&p, &size, s->has_names, s->expires) < 0)
		return -1;
	return p - out;
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

static bool
is_hex(char c)
{
	return c && strchr("0123456789ABCDEF", c);
}

/* Fit for a field of a line between quotes. */
static bool
is_names(const char *text)
{
	for (const char *p = text; *p; p++)
		if (*p == ' ' || *p == '"' || (*p == '\\' && !(is_hex(p[1]) && is_hex(p[2]))))
			return false;
	return true;
}

static bool
is_time(const char *text)
{
	static const char shape[] = "0000-00-00T00:00:00Z";

	for (size_t i = 0; i < sizeof shape; i++)
		if (shape[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
			return false;
	return true;
}

/* The two that a certificate says of itself are there together, and only with its owner. */
static int
get_names(struct span *in, struct session *s, bool peer)
{
	int names = texts_get(in, s->names, sizeof s->names), expires = texts_get(in, s->expires, sizeof s->expires);

	if (names < 0 || expires != names || (names == 1 && (!peer || !is_names(s->names) || !is_time(s->expires))))
		return -1;
	s->has_names = names == 1;
	return 0;
}

int
session_unpack(struct span in, struct session *s)
{
	int sni, hash, subject;

	if (texts_get(&in, s->protocol, sizeof s->protocol) != 1 || !is_protocol(s->protocol))
		return -1;
	if (texts_get(&in, s->cipher, sizeof s->cipher) != 1 || !is_cipher(s->cipher))
		return -1;
	if ((sni = texts_get(&in, s->sni, sizeof s->sni)) < 0 || (sni == 1 && !is_sni(s->sni)))
		return -1;
	if ((hash = texts_get(&in, s->hash, sizeof s->hash)) < 0 || (hash == 1 && !is_hash(s->hash)))
		return -1;
	if ((subject = texts_get(&in, s->subject, sizeof s->subject)) < 0 || subject != hash)
		return -1;
	if (get_names(&in, s, hash == 1) < 0 || in.n != 0)
		return -1;
	s->has_sni = sni == 1;
	s->has_peer = hash == 1;
	return 0;
}
