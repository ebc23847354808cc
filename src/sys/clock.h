/*
 * The one clock that timeouts run by.
 */
#ifndef SYS_CLOCK_H
#define SYS_CLOCK_H

#include <stdint.h>

/* Milliseconds of a clock that never jumps. */
int64_t clock_ms(void);

#endif
