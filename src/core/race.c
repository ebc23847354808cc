/*
 * The addresses run in lanes, in the order of their turns. What an attempt
 * came to is its lane's mark; a round is a walk along the lanes.
 */
#include "core/race.h"

#include <stdbool.h>

/* The first of the families from `from` on that is or is not like the given one; n when there is none. */
static size_t
seek(const int *families, size_t n, size_t from, int family, bool like)
{
	while (from < n && (families[from] == family) != like)
		from++;
	return from;
}

/* RFC 8305, 4, with a First Address Family Count of 1. All families but the first address's count as one. */
static void
interleave(struct race *r, const int *families, size_t n)
{
	size_t next[2] = {0, n ? seek(families, n, 0, families[0], false) : 0};

	for (size_t turn = 0; r->n < RACE_MAX && (next[0] < n || next[1] < n); turn++) {
		size_t *at = &next[turn % 2];

		if (*at == n)
			continue;
		r->lane[r->n].which = *at;
		r->lane[r->n++].mark = RACE_UNTRIED;
		*at = seek(families, n, *at + 1, families[0], turn % 2 == 0);
	}
}

void
race_begin(struct race *r, const int *families, size_t n, int64_t first_ms, int64_t second_ms)
{
	*r = (struct race){.limit_ms = {first_ms, second_ms}, .start_at = INT64_MIN};
	interleave(r, families, n);
}

/* The lane whose turn it is in this round, or r->n. */
static size_t
turn(const struct race *r)
{
	enum race_mark wanted = r->round == 0 ? RACE_UNTRIED : RACE_LATE;
	size_t i = r->at;

	while (i < r->n && r->lane[i].mark != wanted)
		i++;
	return i;
}

static struct race_move
start(struct race *r, size_t i, int64_t now)
{
	r->at = i + 1;
	r->start_at = now + RACE_DELAY_MS;
	r->lane[i].mark = RACE_RUNNING;
	r->lane[i].give_up_at = now + r->limit_ms[r->round];
	return (struct race_move){.act = RACE_START, .which = r->lane[i].which};
}

/* The running lane that is given up first, or r->n. */
static size_t
oldest(const struct race *r)
{
	size_t first = r->n;

	for (size_t i = 0; i < r->n; i++)
		if (r->lane[i].mark == RACE_RUNNING &&
		    (first == r->n || r->lane[i].give_up_at < r->lane[first].give_up_at))
			first = i;
	return first;
}

/* Whether there is a second round, which then has begun. */
static bool
again(struct race *r)
{
	if (r->round == 1 || r->limit_ms[1] <= 0)
		return false;
	r->round = 1;
	r->at = 0;
	return turn(r) < r->n;
}

struct race_move
race_next(struct race *r, int64_t now)
{
	size_t running = oldest(r), next = turn(r);

	if (running < r->n && r->lane[running].give_up_at <= now) {
		r->lane[running].mark = RACE_LATE;
		r->start_at = INT64_MIN;
		return (struct race_move){.act = RACE_GIVE_UP, .which = r->lane[running].which};
	}
	if (running == r->n && next == r->n && again(r))
		next = turn(r);
	/* Where none runs, the last one failed, and so there is nothing to wait for. */
	if (next < r->n && r->start_at <= now)
		return start(r, next, now);
	if (running == r->n)
		return (struct race_move){.act = RACE_OVER};

	int64_t until = r->lane[running].give_up_at;
	if (next < r->n && r->start_at < until)
		until = r->start_at;
	return (struct race_move){.act = RACE_WAIT, .until = until};
}

void
race_failed(struct race *r, size_t which)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->lane[i].which == which && r->lane[i].mark == RACE_RUNNING) {
			r->lane[i].mark = RACE_FAILED;
			r->start_at = INT64_MIN;
		}
}
