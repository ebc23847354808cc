/*
 * A client for measuring: connects to 127.0.0.1, moves bytes one way over TLS,
 * and prints how many MB a second; or connects time and again, each time with a
 * full handshake and to the end, and prints how many connections a second.
 *
 *     load PORT down|up BYTES
 *     load PORT connect TIMES
 *
 * Or sends a line on each connection, which must come back, from two threads,
 * and prints the same; or from one, with a pause before each, and prints how
 * many ms it took from the call of connect to the first byte of the line.
 *
 *     load PORT echo TIMES
 *     load PORT first TIMES
 */
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 2, PAUSE_US = 20000 };

static _Thread_local char buf[65536];

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

static SSL *
open_tls(SSL_CTX *ctx, const char *port)
{
	SSL *ssl = SSL_new(ctx);

	if (!ssl || SSL_set_fd(ssl, dial(port)) != 1 || SSL_connect(ssl) != 1)
		die("shake hands");
	return ssl;
}

static void
close_tls(SSL *ssl)
{
	(void)close(SSL_get_fd(ssl));
	SSL_free(ssl);
}

static double
move(SSL_CTX *ctx, const char *port, const char *way, long bytes)
{
	SSL *ssl = open_tls(ctx, port);
	double start = now();
	long done = strcmp(way, "down") == 0 ? receive(ssl, bytes) : transmit(ssl, SSL_get_fd(ssl), bytes);

	if (done < bytes)
		die("move all bytes");
	close_tls(ssl);
	return (double)done / (now() - start) / 1e6;
}

static double
connect_often(SSL_CTX *ctx, const char *port, long times)
{
	double start = now();

	for (long i = 0; i < times; i++) {
		SSL *ssl = open_tls(ctx, port);

		while (SSL_read(ssl, buf, sizeof buf) > 0)
			;
		close_tls(ssl);
	}
	return (double)times / (now() - start);
}

static const char line[] = "hello\n";

/* One line there and back, and the end. Returns how long its first byte took, in seconds. */
static double
echo_once(SSL_CTX *ctx, const char *port)
{
	double start = now(), first;
	SSL *ssl = open_tls(ctx, port);
	const int on = 1;
	long done;
	int n;

	/* Else the line waits for the server's word that it has the end of the handshake, which may take 40 ms. */
	(void)setsockopt(SSL_get_fd(ssl), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (SSL_write(ssl, line, sizeof line - 1) <= 0 || (n = SSL_read(ssl, buf, sizeof buf)) <= 0)
		die("get the line back");
	first = now() - start;
	done = n + receive(ssl, (long)sizeof buf);
	if (done != (long)sizeof line - 1)
		die("get the whole line back");
	close_tls(ssl);
	return first;
}

struct share {
	SSL_CTX *ctx;
	const char *port;
	long times;
	pthread_t thread;
};

static void *
echo_often(void *argument)
{
	const struct share *s = argument;

	for (long i = 0; i < s->times; i++)
		(void)echo_once(s->ctx, s->port);
	return NULL;
}

static double
echo_from_threads(SSL_CTX *ctx, const char *port, long times)
{
	struct share s[THREADS];
	double start = now();

	for (int i = 0; i < THREADS; i++) {
		s[i] = (struct share){.ctx = ctx, .port = port, .times = (times + i) / THREADS};
		if (pthread_create(&s[i].thread, NULL, echo_often, &s[i]) != 0)
			die("start a thread");
	}
	for (int i = 0; i < THREADS; i++)
		(void)pthread_join(s[i].thread, NULL);
	return (double)times / (now() - start);
}

static void
first_bytes(SSL_CTX *ctx, const char *port, long times)
{
	for (long i = 0; i < times; i++) {
		(void)usleep(PAUSE_US);
		printf("%.2f\n", echo_once(ctx, port) * 1e3);
	}
}

int
main(int argc, char *argv[])
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	long n;

	if (argc != 4 || !ctx)
		die("start: load PORT down|up|connect|echo|first NUMBER");
	n = strtol(argv[3], NULL, 10);
	if (strcmp(argv[2], "connect") == 0)
		printf("%.1f\n", connect_often(ctx, argv[1], n));
	else if (strcmp(argv[2], "echo") == 0)
		printf("%.1f\n", echo_from_threads(ctx, argv[1], n));
	else if (strcmp(argv[2], "first") == 0)
		first_bytes(ctx, argv[1], n);
	else
		printf("%.0f\n", move(ctx, argv[1], argv[2], n));
	SSL_CTX_free(ctx);
	return 0;
}
