/*
 * Fuzzes validity_at. The first eight bytes are the moment; the others are a
 * certificate, and the two times in a certificate that is good, and two moments
 * from which such times are written, so that the answer is known.
 */
#include "core/validity.h"

#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Early, good and expired follow one another, or no moment is any of them. */
static enum validity
check(struct span der, int64_t now)
{
	enum validity v = validity_at(der, now), first = validity_at(der, INT64_MIN),
		      last = validity_at(der, INT64_MAX);

	char until[VALIDITY_SIZE];

	CHECK((validity_until(der, until) == 0) == (v != VALIDITY_UNKNOWN));
	CHECK(v == VALIDITY_UNKNOWN || (strlen(until) == sizeof until - 1 && strspn(until, "0123456789-T:Z") == 20));
	CHECK(first == (v == VALIDITY_UNKNOWN ? v : VALIDITY_EARLY));
	CHECK(last == (v == VALIDITY_UNKNOWN ? v : VALIDITY_EXPIRED));
	if (now > INT64_MIN)
		CHECK(validity_at(der, now - 1) <= v);
	if (now < INT64_MAX)
		CHECK(validity_at(der, now + 1) >= v);
	return v;
}

/* Checks the certificate of which the bytes, 100 at most, are the Validity's contents. */
static enum validity
check_wrapped(const void *times, size_t n, int64_t now)
{
	const unsigned char size = (unsigned char)n;
	const unsigned char head[] = {
	    0x30, size + 16, 0x30, size + 14, 0xa0, 3, 2, 1, 2, 2, 1, 7, 0x30, 0, 0x30, 0, 0x30, size};
	unsigned char der[sizeof head + 100];

	memcpy(der, head, sizeof head);
	memcpy(der + sizeof head, times, n);
	return check((struct span){.p = der, .n = sizeof head + n}, now);
}

/* Writes the moment as RFC 5280 wants it: UTCTime from 1950 to 2049, GeneralizedTime else. */
static int
write_time(char *out, int64_t when)
{
	time_t t = (time_t)when;
	struct tm tm;
	char rest[16];

	CHECK(gmtime_r(&t, &tm) != NULL);
	CHECK(strftime(rest, sizeof rest, "%m%d%H%M%SZ", &tm) == 11);
	if (tm.tm_year >= 50 && tm.tm_year < 150)
		return sprintf(out, "\x17\x0d%02d%s", tm.tm_year % 100, rest);
	return sprintf(out, "\x18\x0f%04d%s", tm.tm_year + 1900, rest);
}

/* A moment of the years 0 to 9999. */
static int64_t
moment(const uint8_t *data)
{
	const int64_t first = -62167219200, last = 253402300799;
	uint64_t n;

	memcpy(&n, data, sizeof n);
	return first + (int64_t)(n % (uint64_t)(last - first + 1));
}

static void
check_known(const uint8_t *data)
{
	int64_t now = moment(data), from = moment(data + 8), to = moment(data + 16);
	char times[64];
	int n = write_time(times, from);

	n += write_time(times + n, to);
	const int64_t moments[] = {now, from - 1, from, to, to + 1};
	for (size_t i = 0; i < sizeof moments / sizeof *moments; i++)
		CHECK(check_wrapped(times, (size_t)n, moments[i]) == (moments[i] < from	   ? VALIDITY_EARLY
									 : moments[i] > to ? VALIDITY_EXPIRED
											   : VALIDITY_GOOD));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	int64_t now;

	if (n < sizeof now)
		return 0;
	memcpy(&now, data, sizeof now);
	check((struct span){.p = data + sizeof now, .n = n - sizeof now}, now);
	if (n - sizeof now <= 100)
		check_wrapped(data + sizeof now, n - sizeof now, now);
	if (n >= 24)
		check_known(data);
	return 0;
}
