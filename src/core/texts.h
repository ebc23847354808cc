/*
 * Texts in a message, each there or not: a '+' and the text, or a '-', and a
 * NUL. Taking one off believes nothing.
 */
#ifndef CORE_TEXTS_H
#define CORE_TEXTS_H

#include "core/span.h"

#include <stdbool.h>
#include <stddef.h>

/* Writes one text to *out, which has *room bytes, and moves both on. Returns 0, or -1 when it does not fit. */
int texts_put(unsigned char **out, size_t *room, bool there, const char *text);

/*
 * Takes one text off *in into text[0..size). Returns whether it was there (1,
 * or 0 and text is ""), or -1 for what is no text, is not printable ASCII or
 * does not fit.
 */
int texts_get(struct span *in, char *text, size_t size);

#endif
