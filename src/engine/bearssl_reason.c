/*
 * One table: an error, its words, its alert.
 */
#include "engine/bearssl_reason.h"

#include "core/refusal.h"

#include <bearssl.h>

#include <stddef.h>

/* RFC 5246, 7.2. */
enum alert {
	NO_ALERT = 0,
	UNEXPECTED_MESSAGE = 10,
	BAD_RECORD_MAC = 20,
	RECORD_OVERFLOW = 22,
	HANDSHAKE_FAILURE = 40,
	BAD_CERTIFICATE = 42,
	UNSUPPORTED_CERTIFICATE = 43,
	CERTIFICATE_EXPIRED = 45,
	ILLEGAL_PARAMETER = 47,
	UNKNOWN_CA = 48,
	DECODE_ERROR = 50,
	DECRYPT_ERROR = 51,
	PROTOCOL_VERSION = 70,
	INTERNAL_ERROR = 80,
};

static const struct row {
	int error;
	enum alert alert;
	const char *text;
} rows[] = {
    {REASON_NO_SIGNATURE, INTERNAL_ERROR, "no signature of the private key was to be had"},
    {BR_ERR_BAD_PARAM, DECODE_ERROR, "malformed message"},
    {BR_ERR_BAD_STATE, INTERNAL_ERROR, "the library is in a wrong state"},
    {BR_ERR_UNSUPPORTED_VERSION, PROTOCOL_VERSION, "not a TLS record, or of an unknown version"},
    {BR_ERR_BAD_VERSION, PROTOCOL_VERSION, "wrong version number"},
    {BR_ERR_BAD_LENGTH, RECORD_OVERFLOW, "bad record length"},
    {BR_ERR_TOO_LARGE, RECORD_OVERFLOW, "record too large"},
    {BR_ERR_BAD_MAC, BAD_RECORD_MAC, "bad record mac"},
    {BR_ERR_NO_RANDOM, INTERNAL_ERROR, "no source of randomness"},
    {BR_ERR_UNKNOWN_TYPE, UNEXPECTED_MESSAGE, "unknown record type"},
    {BR_ERR_UNEXPECTED, UNEXPECTED_MESSAGE, "unexpected message"},
    {BR_ERR_BAD_CCS, ILLEGAL_PARAMETER, "bad change cipher spec"},
    {BR_ERR_BAD_ALERT, DECODE_ERROR, "malformed alert"},
    {BR_ERR_BAD_HANDSHAKE, DECODE_ERROR, "malformed handshake message"},
    {BR_ERR_OVERSIZED_ID, DECODE_ERROR, "session identifier too long"},
    {BR_ERR_BAD_CIPHER_SUITE, ILLEGAL_PARAMETER, "a cipher suite that was not offered"},
    {BR_ERR_BAD_COMPRESSION, ILLEGAL_PARAMETER, "a compression that was not offered"},
    {BR_ERR_BAD_FRAGLEN, ILLEGAL_PARAMETER, "bad maximum fragment length"},
    {BR_ERR_BAD_SECRENEG, HANDSHAKE_FAILURE, "secure renegotiation failed"},
    {BR_ERR_EXTRA_EXTENSION, ILLEGAL_PARAMETER, "an extension that was not offered"},
    {BR_ERR_BAD_SNI, ILLEGAL_PARAMETER, "bad server name"},
    {BR_ERR_BAD_HELLO_DONE, DECODE_ERROR, "malformed handshake message"},
    {BR_ERR_LIMIT_EXCEEDED, HANDSHAKE_FAILURE, "a key or signature too large for BearSSL"},
    {BR_ERR_BAD_FINISHED, DECRYPT_ERROR, "the handshake was tampered with"},
    {BR_ERR_RESUME_MISMATCH, ILLEGAL_PARAMETER, "resumed session does not match"},
    {BR_ERR_INVALID_ALGORITHM, ILLEGAL_PARAMETER, "no common curve or signature algorithm"},
    {BR_ERR_BAD_SIGNATURE, DECRYPT_ERROR, "bad signature: the peer does not prove possession of its key"},
    {BR_ERR_WRONG_KEY_USAGE, UNSUPPORTED_CERTIFICATE, "the peer's key is not for this use"},
    {BR_ERR_NO_CLIENT_AUTH, HANDSHAKE_FAILURE, "peer did not return a certificate"},
    {BR_ERR_X509_INVALID_VALUE, BAD_CERTIFICATE, "invalid value"},
    {BR_ERR_X509_TRUNCATED, BAD_CERTIFICATE, "cut short"},
    {BR_ERR_X509_EMPTY_CHAIN, BAD_CERTIFICATE, "empty chain"},
    {BR_ERR_X509_INNER_TRUNC, BAD_CERTIFICATE, "an element is longer than what holds it"},
    {BR_ERR_X509_BAD_TAG_CLASS, BAD_CERTIFICATE, "unsupported tag class"},
    {BR_ERR_X509_BAD_TAG_VALUE, BAD_CERTIFICATE, "unsupported tag"},
    {BR_ERR_X509_INDEFINITE_LENGTH, BAD_CERTIFICATE, "indefinite length"},
    {BR_ERR_X509_EXTRA_ELEMENT, BAD_CERTIFICATE, "an element too many"},
    {BR_ERR_X509_UNEXPECTED, BAD_CERTIFICATE, "unexpected element"},
    {BR_ERR_X509_NOT_CONSTRUCTED, BAD_CERTIFICATE, "not a constructed element"},
    {BR_ERR_X509_NOT_PRIMITIVE, BAD_CERTIFICATE, "not a primitive element"},
    {BR_ERR_X509_PARTIAL_BYTE, BAD_CERTIFICATE, "a bit string of broken octets"},
    {BR_ERR_X509_BAD_BOOLEAN, BAD_CERTIFICATE, "malformed boolean"},
    {BR_ERR_X509_OVERFLOW, BAD_CERTIFICATE, "a value too large"},
    {BR_ERR_X509_BAD_DN, BAD_CERTIFICATE, "malformed name"},
    {BR_ERR_X509_BAD_TIME, BAD_CERTIFICATE, "malformed time"},
    {BR_ERR_X509_UNSUPPORTED, UNSUPPORTED_CERTIFICATE,
	"a key, curve or signature algorithm that BearSSL does not know"},
    {BR_ERR_X509_LIMIT_EXCEEDED, UNSUPPORTED_CERTIFICATE, "a key or signature too large for BearSSL"},
    {BR_ERR_X509_WRONG_KEY_TYPE, BAD_CERTIFICATE, REFUSED_SIGNATURE},
    {BR_ERR_X509_BAD_SIGNATURE, DECRYPT_ERROR, REFUSED_SIGNATURE},
    {BR_ERR_X509_TIME_UNKNOWN, INTERNAL_ERROR, "the time is not known"},
    {BR_ERR_X509_EXPIRED, CERTIFICATE_EXPIRED, REFUSED_EXPIRED},
    {BR_ERR_X509_DN_MISMATCH, UNKNOWN_CA, "the chain's names do not fit: issuer and subject differ"},
    {BR_ERR_X509_BAD_SERVER_NAME, BAD_CERTIFICATE, REFUSED_NAME},
    {BR_ERR_X509_CRITICAL_EXTENSION, UNSUPPORTED_CERTIFICATE, REFUSED_EXTENSION},
    {BR_ERR_X509_NOT_CA, UNKNOWN_CA, REFUSED_NO_CA},
    {BR_ERR_X509_FORBIDDEN_KEY_USAGE, UNSUPPORTED_CERTIFICATE, "key usage does not allow this"},
    {BR_ERR_X509_WEAK_PUBLIC_KEY, BAD_CERTIFICATE, "key too small"},
    {BR_ERR_X509_NOT_TRUSTED, UNKNOWN_CA, REFUSED_UNKNOWN},
};

/* What a peer's fatal alert says, and ours (RFC 5246, 7.2.2; 100 and above from RFC 6066 and 7301). */
static const struct {
	int alert;
	const char *received, *sent;
} alerts[] = {
#define ALERT(number, name)                                                                                            \
	{                                                                                                              \
		number, "the peer sent the alert " name, name                                                          \
	}
    ALERT(10, "unexpected message"),
    ALERT(20, "bad record mac"),
    ALERT(22, "record overflow"),
    {40, "the peer sent the alert handshake failure", "no common version or cipher suite"},
    ALERT(41, "no certificate"),
    ALERT(42, "bad certificate"),
    ALERT(43, "unsupported certificate"),
    ALERT(44, "certificate revoked"),
    ALERT(45, "certificate expired"),
    ALERT(46, "certificate unknown"),
    ALERT(47, "illegal parameter"),
    ALERT(48, "unknown ca"),
    ALERT(49, "access denied"),
    ALERT(50, "decode error"),
    ALERT(51, "decrypt error"),
    {70, "the peer sent the alert protocol version", "unsupported protocol"},
    ALERT(71, "insufficient security"),
    ALERT(80, "internal error"),
    ALERT(86, "inappropriate fallback"),
    ALERT(90, "user canceled"),
    ALERT(100, "no renegotiation"),
    ALERT(110, "unsupported extension"),
    ALERT(112, "unrecognized name"),
    ALERT(113, "bad certificate status response"),
    ALERT(116, "certificate required"),
    ALERT(120, "no application protocol"),
#undef ALERT
};

static const struct row *
find(int error)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].error == error)
			return &rows[i];
	return NULL;
}

const char *
reason_text(int error)
{
	const struct row *row = find(error);
	bool sent = error >= BR_ERR_SEND_FATAL_ALERT;
	int alert = error - (sent ? BR_ERR_SEND_FATAL_ALERT : BR_ERR_RECV_FATAL_ALERT);

	if (row)
		return row->text;
	for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++)
		if (alerts[i].alert == alert)
			return sent ? alerts[i].sent : alerts[i].received;
	return error >= BR_ERR_RECV_FATAL_ALERT && !sent ? "the peer sent an unknown alert" : "protocol error";
}

bool
reason_is_certificate(int error)
{
	return error > BR_ERR_X509_OK && error <= BR_ERR_X509_NOT_TRUSTED;
}

bool
reason_is_vague(int error)
{
	switch (error) {
	case BR_ERR_X509_WRONG_KEY_TYPE:
	case BR_ERR_X509_BAD_SIGNATURE:
	case BR_ERR_X509_EXPIRED:
	case BR_ERR_X509_DN_MISMATCH:
	case BR_ERR_X509_NOT_CA:
	case BR_ERR_X509_FORBIDDEN_KEY_USAGE:
	case BR_ERR_X509_NOT_TRUSTED: return true;
	default: return false;
	}
}

unsigned char
reason_alert(int error)
{
	const struct row *row = find(error);

	if (row)
		return (unsigned char)row->alert;
	return error < BR_ERR_RECV_FATAL_ALERT ? INTERNAL_ERROR : NO_ALERT;
}
