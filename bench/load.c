/*
 * The clients. Connects to 127.0.0.1, has the served program do work (work.h),
 * and prints what it took, as one line of JSON. Certificates are not verified.
 *
 *     load [options] PORT connect SECONDS     connections one after another, each to its end
 *     load [options] PORT pingpong SECONDS    64 bytes there and back on one connection
 *     load [options] PORT down|up|both BYTES
 *     load [options] PORT idle COUNT          says "ready" with that many; on a line of stdin, all must answer
 *     load [options] PORT start TIMES COMMAND...
 *
 * `start` runs the command for each connection, with the connection on 0 and 1, or on PORT when that is not 0.
 *
 *     -t N     so many connections at a time, a thread for each
 *     -r       take up the session of the connection before
 *     -c NAME  the cipher: aes128, aes256 or chacha20
 *     -p       no TLS; for all but both, resumption and start
 *     -w       says "ready" once the connection is up, and waits for a line of stdin before the work
 */
#include "work.h"

#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, THREADS_MAX = 64, OPENERS = 2 };

static const struct cipher {
	const char *name, *tls13, *tls12;
} ciphers[] = {
    {"aes128", "TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {"aes256", "TLS_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {"chacha20", "TLS_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"},
};

static struct {
	const char *port;
	const struct cipher *cipher;
	unsigned threads;
	int resume, plain, wait;
} options = {.cipher = ciphers, .threads = 1};

struct connection {
	SSL *ssl; /* NULL without TLS */
	int fd;
};

/* What one thread does, and what came of it. */
struct share {
	SSL_CTX *ctx;
	SSL_SESSION *session;
	pthread_t thread;
	double until;
	double *first; /* a connection's time to its first byte, in ms */
	size_t count, room, resumed;
	struct connection *opened;
};

static _Thread_local char block[BLOCK];

static void
die(const char *what)
{
	(void)fprintf(stderr, "load: cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *
allocate(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		die("have memory");
	return p;
}

/* -- one connection -------------------------------------------------------- */

static int
keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct share *s = SSL_get_app_data(ssl);

	if (!s)
		return 0;
	SSL_SESSION_free(s->session);
	s->session = session;
	return 1;
}

static SSL_CTX *
new_context(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx || SSL_CTX_set_ciphersuites(ctx, options.cipher->tls13) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, options.cipher->tls12) != 1)
		die("set up TLS");
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	if (options.resume)
		SSL_CTX_sess_set_new_cb(ctx, keep_session);
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	return ctx;
}

/* Without TCP_NODELAY the first line waits up to 40 ms for the word that the handshake's end has come. */
static int
dial(int patient)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int on = 1;
	int s;

	to.sin_port = htons((unsigned short)strtoul(options.port, NULL, 10));
	for (;;) {
		s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (s < 0)
			die("have a socket");
		(void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		if (connect(s, (const struct sockaddr *)&to, sizeof to) == 0)
			return s;
		if (!patient || errno != ECONNREFUSED)
			die("connect");
		(void)close(s);
		(void)usleep(100);
	}
}

static struct connection
begin(SSL_CTX *ctx, int fd, struct share *s)
{
	struct connection c = {.fd = fd};

	if (options.plain)
		return c;
	c.ssl = SSL_new(ctx);
	if (!c.ssl || SSL_set_fd(c.ssl, fd) != 1)
		die("set up a connection");
	(void)SSL_set_app_data(c.ssl, s);
	if (s && s->session && SSL_set_session(c.ssl, s->session) != 1)
		die("take up a session");
	if (SSL_connect(c.ssl) != 1)
		die("shake hands");
	return c;
}

static void
end(struct connection *c)
{
	/* Else its session is void. */
	if (c->ssl) {
		SSL_set_quiet_shutdown(c->ssl, 1);
		(void)SSL_shutdown(c->ssl);
	}
	SSL_free(c->ssl);
	(void)close(c->fd);
}

static void
put(struct connection *c, const void *p, size_t n)
{
	const char *from = p;

	while (n > 0) {
		ssize_t done = c->ssl ? SSL_write(c->ssl, from, (int)n) : write(c->fd, from, n);

		if (done <= 0)
			die("send");
		from += done;
		n -= (size_t)done;
	}
}

/* Returns how much came; 0 at the end. */
static size_t
some(struct connection *c, char *p, size_t n)
{
	ssize_t done = c->ssl ? SSL_read(c->ssl, p, (int)n) : read(c->fd, p, n);

	return done > 0 ? (size_t)done : 0;
}

static void
get(struct connection *c, size_t n)
{
	while (n > 0) {
		size_t done = some(c, block, n < sizeof block ? n : sizeof block);

		if (done == 0)
			die("get all bytes");
		n -= done;
	}
}

static void
ask(struct connection *c, char what, unsigned long n)
{
	char request[REQUEST + 1];

	(void)snprintf(request, sizeof request, REQUEST_FORMAT, what, n);
	put(c, request, REQUEST);
}

/* A request there and back. */
static void
greet(struct connection *c, char what)
{
	ask(c, what, 0);
	get(c, REQUEST);
}

static void
print_session(const struct connection *c)
{
	printf(", \"protocol\": \"%s\", \"cipher\": \"%s\"", c->ssl ? SSL_get_version(c->ssl) : "",
	    c->ssl ? SSL_CIPHER_standard_name(SSL_get_current_cipher(c->ssl)) : "");
}

static void
ready(void)
{
	char line[16];

	puts("ready");
	(void)fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		exit(1);
}

/* -- connections ----------------------------------------------------------- */

static void
note(struct share *s, double seconds)
{
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 1024;
		s->first = realloc(s->first, s->room * sizeof *s->first);
		if (!s->first)
			die("have memory");
	}
	s->first[s->count++] = seconds * 1e3;
}

static void *
connect_often(void *argument)
{
	struct share *s = argument;

	while (now() < s->until) {
		double start = now();
		struct connection c = begin(s->ctx, dial(0), s);

		greet(&c, 'e');
		note(s, now() - start);
		s->resumed += c.ssl && SSL_session_reused(c.ssl);
		while (some(&c, block, sizeof block) > 0)
			;
		end(&c);
	}
	return NULL;
}

static void
run_shares(struct share *s, void *(*function)(void *), unsigned threads)
{
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&s[i].thread, NULL, function, &s[i]) != 0)
			die("start a thread");
	for (unsigned i = 0; i < threads; i++)
		(void)pthread_join(s[i].thread, NULL);
}

static void
connections(const char *seconds)
{
	static struct share s[THREADS_MAX];
	double start = now();
	size_t count = 0, resumed = 0;

	for (unsigned i = 0; i < options.threads; i++)
		s[i] = (struct share){.ctx = new_context(), .until = start + strtod(seconds, NULL)};
	run_shares(s, connect_often, options.threads);
	printf("{\"seconds\": %.6f, \"first_ms\": [", now() - start);
	for (unsigned i = 0; i < options.threads; i++) {
		for (size_t k = 0; k < s[i].count; k++, count++)
			printf("%s%.3f", count ? ", " : "", s[i].first[k]);
		resumed += s[i].resumed;
	}
	printf("], \"connections\": %zu, \"resumed\": %zu}\n", count, resumed);
}

/* -- bytes ----------------------------------------------------------------- */

static void
put_bytes(struct connection *c, unsigned long n)
{
	for (; n > sizeof block; n -= sizeof block)
		put(c, block, sizeof block);
	put(c, block, n);
}

/*
 * A connection of OpenSSL's cannot be used by two threads, so one turns: what
 * can be sent is sent, and what has come is read, without waiting for either.
 */
static void
exchange(struct connection *c, unsigned long n)
{
	static char out[BLOCK];
	unsigned long to_put = n, to_get = n + 1;

	(void)BIO_socket_nbio(c->fd, 1);
	SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	while (to_get > 0) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		int moved = 0, k;

		if (to_put > 0 && (k = SSL_write(c->ssl, out, (int)(to_put < 16384 ? to_put : 16384))) > 0)
			to_put -= (unsigned)k, moved = 1;
		if ((k = SSL_read(c->ssl, block, sizeof block)) > 0)
			to_get -= (unsigned)k, moved = 1;
		else if (SSL_get_error(c->ssl, k) != SSL_ERROR_WANT_READ)
			die("get all bytes");
		if (to_put > 0)
			p.events |= POLLOUT;
		if (!moved && poll(&p, 1, -1) < 0)
			die("wait");
	}
}

static void
bulk(const char *way, const char *bytes)
{
	unsigned long n = strtoul(bytes, NULL, 10);
	struct connection c = begin(options.plain ? NULL : new_context(), dial(0), NULL);
	double start;

	if (options.wait)
		ready();
	start = now();
	ask(&c, way[0], n);
	if (way[0] == 'b' && c.ssl) {
		exchange(&c, n);
	} else {
		if (way[0] == 'u')
			put_bytes(&c, n);
		get(&c, way[0] == 'u' ? 1 : n);
	}
	printf("{\"seconds\": %.6f, \"bytes\": %lu", now() - start, n);
	print_session(&c);
	puts("}");
	end(&c);
}

static void
pingpong(const char *seconds)
{
	struct connection c = begin(options.plain ? NULL : new_context(), dial(0), NULL);
	double start, until;
	unsigned long n = 0;

	greet(&c, 'p');
	if (options.wait)
		ready();
	start = now();
	for (until = start + strtod(seconds, NULL); now() < until; n++) {
		put(&c, block, MESSAGE);
		get(&c, MESSAGE);
	}
	printf("{\"seconds\": %.6f, \"turns\": %lu", now() - start, n);
	print_session(&c);
	puts("}");
	end(&c);
}

/* -- connections that wait --------------------------------------------------- */

static void *
open_some(void *argument)
{
	struct share *s = argument;

	for (size_t i = 0; i < s->room; i++) {
		s->opened[i] = begin(s->ctx, dial(0), NULL);
		greet(&s->opened[i], 'p');
	}
	return NULL;
}

static void
idle(const char *number)
{
	struct rlimit files;
	struct share s[OPENERS] = {0};
	size_t n = strtoul(number, NULL, 10), at = 0;
	struct connection *all = allocate(n, sizeof *all);

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	for (int i = 0; i < OPENERS; i++) {
		s[i] = (struct share){.ctx = new_context(), .room = (n + (size_t)i) / OPENERS, .opened = all + at};
		at += s[i].room;
	}
	run_shares(s, open_some, OPENERS);
	ready();
	for (size_t i = 0; i < n; i++) {
		put(&all[i], block, MESSAGE);
		get(&all[i], MESSAGE);
		end(&all[i]);
	}
	printf("{\"connections\": %zu}\n", n);
}

/* -- a server that is started for one connection ----------------------------- */

/* Two ends of one connection, of which the server gets the second. */
static void
connect_pair(int ends[2])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof at;
	int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(door, (const struct sockaddr *)&at, n) < 0 || listen(door, 1) < 0 ||
	    getsockname(door, (struct sockaddr *)&at, &n) < 0 || connect(ends[0], (const struct sockaddr *)&at, n) < 0)
		die("connect");
	ends[1] = accept4(door, NULL, NULL, SOCK_CLOEXEC);
	(void)setsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	(void)close(door);
}

static pid_t
launch(char *const command[], int fd)
{
	pid_t pid = vfork();

	if (pid != 0)
		return pid;
	if (fd >= 0) {
		(void)dup2(fd, 0);
		(void)dup2(fd, 1);
	}
	(void)execvp(command[0], command);
	_exit(127);
}

static double
ms(struct timeval t)
{
	return (double)t.tv_sec * 1e3 + (double)t.tv_usec / 1e3;
}

/* Prints the times from the start to the first byte and to the end, and what server and program used. */
static void
start_once(SSL_CTX *ctx, char *const command[], const char *between)
{
	int ends[2] = {-1, -1}, status;
	double start, first, last;
	struct connection c;
	struct rusage used;
	pid_t pid;

	if (strcmp(options.port, "0") == 0)
		connect_pair(ends);
	start = now();
	pid = launch(command, ends[1]);
	if (ends[1] >= 0)
		(void)close(ends[1]);
	c = begin(ctx, ends[0] >= 0 ? ends[0] : dial(1), NULL);
	greet(&c, 'e');
	first = now() - start;
	while (some(&c, block, sizeof block) > 0)
		;
	end(&c);
	if (wait4(pid, &status, 0, &used) != pid)
		die("wait");
	last = now() - start;
	printf("%s{\"first_ms\": %.3f, \"exit_ms\": %.3f, \"cpu_ms\": %.3f, \"faults\": %ld, \"switches\": %ld}",
	    between, first * 1e3, last * 1e3, ms(used.ru_utime) + ms(used.ru_stime), used.ru_minflt + used.ru_majflt,
	    used.ru_nvcsw + used.ru_nivcsw);
}

static void
starts(const char *times, char *const command[])
{
	SSL_CTX *ctx = new_context();
	long n = strtol(times, NULL, 10);

	printf("{\"starts\": [");
	(void)fflush(stdout);
	for (long i = 0; i < n; i++)
		start_once(ctx, command, i ? ", " : "");
	puts("]}");
}

/* -- arguments --------------------------------------------------------------- */

static void
choose_cipher(const char *name)
{
	for (size_t i = 0; i < sizeof ciphers / sizeof *ciphers; i++) {
		if (strcmp(ciphers[i].name, name) != 0)
			continue;
		options.cipher = &ciphers[i];
		return;
	}
	die("use this cipher");
}

static void
parse(int argc, char *argv[])
{
	int c;

	while ((c = getopt(argc, argv, "+t:rc:pw")) != -1) {
		switch (c) {
		case 't': options.threads = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'r': options.resume = 1; break;
		case 'c': choose_cipher(optarg); break;
		case 'p': options.plain = 1; break;
		case 'w': options.wait = 1; break;
		default: exit(100);
		}
	}
	if (argc - optind < 3 || options.threads < 1 || options.threads > THREADS_MAX) {
		(void)fputs("load: see the head of load.c\n", stderr);
		exit(100);
	}
}

int
main(int argc, char *argv[])
{
	const char *what, *amount;

	parse(argc, argv);
	(void)signal(SIGPIPE, SIG_IGN);
	options.port = argv[optind];
	what = argv[optind + 1];
	amount = argv[optind + 2];
	if (strcmp(what, "connect") == 0)
		connections(amount);
	else if (strcmp(what, "pingpong") == 0)
		pingpong(amount);
	else if (strcmp(what, "down") == 0 || strcmp(what, "up") == 0 || strcmp(what, "both") == 0)
		bulk(what, amount);
	else if (strcmp(what, "idle") == 0)
		idle(amount);
	else if (strcmp(what, "start") == 0 && argc - optind > 3)
		starts(amount, argv + optind + 3);
	else
		die("do that work");
	return 0;
}
