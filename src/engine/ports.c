/*
 * Windows and acknowledgements over the four buffers. Knows no library: when
 * bytes have come or gone, the backend is asked to go on.
 */
#include "engine/ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * What records add to RECORD octets of plaintext, which are 32 of them where the peer asked for the shortest (RFC 6066,
 * 4), each with 85 octets at the most; and what is kept free for alerts and key updates.
 */
enum { OVERHEAD = 32 * 85, RESERVE = 1024 };

enum { ROOM = WIRE_IN + WIRE_OUT + APP_IN + APP_OUT };

/* Every engine starts with its ports. */
static struct ports *
ports(struct engine *e)
{
	return (struct ports *)e;
}

static const struct ports *
const_ports(const struct engine *e)
{
	return (const struct ports *)e;
}

/* Not zeroed, which would touch all of it at once. */
int
ports_start(struct ports *p)
{
	p->room = malloc(ROOM);
	if (!p->room)
		return -1;
	p->wire_in = (struct buffer){.p = p->room, .size = WIRE_IN};
	p->wire_out = (struct buffer){.p = p->wire_in.p + WIRE_IN, .size = WIRE_OUT};
	p->app_in = (struct buffer){.p = p->wire_out.p + WIRE_OUT, .size = APP_IN};
	p->app_out = (struct buffer){.p = p->app_in.p + APP_IN, .size = APP_OUT};
	return 0;
}

void
ports_end(struct ports *p)
{
	free(p->room);
	p->room = NULL;
}

static void
set_reason(struct ports *p, const char *before, const char *text)
{
	(void)snprintf(p->reason, sizeof p->reason, "%s%s", before, text);
	for (char *c = p->reason; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
}

void
ports_reason(struct ports *p, const char *text)
{
	set_reason(p, "", text);
}

void
ports_refused(struct ports *p, const char *why)
{
	set_reason(p, "the peer's certificate is refused: ", why);
}

void
ports_ended_early(struct ports *p)
{
	p->facts |= ENGINE_FAILED;
	ports_reason(p, "close_notify before the end of the handshake");
}

/* -- buffers ------------------------------------------------------------- */

size_t
buffer_waiting(const struct buffer *b)
{
	return b->end - b->begin;
}

void
buffer_used(struct buffer *b, size_t n)
{
	b->begin += n;
	if (b->begin == b->end)
		b->begin = b->end = 0;
}

size_t
buffer_all_room(struct buffer *b)
{
	if (b->begin > 0 && b->size - b->end < RECORD + OVERHEAD) {
		memmove(b->p, b->p + b->begin, buffer_waiting(b));
		b->end -= b->begin;
		b->begin = 0;
	}
	return b->size - b->end;
}

size_t
buffer_room(struct buffer *b)
{
	return b->begin >= buffer_waiting(b) ? buffer_all_room(b) : b->size - b->end;
}

size_t
ports_receive(struct ports *p, void *out, size_t n)
{
	struct buffer *b = &p->wire_in;

	if (n > buffer_waiting(b))
		n = buffer_waiting(b);
	if (n == 0)
		return 0;
	memcpy(out, b->p + b->begin, n);
	buffer_used(b, n);
	return n;
}

size_t
ports_send(struct ports *p, const void *in, size_t n)
{
	struct buffer *b = &p->wire_out;

	if (n > buffer_all_room(b))
		n = b->size - b->end;
	if (n == 0)
		return 0;
	memcpy(b->p + b->end, in, n);
	b->end += n;
	return n;
}

/* -- ports --------------------------------------------------------------- */

unsigned
engine_facts(const struct engine *e)
{
	return const_ports(e)->facts;
}

const char *
engine_reason(const struct engine *e)
{
	return const_ports(e)->reason;
}

size_t
engine_wire_in(struct engine *e, unsigned char **buf)
{
	struct ports *p = ports(e);
	size_t n = buffer_room(&p->wire_in);

	*buf = p->wire_in.p + p->wire_in.end;
	return p->facts & ENGINE_FAILED ? 0 : n;
}

void
engine_wire_in_ack(struct engine *e, size_t n)
{
	ports(e)->wire_in.end += n;
	ports_pump(e);
}

size_t
engine_wire_out(struct engine *e, const unsigned char **buf)
{
	struct buffer *b = &ports(e)->wire_out;

	*buf = b->p + b->begin;
	return buffer_waiting(b);
}

void
engine_wire_out_ack(struct engine *e, size_t n)
{
	struct ports *p = ports(e);
	bool stuck = p->app_in.end > 0 || !p->hungry;

	buffer_used(&p->wire_out, n);
	if (stuck)
		ports_pump(e);
}

size_t
engine_app_in(struct engine *e, unsigned char **buf)
{
	struct ports *p = ports(e);
	size_t taken = buffer_waiting(&p->wire_out) + RESERVE;
	size_t n = taken < WIRE_OUT ? (WIRE_OUT - taken) / (RECORD + OVERHEAD) * RECORD : 0;

	*buf = p->app_in.p;
	if (!(p->facts & ENGINE_UP) || p->facts & ENGINE_FAILED || p->closed || buffer_waiting(&p->app_in) > 0)
		return 0;
	return n < APP_IN ? n : APP_IN;
}

void
engine_app_in_ack(struct engine *e, size_t n)
{
	ports(e)->app_in.end = n;
	ports_encrypt(e);
}

size_t
engine_app_out(struct engine *e, const unsigned char **buf)
{
	struct buffer *b = &ports(e)->app_out;

	*buf = b->p + b->begin;
	return buffer_waiting(b);
}

void
engine_app_out_ack(struct engine *e, size_t n)
{
	buffer_used(&ports(e)->app_out, n);
	ports_pump(e);
}

bool
engine_app_busy(const struct engine *e)
{
	return buffer_waiting(&const_ports(e)->app_in) > 0;
}

bool
engine_hungry(const struct engine *e)
{
	const struct ports *p = const_ports(e);

	return p->hungry || p->facts & (ENGINE_FAILED | ENGINE_NOTIFIED);
}
