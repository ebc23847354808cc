/*
 * A prog that has a conversation, for tests/program/attack.py. It reads from
 * one descriptor, answers on another, and keeps an account on a third: "(" when
 * it begins, every byte that it reads, and ")" at the end of file.
 *
 *   answerer in out account [ request_bytes answer_bytes ]... [ 0 ]
 *
 * When a request is there, whole, its answer goes out in one piece. Byte n of
 * all answers is n modulo 251. At the end of file it exits: with 7 if it has
 * answered everything and read nothing more, else with 5. With a lone 0 behind
 * the last pair it exits, with 7, behind its last answer.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void
put(int fd, const unsigned char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0)
			return; /* nobody listens: the account goes on */
		p += done;
		n -= (size_t)done;
	}
}

static size_t
number(const char *text)
{
	return strtoul(text, NULL, 10);
}

static void
answer(int out, size_t *said, size_t n)
{
	unsigned char text[4096];

	if (n > sizeof text)
		_exit(100);
	for (size_t i = 0; i < n; i++)
		text[i] = (unsigned char)((*said)++ % 251);
	put(out, text, n);
}

/* Reads into the account. Returns how many bytes it was, 0 at the end of file. */
static size_t
listen_once(int in, int account)
{
	unsigned char heard[4096];
	ssize_t n = read(in, heard, sizeof heard);

	if (n <= 0)
		return 0;
	put(account, heard, (size_t)n);
	return (size_t)n;
}

int
main(int argc, char **argv)
{
	int in, out, account;
	size_t heard = 0, said = 0, n;

	if (argc < 4)
		return 100;
	in = (int)number(argv[1]), out = (int)number(argv[2]), account = (int)number(argv[3]);
	argv += 4;
	signal(SIGPIPE, SIG_IGN);
	put(account, (const unsigned char *)"(", 1);
	while ((n = listen_once(in, account)) > 0) {
		heard += n;
		while (argv[0] && argv[1] && heard >= number(argv[0])) {
			heard -= number(argv[0]);
			answer(out, &said, number(argv[1]));
			argv += 2;
		}
		if (argv[0] && number(argv[0]) == 0)
			_exit(7);
	}
	put(account, (const unsigned char *)")", 1);
	_exit(argv[0] || heard ? 5 : 7);
}
