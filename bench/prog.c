/*
 * The program that is served, by whoever starts one for each connection: small
 * and static, so that what is measured is not its start.
 */
#include "work.h"

int
main(void)
{
	return !work(0, 1);
}
