/*
 * Tried with OpenSSL 3.0 under libretls 3.7 (OPENSSL_BENEATH). What LibreSSL
 * has not, the build leaves out; with its own libtls nothing of this was tested.
 */
#include "engine/libssl.h"

#include "engine/libcrypto.h"
#include "engine/refused.h"

#include <openssl/conf.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <stdbool.h>
#include <stddef.h>

const char *
libssl_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

void
libssl_forget(void)
{
	ERR_clear_error();
}

const char *
libssl_reason(void)
{
	/* libssl's own word comes after those of what it called. */
	return ERR_reason_error_string(ERR_peek_last_error());
}

const char *
libssl_cause(void)
{
	return ERR_reason_error_string(ERR_peek_error());
}

/* -- connections ----------------------------------------------------------- */

/* The connections that were made since libssl_expect: how many, and the last of them. */
static struct {
	size_t n;
	SSL *last;
} made;

/* Where a connection of libssl's keeps its struct libssl_connection. */
static int slot = -1;

/* LibreSSL asks whether it was noted. */
#ifdef OPENSSL_BENEATH
#define NOTED
static void
#else
#define NOTED 1
static int
#endif
note_connection(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long number, void *argument)
{
	(void)pointer;
	(void)data;
	(void)index;
	(void)number;
	(void)argument;
	made.n++;
	made.last = parent;
	return NOTED;
}

static bool
watch_connections(void)
{
	slot = CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL, 0, NULL, note_connection, NULL, NULL);
	return slot >= 0;
}

void
libssl_expect(void)
{
	made.n = 0;
	made.last = NULL;
}

/* The library's every step of a verification. */
static int
step(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct libssl_connection *c = SSL_get_ex_data(ssl, slot);

	return refused_step(ok, store, !SSL_is_server(ssl), c->name, &c->against);
}

int
libssl_take(struct libssl_connection *c, bool verified, const char *name)
{
	SSL *ssl = made.last;

	if (made.n != 1 || SSL_set_ex_data(ssl, slot, c) != 1)
		return -1;
	c->ssl = ssl;
	c->name = name;
	if (!verified)
		return 0;
	SSL_set_verify(ssl, SSL_get_verify_mode(ssl), step);
	return SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER ? 0 : -1;
}

bool
libssl_complete(const struct libssl_connection *c)
{
	return SSL_is_init_finished(c->ssl);
}

const char *
libssl_refusal(const struct libssl_connection *c)
{
	unsigned long error = ERR_peek_last_error();

	if (ERR_GET_LIB(error) != ERR_LIB_SSL || ERR_GET_REASON(error) != SSL_R_CERTIFICATE_VERIFY_FAILED)
		return NULL;
	return refused_text(&c->against, !SSL_is_server(c->ssl), SSL_get_verify_result(c->ssl));
}

/* -- the process ----------------------------------------------------------- */

#ifdef OPENSSL_BENEATH
/*
 * libtls turns tickets off, which to OpenSSL means that in TLS 1.3 it sends
 * tickets of another kind: only their number says none. A client's context
 * knows no such command, and passes over it: so it comes last.
 */
static char configuration[] = "openssl_conf = process\n"
			      "[process]\n"
			      "ssl_conf = contexts\n"
			      "[contexts]\n"
			      "system_default = policy\n"
			      "[policy]\n"
			      "Options = NoRenegotiation\n"
			      "NumTickets = 0\n";

/* What a configuration file would bring to every new context, from memory. */
static bool
configure(void)
{
	BIO *bio = BIO_new_mem_buf(configuration, -1);
	CONF *conf = NCONF_new(NULL);
	long line;
	bool ok = bio && conf && NCONF_load_bio(conf, bio, &line) == 1 && CONF_modules_load(conf, NULL, 0) == 1;

	NCONF_free(conf);
	BIO_free(bio);
	return ok;
}
#else
/* LibreSSL sends no tickets in TLS 1.3, and libtls turns off those of 1.2. Its renegotiation stays as it is. */
static bool
configure(void)
{
	return true;
}
#endif

#ifdef HAVE_X509_VERIFY_PARAM_ADD0_TABLE
/* Every anchor is trusted as it stands: a chain may end at an intermediate whose root is not there. */
static bool
trust_intermediates(void)
{
	X509_VERIFY_PARAM *param = X509_VERIFY_PARAM_new();

	/*
	 * "default" are the parameters that every verification starts from; these take the place of the built-in, whose
	 * depth they keep: libtls has one of its own, but not whoever else verifies in this process.
	 */
	if (param)
		X509_VERIFY_PARAM_set_depth(param, 100);
	if (param && X509_VERIFY_PARAM_set1_name(param, "default") == 1 &&
	    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST) == 1 &&
	    X509_VERIFY_PARAM_add0_table(param) == 1)
		return true;
	X509_VERIFY_PARAM_free(param);
	return false;
}
#else
static bool
trust_intermediates(void)
{
	return true;
}
#endif

int
libssl_prepare(struct fault *f)
{
	static bool prepared;

	if (prepared)
		return 0;
#ifdef OPENSSL_BENEATH
	if (!libcrypto_wipes())
		return fault_set(f, FAULT_ENGINE, "OpenSSL was in use before it was set up");
#endif
	/* First of all, and for good: no configuration file, so none that the environment names. */
	if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1 || !configure() || !watch_connections() ||
	    !trust_intermediates())
		return fault_set(f, FAULT_ENGINE, "cannot start %s: %s", libssl_version(),
		    libssl_cause() ? libssl_cause() : "unknown error");
	prepared = true;
	return 0;
}
