/*
 * Descriptors, signals, privileges, the engine, the seal, the loop; what fails on the way is
 * told to the monitor, which alone speaks to people.
 */
#include "sys/worker.h"

#include "core/message.h"
#include "sys/channel.h"
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

static int
set_up(const struct loop_fds *fds, const struct config *config, const struct privileges *privileges, pid_t parent,
    struct fault *f)
{
	const int keep[] = {fds->prog_in, fds->prog_out, fds->channel, fds->signer};

	fds_close_others(keep, sizeof keep / sizeof *keep);
	if (fds->signer >= 0 && signer_limit(fds->signer, (unsigned)config->handshake_ms, f) < 0)
		return -1;
	if (privileges_shed(privileges, f) < 0)
		return -1;
	/* After the change of ids, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot ask for a parent-death signal");
	if (getppid() != parent)
		return fault_set(f, FAULT_SYSTEM, "the monitor died");
	return 0;
}

static void
report(int channel, const struct fault *f)
{
	unsigned char message[2 + FAULT_TEXT];
	long n = message_fault(message, f);

	(void)channel_send(channel, message, (size_t)n);
}

/* Waits until the monitor has found key and certificate in order. Returns whether it has. */
static bool
told_to_start(int channel)
{
	static unsigned char message[MESSAGE_MAX];
	struct pollfd p = {.fd = channel, .events = POLLIN};
	long n;

	while ((n = channel_receive(channel, message)) == 0)
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return false;
	return n == 1 && message[0] == MSG_START;
}

_Noreturn void
worker_run(struct engine_context *context, const struct loop_fds *fds, const struct config *config,
    const struct privileges *privileges, const sigset_t *mask, pid_t parent, int64_t start)
{
	struct engine *e = NULL;
	struct fault f;

	set_signals(mask);
	if (set_up(fds, config, privileges, parent, &f) == 0)
		e = engine_open(context, &f);
	/* The one copy of the key that is left goes when the handshake is over. */
	engine_context_wipe(context);
	/* Opening an engine may read files; nothing comes from the network before the loop. */
	if (!e || seal_engine(&f) < 0)
		report(fds->channel, &f);
	else if (told_to_start(fds->channel))
		loop_run(e, fds, config, start);
	engine_free(e);
	engine_context_free(context);
	(void)close(fds->signer); /* the loop may have */
	(void)close(fds->channel);
	exit(0);
}
