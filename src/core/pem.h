/*
 * PEM (RFC 7468, and the headers of RFC 1421 that old private keys carry) to
 * DER, and back. Text before, between and after the blocks is passed over; CRLF is fine.
 */
#ifndef CORE_PEM_H
#define CORE_PEM_H

#include "core/span.h"

#include <stdbool.h>

#define PEM_LABEL 64

struct pem_block {
	char label[PEM_LABEL]; /* "CERTIFICATE"; NUL-terminated */
	bool encrypted;	       /* "Proc-Type: 4,ENCRYPTED" stood in the block */
	unsigned char *der;    /* decoded bytes, allocated; pem_wipe frees them */
	size_t n;
};

/*
 * Finds the next block in *text and moves *text behind it. A block starts where
 * a line starts with "-----BEGIN ". Returns 1 and fills *b, which need not be
 * initialised; 0 when there is none; -1 when a block is malformed (no END line,
 * a label that differs, not base64 or badly padded, nothing in it): *why then
 * points at a constant text such as "no END line", or is NULL when allocation
 * fails. After 0 and -1 *b is empty. Every call that does not
 * return 0 takes something off *text.
 */
int pem_next(struct span *text, struct pem_block *b, const char **why);

/* Overwrites and frees what the block holds, and leaves it empty; an empty one is fine. */
void pem_wipe(struct pem_block *b);

/* How many characters pem_write writes for n bytes. */
size_t pem_length(const char *label, size_t n);

/*
 * Writes the bytes as one block, lines of 64 characters, into out, which has
 * room for pem_length. Returns the end of what it wrote; no NUL is added.
 */
char *pem_write(const char *label, struct span der, char *out);

#endif
