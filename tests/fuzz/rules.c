/*
 * Fuzzes what access rules are found by and what they change: the first byte is
 * 'a' before an address, 'n' before a name, and 'f' before the name of a file in
 * env/, a NUL and its content. Checks that no key leads out of the directory,
 * that those of an address are its networks, as the system's own reader sees
 * them, that those of a name are its parents, and that a value is what a reader
 * who walks from left to right makes of the file.
 */
#include "core/rules.h"
#include "core/changes.h"

#include "fuzz.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Two parts of a path, the second of harmless letters and no "." or "..". */
static const char *
check_path(const char *key)
{
	const char *slash = strchr(key, '/');

	CHECK(slash != NULL && slash - key == (strncmp(key, "reversedns", 10) == 0 ? 10 : 3));
	CHECK(slash[1] != '\0' && strlen(key) < RULES_KEY && strcmp(slash, "/.") != 0 && strcmp(slash, "/..") != 0);
	CHECK(slash[1 + strspn(slash + 1, "abcdefghijklmnopqrstuvwxyz0123456789.:-_@")] == '\0');
	return slash + 1;
}

/* Whether the key is that of the first `bits` of the n octets. */
static void
check_network(const char *key, const unsigned char *octets, size_t n, size_t bits)
{
	const char *name = check_path(key), *line = strchr(name, '_');
	unsigned char network[16];
	char text[64], number[16];

	CHECK(strncmp(key, n == 4 ? "ip4/" : "ip6/", 4) == 0 && line != NULL);
	(void)snprintf(number, sizeof number, "_%zu", bits);
	CHECK(strcmp(line, number) == 0);
	(void)snprintf(text, sizeof text, "%.*s", (int)(line - name), name);
	CHECK(inet_pton(n == 4 ? AF_INET : AF_INET6, text, network) == 1);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		unsigned at = 0x80U >> bit % 8;

		CHECK((network[bit / 8] & at) == (bit < bits ? octets[bit / 8] & at : 0));
	}
}

static void
check_address(const char *ip)
{
	unsigned char octets[16];
	char key[RULES_KEY];
	size_t n = inet_pton(AF_INET, ip, octets) == 1 ? 4 : inet_pton(AF_INET6, ip, octets) == 1 ? 16 : 0, i = 0;

	for (; rules_address_key(ip, i, key); i++) {
		CHECK(n > 0 && i <= 8 * n);
		check_network(key, octets, n, 8 * n - i);
	}
	CHECK(i == 0 || i == 8 * n + 1);
}

static void
check_name(const char *name)
{
	char key[RULES_KEY], last[RULES_KEY] = "";
	size_t i = 0, labels = 1, n = strlen(name);

	for (const char *p = name; *p; p++)
		labels += *p == '.';
	for (; rules_name_key(name, i, key); i++) {
		const char *domain = check_path(key);
		size_t length = strlen(domain);

		(void)snprintf(last, sizeof last, "%s", domain);
		CHECK(i <= labels);
		if (i == labels)
			continue;
		CHECK(length <= n && strcasecmp(name + n - length, domain) == 0);
		CHECK(i == 0 ? length == n : name[n - length - 1] == '.');
	}
	CHECK(i == 0 || (i == labels + 1 && strcmp(last, "@") == 0));
}

static void
check_file(const char *name, struct span content)
{
	struct changes c = {0};
	struct fault f;
	size_t n;
	char *want = malloc(strlen(name) + content.n + 2), *end;

	CHECK(want != NULL);
	end = want + sprintf(want, "%s", name);
	/* Twice over: what was there stays. */
	CHECK(changes_add(&c, name, content, &f) == 0 && changes_add(&c, name, content, &f) == 0);
	if (content.n > 0)
		*end++ = '=';
	for (char *p = end; content.n > 0 && *content.p != '\n'; content.p++, content.n--) {
		*p++ = (char)(*content.p ? *content.p : '\n');
		if (strchr(" \t\r", *content.p) == NULL || *content.p == '\0')
			end = p;
	}
	*end++ = '\0';
	n = (size_t)(end - want);
	CHECK(c.n == 2 * n && memcmp(c.text, want, n) == 0 && memcmp(c.text + n, want, n) == 0);
	changes_free(&c);
	free(want);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text;
	size_t length;

	if (n < 1 || n > CHANGES_MAX / 2)
		return 0;
	text = strndup((const char *)data + 1, n - 1);
	CHECK(text != NULL);
	length = strlen(text);
	if (data[0] == 'a')
		check_address(text);
	if (data[0] == 'n')
		check_name(text);
	if (data[0] == 'f' && changes_name_valid(text) && length + 2 <= n)
		check_file(text, (struct span){data + length + 2, n - length - 2});
	free(text);
	return 0;
}
