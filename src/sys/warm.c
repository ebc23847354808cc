/*
 * A page fault costs a process more than the page itself. A fork spares its
 * child those of memory that was only read, if the page tables come with it;
 * and the kernel copies them only for a mapping that has at least one page of
 * its own (vma_needs_copy() in mm/memory.c). Code and constants of programs
 * and libraries have none. So each such mapping is given one, by writing a byte
 * over itself. /proc/self/mem writes where the mapping does not allow it, in a
 * private copy (ptrace(2), proc(5)).
 *
 * Memory that is written to has to be copied. What the libraries write to is
 * little and known: their data. It is copied in one call.
 */
#include "sys/warm.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* madvise(2), Linux 5.14; the headers may be older. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum {
	RANGES = 32,	     /* mappings of data, no more */
	LARGEST = 16 * 1024, /* of which only small ones are taken whole */
	STACK_BELOW = 12 * 1024,
	STACK_ABOVE = 4 * 1024,
};

static struct {
	char *begin;
	size_t n;
} data[RANGES];
static size_t data_n, pages;

/* Where that fails, the first page stays as it is: nothing is lost. */
static void
own_a_page(int mem, char *begin)
{
	ssize_t n = pwrite(mem, begin, 1, (off_t)(uintptr_t)begin);

	(void)n;
}

static void
note_data(char *begin, size_t n, size_t page)
{
	if (n > LARGEST || data_n == RANGES)
		return;
	data[data_n].begin = begin;
	data[data_n++].n = n;
	pages += n / page;
}

/* A line of /proc/self/maps: begin, end, rights, and a path or nothing. */
static void
take_mapping(int mem, const char *line, size_t page)
{
	char *next, *begin;
	unsigned long from = strtoul(line, &next, 16), to = *next == '-' ? strtoul(next + 1, &next, 16) : 0;

	/* " rw-p": readable, writable, executable, private */
	if (to <= from || strlen(next) < 5 || next[4] != 'p')
		return;
	begin = (char *)from; /* NOLINT(performance-no-int-to-ptr) */
	if (next[2] == 'w')
		note_data(begin, to - from, page);
	else if (next[1] == 'r' && strchr(next, '/'))
		own_a_page(mem, begin);
}

void
warm_parent(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	FILE *maps = fopen("/proc/self/maps", "re");
	int mem = open("/proc/self/mem", O_WRONLY | O_CLOEXEC);
	char line[512];

	pages = (STACK_BELOW + STACK_ABOVE) / page;
	while (maps && mem >= 0 && fgets(line, sizeof line, maps))
		if (!strstr(line, "[stack]") && !strstr(line, "[heap]"))
			take_mapping(mem, line, page);
	if (maps)
		(void)fclose(maps);
	if (mem >= 0)
		(void)close(mem);
}

void
warm_child(void)
{
	char *here = __builtin_frame_address(0);

	here -= (uintptr_t)here % (uintptr_t)sysconf(_SC_PAGESIZE);
	(void)madvise(here - STACK_BELOW, STACK_BELOW + STACK_ABOVE, MADV_POPULATE_WRITE);
	for (size_t i = 0; i < data_n; i++)
		(void)madvise(data[i].begin, data[i].n, MADV_POPULATE_WRITE);
}

size_t
warm_pages(void)
{
	return data_n ? pages : 0;
}
