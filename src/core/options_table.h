/*
 * The table behind core/options.h, for those who read it row by row.
 */
#ifndef CORE_OPTIONS_TABLE_H
#define CORE_OPTIONS_TABLE_H

#include "core/options.h"

#include <stddef.h>

enum kind {
	SET,	 /* takes no argument, stores value */
	NUMBER,	 /* takes a number from 0 to OPTION_MAX */
	ROUNDS,	 /* takes x or x+y, numbers as above, and stores both; y is 0 where it is left out */
	CHOICE,	 /* takes one of the words of `argument`, stores its place among them */
	TEXT,	 /* takes anything but nothing */
	NAME,	 /* takes what a certificate may name: a DNS name or an address */
	PORT,	 /* takes a port's number or name */
	ADDRESS, /* takes an IP address */
	LIST	 /* takes numbers with commas between, as ids_groups reads them */
};

struct option {
	unsigned programs; /* a set of enum program */
	char letter;	   /* 0: long form only */
	const char *name;  /* long form; NULL: letter only */
	enum kind kind;
	size_t field; /* offset in struct config */
	int value;
	const char *argument;
	const char *help;
};

/* The rows, until one without programs. */
extern const struct option options_table[];

/* The next row of the program, from *i on, which moves behind it; NULL: none. */
const struct option *options_next(enum program program, size_t *i);

/* What follows the program's options: "prog..." */
const char *options_rest(enum program program);

#endif
