/*
 * The command line as a table: words in, fields or one clear line out.
 */
#include "core/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORDS 12

struct good {
	const char *words[WORDS];
	struct config config; /* prog aside */
	int prog;	      /* the place of prog among the words; -1: none */
};

#define DEFAULTS .verbosity = 1, .linger_ms = 2000, .log_fd = -1

static const struct good goods[] = {
    {{"cat"}, {DEFAULTS}, 0},
    {{"cat", "-S", "--help"}, {DEFAULTS}, 0},
    {{"--", "-S"}, {DEFAULTS}, 1},
    {{"-"}, {DEFAULTS}, 0},
    {{"-S", "cat"}, {DEFAULTS, .close = CLOSE_NOTIFY}, 1},
    {{"--close-notify", "cat"}, {DEFAULTS, .close = CLOSE_NOTIFY}, 1},
    {{"-S", "-s", "cat"}, {DEFAULTS}, 2},
    {{"-s", "--half-close-notify", "cat"}, {DEFAULTS, .close = CLOSE_NOTIFY_HALF}, 2},
    {{"--half-close-notify", "--no-close-notify", "cat"}, {DEFAULTS}, 2},
    {{"-J", "cat"}, {DEFAULTS, .enforce = 1}, 1},
    {{"--enforce-close-notify", "-j", "cat"}, {DEFAULTS}, 2},
    {{"-Y", "cat"}, {DEFAULTS, .verify = VERIFY_OPTIONAL}, 1},
    {{"--client-cert", "cat"}, {DEFAULTS, .verify = VERIFY_OPTIONAL}, 1},
    {{"-Yy", "cat"}, {DEFAULTS, .verify = VERIFY_REQUIRED}, 1},
    {{"--mandatory-client-cert", "cat"}, {DEFAULTS, .verify = VERIFY_REQUIRED}, 1},
    {{"-Z", "cat"}, {DEFAULTS, .keep = 1}, 1},
    {{"--keep", "--no-keep", "cat"}, {DEFAULTS}, 2},
    {{"-Zz", "cat"}, {DEFAULTS}, 1},
    {{"-v2", "cat"}, {.verbosity = 2, .linger_ms = 2000, .log_fd = -1}, 1},
    {{"-v", "0", "cat"}, {.verbosity = 0, .linger_ms = 2000, .log_fd = -1}, 2},
    {{"--verbosity=3", "cat"}, {.verbosity = 3, .linger_ms = 2000, .log_fd = -1}, 1},
    {{"--verbosity", "3", "cat"}, {.verbosity = 3, .linger_ms = 2000, .log_fd = -1}, 2},
    {{"-K700", "cat"}, {DEFAULTS, .idle_ms = 700}, 1},
    {{"-K", "700", "cat"}, {DEFAULTS, .idle_ms = 700}, 2},
    {{"-SJK", "700", "cat"}, {DEFAULTS, .idle_ms = 700, .close = CLOSE_NOTIFY, .enforce = 1}, 2},
    {{"-SJK700", "cat"}, {DEFAULTS, .idle_ms = 700, .close = CLOSE_NOTIFY, .enforce = 1}, 1},
    {{"--idle-timeout=2147483647", "cat"}, {DEFAULTS, .idle_ms = 2147483647}, 1},
    {{"-K0700", "cat"}, {DEFAULTS, .idle_ms = 700}, 1},
    {{"--handshake-timeout=5", "cat"}, {DEFAULTS, .handshake_ms = 5}, 1},
    {{"--linger=0", "cat"}, {.verbosity = 1, .linger_ms = 0, .log_fd = -1}, 1},
    {{"--log-fd=7", "cat"}, {.verbosity = 1, .linger_ms = 2000, .log_fd = 7}, 1},
    {{"--sandbox=try", "cat"}, {DEFAULTS}, 1},
    {{"--sandbox=require", "cat"}, {DEFAULTS, .sandbox = SANDBOX_REQUIRE}, 1},
    {{"--sandbox", "off", "cat"}, {DEFAULTS, .sandbox = SANDBOX_OFF}, 2},
    {{"--sandbox=off", "--sandbox=require", "cat"}, {DEFAULTS, .sandbox = SANDBOX_REQUIRE}, 2},
    {{"--help"}, {DEFAULTS, .show = SHOW_HELP}, -1},
    {{"--version", "--nonsense"}, {DEFAULTS, .show = SHOW_VERSION}, -1},
    {{"-S", "--backend"}, {DEFAULTS, .close = CLOSE_NOTIFY, .show = SHOW_BACKEND}, -1},
};

/* argv as a program gets it. */
static void
build(const char *const words[WORDS], char *argv[WORDS + 2])
{
	argv[0] = "s6-tlsd";
	for (int i = 0; i < WORDS; i++)
		argv[i + 1] = (char *)(uintptr_t)words[i];
	argv[WORDS + 1] = NULL;
}

static void
what_is_right(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
		const struct good *g = &goods[i];
		char *argv[WORDS + 2];
		struct config config;
		struct fault f = {0};

		build(g->words, argv);
		if (options_parse(&config, argv, &f) < 0)
			fail_msg("%s: %s", g->words[0], f.text);
		assert_ptr_equal(config.prog, g->prog < 0 ? NULL : argv + 1 + g->prog);
		config.prog = NULL;
		if (memcmp(&config, &g->config, sizeof config) != 0)
			fail_msg("row %zu: %s", i, g->words[0]);
	}
}

static void
what_is_wrong(void **state)
{
	static const struct {
		const char *words[WORDS];
		const char *text;
	} bads[] = {
	    {{NULL}, "no program given"},
	    {{"-S"}, "no program given"},
	    {{"--"}, "no program given"},
	    {{"-x", "cat"}, "unknown option -x"},
	    {{"-Sx", "cat"}, "unknown option -x"},
	    {{"--x", "cat"}, "unknown option --x"},
	    {{"--clos", "cat"}, "unknown option --clos"},
	    {{"---S", "cat"}, "unknown option ---S"},
	    {{"--=", "cat"}, "unknown option --="},
	    {{"--close-notify=1", "cat"}, "--close-notify takes no argument"},
	    {{"-K"}, "-K needs an argument: ms"},
	    {{"-SK"}, "-K needs an argument: ms"},
	    {{"--linger"}, "--linger needs an argument: ms"},
	    {{"--linger=", "cat"}, "--linger takes a number from 0 to 2147483647, not \"\""},
	    {{"-K", "", "cat"}, "-K takes a number from 0 to 2147483647, not \"\""},
	    {{"-K", "-1", "cat"}, "not \"-1\""},
	    {{"-K+1", "cat"}, "not \"+1\""},
	    {{"-K", " 1", "cat"}, "not \" 1\""},
	    {{"-K1x", "cat"}, "not \"1x\""},
	    {{"-K0x10", "cat"}, "not \"0x10\""},
	    {{"-K2147483648", "cat"}, "not \"2147483648\""},
	    {{"-K99999999999999999999999999", "cat"}, "-K takes a number"},
	    {{"--sandbox", "cat"}, "--sandbox takes try|require|off, not \"cat\""},
	    {{"--sandbox=", "cat"}, "--sandbox takes try|require|off, not \"\""},
	    {{"--sandbox=tr", "cat"}, "not \"tr\""},
	    {{"--sandbox=trying", "cat"}, "not \"trying\""},
	    {{"--sandbox=try|require", "cat"}, "not \"try|require\""},
	    {{"--sandbox"}, "--sandbox needs an argument: try|require|off"},
	    {{"-v", "cat"}, "-v takes a number from 0 to 2147483647, not \"cat\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
		char *argv[WORDS + 2];
		struct config config;
		struct fault f = {0};

		build(bads[i].words, argv);
		assert_int_equal(options_parse(&config, argv, &f), -1);
		assert_int_equal(f.code, FAULT_USAGE);
		if (!strstr(f.text, bads[i].text))
			fail_msg("\"%s\" is not in \"%s\"", bads[i].text, f.text);
	}
}

static void
no_argv_at_all(void **state)
{
	char *argv[] = {NULL};
	struct config config;
	struct fault f = {0};

	(void)state;
	assert_int_equal(options_parse(&config, argv, &f), -1);
	assert_int_equal(f.code, FAULT_USAGE);
}

/* Every option stands in the usage and in the help, and neither is ever cut. */
static void
usage_and_help(void **state)
{
	static const char *const in_usage[] = {"-S | -s | --half-close-notify", "[ -J | -j ]", "[ -Y | -y ]",
	    "[ -Z | -z ]", "[ -v n ]", "[ -K ms ]", "[ --handshake-timeout=ms ]", "[ --linger=ms ]", "[ --log-fd=fd ]",
	    "[ --sandbox=try|require|off ]", "--backend | --version | --help", "[ -- ] prog..."};
	char usage[1024], help[4096];

	(void)state;
	assert_true(options_usage(usage, sizeof usage) > 0);
	for (size_t i = 0; i < sizeof in_usage / sizeof *in_usage; i++)
		if (!strstr(usage, in_usage[i]))
			fail_msg("\"%s\" is not in \"%s\"", in_usage[i], usage);
	assert_null(strchr(usage, '\n'));
	int n = options_help(help, sizeof help);
	assert_int_equal(n, strlen(help));
	assert_non_null(strstr(help, usage));
	assert_non_null(strstr(help, "-K, --idle-timeout=ms"));
	assert_int_equal(options_help(help, (size_t)n), -1);
	assert_int_equal(options_help(help, (size_t)n + 1), n);
	assert_int_equal(options_usage(usage, 10), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_right),
	    cmocka_unit_test(what_is_wrong),
	    cmocka_unit_test(no_argv_at_all),
	    cmocka_unit_test(usage_and_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
