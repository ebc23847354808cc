/*
 * s6-tlsd: the server side of TLS on fds 0 and 1, for a program that knows
 * nothing of it.
 */
#include "prog/program.h"

int
main(int argc, char *argv[])
{
	(void)argc;
	return program_run(TLSD, argv);
}
