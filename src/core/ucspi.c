/*
 * Six texts in fixed order: ours and theirs, of addresses, ports and names.
 */
#include "core/ucspi.h"

#include "core/address.h"
#include "core/texts.h"

#include <string.h>

enum { PORT_MAX = 65535 };

long
ucspi_pack(const struct ucspi *u, unsigned char *out, size_t size)
{
	unsigned char *p = out;

	if (texts_put(&p, &size, true, u->local_ip) < 0 || texts_put(&p, &size, true, u->remote_ip) < 0 ||
	    texts_put(&p, &size, true, u->local_port) < 0 || texts_put(&p, &size, true, u->remote_port) < 0 ||
	    texts_put(&p, &size, u->has_local_host, u->local_host) < 0 ||
	    texts_put(&p, &size, u->has_remote_host, u->remote_host) < 0)
		return -1;
	return p - out;
}

static bool
get_ip(struct span *in, char text[UCSPI_IP])
{
	unsigned char octets[16];

	return texts_get(in, text, UCSPI_IP) == 1 && address_parse(text, octets) > 0;
}

static bool
get_port(struct span *in, char text[UCSPI_PORT])
{
	unsigned n = 0;

	if (texts_get(in, text, UCSPI_PORT) != 1 || text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
		return false;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		n = n * 10 + (unsigned)(*p - '0');
	}
	return n <= PORT_MAX;
}

static bool
get_host(struct span *in, bool *has, char text[DNSNAME_SIZE])
{
	char lower[DNSNAME_SIZE];
	int there = texts_get(in, text, DNSNAME_SIZE);

	*has = there == 1;
	return there == 0 || (there == 1 && dnsname_valid((const unsigned char *)text, strlen(text), lower) &&
				 strcmp(text, lower) == 0);
}

int
ucspi_unpack(struct span in, struct ucspi *u)
{
	if (!get_ip(&in, u->local_ip) || !get_ip(&in, u->remote_ip) || !get_port(&in, u->local_port) ||
	    !get_port(&in, u->remote_port) || !get_host(&in, &u->has_local_host, u->local_host) ||
	    !get_host(&in, &u->has_remote_host, u->remote_host) || in.n != 0)
		return -1;
	return 0;
}
