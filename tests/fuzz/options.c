/*
 * Fuzzes options_parse with command lines: words end at a NUL or a newline. The
 * first two bytes choose the room for usage and help, the first the program as
 * well, the second how many sockets were handed over to it. Checks that what is
 * accepted is in range, that what is not is told in one line, and that no text
 * is cut.
 */
#include "core/options.h"
#include "core/address.h"
#include "core/ids.h"

#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

/* Each word is a copy of its own, so that the sanitizer sees a read behind it. */
static char **
split(const uint8_t *data, size_t n, size_t *words)
{
	char **argv = calloc(n + 2, sizeof *argv);

	CHECK(argv != NULL);
	*words = 0;
	for (size_t i = 0, from = 0; i <= n; i++) {
		if (i < n && data[i] != '\0' && data[i] != '\n')
			continue;
		argv[(*words)++] = strndup((const char *)data + from, i - from);
		from = i + 1;
	}
	return argv;
}

static void
check_config(const struct config *c, char *const argv[], size_t words)
{
	const int numbers[] = {c->verbosity, c->idle_ms, c->handshake_ms, c->linger_ms, c->rfd, c->wfd, c->round_s[0],
	    c->round_s[1], c->connect_s, c->backlog, c->connections, c->per_client, c->handshakes, c->spare,
	    c->lookup_ms};
	const int or_none[] = {c->log_fd, c->listen_fd, c->notify_fd, c->uid, c->gid};
	char lower[DNSNAME_SIZE];
	unsigned char octets[16];

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		CHECK(numbers[i] >= 0 && numbers[i] <= OPTION_MAX);
	for (size_t i = 0; i < sizeof or_none / sizeof *or_none; i++)
		CHECK(or_none[i] >= -1 && or_none[i] <= OPTION_MAX);
	CHECK(c->close >= CLOSE_FIN && c->close <= CLOSE_NOTIFY_HALF);
	CHECK(c->verify >= VERIFY_NONE && c->verify <= VERIFY_REQUIRED);
	CHECK((c->enforce == 0 || c->enforce == 1) && (c->keep == 0 || c->keep == 1));
	CHECK(c->sandbox >= SANDBOX_TRY && c->sandbox <= SANDBOX_OFF);
	CHECK(c->show >= SHOW_NONE && c->show <= SHOW_BACKEND);
	CHECK(c->rfd != c->wfd || c->show != SHOW_NONE);
	CHECK(!c->servername[0] || address_parse(c->servername, octets) > 0 ||
	      dnsname_valid((const unsigned char *)c->servername, strlen(c->servername), lower));
	CHECK(!c->local_ip || address_parse(c->local_ip, octets) > 0);
	CHECK(!c->groups || ids_groups(c->groups, NULL, IDS_MAX) >= 0);
	CHECK(!c->rules || *c->rules);
	if (c->program == TLSSERVER && c->show == SHOW_NONE) {
		bool given = c->listen_fd >= 0 || c->sockets > 0;

		CHECK(c->connections > 0);
		CHECK(given ? !c->host && !c->port : c->host && *c->host && c->port && *c->port);
	}
	if (c->program == TLSCLIENT && c->show == SHOW_NONE)
		CHECK(c->host && *c->host && c->port && *c->port);
	if (c->program == TLSCLIENT && c->show == SHOW_NONE && c->verify && !c->any_name)
		CHECK(c->servername[0]);
	if (c->show != SHOW_NONE)
		CHECK(c->prog == NULL);
	else if (c->prog || c->program != TLSCLIENT)
		CHECK(c->prog > argv && c->prog < argv + words && *c->prog != NULL);
}

/* The text whole in a room of exactly that size, or nothing. */
static void
check_text(int (*print)(enum program, char *, size_t), enum program program, size_t size)
{
	char whole[8192], *out = malloc(size + (size == 0));
	int want = print(program, whole, sizeof whole), got;

	CHECK(out != NULL && want > 0 && whole[want] == '\0');
	got = print(program, out, size);
	CHECK(got == ((size_t)want < size ? want : -1));
	CHECK(got < 0 || strcmp(out, whole) == 0);
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct config config;
	struct fault f = {0};
	enum program program;
	size_t words;

	if (n < 2)
		return 0;
	program = (enum program)(1U << data[0] % 4);
	check_text(options_usage, program, (size_t)(data[0] << 8 | data[1]) % 8192);
	check_text(options_help, program, (size_t)(data[0] << 8 | data[1]) % 8192);

	char **argv = split(data + 2, n - 2, &words);
	if (options_parse(program, data[1] % 3, &config, argv, &f) == 0) {
		check_config(&config, argv, words);
		CHECK(f.code == FAULT_NONE);
	} else {
		CHECK(f.code == FAULT_USAGE && f.text[0] != '\0' && printable(f.text));
	}
	for (size_t i = 0; i < words; i++)
		free(argv[i]);
	free(argv);
	return 0;
}
