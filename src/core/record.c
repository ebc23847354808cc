/*
 * The record tracker: it sees every byte that comes from the wire, and never
 * anything but the five octets before each record.
 */
#include "core/record.h"

void
record_feed(struct record *r, const unsigned char *p, size_t n)
{
	while (n > 0) {
		if (r->left > 0) {
			size_t step = n < r->left ? n : r->left;

			r->left -= step;
			p += step;
			n -= step;
			continue;
		}
		r->header[r->have++] = *p++;
		n--;
		if (r->have == sizeof r->header) {
			r->left = (size_t)r->header[3] << 8 | r->header[4];
			r->have = 0;
		}
	}
}

bool
record_inside(const struct record *r)
{
	return r->have > 0 || r->left > 0;
}
