/*
 * Composes the one line that tells what went wrong. Whatever the arguments
 * hold, the text is printable ASCII, NUL-terminated and no longer than its
 * array. Must never print, exit or allocate.
 */
#include "core/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Makes the n bytes at text fit to be one line of a log. */
static void
fault_launder(char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			text[i] = '?';
}

int
fault_set(struct fault *f, enum fault_code code, const char *fmt, ...)
{
	/* Not f->text: the arguments may point there, when a caller puts words around an earlier fault. */
	char text[FAULT_TEXT];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0)
		n = snprintf(text, sizeof text, "%s", fmt);

	size_t shown = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
	fault_launder(text, shown);
	if ((size_t)n > shown)
		memcpy(text + shown - 3, "...", 4);

	memcpy(f->text, text, shown + 1);
	f->code = code;
	return -1;
}
