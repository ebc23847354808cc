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

struct session {
	char protocol[8]; /* "TLSv1.3" */
	char cipher[64];  /* IANA name */
	bool has_sni;	  /* a valid name was asked for */
	char sni[DNSNAME_SIZE];
	bool has_peer;		       /* the peer's certificate was verified and its possession proved */
	char hash[72];		       /* "SHA256:" and 64 lower-case hex digits, of the leaf's DER */
	char subject[SESSION_SUBJECT]; /* as dn_subject prints it */
};

/* The most that session_pack writes. */
#define SESSION_MAX (sizeof(struct session))

/* Writes *s into out[0..size). Returns the length, or -1 when it does not fit. */
long session_pack(const struct session *s, unsigned char *out, size_t size);

/* Reads what session_pack wrote. Returns 0, or -1 when any field is not exactly of its form. */
int session_unpack(struct span in, struct session *s);

#endif
