/*
 * Fuzzes relay and loop in a world of which the input is the script: a peer, a
 * prog, a monitor, a kernel that interrupts and gives little, and an engine
 * with small buffers, whose records are in the clear. The first two bytes say
 * how it is started and what the engine can do; each other one is what happens
 * next. Behind the last of them everybody comes to an end. Checks that the loop
 * then does too, without waiting for a clock, and that no byte was lost or out
 * of order but where that is told: to the peer by a reset or an alert, to the
 * monitor by a failure that did happen.
 *
 * The system calls of the loop are those below: the build renames them.
 */
#include "sys/loop.h"
#include "core/record.h"
#include "sys/channel.h"
#include "sys/clock.h"
#include "sys/fds.h"
#include "sys/wire.h"

#include "fuzz.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WIRE_IN = 3, WIRE_OUT = 4, PROG_IN = 5, PROG_OUT = 6, CHANNEL = 7, SIGNER = 8 };

/* What the script chooses in its first two bytes. */
enum { ENFORCE = 4, HALF = 8, MUTE = 16, MUFFLED = 32, PIPES_LATE = 64, REFUSES_TO_RUN = 128 };
enum {
	SOCKET = 1,
	IDLE = 2,
	HANDSHAKE = 4,
	GREETED = 8,
	SLOW_MONITOR = 16,
	CLOSES_EARLY = 32,
	HEIR = 64,
	NO_SESSION = 128
};

/* What happens, in the lower half of a byte; the upper one says how much. */
enum op {
	OP_LOOK, /* poll answers now, and so much time has passed */
	OP_DATA,
	OP_PART, /* the beginning of a record; the next thing that the peer sends ends it */
	OP_GREET,
	OP_NOTIFY,
	OP_NONSENSE,
	OP_FIN,
	OP_RESET,
	OP_REFUSE,
	OP_TAKE,
	OP_WRITE,
	OP_READ,
	OP_PROG_EOF,
	OP_PROG_DEAF,
	OP_PROG_EXIT,
	OP_OTHER, /* the monitor's and the kernel's */
};

/* Types of record (RFC 8446, 5.1), and one that is none. */
enum { ALERT = 21, GREETING = 22, DATA = 23, NONSENSE = 99, HEADER = 5 };

/* The rooms are small, so that they are full often. */
enum { WIRE_ROOM = 64, PIPE_ROOM = 48, RECORD_ROOM = 32, MOST_SENT = 4096, MOST_TOLD = 64, MOST_NAUGHTS = 50 };

/* A record of one byte, as alerts are here. */
enum { WORD = HEADER + 1 };

struct engine {
	unsigned char in[2 * RECORD_ROOM], out[3 * RECORD_ROOM], app_in[RECORD_ROOM / 2], app_out[RECORD_ROOM];
	size_t in_n, out_n, app_in_n, app_out_n;
	unsigned facts;
	bool closed; /* close_notify was queued */
};

/* All there is but the loop. Bytes that prog and peer write are told apart by their places alone. */
static struct world {
	const uint8_t *script;
	size_t left;
	unsigned how[2];
	int64_t now;
	unsigned fair, turns; /* behind the script: how many have come to their end, how often we were asked */
	struct engine engine;

	/* The kernel: what the next poll is, and the next call that moves bytes, or how little that moves. */
	bool interrupted, nothing;
	unsigned naughts; /* a loop that finds nothing for ever says that it spins */
	size_t little;

	/* The peer: what it sent, how much of that is held back, and was read; prog's bytes in it. */
	unsigned char sent[MOST_SENT];
	size_t sent_n, held, read_n, said, notified_said;
	bool fin, reset, refused, noticed, notify, nonsense;

	/* And what it gets: all bytes, those that it has taken, prog's. */
	struct record reader;
	unsigned char type;
	size_t put, taken, heard;
	unsigned notifies, alerts;
	bool finished, closed, broken; /* by us */

	/* prog: what it wrote, before its exit, and before we heard of that; and what it was given. */
	size_t wrote, own, bound, wrote_read, got, got_read;
	bool runs, eof, deaf, exited;
	bool joined, stopped; /* the loop knows that it runs; it had ended the connection before */
	bool cut_in, cut_out; /* by us */

	/* The monitor: what it said, how much of that has arrived and was read; and what it was told. */
	unsigned char told[MOST_TOLD];
	size_t told_n, told_seen, told_read;
	bool signalled, orphaned, babbled, up, faulted, reported;
	struct report report;
} w;

static unsigned char
pattern(size_t at)
{
	return (unsigned char)(at * 2654435761u >> 7 & 0xff);
}

static size_t
least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Takes the first n bytes off a buffer. */
static void
shift(unsigned char *buffer, size_t *have, size_t n)
{
	CHECK(n > 0 && n <= *have);
	*have -= n;
	memmove(buffer, buffer + n, *have);
}

/* -- the engine ---------------------------------------------------------- */

static void
put_record(struct engine *e, unsigned char type, const unsigned char *p, size_t n)
{
	const unsigned char header[HEADER] = {type, 3, 3, 0, (unsigned char)n};

	CHECK(e->out_n + HEADER + n <= sizeof e->out);
	memcpy(e->out + e->out_n, header, HEADER);
	memcpy(e->out + e->out_n + HEADER, p, n);
	e->out_n += HEADER + n;
}

/* Room for a record, and behind it for close_notify and an alert. */
static bool
has_room(const struct engine *e, size_t n)
{
	return e->out_n + HEADER + n + 2 * WORD <= sizeof e->out;
}

static void
break_engine(struct engine *e)
{
	e->facts |= ENGINE_FAILED;
	if (e->facts & ENGINE_UP && w.how[0] & MUFFLED)
		e->facts |= ENGINE_SILENT;
	else
		put_record(e, ALERT, (const unsigned char *)"!", 1);
}

/* Judges the record at the front. Returns whether it could be. */
static bool
take_record(struct engine *e, unsigned char type, const unsigned char *p, size_t n)
{
	if (type == GREETING && !(e->facts & ENGINE_UP)) {
		if (!has_room(e, 1))
			return false;
		put_record(e, GREETING, p, 1);
		e->facts |= ENGINE_UP;
	} else if (type == DATA && e->facts & ENGINE_UP) {
		if (e->app_out_n + n > sizeof e->app_out)
			return false;
		memcpy(e->app_out + e->app_out_n, p, n);
		e->app_out_n += n;
	} else if (type == ALERT) {
		e->facts |= ENGINE_NOTIFIED;
	} else if (type != GREETING) {
		break_engine(e);
	}
	return true;
}

static bool
whole(const struct engine *e)
{
	return e->in_n >= HEADER && e->in_n >= HEADER + (size_t)e->in[4];
}

static bool
at_end(const struct engine *e)
{
	return e->facts & (ENGINE_NOTIFIED | ENGINE_FAILED);
}

/* Makes of all that is there what can be made. */
static void
work(struct engine *e)
{
	while (!at_end(e) && whole(e)) {
		size_t n = e->in[4];

		if (!take_record(e, e->in[0], e->in + HEADER, n))
			break;
		shift(e->in, &e->in_n, HEADER + n);
	}
	if (e->app_in_n > 0 && !(e->facts & ENGINE_FAILED) && has_room(e, e->app_in_n)) {
		put_record(e, DATA, e->app_in, e->app_in_n);
		e->app_in_n = 0;
	}
}

unsigned
engine_facts(const struct engine *e)
{
	return e->facts;
}

const char *
engine_reason(const struct engine *e)
{
	CHECK(e->facts & ENGINE_FAILED);
	return "nonsense";
}

size_t
engine_wire_in(struct engine *e, unsigned char **buf)
{
	*buf = e->in + e->in_n;
	return at_end(e) ? 0 : sizeof e->in - e->in_n;
}

void
engine_wire_in_ack(struct engine *e, size_t n)
{
	CHECK(!at_end(e) && n <= sizeof e->in - e->in_n);
	e->in_n += n;
	work(e);
}

size_t
engine_wire_out(struct engine *e, const unsigned char **buf)
{
	*buf = e->out;
	return e->out_n;
}

void
engine_wire_out_ack(struct engine *e, size_t n)
{
	shift(e->out, &e->out_n, n);
	work(e);
}

size_t
engine_app_in(struct engine *e, unsigned char **buf)
{
	bool mute = e->facts & ENGINE_NOTIFIED && w.how[0] & MUTE;

	*buf = e->app_in + e->app_in_n;
	return !(e->facts & ENGINE_UP) || e->facts & ENGINE_FAILED || e->closed || mute
		   ? 0
		   : sizeof e->app_in - e->app_in_n;
}

void
engine_app_in_ack(struct engine *e, size_t n)
{
	CHECK(!e->closed && n <= sizeof e->app_in - e->app_in_n);
	e->app_in_n += n;
	work(e);
}

size_t
engine_app_out(struct engine *e, const unsigned char **buf)
{
	*buf = e->app_out;
	return e->app_out_n;
}

void
engine_app_out_ack(struct engine *e, size_t n)
{
	shift(e->app_out, &e->app_out_n, n);
	work(e);
}

bool
engine_app_busy(const struct engine *e)
{
	return e->app_in_n > 0;
}

bool
engine_hungry(const struct engine *e)
{
	return at_end(e) || !whole(e);
}

void
engine_close(struct engine *e)
{
	CHECK(!e->closed && e->app_in_n == 0);
	e->closed = true;
	put_record(e, ALERT, (const unsigned char *)"", 1);
}

int
engine_session(const struct engine *e, struct session *s, struct fault *f)
{
	CHECK(e->facts & ENGINE_UP);
	if (w.how[1] & NO_SESSION)
		return fault_set(f, FAULT_TLS, "no session");
	session_clear(s);
	strcpy(s->protocol, "TLSv1.3");
	strcpy(s->cipher, "TLS_X");
	return 0;
}

bool
engine_half_close(const struct engine *e)
{
	(void)e;
	return w.how[0] & HALF;
}

bool
engine_replies_after_close(const struct engine *e)
{
	(void)e;
	return !(w.how[0] & MUTE);
}

void
engine_wipe(struct engine *e)
{
	CHECK(e->facts & ENGINE_UP);
}

/* -- what happens -------------------------------------------------------- */

/* Sends what was held of the record that was begun, and then a record, but for so many bytes of it. */
static void
send_record(unsigned char type, size_t n, size_t held)
{
	if (w.fin || w.reset || w.sent_n + HEADER + n > sizeof w.sent)
		return;
	const unsigned char header[HEADER] = {type, 3, 3, 0, (unsigned char)n};

	memcpy(w.sent + w.sent_n, header, HEADER);
	w.sent_n += HEADER;
	for (size_t i = 0; i < n; i++)
		w.sent[w.sent_n++] = pattern(type == DATA ? w.said++ : 0);
	w.held = held;
	if (type == ALERT && !w.notify) {
		w.notify = true;
		w.notified_said = w.said;
	}
	w.nonsense = w.nonsense || type == NONSENSE || (type == DATA && !(w.how[1] & GREETED));
}

static void
greet(void)
{
	send_record(GREETING, 1, 0);
	w.how[1] |= GREETED;
}

static void
tell(unsigned char message)
{
	if (!w.orphaned && w.told_n < sizeof w.told)
		w.told[w.told_n++] = message;
	if (!(w.how[1] & SLOW_MONITOR) || w.left == 0)
		w.told_seen = w.told_n;
}

static void
exit_prog(void)
{
	if (!w.runs || w.exited)
		return;
	w.exited = w.deaf = true;
	w.own = w.wrote;
	/* Unless somebody else holds the pipe open, and goes on. */
	w.eof = w.eof || !(w.how[1] & HEIR);
	tell(MSG_EXITED);
}

/* The monitor speaks, or the kernel gives little. */
static void
do_other(unsigned much)
{
	switch (much) {
	case 0:
		if (!w.signalled)
			tell(MSG_STOP);
		w.signalled = true;
		break;
	case 1: w.orphaned = true; break;
	case 2: w.interrupted = true; break;
	case 3: w.nothing = w.naughts++ < MOST_NAUGHTS; break;
	case 4: w.told_seen = w.told_n; break;
	case 5:
		tell(MSG_UP); /* not the monitor's to say */
		w.babbled = true;
		break;
	default: w.little = much - 5;
	}
}

/* A step of the script. */
static void
act(enum op op, unsigned much)
{
	switch (op) {
	case OP_LOOK: w.now += much ? 1LL << much : 0; break;
	case OP_DATA: send_record(DATA, 2 * much, 0); break;
	case OP_PART: send_record(DATA, 10, 1 + much % (HEADER + 9)); break;
	case OP_GREET: greet(); break;
	case OP_NOTIFY: send_record(ALERT, 1, 0); break;
	case OP_NONSENSE: send_record(NONSENSE, much, 0); break;
	case OP_FIN: w.fin = true; break;
	case OP_RESET: w.reset = true; break;
	case OP_REFUSE: w.refused = true; break;
	case OP_TAKE: w.taken += least(w.put - w.taken, 4 * much + 4); break;
	case OP_WRITE:
		if (w.runs && !w.eof && !w.cut_out)
			w.wrote += least(PIPE_ROOM - (w.wrote - w.wrote_read), 3 * much + 1);
		break;
	case OP_READ: w.got_read += least(w.got - w.got_read, 3 * much + 1); break;
	case OP_PROG_EOF: w.eof = w.eof || w.runs; break;
	case OP_PROG_DEAF: w.deaf = w.deaf || w.runs; break;
	case OP_PROG_EXIT: exit_prog(); break;
	case OP_OTHER: do_other(much); break;
	}
}

/* Whether nothing has happened that ends a connection but prog and peer, each in its own time. */
static bool
calm(void)
{
	bool ends =
	    w.nonsense || w.reset || w.refused || w.signalled || w.orphaned || w.babbled || (w.fin && w.held > 0);

	return !ends && !(w.how[1] & (IDLE | HANDSHAKE)) && (w.notify || !(w.how[0] & ENFORCE));
}

/* The peer has ended, and nothing moves any more: prog has all that it sent, and its EOF. */
static void
check_delivered(void)
{
	if (!(w.fin || w.notify) || !w.runs || w.deaf || w.exited || !calm())
		return;
	CHECK(w.cut_in && w.got_read == w.got);
	/* What comes behind our close_notify may be dropped. */
	CHECK(w.engine.closed || w.got == (w.notify ? w.notified_said : w.said));
}

/* Nothing moves any more, and one after another comes to its end. */
static void
end_next(void)
{
	switch (w.fair++) {
	case 0: w.fin = w.fin || w.how[1] & CLOSES_EARLY; break;
	case 1:
		check_delivered();
		w.eof = w.eof || (w.runs && !(w.how[1] & HEIR));
		break;
	case 2:
		check_delivered();
		exit_prog();
		break;
	case 3: w.fin = w.fin || !w.noticed; break; /* a wire that takes nothing may also bring nothing any more */
	default: abort(); /* all have ended, and the loop waits for something, be it a clock */
	}
}

/* -- the kernel ---------------------------------------------------------- */

static size_t
unread(void)
{
	return w.sent_n - w.held - w.read_n;
}

static short
ready(const struct pollfd *p)
{
	bool gone = w.reset || w.refused;

	switch (p->fd) {
	case WIRE_IN: return unread() > 0 || w.fin || w.reset ? POLLIN : 0;
	case WIRE_OUT: return gone ? POLLERR : w.put - w.taken < WIRE_ROOM ? POLLOUT : 0;
	case PROG_IN: return w.deaf ? POLLERR : w.got - w.got_read < PIPE_ROOM ? POLLOUT : 0;
	case PROG_OUT: return (short)((w.wrote > w.wrote_read ? POLLIN : 0) | (w.eof ? POLLHUP : 0));
	case CHANNEL: return w.told_read < w.told_seen || w.orphaned ? POLLIN : 0;
	default: CHECK(p->fd == -1); return 0;
	}
}

static int
count_ready(struct pollfd *p, nfds_t n)
{
	int count = 0;

	for (nfds_t i = 0; i < n; i++) {
		p[i].revents = ready(&p[i]);
		count += p[i].revents != 0;
	}
	return count;
}

/* The world goes on to the next moment at which poll may answer. */
static void
go_on(void)
{
	enum op op = OP_OTHER;

	for (; op != OP_LOOK && w.left > 0; w.left--) {
		op = (enum op)(*w.script & 15);
		act(op, *w.script >> 4);
		w.script++;
	}
	if (w.left > 0)
		return;
	/* The script is over: whoever can read does. */
	w.taken = w.put;
	w.got_read = w.got;
	w.told_seen = w.told_n;
	CHECK(++w.turns < 2000);
}

int
world_poll(struct pollfd *p, nfds_t n, int ms)
{
	int64_t until = w.now + ms;
	int count;

	if (n == 1) /* an aside, that waits for nothing */
		return count_ready(p, n);
	do {
		go_on();
		if (w.interrupted) {
			w.interrupted = false;
			errno = EINTR;
			return -1;
		}
		count = count_ready(p, n);
		if (count == 0 && ms != 0 && w.left == 0)
			end_next();
	} while (count == 0 && (ms < 0 || w.now < until));
	return count;
}

/* How much of n bytes is moved where so many can be. Nothing: 0, with errno. */
static size_t
portion(size_t can, size_t n)
{
	bool nothing = w.nothing;
	size_t m = least(least(can, n), w.little ? w.little : n);

	w.nothing = false;
	w.little = 0;
	errno = nothing ? EINTR : EAGAIN;
	return nothing ? 0 : m;
}

ssize_t
world_read(int fd, void *buf, size_t n)
{
	size_t m = portion(w.wrote - w.wrote_read, n);

	CHECK(fd == PROG_OUT && !w.cut_out && w.runs);
	if (m == 0)
		return w.eof && w.wrote == w.wrote_read ? 0 : -1;
	for (size_t i = 0; i < m; i++)
		((unsigned char *)buf)[i] = pattern(w.wrote_read++);
	return (ssize_t)m;
}

ssize_t
world_write(int fd, const void *buf, size_t n)
{
	size_t m = portion(PIPE_ROOM - (w.got - w.got_read), n);

	CHECK(fd == PROG_IN && !w.cut_in && w.runs && n > 0);
	if (w.deaf)
		errno = EPIPE;
	if (w.deaf || m == 0)
		return -1;
	for (size_t i = 0; i < m; i++)
		CHECK(((const unsigned char *)buf)[i] == pattern(w.got++));
	CHECK(w.got <= w.said);
	return (ssize_t)m;
}

int
world_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;

	CHECK(fd == PROG_OUT && request == FIONREAD && !w.cut_out);
	va_start(ap, request);
	*va_arg(ap, int *) = (int)(w.wrote - w.wrote_read);
	va_end(ap);
	return 0;
}

int64_t
clock_ms(void)
{
	return w.now;
}

/* Pipes are as wide as they are here. */
void
fds_widen(int pipe)
{
	(void)pipe;
}

void
fds_close(int *fd)
{
	const struct engine *e = &w.engine;

	if (*fd == PROG_IN) {
		/* Whoever still listens gets all that was decrypted. */
		CHECK(!w.cut_in && (!w.runs || w.deaf || w.orphaned || w.babbled || e->app_out_n == 0));
		w.cut_in = true;
	}
	if (*fd == PROG_OUT)
		w.cut_out = true;
	/* Pipes that have not come yet, and will be of no use. */
	if (*fd == -1)
		w.stopped = true;
	*fd = -1;
}

/* -- the wire ------------------------------------------------------------ */

void
wire_open(struct wire *wire, int in, int out)
{
	*wire = (struct wire){.in = in, .out = out, .out_socket = w.how[1] & SOCKET};
}

ssize_t
wire_read(const struct wire *wire, void *buf, size_t n)
{
	size_t m = portion(unread(), n);

	CHECK(wire->in == WIRE_IN && n > 0);
	memcpy(buf, w.sent + w.read_n, m);
	w.read_n += m;
	if (m > 0 || unread() > 0 || !(w.fin || w.reset))
		return m > 0 ? (ssize_t)m : -1;
	errno = ECONNRESET;
	return w.reset ? -1 : 0;
}

/* The peer gets a byte: prog's next one, or one of another record. */
static void
hear(unsigned char c)
{
	bool header = !record_inside(&w.reader) || w.reader.have > 0;

	if (!record_inside(&w.reader))
		w.type = c;
	record_feed(&w.reader, &c, 1);
	w.put++;
	CHECK(w.type == DATA || w.type == ALERT || w.type == GREETING);
	if (header)
		return;
	if (w.type == DATA)
		CHECK(w.notifies == 0 && w.alerts == 0 && c == pattern(w.heard++) && w.heard <= w.wrote_read);
	w.alerts += w.type == ALERT && c == '!';
	w.notifies += w.type == ALERT && c == '\0';
}

ssize_t
wire_write(const struct wire *wire, const void *buf, size_t n)
{
	size_t m = portion(WIRE_ROOM - (w.put - w.taken), n);

	CHECK(wire->out == WIRE_OUT && !w.finished && n > 0);
	w.noticed = w.noticed || w.refused;
	if (w.refused || w.reset)
		errno = EPIPE;
	if (w.refused || w.reset || m == 0)
		return -1;
	for (size_t i = 0; i < m; i++)
		hear(((const unsigned char *)buf)[i]);
	return (ssize_t)m;
}

void
wire_hurry(struct wire *wire)
{
	(void)wire;
}

void
wire_relax(struct wire *wire)
{
	(void)wire;
}

void
wire_acknowledge(const struct wire *wire)
{
	(void)wire;
}

size_t
wire_unsent(const struct wire *wire)
{
	return wire->out_socket ? w.put - w.taken : 0;
}

void
wire_fin(struct wire *wire)
{
	CHECK(!w.finished && !w.closed && !w.broken);
	w.finished = true;
	if (!wire->out_socket)
		wire->out = -1;
}

void
wire_close(struct wire *wire)
{
	CHECK(!w.closed && !w.broken);
	w.closed = true;
	wire->in = wire->out = -1;
}

void
wire_reset(struct wire *wire)
{
	CHECK(!w.closed && !w.broken);
	w.broken = true;
	wire->in = wire->out = -1;
}

/* -- the monitor --------------------------------------------------------- */

int
channel_send(int fd, const unsigned char *message, size_t n)
{
	static struct session session;
	struct span in = {.p = message, .n = n};
	struct fault f;

	CHECK(fd == CHANNEL && !w.reported);
	if (message_read_up(in, &session) == 0) {
		CHECK(!w.up);
		w.up = true;
		w.runs = !(w.how[0] & REFUSES_TO_RUN) && !w.orphaned && !w.signalled;
		tell(w.runs ? MSG_RUN : MSG_NOT_RUN);
	} else if (message_read_fault(in, &f) == 0) {
		CHECK(w.how[1] & NO_SESSION);
		w.faulted = w.reported = true;
	} else {
		CHECK(message_read_end(in, &w.report) == 0);
		w.reported = true;
	}
	return w.orphaned ? -1 : 0;
}

int
channel_tell(int fd, enum message_type type)
{
	CHECK(fd == CHANNEL && (type == MSG_ASK || type == MSG_ASK_PATIENTLY) && w.up);
	tell(w.exited ? MSG_EXITED : MSG_ALIVE);
	return 0;
}

long
channel_receive_fds(int fd, unsigned char *buf, size_t size, int fds[CHANNEL_FDS])
{
	CHECK(fd == CHANNEL && size == 1);
	fds[0] = fds[1] = -1;
	if (w.told_read == w.told_seen)
		return w.orphaned ? -1 : 0;
	buf[0] = w.told[w.told_read++];
	if (buf[0] == MSG_EXITED && w.bound == 0)
		w.bound = w.wrote;
	w.stopped = w.stopped || w.cut_out || buf[0] == MSG_STOP || buf[0] == MSG_UP || w.engine.facts & ENGINE_FAILED;
	w.joined = w.joined || (buf[0] == MSG_RUN && !w.stopped);
	if (buf[0] == MSG_RUN && w.how[0] & PIPES_LATE) {
		fds[0] = PROG_IN;
		fds[1] = PROG_OUT;
	}
	return 1;
}

/* -- the judge ----------------------------------------------------------- */

/* Whether what the report says did happen. */
static bool
happened(enum relay_end end)
{
	bool ended = w.fin || w.notify;

	switch (end) {
	case END_PROG_EOF: return w.eof || w.exited;
	case END_PROG_EXIT: return w.exited;
	case END_PEER_EOF: return w.fin && w.up;
	case END_PEER_NOTIFY: return w.notify && w.up;
	case END_CUT: return w.fin && w.up && w.held > 0;
	case END_NO_NOTIFY: return w.fin && !w.notify && w.up && w.how[0] & ENFORCE;
	case END_ABANDONED: return ended && !w.up;
	case END_RESET: return w.reset || w.refused;
	case END_TLS: return w.nonsense;
	case END_IDLE: return w.how[1] & IDLE;
	case END_LATE: return w.how[1] & HANDSHAKE && !w.up;
	case END_STALLED: return w.exited;
	case END_NOT_RUN: return w.up && !w.runs;
	case END_SIGNAL: return w.signalled;
	case END_ORPHANED: return w.orphaned || w.babbled;
	case END_NONE:
	case END_COUNT: break;
	}
	return false;
}

static void
judge(const struct config *config)
{
	bool failed = w.report.end >= END_CUT, mute = w.notify && w.how[0] & MUTE, gone = w.reset || w.refused;
	bool bare = config->close == CLOSE_FIN;

	CHECK(w.reported && w.closed != w.broken);
	if (w.faulted)
		return;
	CHECK(happened(w.report.end) && w.report.in == w.got && w.report.out == w.wrote_read);
	CHECK(w.notifies <= !bare && w.alerts <= 1);
	CHECK(failed || w.up);
	CHECK(w.bound == 0 || w.wrote_read <= w.bound);
	/* Who sees no reset has every byte, or knows better; and one that prog left open ends so after silence alone.
	 */
	if (!w.broken && !gone && w.alerts == 0 && !mute) {
		/* Where pipes come late, what is in them is not known before. */
		CHECK(w.heard >= (w.exited ? w.own : w.wrote) || (!w.joined && w.how[0] & PIPES_LATE));
		CHECK(!record_inside(&w.reader) || w.type == ALERT);
		CHECK(!failed || !w.joined || w.eof || w.exited || w.report.end == END_IDLE);
	}
	CHECK(failed || !w.broken);
	/* With time enough, an end in good order is told as one. */
	if (!failed && !gone && !w.signalled && !w.orphaned && !w.babbled && w.now == 0)
		CHECK(w.finished && w.notifies == !bare);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 2)
		return 0;
	w = (struct world){.script = data + 2, .left = n - 2, .how = {data[0], data[1] & ~(unsigned)GREETED}};
	const bool late = w.how[0] & PIPES_LATE;
	const struct loop_fds fds = {.wire_in = WIRE_IN,
	    .wire_out = WIRE_OUT,
	    .prog_in = late ? -1 : PROG_IN,
	    .prog_out = late ? -1 : PROG_OUT,
	    .channel = CHANNEL,
	    .signer = SIGNER};
	const struct config config = {.close = (int)(data[0] & 3) % 3,
	    .enforce = (data[0] & ENFORCE) != 0,
	    .idle_ms = data[1] & IDLE ? 5000 : 0,
	    .handshake_ms = data[1] & HANDSHAKE ? 3000 : 0,
	    .linger_ms = 2000};

	if (data[1] & GREETED)
		greet();
	loop_run(&w.engine, &fds, &config, w.now);
	judge(&config);
	return 0;
}
