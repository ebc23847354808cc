/*
 * The side that holds the key. It believes nothing: a request has to be of its
 * form to the byte, of a text that TLS has signed, and the only one.
 */
#include "sys/signer.h"

#include "sys/channel.h"
#include "sys/fds.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

int
signer_open(struct signer *s, enum signing_role role, struct fault *f)
{
	int ends[2], room = 2 * SIGNING_MAX;

	*s = (struct signer){.ask = -1, .answer = -1, .role = role};
	if (channel_create(ends, f) < 0)
		return -1;
	s->ask = ends[0];
	s->answer = ends[1];
	/* Where the system gives less, the longest texts are not sent, and the handshake fails. */
	(void)setsockopt(s->ask, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	return 0;
}

int
signer_limit(int ask, unsigned ms, struct fault *f)
{
	struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	if (setsockopt(ask, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
	    setsockopt(ask, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
		return fault_set(f, FAULT_SYSTEM, "cannot limit the wait for a signature: %s", strerror(errno));
	return 0;
}

static enum signer_heard
refuse(struct fault *f, const char *why)
{
	(void)fault_set(f, FAULT_TLS, "engine asked for a signature that is refused: %s", why);
	return SIGNER_REFUSED;
}

/* Signs and answers: a first byte of 1, and the signature; or of 0, when the key cannot sign that. */
static enum signer_heard
sign(int end, const struct engine_key *key, const struct signing *request, struct fault *f)
{
	unsigned char answer[1 + SIGNATURE_MAX];
	long n = engine_key_sign(key, request, answer + 1);

	answer[0] = n > 0;
	if (channel_send(end, answer, n > 0 ? (size_t)n + 1 : 1) < 0 && errno != EPIPE && errno != ECONNRESET)
		return refuse(f, "it does not take the answer");
	return SIGNER_SERVED;
}

enum signer_heard
signer_answer(int end, const struct engine_key *key, enum signing_role role, bool again, struct fault *f)
{
	static unsigned char message[SIGNING_MAX + 1];
	struct pollfd p = {.fd = end, .events = POLLIN};
	struct signing request;
	const char *why;
	ssize_t n;

	do
		n = recv(end, message, sizeof message, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return SIGNER_NOTHING;
	/* A message without a byte looks like the end, but for what poll(2) says. */
	if (n == 0 && (poll(&p, 1, 0) < 1 || !(p.revents & POLLHUP)))
		return refuse(f, "an empty request");
	if (n <= 0)
		return SIGNER_GONE;
	if (again)
		return refuse(f, "there was one before");
	if (n > SIGNING_MAX || signing_unpack((struct span){message, (size_t)n}, &request) < 0)
		return refuse(f, "a malformed request");
	why = signing_refusal(role, &request);
	return why ? refuse(f, why) : sign(end, key, &request, f);
}

int
signer_serve(struct signer *s, struct fault *f)
{
	enum signer_heard heard = signer_answer(s->answer, s->key, s->role, s->served, f);

	if (heard == SIGNER_GONE)
		signer_close(s);
	if (heard == SIGNER_SERVED)
		s->served = true;
	return heard == SIGNER_REFUSED ? -1 : 0;
}

void
signer_close(struct signer *s)
{
	engine_key_free(s->key);
	s->key = NULL;
	fds_close(&s->ask);
	fds_close(&s->answer);
}
