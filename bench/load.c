/*
 * A client for measuring bulk: connects to 127.0.0.1, moves bytes one way over
 * TLS, and prints how many a second.
 *
 *     load PORT down|up BYTES
 */
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buf[65536];

static void
die(const char *what)
{
	(void)fprintf(stderr, "load: cannot %s\n", what);
	exit(1);
}

static int
dial(const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM, 0);

	to.sin_port = htons((unsigned short)strtoul(port, NULL, 10));
	if (s < 0 || connect(s, (const struct sockaddr *)&to, sizeof to) < 0)
		die("connect");
	return s;
}

static long
receive(SSL *ssl, long bytes)
{
	long done = 0;
	int n;

	while (done < bytes && (n = SSL_read(ssl, buf, sizeof buf)) > 0)
		done += n;
	return done;
}

/* All is there when the other side has read to the end and closes as well. */
static long
transmit(SSL *ssl, int s, long bytes)
{
	long done = 0;
	int n;

	while (done < bytes && (n = SSL_write(ssl, buf, sizeof buf)) > 0)
		done += n;
	(void)shutdown(s, SHUT_WR);
	while (read(s, buf, sizeof buf) > 0)
		;
	return done;
}

static double
now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int
main(int argc, char *argv[])
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;
	long bytes, done;
	double start;
	int s;

	if (argc != 4 || !ssl)
		die("start: load PORT down|up BYTES");
	bytes = strtol(argv[3], NULL, 10);
	s = dial(argv[1]);
	if (SSL_set_fd(ssl, s) != 1 || SSL_connect(ssl) != 1)
		die("shake hands");
	start = now();
	done = strcmp(argv[2], "down") == 0 ? receive(ssl, bytes) : transmit(ssl, s, bytes);
	if (done < bytes)
		die("move all bytes");
	printf("%.0f\n", (double)done / (now() - start) / 1e6);
	return 0;
}
