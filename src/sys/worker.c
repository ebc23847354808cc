/*
 * Descriptors, signals, privileges, the engine, the seal, the loop; what fails on the way is
 * told to the monitor, which alone speaks to people.
 */
#include "sys/worker.h"

#include "core/message.h"
#include "sys/channel.h"
#include "sys/clock.h"
#include "sys/dial.h"
#include "sys/fds.h"
#include "sys/seal.h"
#include "sys/signer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* A signal has done its work when it has interrupted a system call. */
static void
interrupt(int signal)
{
	(void)signal;
}

/*
 * Signals that go to the whole process group are the monitor's to act on. One
 * of them also comes when the monitor dies: the channel's end, which follows,
 * is then looked at even if a call was waiting for something else.
 */
static void
set_signals(const sigset_t *mask)
{
	struct sigaction waking = {.sa_handler = interrupt}, ignored = {.sa_handler = SIG_IGN};

	(void)sigaction(SIGTERM, &waking, NULL);
	(void)sigaction(SIGINT, &waking, NULL);
	(void)sigaction(SIGHUP, &waking, NULL);
	(void)sigaction(SIGPIPE, &ignored, NULL);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
}

/* Has `signal` come when the monitor dies. */
static int
outlive_nobody(int signal, pid_t parent, struct fault *f)
{
	if (prctl(PR_SET_PDEATHSIG, signal) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot ask for a parent-death signal");
	if (getppid() != parent)
		return fault_set(f, FAULT_SYSTEM, "the monitor died");
	return 0;
}

static int
set_up(const struct loop_fds *fds, const struct config *config, const struct privileges *privileges, pid_t parent,
    struct fault *f)
{
	const int keep[] = {fds->wire_in, fds->wire_out, fds->prog_in, fds->prog_out, fds->channel, fds->signer};

	fds_close_others(keep, sizeof keep / sizeof *keep);
	if (fds_silence(keep, sizeof keep / sizeof *keep, f) < 0)
		return -1;
	if (fds->signer >= 0 && signer_limit(fds->signer, (unsigned)config->handshake_ms, f) < 0)
		return -1;
	if (privileges_shed(privileges, config->local_port != NULL, f) < 0)
		return -1;
	/* After the change of ids, which clears it. Who makes a connection hears nothing else meanwhile. */
	return outlive_nobody(config->program == TLSCLIENT ? SIGKILL : SIGTERM, parent, f);
}

static void
report(int channel, const struct fault *f)
{
	unsigned char message[2 + FAULT_TEXT];
	long n = message_fault(message, f);

	(void)channel_send(channel, message, (size_t)n);
}

/*
 * Waits for the monitor's word, which may be long in coming, and takes the
 * connection that comes with it where there is none yet. Returns whether there
 * is something to do.
 */
static bool
told_to_start(struct loop_fds *fds, bool takes)
{
	unsigned char word;
	struct pollfd p = {.fd = fds->channel, .events = POLLIN};
	int came[CHANNEL_FDS];
	long n;

	while ((n = channel_receive_fds(fds->channel, &word, 1, came)) == 0)
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return false;
	if (n != 1 || word != MSG_START)
		return false;
	if (takes)
		fds->wire_in = fds->wire_out = came[0];
	return !takes || came[0] >= 0;
}

/* Makes the connection, which the monitor learns of, and needs no more privileges then. */
static int
connect_wire(struct loop_fds *fds, const struct config *c, pid_t parent, struct fault *f)
{
	static unsigned char message[MESSAGE_MAX];
	const struct dial d = {.host = c->host,
	    .port = c->port,
	    .family = c->family,
	    .local_ip = c->local_ip,
	    .local_port = c->local_port,
	    .nodelay = c->nodelay,
	    .qualify = !c->unqualified,
	    .lookup = c->prog && !c->no_lookup, /* nobody else would read them */
	    .local_name = c->local_name,
	    .first_s = c->round_s[0],
	    .second_s = c->round_s[1]};
	struct ucspi tcp;
	long n;

	fds->wire_in = fds->wire_out = dial(&d, &tcp, f);
	if (fds->wire_in < 0 || privileges_finish(f) < 0 || outlive_nobody(SIGTERM, parent, f) < 0)
		return -1;
	n = message_connected(message, &tcp);
	if (n < 0 || channel_send(fds->channel, message, (size_t)n) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot tell of the connection");
	return 0;
}

/*
 * Whoever gets a connection is sealed before anything else; whoever makes it,
 * who asks name servers for addresses, when that is done, and does it only when
 * the monitor has found all in order. Returns 1 to begin, 0 not to, -1 with *f.
 */
static int
get_ready(struct loop_fds *fds, const struct config *config, pid_t parent, int64_t *start, struct fault *f)
{
	bool dials = config->program == TLSCLIENT, takes = config->program == TLSSERVER;

	if (!dials && seal_engine(f) < 0)
		return -1;
	if (takes && channel_tell(fds->channel, MSG_READY) < 0)
		return 0;
	if (!told_to_start(fds, takes))
		return 0;
	if (dials && (connect_wire(fds, config, parent, f) < 0 || seal_engine(f) < 0))
		return -1;
	if (dials || takes)
		*start = clock_ms();
	return 1;
}

/*
 * What a library and we have in memory goes with the process. To take it apart
 * would copy, page by page, what was the parent's; only who looks for leaks
 * wants to see that nothing is left.
 */
static _Noreturn void
leave(struct engine *e, struct engine_context *context, const struct loop_fds *fds)
{
	(void)close(fds->signer); /* the loop may have */
	(void)close(fds->channel);
#ifdef SANITIZED
	engine_free(e);
	engine_context_free(context);
	exit(0);
#else
	(void)e;
	(void)context;
	_exit(0);
#endif
}

_Noreturn void
worker_run(struct engine_context *context, const struct loop_fds *fds, const struct config *config,
    const struct privileges *privileges, const sigset_t *mask, pid_t parent, int64_t start)
{
	struct loop_fds own = *fds;
	struct engine *e = NULL;
	struct fault f;
	int ready = -1;

	set_signals(mask);
	if (set_up(&own, config, privileges, parent, &f) == 0)
		e = engine_open(context, &f);
	/* The one copy of the key that is left goes when the handshake is over. */
	engine_context_wipe(context);
	/* Opening an engine may read files; nothing comes from the peer before the loop. */
	if (e)
		ready = get_ready(&own, config, parent, &start, &f);
	if (ready < 0)
		report(own.channel, &f);
	else if (ready)
		loop_run(e, &own, config, start);
	leave(e, context, &own);
}
