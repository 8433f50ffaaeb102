/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigv4_canonical.c -- the text that a signature is over, and the signature: the canonical request, the string
 * to sign, the key, the check; and the same for clients.
 *
 * A canonical request is at most three times as long as what it was made of, so its room is known beforehand:
 * usual ones are written on the stack.
 */
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/s3/sigv4.h"
#include "lib/hash.h"
#include "lib/httpd_text.h"

#define ROOM_USUAL 8192
#define SIGN_MAX   (17 + 17 + SIGV4_REGION_MAX + 40 + 65) /* the string to sign */

static const bool is_unreserved[256] = {
	['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true,
	['-'] = true, ['.'] = true, ['_'] = true, ['~'] = true,
};

/* ---- encoding ---- */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of encoded text, and how many characters it took. A broken escape stands for itself. */
static unsigned char next_byte(const char *text, const char *end, bool plus, size_t *took)
{
	*took = 1;
	if (*text == '%' && end - text >= 3 && hex_value(text[1]) >= 0 && hex_value(text[2]) >= 0) {
		*took = 3;
		return (unsigned char)(hex_value(text[1]) << 4 | hex_value(text[2]));
	}
	return plus && *text == '+' ? ' ' : (unsigned char)*text;
}

/* Decodes and encodes again, every byte in the one way in which it is signed. */
static char *put_encoded(char *out, const char *text, size_t len, bool query)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *end = text + len;
	size_t took;

	for (; text < end; text += took) {
		unsigned char c = next_byte(text, end, query, &took);

		if (is_unreserved[c] || (c == '/' && !query)) {
			*out++ = (char)c;
			continue;
		}
		*out++ = '%';
		*out++ = digits[c >> 4];
		*out++ = digits[c & 15];
	}
	return out;
}

static char *put(char *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	return out + len;
}

/* ---- the query ---- */

struct param {
	const char *text; /* NAME=VALUE, encoded */
	size_t name_len, len;
};

static int param_order(const struct param *a, const struct param *b)
{
	size_t both = a->name_len < b->name_len ? a->name_len : b->name_len;
	int order = memcmp(a->text, b->text, both);

	if (!order && a->name_len != b->name_len)
		return a->name_len < b->name_len ? -1 : 1;
	if (order)
		return order;
	both = a->len < b->len ? a->len : b->len;
	order = memcmp(a->text, b->text, both);
	return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* Encodes the parameters into room and puts them in order (clients send them sorted, or nearly). The count, or
 * -1 when there are more than max. */
static int read_params(const char *query, char *room, struct param *params, int max)
{
	int n = 0;

	while (query && *query) {
		size_t len = strcspn(query, "&"), name_len = strcspn(query, "=&");
		struct param p = { .text = room };
		int at = n;

		room = put_encoded(room, query, name_len, true);
		p.name_len = (size_t)(room - p.text);
		*room++ = '=';
		if (name_len < len)
			room = put_encoded(room, query + name_len + 1, len - name_len - 1, true);
		p.len = (size_t)(room - p.text);
		query += len + (query[len] == '&');
		if (len == 0 || (p.name_len == 15 && !memcmp(p.text, "X-Amz-Signature", 15))) {
			room = (char *)p.text;
			continue;
		}
		if (n++ == max)
			return -1;
		for (; at > 0 && param_order(&p, &params[at - 1]) < 0; at--)
			params[at] = params[at - 1];
		params[at] = p;
	}
	return n;
}

/* ---- headers ---- */

/* The value with blanks around it gone and runs of blanks inside as one space. */
static char *put_value(char *out, const char *value)
{
	size_t whole = strlen(value);
	bool first = true;

	if (!memchr(value, ' ', whole) && !memchr(value, '\t', whole))
		return put(out, value, whole);
	for (;;) {
		size_t len;

		value += strspn(value, " \t");
		len = strcspn(value, " \t");
		if (len == 0)
			return out;
		if (!first)
			*out++ = ' ';
		first = false;
		out = put(out, value, len);
		value += len;
	}
}

/* NAME:VALUE LF, values of repeated lines joined by commas. */
static char *put_header(char *out, const struct sigv4_request *req, const char *name, size_t len)
{
	bool first = true, is_host = req->host && len == 4 && !memcmp(name, "host", 4);

	out = put(out, name, len);
	*out++ = ':';
	if (is_host)
		out = put_value(out, req->host);
	for (size_t i = 0; i < req->nheaders && !is_host; i++) {
		const struct http_pair *h = &req->headers[i];

		if (strncasecmp(h->name, name, len) != 0 || h->name[len])
			continue;
		if (!first)
			*out++ = ',';
		first = false;
		out = put_value(out, h->value);
	}
	*out++ = '\n';
	return out;
}

static char *put_headers(char *out, const struct sigv4_request *req, const char *names)
{
	while (*names) {
		size_t len = (size_t)(strchrnul(names, ';') - names);

		out = put_header(out, req, names, len);
		names += len + (names[len] == ';');
	}
	return out;
}

/* ---- the whole ---- */

static size_t room_for(const struct sigv4_request *req, const char *names, size_t payload_len)
{
	size_t names_len = strlen(names);
	size_t room = strlen(req->method) + 2 * 3 * strlen(req->target) + 2 * SIGV4_PARAMS_MAX + 64;

	room += 3 * names_len + payload_len;
	for (size_t i = 0; i < req->nheaders; i++)
		room += strlen(req->headers[i].value) + 1;
	return room + (req->host ? strlen(req->host) : 0);
}

/* Writes the canonical request; NULL when the query has too many parameters. The end, unterminated. */
static char *write_canonical(const struct sigv4_request *req, const char *names, const char *payload, size_t payload_len,
			     char *room, size_t size)
{
	struct param params[SIGV4_PARAMS_MAX];
	size_t path_len = (size_t)(strchrnul(req->target, '?') - req->target);
	const char *query = req->target[path_len] ? req->target + path_len + 1 : NULL;
	char *scratch = room + size - 3 * strlen(query ? query : "") - SIGV4_PARAMS_MAX - 1;
	int n = read_params(query, scratch, params, SIGV4_PARAMS_MAX);
	char *out = room;

	if (n < 0)
		return NULL;
	out = put(out, req->method, strlen(req->method));
	*out++ = '\n';
	out = put_encoded(out, req->target, path_len, false);
	*out++ = '\n';
	for (int i = 0; i < n; i++) {
		if (i)
			*out++ = '&';
		out = put(out, params[i].text, params[i].len);
	}
	*out++ = '\n';
	out = put_headers(out, req, names);
	*out++ = '\n';
	out = put(out, names, strlen(names));
	*out++ = '\n';
	return put(out, payload, payload_len);
}

char *sigv4_canonical(const struct sigv4_request *req, const char *signed_headers, const char *payload)
{
	size_t size = room_for(req, signed_headers, strlen(payload));
	char *room = malloc(size), *end;

	end = room ? write_canonical(req, signed_headers, payload, strlen(payload), room, size) : NULL;
	if (!end) {
		free(room);
		return NULL;
	}
	*end = '\0';
	return room;
}

/* The canonical request's digest. False without memory or with too many parameters. */
static bool digest_canonical(const struct sigv4_request *req, const char *names, const char *payload, size_t payload_len,
			     uint8_t digest[32])
{
	size_t size = room_for(req, names, payload_len);
	char usual[ROOM_USUAL], *room = size <= sizeof(usual) ? usual : malloc(size);
	char *end = room ? write_canonical(req, names, payload, payload_len, room, size) : NULL;

	if (end)
		sha256_once(room, (size_t)(end - room), digest);
	if (room != usual)
		free(room);
	return end != NULL;
}

char *sigv4_string_to_sign(const char *timestamp, const char *scope, const char *canonical)
{
	uint8_t digest[32];
	char hex[65], *text;

	sha256_once(canonical, strlen(canonical), digest);
	if (asprintf(&text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", timestamp, scope, hex_encode(digest, 32, hex)) < 0)
		return NULL;
	return text;
}

static void sign(const uint8_t digest[32], const char *timestamp, const char *date, const char *region,
		 const uint8_t key[32], uint8_t out[32])
{
	char text[SIGN_MAX], hex[65];
	int len = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%s/%s/s3/aws4_request\n%s", timestamp, date, region,
			   hex_encode(digest, 32, hex));

	hmac_sha256(key, 32, text, (size_t)len, out);
}

enum s3_error sigv4_check(const struct sigv4 *sig, const struct sigv4_request *req, const uint8_t key[32])
{
	uint8_t digest[32], right[32];

	if (!digest_canonical(req, sig->signed_headers, sig->payload_text, sig->payload_len, digest))
		return S3_SIGNATURE_MISMATCH;
	sign(digest, sig->timestamp, sig->date, sig->region, key, right);
	return CRYPTO_memcmp(right, sig->signature, sizeof(right)) ? S3_SIGNATURE_MISMATCH : S3_OK;
}

void sigv4_key(const char *secret, const char *date, const char *region, const char *service, uint8_t out[32])
{
	size_t len = strlen(secret);
	char first[4 + 256];

	if (len > sizeof(first) - 4)
		len = sizeof(first) - 4;
	memcpy(first, "AWS4", 4);
	memcpy(first + 4, secret, len);
	hmac_sha256(first, len + 4, date, strlen(date), out);
	hmac_sha256(out, 32, region, strlen(region), out);
	hmac_sha256(out, 32, service, strlen(service), out);
	hmac_sha256(out, 32, "aws4_request", 12, out);
	OPENSSL_cleanse(first, sizeof(first));
}

/* ---- for clients ---- */

static int name_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of all of req's headers and of Host, in lower case, in order, each once: "host;x-amz-date". */
static bool names_of(const struct sigv4_request *req, char *out, size_t size)
{
	char *names[HTTP_HEADERS_MAX + 1], copies[SIGV4_SIGNED_LEN], *at = copies;
	size_t n = 0, len = 0;

	if (req->nheaders > HTTP_HEADERS_MAX)
		return false;
	for (size_t i = 0; i <= req->nheaders; i++) {
		const char *name = i < req->nheaders ? req->headers[i].name : "host";
		size_t name_len = strlen(name);

		if (i == req->nheaders && !req->host)
			break;
		if (!http_is_token(name, name_len) || name_len >= sizeof(copies) - (size_t)(at - copies))
			return false;
		names[n++] = at;
		for (size_t j = 0; j <= name_len; j++)
			*at++ = (char)(name[j] >= 'A' && name[j] <= 'Z' ? name[j] | 0x20 : name[j]);
	}
	qsort(names, n, sizeof(*names), name_order);
	for (size_t i = 0; i < n; i++)
		if (!i || strcmp(names[i], names[i - 1]) != 0)
			len += (size_t)snprintf(out + len, len < size ? size - len : 0, "%s%s", i ? ";" : "", names[i]);
	return len < size;
}

static const char *value_of(const struct sigv4_request *req, const char *name)
{
	for (size_t i = 0; i < req->nheaders; i++)
		if (!strcasecmp(req->headers[i].name, name))
			return req->headers[i].value;
	return NULL;
}

char *sigv4_authorize(const struct sigv4_request *req, const char *id, const uint8_t key[32], const char *region)
{
	const char *when = value_of(req, "x-amz-date"), *payload = value_of(req, "x-amz-content-sha256");
	char names[SIGV4_SIGNED_LEN + 1], date[9], hex[65], *text;
	uint8_t digest[32], signature[32];

	if (!when || strlen(when) != 16 || !payload || !names_of(req, names, sizeof(names)) ||
	    !digest_canonical(req, names, payload, strlen(payload), digest))
		return NULL;
	snprintf(date, sizeof(date), "%.8s", when);
	sign(digest, when, date, region, key, signature);
	if (asprintf(&text, "AWS4-HMAC-SHA256 Credential=%s/%s/%s/s3/aws4_request, SignedHeaders=%s, Signature=%s", id,
		     date, region, names, hex_encode(signature, 32, hex)) < 0)
		return NULL;
	return text;
}

char *sigv4_presign(const char *method, const char *target, const char *host, const char *id, const char *secret,
		    const char *region, time_t when, uint32_t expires)
{
	struct sigv4_request req = { .method = method, .host = host };
	char stamp[17], date[9], hex[65], *unsigned_target = NULL, *text = NULL;
	uint8_t key[32], digest[32], signature[32];
	struct tm tm;

	gmtime_r(&when, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	strftime(date, sizeof(date), "%Y%m%d", &tm);
	if (asprintf(&unsigned_target,
		     "%s%cX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%s%%2F%s%%2F%s%%2Fs3%%2Faws4_request"
		     "&X-Amz-Date=%s&X-Amz-Expires=%u&X-Amz-SignedHeaders=host",
		     target, strchr(target, '?') ? '&' : '?', id, date, region, stamp, expires) < 0)
		return NULL;
	req.target = unsigned_target;
	if (digest_canonical(&req, "host", "UNSIGNED-PAYLOAD", 16, digest)) {
		sigv4_key(secret, date, region, "s3", key);
		sign(digest, stamp, date, region, key, signature);
		if (asprintf(&text, "%s&X-Amz-Signature=%s", unsigned_target, hex_encode(signature, 32, hex)) < 0)
			text = NULL;
	}
	free(unsigned_target);
	return text;
}
