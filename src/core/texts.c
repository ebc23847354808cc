/*
 * One form for each text, so that a message is read in one way only.
 */
#include "core/texts.h"

#include <string.h>

int
texts_put(unsigned char **out, size_t *room, bool there, const char *text)
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

int
texts_get(struct span *in, char *text, size_t size)
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
