// SPDX-License-Identifier: Apache-2.0
/*
 * h1_text.c -- composes what HTTP/1.1 sends. Nothing that was received is copied as it stood: lines
 * are made of a checked head, and framing and connection are said here alone.
 */
#include <openssl/evp.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"
#include "user/tunnel/h1_text.h"
#include "user/tunnel/head_impl.h"

const char *h1_reason(unsigned int status)
{
	static const struct {
		unsigned int status;
		const char *reason;
	} reasons[] = {
		{ 200, "OK" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 304, "Not Modified" },
		{ 404, "Not Found" },
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 103, "Early Hints" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 203, "Non-Authoritative Information" },
		{ 205, "Reset Content" },
		{ 207, "Multi-Status" },
		{ 300, "Multiple Choices" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 416, "Range Not Satisfiable" },
		{ 417, "Expectation Failed" },
		{ 421, "Misdirected Request" },
		{ 422, "Unprocessable Content" },
		{ 425, "Too Early" },
		{ 426, "Upgrade Required" },
		{ 428, "Precondition Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}

char *h1_date(int64_t unix_seconds, char out[H1_DATE])
{
	static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)unix_seconds;
	struct tm tm;

	gmtime_r(&t, &tm);
	/* strftime() would ask the locale */
	strftime(out, H1_DATE, "xxx, %d xxx %Y %H:%M:%S GMT", &tm);
	memcpy(out, days[tm.tm_wday], 3);
	memcpy(out + 8, months[tm.tm_mon], 3);
	return out;
}

/* ---- writing --------------------------------------------------------------------------------- */

struct text {
	char *at, *end;
	bool full;
};

static void put(struct text *t, const char *from, size_t len)
{
	if (t->full || len > (size_t)(t->end - t->at)) {
		t->full = true;
		return;
	}
	memcpy(t->at, from, len);
	t->at += len;
}

#define PUT(t, literal) put(t, literal, sizeof(literal) - 1)

static void put_string(struct text *t, const char *string)
{
	put(t, string, strlen(string));
}

static void put_number(struct text *t, uint64_t n)
{
	char digits[20], *at = digits + sizeof(digits);

	do {
		*--at = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put(t, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_field(struct text *t, const char *name, size_t name_len, const char *value,
		      size_t value_len)
{
	put(t, name, name_len);
	PUT(t, ": ");
	put(t, value, value_len);
	PUT(t, "\r\n");
}

/* Said by us alone: framing, the connection, the host and the handshake of an upgrade. */
static bool is_ours(const struct head_field *f)
{
	switch (f->name_len) {
	case 2:
		return !memcmp(f->name, "te", 2);
	case 4:
		return !memcmp(f->name, "host", 4);
	case 7:
		return !memcmp(f->name, "upgrade", 7);
	case 10:
		return !memcmp(f->name, "connection", 10) || !memcmp(f->name, "keep-alive", 10);
	case 14:
		return !memcmp(f->name, "content-length", 14);
	case 16:
		return !memcmp(f->name, "proxy-connection", 16);
	case 17:
		return !memcmp(f->name, "transfer-encoding", 17) ||
		       !memcmp(f->name, "sec-websocket-key", 17);
	case 20:
		return !memcmp(f->name, "sec-websocket-accept", 20);
	}
	return false;
}

/* RFC 9113 section 8.2.3: HTTP/2 may cut the cookies into several fields, HTTP/1 wants one. */
static void put_cookies(struct text *t, const struct head *h)
{
	bool first = true;

	PUT(t, "cookie: ");
	for (size_t i = 0; i < h->n; i++) {
		if (!head_field_is(&h->fields[i], "cookie", 6) || !h->fields[i].value_len)
			continue;
		if (!first)
			PUT(t, "; ");
		first = false;
		put(t, h->fields[i].value, h->fields[i].value_len);
	}
	PUT(t, "\r\n");
}

static void put_fields(struct text *t, const struct head *h)
{
	bool cookies = false;

	for (size_t i = 0; i < h->n; i++) {
		const struct head_field *f = &h->fields[i];

		if (is_ours(f))
			continue;
		if (head_field_is(f, "cookie", 6)) {
			if (!cookies)
				put_cookies(t, h);
			cookies = true;
			continue;
		}
		put_field(t, f->name, f->name_len, f->value, f->value_len);
	}
}

static void put_how(struct text *t, const struct h1_how *how)
{
	if (how->framing == H1_CHUNKED) {
		PUT(t, "transfer-encoding: chunked\r\n");
	} else if (how->length >= 0 && how->framing != H1_RAW && how->framing != H1_CLOSE) {
		PUT(t, "content-length: ");
		put_number(t, (uint64_t)how->length);
		PUT(t, "\r\n");
	}
	if (how->connection) {
		PUT(t, "connection: ");
		put_string(t, how->connection);
		PUT(t, "\r\n");
	}
	if (how->upgrade) {
		PUT(t, "upgrade: ");
		put_string(t, how->upgrade);
		PUT(t, "\r\n");
	}
	PUT(t, "\r\n");
}

static size_t text_length(const struct text *t, const char *out)
{
	return t->full ? 0 : (size_t)(t->at - out);
}

size_t h1_compose_request(char *out, size_t max, const struct head *h, const struct h1_how *how)
{
	struct text t = { out, out + max, false };

	put_string(&t, h->protocol ? "GET" : h->method);
	PUT(&t, " ");
	put_string(&t, h->path ? h->path : h->authority);
	PUT(&t, " HTTP/1.1\r\nhost: ");
	put_string(&t, h->authority);
	PUT(&t, "\r\n");
	put_fields(&t, h);
	if (how->key) {
		PUT(&t, "sec-websocket-key: ");
		put_string(&t, how->key);
		PUT(&t, "\r\n");
		if (!head_find(h, "sec-websocket-version"))
			PUT(&t, "sec-websocket-version: 13\r\n");
	}
	put_how(&t, how);
	return text_length(&t, out);
}

size_t h1_compose_response(char *out, size_t max, const struct head *h, const struct h1_how *how)
{
	unsigned int status = how->upgrade ? 101 : h->status;
	struct text t = { out, out + max, false };

	PUT(&t, "HTTP/1.1 ");
	put_number(&t, status);
	PUT(&t, " ");
	put_string(&t, h1_reason(status));
	PUT(&t, "\r\n");
	put_fields(&t, h);
	if (how->date && !head_find(h, "date"))
		put_field(&t, "date", 4, how->date, strlen(how->date));
	if (how->key)
		put_field(&t, "sec-websocket-accept", 20, how->key, strlen(how->key));
	put_how(&t, how);
	return text_length(&t, out);
}

size_t h1_compose_trailers(char *out, size_t max, const struct head *h)
{
	struct text t = { out, out + max, false };

	PUT(&t, "0\r\n");
	if (h)
		put_fields(&t, h);
	PUT(&t, "\r\n");
	return text_length(&t, out);
}

size_t h1_chunk_line(char out[H1_CHUNK_LINE], size_t len)
{
	char digits[16], *at = digits + sizeof(digits);
	size_t n;

	do {
		*--at = "0123456789abcdef"[len & 15];
		len >>= 4;
	} while (len);
	n = (size_t)(digits + sizeof(digits) - at);
	memcpy(out, at, n);
	memcpy(out + n, "\r\n", 2);
	return n + 2;
}

/* ---- WebSocket (RFC 6455 section 4) ---------------------------------------------------------- */

bool h1_ws_key_valid(const char *key)
{
	uint8_t bytes[18];

	return strlen(key) == H1_WS_KEY - 1 &&
	       base64_decode(key, H1_WS_KEY - 1, bytes, sizeof(bytes)) == 16;
}

void h1_ws_accept(const char *key, char out[H1_WS_ACCEPT])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char text[64 + sizeof(guid)], digest[EVP_MAX_MD_SIZE];
	size_t len = strnlen(key, 64);

	memcpy(text, key, len);
	memcpy(text + len, guid, sizeof(guid) - 1);
	EVP_Digest(text, len + sizeof(guid) - 1, digest, NULL, EVP_sha1(), NULL);
	EVP_EncodeBlock((unsigned char *)out, digest, 20);
}
