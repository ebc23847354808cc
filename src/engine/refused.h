/*
 * What is to be had against a chain that libcrypto verifies, in the words of
 * core/refusal.h, for the backends that stand on it. Only public calls on a
 * verification's own object; changes nothing in it but its error.
 */
#ifndef ENGINE_REFUSED_H
#define ENGINE_REFUSED_H

#include "core/refusal.h"

#include <openssl/x509_vfy.h>

#include <stdbool.h>

/* What was made of a peer's certificate. All zero: nothing yet. */
struct refused {
	bool good;		     /* it was judged, and nothing is against it */
	enum refusal why;	     /* REFUSAL_NONE as well where only the library has words for its error */
	char misnamed[REFUSAL_SIZE]; /* the text of REFUSAL_NAME */
};

/*
 * The body of a verification's callback, told of every step (`ok`: the library
 * has nothing against it): judges, beside the library and in time for an alert,
 * what every backend asks of a chain. `server`: the peer is one. `name`: that
 * it has to bear; NULL: any. Returns whether to go on; 0 ends the verification,
 * whose error then chooses the alert.
 */
int refused_step(int ok, X509_STORE_CTX *store, bool server, const char *name, struct refused *r);

/* Why the verification that ended with `error` did; for as long as *r lives. */
const char *refused_text(const struct refused *r, bool server, long error);

#endif
