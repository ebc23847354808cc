/*
 * What prog learns of a connection, and the form in which the engine tells the
 * monitor. The engine is the less trusted one: unpacking takes nothing on faith.
 */
#ifndef CORE_SESSION_H
#define CORE_SESSION_H

#include "core/dnsname.h"
#include "core/span.h"

#include <stdbool.h>

#define SESSION_SUBJECT 49152
#define SESSION_NAMES 1024

struct session {
	char protocol[8]; /* "TLSv1.3" */
	char cipher[64];  /* IANA name */
	bool has_sni;	  /* a valid name was asked for */
	char sni[DNSNAME_SIZE];
	bool has_peer; /* the peer's certificate was verified and its possession proved */
	char hash[72]; /* "SHA256:" and 64 lower-case hex digits, of the leaf's DER */
	/* For a line of a log, and nothing else: what the certificate of a server says, when has_peer. */
	bool has_names;
	char names[SESSION_NAMES]; /* as x509_names_text prints them, commas between */
	char expires[24];	   /* as validity_until prints it */
	/* With has_peer, as dn_subject prints it. Last: a session without one touches a page of memory, not many. */
	char subject[SESSION_SUBJECT];
};

/* The most that session_pack writes: each of seven texts has a sign before it. */
#define SESSION_MAX (sizeof(struct session) + 7)

/* Makes *s one of which nothing is known, without touching the rest of its room. */
void session_clear(struct session *s);

/* Likewise, and overwrites what was known: no more of its room than that took. */
void session_wipe(struct session *s);

/* Sets the last three to what the certificate says, has_names to false where that cannot be read. */
void session_set_names(struct session *s, struct span leaf);

/* Writes *s into out[0..size). Returns the length, or -1 when it does not fit. */
long session_pack(const struct session *s, unsigned char *out, size_t size);

/* Reads what session_pack wrote. Returns 0, or -1 when any field is not exactly of its form. */
int session_unpack(struct span in, struct session *s);

#endif
