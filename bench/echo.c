/*
 * The smallest program to serve: one block is read, and written back.
 */
#include <unistd.h>

int
main(void)
{
	static char block[4096];
	ssize_t n = read(0, block, sizeof block);

	return n > 0 && write(1, block, (size_t)n) == n ? 0 : 1;
}
