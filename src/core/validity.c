/*
 * Reads UTCTime and GeneralizedTime in the only forms that RFC 5280 allows.
 */
#include "core/validity.h"

#include "core/der.h"

#include <stdbool.h>
#include <stdio.h>

enum { UTC_TIME = 0x17, GENERALIZED_TIME = 0x18 };

/* Days from 1970-01-01 to the civil date; years from March, so that leap days come last, and 400 more, so that none is
 * negative. */
static int64_t
days(int64_t year, int64_t month, int64_t day)
{
	int64_t y = (month > 2 ? year : year - 1) + 400;
	int64_t m = (month + 9) % 12;

	return 365 * y + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719468 - 146097;
}

static bool
digits(struct span *in, size_t n, int64_t *number)
{
	*number = 0;
	if (in->n < n)
		return false;
	for (; n > 0; n--, in->p++, in->n--) {
		if (*in->p < '0' || *in->p > '9')
			return false;
		*number = *number * 10 + (*in->p - '0');
	}
	return true;
}

/* Year, month, day, hour, minute and second, as they stand there. */
struct moment {
	int64_t year, month, day, hour, minute, second;
};

/* Takes a time off *in. */
static bool
moment(struct span *in, struct moment *m)
{
	struct span text;
	unsigned tag;

	if (der_next(in, &tag, &text) < 0 || (tag != UTC_TIME && tag != GENERALIZED_TIME))
		return false;
	if (!digits(&text, tag == UTC_TIME ? 2 : 4, &m->year) || !digits(&text, 2, &m->month) ||
	    !digits(&text, 2, &m->day) || !digits(&text, 2, &m->hour) || !digits(&text, 2, &m->minute) ||
	    !digits(&text, 2, &m->second))
		return false;
	if (text.n != 1 || text.p[0] != 'Z' || m->month < 1 || m->month > 12)
		return false;
	if (tag == UTC_TIME)
		m->year += m->year < 50 ? 2000 : 1900;
	return true;
}

/* Seconds since 1970-01-01. */
static int64_t
seconds(const struct moment *m)
{
	return ((days(m->year, m->month, m->day) * 24 + m->hour) * 60 + m->minute) * 60 + m->second;
}

/* The two times of a certificate. */
static bool
times(struct span der, struct moment *from, struct moment *to)
{
	struct span cert, tbs, skip, validity;

	if (der_expect(&der, DER_SEQUENCE, &cert) < 0 || der_expect(&cert, DER_SEQUENCE, &tbs) < 0)
		return false;
	(void)der_expect(&tbs, DER_CONTEXT_0, &skip); /* version, absent in the first */
	if (der_expect(&tbs, DER_INTEGER, &skip) < 0 || der_expect(&tbs, DER_SEQUENCE, &skip) < 0 ||
	    der_expect(&tbs, DER_SEQUENCE, &skip) < 0 || der_expect(&tbs, DER_SEQUENCE, &validity) < 0)
		return false;
	return moment(&validity, from) && moment(&validity, to);
}

enum validity
validity_at(struct span der, int64_t now)
{
	struct moment from, to;

	if (!times(der, &from, &to))
		return VALIDITY_UNKNOWN;
	return now < seconds(&from) ? VALIDITY_EARLY : now > seconds(&to) ? VALIDITY_EXPIRED : VALIDITY_GOOD;
}

int
validity_until(struct span der, char out[VALIDITY_SIZE])
{
	struct moment from, to;

	if (!times(der, &from, &to))
		return -1;
	(void)snprintf(out, VALIDITY_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)to.year % 10000,
	    (unsigned)to.month % 100, (unsigned)to.day % 100, (unsigned)to.hour % 100, (unsigned)to.minute % 100,
	    (unsigned)to.second % 100);
	return 0;
}
