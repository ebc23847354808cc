/*
 * Reads UTCTime and GeneralizedTime in the only forms that RFC 5280 allows.
 */
#include "core/validity.h"

#include "core/der.h"

#include <stdbool.h>

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

/* Takes a time off *in. */
static bool
moment(struct span *in, int64_t *when)
{
	int64_t year, month, day, hour, minute, second;
	struct span text;
	unsigned tag;

	if (der_next(in, &tag, &text) < 0 || (tag != UTC_TIME && tag != GENERALIZED_TIME))
		return false;
	if (!digits(&text, tag == UTC_TIME ? 2 : 4, &year) || !digits(&text, 2, &month) || !digits(&text, 2, &day) ||
	    !digits(&text, 2, &hour) || !digits(&text, 2, &minute) || !digits(&text, 2, &second))
		return false;
	if (text.n != 1 || text.p[0] != 'Z' || month < 1 || month > 12)
		return false;
	if (tag == UTC_TIME)
		year += year < 50 ? 2000 : 1900;
	*when = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
	return true;
}

enum validity
validity_at(struct span der, int64_t now)
{
	struct span cert, tbs, skip, validity;
	int64_t from, to;

	if (der_expect(&der, DER_SEQUENCE, &cert) < 0 || der_expect(&cert, DER_SEQUENCE, &tbs) < 0)
		return VALIDITY_UNKNOWN;
	(void)der_expect(&tbs, DER_CONTEXT_0, &skip); /* version, absent in the first */
	if (der_expect(&tbs, DER_INTEGER, &skip) < 0 || der_expect(&tbs, DER_SEQUENCE, &skip) < 0 ||
	    der_expect(&tbs, DER_SEQUENCE, &skip) < 0 || der_expect(&tbs, DER_SEQUENCE, &validity) < 0)
		return VALIDITY_UNKNOWN;
	if (!moment(&validity, &from) || !moment(&validity, &to))
		return VALIDITY_UNKNOWN;
	return now < from ? VALIDITY_EARLY : now > to ? VALIDITY_EXPIRED : VALIDITY_GOOD;
}
