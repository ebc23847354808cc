/*
 * Numbers of users and groups, as options and variables give them.
 */
#ifndef CORE_IDS_H
#define CORE_IDS_H

#include <sys/types.h>

/* No more supplementary groups than these. */
#define IDS_MAX 256

/* Reads one decimal number, up to 4294967294, that is all of text. Returns it, or -1. */
long long ids_number(const char *text);

/*
 * Reads numbers with commas between into groups[0..max), unless that is NULL;
 * an empty text has none. Returns how many there are, or -1 when the text is
 * anything else or has more.
 */
int ids_groups(const char *text, gid_t *groups, int max);

#endif
