/*
 * What is to happen in one run, all of it from one number: who the peer and
 * prog are, what they send, how they end, and what the kernel does to the loop.
 */
#ifndef TESTS_KERNEL_PLAN_H
#define TESTS_KERNEL_PLAN_H

#include "core/options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the descriptors of the wire are. */
enum shape { ONE_SOCKET, SOCKET_TWICE, PIPES, PIPE_AND_SOCKET, SOCKET_AND_PIPE, SHAPES };

/* Those up to PEER_ALERTS are polite: they send all, read to the end, and close in good order. */
enum peer_kind {
	PEER_FIN,    /* half closes behind its last byte */
	PEER_NOTIFY, /* close_notify there, FIN now or at the end */
	PEER_WAITS,  /* ends when we have */
	PEER_ALERTS, /* likewise; a FIN without close_notify is an error to it, which it tells */
	PEER_LEAVES, /* closes at some moment, as when its process dies */
	PEER_RESETS, /* sends RST */
	PEER_CUTS,   /* sends FIN inside a record */
	PEER_FLIPS,  /* flips a bit */
	PEER_STOPS,  /* neither reads nor writes, for minutes */
	PEER_KINDS
};

enum prog_kind {
	PROG_BOTH,   /* writes and reads at the same time, to the end of both */
	PROG_ANSWER, /* reads to the end, and writes then */
	PROG_COUNTS, /* reads as many bytes as there are, and needs no end */
	PROG_SPEAKS, /* writes, closes its stdout, reads on to the end */
	PROG_DEAF,   /* reads nothing, writes, exits */
	PROG_SHUTS,  /* closes its stdin after a few bytes, writes, exits */
	PROG_LEAVES, /* writes, closes both, lives on for a while */
	PROG_DIES,   /* is killed at some moment */
	PROG_KINDS
};

/* The places where a system call may fail for good. */
enum site {
	SITE_WIRE_READ,
	SITE_WIRE_WRITE,
	SITE_PROG_READ,
	SITE_PROG_WRITE,
	SITE_TELL,
	SITE_HEAR,
	SITE_PIPE,
	SITE_OPTION,
	SITE_QUEUE,
	SITE_CLOSE,
	SITES
};

/* The nth call there fails. */
struct blow {
	enum site site;
	unsigned nth;
	int error;
};

enum { BLOWS = 3 };

/* Chances are out of 1024; moments are steps of the world, 0: never. */
struct plan {
	uint64_t seed;
	bool harmless; /* all that was sent must arrive, and the end be a clean one */
	struct config config;
	enum shape shape;
	bool late_pipes; /* prog's come with MSG_RUN */
	/* The engines. */
	size_t record;		    /* the most in a record */
	bool half, replies, silent; /* engine_half_close, engine_replies_after_close, ENGINE_SILENT */
	bool refuses, no_session;   /* the handshake, by an alert; engine_session fails */
	bool tls12;		    /* of a real engine */
	/* The peer. */
	enum peer_kind peer;
	size_t from_peer, peer_chunk;
	bool notifies_last; /* one that waits says close_notify as well */
	unsigned peer_at;   /* when it turns rude */
	/* prog. */
	enum prog_kind prog;
	size_t from_prog, prog_chunk, prog_shuts_at;
	unsigned prog_at;
	size_t
	    grandchild; /* so many bytes come from one that has prog's stdout, when prog has exited; 0: there is none */
	/* The monitor. */
	unsigned stop_at, dies_at;
	bool not_run;
	/* The kernel. */
	size_t up, down, to_prog, from_prog_room; /* how much its buffers hold */
	unsigned eintr, eagain, shortness, spurious, nudge, jump;
	size_t most; /* what a call that falls short moves at most */
	struct blow blows[BLOWS];
	unsigned blows_n;
};

/* Numbers of the run, each from the one before. */
void chance_begin(uint64_t seed);
unsigned below(unsigned n); /* 0 to n-1 */
bool happens(unsigned of_1024);

struct plan plan_of(uint64_t seed);
void plan_print(const struct plan *p);

static inline bool
polite(const struct plan *p)
{
	return p->peer <= PEER_ALERTS;
}

static inline bool
in_socket(const struct plan *p)
{
	return p->shape != PIPES && p->shape != PIPE_AND_SOCKET;
}

static inline bool
out_socket(const struct plan *p)
{
	return p->shape != PIPES && p->shape != SOCKET_AND_PIPE;
}

#endif
