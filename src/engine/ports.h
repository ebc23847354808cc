/*
 * The ports of an engine whose library asks for its network: four buffers, two
 * of which the library takes for that network. The buffers are empty at times
 * but never at an end. OpenSSL and libtls share this; a library that has ports
 * of its own does not need it.
 *
 * ports.c defines the port functions of engine.h. A backend's struct engine
 * starts with its struct ports, and the backend defines the rest.
 */
#ifndef ENGINE_PORTS_H
#define ENGINE_PORTS_H

#include "core/fault.h"
#include "engine/engine.h"

#include <stdbool.h>
#include <stddef.h>

enum { RECORD = 16384 }; /* the most plaintext in a record (RFC 8446, 5.1) */

/*
 * Sizes of the buffers, of which a connection touches as much as it needs: a dozen records are few enough calls of
 * the system for a stream, and few enough bytes for a processor's own cache. Wire out has room for all of app in as
 * records, the shortest included, and for the longest flight's alerts.
 */
enum { WIRE_IN = 12 * RECORD, APP_OUT = 12 * RECORD, APP_IN = 12 * RECORD, WIRE_OUT = 15 * RECORD };

/* Bytes begin..end of p are waiting to be used. */
struct buffer {
	unsigned char *p;
	size_t size, begin, end;
};

struct ports {
	unsigned facts;
	bool hungry; /* the library last asked for more than wire in holds */
	bool closed; /* our close_notify was queued */
	struct buffer wire_in, wire_out, app_in, app_out;
	char reason[FAULT_TEXT];
	unsigned char *room; /* of the four */
};

/* Gives the buffers of zeroed ports their room, which takes memory as it is used. Returns 0, or -1 without memory. */
int ports_start(struct ports *p);

/* Takes it away, and what was in it with it. */
void ports_end(struct ports *p);

size_t buffer_waiting(const struct buffer *b);
void buffer_used(struct buffer *b, size_t n);

/*
 * The free room at the end, after a move where there is less than a record's worth. The first moves no more bytes
 * than were used before, so that a buffer that empties in small steps costs no more than one that does at once; the
 * second moves them in any case.
 */
size_t buffer_room(struct buffer *b);
size_t buffer_all_room(struct buffer *b);

/* The library's network: each moves up to n bytes and returns how many; 0: none now. */
size_t ports_receive(struct ports *p, void *out, size_t n);
size_t ports_send(struct ports *p, const void *in, size_t n);

/* Each sets the reason of a failure; what is not printable becomes '?'. The second: the peer's certificate is refused.
 */
void ports_reason(struct ports *p, const char *text);
void ports_refused(struct ports *p, const char *why);

/* The peer's close_notify came before the handshake was complete. That is a failure. */
void ports_ended_early(struct ports *p);

/* The backend's part: encrypts what waits at app in; and that, after bringing the handshake as far, and before
 * decrypting as much, as it goes. */
void ports_encrypt(struct engine *e);
void ports_pump(struct engine *e);

#endif
