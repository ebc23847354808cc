/*
 * s6-tlsclient: makes a TCP connection, and is s6-tlsc on it, for a program or
 * for whoever sits at the terminal.
 */
#include "prog/program.h"

int
main(int argc, char *argv[])
{
	(void)argc;
	return program_run(TLSCLIENT, argv);
}
