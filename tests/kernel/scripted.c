/*
 * An engine that speaks something like TLS, without its secrets: a handshake of
 * three messages, records, alerts, close_notify. Each record ends with its
 * number and a sum of its bytes, so that one that was changed, doubled or
 * left out breaks the connection, as a MAC would see to.
 */
#include "pair.h"

#include <string.h>

enum { HEADER = 5, TRAILER = 4, LONGEST = 16384, HANDSHAKE = 22, ALERT = 21, DATA = 23 };
enum { HELLO = 1, ANSWER, FINISHED };
enum { CLOSING = 0, BAD_RECORD_MAC = 20, HANDSHAKE_FAILURE = 40 };

struct buffer {
	size_t begin, end;
	unsigned char p[3 * LONGEST];
};

struct engine {
	const struct plan *plan;
	bool server, closed;
	unsigned facts, sent, received;
	char reason[32];
	struct buffer wire_in, wire_out, app_in, app_out;
};

static struct engine engines[2];

/* -- buffers ------------------------------------------------------------- */

static size_t
waiting(const struct buffer *b)
{
	return b->end - b->begin;
}

static size_t
room(struct buffer *b)
{
	if (b->begin > 0 && sizeof b->p - b->end < LONGEST + HEADER + TRAILER) {
		memmove(b->p, b->p + b->begin, waiting(b));
		b->end -= b->begin;
		b->begin = 0;
	}
	return sizeof b->p - b->end;
}

static void
use(struct buffer *b, size_t n)
{
	b->begin += n;
	if (b->begin == b->end)
		b->begin = b->end = 0;
}

/* -- records ------------------------------------------------------------- */

static unsigned
sum(int type, const unsigned char *p, size_t n)
{
	unsigned s = (unsigned)n * 256 + (unsigned)type;

	for (size_t i = 0; i < n; i++)
		s = s * 31 + p[i];
	return s * 2654435761u >> 16;
}

/* Where there is room for it, which the caller has looked for. */
static void
seal(struct engine *e, int type, const unsigned char *p, size_t n)
{
	size_t body = n + TRAILER;
	unsigned char *out, *end;
	unsigned s = sum(type, p, n);

	(void)room(&e->wire_out);
	out = e->wire_out.p + e->wire_out.end;
	out[0] = (unsigned char)type;
	out[1] = out[2] = 3;
	out[3] = (unsigned char)(body >> 8);
	out[4] = (unsigned char)body;
	memcpy(out + HEADER, p, n);
	end = out + HEADER + n;
	end[0] = (unsigned char)(e->sent >> 8);
	end[1] = (unsigned char)e->sent++;
	end[2] = (unsigned char)(s >> 8);
	end[3] = (unsigned char)s;
	e->wire_out.end += HEADER + body;
}

static void
alert(struct engine *e, int description)
{
	const unsigned char a[2] = {description == CLOSING ? 1 : 2, (unsigned char)description};

	if (room(&e->wire_out) >= HEADER + sizeof a + TRAILER)
		seal(e, ALERT, a, sizeof a);
}

static void
fail(struct engine *e, const char *why, int description)
{
	bool silent = e->plan->silent && e->facts & ENGINE_UP;

	e->facts |= ENGINE_FAILED | (silent ? ENGINE_SILENT : 0);
	(void)strcpy(e->reason, why);
	if (description && !silent)
		alert(e, description);
}

/* A message of a handshake, with some weight behind its one byte. */
static void
say_hand(struct engine *e, int message, size_t weight)
{
	static unsigned char body[4096];

	body[0] = (unsigned char)message;
	seal(e, HANDSHAKE, body, 1 + weight);
}

static void
encrypt(struct engine *e)
{
	if (!(e->facts & ENGINE_UP) || e->facts & ENGINE_FAILED)
		return;
	while (waiting(&e->app_in) > 0) {
		size_t n = waiting(&e->app_in) < e->plan->record ? waiting(&e->app_in) : e->plan->record;

		if (room(&e->wire_out) < n + 2 * (HEADER + TRAILER) + 2)
			return; /* an alert must fit behind it */
		seal(e, DATA, e->app_in.p + e->app_in.begin, n);
		use(&e->app_in, n);
	}
}

static void
take_hand(struct engine *e, unsigned char message)
{
	if (e->server && message == HELLO && e->plan->refuses)
		fail(e, "refused", HANDSHAKE_FAILURE);
	else if (e->server && message == HELLO)
		say_hand(e, ANSWER, 500 + e->plan->seed % 3000);
	else if (!e->server && message == ANSWER) {
		say_hand(e, FINISHED, 30);
		e->facts |= ENGINE_UP;
	} else if (e->server && message == FINISHED)
		e->facts |= ENGINE_UP;
	else
		fail(e, "unexpected message", HANDSHAKE_FAILURE);
}

/* A record that is what it was. */
static void
take(struct engine *e, int type, const unsigned char *p, size_t n)
{
	if (type == HANDSHAKE && n > 0)
		take_hand(e, p[0]);
	else if (type == ALERT && n == 2 && p[1] == CLOSING)
		e->facts |= e->facts & ENGINE_UP ? ENGINE_NOTIFIED : ENGINE_FAILED;
	else if (type == ALERT && n == 2)
		fail(e, "alert", 0);
	else if (type == DATA && e->facts & ENGINE_UP) {
		memcpy(e->app_out.p + e->app_out.end, p, n);
		e->app_out.end += n;
	} else
		fail(e, "unexpected record", HANDSHAKE_FAILURE);
}

/* Whether the next record is there and can be taken. Returns its length, or 0. */
static size_t
whole(struct engine *e)
{
	const unsigned char *p = e->wire_in.p + e->wire_in.begin;
	size_t n = waiting(&e->wire_in), body;

	if (n < HEADER)
		return 0;
	body = (size_t)p[3] << 8 | p[4];
	if (body > LONGEST + TRAILER || body < TRAILER)
		return HEADER; /* it is refused as it is */
	return n < HEADER + body ? 0 : HEADER + body;
}

static void
decrypt(struct engine *e)
{
	size_t n;

	while (!(e->facts & (ENGINE_FAILED | ENGINE_NOTIFIED)) && (n = whole(e)) > 0) {
		const unsigned char *p = e->wire_in.p + e->wire_in.begin, *end = p + n - TRAILER;
		size_t body = n - HEADER - TRAILER;

		if (n == HEADER || p[1] != 3 || (unsigned)(end[0] << 8 | end[1]) != (e->received & 0xffff) ||
		    (unsigned)(end[2] << 8 | end[3]) != sum(p[0], p + HEADER, body)) {
			fail(e, "bad record", BAD_RECORD_MAC);
			return;
		}
		if (p[0] == DATA && (waiting(&e->app_out) >= LONGEST || room(&e->app_out) < body))
			return;
		e->received++;
		take(e, p[0], p + HEADER, body);
		use(&e->wire_in, n);
	}
}

/* -- the seam -------------------------------------------------------------- */

unsigned
engine_facts(const struct engine *e)
{
	return e->facts;
}

const char *
engine_reason(const struct engine *e)
{
	return e->reason;
}

size_t
engine_wire_in(struct engine *e, unsigned char **buf)
{
	size_t n = room(&e->wire_in);

	*buf = e->wire_in.p + e->wire_in.end;
	if (e->facts & (ENGINE_FAILED | ENGINE_NOTIFIED) || waiting(&e->wire_in) > LONGEST + HEADER + TRAILER)
		return 0;
	return n;
}

void
engine_wire_in_ack(struct engine *e, size_t n)
{
	e->wire_in.end += n;
	decrypt(e);
}

size_t
engine_wire_out(struct engine *e, const unsigned char **buf)
{
	*buf = e->wire_out.p + e->wire_out.begin;
	return waiting(&e->wire_out);
}

void
engine_wire_out_ack(struct engine *e, size_t n)
{
	use(&e->wire_out, n);
	encrypt(e);
}

size_t
engine_app_in(struct engine *e, unsigned char **buf)
{
	if (!(e->facts & ENGINE_UP) || e->facts & ENGINE_FAILED || e->closed || waiting(&e->app_in) > 0 ||
	    (e->facts & ENGINE_NOTIFIED && !e->plan->replies))
		return 0;
	*buf = e->app_in.p + e->app_in.end;
	return LONGEST;
}

void
engine_app_in_ack(struct engine *e, size_t n)
{
	e->app_in.end += n;
	encrypt(e);
}

size_t
engine_app_out(struct engine *e, const unsigned char **buf)
{
	*buf = e->app_out.p + e->app_out.begin;
	return waiting(&e->app_out);
}

void
engine_app_out_ack(struct engine *e, size_t n)
{
	use(&e->app_out, n);
	decrypt(e);
}

bool
engine_app_busy(const struct engine *e)
{
	return waiting(&e->app_in) > 0;
}

bool
engine_hungry(const struct engine *e)
{
	struct engine *own = &engines[e - engines];

	return e->facts & (ENGINE_FAILED | ENGINE_NOTIFIED) || whole(own) == 0;
}

void
engine_close(struct engine *e)
{
	if (!e->closed && !(e->facts & ENGINE_FAILED))
		alert(e, CLOSING);
	e->closed = true;
}

int
engine_session(const struct engine *e, struct session *s, struct fault *f)
{
	if (e->plan->no_session)
		return fault_set(f, FAULT_SYSTEM, "no session");
	session_clear(s);
	(void)strcpy(s->protocol, "TLSv1.3");
	(void)strcpy(s->cipher, "TLS_AES_128_GCM_SHA256");
	return 0;
}

bool
engine_half_close(const struct engine *e)
{
	return e->plan->half;
}

bool
engine_replies_after_close(const struct engine *e)
{
	return e->plan->replies;
}

void
engine_wipe(struct engine *e)
{
	(void)e;
}

/* -- the pair ---------------------------------------------------------------- */

void
pair_prepare(void)
{
}

static void
begin(struct engine *e, const struct plan *p, bool server)
{
	e->plan = p;
	e->server = server;
	e->closed = false;
	e->facts = e->sent = e->received = 0;
	e->reason[0] = '\0';
	e->wire_in.begin = e->wire_in.end = e->wire_out.begin = e->wire_out.end = 0;
	e->app_in.begin = e->app_in.end = e->app_out.begin = e->app_out.end = 0;
}

void
pair_open(struct engine *pair[2], const struct plan *p)
{
	for (int i = 0; i < 2; i++) {
		pair[i] = &engines[i];
		begin(pair[i], p, i == 0);
	}
	say_hand(pair[1], HELLO, 100 + p->seed % 400);
}

void
pair_close(struct engine *pair[2])
{
	(void)pair;
}

const char *
pair_name(void)
{
	return "scripted";
}
