/*
 * s6-tlsc: the client side of TLS on fds 6 and 7, for a program that knows
 * nothing of it.
 */
#include "prog/program.h"

int
main(int argc, char *argv[])
{
	(void)argc;
	return program_run(TLSC, argv);
}
