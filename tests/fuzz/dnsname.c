/*
 * Fuzzes dnsname_valid against a second judge that works character by
 * character, so that the two can be wrong in different ways only.
 */
#include "core/dnsname.h"

#include "fuzz.h"

#include <string.h>

/* The end counts as a dot: a label ends there too. */
static bool
judge(const uint8_t *p, size_t n)
{
	static const char inside[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	size_t label = 0;
	bool digits = true;

	for (size_t i = 0; i <= n; i++) {
		if (i == n || p[i] == '.') {
			if (label < 1 || label > 63 || p[i - 1] == '-')
				return false;
			if (i == n)
				break;
			label = 0;
			digits = true;
		} else {
			if (p[i] == 0 || strchr(inside, p[i]) == NULL || (label == 0 && p[i] == '-'))
				return false;
			digits &= p[i] >= '0' && p[i] <= '9';
			label++;
		}
	}
	return n <= 253 && !digits;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char out[DNSNAME_SIZE], again[DNSNAME_SIZE], untouched[DNSNAME_SIZE];

	memset(untouched, '?', sizeof untouched);
	memcpy(out, untouched, sizeof out);
	bool ok = dnsname_valid(data, n, out);
	CHECK(ok == judge(data, n));
	if (!ok) {
		CHECK(memcmp(out, untouched, sizeof out) == 0);
		return 0;
	}
	CHECK(strlen(out) == n);
	for (size_t i = 0; i < n; i++)
		CHECK(out[i] == (data[i] >= 'A' && data[i] <= 'Z' ? data[i] + 32 : data[i]));
	CHECK(dnsname_valid((const unsigned char *)out, n, again) && strcmp(out, again) == 0);
	return 0;
}
