/*
 * What makes a fork of this process cheap to run: pages that are there before
 * they are needed. Where the kernel does not have it, things are slower, and
 * that is all.
 */
#ifndef SYS_WARM_H
#define SYS_WARM_H

#include <stddef.h>

/* For a process that will fork many times, while it is still dumpable. */
void warm_parent(void);

/* For a fresh child of it: takes pages of its own in bulk that it will write to one by one. */
void warm_child(void);

/* How many pages a child takes so. */
size_t warm_pages(void);

#endif
