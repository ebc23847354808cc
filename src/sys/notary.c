/*
 * The child's loop waits for its parent and for all engines whose handshakes
 * are in progress; each end is closed when it was answered.
 */
#include "sys/notary.h"

#include "core/message.h"
#include "engine/engine.h"
#include "sys/channel.h"
#include "sys/fds.h"
#include "sys/material.h"
#include "sys/seal.h"
#include "sys/signer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { EVENTS = 64 };

/* -- the process --------------------------------------------------------- */

struct desk {
	struct engine_key *key;
	int control; /* -1: the parent has let us go */
	int epoll;
	size_t ends; /* that wait for a signature */
};

/* An end is known by its descriptor and, for the parent, by its connection's number. */
static uint64_t *numbers;
static size_t numbers_n;

static bool
remember(int end, uint64_t number)
{
	size_t n = numbers_n ? numbers_n : EVENTS;
	uint64_t *more;

	while (n <= (size_t)end)
		n *= 2;
	if (n > numbers_n) {
		more = realloc(numbers, n * sizeof *numbers);
		if (!more)
			return false;
		numbers = more;
		numbers_n = n;
	}
	numbers[end] = number;
	return true;
}

static int
watch(const struct desk *d, int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &e);
}

/* Another process may have a copy for a moment yet, and what epoll(7) watches is not gone before the last of them. */
static void
leave(const struct desk *d, int fd)
{
	(void)epoll_ctl(d->epoll, EPOLL_CTL_DEL, fd, NULL);
	(void)close(fd);
}

/* An engine that is not taken loses its handshake. */
static void
take_end(struct desk *d, int end, uint64_t number)
{
	if (end < 0)
		return;
	if (remember(end, number) && watch(d, end) == 0)
		d->ends++;
	else
		(void)close(end);
}

static void
hear_parent(struct desk *d)
{
	unsigned char message[1 + 8];
	int came[CHANNEL_FDS];
	uint64_t number;
	long n;

	while ((n = channel_receive_fds(d->control, message, sizeof message, came)) != 0) {
		if (n > 0 && message_read_sign((struct span){message, (size_t)n}, &number) == 0) {
			take_end(d, came[0], number);
			continue;
		}
		leave(d, d->control);
		d->control = -1;
		return;
	}
}

static void
answer(struct desk *d, int end)
{
	unsigned char message[1 + 8 + FAULT_TEXT];
	struct fault f;
	enum signer_heard heard = signer_answer(end, d->key, SIGNING_SERVER, false, &f);

	if (heard == SIGNER_NOTHING)
		return;
	if (heard == SIGNER_REFUSED && d->control >= 0)
		(void)channel_send(d->control, message, (size_t)message_refused(message, numbers[end], f.text));
	leave(d, end);
	d->ends--;
}

static void
serve(struct desk *d)
{
	struct epoll_event events[EVENTS];

	while (d->control >= 0 || d->ends > 0) {
		int n = epoll_wait(d->epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == d->control)
				hear_parent(d);
			else
				answer(d, events[i].data.fd);
		}
	}
}

/* What comes to the whole process group is the parent's to act on. */
static void
ignore_signals(void)
{
	static const int ours[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGPIPE};
	sigset_t none;

	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		(void)signal(ours[i], SIG_IGN);
	(void)signal(SIGABRT, SIG_DFL);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Read as the parent may, parsed as somebody who may do nothing. */
static int
set_up(struct desk *d, const struct blob *leaf, const struct privileges *p, struct fault *f)
{
	struct blob key = {0};
	int got = material_load_key(&key, f); /* which may be on a descriptor */

	fds_close_others(&d->control, 1);
	if (got == 0 && fds_silence(&d->control, 1, f) == 0 && privileges_shed(p, false, f) == 0)
		d->key = engine_key_load(&key, leaf, f);
	blob_wipe(&key);
	if (!d->key)
		return -1;
	d->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (d->epoll < 0 || watch(d, d->control) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot wait for engines: %s", strerror(errno));
	return seal_signer(f);
}

static _Noreturn void
run(int control, const struct blob *leaf, const struct privileges *p, pid_t parent)
{
	unsigned char message[2 + FAULT_TEXT];
	struct desk d = {.control = control, .epoll = -1};
	struct fault f;

	ignore_signals();
	/* It may wait for its key for ever; once it has that, it sees the control channel end. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(FAULT_SYSTEM);
	if (set_up(&d, leaf, p, &f) < 0)
		(void)channel_send(control, message, (size_t)message_fault(message, &f));
	else if (channel_tell(control, MSG_READY) == 0)
		serve(&d);
	engine_key_free(d.key);
	exit(0);
}

/* -- its parent ---------------------------------------------------------- */

int
notary_start(struct notary *n, const struct blob *leaf, const struct privileges *p, struct fault *f)
{
	pid_t self = getpid();
	int ends[2];

	*n = (struct notary){.control = -1};
	if (channel_create(ends, f) < 0)
		return -1;
	n->pid = fork();
	if (n->pid == 0)
		run(ends[1], leaf, p, self);
	(void)close(ends[1]);
	n->control = ends[0];
	if (n->pid > 0)
		return 0;
	n->pid = 0;
	fds_close(&n->control);
	return fault_set(f, FAULT_SYSTEM, "cannot fork: %s", strerror(errno));
}

enum notary_news
notary_hear(struct notary *n, uint64_t *number, struct fault *f)
{
	static unsigned char message[MESSAGE_MAX];
	long got = n->control < 0 ? -1 : channel_receive(n->control, message);
	struct span in = {message, got > 0 ? (size_t)got : 0};

	if (got == 0)
		return NOTARY_NOTHING;
	if (!n->ready && got == 1 && message[0] == MSG_READY) {
		n->ready = true;
		return NOTARY_READY;
	}
	if (!n->ready && message_read_key_fault(in, f) == 0)
		return NOTARY_FAILED;
	f->code = FAULT_TLS;
	return n->ready && message_read_refused(in, number, f->text) == 0 ? NOTARY_REFUSED : NOTARY_GONE;
}

int
notary_serve(const struct notary *n, int end, uint64_t number)
{
	unsigned char message[1 + 8];
	long length = message_sign(message, number);

	return channel_send_fds(n->control, message, (size_t)length, &end, 1);
}

void
notary_release(struct notary *n)
{
	fds_close(&n->control);
	n->ready = false;
}
