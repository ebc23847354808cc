/*
 * The option table and what is made of it. A new option is a new row: parser,
 * usage line and help follow by themselves.
 */
#include "core/options.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum kind {
	SET,	/* takes no argument, stores value */
	NUMBER, /* takes a number from 0 to OPTION_MAX */
	CHOICE, /* takes one of the words of `argument`, stores its place among them */
};

struct option {
	char letter;	  /* 0: long form only */
	const char *name; /* long form; NULL: letter only */
	enum kind kind;
	size_t field; /* offset of an int in struct config */
	int value;
	const char *argument;
	const char *help;
};

#define FIELD(name) offsetof(struct config, name)

static const struct option table[] = {
    {'S', "close-notify", SET, FIELD(close), CLOSE_NOTIFY, NULL, "send prog's EOF as close_notify, then end"},
    {'s', "no-close-notify", SET, FIELD(close), CLOSE_FIN, NULL, "send prog's EOF as TCP half close (default)"},
    {0, "half-close-notify", SET, FIELD(close), CLOSE_NOTIFY_HALF, NULL,
	"as -S, but on TLS 1.3 still deliver what the peer sends"},
    {'J', "enforce-close-notify", SET, FIELD(enforce), 1, NULL, "the peer's EOF without close_notify is an error"},
    {'j', NULL, SET, FIELD(enforce), 0, NULL, "the peer's EOF without close_notify is normal (default)"},
    {'Y', "client-cert", SET, FIELD(verify), VERIFY_OPTIONAL, NULL, "ask for a client certificate; refuse a bad one"},
    {'y', "mandatory-client-cert", SET, FIELD(verify), VERIFY_REQUIRED, NULL, "demand a client certificate"},
    {'Z', "keep", SET, FIELD(keep), 1, NULL, "keep our variables in prog's environment"},
    {'z', "no-keep", SET, FIELD(keep), 0, NULL, "remove them (default)"},
    {'v', "verbosity", NUMBER, FIELD(verbosity), 0, "n",
	"0 fatal errors, 1 warnings (default), 2 connections, 3 debug"},
    {'K', "idle-timeout", NUMBER, FIELD(idle_ms), 0, "ms", "end when neither side sends for so long (0: never)"},
    {0, "handshake-timeout", NUMBER, FIELD(handshake_ms), 0, "ms", "bound the handshake (0: never)"},
    {0, "linger", NUMBER, FIELD(linger_ms), 0, "ms", "bound the wait for a peer after our last byte (2000)"},
    {0, "log-fd", NUMBER, FIELD(log_fd), 0, "fd", "write messages there instead of stderr"},
    {0, "sandbox", CHOICE, FIELD(sandbox), 0, "try|require|off", "seal the engine (try: as far as the kernel can)"},
    {0, "backend", SET, FIELD(show), SHOW_BACKEND, NULL, "print the TLS library and its version"},
    {0, "version", SET, FIELD(show), SHOW_VERSION, NULL, "print the version"},
    {0, "help", SET, FIELD(show), SHOW_HELP, NULL, "print this"},
};

#define OPTIONS (sizeof table / sizeof table[0])

static int *
field(struct config *config, const struct option *o)
{
	return (int *)(void *)((char *)config + o->field);
}

static int
store_choice(struct config *config, const struct option *o, const char *shown, const char *argument, struct fault *f)
{
	size_t n = strlen(argument), length;
	int place = 0;

	for (const char *p = o->argument;; p += length + 1, place++) {
		length = strcspn(p, "|");
		if (length == n && memcmp(p, argument, n) == 0) {
			*field(config, o) = place;
			return 0;
		}
		if (p[length] == '\0')
			return fault_set(f, FAULT_USAGE, "%s takes %s, not \"%s\"", shown, o->argument, argument);
	}
}

static int
store_number(struct config *config, const struct option *o, const char *shown, const char *argument, struct fault *f)
{
	const char *p = argument;
	long number = 0;

	while (*p >= '0' && *p <= '9' && number <= OPTION_MAX)
		number = number * 10 + (*p++ - '0');
	if (p == argument || *p != '\0' || number > OPTION_MAX)
		return fault_set(
		    f, FAULT_USAGE, "%s takes a number from 0 to %d, not \"%s\"", shown, OPTION_MAX, argument);
	*field(config, o) = (int)number;
	return 0;
}

/* Stores an argument. `shown` is the option as the user wrote it. */
static int
store(struct config *config, const struct option *o, const char *shown, const char *argument, struct fault *f)
{
	if (o->kind == CHOICE)
		return store_choice(config, o, shown, argument, f);
	return store_number(config, o, shown, argument, f);
}

static const struct option *
by_letter(char letter)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (table[i].letter == letter)
			return &table[i];
	return NULL;
}

static const struct option *
by_name(const char *name, size_t n)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (table[i].name && strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0)
			return &table[i];
	return NULL;
}

/* A word of letters, "-SK700" or "-S" "-K" "700". *argv moves to the last word used. */
static int
parse_letters(struct config *config, char *const **argv, struct fault *f)
{
	for (const char *p = **argv + 1; *p; p++) {
		const struct option *o = by_letter(*p);
		char shown[] = {'-', *p, '\0'};
		const char *argument = p + 1;

		if (!o)
			return fault_set(f, FAULT_USAGE, "unknown option %s", shown);
		if (o->kind == SET) {
			*field(config, o) = o->value;
			continue;
		}
		if (*argument == '\0')
			argument = *++*argv;
		if (!argument)
			return fault_set(f, FAULT_USAGE, "%s needs an argument: %s", shown, o->argument);
		return store(config, o, shown, argument, f);
	}
	return 0;
}

/* "--name", "--name=value" or "--name" "value". *argv moves to the last word used. */
static int
parse_name(struct config *config, char *const **argv, struct fault *f)
{
	const char *word = **argv, *name = word + 2;
	size_t n = strcspn(name, "=");
	const char *argument = name[n] ? name + n + 1 : NULL;
	const struct option *o = by_name(name, n);
	char shown[64];

	if (!o)
		return fault_set(f, FAULT_USAGE, "unknown option %s", word);
	(void)snprintf(shown, sizeof shown, "--%s", o->name);
	if (o->kind == SET && argument)
		return fault_set(f, FAULT_USAGE, "%s takes no argument", shown);
	if (o->kind == SET) {
		*field(config, o) = o->value;
		return 0;
	}
	if (!argument)
		argument = *++*argv;
	if (!argument)
		return fault_set(f, FAULT_USAGE, "%s needs an argument: %s", shown, o->argument);
	return store(config, o, shown, argument, f);
}

int
options_parse(struct config *config, char *const argv[], struct fault *f)
{
	*config = (struct config){.verbosity = 1, .linger_ms = 2000, .log_fd = -1};
	if (!argv[0])
		return fault_set(f, FAULT_USAGE, "no program given");
	for (argv++; *argv && (*argv)[0] == '-' && (*argv)[1]; argv++) {
		bool name = (*argv)[1] == '-';

		if (name && (*argv)[2] == '\0') {
			argv++;
			break;
		}
		if ((name ? parse_name(config, &argv, f) : parse_letters(config, &argv, f)) < 0)
			return -1;
		if (config->show != SHOW_NONE)
			return 0;
	}
	if (!*argv)
		return fault_set(f, FAULT_USAGE, "no program given");
	config->prog = argv;
	return 0;
}

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
alternative(size_t i)
{
	return i > 0 && i < OPTIONS && table[i].kind == SET && table[i - 1].kind == SET &&
	       table[i].field == table[i - 1].field;
}

static void
add_usage(struct text *t)
{
	add(t, "s6-tlsd");
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option *o = &table[i];

		add(t, alternative(i) ? " | " : " [ ");
		if (o->letter)
			add(t, "-%c%s%s", o->letter, o->argument ? " " : "", o->argument ? o->argument : "");
		else
			add(t, "--%s%s%s", o->name, o->argument ? "=" : "", o->argument ? o->argument : "");
		if (!alternative(i + 1))
			add(t, " ]");
	}
	add(t, " [ -- ] prog...");
}

int
options_usage(char *out, size_t size)
{
	struct text t = {.out = out, .size = size};

	add_usage(&t);
	return t.n < size ? (int)t.n : -1;
}

int
options_help(char *out, size_t size)
{
	struct text t = {.out = out, .size = size};

	add(&t, "usage: ");
	add_usage(&t);
	add(&t, "\n\n");
	for (size_t i = 0; i < OPTIONS; i++) {
		const struct option *o = &table[i];
		char form[64];

		(void)snprintf(form, sizeof form, "%s%s%s%s", o->name ? "--" : "", o->name ? o->name : "",
		    o->argument ? "=" : "", o->argument ? o->argument : "");
		add(&t, "  %c%c%c %-26s %s\n", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
		    o->letter && o->name ? ',' : ' ', form, o->help);
	}
	return t.n < size ? (int)t.n : -1;
}
