// SPDX-License-Identifier: Apache-2.0
/*
 * h1_read.c -- see h1_read.h. A head is given to llhttp whole, so that no name or value is ever
 * cut; bodies go through it in the memory where they were read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "user/tunnel/h1_read.h"
#include "user/tunnel/head_impl.h"

#define SPARES 64

static struct h1_read *spares; /* the main thread's */
static size_t spares_count;

static int refuse(struct h1_read *r, unsigned int status, const char *why)
{
	if (!r->why) {
		r->status = status;
		r->why = why;
	}
	return -1;
}

/* ---- what llhttp tells ----------------------------------------------------------------------- */

static int add_field(struct h1_read *r)
{
	int rc;

	if (!r->name)
		return 0;
	rc = head_add(r->head, r->name, r->name_len, r->value ? r->value : "", r->value_len);
	r->name = r->value = NULL;
	r->name_len = r->value_len = 0;
	if (rc == -E2BIG)
		return refuse(r, 431, "too many fields");
	if (rc == -ENOMEM)
		return refuse(r, 503, "no memory");
	return rc ? refuse(r, 400, "a field is malformed") : 0;
}

static int on_url(llhttp_t *p, const char *at, size_t len)
{
	struct h1_read *r = p->data;

	if (r->url && r->url + r->url_len != at)
		return -1;
	r->url = r->url ? r->url : at;
	r->url_len += len;
	return 0;
}

static int on_field(llhttp_t *p, const char *at, size_t len)
{
	struct h1_read *r = p->data;

	if (r->name && !r->value && r->name + r->name_len == at) {
		r->name_len += len;
		return 0;
	}
	if (add_field(r))
		return -1;
	r->name = at;
	r->name_len = len;
	return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t len)
{
	struct h1_read *r = p->data;

	if (!r->name || (r->value && r->value + r->value_len != at))
		return -1;
	r->value = r->value ? r->value : at;
	r->value_len += len;
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
	struct h1_read *r = p->data;

	if (r->data && r->data + r->len != (const uint8_t *)at)
		return -1;
	r->data = r->data ? r->data : (const uint8_t *)at;
	r->len += len;
	return 0;
}

static int on_complete(llhttp_t *p)
{
	struct h1_read *r = p->data;

	r->ended = true;
	return r->name ? add_field(r) : 0; /* of trailers */
}

/* ---- the head as a whole --------------------------------------------------------------------- */

static bool is_connect(const struct h1_read *r)
{
	return r->head->method && !strcmp(r->head->method, "CONNECT");
}

/* http://authority/path: RFC 9112 section 3.2.2. */
static int absolute_form(struct h1_read *r)
{
	size_t scheme_len = strlen(r->scheme), len;
	const char *at = r->url + scheme_len + 3, *end = r->url + r->url_len, *path;
	char empty[] = "/";

	if (r->url_len < scheme_len + 4 || strncasecmp(r->url, r->scheme, scheme_len) != 0 ||
	    memcmp(r->url + scheme_len, "://", 3) != 0)
		return refuse(r, 400, "the target is neither a path nor a URL of this scheme");
	for (path = at; path < end && *path != '/' && *path != '?' && *path != '#';)
		path++;
	len = (size_t)(end - path);
	if (head_add(r->head, ":authority", 10, at, (size_t)(path - at)))
		return refuse(r, 400, "no authority in the target");
	if (!len && !strcmp(r->head->method, "OPTIONS"))
		empty[0] = '*';
	if (!len)
		return head_add(r->head, ":path", 5, empty, 1);
	if (*path == '/')
		return head_add(r->head, ":path", 5, path, len);
	return refuse(r, 400, "the target's path does not begin with a slash");
}

static int add_target(struct h1_read *r, const char *method, size_t method_len)
{
	struct head *h = r->head;
	int rc = head_add(h, ":method", 7, method, method_len);

	if (rc)
		return refuse(r, rc == -E2BIG ? 431 : 400, "the method is malformed");
	if (is_connect(r)) {
		r->connect = true;
		rc = head_add(h, ":authority", 10, r->url, r->url_len);
		return rc ? refuse(r, 400, "the target is malformed") : 0;
	}
	rc = head_add(h, ":scheme", 7, r->scheme, strlen(r->scheme));
	if (!rc && r->url_len && (r->url[0] == '/' || (r->url_len == 1 && r->url[0] == '*')))
		rc = head_add(h, ":path", 5, r->url, r->url_len);
	else if (!rc)
		return absolute_form(r);
	return rc ? refuse(r, rc == -E2BIG ? 431 : 400, "the target is malformed") : 0;
}

/* METHOD SP target SP HTTP/1.x, and nothing else: before llhttp, which knows other protocols too.
 */
static int read_request_line(struct h1_read *r, const char *line, size_t len)
{
	const char *method_end = memchr(line, ' ', len), *version = line + (len < 12 ? 0 : len - 8);

	if (len < 12 || !method_end || memcmp(version, "HTTP/", 5) != 0 || version[-1] != ' ' ||
	    version[6] != '.' || !strchr("0123456789", version[5]) ||
	    !strchr("0123456789", version[7]))
		return refuse(r, 400, "the first line is no request");
	if (version[5] != '1' || version[7] > '1')
		return refuse(r, 505, "neither HTTP/1.1 nor HTTP/1.0");
	if (!head_is_token(line, (size_t)(method_end - line)) || method_end + 1 >= version - 1 ||
	    memchr(method_end + 1, ' ', (size_t)(version - 1 - (method_end + 1))))
		return refuse(r, 400, "the first line is no request");
	r->http10 = version[7] == '0';
	r->url = method_end + 1;
	r->url_len = (size_t)(version - 1 - r->url);
	return add_target(r, line, (size_t)(method_end - line));
}

static int read_status_line(struct h1_read *r, const char *line, size_t len)
{
	int64_t status = len >= 12 ? head_number(line + 9, 3) : -1;

	if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '1' && line[7] != '0') ||
	    line[8] != ' ' || (len > 12 && line[12] != ' ') || status < 100 ||
	    head_set_status(r->head, (unsigned int)status))
		return refuse(r, 502, "the first line is no response");
	r->http10 = line[7] == '0';
	return 0;
}

/* What follows the head: RFC 9112 section 6.3. */
static int find_framing(struct h1_read *r)
{
	const struct head_field *te = head_find(r->head, "transfer-encoding");

	if (te) {
		if (head_count(r->head, "content-length"))
			return refuse(r, 400, "Content-Length beside Transfer-Encoding");
		if (r->http10)
			return refuse(r, 400, "Transfer-Encoding in HTTP/1.0");
		if (head_count(r->head, "transfer-encoding") > 1)
			return refuse(r, 400, "more than one Transfer-Encoding");
		if (te->value_len != 7 || strncasecmp(te->value, "chunked", 7) != 0)
			return refuse(r, head_is_token(te->value, te->value_len) ? 501 : 400,
				      "a transfer coding that is not known");
	}
	if (r->response && (r->bodyless || r->head->status < 200 || r->head->status == 204 ||
			    r->head->status == 304))
		r->framing = H1_NONE;
	else if (te)
		r->framing = H1_CHUNKED;
	else if (head_find(r->head, "content-length"))
		r->framing = H1_LENGTH;
	else
		r->framing = r->response ? H1_CLOSE : H1_NONE;
	return 0;
}

/* RFC 6455 section 4.2.1. Other upgrades are ignored, as a server may. */
static int find_websocket(struct h1_read *r)
{
	struct head *h = r->head;
	const char *key = head_get(h, "sec-websocket-key");
	const char *version = head_get(h, "sec-websocket-version");

	if (r->http10 || !head_has_token(h, "upgrade", "websocket") ||
	    !head_has_token(h, "connection", "upgrade") || strcmp(h->method, "GET") != 0)
		return 0;
	if (!version || strcmp(version, "13") != 0 || head_count(h, "sec-websocket-version") > 1)
		return refuse(r, 426, "only version 13 of WebSocket");
	if (!key || head_count(h, "sec-websocket-key") > 1 || !h1_ws_key_valid(key))
		return refuse(r, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
	if (r->framing != H1_NONE && !(r->framing == H1_LENGTH && !h->content_length))
		return refuse(r, 400, "a WebSocket handshake with a body");
	memcpy(r->key, key, H1_WS_KEY);
	if (head_set(h, ":method", "CONNECT") || head_set(h, ":protocol", "websocket"))
		return refuse(r, 503, "no memory");
	head_remove(h, "sec-websocket-key");
	head_remove(h, "content-length");
	r->websocket = true;
	return 0;
}

static int find_expectation(struct h1_read *r)
{
	const char *expect = head_get(r->head, "expect");

	if (!expect)
		return 0;
	if (strcasecmp(expect, "100-continue") != 0 || head_count(r->head, "expect") > 1)
		return refuse(r, 417, "an expectation that is not known");
	r->expects = !r->http10 && r->framing != H1_NONE;
	if (!r->expects) /* RFC 9110 section 10.1.1; else who has the body's use answers */
		head_remove(r->head, "expect");
	return 0;
}

static int check_request(struct h1_read *r)
{
	const char *why = NULL;

	if (head_count(r->head, "host") != 1) /* RFC 9112 section 3.2 */
		return refuse(r, 400,
			      head_find(r->head, "host") ? "more than one Host" : "no Host");
	if (find_framing(r) || find_websocket(r) || find_expectation(r))
		return -1;
	if (r->connect && (r->framing == H1_CHUNKED || r->head->content_length > 0))
		return refuse(r, 400, "CONNECT with a body");
	return head_check_request(r->head, &why) ? refuse(r, 400, why) : 0;
}

static int check_response(struct h1_read *r)
{
	const char *why = NULL, *accept = head_get(r->head, "sec-websocket-accept");

	if (find_framing(r))
		return -1;
	if (r->head->status == 101) {
		r->websocket = head_has_token(r->head, "upgrade", "websocket") &&
			       head_has_token(r->head, "connection", "upgrade") && accept &&
			       head_count(r->head, "sec-websocket-accept") == 1 &&
			       strlen(accept) == H1_WS_ACCEPT - 1;
		if (r->websocket)
			memcpy(r->key, accept, H1_WS_ACCEPT);
		head_remove(r->head, "sec-websocket-accept");
	}
	return head_check_response(r->head, r->method, &why) ? refuse(r, 502, why) : 0;
}

static int on_headers(llhttp_t *p)
{
	struct h1_read *r = p->data;

	if (add_field(r))
		return -1;
	r->keep_alive = r->http10 ? head_has_token(r->head, "connection", "keep-alive")
				  : !head_has_token(r->head, "connection", "close");
	if (r->response ? check_response(r) : check_request(r))
		return -1;
	p->upgrade = 0; /* what follows an upgrade does not come here */
	if (!r->response)
		return r->connect ? 1 : 0;
	return r->framing == H1_NONE ? 1 : 0;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

/* ---- life ------------------------------------------------------------------------------------ */

static void begin(struct h1_read *r, size_t header_bytes_max)
{
	llhttp_init(&r->parser, r->response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
	r->parser.data = r;
	h1_shape_begin(&r->shape, r->response, header_bytes_max);
	head_clear(r->head);
	r->last = r->ended = r->http10 = r->keep_alive = r->websocket = r->expects = r->connect =
		false;
	r->why = r->name = r->value = r->url = NULL;
	r->name_len = r->value_len = r->url_len = r->kept_len = 0;
	r->data = NULL;
	r->len = 0;
	r->status = 0;
}

static struct h1_read *get(void)
{
	struct h1_read *r = spares;

	if (r) {
		spares = r->next_spare;
		spares_count--;
		return r;
	}
	r = calloc(1, sizeof(*r));
	if (r && !(r->head = head_new())) {
		free(r);
		r = NULL;
	}
	return r;
}

struct h1_read *h1_read_request(const char *scheme, size_t header_bytes_max)
{
	struct h1_read *r = get();

	if (!r)
		return NULL;
	r->response = r->bodyless = false;
	r->scheme = scheme;
	begin(r, header_bytes_max);
	return r;
}

struct h1_read *h1_read_response(const char *method, size_t header_bytes_max)
{
	struct h1_read *r = get();

	if (!r)
		return NULL;
	r->response = true;
	r->bodyless = !strcmp(method, "HEAD");
	head_keep_method(r->method, sizeof(r->method), method);
	begin(r, header_bytes_max);
	return r;
}

void h1_read_again(struct h1_read *r, size_t header_bytes_max)
{
	begin(r, header_bytes_max);
}

void h1_read_free(struct h1_read *r)
{
	if (!r)
		return;
	free(r->kept);
	r->kept = NULL;
	r->kept_len = r->kept_size = 0;
	/* what an unusual head made large is given back */
	if (spares_count < SPARES && r->head->text_size <= 4096 && r->head->fields_size <= 64) {
		r->next_spare = spares;
		spares = r;
		spares_count++;
		return;
	}
	head_free(r->head);
	free(r);
}

/* ---- taking ---------------------------------------------------------------------------------- */

static int keep(struct h1_read *r, const uint8_t *data, size_t len)
{
	size_t size = r->kept_size ? r->kept_size : 512;
	char *kept;

	while (size < r->kept_len + len)
		size *= 2;
	if (size != r->kept_size) {
		kept = realloc(r->kept, size);
		if (!kept)
			return refuse(r, 503, "no memory");
		r->kept = kept;
		r->kept_size = size;
	}
	memcpy(r->kept + r->kept_len, data, len);
	r->kept_len += len;
	return 0;
}

static int feed(struct h1_read *r, const void *data, size_t len)
{
	llhttp_errno_t err = llhttp_execute(&r->parser, data, len);

	if (err == HPE_OK)
		return 0;
	if (err == HPE_INVALID_METHOD)
		return refuse(r, 501, "the method is not known");
	return refuse(r, r->response ? 502 : 400, "not HTTP/1.1");
}

static int disagree(struct h1_read *r)
{
	return refuse(r, r->response ? 502 : 400, "the message is ambiguous");
}

/* Where the first line ends; its begin is moved over the empty line that a request may have. */
static size_t first_line(const char **at, size_t len)
{
	const char *end;

	if (len > 2 && (*at)[0] == '\r')
		*at += 2, len -= 2;
	end = memchr(*at, '\r', len);
	return end ? (size_t)(end - *at) : 0;
}

static enum h1_event whole_head(struct h1_read *r, const char *text, size_t len)
{
	const char *line = text;
	size_t line_len = first_line(&line, len);
	const char *url;
	size_t url_len;

	if (r->response ? read_status_line(r, line, line_len)
			: read_request_line(r, line, line_len))
		return H1_BAD;
	url = r->url;
	url_len = r->url_len;
	r->url = NULL;
	r->url_len = 0;
	if (feed(r, text, len))
		return H1_BAD;
	if (!r->response && (r->url != url || r->url_len != url_len)) {
		disagree(r);
		return H1_BAD;
	}
	h1_shape_body(&r->shape, r->framing,
		      r->framing == H1_LENGTH ? (uint64_t)r->head->content_length : 0);
	r->last = r->shape.part == H1_PART_END;
	/* llhttp's own view of where the message ends and of how long it is */
	if (r->ended != r->last || r->data ||
	    (r->framing == H1_LENGTH && !r->last &&
	     r->parser.content_length != (uint64_t)r->head->content_length)) {
		disagree(r);
		return H1_BAD;
	}
	return H1_HEAD;
}

static enum h1_event whole_trailers(struct h1_read *r, const char *text, size_t len)
{
	head_clear(r->head);
	if (feed(r, text, len))
		return H1_BAD;
	if (!r->ended || head_check_trailers(r->head)) {
		refuse(r, r->response ? 502 : 400, "the trailers are malformed");
		return H1_BAD;
	}
	r->last = true;
	return r->head->n ? H1_TRAILERS : H1_END;
}

/* Head and trailers: from the read when they lie there whole, else from what is kept. */
static enum h1_event take_lines(struct h1_read *r, enum h1_part part, const uint8_t *data, size_t n)
{
	const char *text = (const char *)data;
	size_t len = n;
	enum h1_event event;

	if (r->kept_len || r->shape.part == part) {
		if (keep(r, data, n))
			return H1_BAD;
		text = r->kept;
		len = r->kept_len;
	}
	if (r->shape.part == part)
		return H1_MORE;
	event = part == H1_PART_HEAD ? whole_head(r, text, len) : whole_trailers(r, text, len);
	free(r->kept);
	r->kept = NULL;
	r->kept_len = r->kept_size = 0;
	return event;
}

/* After the last byte of a chunk: does the whole end lie there too? Then the data are told as the
 * last, and nothing empty has to follow them. */
static size_t take_end(struct h1_read *r, const uint8_t *data, size_t len)
{
	static const char end[] = "\r\n0\r\n\r\n";
	size_t n = sizeof(end) - 1;

	if (r->shape.part != H1_PART_CHUNK_LINE || len < n || memcmp(data, end, n) != 0)
		return 0;
	if (feed(r, data, n))
		return 0;
	r->shape.part = H1_PART_END;
	return n;
}

static enum h1_event take_body(struct h1_read *r, const uint8_t *data, size_t n, size_t len,
			       size_t *used)
{
	r->data = NULL;
	r->len = 0;
	if (feed(r, data, n))
		return H1_BAD;
	if (r->data != data || r->len != n) {
		disagree(r);
		return H1_BAD;
	}
	*used = n + take_end(r, data + n, len - n);
	r->last = r->shape.part == H1_PART_END;
	if (r->why || r->ended != r->last) {
		disagree(r);
		return H1_BAD;
	}
	return H1_DATA;
}

static enum h1_event take_chunk_line(struct h1_read *r, const uint8_t *data, size_t n)
{
	r->data = NULL;
	if (feed(r, data, n))
		return H1_BAD;
	if (r->data || r->ended ||
	    (r->shape.part == H1_PART_CHUNK_DATA && r->parser.content_length != r->shape.left)) {
		disagree(r);
		return H1_BAD;
	}
	return H1_MORE;
}

size_t h1_read_take(struct h1_read *r, const uint8_t *data, size_t len, enum h1_event *event)
{
	size_t used = 0;

	*event = H1_MORE;
	while (used < len && *event == H1_MORE && r->shape.part != H1_PART_END) {
		enum h1_part part = r->shape.part;
		long n = h1_shape_take(&r->shape, data + used, len - used);
		size_t took = n > 0 ? (size_t)n : 0;

		if (n == -EMSGSIZE)
			refuse(r, part == H1_PART_CHUNK_LINE ? 400 : 431, "the head is too large");
		else if (n < 0)
			refuse(r, r->response ? 502 : 400, "a line is malformed");
		if (n < 0)
			*event = H1_BAD;
		else if (part == H1_PART_HEAD || part == H1_PART_TRAILERS)
			*event = take_lines(r, part, data + used, took);
		else if (part == H1_PART_CHUNK_LINE)
			*event = take_chunk_line(r, data + used, took);
		else
			*event = take_body(r, data + used, took, len - used, &took);
		used += took;
	}
	return used;
}

enum h1_event h1_read_eof(struct h1_read *r)
{
	r->data = NULL;
	r->len = 0;
	if (r->shape.part == H1_PART_STREAM && llhttp_finish(&r->parser) == HPE_OK && r->ended) {
		r->shape.part = H1_PART_END;
		r->last = true;
		return H1_END;
	}
	refuse(r, r->response ? 502 : 400, "the connection ended within the message");
	return H1_BAD;
}
