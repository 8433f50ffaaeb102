/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigv4.h -- who signed a request: AWS Signature Version 4, in a header or in a presigned query.
 *
 * Three steps, so that the server looks the key up between them:
 *
 * 	sigv4_read()	what the request says of its signature; the clock and every rule that needs no key
 * 	(caller)	the signing key of access key id, day and region: users_s3_key()
 * 	sigv4_check()	does the signature fit? in constant time
 *
 * Nothing here keeps state, logs or reads a clock. Sources: "Authenticating Requests (AWS Signature
 * Version 4)" of Amazon's S3 API reference; FIPS 180-4; RFC 2104. The path is signed as S3 has it: decoded
 * and encoded once, never normalized.
 */
#ifndef WEIR_S3_SIGV4_H
#define WEIR_S3_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "http/s3/errors.h"
#include "lib/httpd.h"

#define SIGV4_SKEW_S	   900	  /* a request's time may differ from ours by so much */
#define SIGV4_EXPIRES_MAX  604800 /* a presigned URL's life, seconds */
#define SIGV4_ID_MAX	   128	  /* bytes of an access key id */
#define SIGV4_REGION_MAX   64
#define SIGV4_SIGNED_LEN   4000	  /* bytes of SignedHeaders */
#define SIGV4_PARAMS_MAX   128	  /* parameters of a query */

/* What is signed. Strings are the caller's and live as long as what was read from them. */
struct sigv4_request {
	const char *method; /* "GET" */
	const char *target; /* as the client sent it: "/bucket/a%20key?list-type=2"; http_target() */
	const char *host;   /* the Host that the client used where another server received it; NULL: the header's */
	const struct http_pair *headers; /* as sent: http_headers() */
	size_t nheaders;
};

/* How a request says who it is. */
enum sigv4_kind {
	SIGV4_NONE,   /* not at all: anonymous, or by weir's own means (Bearer, cookie) */
	SIGV4_HEADER, /* Authorization: AWS4-HMAC-SHA256 … */
	SIGV4_QUERY,  /* presigned: X-Amz-Algorithm=… */
	SIGV4_V2,     /* Authorization: AWS …, or a query with Signature and AWSAccessKeyId: refused by read */
	SIGV4_OTHER   /* Authorization or X-Amz-Algorithm with AWS4- and another algorithm: refused by read */
};

/* x-amz-content-sha256: what is known of the body beforehand. */
enum sigv4_payload {
	SIGV4_UNSIGNED,		       /* UNSIGNED-PAYLOAD; presigned requests when they do not say */
	SIGV4_SIGNED,		       /* the body's SHA-256, signed: compare it when the body is complete */
	SIGV4_STREAM,		       /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD: see awschunked.h */
	SIGV4_STREAM_TRAILER,	       /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER */
	SIGV4_STREAM_UNSIGNED_TRAILER  /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
};

struct sigv4 {
	enum sigv4_kind kind;
	char id[SIGV4_ID_MAX + 1];     /* access key id */
	char date[9];		       /* "20130524": of the credential's scope, and the timestamp's day */
	char region[SIGV4_REGION_MAX + 1];
	char timestamp[17];	       /* "20130524T000000Z" */
	time_t when;		       /* the same in seconds since the epoch */
	uint32_t expires;	       /* presigned: seconds after `when`; else 0 */
	enum sigv4_payload payload;
	uint8_t payload_sha256[32];    /* SIGV4_SIGNED */
	uint8_t signature[32];
	char signed_headers[SIGV4_SIGNED_LEN + 1]; /* "host;x-amz-date": lower case, ascending */
	/* As signed: "UNSIGNED-PAYLOAD", hex, …; in the request's text or a literal. */
	const char *payload_text;
	size_t payload_len;
};

/* Cheap, for http_choose_fn: looks at the Authorization header and at the names in the target's query. */
enum sigv4_kind sigv4_kind(const char *target, const char *authorization);

/* Fills *out, which points into req's strings, when the request is signed by version 4 and everything that
 * needs no key is right at the time `now` (seconds since the epoch). S3_OK with kind SIGV4_NONE: no signature.
 * Every x-amz-… header must be signed, and Host; the service must be "s3". fault may be NULL. */
enum s3_error sigv4_read(struct sigv4 *out, const struct sigv4_request *req, time_t now, struct s3_fault *fault);

/* key: 32 bytes of sigv4_key(). S3_OK or S3_SIGNATURE_MISMATCH. No memory is taken for requests of usual size. */
enum s3_error sigv4_check(const struct sigv4 *sig, const struct sigv4_request *req, const uint8_t key[32]);

/* Must this header reach whoever verifies again? True for names in SignedHeaders (case does not matter). */
bool sigv4_signs(const struct sigv4 *sig, const char *name);

/* The signing key of a secret for one day ("20130524"), region and service ("s3"). */
void sigv4_key(const char *secret, const char *date, const char *region, const char *service, uint8_t out[32]);

/* ---- for clients: tests, benches, our own requests ---- */
/* What the signature is over; for tests against published vectors. Both malloc'ed, NULL without memory or with
 * more than SIGV4_PARAMS_MAX parameters. signed_headers: "host;x-amz-date", each once. payload: as in x-amz-content-sha256.
 * The query's X-Amz-Signature is left out. */
char *sigv4_canonical(const struct sigv4_request *req, const char *signed_headers, const char *payload);
/* scope: "20130524/us-east-1/s3/aws4_request". */
char *sigv4_string_to_sign(const char *timestamp, const char *scope, const char *canonical);
/* The value of Authorization for req, whose headers already hold x-amz-date and x-amz-content-sha256; all of
 * req's headers are signed. malloc'ed, NULL without memory or when a header is missing. */
char *sigv4_authorize(const struct sigv4_request *req, const char *id, const uint8_t key[32], const char *region);
/* The target with X-Amz-… parameters added, signed for `expires` seconds from `when`; signs Host alone.
 * malloc'ed, NULL without memory. */
char *sigv4_presign(const char *method, const char *target, const char *host, const char *id, const char *secret,
		    const char *region, time_t when, uint32_t expires);

#endif
