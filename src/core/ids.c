/*
 * One reader of numbers, whole or up to a comma.
 */
#include "core/ids.h"

#include <stddef.h>

/* (uid_t)-1 stands for none (setresuid(2)). */
static const long long largest = 4294967294;

/* Takes a number off *text. Returns it, or -1. */
static long long
take(const char **text)
{
	const char *p = *text;
	long long n = 0;

	while (*p >= '0' && *p <= '9' && n <= largest)
		n = n * 10 + (*p++ - '0');
	if (p == *text || n > largest)
		return -1;
	*text = p;
	return n;
}

long long
ids_number(const char *text)
{
	long long n = take(&text);

	return *text == '\0' ? n : -1;
}

int
ids_groups(const char *text, gid_t *groups, int max)
{
	int n = 0;

	if (*text == '\0')
		return 0;
	for (;; text++) {
		long long id = take(&text);

		if (id < 0 || n == max)
			return -1;
		if (groups)
			groups[n] = (gid_t)id;
		n++;
		if (*text == '\0')
			return n;
		if (*text != ',')
			return -1;
	}
}
