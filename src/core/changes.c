/*
 * One block that grows, and is no larger than what is in it: a server keeps it
 * for as long as a handshake takes, for each of its peers.
 */
#include "core/changes.h"

#include <stdlib.h>
#include <string.h>

bool
changes_name_valid(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && !strchr(name, '=');
}

/* The first line, less the blanks at its end. skalibs counts the CR of a file from elsewhere among them. */
static struct span
value_in(struct span content)
{
	const unsigned char *end = content.n > 0 ? memchr(content.p, '\n', content.n) : NULL;
	size_t n = end ? (size_t)(end - content.p) : content.n;

	while (n > 0 && (content.p[n - 1] == ' ' || content.p[n - 1] == '\t' || content.p[n - 1] == '\r'))
		n--;
	return (struct span){content.p, n};
}

static void
write_value(char *out, struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		out[i] = (char)(value.p[i] == '\0' ? '\n' : value.p[i]);
	out[value.n] = '\0';
}

/* As realloc(3), but for the old block, of which nothing is left. */
static char *
grown(const struct changes *c, size_t n)
{
	char *text = malloc(c->n + n);

	if (text && c->n > 0) {
		memcpy(text, c->text, c->n);
		explicit_bzero(c->text, c->n);
	}
	if (text)
		free(c->text);
	return text;
}

int
changes_add(struct changes *c, const char *name, struct span content, struct fault *f)
{
	struct span value = value_in(content);
	size_t named = strlen(name), n = named + (content.n > 0 ? 1 + value.n : 0) + 1;
	char *text;

	if (n > CHANGES_MAX - c->n)
		return fault_set(f, FAULT_USAGE, "%s: more than 64 KiB of variables", name);
	text = grown(c, n);
	if (!text)
		return fault_set(f, FAULT_SYSTEM, "%s: out of memory", name);
	c->text = text;
	text += c->n;
	c->n += n;
	memcpy(text, name, named + 1);
	if (content.n > 0) {
		text[named] = '=';
		write_value(text + named + 1, value);
	}
	return 0;
}

void
changes_free(struct changes *c)
{
	if (c->text)
		explicit_bzero(c->text, c->n);
	free(c->text);
	*c = (struct changes){0};
}
