/*
 * The child has no privileges and nothing of ours but its end of the channel;
 * it is not sealed, since a resolver opens files and sockets.
 */
#include "sys/lookup.h"

#include "core/message.h"
#include "sys/channel.h"
#include "sys/fds.h"
#include "sys/resolve.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Whether the name is one of the address that it was found for. */
static bool
leads_back(const char *name, const union endpoint *e)
{
	const char *why;
	struct addrinfo *list = resolve_host(name, e->any.sa_family, false, &why);
	bool found = false;

	for (const struct addrinfo *a = list; a && !found; a = a->ai_next) {
		union endpoint other = {.any = {0}};
		char ip[2][UCSPI_IP], port[UCSPI_PORT];

		memcpy(&other, a->ai_addr, a->ai_addrlen);
		resolve_print(e, ip[0], port);
		resolve_print(&other, ip[1], port);
		found = strcmp(ip[0], ip[1]) == 0;
	}
	if (list)
		freeaddrinfo(list);
	return found;
}

static bool
ask(const char *ip, char name[DNSNAME_SIZE], union endpoint *e)
{
	const char *why;
	struct addrinfo *found = resolve_number(ip, AF_UNSPEC, &why);

	if (!found)
		return false;
	memcpy(e, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return resolve_name(e, name);
}

static _Noreturn void
run(struct ucspi *u, const struct config *c, const struct privileges *p, int channel, pid_t parent)
{
	static unsigned char message[MESSAGE_MAX];
	union endpoint e = {.any = {0}};
	struct fault f;
	long n;

	(void)signal(SIGTERM, SIG_DFL);
	fds_close_others(&channel, 1);
	if (fds_silence(&channel, 1, &f) < 0 || privileges_shed(p, false, &f) < 0)
		_exit(1);
	/* After the change of ids, which clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	if (!c->local_name)
		u->has_local_host = ask(u->local_ip, u->local_host, &e);
	u->has_remote_host = ask(u->remote_ip, u->remote_host, &e) && (!c->paranoid || leads_back(u->remote_host, &e));
	if (!u->has_remote_host)
		u->remote_host[0] = '\0';
	n = message_connected(message, u);
	_exit(n > 0 && channel_send(channel, message, (size_t)n) == 0 ? 0 : 1);
}

pid_t
lookup_start(const struct ucspi *u, const struct config *c, const struct privileges *p, int *channel, struct fault *f)
{
	struct ucspi own = *u;
	int ends[2];
	pid_t self = getpid(), pid;

	if (channel_create(ends, f) < 0)
		return -1;
	pid = fork();
	if (pid == 0)
		run(&own, c, p, ends[1], self);
	(void)close(ends[1]);
	if (pid < 0) {
		(void)close(ends[0]);
		return fault_set(f, FAULT_SYSTEM, "cannot fork: %s", strerror(errno));
	}
	*channel = ends[0];
	return pid;
}

int
lookup_take(int channel, struct ucspi *u)
{
	static unsigned char message[MESSAGE_MAX];
	long n = channel_receive(channel, message);
	struct ucspi found;
	int got = n > 0 ? message_read_connected((struct span){message, (size_t)n}, &found) : -1;

	if (n > 0)
		explicit_bzero(message, (size_t)n); /* the next engine is a copy of us */
	if (got < 0)
		return n != 0;
	u->has_local_host = found.has_local_host;
	u->has_remote_host = found.has_remote_host;
	memcpy(u->local_host, found.local_host, sizeof found.local_host);
	memcpy(u->remote_host, found.remote_host, sizeof found.remote_host);
	return 1;
}
