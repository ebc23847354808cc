/*
 * Dials as the options say, and prints what comes of it: UCSPI's variables, as
 * they arrive at the other end of a message, and what the socket is like; or
 * the fault. Then, with -w, it holds the connection until stdin ends.
 *
 *   dial [-46adhqw] [-i ip] [-p port] [-l name] [-t first_s] [-T second_s] host port
 */
#include "sys/dial.h"
#include "sys/clock.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t alarms;

static void
count_alarm(int signal)
{
	(void)signal;
	alarms++;
}

/* Interrupts whatever waits, all the time, as signals interrupt an engine. */
static void
alarm_often(void)
{
	struct sigaction act = {.sa_handler = count_alarm};
	struct itimerval often = {.it_interval = {.tv_usec = 2000}, .it_value = {.tv_usec = 2000}};

	(void)sigaction(SIGALRM, &act, NULL);
	(void)setitimer(ITIMER_REAL, &often, NULL);
}

static int
descriptors(void)
{
	int n = 0;

	for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void
print(const struct ucspi *u)
{
	printf("TCPLOCALIP=%s\nTCPLOCALPORT=%s\n", u->local_ip, u->local_port);
	printf("TCPREMOTEIP=%s\nTCPREMOTEPORT=%s\n", u->remote_ip, u->remote_port);
	if (u->has_local_host)
		printf("TCPLOCALHOST=%s\n", u->local_host);
	if (u->has_remote_host)
		printf("TCPREMOTEHOST=%s\n", u->remote_host);
}

static void
inspect(int fd)
{
	int nodelay = 0;
	socklen_t n = sizeof nodelay;

	(void)getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &n);
	printf("nodelay=%d\n", nodelay != 0);
	printf("blocking=%d\n", (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
	printf("cloexec=%d\n", (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

static void
parse(int argc, char **argv, struct dial *d, bool *hold)
{
	for (int c; (c = getopt(argc, argv, "+46adhqwi:p:l:t:T:")) != -1;)
		switch (c) {
		case '4':
		case '6': d->family = c - '0'; break;
		case 'a': alarm_often(); break;
		case 'd': d->nodelay = true; break;
		case 'h': d->lookup = true; break;
		case 'q': d->qualify = true; break;
		case 'w': *hold = true; break;
		case 'i': d->local_ip = optarg; break;
		case 'p': d->local_port = optarg; break;
		case 'l': d->local_name = optarg; break;
		case 't': d->first_s = atoi(optarg); break;
		case 'T': d->second_s = atoi(optarg); break;
		default: exit(100);
		}
	if (argc - optind != 2)
		exit(100);
	d->host = argv[optind];
	d->port = argv[optind + 1];
}

int
main(int argc, char **argv)
{
	struct dial d = {.first_s = 2, .second_s = 58};
	unsigned char message[UCSPI_MAX];
	struct ucspi made, told;
	struct fault f = {.code = FAULT_NONE};
	bool hold = false;

	parse(argc, argv, &d, &hold);
	int before = descriptors();
	int64_t begin = clock_ms();
	int fd = dial(&d, &made, &f);
	printf("ms=%lld\nopened=%d\nalarms=%d\n", (long long)(clock_ms() - begin), descriptors() - before, (int)alarms);
	if (fd < 0) {
		printf("fault=%d\ntext=%s\n", (int)f.code, f.text);
		return 1;
	}
	long n = ucspi_pack(&made, message, sizeof message);
	if (n < 0 || ucspi_unpack((struct span){message, (size_t)n}, &told) < 0) {
		printf("fault=-1\ntext=not to be told\n");
		return 1;
	}
	print(&told);
	inspect(fd);
	(void)fflush(stdout);
	while (hold && read(STDIN_FILENO, message, sizeof message) != 0)
		continue;
	return 0;
}
