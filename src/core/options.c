/*
 * The parser: words find their rows in the table, arguments their fields. Must
 * know no option by itself but what follows from several together.
 */
#include "core/options.h"

#include "core/address.h"
#include "core/ids.h"
#include "core/options_table.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* -- storing ------------------------------------------------------------- */

/* An option on its way into the configuration. */
struct reading {
	struct config *config;
	const struct option *option;
	const char *shown; /* as the user wrote it */
	const char *argument;
	struct fault *f;
};

static void *
field(const struct reading *r)
{
	return (char *)r->config + r->option->field;
}

static int
store_choice(const struct reading *r)
{
	size_t n = strlen(r->argument), length;
	int which = 0;

	for (const char *p = r->option->argument;; p += length + 1, which++) {
		length = strcspn(p, "|");
		if (length == n && memcmp(p, r->argument, n) == 0) {
			*(int *)field(r) = which;
			return 0;
		}
		if (p[length] == '\0')
			return fault_set(
			    r->f, FAULT_USAGE, "%s takes %s, not \"%s\"", r->shown, r->option->argument, r->argument);
	}
}

/* Takes a number off *text. */
static bool
read_number(const char **text, int *number)
{
	const char *p = *text;
	long n = 0;

	while (*p >= '0' && *p <= '9' && n <= OPTION_MAX)
		n = n * 10 + (*p++ - '0');
	if (p == *text || n > OPTION_MAX)
		return false;
	*number = (int)n;
	*text = p;
	return true;
}

static int
store_number(const struct reading *r)
{
	const char *p = r->argument;
	int number;

	if (!read_number(&p, &number) || *p != '\0')
		return fault_set(
		    r->f, FAULT_USAGE, "%s takes a number from 0 to %d, not \"%s\"", r->shown, OPTION_MAX, r->argument);
	*(int *)field(r) = number;
	return 0;
}

static int
store_rounds(const struct reading *r)
{
	const char *p = r->argument;
	int x, y = 0, *rounds = field(r);
	bool good = read_number(&p, &x) && x > 0;

	if (good && *p == '+') {
		p++;
		good = read_number(&p, &y);
	}
	if (!good || *p != '\0')
		return fault_set(r->f, FAULT_USAGE, "%s takes seconds, %s with x of 1 or more, not \"%s\"", r->shown,
		    r->option->argument, r->argument);
	rounds[0] = x;
	rounds[1] = y;
	return 0;
}

static int
store_text(const struct reading *r)
{
	if (*r->argument == '\0')
		return fault_set(r->f, FAULT_USAGE, "%s needs an argument that is not empty", r->shown);
	*(const char **)field(r) = r->argument;
	return 0;
}

/* A service's name, or a number that a port can have. */
static bool
port_valid(const char *text)
{
	int number;

	return !read_number(&text, &number) || *text != '\0' || number <= 65535;
}

static int
store_port(const struct reading *r)
{
	if (store_text(r) < 0)
		return -1;
	if (!port_valid(r->argument))
		return fault_set(
		    r->f, FAULT_USAGE, "%s takes a number up to 65535 or a service, not \"%s\"", r->shown, r->argument);
	return 0;
}

static int
store_address(const struct reading *r)
{
	unsigned char octets[16];

	if (address_parse(r->argument, octets) == 0)
		return fault_set(r->f, FAULT_USAGE, "%s takes an IP address, not \"%s\"", r->shown, r->argument);
	*(const char **)field(r) = r->argument;
	return 0;
}

static int
store_list(const struct reading *r)
{
	if (ids_groups(r->argument, NULL, IDS_MAX) < 0)
		return fault_set(r->f, FAULT_USAGE, "%s takes up to %d numbers with commas between, not \"%s\"",
		    r->shown, IDS_MAX, r->argument);
	*(const char **)field(r) = r->argument;
	return 0;
}

/*
 * What of a name or address stands in a certificate: an IPv6 zone does not, nor
 * does a final dot.
 */
static bool
certifiable(const char *text, char out[DNSNAME_SIZE])
{
	unsigned char octets[16];
	size_t n = strchr(text, ':') ? strcspn(text, "%") : strlen(text);

	if (n == 0 || n > DNSNAME_SIZE)
		return false;
	if (text[n - 1] == '.')
		n--;
	if (dnsname_valid((const unsigned char *)text, n, out))
		return true;
	if (n >= DNSNAME_SIZE)
		return false;
	memcpy(out, text, n);
	out[n] = '\0';
	if (address_parse(out, octets) > 0)
		return true;
	out[0] = '\0';
	return false;
}

static int
store_name(const struct reading *r)
{
	if (!certifiable(r->argument, field(r)))
		return fault_set(
		    r->f, FAULT_USAGE, "%s takes a DNS name or an IP address, not \"%s\"", r->shown, r->argument);
	return 0;
}

static int
store(const struct reading *r)
{
	switch (r->option->kind) {
	case SET: *(int *)field(r) = r->option->value; break;
	case NUMBER: return store_number(r);
	case ROUNDS: return store_rounds(r);
	case CHOICE: return store_choice(r);
	case TEXT: return store_text(r);
	case NAME: return store_name(r);
	case PORT: return store_port(r);
	case ADDRESS: return store_address(r);
	case LIST: return store_list(r);
	}
	return 0;
}

/* -- parsing ------------------------------------------------------------- */

static const struct option *
by_letter(enum program program, char letter)
{
	const struct option *o;
	size_t i = 0;

	do
		o = options_next(program, &i);
	while (o && o->letter != letter);
	return o;
}

static const struct option *
by_name(enum program program, const char *name, size_t n)
{
	const struct option *o;
	size_t i = 0;

	do
		o = options_next(program, &i);
	while (o && !(o->name && strlen(o->name) == n && memcmp(o->name, name, n) == 0));
	return o;
}

static int
lacks_argument(const struct reading *r)
{
	return fault_set(r->f, FAULT_USAGE, "%s needs an argument: %s", r->shown, r->option->argument);
}

/* A word of letters, "-SK700" or "-S" "-K" "700". *argv moves to the last word used. */
static int
parse_letters(struct config *config, char *const **argv, struct fault *f)
{
	for (const char *p = **argv + 1; *p; p++) {
		char shown[] = {'-', *p, '\0'};
		struct reading r = {config, by_letter(config->program, *p), shown, p + 1, f};

		if (!r.option)
			return fault_set(f, FAULT_USAGE, "unknown option %s", shown);
		if (r.option->kind == SET) {
			(void)store(&r);
			continue;
		}
		if (*r.argument == '\0')
			r.argument = *++*argv;
		return r.argument ? store(&r) : lacks_argument(&r);
	}
	return 0;
}

/* "--name", "--name=value" or "--name" "value". *argv moves to the last word used. */
static int
parse_name(struct config *config, char *const **argv, struct fault *f)
{
	const char *word = **argv, *name = word + 2;
	size_t n = strcspn(name, "=");
	char shown[64];
	struct reading r = {config, by_name(config->program, name, n), shown, name[n] ? name + n + 1 : NULL, f};

	if (!r.option)
		return fault_set(f, FAULT_USAGE, "unknown option %s", word);
	(void)snprintf(shown, sizeof shown, "--%s", r.option->name);
	if (r.option->kind == SET && r.argument)
		return fault_set(f, FAULT_USAGE, "%s takes no argument", shown);
	if (r.option->kind != SET && !r.argument)
		r.argument = *++*argv;
	return r.option->kind == SET || r.argument ? store(&r) : lacks_argument(&r);
}

/* The two words before prog. */
static int
parse_place(struct config *config, const char *what, char *const **argv, struct fault *f)
{
	const char *host = **argv, *port = host ? (*argv)[1] : NULL;

	if (!host || !port)
		return fault_set(f, FAULT_USAGE, "no %s given", host ? "port" : what);
	if (*host == '\0' || *port == '\0')
		return fault_set(f, FAULT_USAGE, "the %s is empty", *host ? "port" : what);
	if (!port_valid(port))
		return fault_set(f, FAULT_USAGE, "the port is a number up to 65535 or a service, not \"%s\"", port);
	config->host = host;
	config->port = port;
	*argv += 2;
	return 0;
}

/* Where the server is, which, by its name there, is also whom the certificate is to name. */
static int
parse_host(struct config *config, char *const **argv, struct fault *f)
{
	if (parse_place(config, "host", argv, f) < 0)
		return -1;
	if (config->servername[0] || certifiable(config->host, config->servername))
		return 0;
	if (config->verify == VERIFY_NONE || config->any_name)
		return 0;
	return fault_set(f, FAULT_USAGE,
	    "no certificate can name the host \"%s\": use -k to say which name it must bear", config->host);
}

static int
check_fds(const struct config *config, struct fault *f)
{
	if (config->rfd == config->wfd)
		return fault_set(f, FAULT_USAGE, "-6 and -7 name the same descriptor, %d", config->rfd);
	if (config->rfd == 2 || config->wfd == 2)
		return fault_set(
		    f, FAULT_USAGE, "-%d 2: the network cannot be on standard error", config->rfd == 2 ? 6 : 7);
	return 0;
}

/* Where to listen, unless that is given by what is there. */
static int
parse_ip(struct config *config, char *const **argv, struct fault *f)
{
	if (config->connections < 1)
		return fault_set(f, FAULT_USAGE, "-c 0: nobody could connect");
	return config->listen_fd >= 0 || config->sockets > 0 ? 0 : parse_place(config, "ip", argv, f);
}

/* What follows the options. */
static int
parse_rest(struct config *config, char *const *argv, struct fault *f)
{
	if (check_fds(config, f) < 0 || (config->program == TLSCLIENT && parse_host(config, &argv, f) < 0) ||
	    (config->program == TLSSERVER && parse_ip(config, &argv, f) < 0))
		return -1;
	if (*argv)
		config->prog = argv;
	else if (config->program != TLSCLIENT)
		return fault_set(f, FAULT_USAGE, "no program given");
	return 0;
}

static struct config
defaults(enum program program, int sockets)
{
	bool server = program & SERVERS;

	return (struct config){.program = program,
	    .rfd = server ? 0 : 6,
	    .wfd = server ? 1 : 7,
	    .verify = server ? VERIFY_NONE : VERIFY_REQUIRED,
	    .certificate = server,
	    .verbosity = 1,
	    .handshake_ms = program == TLSSERVER ? 30000 : 0,
	    .linger_ms = 2000,
	    .log_fd = -1,
	    .no_lookup = program == TLSSERVER,
	    .round_s = {2, 58},
	    .listen_fd = -1,
	    .sockets = sockets,
	    .backlog = 1024,
	    .connections = 40,
	    .spare = 2,
	    .notify_fd = -1,
	    .lookup_ms = 10000,
	    .uid = -1,
	    .gid = -1};
}

int
options_parse(enum program program, int sockets, struct config *config, char *const argv[], struct fault *f)
{
	*config = defaults(program, sockets);
	if (argv[0])
		argv++;
	for (; *argv && (*argv)[0] == '-' && (*argv)[1]; argv++) {
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
	return parse_rest(config, argv, f);
}
