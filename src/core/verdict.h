/*
 * The exit code, from everything that happened.
 */
#ifndef CORE_VERDICT_H
#define CORE_VERDICT_H

#include "core/fault.h"

#include <stdbool.h>

struct outcome {
	int signal;	       /* that told us to end; 0: none */
	enum fault_code fault; /* FAULT_NONE: the connection ended cleanly */
	bool ran;	       /* prog did */
	int status;	       /* of prog, as waitpid gives it */
};

/* The exit code; or, negative, the signal of which the program has to die. */
int verdict(const struct outcome *o);

#endif
