/* SPDX-License-Identifier: Apache-2.0 */
/*
 * awschunked.c -- decodes aws-chunked bodies as they come in: a small machine over bytes, that gathers lines
 * (sizes, signatures, trailers) and passes the bytes of chunks through, hashing them when they are signed.
 *
 * What clients and Amazon's own pages differ in is read in every form: the line break of the last chunk and the
 * empty line after trailers may be missing, and a trailer may end with a bare LF.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/s3/awschunked.h"
#include "lib/hash.h"
#include "lib/httpd_text.h"

#define LINE_MAX_LEN 256 /* of a chunk's head: 16 digits, the extension, CR LF */

enum state {
	STATE_SIZE,	/* the line of a chunk's size */
	STATE_DATA,	/* its bytes */
	STATE_DATA_END, /* the line break after them */
	STATE_TRAILERS, /* after the last chunk */
	STATE_FAILED
};

struct trailer {
	char *name, *value; /* into the text of trailers */
};

struct awschunked {
	enum state state;
	enum s3_error error; /* in STATE_FAILED */
	bool is_signed, trailers_wanted;
	uint64_t decoded, seen;
	uint64_t left; /* bytes of this chunk that did not come yet */
	bool small;    /* a chunk below AWSCHUNKED_CHUNK_MIN came: no other may hold bytes */

	char line[LINE_MAX_LEN];
	size_t line_len;

	/* the chain of signatures */
	uint8_t key[32], before[32], given[32];
	char scope_text[128 + SIGV4_REGION_MAX]; /* TIMESTAMP LF SCOPE LF */
	struct sha256 *chunk;

	char *announced; /* x-amz-trailer, in lower case */
	struct trailer trailer[AWSCHUNKED_TRAILERS_MAX];
	int ntrailers;
	char text[AWSCHUNKED_TRAILER_LEN]; /* of trailers: NAME NUL VALUE NUL … and the line that comes in */
	size_t text_len;		   /* of whole trailers */
	size_t text_line;		   /* of the line */
	bool trailer_signed;
};

int awschunked_new(struct awschunked **out, const struct sigv4 *sig, const uint8_t key[32], uint64_t decoded,
		   const char *trailers)
{
	struct awschunked *c;

	if (sig->payload < SIGV4_STREAM)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->is_signed = sig->payload != SIGV4_STREAM_UNSIGNED_TRAILER;
	c->trailers_wanted = sig->payload != SIGV4_STREAM;
	c->decoded = decoded;
	memcpy(c->key, key, 32);
	memcpy(c->before, sig->signature, 32);
	snprintf(c->scope_text, sizeof(c->scope_text), "%s\n%s/%s/s3/aws4_request\n", sig->timestamp, sig->date, sig->region);
	c->announced = strdup(trailers ? trailers : "");
	if (!c->announced) {
		awschunked_free(c);
		return -ENOMEM;
	}
	*out = c;
	return 0;
}

void awschunked_free(struct awschunked *c)
{
	if (!c)
		return;
	sha256_drop(c->chunk);
	free(c->announced);
	OPENSSL_cleanse(c->key, sizeof(c->key));
	free(c);
}

static enum s3_error fail(struct awschunked *c, enum s3_error error)
{
	c->state = STATE_FAILED;
	c->error = error;
	return error;
}

/* ---- signatures ---- */

/* The next link: kind, time, scope, the one before, then `rest` (already hashed, in hex). */
static void sign(struct awschunked *c, const char *kind, const char *rest, uint8_t out[32])
{
	char text[512], hex[65];
	int n = snprintf(text, sizeof(text), "%s\n%s%s\n%s", kind, c->scope_text, hex_encode(c->before, 32, hex), rest);

	hmac_sha256(c->key, 32, text, (size_t)n, out);
}

static bool signature_fits(struct awschunked *c, const char *kind, const char *rest)
{
	uint8_t right[32];

	sign(c, kind, rest, right);
	memcpy(c->before, right, 32);
	return !CRYPTO_memcmp(right, c->given, 32);
}

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* All bytes of the chunk are there. */
static bool chunk_fits(struct awschunked *c)
{
	char rest[65 + 65];
	uint8_t digest[32];

	sha256_end(c->chunk, digest);
	c->chunk = NULL;
	memcpy(rest, EMPTY_SHA256 "\n", 65);
	hex_encode(digest, 32, rest + 65);
	return signature_fits(c, "AWS4-HMAC-SHA256-PAYLOAD", rest);
}

/* ---- chunks ---- */

/* SIZE[;chunk-signature=…], without its line break. */
static enum s3_error read_size(struct awschunked *c)
{
	static const char extension[] = ";chunk-signature=";
	size_t digits = strspn(c->line, "0123456789abcdefABCDEF");
	const char *rest = c->line + digits;
	uint64_t size;

	if (digits == 0 || digits > 12)
		return S3_INCOMPLETE_BODY;
	size = strtoull(c->line, NULL, 16);
	if (c->is_signed && (strncmp(rest, extension, sizeof(extension) - 1) != 0 || strlen(rest) != sizeof(extension) - 1 + 64 ||
			     hex_decode(rest + sizeof(extension) - 1, c->given, 32)))
		return S3_SIGNATURE_MISMATCH;
	if (!c->is_signed && *rest && *rest != ';')
		return S3_INCOMPLETE_BODY;
	if (size > c->decoded - c->seen)
		return S3_INCOMPLETE_BODY;
	if (size && c->small && c->is_signed)
		return S3_INVALID_CHUNK_SIZE;
	c->small |= size < AWSCHUNKED_CHUNK_MIN;
	c->left = size;
	if (c->is_signed) {
		c->chunk = sha256_new();
		if (!c->chunk)
			return S3_SERVICE_UNAVAILABLE;
	}
	c->state = size ? STATE_DATA : STATE_TRAILERS;
	if (!size && c->is_signed && !chunk_fits(c))
		return S3_SIGNATURE_MISMATCH;
	return S3_OK;
}

/* Gathers a line of at most max - 1 bytes; true when it is whole, then without its line break. */
static bool take_line(char *line, size_t *line_len, size_t max, const char *in, size_t len, size_t *used, bool *too_long)
{
	const char *end = memchr(in, '\n', len);
	size_t n = end ? (size_t)(end + 1 - in) : len;

	*too_long = n >= max - *line_len || memchr(in, '\0', n);
	if (*too_long)
		return false;
	memcpy(line + *line_len, in, n);
	*line_len += n;
	*used += n;
	if (!end)
		return false;
	(*line_len)--;
	if (*line_len && line[*line_len - 1] == '\r')
		(*line_len)--;
	line[*line_len] = '\0';
	return true;
}

static enum s3_error step_size(struct awschunked *c, const char *in, size_t len, size_t *used)
{
	bool too_long;

	if (!take_line(c->line, &c->line_len, sizeof(c->line), in, len, used, &too_long))
		return too_long ? S3_INCOMPLETE_BODY : S3_OK;
	c->line_len = 0;
	return read_size(c);
}

static void step_data(struct awschunked *c, const char *in, size_t len, size_t *used, const char **data, size_t *n)
{
	*n = len < c->left ? len : (size_t)c->left;
	*data = in;
	*used += *n;
	if (c->is_signed)
		sha256_add(c->chunk, in, *n);
	c->left -= *n;
	c->seen += *n;
	if (c->left == 0)
		c->state = STATE_DATA_END;
}

/* CR LF, and the signature's turn. */
static enum s3_error step_data_end(struct awschunked *c, const char *in, size_t len, size_t *used)
{
	bool too_long;

	if (!take_line(c->line, &c->line_len, 3, in, len, used, &too_long))
		return too_long ? S3_INCOMPLETE_BODY : S3_OK;
	if (c->line_len)
		return S3_INCOMPLETE_BODY;
	if (c->is_signed && !chunk_fits(c))
		return S3_SIGNATURE_MISMATCH;
	c->state = STATE_SIZE;
	return S3_OK;
}

/* ---- trailers ---- */

static bool is_announced(const struct awschunked *c, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = c->announced; *at;) {
		size_t n;

		at += strspn(at, ", \t");
		n = strcspn(at, ", \t");
		if (n == len && !strncasecmp(at, name, len))
			return true;
		at += n;
	}
	return false;
}

/* What the trailers' signature is over: NAME:VALUE LF of each, in the order in which they came. */
static bool trailers_fit(struct awschunked *c)
{
	struct sha256 *h = sha256_new();
	uint8_t digest[32];
	char hex[65];

	if (!h)
		return false;
	for (int i = 0; i < c->ntrailers; i++) {
		sha256_add(h, c->trailer[i].name, strlen(c->trailer[i].name));
		sha256_add(h, ":", 1);
		sha256_add(h, c->trailer[i].value, strlen(c->trailer[i].value));
		sha256_add(h, "\n", 1);
	}
	sha256_end(h, digest);
	return signature_fits(c, "AWS4-HMAC-SHA256-TRAILER", hex_encode(digest, 32, hex));
}

static enum s3_error take_trailer_signature(struct awschunked *c, const char *value)
{
	if (!c->is_signed || c->trailer_signed || strlen(value) != 64 || hex_decode(value, c->given, 32))
		return S3_MALFORMED_TRAILER;
	if (!trailers_fit(c))
		return S3_SIGNATURE_MISMATCH;
	c->trailer_signed = true;
	return S3_OK;
}

/* The line at c->text + c->text_len, c->text_line long and terminated. */
static enum s3_error read_trailer(struct awschunked *c)
{
	char *name = c->text + c->text_len, *colon = strchr(name, ':'), *value, *end;

	if (c->text_line == 0)
		return S3_OK;
	if (!colon || !http_is_token(name, (size_t)(colon - name)) || !c->trailers_wanted || c->trailer_signed)
		return S3_MALFORMED_TRAILER;
	*colon = '\0';
	value = colon + 1 + strspn(colon + 1, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	if (!http_is_field_value(value, (size_t)(end - value)))
		return S3_MALFORMED_TRAILER;
	for (char *at = name; *at; at++)
		*at = (char)(*at >= 'A' && *at <= 'Z' ? *at | 0x20 : *at);
	if (!strcmp(name, "x-amz-trailer-signature"))
		return take_trailer_signature(c, value);
	if (!is_announced(c, name) || c->ntrailers == AWSCHUNKED_TRAILERS_MAX)
		return S3_MALFORMED_TRAILER;
	for (int i = 0; i < c->ntrailers; i++)
		if (!strcmp(c->trailer[i].name, name))
			return S3_MALFORMED_TRAILER;
	c->trailer[c->ntrailers++] = (struct trailer){ name, value };
	c->text_len += c->text_line + 1;
	return S3_OK;
}

static enum s3_error step_trailers(struct awschunked *c, const char *in, size_t len, size_t *used)
{
	bool too_long;
	enum s3_error error;

	if (!take_line(c->text + c->text_len, &c->text_line, sizeof(c->text) - c->text_len, in, len, used, &too_long))
		return too_long ? S3_MALFORMED_TRAILER : S3_OK;
	error = read_trailer(c);
	c->text_line = 0;
	return error;
}

/* ---- the machine ---- */

enum s3_error awschunked_next(struct awschunked *c, const char *in, size_t len, size_t *used, const char **data, size_t *n)
{
	enum s3_error error = S3_OK;

	*used = 0;
	*n = 0;
	while (*used < len && *n == 0 && !error) {
		const char *at = in + *used;
		size_t left = len - *used;

		switch (c->state) {
		case STATE_SIZE:
			error = step_size(c, at, left, used);
			break;
		case STATE_DATA:
			step_data(c, at, left, used, data, n);
			break;
		case STATE_DATA_END:
			error = step_data_end(c, at, left, used);
			break;
		case STATE_TRAILERS:
			error = step_trailers(c, at, left, used);
			break;
		default:
			return c->error;
		}
	}
	return error ? fail(c, error) : S3_OK;
}

/* Every name that was announced came. */
static bool all_came(const struct awschunked *c)
{
	for (const char *at = c->announced; *at;) {
		size_t n;
		bool came = false;

		at += strspn(at, ", \t");
		n = strcspn(at, ", \t");
		for (int i = 0; i < c->ntrailers && n; i++)
			came |= strlen(c->trailer[i].name) == n && !strncasecmp(c->trailer[i].name, at, n);
		if (n && !came)
			return false;
		at += n;
	}
	return true;
}

enum s3_error awschunked_end(struct awschunked *c)
{
	if (c->state == STATE_FAILED)
		return c->error;
	if (c->state != STATE_TRAILERS || c->seen != c->decoded)
		return fail(c, S3_INCOMPLETE_BODY);
	if (c->text_line) { /* a last line without its break */
		enum s3_error error;

		c->text[c->text_len + c->text_line] = '\0';
		error = read_trailer(c);
		c->text_line = 0;
		if (error)
			return fail(c, error);
	}
	if (!c->trailers_wanted)
		return S3_OK;
	if (!all_came(c))
		return fail(c, S3_MALFORMED_TRAILER);
	if (c->is_signed && !c->trailer_signed)
		return fail(c, S3_SIGNATURE_MISMATCH);
	return S3_OK;
}

const char *awschunked_trailer(const struct awschunked *c, const char *name)
{
	for (int i = 0; i < c->ntrailers; i++)
		if (!strcasecmp(c->trailer[i].name, name))
			return c->trailer[i].value;
	return NULL;
}

/* ---- for clients ---- */

static size_t put_chunk(struct awschunked *c, FILE *out, const void *data, size_t len)
{
	char rest[65 + 65], hex[65];
	uint8_t digest[32];

	if (!c->is_signed)
		return (size_t)fprintf(out, "%zx\r\n", len);
	sha256_once(data, len, digest);
	memcpy(rest, EMPTY_SHA256 "\n", 65);
	hex_encode(digest, 32, rest + 65);
	sign(c, "AWS4-HMAC-SHA256-PAYLOAD", rest, c->before);
	return (size_t)fprintf(out, "%zx;chunk-signature=%s\r\n", len, hex_encode(c->before, 32, hex));
}

static void put_trailers(struct awschunked *c, FILE *out, const struct http_pair *trailers)
{
	struct sha256 *h = sha256_new();
	uint8_t digest[32];
	char hex[65];

	for (; h && trailers && trailers->name; trailers++) {
		fprintf(out, "%s:%s\r\n", trailers->name, trailers->value);
		sha256_add(h, trailers->name, strlen(trailers->name));
		sha256_add(h, ":", 1);
		sha256_add(h, trailers->value, strlen(trailers->value));
		sha256_add(h, "\n", 1);
	}
	if (!h)
		return;
	sha256_end(h, digest);
	if (!c->is_signed)
		return;
	sign(c, "AWS4-HMAC-SHA256-TRAILER", hex_encode(digest, 32, hex), c->before);
	fprintf(out, "x-amz-trailer-signature:%s\r\n", hex_encode(c->before, 32, hex));
}

char *awschunked_encode(const struct sigv4 *sig, const uint8_t key[32], const void *data, size_t len, size_t chunk_len,
			const struct http_pair *trailers, size_t *out_len)
{
	struct awschunked *c;
	char *text = NULL;
	FILE *out;

	if (awschunked_new(&c, sig, key, len, NULL))
		return NULL;
	out = open_memstream(&text, out_len);
	for (size_t at = 0; out && at < len; at += chunk_len) {
		size_t n = len - at < chunk_len ? len - at : chunk_len;

		put_chunk(c, out, (const char *)data + at, n);
		fwrite((const char *)data + at, 1, n, out);
		fputs("\r\n", out);
	}
	if (out) {
		put_chunk(c, out, "", 0);
		if (c->trailers_wanted)
			put_trailers(c, out, trailers);
		fputs("\r\n", out);
		fclose(out);
	}
	awschunked_free(c);
	return text;
}
