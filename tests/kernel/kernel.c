/*
 * The loop under a hostile kernel.
 *
 *     test-kernel                  a sample of plans
 *     test-kernel FIRST COUNT      those from FIRST on
 *     test-kernel [-v] SEED        one of them; -v shows every call
 */
#include "judge.h"
#include "pair.h"
#include "sys/clock.h"
#include "world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool verbose;
static jmp_buf over;
static char why[256];

/* Of all runs. */
static struct {
	unsigned long plans, harmless, clean, bad;
	uint64_t calls, faults, blows;
	unsigned long ends[END_COUNT];
} total;

void
wrong(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	longjmp(over, 1);
}

void
say(const char *fmt, ...)
{
	va_list ap;

	if (!verbose)
		return;
	printf("%6lu ", kernel.calls);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* The watchdog of the loop. */
static void
note_abort(int signal)
{
	(void)signal;
	printf("not ok 1 - kernel: plan %" PRIu64 ": the loop aborts: it turns for nothing\n", kernel.plan->seed);
	(void)fflush(stdout);
	_exit(1);
}

static void
count(const struct plan *p)
{
	total.plans++;
	total.harmless += p->harmless;
	total.calls += kernel.calls;
	total.faults += kernel.faults;
	for (int i = 0; i < SITES; i++)
		total.blows += kernel.struck[i] != 0;
	total.ends[world.monitor.reported ? world.monitor.report.end : END_NONE]++;
}

static void
run(uint64_t seed)
{
	static struct plan plan;
	static struct engine *pair[2];
	static struct loop_fds fds;

	plan = plan_of(seed);
	if (verbose)
		plan_print(&plan);
	kernel_begin(&plan, &fds);
	pair_open(pair, &plan);
	world_begin(pair[1]);
	if (setjmp(over) == 0) {
		loop_run(pair[0], &fds, &plan.config, kernel.now);
		say("the loop returns");
		world_finish();
		judge(pair[0]);
	} else {
		total.bad++;
		printf("plan %" PRIu64 ": %s\n", seed, why);
	}
	count(&plan);
	pair_close(pair);
	kernel.plan = NULL;
}

static void
summary(void)
{
	static const char *const names[END_COUNT] = {"no report"};

	printf("%sok 1 - kernel: %lu plans (%lu harmless), %" PRIu64 " calls, %" PRIu64 " faults, %" PRIu64
	       " of them for good; engines: %s; ends:",
	    total.bad ? "not " : "", total.plans, total.harmless, total.calls, total.faults, total.blows, pair_name());
	for (int i = 0; i < END_COUNT; i++)
		if (total.ends[i])
			printf(" %s by %s %lu,", i ? relay_end_how((enum relay_end)i) : names[0],
			    relay_end_by((enum relay_end)i), total.ends[i]);
	printf(" wrong %lu\n", total.bad);
}

int
main(int argc, char **argv)
{
	uint64_t first = 1, n = SAMPLE;

	verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
	argc -= verbose;
	argv += verbose;
	if (argc > 1)
		first = strtoull(argv[1], NULL, 10);
	if (argc > 1)
		n = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	pair_prepare();
	(void)signal(SIGABRT, note_abort);
	for (uint64_t seed = first; seed < first + n; seed++)
		run(seed);
	summary();
	return total.bad ? 1 : 0;
}
