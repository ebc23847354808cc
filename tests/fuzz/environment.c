/*
 * Fuzzes environment_plan: the first byte is what the caller chooses, the
 * others are the variables there were, each up to a NUL, or, behind a '+', what
 * a rule changes. Checks against a judge who goes by names, where the plan goes
 * by prefixes, that it is all that was there and is not ours, in order, and
 * then what the session says, without what the rule has changed, and then that.
 */
#include "core/environment.h"

#include "fuzz.h"

#include <stdio.h>
#include <string.h>

enum { KEEP = 1, SNI = 2, PEER = 4, TCP = 8, HOSTS = 16, NAMED = 32, COUNTED = 64 };

/* Whether the text, up to its '=', is among the words, each with a space on either side. */
static bool
among(const char *variable, const char *words)
{
	size_t n = strcspn(variable, "=");
	char word[64];

	if (variable[n] == '\0' || n > 32 || memchr(variable, ' ', n) != NULL)
		return false;
	(void)snprintf(word, sizeof word, " %.*s ", (int)n, variable);
	return strstr(words, word) != NULL;
}

static bool
dropped(const char *variable, bool keep, bool tcp)
{
	if (tcp &&
	    among(variable, " PROTO TCPLOCALIP TCPLOCALPORT TCPLOCALHOST TCPREMOTEIP TCPREMOTEPORT TCPREMOTEHOST "
			    "TCPREMOTEINFO TCPCONNNUM "))
		return true;
	if (among(
		variable, " SSL_PROTOCOL SSL_CIPHER SSL_TLS_SNI_SERVERNAME SSL_PEER_CERT_HASH SSL_PEER_CERT_SUBJECT "))
		return true;
	if (keep)
		return false;
	return strncmp(variable, "KEYFILE:", 8) == 0 || strncmp(variable, "CERTFILE:", 9) == 0 ||
	       among(variable, " CADIR CAFILE KEYFILE CERTFILE TLS_UID TLS_GID ");
}

/* Whether the change, which may be a mere name, is about a variable that it may be about. */
static bool
permitted(const char *change)
{
	char name[64];

	(void)snprintf(name, sizeof name, "%.*s=", (int)strcspn(change, "="), change);
	return strncmp(name, "SSL_", 4) != 0 && strncmp(name, "KEYFILE:", 8) != 0 &&
	       strncmp(name, "CERTFILE:", 9) != 0 && !among(name, " CADIR CAFILE KEYFILE CERTFILE TLS_UID TLS_GID ");
}

/* Whether a change from the one at `at` on is about the variable. */
static bool
changed(const struct changes *c, size_t at, const char *variable)
{
	size_t n = strcspn(variable, "=");

	for (; at < c->n; at += strlen(c->text + at) + 1)
		if (variable[n] == '=' && strcspn(c->text + at, "=") == n && memcmp(c->text + at, variable, n) == 0 &&
		    permitted(c->text + at))
			return true;
	return false;
}

/* The plan goes on at `next` with what the changes set, of each variable the last word. Returns its end. */
static char **
check_changes(char **next, const struct changes *c)
{
	for (size_t at = 0; at < c->n;) {
		const char *change = c->text + at;

		at += strlen(change) + 1;
		if (strchr(change, '=') && permitted(change) && !changed(c, at, change))
			CHECK(*next++ == change);
	}
	return next;
}

static void
check(char *const old[], const struct changes *changes, unsigned choice)
{
	static const struct session like = {
	    .protocol = "TLSv1.3", .cipher = "TLS_X", .sni = "a.b", .hash = "SHA256:0", .subject = "CN=a,O=b"};
	static const struct ucspi from = {.local_ip = "::1",
	    .local_port = "1",
	    .remote_ip = "::2",
	    .remote_port = "2",
	    .local_host = "l",
	    .remote_host = "r"};
	static struct session session;
	struct ucspi tcp = from;
	bool connected = choice & TCP, hosts = choice & HOSTS, named = choice & NAMED, counted = choice & COUNTED;
	const struct {
		bool there;
		const char *variable;
	} written[] = {{true, "SSL_PROTOCOL=TLSv1.3"}, {true, "SSL_CIPHER=TLS_X"},
	    {choice & SNI, "SSL_TLS_SNI_SERVERNAME=a.b"}, {choice & PEER, "SSL_PEER_CERT_HASH=SHA256:0"},
	    {choice & PEER, "SSL_PEER_CERT_SUBJECT=CN=a,O=b"}, {connected, "PROTO=TCP"}, {connected, "TCPLOCALIP=::1"},
	    {connected, "TCPLOCALPORT=1"}, {connected, "TCPREMOTEIP=::2"}, {connected, "TCPREMOTEPORT=2"},
	    {connected && named, "TCPLOCALHOST=me"}, {connected && hosts && !named, "TCPLOCALHOST=l"},
	    {connected && hosts, "TCPREMOTEHOST=r"}, {connected && counted, "TCPCONNNUM=3"}};

	session = like;
	session.has_sni = choice & SNI;
	session.has_peer = choice & PEER;
	tcp.has_local_host = tcp.has_remote_host = hosts;
	if (counted)
		tcp.connections[0] = '3';
	char **plan = environment_plan(old, &session, connected ? &tcp : NULL, named ? "me" : NULL, choice & KEEP,
		 changes->n > 0 ? changes : NULL),
	     **next = plan;
	CHECK(plan != NULL);
	for (; *old != NULL; old++)
		if (!dropped(*old, choice & KEEP, connected) && !changed(changes, 0, *old))
			CHECK(*next++ == *old);
	for (size_t i = 0; i < sizeof written / sizeof *written; i++)
		if (written[i].there && !changed(changes, 0, written[i].variable))
			CHECK(*next != NULL && strcmp(*next++, written[i].variable) == 0);
	CHECK(*check_changes(next, changes) == NULL);
	free(plan);
}

/* Adds the text to the changes, if it has a name. */
static void
add_change(struct changes *c, const char *text)
{
	size_t n = strlen(text) + 1;

	if (text[0] == '\0' || text[0] == '=')
		return;
	c->text = realloc(c->text, c->n + n);
	CHECK(c->text != NULL);
	memcpy(c->text + c->n, text, n);
	c->n += n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 1)
		return 0;
	char **old = calloc(n + 1, sizeof *old);
	struct changes changes = {0};
	size_t count = 0, length;

	CHECK(old != NULL);
	for (size_t at = 1; at < n; at += length + 1) {
		char *text = strndup((const char *)data + at, n - at);

		CHECK(text != NULL);
		length = strlen(text);
		if (text[0] != '+') {
			old[count++] = text;
			continue;
		}
		add_change(&changes, text + 1);
		free(text);
	}
	check(old, &changes, data[0]);
	while (count > 0)
		free(old[--count]);
	free(old);
	changes_free(&changes);
	return 0;
}
