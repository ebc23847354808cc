/*
 * What the programs say of their options, from the table alone.
 */
#include "core/options.h"

#include "core/options_table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

/* A text that grows in the caller's buffer; `n` counts on past the end, so that too little room shows. */
struct text {
	char *out;
	size_t size, n;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->n < t->size ? t->out + t->n : NULL, t->n < t->size ? t->size - t->n : 0, fmt, ap);
	va_end(ap);
	t->n = n < 0 ? t->size : t->n + (size_t)n;
}

/* Rows that follow one another and store into one field with no argument contradict one another: shown as choices. */
static bool
alternatives(const struct option *a, const struct option *b)
{
	return a && b && a->kind == SET && b->kind == SET && a->field == b->field;
}

static void
add_usage(struct text *t, enum program program)
{
	const struct option *before = NULL, *o, *next;
	size_t i = 0;

	add(t, "%s", options_name(program));
	for (o = options_next(program, &i); o; before = o, o = next) {
		next = options_next(program, &i);
		add(t, alternatives(before, o) ? " | " : " [ ");
		if (o->letter)
			add(t, "-%c%s%s", o->letter, o->argument ? " " : "", o->argument ? o->argument : "");
		else
			add(t, "--%s%s%s", o->name, o->argument ? "=" : "", o->argument ? o->argument : "");
		if (!alternatives(o, next))
			add(t, " ]");
	}
	add(t, " [ -- ] %s", options_rest(program));
}

int
options_usage(enum program program, char *out, size_t size)
{
	struct text t = {.out = out, .size = size};

	add_usage(&t, program);
	return t.n < size ? (int)t.n : -1;
}

/* "-K, --idle-timeout=ms", or what there is of it. */
static void
add_forms(struct text *t, const struct option *o)
{
	const char *argument = o->argument ? o->argument : "";
	char form[64];

	if (!o->name) {
		add(t, "  -%c %-27s ", o->letter, argument);
		return;
	}
	(void)snprintf(form, sizeof form, "--%s%s%s", o->name, *argument ? "=" : "", argument);
	add(t, "  %c%c%c %-26s ", o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->letter ? ',' : ' ', form);
}

int
options_help(enum program program, char *out, size_t size)
{
	struct text t = {.out = out, .size = size};
	const struct option *o;
	size_t i = 0;

	add(&t, "usage: ");
	add_usage(&t, program);
	add(&t, "\n\n");
	while ((o = options_next(program, &i))) {
		add_forms(&t, o);
		add(&t, "%s\n", o->help);
	}
	return t.n < size ? (int)t.n : -1;
}
