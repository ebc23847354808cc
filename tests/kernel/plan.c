/*
 * A plan is drawn in the order of struct plan. What would make the loss of
 * bytes or a failure right is not drawn for a harmless one.
 */
#include "plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* -- chance ---------------------------------------------------------------- */

static uint64_t state;

/* splitmix64, by Sebastiano Vigna. */
static uint64_t
draw(void)
{
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Neighbours begin far from each other. */
void
chance_begin(uint64_t seed)
{
	state = seed;
	state = draw();
}

unsigned
below(unsigned n)
{
	return (unsigned)((draw() >> 32) * n >> 32);
}

bool
happens(unsigned of_1024)
{
	return of_1024 && below(1024) < of_1024;
}

#define PICK(array) (array)[below(sizeof(array) / sizeof *(array))]

/* -- parts ----------------------------------------------------------------- */

static size_t
amount(void)
{
	static const unsigned sizes[] = {0, 0, 1, 1, 2, 100, 100, 1000, 4096, 4097, 16383, 16384, 16385, 70000};

	return below(3) ? PICK(sizes) : below(below(8) ? 3000 : 70000);
}

/* How much moves at once: with much to move, not so little that a plan takes long. */
static size_t
chunk(size_t of)
{
	static const unsigned chunks[] = {1, 2, 5, 6, 100, 1000, 4096, 16384, 65536};
	size_t n = PICK(chunks);

	return n < of / 64 ? of / 64 : n;
}

static void
draw_config(struct plan *p)
{
	p->config.close = (int)below(3);
	p->config.enforce = below(4) == 0;
	p->config.linger_ms = 2000;
	if (p->harmless)
		return;
	if (below(8) == 0)
		p->config.linger_ms = (int)below(50);
	if (below(4) == 0)
		p->config.idle_ms = 1 + (int)below(100000);
	if (below(4) == 0)
		p->config.handshake_ms = 1 + (int)below(below(2) ? 30 : 30000);
}

static void
draw_engines(struct plan *p)
{
	static const unsigned records[] = {1, 7, 100, 1000, 16384};

	p->record = PICK(records);
	p->half = below(2);
	p->replies = below(4);
	p->silent = below(4) == 0;
	p->refuses = !p->harmless && below(32) == 0;
	p->no_session = !p->harmless && below(64) == 0;
	p->tls12 = below(2);
}

static void
draw_peer(struct plan *p)
{
	p->peer = (enum peer_kind)below(p->harmless || below(2) ? PEER_ALERTS + 1 : PEER_KINDS);
	if (p->harmless && p->peer == PEER_FIN && p->config.enforce)
		p->peer = PEER_NOTIFY;
	/* A reply that the engine cannot give any more would be lost. */
	if (p->harmless && p->peer == PEER_NOTIFY && !p->replies)
		p->peer = PEER_WAITS;
	if (p->peer == PEER_ALERTS && p->config.close != CLOSE_FIN)
		p->peer = PEER_WAITS;
	p->from_peer = amount();
	p->notifies_last = p->config.enforce || below(2);
	p->peer_at = 1 + below(below(2) ? 20 : 200);
}

static void
draw_prog(struct plan *p)
{
	p->prog = (enum prog_kind)below(PROG_KINDS);
	/* Two that wait for each other's end would do so for ever. */
	if ((p->peer == PEER_WAITS || p->peer == PEER_ALERTS) && (p->prog == PROG_BOTH || p->prog == PROG_ANSWER))
		p->prog = PROG_COUNTS;
	/* What a peer says to prog's end is a failure of the connection where prog lives on. */
	if (p->harmless && p->peer == PEER_ALERTS && (p->prog == PROG_SPEAKS || p->prog == PROG_LEAVES))
		p->prog = PROG_COUNTS;
	p->from_prog = amount();
	p->prog_shuts_at = below(100);
	p->prog_at = 1 + below(100);
	p->grandchild = below(8) ? 0 : below(5000);
}

static void
draw_monitor(struct plan *p)
{
	if (p->harmless)
		return;
	p->stop_at = below(12) ? 0 : 1 + below(200);
	p->dies_at = below(16) ? 0 : 1 + below(200);
	p->not_run = below(32) == 0;
}

static const int errors[SITES][6] = {
    [SITE_WIRE_READ] = {ECONNRESET, ETIMEDOUT, EHOSTUNREACH, EIO, ENOMEM, ENOTCONN},
    [SITE_WIRE_WRITE] = {EPIPE, ECONNRESET, ETIMEDOUT, EIO, ENOMEM, ENOBUFS},
    [SITE_PROG_READ] = {EIO, ENOMEM},
    [SITE_PROG_WRITE] = {ENOMEM, EIO},
    [SITE_TELL] = {EPIPE, ENOBUFS, ENOMEM, EAGAIN},
    [SITE_HEAR] = {ENOMEM, EIO, ENOBUFS},
    [SITE_PIPE] = {EIO, ENOMEM},
    [SITE_OPTION] = {ENOMEM, ENOPROTOOPT, EINVAL},
    [SITE_QUEUE] = {EINVAL, ENOMEM},
    [SITE_CLOSE] = {EINTR, EIO},
};

static struct blow
draw_blow(bool harmless)
{
	/* Options, queues and close have nothing to do with the bytes. */
	struct blow b = {.site = (enum site)(harmless ? SITE_OPTION + below(SITES - SITE_OPTION) : below(SITES))};
	size_t n = 0;

	b.nth = 1 + below(below(2) ? 4 : 40);
	while (n < 6 && errors[b.site][n])
		n++;
	b.error = errors[b.site][below((unsigned)n)];
	return b;
}

static void
draw_kernel(struct plan *p)
{
	static const unsigned rooms[] = {4096, 8192, 16384, 65536};
	static const unsigned rates[] = {0, 0, 20, 100, 250};

	p->up = PICK(rooms);
	p->down = PICK(rooms);
	p->to_prog = PICK(rooms);
	p->from_prog_room = PICK(rooms);
	p->eintr = PICK(rates);
	p->eagain = PICK(rates);
	p->shortness = PICK(rates);
	p->spurious = PICK(rates);
	p->nudge = PICK(rates) * 3;
	p->jump = p->harmless || below(8) ? 0 : 20;
	p->blows_n = below(p->harmless ? 3 : 4);
	for (unsigned i = 0; i < p->blows_n; i++)
		p->blows[i] = draw_blow(p->harmless);
}

/* -- the whole --------------------------------------------------------------- */

struct plan
plan_of(uint64_t seed)
{
	struct plan p = {.seed = seed};
	size_t all;

	chance_begin(seed);
	p.harmless = below(2);
	draw_config(&p);
	p.shape = (enum shape)(below(2) ? ONE_SOCKET : below(SHAPES));
	p.late_pipes = below(3) == 0;
	draw_engines(&p);
	draw_peer(&p);
	draw_prog(&p);
	draw_monitor(&p);
	draw_kernel(&p);
	all = p.from_peer > p.from_prog ? p.from_peer : p.from_prog;
	if (p.record < all / 64)
		p.record = 16384;
	p.peer_chunk = chunk(all);
	p.prog_chunk = chunk(all);
	p.most = below(2) ? 1 + below(16) : chunk(all);
	return p;
}

void
plan_print(const struct plan *p)
{
	static const char *const peers[] = {
	    "fin", "notify", "waits", "alerts", "leaves", "resets", "cuts", "flips", "stops"};
	static const char *const progs[] = {"both", "answer", "counts", "speaks", "deaf", "shuts", "leaves", "dies"};
	static const char *const shapes[] = {
	    "a socket", "a socket twice", "pipes", "pipe and socket", "socket and pipe"};
	static const char *const closes[] = {"-s", "-S", "--half-close-notify"};
	static const char *const sites[SITES] = {
	    "wire read", "wire write", "prog read", "prog write", "tell", "hear", "pipe", "option", "queue", "close"};

	printf("plan %" PRIu64 ": %s, %s %s, %s%s\n", p->seed, p->harmless ? "harmless" : "fatal",
	    closes[p->config.close], p->config.enforce ? "-J" : "-j", shapes[p->shape],
	    p->late_pipes ? ", pipes come late" : "");
	printf("  peer %s: %zu bytes by %zu; prog %s: %zu bytes by %zu, grandchild %zu; records of %zu\n",
	    peers[p->peer], p->from_peer, p->peer_chunk, progs[p->prog], p->from_prog, p->prog_chunk, p->grandchild,
	    p->record);
	printf("  half %d replies %d silent %d refuses %d no session %d; idle %d handshake %d linger %d; stop %u dies "
	       "%u\n",
	    p->half, p->replies, p->silent, p->refuses, p->no_session, p->config.idle_ms, p->config.handshake_ms,
	    p->config.linger_ms, p->stop_at, p->dies_at);
	printf("  eintr %u eagain %u short %u (%zu) spurious %u nudge %u jump %u\n", p->eintr, p->eagain, p->shortness,
	    p->most, p->spurious, p->nudge, p->jump);
	for (unsigned i = 0; i < p->blows_n; i++)
		printf("  blow: %s %u: errno %d\n", sites[p->blows[i].site], p->blows[i].nth, p->blows[i].error);
}
