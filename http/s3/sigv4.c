/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigv4.c -- reads what a request says of its signature, from the Authorization header or from a presigned
 * query, and applies every rule that needs no key: form, clock, which headers must be signed.
 */
#include <string.h>
#include <strings.h>

#include "http/s3/sigv4.h"
#include "lib/hash.h"
#include "lib/httpd_text.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

/* What was found before it is looked at: pieces of the request's text. */
struct piece {
	const char *text;
	size_t len;
};

static const char *header(const struct sigv4_request *req, const char *name)
{
	for (size_t i = 0; i < req->nheaders; i++)
		if (!strcasecmp(req->headers[i].name, name))
			return req->headers[i].value;
	return NULL;
}

static bool is_digits(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return true;
}

/* ---- which kind ---- */

/* The parameter's encoded value; NULL when it is not there. Names are compared as sent: nobody encodes letters. */
static const char *parameter(const char *target, const char *name, size_t *len)
{
	const char *at = strchrnul(target, '?');
	size_t name_len = strlen(name);

	while (*at) {
		at++;
		if (!strncmp(at, name, name_len) && (at[name_len] == '=' || at[name_len] == '&' || !at[name_len])) {
			at += name_len + (at[name_len] == '=');
			*len = (size_t)(strchrnul(at, '&') - at);
			return at;
		}
		at = strchrnul(at, '&');
	}
	return NULL;
}

static bool twice(const char *target, const char *name)
{
	size_t len, name_len = strlen(name);
	const char *first = parameter(target, name, &len), *at = first ? strchr(first, '&') : NULL;

	for (; at; at = strchr(at + 1, '&'))
		if (!strncmp(at + 1, name, name_len) && strchr("=&", at[1 + name_len]))
			return true;
	return false;
}

enum sigv4_kind sigv4_kind(const char *target, const char *authorization)
{
	size_t len;
	const char *algorithm;

	if (authorization && !strncmp(authorization, ALGORITHM, strlen(ALGORITHM)) &&
	    strchr(" \t", authorization[strlen(ALGORITHM)]))
		return SIGV4_HEADER;
	if (authorization && !strncmp(authorization, "AWS4-", 5))
		return SIGV4_OTHER;
	if (authorization && !strncmp(authorization, "AWS ", 4))
		return SIGV4_V2;
	algorithm = parameter(target, "X-Amz-Algorithm", &len);
	if (algorithm)
		return len == strlen(ALGORITHM) && !memcmp(algorithm, ALGORITHM, len) ? SIGV4_QUERY : SIGV4_OTHER;
	if (parameter(target, "Signature", &len) && parameter(target, "AWSAccessKeyId", &len))
		return SIGV4_V2;
	return SIGV4_NONE;
}

/* ---- the parts, from wherever they came ---- */

/* ID/DATE/REGION/s3/aws4_request; an id may hold slashes, so it is read from its end. */
static bool read_credential(struct sigv4 *out, struct piece text, const char **why)
{
	struct piece part[5];
	size_t end = text.len;

	for (int i = 4; i >= 0; i--) {
		size_t start = end;

		while (start > 0 && (i == 0 || text.text[start - 1] != '/'))
			start--;
		part[i] = (struct piece){ text.text + start, end - start };
		if (i && start == 0)
			return false;
		end = start - (i ? 1 : 0);
	}
	if (part[0].len == 0 || part[0].len > SIGV4_ID_MAX || part[2].len == 0 || part[2].len > SIGV4_REGION_MAX)
		return false;
	if (part[1].len != 8 || !is_digits(part[1].text, 8))
		return false;
	*why = "incorrect service: this endpoint belongs to \"s3\"";
	if (part[3].len != 2 || memcmp(part[3].text, "s3", 2) != 0)
		return false;
	*why = "the Credential must end with aws4_request";
	if (part[4].len != 12 || memcmp(part[4].text, "aws4_request", 12) != 0)
		return false;
	*why = "the Credential's region holds a character that no region has";
	if (!http_is_token(part[2].text, part[2].len) || !http_is_field_value(part[0].text, part[0].len))
		return false;
	memcpy(out->id, part[0].text, part[0].len);
	memcpy(out->date, part[1].text, 8);
	memcpy(out->region, part[2].text, part[2].len);
	return true;
}

static bool has_upper(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] >= 'A' && text[i] <= 'Z')
			return true;
	return false;
}

/* Lower case, ascending, each once, with Host among them. */
static bool read_signed_headers(struct sigv4 *out, struct piece text)
{
	const char *before = NULL, *at = out->signed_headers;
	size_t before_len = 0;
	bool host = false;

	if (text.len == 0 || text.len > SIGV4_SIGNED_LEN)
		return false;
	memcpy(out->signed_headers, text.text, text.len);
	for (;;) {
		size_t len = (size_t)(strchrnul(at, ';') - at), both = len < before_len ? len : before_len;
		int order = before ? memcmp(before, at, both) : -1;

		if (!http_is_token(at, len) || has_upper(at, len))
			return false;
		if (order > 0 || (order == 0 && before_len >= len))
			return false;
		host |= len == 4 && !memcmp(at, "host", 4);
		before = at;
		before_len = len;
		if (!at[len])
			return host;
		at += len + 1;
	}
}

static bool read_signature(struct sigv4 *out, struct piece text)
{
	char hex[65];

	if (text.len != 64 || has_upper(text.text, 64))
		return false;
	memcpy(hex, text.text, 64); /* more may follow */
	hex[64] = '\0';
	return !hex_decode(hex, out->signature, 32);
}

static int two_digits(const char *text)
{
	return (text[0] - '0') * 10 + text[1] - '0';
}

/* "20130524T000000Z" */
static bool read_timestamp(struct sigv4 *out, const char *text, size_t len)
{
	struct tm tm = { 0 }, again;

	if (len != 16 || !is_digits(text, 8) || text[8] != 'T' || !is_digits(text + 9, 6) || text[15] != 'Z')
		return false;
	tm.tm_year = two_digits(text) * 100 + two_digits(text + 2) - 1900;
	tm.tm_mon = two_digits(text + 4) - 1;
	tm.tm_mday = two_digits(text + 6);
	tm.tm_hour = two_digits(text + 9);
	tm.tm_min = two_digits(text + 11);
	tm.tm_sec = two_digits(text + 13);
	again = tm;
	out->when = timegm(&again);
	memcpy(out->timestamp, text, 16);
	return again.tm_mon == tm.tm_mon && again.tm_mday == tm.tm_mday && again.tm_hour == tm.tm_hour &&
	       again.tm_min == tm.tm_min && again.tm_sec == tm.tm_sec;
}

/* The old header, "Fri, 24 May 2013 00:00:00 GMT": signed as if it had been the new one. Python's
 * clients end it with "-0000". */
static bool read_date(struct sigv4 *out, const char *text)
{
	struct tm tm = { 0 };
	char stamp[32];
	const char *end = text ? strptime(text, "%a, %d %b %Y %H:%M:%S ", &tm) : NULL;

	if (!end || (strcmp(end, "GMT") && strcmp(end, "-0000") && strcmp(end, "+0000")) ||
	    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm) == 0)
		return false;
	return read_timestamp(out, stamp, strlen(stamp));
}

static enum s3_error read_payload(struct sigv4 *out, const char *text, size_t len, struct s3_fault *fault)
{
	static const struct {
		const char *text;
		enum sigv4_payload payload;
	} words[] = {
		{ "UNSIGNED-PAYLOAD", SIGV4_UNSIGNED },
		{ "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", SIGV4_STREAM },
		{ "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", SIGV4_STREAM_TRAILER },
		{ "STREAMING-UNSIGNED-PAYLOAD-TRAILER", SIGV4_STREAM_UNSIGNED_TRAILER },
	};

	out->payload_text = text;
	out->payload_len = len;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		out->payload = words[i].payload;
		if (len == strlen(words[i].text) && !memcmp(text, words[i].text, len))
			return S3_OK;
	}
	out->payload = SIGV4_SIGNED;
	if (len == 64 && !hex_decode(text, out->payload_sha256, 32))
		return S3_OK;
	if (len >= 20 && !memcmp(text, "STREAMING-AWS4-ECDSA", 20))
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "Signatures by SigV4A (ECDSA) are not implemented.");
	return s3_fault(fault, S3_INVALID_ARGUMENT,
			"x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
			"STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.");
}

/* ---- from the header ---- */

static enum s3_error malformed(struct s3_fault *fault, const char *why)
{
	return s3_fault(fault, S3_AUTH_HEADER_MALFORMED, "The authorization header is malformed; %s.", why);
}

/* NAME=VALUE, … : the three parts, each once. */
static bool split_authorization(const char *at, struct piece *credential, struct piece *names, struct piece *signature)
{
	while (*at) {
		size_t len = strcspn(at, ", \t"), name_len = strcspn(at, "=");
		struct piece *to = NULL;

		if (len == 0) {
			at++;
			continue;
		}
		if (name_len >= len)
			return false;
		if (name_len == 10 && !memcmp(at, "Credential", 10))
			to = credential;
		else if (name_len == 13 && !memcmp(at, "SignedHeaders", 13))
			to = names;
		else if (name_len == 9 && !memcmp(at, "Signature", 9))
			to = signature;
		if (!to || to->text)
			return false;
		*to = (struct piece){ at + name_len + 1, len - name_len - 1 };
		at += len;
	}
	return credential->text && names->text && signature->text;
}

static enum s3_error check_clock(const struct sigv4 *sig, time_t now, struct s3_fault *fault)
{
	if (sig->when > now + SIGV4_SKEW_S || sig->when < now - SIGV4_SKEW_S)
		return s3_fault(fault, S3_REQUEST_TIME_TOO_SKEWED, NULL);
	return S3_OK;
}

static enum s3_error read_from_header(struct sigv4 *out, const struct sigv4_request *req, time_t now, struct s3_fault *fault)
{
	struct piece credential = { 0 }, names = { 0 }, signature = { 0 };
	const char *date = header(req, "x-amz-date"), *payload = header(req, "x-amz-content-sha256");
	const char *why = "the Credential is mal-formed; expecting \"ID/YYYYMMDD/REGION/s3/aws4_request\"";
	enum s3_error error;

	if (!split_authorization(header(req, "Authorization") + strlen(ALGORITHM), &credential, &names, &signature))
		return malformed(fault, "it must hold Credential=, SignedHeaders= and Signature=, each once");
	if (!read_credential(out, credential, &why))
		return malformed(fault, why);
	if (!read_signed_headers(out, names))
		return malformed(fault, "SignedHeaders must be names in lower case, in order, \"host\" among them");
	if (!read_signature(out, signature))
		return malformed(fault, "Signature must be 64 hexadecimal digits");
	if (date ? !read_timestamp(out, date, strlen(date)) && !read_date(out, date) : !read_date(out, header(req, "Date")))
		return s3_fault(fault, S3_ACCESS_DENIED, "AWS authentication requires a valid Date or x-amz-date header");
	error = check_clock(out, now, fault);
	if (error)
		return error;
	if (memcmp(out->date, out->timestamp, 8) != 0)
		return malformed(fault, "the Credential's date is not that of x-amz-date");
	if (!payload)
		return s3_fault(fault, S3_INVALID_REQUEST, "Missing required header for this request: x-amz-content-sha256");
	return read_payload(out, payload, strlen(payload), fault);
}

/* ---- from the query ---- */

static enum s3_error query_fault(struct s3_fault *fault, const char *why)
{
	return s3_fault(fault, S3_AUTH_QUERY_PARAMETERS, "%s", why);
}

/* Decodes a parameter that must be there once. */
static bool read_parameter(const struct sigv4_request *req, const char *name, char *out, size_t size, struct piece *piece)
{
	size_t len;
	const char *text = parameter(req->target, name, &len);
	long n;

	if (!text || len >= size || twice(req->target, name))
		return false;
	n = http_percent_decode(text, len, out, true);
	*piece = (struct piece){ out, n > 0 ? (size_t)n : 0 };
	return n > 0;
}

static enum s3_error read_expiry(struct sigv4 *out, const struct sigv4_request *req, time_t now, struct s3_fault *fault)
{
	char text[16];
	struct piece piece;
	uint64_t seconds;

	if (!read_parameter(req, "X-Amz-Expires", text, sizeof(text), &piece))
		return query_fault(fault, "Query-string authentication version 4 requires X-Amz-Expires, once.");
	if (http_length_parse(&seconds, piece.text, piece.len))
		return query_fault(fault, "X-Amz-Expires should be a number");
	if (seconds > SIGV4_EXPIRES_MAX)
		return query_fault(fault, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds");
	if (seconds < 1)
		return query_fault(fault, "X-Amz-Expires must be greater than 0");
	out->expires = (uint32_t)seconds;
	if (out->when > now + SIGV4_SKEW_S)
		return s3_fault(fault, S3_ACCESS_DENIED, "Request is not yet valid");
	if (now > out->when + (time_t)seconds)
		return s3_fault(fault, S3_ACCESS_DENIED, "Request has expired");
	return S3_OK;
}

static enum s3_error read_query_payload(struct sigv4 *out, const struct sigv4_request *req, struct s3_fault *fault)
{
	const char *text = header(req, "x-amz-content-sha256");
	size_t len = text ? strlen(text) : 0;

	if (!text)
		text = parameter(req->target, "X-Amz-Content-Sha256", &len);
	return text ? read_payload(out, text, len, fault) : read_payload(out, "UNSIGNED-PAYLOAD", 16, fault);
}

static enum s3_error read_from_query(struct sigv4 *out, const struct sigv4_request *req, time_t now, struct s3_fault *fault)
{
	char credential[SIGV4_ID_MAX + SIGV4_REGION_MAX + 128], names[SIGV4_SIGNED_LEN * 2], signature[80], date[32];
	const char *why = "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \"ID/YYYYMMDD/REGION/s3/aws4_request\".";
	struct piece piece;
	enum s3_error error;

	if (header(req, "Authorization") || twice(req->target, "X-Amz-Algorithm"))
		return s3_fault(fault, S3_INVALID_ARGUMENT,
				"Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature "
				"query string parameter or the Authorization header should be specified");
	if (!read_parameter(req, "X-Amz-Credential", credential, sizeof(credential), &piece) ||
	    !read_credential(out, piece, &why))
		return query_fault(fault, why);
	if (!read_parameter(req, "X-Amz-SignedHeaders", names, sizeof(names), &piece) || !read_signed_headers(out, piece))
		return query_fault(fault, "X-Amz-SignedHeaders must be names in lower case, in order, \"host\" among them, once.");
	if (!read_parameter(req, "X-Amz-Signature", signature, sizeof(signature), &piece) || !read_signature(out, piece))
		return query_fault(fault, "X-Amz-Signature must be 64 hexadecimal digits, once.");
	if (!read_parameter(req, "X-Amz-Date", date, sizeof(date), &piece) || !read_timestamp(out, piece.text, piece.len))
		return query_fault(fault, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\", once.");
	if (memcmp(out->date, out->timestamp, 8) != 0)
		return query_fault(fault, "The X-Amz-Credential's date is not that of X-Amz-Date.");
	error = read_expiry(out, req, now, fault);
	return error ? error : read_query_payload(out, req, fault);
}

/* ---- what must be signed ---- */

bool sigv4_signs(const struct sigv4 *sig, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = sig->signed_headers; *at;) {
		size_t n = (size_t)(strchrnul(at, ';') - at);

		if (n == len && !strncasecmp(at, name, len))
			return true;
		at += n + (at[n] == ';');
	}
	return false;
}

static enum s3_error check_signed(const struct sigv4 *sig, const struct sigv4_request *req, struct s3_fault *fault)
{
	for (size_t i = 0; i < req->nheaders; i++) {
		const char *name = req->headers[i].name;

		if (strncasecmp(name, "x-amz-", 6) || sigv4_signs(sig, name))
			continue;
		/* of a presigned request it says what the signature covers anyhow */
		if (sig->kind == SIGV4_QUERY && !strcasecmp(name, "x-amz-content-sha256"))
			continue;
		return s3_fault(fault, S3_ACCESS_DENIED, "There were headers present in the request which were not signed: %.100s", name);
	}
	return S3_OK;
}

static enum s3_error check_token(const struct sigv4_request *req, struct s3_fault *fault)
{
	size_t len = 0;

	if (!header(req, "x-amz-security-token") && !parameter(req->target, "X-Amz-Security-Token", &len))
		return S3_OK;
	return s3_fault(fault, S3_INVALID_TOKEN,
			"There are no session tokens here; remove aws_session_token and use an access key of `weir user key add`.");
}

enum s3_error sigv4_read(struct sigv4 *out, const struct sigv4_request *req, time_t now, struct s3_fault *fault)
{
	enum s3_error error;

	memset(out, 0, sizeof(*out));
	out->kind = sigv4_kind(req->target, header(req, "Authorization"));
	switch (out->kind) {
	case SIGV4_HEADER:
		if (sigv4_kind(req->target, NULL) != SIGV4_NONE)
			return s3_fault(fault, S3_INVALID_ARGUMENT,
					"Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
					"Signature query string parameter or the Authorization header should be specified");
		error = read_from_header(out, req, now, fault);
		break;
	case SIGV4_QUERY:
		error = read_from_query(out, req, now, fault);
		break;
	case SIGV4_V2:
		return s3_fault(fault, S3_INVALID_REQUEST,
				"The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.");
	case SIGV4_OTHER:
		if (sigv4_kind(req->target, NULL) == SIGV4_OTHER)
			return s3_fault(fault, S3_AUTH_QUERY_PARAMETERS, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"");
		return s3_fault(fault, S3_INVALID_ARGUMENT, "Unsupported authorization algorithm: only AWS4-HMAC-SHA256 is supported.");
	default:
		return S3_OK;
	}
	if (!error)
		error = check_token(req, fault);
	return error ? error : check_signed(out, req, fault);
}
