/*
 * What a client asks a served program for: a request of REQUEST bytes, in text
 * a letter and a number, says which work, and how much. So one server, once
 * started, is measured at all of it.
 *
 *     e   the request comes back, and that is the end
 *     d   so many bytes are sent
 *     u   so many bytes are read, and one is sent
 *     b   both of these, at the same time
 *     p   whatever comes goes back, until there is no more
 */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

enum { REQUEST = 16, BLOCK = 131072 };
#define REQUEST_FORMAT "%c%015lu"

/* Does the work that is asked for on `in`; the answer goes to `out`. Returns whether all of it could be done. */
int work(int in, int out);

#endif
