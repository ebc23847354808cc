/*
 * What an access rule changes in prog's environment, as the files of its
 * directory env/ say it, in the manner of s6-envdir.
 */
#ifndef CORE_CHANGES_H
#define CORE_CHANGES_H

#include "core/fault.h"
#include "core/span.h"

#include <stdbool.h>

/* The most that the changes of one rule take, each with its NUL. */
#define CHANGES_MAX 65536

/*
 * n bytes of texts, each with a NUL: "NAME=value" sets a variable, "NAME" takes
 * it away, and of two about the same the later holds. No name is empty. {0}
 * changes nothing.
 */
struct changes {
	char *text;
	size_t n;
};

/* Whether a file of that name is about a variable: neither hidden nor with a '='. */
bool changes_name_valid(const char *name);

/*
 * Adds what the file `name`, which is valid, says with its content: its first
 * line is the value, without blanks at its end and with newlines for NULs; an
 * empty file takes the variable away. Returns 0; or -1 with *f, and *c as it
 * was, when it would be over CHANGES_MAX (FAULT_USAGE) or there is no memory
 * (FAULT_SYSTEM).
 */
int changes_add(struct changes *c, const char *name, struct span content, struct fault *f);

/* Frees what *c holds, and makes it {0}. */
void changes_free(struct changes *c);

#endif
