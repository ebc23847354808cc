/*
 * The race of connection attempts: scenarios, each with its course in words,
 * and a walk through every order in which a few attempts can end, against the
 * laws of RFC 8305.
 */
#include "core/race.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* -- scenarios ------------------------------------------------------------ */

enum { MOST = 6, HOLE = 1 << 20 };

/* How long an attempt takes until it is refused, or, as CONNECTS, until it succeeds; HOLE: no answer ever. */
#define CONNECTS(ms) (-1 - (ms))

struct scenario {
	const char *name;
	const char *families; /* a digit an address */
	int64_t first_ms, second_ms;
	int answers[2][MOST]; /* by round and address */
	const char *course;   /* time, then + for a start, ! for giving up, - for a refusal, = for success; address */
};

static const struct scenario scenarios[] = {
    {"no address", "", 2000, 58000, {{0}}, "0 over"},
    {"one answers", "4", 2000, 58000, {{CONNECTS(30)}}, "0+0 30=0"},
    {"the first is quick", "64", 2000, 58000, {{CONNECTS(249), HOLE}}, "0+0 249=0"},
    {"the first is silent", "64", 2000, 58000, {{HOLE, CONNECTS(1)}}, "0+0 250+1 251=1"},
    {"the first is slow, and still wins", "64", 2000, 58000, {{CONNECTS(300), CONNECTS(100)}}, "0+0 250+1 300=0"},
    {"all refuse", "644", 2000, 58000, {{0, 10, 5}}, "0+0 0-0 0+1 10-1 10+2 15-2 15 over"},
    {"a refusal hastens the next alone", "4444", 2000, 0, {{HOLE, 10, HOLE, CONNECTS(0)}},
	"0+0 250+1 260-1 260+2 510+3 510=3"},
    {"an old one's refusal hastens the next, too", "444", 2000, 0, {{260, HOLE, CONNECTS(0)}},
	"0+0 250+1 260-0 260+2 260=2"},
    {"families take turns", "666644", 2000, 0, {{0, 0, 0, 0, 0, 0}},
	"0+0 0-0 0+4 0-4 0+1 0-1 0+5 0-5 0+2 0-2 0+3 0-3 0 over"},
    {"the first address's family begins", "4666", 2000, 0, {{0, 0, 0, 0}}, "0+0 0-0 0+1 0-1 0+2 0-2 0+3 0-3 0 over"},
    {"one family", "666", 2000, 0, {{0, 0, 0}}, "0+0 0-0 0+1 0-1 0+2 0-2 0 over"},
    {"one is silent, twice", "4", 2000, 58000, {{HOLE}, {HOLE}}, "0+0 2000!0 2000+0 60000!0 60000 over"},
    {"all are silent, twice", "64", 2000, 58000, {{HOLE, HOLE}, {HOLE, HOLE}},
	"0+0 250+1 2000!0 2250!1 2250+0 2500+1 60250!0 60500!1 60500 over"},
    {"no second round", "64", 2000, 0, {{HOLE, HOLE}}, "0+0 250+1 2000!0 2250!1 2250 over"},
    {"the second round leaves out who refused", "444", 1000, 5000, {{HOLE, 20, HOLE}, {HOLE, HOLE, CONNECTS(3000)}},
	"0+0 250+1 270-1 270+2 1000!0 1270!2 1270+0 1520+2 4520=2"},
    {"refused in the second round", "4", 1000, 5000, {{HOLE}, {7}}, "0+0 1000!0 1000+0 1007-0 1007 over"},
    {"shorter than the delay: giving up hastens the next", "46", 100, 200, {{HOLE, HOLE}, {HOLE, HOLE}},
	"0+0 100!0 100+1 200!1 200+0 400!0 400+1 600!1 600 over"},
    {"the last is refused while the first still runs", "46", 1000, 100, {{HOLE, 0}, {CONNECTS(0)}},
	"0+0 250+1 250-1 1000!0 1000+0 1000=0"},
};

struct course {
	const struct scenario *s;
	struct race r;
	int64_t now, ends[MOST]; /* when each attempt that runs has its answer */
	int starts[MOST];
	bool won;
	char text[256];
};

static void
note(struct course *c, const char *what, size_t which)
{
	size_t n = strlen(c->text);

	(void)snprintf(c->text + n, sizeof c->text - n, "%s%lld%s%zu", n ? " " : "", (long long)c->now, what, which);
}

/* The answer that comes first, by `until`; MOST when none does. */
static size_t
answer(const struct course *c, int64_t until)
{
	size_t first = MOST;

	for (size_t i = 0; i < MOST; i++)
		if (c->ends[i] >= 0 && c->ends[i] <= until && (first == MOST || c->ends[i] < c->ends[first]))
			first = i;
	return first;
}

static void
wait_until(struct course *c, int64_t until)
{
	size_t i = answer(c, until);

	if (i == MOST) {
		c->now = until;
		return;
	}
	c->now = c->ends[i];
	c->ends[i] = -1;
	c->won = c->s->answers[c->starts[i] - 1][i] < 0;
	note(c, c->won ? "=" : "-", i);
	if (!c->won)
		race_failed(&c->r, i);
}

static void
begin(struct course *c, size_t which)
{
	int takes = c->s->answers[c->starts[which]++][which];

	note(c, "+", which);
	c->ends[which] = c->now + (takes < 0 ? -1 - takes : takes);
}

static void
run(const struct scenario *s)
{
	struct course c = {.s = s, .ends = {-1, -1, -1, -1, -1, -1}};
	int families[MOST];

	for (size_t i = 0; i < strlen(s->families); i++)
		families[i] = s->families[i];
	race_begin(&c.r, families, strlen(s->families), s->first_ms, s->second_ms);
	while (!c.won) {
		struct race_move m = race_next(&c.r, c.now);

		if (m.act == RACE_OVER)
			break;
		if (m.act == RACE_START)
			begin(&c, m.which);
		else if (m.act == RACE_WAIT)
			wait_until(&c, m.until);
		else {
			note(&c, "!", m.which);
			c.ends[m.which] = -1;
		}
	}
	if (!c.won)
		(void)snprintf(c.text + strlen(c.text), 32, "%s%lld over", *c.text ? " " : "", (long long)c.now);
	if (strcmp(c.text, s->course) != 0)
		fail_msg("%s: %s instead of %s", s->name, c.text, s->course);
}

static void
courses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
		run(&scenarios[i]);
}

/* -- more addresses than are tried ----------------------------------------- */

/* 99 of one family and one of the other, which is last: it is tried second, and 64 in all. */
static void
too_many(void **state)
{
	int families[100] = {[99] = 1};
	struct race_move m;
	struct race r;
	size_t tried = 0;

	(void)state;
	race_begin(&r, families, 100, 1000, 0);
	while ((m = race_next(&r, 0)).act == RACE_START) {
		assert_int_equal(m.which, tried == 0 ? 0 : tried == 1 ? 99 : tried - 1);
		tried++;
		race_failed(&r, m.which);
	}
	assert_int_equal(m.act, RACE_OVER);
	assert_int_equal(tried, RACE_MAX);
}

/* Of a stranger, or of an attempt that has ended, nothing is believed. */
static void
only_what_runs_can_fail(void **state)
{
	const int families[] = {4, 4};
	struct race r;

	(void)state;
	race_begin(&r, families, 2, 1000, 0);
	assert_int_equal(race_next(&r, 0).act, RACE_START);
	race_failed(&r, 1);
	race_failed(&r, 70);
	struct race_move m = race_next(&r, 0);
	assert_int_equal(m.act, RACE_WAIT);
	assert_int_equal(m.until, RACE_DELAY_MS);
}

/* -- every order of a few ---------------------------------------------------- */

enum { FEW = 4 };

/* What the walk knows of a race beside its state. */
struct walk {
	struct race r;
	const int *families;
	size_t n;
	int64_t limit_ms[2], now, last_start, started[FEW];
	int starts[FEW];
	bool runs[FEW], late[FEW], refused[FEW];
	bool failed; /* an attempt, since the last start */
	size_t moves;
};

static unsigned long walks;

static bool
any(const bool *flags, size_t n)
{
	while (n > 0 && !flags[n - 1])
		n--;
	return n > 0;
}

static bool
untried(const struct walk *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->starts[i] == 0)
			return true;
	return false;
}

/* How many of a family have, or have not, had their first start. */
static size_t
count(const struct walk *w, int family, bool started)
{
	size_t found = 0;

	for (size_t i = 0; i < w->n; i++)
		found += w->families[i] == family && (w->starts[i] > 0) == started;
	return found;
}

/* First starts keep the order within a family, and alternate between the two as long as both are left. */
static void
check_turn(const struct walk *w, size_t which)
{
	int mine = w->families[which], other = mine == 2 ? 10 : 2;
	size_t behind = mine == w->families[0] ? 0 : 1;

	for (size_t i = 0; i < w->n; i++)
		assert_true(w->families[i] != mine || (w->starts[i] > 0) == (i < which));
	assert_true(count(w, other, false) == 0 || count(w, other, true) == count(w, mine, true) + behind);
}

static void
check_start(struct walk *w, size_t which)
{
	assert_true(which < w->n && !w->runs[which] && w->starts[which] < 2);
	assert_true(w->moves == 1 || w->failed || w->now >= w->last_start + RACE_DELAY_MS);
	if (w->starts[which] == 1)
		assert_true(w->late[which] && !w->refused[which] && !untried(w) && w->limit_ms[1] > 0);
	w->starts[which]++;
	w->runs[which] = true;
	w->started[which] = w->last_start = w->now;
	w->failed = false;
}

static int64_t
deadline(const struct walk *w, size_t which)
{
	return w->started[which] + w->limit_ms[w->starts[which] - 1];
}

static void
check_give_up(struct walk *w, size_t which)
{
	assert_true(which < w->n && w->runs[which] && w->now >= deadline(w, which));
	w->runs[which] = false;
	w->late[which] = w->failed = true;
}

static void
check_wait(const struct walk *w, int64_t until)
{
	assert_true(any(w->runs, w->n) && until > w->now);
	for (size_t i = 0; i < w->n; i++)
		assert_true(!w->runs[i] || until <= deadline(w, i));
	assert_true(!untried(w) || (!w->failed && until <= w->last_start + RACE_DELAY_MS));
}

static void
check_over(const struct walk *w)
{
	assert_true(!any(w->runs, w->n) && !untried(w));
	for (size_t i = 0; i < w->n; i++)
		assert_true(w->refused[i] || w->limit_ms[1] == 0 || w->starts[i] == 2);
}

/* Every way on from here: each of those that run fails now or halfway, or none does. */
static void
walk(struct walk w)
{
	struct race_move m;

	for (;;) {
		m = race_next(&w.r, w.now);
		assert_true(++w.moves < 16 * FEW);
		if (m.act == RACE_START) {
			if (w.starts[m.which] == 0)
				check_turn(&w, m.which);
			check_start(&w, m.which);
		} else if (m.act == RACE_GIVE_UP)
			check_give_up(&w, m.which);
		else
			break;
	}
	if (m.act == RACE_OVER) {
		check_over(&w);
		assert_int_equal(race_next(&w.r, w.now + 1).act, RACE_OVER);
		walks++;
		return;
	}
	check_wait(&w, m.until);
	for (int half = 0; half < 2; half++)
		for (size_t i = 0; i < w.n; i++)
			if (w.runs[i]) {
				struct walk other = w;

				other.now += half * (m.until - w.now) / 2;
				other.runs[i] = false;
				other.refused[i] = other.failed = true;
				race_failed(&other.r, i);
				walk(other);
			}
	/* Asked too early, as after a signal, it says the same. */
	struct race_move same = race_next(&w.r, w.now + (m.until - w.now) / 2);
	assert_true(same.act == RACE_WAIT && same.until == m.until);
	w.now = m.until;
	walk(w);
}

static void
every_order(void **state)
{
	static const int64_t limits[][2] = {{100, 0}, {100, 300}, {250, 250}, {600, 0}, {600, 100}, {2000, 58000}};

	(void)state;
	for (size_t n = 0; n <= FEW; n++)
		for (unsigned mix = 0; mix < 1u << n; mix++)
			for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
				struct walk w = {.n = n, .limit_ms = {limits[i][0], limits[i][1]}, .now = 1000};
				int families[FEW + 1] = {0};

				for (size_t k = 0; k < n; k++)
					families[k] = (mix >> k & 1) != 0 ? 10 : 2;
				w.families = families;
				race_begin(&w.r, families, n, limits[i][0], limits[i][1]);
				walk(w);
			}
	assert_true(walks > 10000);
	print_message("# %lu courses\n", walks);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(courses),
	    cmocka_unit_test(too_many),
	    cmocka_unit_test(only_what_runs_can_fail),
	    cmocka_unit_test(every_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
