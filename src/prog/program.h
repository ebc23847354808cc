/*
 * What all programs are: parse, prepare, act. They differ in their options and
 * their role, and both stand in the configuration.
 */
#ifndef PROG_PROGRAM_H
#define PROG_PROGRAM_H

#include "core/options.h"

/* The whole life of a program. Returns its exit code; may die of a signal that it got. */
int program_run(enum program program, char *const argv[]);

#endif
