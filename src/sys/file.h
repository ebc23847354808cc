/*
 * Whole files into memory, for keys and certificates.
 */
#ifndef SYS_FILE_H
#define SYS_FILE_H

#include "core/credentials.h"
#include "core/fault.h"

/* The largest file that is read. */
#define FILE_MAX (1 << 20)

/*
 * Reads `path` to its end, a FIFO too. `name` is what to call it in *f and in
 * file->name. Returns 0 with *file allocated; -1 with FAULT_SYSTEM when it
 * cannot be read (a directory included), FAULT_CONTEXT when it is over
 * FILE_MAX.
 */
int file_read(const char *path, const char *name, struct blob *file, struct fault *f);

#endif
