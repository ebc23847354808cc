/*
 * Which of a host's addresses to try when, and when to give one up: Happy
 * Eyeballs, RFC 8305, sections 4 and 5. It opens nothing and reads no clock:
 * times are milliseconds of a clock that never goes back, given by the caller,
 * who also tells how an attempt ended. It holds no pointer and never allocates.
 */
#ifndef CORE_RACE_H
#define CORE_RACE_H

#include <stddef.h>
#include <stdint.h>

/* No more addresses than these are tried. */
#define RACE_MAX 64

/* From one start to the next, where nothing fails meanwhile (RFC 8305, 5: Connection Attempt Delay). */
#define RACE_DELAY_MS 250

enum race_mark {
	RACE_UNTRIED,
	RACE_RUNNING,
	RACE_LATE,   /* given up; the second round tries it again */
	RACE_FAILED, /* for good */
};

struct race {
	size_t n;	     /* addresses in the race */
	size_t at;	     /* all before it had their turn in this round */
	unsigned round;	     /* 0 or 1 */
	int64_t limit_ms[2]; /* of an attempt, by round */
	int64_t start_at;    /* none starts before */
	struct {
		size_t which; /* by the caller's count */
		enum race_mark mark;
		int64_t give_up_at; /* while it runs */
	} lane[RACE_MAX];
};

enum race_act {
	RACE_START,   /* begin to connect to the address `which` */
	RACE_GIVE_UP, /* end the attempt at `which`, it took too long */
	RACE_WAIT,    /* nothing is to be done before `until`, unless an attempt ends */
	RACE_OVER,    /* no attempt runs, and none will */
};

struct race_move {
	enum race_act act;
	size_t which;
	int64_t until;
};

/*
 * A race of n addresses, whose families are numbers that differ where the
 * families do. They take turns by family, the first address's first, and keep
 * their order within one; those beyond RACE_MAX are left out. An attempt may
 * take first_ms; when all have ended, those that took longer are tried once
 * more for second_ms, unless that is 0.
 */
void race_begin(struct race *r, const int *families, size_t n, int64_t first_ms, int64_t second_ms);

/* What is to be done now. To be asked again after each RACE_START and RACE_GIVE_UP, whose act has then been done. */
struct race_move race_next(struct race *r, int64_t now);

/* The attempt at `which` failed by itself. The next may start at once. */
void race_failed(struct race *r, size_t which);

#endif
