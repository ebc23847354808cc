/*
 * s6-tlsserver: listens, and gives each connection what s6-tlsd gives it, from
 * a warm process.
 */
#include "prog/program.h"

int
main(int argc, char *argv[])
{
	(void)argc;
	return program_run(TLSSERVER, argv);
}
