/*
 * The shell around relay and engine: it polls, moves bytes, and performs what
 * the relay asks for. Every decision is the relay's.
 */
#ifndef SYS_LOOP_H
#define SYS_LOOP_H

#include "core/message.h"
#include "core/options.h"
#include "engine/engine.h"

#include <stdint.h>

/* The descriptors that the loop works on, and closes. */
struct loop_fds {
	int wire_in, wire_out;
	int prog_in;  /* prog's stdin: written to, non-blocking; -1: it comes when prog runs */
	int prog_out; /* prog's stdout: read from, non-blocking; likewise */
	int channel;  /* to the monitor */
	int signer;   /* to the key; -1: the engine has it */
};

/*
 * Runs the connection to its end and tells the monitor. `start` is the moment
 * from which its time counts, of clock_ms. Returns when nothing is left to do.
 */
void loop_run(struct engine *e, const struct loop_fds *fds, const struct config *config, int64_t start);

#endif
