#include "judge.h"

#include "world.h"

#include <inttypes.h>

static const struct peer *const peer = &world.peer;
static const struct prog *const prog = &world.prog;
static const struct monitor *const monitor = &world.monitor;

#define plan (kernel.plan)

static bool
clean(void)
{
	return monitor->reported && monitor->report.end < END_CUT;
}

/* Whether our close_notify is the end of both directions. */
static bool
discards(const struct engine *own)
{
	return plan->config.close == CLOSE_NOTIFY ||
	       (plan->config.close == CLOSE_NOTIFY_HALF && !engine_half_close(own));
}

/* Whether the peer closed, and so wants nothing more that an engine like this one could say. */
static bool
hushed(const struct engine *own)
{
	return peer->notified && !engine_replies_after_close(own);
}

/* -- what is left ------------------------------------------------------------ */

static void
judge_descriptors(void)
{
	if (still_open(IS_IN | IS_OUT | IS_PROG_IN | IS_PROG_OUT))
		wrong("a descriptor is left open");
	if (!still_open(IS_CHANNEL))
		wrong("the channel is closed");
	if (monitor->up && still_open(IS_SIGNER))
		wrong("the signer's socket is left open");
}

/* -- the one message ----------------------------------------------------------- */

static void
judge_report(void)
{
	const struct report *r = &monitor->report;
	bool unheard = kernel.monitor_gone || kernel.struck[SITE_TELL];

	if (!monitor->reported && !monitor->faulted && !unheard)
		wrong("the loop ended without a report");
	if (monitor->faulted && !plan->no_session)
		wrong("a fault is reported");
	if (kernel.rest && kernel.from_prog.read > kernel.rest)
		wrong("it read on behind prog's exit");
	if (!monitor->reported)
		return;
	if (r->in != kernel.to_prog.written || r->out != kernel.from_prog.read)
		wrong("it reports %" PRIu64 " bytes in, %" PRIu64 " out, of %" PRIu64 ", %" PRIu64, r->in, r->out,
		    kernel.to_prog.written, kernel.from_prog.read);
}

/* Whether anything happened that is called so. */
static bool
happened(enum relay_end end)
{
	switch (end) {
	case END_PROG_EOF: return prog->out_at > 0;
	case END_PROG_EXIT: return prog->exited;
	case END_PEER_EOF: return kernel.saw_eof;
	case END_PEER_NOTIFY: return peer->notified;
	case END_CUT: return kernel.saw_cut;
	case END_NO_NOTIFY: return kernel.saw_unnotified;
	case END_ABANDONED: return kernel.saw_eof || peer->notified;
	case END_RESET: return kernel.saw_error;
	case END_TLS: return plan->refuses || peer->alerted || peer->rude;
	case END_IDLE: return plan->config.idle_ms > 0;
	case END_LATE: return plan->config.handshake_ms > 0;
	case END_STALLED: return prog->exited;
	case END_NOT_RUN:
		return plan->not_run || kernel.struck[SITE_TELL] || kernel.struck[SITE_PROG_READ] ||
		       kernel.struck[SITE_PROG_WRITE] || kernel.struck[SITE_PIPE];
	case END_SIGNAL: return monitor->stopped;
	case END_ORPHANED: return kernel.monitor_gone || kernel.struck[SITE_HEAR];
	case END_NONE:
	case END_COUNT: break;
	}
	return false;
}

/*
 * Whether the wire failed while it mattered: before prog had exited, by what
 * the monitor knew when it was asked.
 */
static bool
must_fail(const struct engine *own)
{
	unsigned long at = kernel.trouble, known = monitor->answered_at > at ? monitor->answered_at : at;

	if (!at || (prog->exited && prog->exit_at <= known))
		return false;
	/* An end of the wire comes behind its last byte, which such a prog never read, and is heard of too late. */
	if (kernel.read_trouble && prog->exited && prog->deaf_at == prog->exit_at)
		return false;
	if (kernel.read_trouble && prog->deaf_at && kernel.fin && discards(own))
		return false;
	if (kernel.fin && kernel.fin <= at && discards(own))
		return false;
	/* Nor is one that waits behind bytes for prog while our own end goes out: what is before it is not looked at.
	 */
	if (kernel.read_trouble && kernel.fin && discards(own) && kernel.given_at_fin < peer->sent)
		return false;
	return !kernel.read_trouble || !kernel.peer_notified;
}

/* -- the bytes ------------------------------------------------------------------- */

/* What the peer takes for a whole answer is one. */
static void
judge_answer(const struct engine *own)
{
	bool looks_whole = peer->saw_end && !peer->saw_reset && !(engine_facts(peer->engine) & ENGINE_FAILED) &&
			   (plan->config.close == CLOSE_FIN || engine_facts(peer->engine) & ENGINE_NOTIFIED);
	uint64_t known = kernel.own_at_look < kernel.own_at_fin ? kernel.own_at_look : kernel.own_at_fin;
	uint64_t least = clean() ? kernel.own_at_fin : known;

	if (looks_whole && out_socket(plan) && !hushed(own) && peer->got < least)
		wrong("the peer has %zu bytes of %" PRIu64 ", and a proper end", peer->got, least);
}

/* What prog takes for a whole request is one, if nobody says otherwise. */
static void
judge_request(const struct engine *own)
{
	if (!polite(plan) || !prog->saw_eof || (discards(own) && plan->prog == PROG_SPEAKS))
		return;
	if (prog->got != peer->sent)
		wrong("prog has %zu bytes of %zu, and a proper end", prog->got, peer->sent);
}

/* A clean end is one. */
static void
judge_clean(const struct engine *own)
{
	if (must_fail(own))
		wrong("the wire failed, and the end is a clean one");
	if (kernel.struck[SITE_PROG_READ] || kernel.struck[SITE_PROG_WRITE])
		wrong("a pipe of prog failed, and the end is a clean one");
	judge_request(own);
	if (!hushed(own) && monitor->report.out < kernel.own && prog->exited && !peer->gone)
		wrong("%" PRIu64 " bytes of prog were taken of %" PRIu64, monitor->report.out, kernel.own);
}

/* Without a fault that matters, everything arrives. */
static void
judge_harmless(const struct engine *own)
{
	if (!clean())
		wrong("the end is not a clean one: %s", relay_end_how(monitor->report.end));
	if (!prog->exited || !peer->saw_end || peer->saw_reset)
		wrong("the end is not what the peer and prog expect");
	if (hushed(own))
		return;
	if (peer->got < kernel.own)
		wrong("the peer got %zu bytes of %" PRIu64, peer->got, kernel.own);
	if (plan->config.close != CLOSE_FIN && !(engine_facts(peer->engine) & ENGINE_NOTIFIED))
		wrong("the peer got no close_notify");
}

void
judge(const struct engine *own)
{
	judge_descriptors();
	judge_report();
	if (monitor->reported && !happened(monitor->report.end))
		wrong("it reports %s, which did not happen", relay_end_how(monitor->report.end));
	judge_answer(own);
	if (clean())
		judge_clean(own);
	if (plan->harmless)
		judge_harmless(own);
}
