/*
 * The engine's side of a signer: one packet out, one packet in.
 */
#include "sys/signer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static unsigned char message[SIGNING_MAX];

long
signer_ask(void *with, const struct signing *request, unsigned char *signature)
{
	const struct signer *s = with;
	unsigned char answer[1 + SIGNATURE_MAX];
	long length = signing_pack(message, request);
	ssize_t n;

	if (length < 0)
		return -1;
	do
		n = send(s->ask, message, (size_t)length, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n != length)
		return -1;
	do
		n = recv(s->ask, answer, sizeof answer, 0);
	while (n < 0 && errno == EINTR);
	if (n < 2 || answer[0] != 1)
		return -1;
	memcpy(signature, answer + 1, (size_t)n - 1);
	return (long)n - 1;
}
