/*
 * Fuzzes the readers of ids with a text; the first byte is the room. Checks
 * against a judge that lets the system's own reader take number after number.
 */
#include "core/ids.h"

#include "fuzz.h"

#include <string.h>

/* A decimal number at the front, up to `end`; -1 where there is none, or none that is an id. */
static long long
judge_number(const char *text, const char *end)
{
	char digits[16];
	size_t n = (size_t)(end - text), zeros = strspn(text, "0");

	if (n == 0 || strspn(text, "0123456789") < n)
		return -1;
	if (zeros >= n)
		return 0;
	if (n - zeros > 10)
		return -1;
	memcpy(digits, text + zeros, n - zeros);
	digits[n - zeros] = '\0';
	long long id = strtoll(digits, NULL, 10);
	return id <= 4294967294 ? id : -1;
}

/* Checks the groups, of which there is room for `max`. */
static void
check_groups(const char *text, int max)
{
	/* Exactly that room, so that the sanitizer sees what is behind it. */
	gid_t *groups = calloc((size_t)max + 1, sizeof *groups);
	int n = 0, got;
	bool good = true;

	CHECK(groups != NULL);
	groups = realloc(groups, (size_t)max * sizeof *groups + (max == 0));
	CHECK(groups != NULL);
	got = ids_groups(text, groups, max);
	CHECK(ids_groups(text, NULL, max) == got);
	for (const char *p = text; *text && good; p += *p == ',') {
		const char *end = p + strcspn(p, ",");
		long long id = judge_number(p, end);

		good = id >= 0 && n < max;
		if (good && got >= 0)
			CHECK(n < got && groups[n] == id);
		n += good;
		p = end;
		if (*p == '\0')
			break;
	}
	CHECK(got == (good ? n : -1));
	free(groups);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text;

	if (n < 1)
		return 0;
	text = strndup((const char *)data + 1, n - 1);
	CHECK(text != NULL);
	CHECK(ids_number(text) == judge_number(text, text + strlen(text)));
	check_groups(text, data[0] % 9);
	free(text);
	return 0;
}
