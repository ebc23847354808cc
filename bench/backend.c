/*
 * The same work as a TCP server on 127.0.0.1, for what terminates TLS and
 * starts no program: a thread for each connection. Prints its port.
 */
#include "work.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STACK = 65536, QUEUE = 1024 };

static void *
serve(void *argument)
{
	int s = (int)(intptr_t)argument;
	const int on = 1;

	(void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	(void)work(s, s);
	(void)close(s);
	return NULL;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static int
open_door(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof at;
	int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (door < 0 || bind(door, (const struct sockaddr *)&at, n) < 0 || listen(door, QUEUE) < 0 ||
	    getsockname(door, (struct sockaddr *)&at, &n) < 0)
		die("backend: cannot listen");
	printf("%d\n", ntohs(at.sin_port));
	(void)fflush(stdout);
	return door;
}

int
main(void)
{
	pthread_attr_t small;
	int door = open_door();

	(void)signal(SIGPIPE, SIG_IGN);
	(void)pthread_attr_init(&small);
	(void)pthread_attr_setstacksize(&small, STACK);
	(void)pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	for (;;) {
		int s = accept(door, NULL, NULL);
		pthread_t thread;

		if (s < 0 || pthread_create(&thread, &small, serve, (void *)(intptr_t)s) != 0)
			die("backend: cannot serve");
	}
}
