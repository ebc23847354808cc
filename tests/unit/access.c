/*
 * Access rules as they lie in a directory: who is let in, with what, and that
 * whatever cannot be read lets nobody in.
 */
#include "sys/access.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char home[] = "/tmp/test-access-XXXXXX";
static int dir = -1;
static struct changes env;
static struct fault f;

/* -- the directory, made anew for each test ---------------------------------- */

static int
set_up(void **state)
{
	(void)state;
	strcpy(home + sizeof home - 7, "XXXXXX");
	if (!mkdtemp(home))
		return -1;
	dir = access_open(home, &f);
	return dir < 0 ? -1 : 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static int
tear_down(void **state)
{
	(void)state;
	changes_free(&env);
	(void)close(dir);
	return nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Makes the directories on the way to a path. */
static void
make_way(const char *path)
{
	char way[512];

	(void)snprintf(way, sizeof way, "%s", path);
	for (char *p = strchr(way, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		assert_true(mkdirat(dir, way, 0755) == 0 || errno == EEXIST);
		*p = '/';
	}
}

/* Writes a file, and makes the directories on its way. */
static void
put(const char *path, const char *content)
{
	int fd;

	make_way(path);
	fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	(void)close(fd);
}

static void
drop(const char *path)
{
	assert_int_equal(unlinkat(dir, path, 0), 0);
}

static enum access
by_address(const char *ip)
{
	changes_free(&env);
	return access_by_address(dir, ip, &env, &f);
}

static enum access
by_name(const char *name)
{
	changes_free(&env);
	return access_by_name(dir, name, &env, &f);
}

/* Nobody is let in, for that reason. */
static void
assert_error(enum access got, enum fault_code code, const char *text)
{
	assert_int_equal(got, ACCESS_ERROR);
	assert_null(env.text);
	assert_int_equal(env.n, 0);
	assert_int_equal(f.code, code);
	assert_string_equal(f.text, text);
}

/* -- who is let in ----------------------------------------------------------- */

static void
no_rules(void **state)
{
	(void)state;
	assert_int_equal(by_address("192.0.2.1"), ACCESS_NONE);
	assert_int_equal(by_address("2001:db8::1"), ACCESS_NONE);
	assert_int_equal(by_name("www.example.org"), ACCESS_NONE);
}

/* A rule with neither file decides nothing, whatever else is in it. */
static void
the_longest_prefix_decides(void **state)
{
	(void)state;
	put("ip4/192.0.2.1_32/env/A", "1");
	put("ip4/192.0.2.1_32/exec", "true");
	put("ip4/192.0.2.0_24/allow", "");
	put("ip4/192.0.0.0_16/deny", "");
	put("ip4/192.0.9.1_24/deny", "");
	put("ip6/2001:db8::_32/deny", "");
	put("ip6/2001:db8:0:1::_64/allow", "");
	put("ip6/::_0/allow", "");

	assert_int_equal(by_address("192.0.2.1"), ACCESS_ALLOW);
	assert_int_equal(env.n, 0);
	assert_int_equal(by_address("192.0.2.255"), ACCESS_ALLOW);
	assert_int_equal(by_address("192.0.3.1"), ACCESS_DENY);
	assert_int_equal(by_address("192.0.9.1"), ACCESS_DENY);
	assert_int_equal(by_address("198.51.100.1"), ACCESS_NONE);
	assert_int_equal(by_address("2001:db8::1"), ACCESS_DENY);
	assert_int_equal(by_address("2001:db8:0:1::1"), ACCESS_ALLOW);
	assert_int_equal(by_address("::1"), ACCESS_ALLOW);
	put("ip4/0.0.0.0_0/deny", "");
	assert_int_equal(by_address("198.51.100.1"), ACCESS_DENY);
}

static void
the_longest_name_decides(void **state)
{
	(void)state;
	put("reversedns/example.org/allow", "");
	put("reversedns/bad.example.org/deny", "");
	put("reversedns/net/deny", "");
	assert_int_equal(by_name("example.org"), ACCESS_ALLOW);
	assert_int_equal(by_name("a.good.example.org"), ACCESS_ALLOW);
	assert_int_equal(by_name("a.bad.example.org"), ACCESS_DENY);
	assert_int_equal(by_name("badexample.org"), ACCESS_NONE);
	assert_int_equal(by_name("example.net"), ACCESS_DENY);
	assert_int_equal(by_name("localhost"), ACCESS_NONE);
	put("reversedns/@/allow", "");
	assert_int_equal(by_name("localhost"), ACCESS_ALLOW);
	assert_int_equal(by_name("example.net"), ACCESS_DENY);
}

static void
allow_is_before_deny(void **state)
{
	(void)state;
	put("ip4/192.0.2.1_32/deny", "");
	assert_int_equal(by_address("192.0.2.1"), ACCESS_DENY);
	put("ip4/192.0.2.1_32/allow", "");
	assert_int_equal(by_address("192.0.2.1"), ACCESS_ALLOW);
}

static void
changes_take_effect_at_once(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		put("ip4/192.0.2.1_32/allow", "");
		put("ip4/192.0.2.1_32/env/A", i == 0 ? "zero" : "one");
		assert_int_equal(by_address("192.0.2.1"), ACCESS_ALLOW);
		assert_string_equal(env.text, i == 0 ? "A=zero" : "A=one");
		drop("ip4/192.0.2.1_32/allow");
		assert_int_equal(by_address("192.0.2.1"), ACCESS_NONE);
		put("ip4/192.0.2.1_32/deny", "");
		assert_int_equal(by_address("192.0.2.1"), ACCESS_DENY);
		drop("ip4/192.0.2.1_32/deny");
	}
}

/* Rules and their env/ may be shared. */
static void
links_are_followed(void **state)
{
	(void)state;
	put("shared/allow", "");
	put("variables/A", "1");
	make_way("ip4/");
	assert_int_equal(symlinkat("../shared", dir, "ip4/192.0.2.1_32"), 0);
	assert_int_equal(symlinkat("../variables", dir, "shared/env"), 0);
	assert_int_equal(by_address("192.0.2.1"), ACCESS_ALLOW);
	assert_string_equal(env.text, "A=1");
}

/* -- what they set ----------------------------------------------------------- */

/* Whether the text is one of the changes. */
static bool
changed(const char *text)
{
	for (size_t at = 0; at < env.n; at += strlen(env.text + at) + 1)
		if (strcmp(env.text + at, text) == 0)
			return true;
	return false;
}

static void
variables(void **state)
{
	(void)state;
	put("ip4/192.0.2.1_32/allow", "");
	put("ip4/192.0.2.1_32/env/A", "1 \nmore\n");
	put("ip4/192.0.2.1_32/env/EMPTY", "\n");
	put("ip4/192.0.2.1_32/env/GONE", "");
	put("ip4/192.0.2.1_32/env/.hidden", "x");
	put("ip4/192.0.2.1_32/env/A=B", "x");
	put("ip4/192.0.2.1_32/env/.directory/x", "x");
	put("reversedns/@/deny", "");
	put("reversedns/@/env/A", "1");

	assert_int_equal(by_address("192.0.2.1"), ACCESS_ALLOW);
	assert_int_equal(env.n, strlen("A=1") + strlen("EMPTY=") + strlen("GONE") + 3);
	assert_true(changed("A=1"));
	assert_true(changed("EMPTY="));
	assert_true(changed("GONE"));
	assert_int_equal(by_name("example.org"), ACCESS_DENY);
	assert_int_equal(env.n, 0);
}

/* -- what lets nobody in ------------------------------------------------------ */

static void
no_peer(void **state)
{
	(void)state;
	put("ip4/0.0.0.0_0/allow", "");
	put("reversedns/@/allow", "");
	assert_error(
	    by_address("localhost"), FAULT_USAGE, "access rules: \"localhost\" is neither an address nor a name");
	assert_error(by_name("../ip4/0.0.0.0_0"), FAULT_USAGE,
	    "access rules: \"../ip4/0.0.0.0_0\" is neither an address nor a name");
	assert_error(by_name(""), FAULT_USAGE, "access rules: \"\" is neither an address nor a name");
}

/* Of a rule that allows; who is denied is denied. */
static void
another_program(void **state)
{
	(void)state;
	put("ip4/192.0.2.1_32/exec", "");
	put("ip4/192.0.2.1_32/deny", "");
	assert_int_equal(by_address("192.0.2.1"), ACCESS_DENY);
	put("ip4/192.0.2.1_32/allow", "");
	put("ip4/192.0.2.1_32/env/A", "1");
	assert_error(
	    by_address("192.0.2.1"), FAULT_USAGE, "access rule ip4/192.0.2.1_32: a file \"exec\" is not supported");
}

/* A file where a directory should be. */
static void
not_a_rule(void **state)
{
	(void)state;
	put("ip4/0.0.0.0_0/allow", "");
	put("ip4/192.0.2.1_32", "");
	assert_error(
	    by_address("192.0.2.1"), FAULT_SYSTEM, "access rule ip4/192.0.2.1_32: cannot open: Not a directory");
	put("ip6", "");
	assert_error(by_address("::1"), FAULT_SYSTEM, "access rule ip6/::1_128: cannot open: Not a directory");
	put("ip4/192.0.2.2_32/allow", "");
	put("ip4/192.0.2.2_32/env", "");
	assert_error(
	    by_address("192.0.2.2"), FAULT_SYSTEM, "access rule ip4/192.0.2.2_32: cannot read env: Not a directory");
}

static void
no_regular_file(void **state)
{
	static const char variable[] = "ip4/192.0.2.1_32/env/A";
	static const char text[] = "access rule ip4/192.0.2.1_32: cannot read A: not a regular file";

	(void)state;
	put("ip4/192.0.2.1_32/allow", "");
	make_way("ip4/192.0.2.1_32/env/A");
	assert_int_equal(mkfifoat(dir, variable, 0644), 0);
	assert_error(by_address("192.0.2.1"), FAULT_SYSTEM, text);
	drop(variable);
	assert_int_equal(mkdirat(dir, variable, 0755), 0);
	assert_error(by_address("192.0.2.1"), FAULT_SYSTEM, text);
	assert_int_equal(unlinkat(dir, variable, AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("/dev/zero", dir, variable), 0);
	assert_error(by_address("192.0.2.1"), FAULT_SYSTEM, text);
	drop(variable);
	assert_int_equal(symlinkat("nothing", dir, variable), 0);
	assert_error(by_address("192.0.2.1"), FAULT_SYSTEM,
	    "access rule ip4/192.0.2.1_32: cannot read A: No such file or directory");
}

/* It is a rule that cannot be read, not one that is not there. */
static void
a_link_to_nowhere(void **state)
{
	static const char *const files[] = {"allow", "deny", "env", "exec"};

	(void)state;
	put("ip4/0.0.0.0_0/allow", "");
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		char path[64], text[128];

		(void)snprintf(path, sizeof path, "ip4/192.0.2.1_32/%s", files[i]);
		(void)snprintf(text, sizeof text,
		    "access rule ip4/192.0.2.1_32: cannot read %s: No such file or directory", files[i]);
		make_way(path);
		if (i >= 2)
			put("ip4/192.0.2.1_32/allow", "");
		assert_int_equal(symlinkat("nothing", dir, path), 0);
		assert_error(by_address("192.0.2.1"), FAULT_SYSTEM, text);
		drop(path);
	}
	assert_int_equal(symlinkat("nothing", dir, "ip4/192.0.2.2_32"), 0);
	assert_error(by_address("192.0.2.2"), FAULT_SYSTEM,
	    "access rule ip4/192.0.2.2_32: cannot open: No such file or directory");
}

static void
too_much(void **state)
{
	static char value[CHANGES_MAX + 1];

	(void)state;
	memset(value, 'v', CHANGES_MAX / 2);
	put("ip4/192.0.2.1_32/allow", "");
	put("ip4/192.0.2.1_32/env/A", value);
	assert_int_equal(by_address("192.0.2.1"), ACCESS_ALLOW);
	put("ip4/192.0.2.1_32/env/B", value);
	assert_int_equal(by_address("192.0.2.1"), ACCESS_ERROR);
	assert_int_equal(f.code, FAULT_USAGE);
	assert_non_null(strstr(f.text, ": more than 64 KiB of variables"));
	assert_null(env.text);
	drop("ip4/192.0.2.1_32/env/B");
	memset(value, 'v', CHANGES_MAX);
	value[1] = '\n';
	put("ip4/192.0.2.1_32/env/A", value);
	assert_int_equal(by_address("192.0.2.1"), ACCESS_ALLOW);
	assert_string_equal(env.text, "A=v");
}

/* As a user whom the directory's modes bind. */
static void
no_permission(void **state)
{
	static const char *const closed[] = {
	    "ip4", "ip4/192.0.2.1_32", "ip4/192.0.2.1_32/allow", "ip4/192.0.2.1_32/env", "ip4/192.0.2.1_32/env/A"};
	uid_t uid = geteuid();

	(void)state;
	put("ip4/0.0.0.0_0/allow", "");
	put("ip4/192.0.2.1_32/allow", "");
	put("ip4/192.0.2.1_32/env/A", "1");
	assert_int_equal(chmod(home, 0755), 0);
	for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
		struct stat st;
		enum access got;

		assert_int_equal(fstatat(dir, closed[i], &st, 0), 0);
		assert_int_equal(by_address("192.0.2.1"), ACCESS_ALLOW);
		assert_int_equal(fchmodat(dir, closed[i], 0, 0), 0);
		if (uid == 0)
			assert_int_equal(seteuid(65534), 0);
		got = by_address("192.0.2.1");
		assert_int_equal(seteuid(uid), 0);
		assert_int_equal(fchmodat(dir, closed[i], st.st_mode & 07777, 0), 0);
		if (got != ACCESS_ERROR || f.code != FAULT_SYSTEM || !strstr(f.text, "Permission denied"))
			fail_msg("%s is closed to us, and it is %d", closed[i], got);
	}
}

static void
no_directory(void **state)
{
	(void)state;
	assert_int_equal(access_open("/nowhere", &f), -1);
	assert_int_equal(f.code, FAULT_SYSTEM);
	assert_string_equal(f.text, "-i /nowhere: cannot open: No such file or directory");
	assert_int_equal(access_open("/dev/null", &f), -1);
	assert_string_equal(f.text, "-i /dev/null: cannot open: Not a directory");
}

/* Whatever came of it, nothing stays open. */
static void
no_descriptor_is_left(void **state)
{
	int before = dup(dir), after;

	(void)state;
	(void)close(before);
	variables(state);
	(void)by_address("192.0.2.1");
	put("ip4/192.0.2.1_32/exec", "");
	(void)by_address("192.0.2.1");
	drop("ip4/192.0.2.1_32/exec");
	assert_int_equal(symlinkat("/dev/zero", dir, "ip4/192.0.2.1_32/env/Z"), 0);
	assert_int_equal(by_address("192.0.2.1"), ACCESS_ERROR);
	after = dup(dir);
	(void)close(after);
	assert_int_equal(after, before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(no_rules),
	    TEST(the_longest_prefix_decides),
	    TEST(the_longest_name_decides),
	    TEST(allow_is_before_deny),
	    TEST(changes_take_effect_at_once),
	    TEST(links_are_followed),
	    TEST(variables),
	    TEST(no_peer),
	    TEST(another_program),
	    TEST(not_a_rule),
	    TEST(no_regular_file),
	    TEST(a_link_to_nowhere),
	    TEST(too_much),
	    TEST(no_permission),
	    TEST(no_directory),
	    TEST(no_descriptor_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
