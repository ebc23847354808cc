/*
 * What one side sends is a pattern of the place, so that a byte that is wrong,
 * or in a wrong place, is seen by whoever reads it.
 */
#include "world.h"

#include "core/message.h"

#include <string.h>

enum { FROM_PEER = 1, FROM_PROG = 2 };

struct world world;

#define plan (kernel.plan)

/* -- bytes ------------------------------------------------------------------- */

/* Two periods that have no factor in common with any size in use. */
enum { PATTERN = 65521 };
static unsigned char pattern[2][2 * PATTERN + RING];

static void
make_patterns(void)
{
	for (unsigned of = 0; of < 2; of++)
		for (size_t i = 0; i < sizeof pattern[of]; i++)
			pattern[of][i] = (unsigned char)(((i % PATTERN) * 2654435761u >> 11) + of * 101);
}

/* At most RING bytes, from place `at` on. */
static const unsigned char *
bytes_of(int who, size_t at)
{
	return pattern[who - 1] + at % PATTERN;
}

static size_t
some(size_t n, size_t chunk)
{
	n = n < chunk ? n : chunk;
	return n > 1 ? 1 + below((unsigned)n) : n;
}

static void
check(const char *who, int of, size_t at, const unsigned char *p, size_t n)
{
	if (n > 0 && memcmp(p, bytes_of(of, at), n) != 0)
		wrong("%s got a wrong byte among %zu at %zu", who, n, at);
}

static bool
asleep(int64_t wake)
{
	return wake > kernel.now;
}

/* Now and then somebody rests. */
static void
nap(int64_t *wake, unsigned *naps)
{
	if (*naps == 0 || below(16))
		return;
	--*naps;
	*wake = kernel.now + 1 + below(30);
}

/* -- the peer ------------------------------------------------------------------ */

static struct peer *const peer = &world.peer;

static bool
peer_reads_wire(void)
{
	unsigned char *in;
	size_t n = engine_wire_in(peer->engine, &in);
	unsigned char sink[4096];

	if (kernel.down.n == 0)
		return false;
	if (engine_facts(peer->engine) & (ENGINE_FAILED | ENGINE_NOTIFIED)) {
		in = sink;
		n = sizeof sink;
	}
	if (n == 0)
		return false;
	n = stream_get(&kernel.down, in, some(n, plan->peer_chunk));
	say("peer: reads %zu", n);
	if (in != sink)
		engine_wire_in_ack(peer->engine, n);
	return true;
}

static bool
peer_reads_app(void)
{
	const unsigned char *p;
	size_t n = engine_app_out(peer->engine, &p);

	if (n == 0)
		return false;
	check("the peer", FROM_PROG, peer->got, p, n);
	peer->got += n;
	engine_app_out_ack(peer->engine, n);
	return true;
}

static bool
peer_writes_app(void)
{
	unsigned char *p;
	size_t n = plan->from_peer - peer->sent, room;

	if (n == 0 || peer->notified)
		return false;
	room = engine_app_in(peer->engine, &p);
	n = some(n < room ? n : room, plan->peer_chunk);
	if (n == 0)
		return false;
	memcpy(p, bytes_of(FROM_PEER, peer->sent), n);
	peer->sent += n;
	engine_app_in_ack(peer->engine, n);
	return true;
}

static bool
peer_writes_wire(void)
{
	const unsigned char *p;
	size_t n = engine_wire_out(peer->engine, &p);

	/* A connection whose other end is closed takes it, and answers with a RST. */
	if (n == 0 || kernel.dead || peer->finished)
		return false;
	if (kernel.up.deaf) {
		engine_wire_out_ack(peer->engine, n);
		peer_knocks();
		return true;
	}
	n = stream_put(&kernel.up, p, some(n, plan->peer_chunk));
	if (n == 0)
		return false;
	say("peer: writes %zu", n);
	engine_wire_out_ack(peer->engine, n);
	return true;
}

/* Whether it may say nothing more, as we have ended. */
static bool
peer_is_mute(void)
{
	return engine_facts(peer->engine) & ENGINE_NOTIFIED &&
	       (!engine_replies_after_close(peer->engine) || (plan->config.close == CLOSE_NOTIFY && plan->seed % 2));
}

/* Whether all that it had to say is in the wire. */
static bool
peer_is_done(void)
{
	const unsigned char *p;

	if (engine_facts(peer->engine) & ENGINE_FAILED || kernel.dead || kernel.up.deaf)
		return true;
	return engine_facts(peer->engine) & ENGINE_UP && (peer->sent == plan->from_peer || peer_is_mute()) &&
	       !engine_app_busy(peer->engine) && engine_wire_out(peer->engine, &p) == 0;
}

static void
peer_notifies(void)
{
	const unsigned char *p;

	if (!peer->notified)
		engine_close(peer->engine);
	peer->notified = true;
	if (engine_wire_out(peer->engine, &p) == 0)
		kernel.peer_notified = true;
}

static void
peer_finishes(void)
{
	if (!peer->finished)
		peer_fin();
	peer->finished = true;
}

static void
peer_goes(void)
{
	peer->gone = true;
	peer_close();
}

/* An error to some peers, who say so: FIN without close_notify. */
static bool
peer_alerts(void)
{
	static const unsigned char record[] = {21, 3, 3, 0, 6, 2, 10, 0, 0, 0, 0};

	if (plan->peer != PEER_ALERTS || peer->alerted || kernel.dead)
		return false;
	peer->alerted = true;
	say("peer: alert");
	if (!kernel.up.deaf)
		(void)stream_put(&kernel.up, record, sizeof record);
	return true;
}

/* It has read our end: it closes in good order. */
static bool
peer_answers_end(void)
{
	if (peer_alerts())
		return true;
	if (!peer->finished && !peer->alerted && engine_facts(peer->engine) & ENGINE_UP &&
	    (plan->notifies_last || plan->peer == PEER_NOTIFY)) {
		bool first = !peer->notified;

		peer_notifies();
		if (first)
			return true;
	}
	peer_finishes();
	peer_goes();
	return true;
}

static bool
peer_sees_end(void)
{
	if (kernel.end == WIRE_LIVES || kernel.down.n > 0 || peer->saw_end)
		return false;
	peer->saw_end = true;
	peer->saw_reset = kernel.end == WIRE_RST;
	say("peer: sees %s", peer->saw_reset ? "RST" : "FIN");
	if (peer->saw_reset)
		peer_goes();
	return true;
}

/* What a peer that is done does before it has seen our end. */
static bool
peer_ends_first(void)
{
	if ((plan->peer == PEER_FIN || plan->peer == PEER_FLIPS) && !peer->finished) {
		peer_finishes();
		return true;
	}
	if (plan->peer != PEER_NOTIFY)
		return false;
	if (!peer->notified) {
		peer_notifies();
		return true;
	}
	peer_notifies();
	if (plan->notifies_last || peer->finished)
		return false;
	peer_finishes();
	return true;
}

/* The moment of one that is not polite. */
static bool
peer_turns(void)
{
	if (polite(plan) || peer->rude || peer->steps < plan->peer_at)
		return false;
	peer->rude = true;
	switch (plan->peer) {
	case PEER_LEAVES: peer_goes(); return true;
	case PEER_RESETS:
		if (below(2))
			kernel.up.n = below((unsigned)kernel.up.n + 1);
		peer->gone = true;
		peer_reset();
		return true;
	case PEER_CUTS:
		if (!peer->finished && !kernel.up.deaf && stream_free(&kernel.up) > 3) {
			const unsigned char *p;
			size_t n = engine_wire_out(peer->engine, &p);

			(void)stream_put(&kernel.up, n > 1 ? p : (const unsigned char *)"\27\3\3",
			    n > 1 ? 1 + below((unsigned)n - 1) : 3);
		}
		peer_finishes();
		return true;
	case PEER_FLIPS:
		peer->rude = kernel.up.n > 0;
		peer->leaves = kernel.now + 300000; /* nobody may know any more whose turn it is */
		if (kernel.up.n == 0)
			return false;
		kernel.up.ring[(kernel.up.begin + below((unsigned)kernel.up.n)) % RING] ^=
		    (unsigned char)(1u << below(8));
		return true;
	case PEER_STOPS: peer->wake = kernel.now + 300000; return true;
	case PEER_FIN:
	case PEER_NOTIFY:
	case PEER_WAITS:
	case PEER_ALERTS:
	case PEER_KINDS: break;
	}
	return false;
}

static bool
peer_step(void)
{
	bool moved = false;

	if (peer->gone || asleep(peer->wake))
		return false;
	peer->steps++;
	if (peer_turns())
		return true;
	if (peer->rude && (plan->peer == PEER_STOPS || (peer->leaves && peer->leaves <= kernel.now))) {
		peer_goes();
		return true;
	}
	moved = peer_reads_wire() || moved;
	moved = peer_reads_app() || moved;
	moved = peer_writes_app() || moved;
	moved = peer_writes_wire() || moved;
	if (moved) {
		nap(&peer->wake, &peer->naps);
		return true;
	}
	if (peer_sees_end())
		return true;
	/* A connection that is broken, or whose TLS has failed, is left, when nothing comes from it any more. */
	if (kernel.dead || (engine_facts(peer->engine) & ENGINE_FAILED && !peer->finished)) {
		peer_goes();
		return true;
	}
	if (!polite(plan) && peer->steps < plan->peer_at)
		return true; /* its moment is still to come */
	if (!peer_is_done())
		return false;
	return peer->saw_end ? peer_answers_end() : peer_ends_first();
}

/* -- prog ------------------------------------------------------------------------ */

static struct prog *const prog = &world.prog;

static size_t
prog_reads_to(void)
{
	switch (plan->prog) {
	case PROG_DEAF: return 0;
	case PROG_SHUTS:
	case PROG_LEAVES: return plan->prog_shuts_at < plan->from_peer ? plan->prog_shuts_at : plan->from_peer;
	case PROG_COUNTS: return plan->from_peer;
	case PROG_BOTH:
	case PROG_ANSWER:
	case PROG_SPEAKS:
	case PROG_DIES:
	case PROG_KINDS: break;
	}
	return SIZE_MAX;
}

static bool
prog_reads(void)
{
	unsigned char buf[16384];
	size_t n = prog_reads_to() - prog->got;

	if (!prog->in_open || prog->saw_eof || n == 0)
		return false;
	if (kernel.to_prog.n == 0 && kernel.to_prog.ended) {
		prog->saw_eof = true;
		return true;
	}
	n = stream_get(&kernel.to_prog, buf, some(n < sizeof buf ? n : sizeof buf, plan->prog_chunk));
	check("prog", FROM_PEER, prog->got, buf, n);
	prog->got += n;
	return n > 0;
}

static bool
prog_has_read(void)
{
	return !prog->in_open || prog->saw_eof || prog->got >= prog_reads_to();
}

static bool
prog_has_written(void)
{
	return !prog->out_open || prog->wrote == plan->from_prog || kernel.from_prog.deaf;
}

static bool
prog_writes(void)
{
	size_t n = plan->from_prog - prog->wrote;

	if (prog_has_written() || (plan->prog == PROG_ANSWER && !prog_has_read()))
		return false;
	n = stream_put(&kernel.from_prog, bytes_of(FROM_PROG, prog->wrote), some(n, plan->prog_chunk));
	prog->wrote += n;
	kernel.own += n;
	return n > 0;
}

static void
prog_closes_out(void)
{
	if (!prog->out_open)
		return;
	prog->out_open = false;
	prog->out_at = kernel.calls;
	kernel.from_prog.ended = prog->grandchild == 0;
}

static void
prog_closes_in(void)
{
	if (!prog->in_open)
		return;
	prog->in_open = false;
	prog->deaf_at = prog->saw_eof ? 0 : kernel.calls;
	kernel.to_prog.deaf = true;
}

static void
prog_exits(void)
{
	say("prog: exits; it wrote %zu, and read %zu", prog->wrote, prog->got);
	prog->grandchild = prog->out_open ? plan->grandchild : 0;
	prog_closes_in();
	prog_closes_out();
	prog->exited = true;
	prog->exit_at = kernel.calls;
	world.monitor.exited_at = kernel.now + (below(2) ? 0 : below(50));
}

/* Who was left behind writes on. */
static bool
grandchild_steps(void)
{
	size_t n;

	if (prog->grandchild == 0)
		return false;
	n = stream_put(&kernel.from_prog, bytes_of(FROM_PROG, prog->wrote), some(prog->grandchild, plan->prog_chunk));
	prog->wrote += n;
	prog->grandchild -= n;
	if (kernel.from_prog.deaf)
		prog->grandchild = 0;
	kernel.from_prog.ended = prog->grandchild == 0 && below(2);
	return n > 0;
}

/* The ends that are behind nothing else. */
static bool
prog_ends(void)
{
	if (plan->prog == PROG_SHUTS && prog->in_open && prog_has_read()) {
		prog_closes_in();
		return true;
	}
	if (!prog_has_written())
		return false;
	if (plan->prog == PROG_SPEAKS && prog->out_open) {
		prog_closes_out();
		return true;
	}
	if (!prog_has_read())
		return false;
	if (plan->prog == PROG_LEAVES && prog->out_open) {
		prog_closes_in();
		prog_closes_out();
		prog->wake = kernel.now + below(1000);
		return true;
	}
	prog_exits();
	return true;
}

static bool
prog_step(void)
{
	bool moved;

	if (prog->exited)
		return grandchild_steps();
	if (!prog->runs || asleep(prog->wake))
		return false;
	if (++prog->steps >= plan->prog_at && plan->prog == PROG_DIES) {
		prog_exits();
		return true;
	}
	moved = prog_reads();
	moved = prog_writes() || moved;
	if (!moved)
		return plan->prog == PROG_DIES || prog_ends();
	nap(&prog->wake, &prog->naps);
	return true;
}

/* -- the monitor ------------------------------------------------------------------ */

static struct monitor *const monitor = &world.monitor;

static void
take_message(const struct packet *p)
{
	static struct session session;
	const struct span in = {p->bytes, p->n};
	struct fault f;

	say("monitor: hears %d", p->bytes[0]);
	if (monitor->reported || monitor->faulted)
		wrong("message %d behind the last one", p->bytes[0]);
	switch (p->bytes[0]) {
	case MSG_UP:
		if (monitor->up || message_read_up(in, &session) < 0)
			wrong("a MSG_UP that is none");
		monitor->up = true;
		monitor->run_at = kernel.now + (below(2) ? 0 : below(50));
		return;
	case MSG_END:
		if (message_read_end(in, &monitor->report) < 0)
			wrong("a MSG_END that is none");
		monitor->reported = true;
		monitor->end_at = kernel.calls;
		return;
	case MSG_FAULT:
		if (monitor->up || message_read_fault(in, &f) < 0)
			wrong("a MSG_FAULT that is none");
		monitor->faulted = true;
		return;
	case MSG_ASK:
	case MSG_ASK_PATIENTLY:
		if (!monitor->run || plan->not_run || monitor->asked)
			wrong("MSG_ASK at a moment that is none");
		monitor->asked = true;
		monitor->answers = true;
		monitor->wake = kernel.now + (p->bytes[0] == MSG_ASK ? 0 : ASK_PATIENCE_MS);
		return;
	default: wrong("message %d from the engine", p->bytes[0]);
	}
}

static bool
monitor_runs_prog(void)
{
	if (!monitor->up || monitor->run || asleep(monitor->run_at))
		return false;
	monitor->run = true;
	prog->runs = prog->in_open = prog->out_open = !plan->not_run;
	monitor_says(plan->not_run ? MSG_NOT_RUN : MSG_RUN, plan->late_pipes && !plan->not_run);
	return true;
}

static bool
monitor_tells_exit(void)
{
	if (!prog->exited || monitor->told || asleep(monitor->exited_at))
		return false;
	monitor->told = true;
	monitor->answers = false;
	if (monitor->asked && !monitor->answered_at)
		monitor->answered_at = kernel.calls;
	monitor_says(MSG_EXITED, false);
	return true;
}

static bool
monitor_answers(void)
{
	if (!monitor->answers || asleep(monitor->wake))
		return false;
	monitor->answers = false;
	if (!monitor->answered_at)
		monitor->answered_at = kernel.calls;
	monitor_says(MSG_ALIVE, false);
	return true;
}

static bool
monitor_step(void)
{
	const struct packet *p;

	if (kernel.monitor_gone)
		return false;
	monitor->steps++;
	if (monitor->steps == plan->dies_at) {
		monitor_dies();
		return true;
	}
	if (monitor->steps == plan->stop_at) {
		monitor->stopped = true;
		monitor_says(MSG_STOP, false);
		return true;
	}
	p = monitor_hears();
	if (p) {
		take_message(p);
		return true;
	}
	return monitor_runs_prog() || monitor_tells_exit() || monitor_answers();
}

/* -- all of them ---------------------------------------------------------------------- */

static bool (*const steps[])(void) = {peer_step, prog_step, monitor_step};

void
world_nudge(void)
{
	(void)steps[below(3)]();
}

bool
world_step(void)
{
	unsigned first = below(3);
	bool moved = false;

	for (unsigned i = 0; i < 3; i++)
		moved = steps[(first + i) % 3]() || moved;
	return moved;
}

static void
sooner(int64_t *alarm, int64_t wake, bool counts)
{
	if (counts && wake > kernel.now && (*alarm < 0 || wake < *alarm))
		*alarm = wake;
}

int64_t
world_alarm(void)
{
	int64_t alarm = -1;

	sooner(&alarm, peer->wake, !peer->gone);
	sooner(&alarm, peer->leaves, !peer->gone);
	sooner(&alarm, prog->wake, prog->runs && !prog->exited);
	sooner(&alarm, monitor->run_at, monitor->up && !monitor->run && !kernel.monitor_gone);
	sooner(&alarm, monitor->exited_at, prog->exited && !monitor->told && !kernel.monitor_gone);
	sooner(&alarm, monitor->wake, monitor->answers && !kernel.monitor_gone);
	return alarm;
}

void
world_begin(struct engine *engine)
{
	if (!pattern[0][1])
		make_patterns();
	memset(&world.peer, 0, sizeof world.peer);
	memset(&world.prog, 0, sizeof world.prog);
	memset(&world.monitor, 0, offsetof(struct monitor, report));
	monitor->wake = monitor->run_at = monitor->exited_at = 0;
	peer->engine = engine;
	peer->naps = prog->naps = below(10);
}

void
world_finish(void)
{
	int64_t alarm = 0;

	for (int i = 0; alarm >= 0 && i < 1000000; i++) {
		if (world_step())
			continue;
		alarm = world_alarm();
		kernel.now = alarm > kernel.now ? alarm : kernel.now;
	}
	if (alarm >= 0)
		wrong("the others do not come to an end");
}
