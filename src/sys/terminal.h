/*
 * What stands in for prog where none was given: a child of the monitor between
 * the pipes and the descriptors that a person, or a shell, has put on 0 and 1.
 */
#ifndef SYS_TERMINAL_H
#define SYS_TERMINAL_H

#include "sys/privileges.h"

#include <signal.h>

/*
 * Carries fd 0 to wfd and rfd to fd 1, and exits: with 0 when all of both is
 * carried, or nobody takes the rest of fd 0; a person at a terminal is not
 * waited for when rfd has ended. With FAULT_SYSTEM when fd 0 cannot be read or
 * fd 1 not written. The end of fd 0 closes wfd, that of rfd fd 1. Messages go
 * to log_fd (-1: fd 2). `mask` is the signal mask to run with. It keeps no more
 * privileges than the engine has.
 */
_Noreturn void terminal_run(int rfd, int wfd, int log_fd, const struct privileges *privileges, const sigset_t *mask);

#endif
