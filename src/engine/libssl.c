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

const char *
libssl_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

/* The verification of a peer that was finished last: its error, why, and whose it was. */
static struct {
	int error;
	enum refusal why;
	struct span leaf;
} verdict;

void
libssl_forget(void)
{
	OPENSSL_free((void *)verdict.leaf.p);
	verdict.error = X509_V_OK;
	verdict.why = REFUSAL_NONE;
	verdict.leaf = (struct span){0};
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

struct span
libssl_leaf(void)
{
	return verdict.leaf;
}

const char *
libssl_refusal(bool server)
{
	unsigned long error = ERR_peek_last_error();

	if (ERR_GET_LIB(error) != ERR_LIB_SSL || ERR_GET_REASON(error) != SSL_R_CERTIFICATE_VERIFY_FAILED)
		return NULL;
	if (verdict.why != REFUSAL_NONE)
		return refusal_text(verdict.why, server);
	return verdict.error != X509_V_OK ? X509_verify_cert_error_string(verdict.error)
					  : ERR_reason_error_string(error);
}

/*
 * libtls tells a server that a client's certificate was refused, but not why.
 * Each verification's object is seen as it is freed, with its error still in
 * it; were it not, the message would say less, and that is all. One that no
 * connection belongs to is of our own chain.
 */
static void
note_verdict(void *parent, void *pointer, CRYPTO_EX_DATA *data, int index, long number, void *argument)
{
	X509_STORE_CTX *store = parent;
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());

	(void)pointer;
	(void)data;
	(void)index;
	(void)number;
	(void)argument;
	if (!ssl)
		return;
	OPENSSL_free((void *)verdict.leaf.p);
	verdict.error = X509_STORE_CTX_get_error(store);
	verdict.why = verdict.error == X509_V_OK ? REFUSAL_NONE : refused_why(store, !SSL_is_server(ssl));
	verdict.leaf = refused_leaf(store);
}

static bool
watch_verification(void)
{
	return CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_X509_STORE_CTX, 0, NULL, NULL, NULL, note_verdict) >= 0;
}

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
	if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1 || !configure() || !watch_verification() ||
	    !trust_intermediates())
		return fault_set(f, FAULT_ENGINE, "cannot start %s: %s", libssl_version(),
		    libssl_cause() ? libssl_cause() : "unknown error");
	prepared = true;
	return 0;
}
