/*
 * In place of sys/worker.c: an engine that someone has taken over. $HOSTILE is
 * what it says to the monitor, word by word, once it was told to start. A word is the name of a message,
 * whole, or with "-" behind it cut by a byte, or with "+" longer by one; or it
 * is "long", a message too long for any; "flood", questions without end whose
 * answers are never read; or "close". "sign-" and a name asks for a signature,
 * by one of the requests below, and writes "signed" to the network when it gets
 * one; "wait" waits for the monitor's MSG_STOP. Then it writes "done" there, and lives on, deaf.
 */
#include "core/message.h"
#include "sys/channel.h"
#include "sys/fds.h"
#include "sys/signer.h"
#include "sys/worker.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const struct {
	const char *name;
	enum message_type type;
} plain[] = {{"ask", MSG_ASK}, {"run", MSG_RUN}, {"ready", MSG_READY}, {"unknown", 99}};

/* Whether the monitor expects that the peer was verified. */
static bool verifies;

static long
compose_up(unsigned char *m, bool verified)
{
	const struct session session = {.protocol = "TLSv1.3",
	    .cipher = "TLS_AES_128_GCM_SHA256",
	    .has_peer = verified,
	    .hash = "SHA256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	    .subject = "CN=somebody"};

	return message_up(m, &session);
}

/* Returns the length of the message, 0 when it has no such name. */
static long
compose(const char *name, unsigned char *m)
{
	static const struct ucspi tcp = {"127.0.0.1", "127.0.0.2", "1", "2", .has_local_host = false},
				  lie = {"127.0.0.1", "127.0.0.2\nevil", "1", "2", .has_local_host = false};
	static const struct report good = {.end = END_PROG_EXIT}, none = {.end = END_NONE};
	static const struct fault fault = {FAULT_TLS, "the engine says so"}, wrong = {FAULT_USAGE, "wrong code"};

	for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
		m[0] = (unsigned char)plain[i].type;
		if (strcmp(name, plain[i].name) == 0)
			return 1;
	}
	if (strcmp(name, "up") == 0)
		return compose_up(m, verifies);
	if (strcmp(name, "up-lie") == 0)
		return compose_up(m, !verifies);
	if (strcmp(name, "connected") == 0)
		return message_connected(m, &tcp);
	if (strcmp(name, "connected-lie") == 0)
		return message_connected(m, &lie);
	if (strcmp(name, "end") == 0)
		return message_end(m, &good);
	if (strcmp(name, "end-none") == 0)
		return message_end(m, &none);
	if (strcmp(name, "fault") == 0)
		return message_fault(m, &fault);
	if (strcmp(name, "fault-wrong") == 0)
		return message_fault(m, &wrong);
	return strcmp(name, "long") == 0 ? MESSAGE_MAX + 1 : 0;
}

static void
say(int channel, char *word)
{
	static unsigned char m[MESSAGE_MAX + 2];
	char *last = word + strlen(word) - 1, change = *last;
	long n;

	if (change == '-' || change == '+')
		*last = '\0';
	n = compose(word, m);
	if (change == '-')
		n--;
	if (change == '+')
		m[n++] = '\n';
	(void)channel_send(channel, m, (size_t)n);
}

/* Slowly enough for each question to be answered before the next. */
static void
flood(int channel)
{
	static const struct timespec pause = {.tv_nsec = 40000000};

	for (int i = 0; i < 400; i++) {
		(void)channel_tell(channel, MSG_ASK);
		(void)nanosleep(&pause, NULL);
	}
}

/* -- requests for signatures ----------------------------------------------- */

static unsigned char request[SIGNING_MAX + 2];

/* What a TLS 1.3 server signs (RFC 8446, 4.4.3), or a client, with ECDSA and SHA-256. Returns its length. */
static size_t
request_certificate_verify(const char *context)
{
	static unsigned char text[64 + 34 + 32];
	struct signing s = {.scheme = 0x0403, .text = {text, sizeof text}};

	memset(text, ' ', 64);
	memcpy(text + 64, context, 34);
	return (size_t)signing_pack(request, &s);
}

static size_t
request_text(const char *text, bool hashed)
{
	struct signing s = {.scheme = 0x0403, .hashed = hashed, .text = {(const unsigned char *)text, strlen(text)}};

	return (size_t)signing_pack(request, &s);
}

static size_t
compose_request(const char *name)
{
	if (strcmp(name, "empty") == 0)
		return 0;
	if (strcmp(name, "half") == 0)
		return request_certificate_verify("TLS 1.3, server CertificateVerify") / 2;
	if (strcmp(name, "huge") == 0)
		return sizeof request;
	if (strcmp(name, "garbage") == 0)
		return sizeof request / 1000;
	if (strcmp(name, "tiny") == 0)
		return 1;
	if (strcmp(name, "text") == 0)
		return request_text("I owe you a million.", false);
	if (strcmp(name, "hash") == 0)
		return request_text("32 octets that may be any hash..", true);
	if (strstr(name, "client"))
		return request_certificate_verify("TLS 1.3, client CertificateVerify");
	return request_certificate_verify("TLS 1.3, server CertificateVerify");
}

static void
ask_signature(const char *name, int signer, int wire)
{
	unsigned char answer[1 + SIGNATURE_MAX];
	int times = strncmp(name, "often", 5) == 0 ? 1000 : 1;
	size_t n = compose_request(name);

	for (int i = 0; i < times; i++)
		(void)send(signer, request, n, MSG_NOSIGNAL);
	for (int i = 0; i < times; i++)
		if (recv(signer, answer, sizeof answer, 0) > 1 && answer[0] == 1)
			(void)!write(wire, "signed", 6);
}

static void
wait_for(enum message_type type, int channel)
{
	unsigned char m[MESSAGE_MAX];
	struct pollfd p = {.fd = channel, .events = POLLIN};

	long n;

	do {
		(void)poll(&p, 1, -1);
		n = channel_receive(channel, m);
	} while (n >= 0 && (n != 1 || m[0] != type));
}

/*
 * A super-server's engine first says that it is ready, or else what $EARLY
 * has, and then waits for its connection. Returns that, or -1.
 */
static int
wait_for_connection(int channel)
{
	unsigned char m;
	const char *early = getenv("EARLY");
	char *words = strdup(early ? early : "ready");
	struct pollfd p = {.fd = channel, .events = POLLIN};
	int came[CHANNEL_FDS];
	long n;

	for (char *word = words ? strtok(words, " ") : NULL; word; word = strtok(NULL, " ")) {
		if (strcmp(word, "close") == 0)
			(void)shutdown(channel, SHUT_RDWR);
		else
			say(channel, word);
	}
	free(words);
	while ((n = channel_receive_fds(channel, &m, 1, came)) == 0)
		(void)poll(&p, 1, -1);
	if (n < 0)
		for (;;)
			(void)pause();
	return came[0];
}

_Noreturn void
worker_run(struct engine_context *context, const struct loop_fds *fds, const struct config *config,
    const struct privileges *privileges, const sigset_t *mask, pid_t parent, int64_t start)
{
	const char *hostile = getenv("HOSTILE");
	char *words = strdup(hostile ? hostile : "");
	int channel = fds->channel, wire = fds->wire_out;

	verifies = config->verify == VERIFY_REQUIRED;
	(void)context, (void)privileges, (void)mask, (void)start;
	/* Tests leave nothing behind. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(0);
	fds_close_others((int[]){fds->prog_in, fds->prog_out, channel, fds->signer, fds->wire_in, fds->wire_out}, 6);
	if (config->program == TLSSERVER)
		wire = wait_for_connection(channel);
	else
		wait_for(MSG_START, channel);
	for (char *word = words ? strtok(words, " ") : NULL; word; word = strtok(NULL, " ")) {
		if (strcmp(word, "flood") == 0)
			flood(channel);
		else if (strcmp(word, "close") == 0)
			fds_close(&channel);
		else if (strcmp(word, "wait") == 0)
			wait_for(MSG_STOP, channel);
		else if (strncmp(word, "sign-", 5) == 0)
			ask_signature(word + 5, fds->signer, wire);
		else
			say(channel, word);
	}
	(void)!write(wire, "done", 4);
	for (;;)
		(void)pause();
}
