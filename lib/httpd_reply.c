/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_reply.c -- answers: built by whoever replies (a pool thread or a worker), queued by the
 * pool thread that owns the connection.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/httpd_impl.h"
#include "lib/log.h"

/* Of a stream; below malloc's threshold for a mapping of its own, whose pages would be new each
 * time. */
#define STREAM_BLOCK (112u << 10)
/* Up to here a file is read and sent with its head in one call: one packet and one wake-up of the
 * client instead of two, which costs more than copying. */
#define SMALL_FILE (64u << 10)

/* A stream's reader, which may wait. */
struct stream {
	struct http_req *req;
	http_read_fn *read;
	void (*free_ctx)(void *);
	void *ctx;
};

#define HEADER_BLOCK 960 /* with its head below what malloc() keeps for each thread */

static void *header_room(struct http_req *req, size_t len)
{
	struct http_header_block *block = req->blocks;
	size_t need = (len + 7) & ~(size_t)7, size = need > HEADER_BLOCK ? need : HEADER_BLOCK;

	if (!block || block->size - block->used < need) {
		block = malloc(sizeof(*block) + size);
		if (!block)
			return NULL;
		block->next = req->blocks;
		block->used = 0;
		block->size = size;
		req->blocks = block;
	}
	block->used += need;
	return block->room + block->used - need;
}

int http_add_header(struct http_req *req, const char *name, const char *value)
{
	size_t name_len = strlen(name), value_len = strlen(value);
	struct http_header_pair *pair;

	if (!http_is_token(name, name_len) || !http_is_field_value(value, value_len))
		return -EINVAL;
	pair = header_room(req, sizeof(*pair) + name_len + value_len + 2);
	if (!pair)
		return -ENOMEM;
	pair->value = pair->name + name_len + 1;
	memcpy(pair->name, name, name_len + 1);
	memcpy(pair->value, value, value_len + 1);
	pair->next = req->headers;
	req->headers = pair;
	return 0;
}

enum http_next http_answer(struct http_req *req, unsigned int status, const char *type,
			   struct MHD_Response *response, uint64_t len)
{
	if (!response) {
		if (!req->cached)
			log_limited(LOG_LEVEL_ERROR, 10, "%s: no memory for an answer",
				    req->server->opt.name);
	} else if (req->answered) {
		log_limited(LOG_LEVEL_ERROR, 10, "%s: request %s was answered twice",
			    req->server->opt.name, req->id);
		MHD_destroy_response(response);
		return HTTP_ANSWERED;
	} else {
		if (type) {
			MHD_add_response_header(response, "Content-Type", type);
			MHD_add_response_header(response, "X-Content-Type-Options", "nosniff"); /* it is what it says */
		}
		for (struct http_header_pair *h = req->headers; h; h = h->next)
			MHD_add_response_header(response, h->name, *h->value ? h->value : " "); /* it leaves "" away */
		MHD_add_response_header(response, "X-Request-Id", req->id);
		if (req->refused)
			MHD_add_response_header(response, "Connection", "close");
	}
	pthread_mutex_lock(&req->lock);
	req->response = response;
	req->status = status;
	req->answer_bytes = len;
	req->answered = true;
	req->answered_by = pthread_self();
	pthread_mutex_unlock(&req->lock);
	return HTTP_ANSWERED;
}

enum http_next http_reply(struct http_req *req, unsigned int status, const char *type,
			  const void *data, size_t len)
{
	if (!len && !req->answered)
		req->answer_data = "";
	return http_answer(req, status, type,
			   MHD_create_response_from_buffer(len, (void *)(len ? data : ""),
							   MHD_RESPMEM_MUST_COPY),
			   len);
}

enum http_next http_reply_owned(struct http_req *req, unsigned int status, const char *type,
				void *data, size_t len)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer_with_free_callback(len, data, free);

	if (!response)
		free(data);
	else if (!req->answered)
		req->answer_data = data;
	return http_answer(req, status, type, response, len);
}

enum http_next http_reply_json(struct http_req *req, unsigned int status, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;

	json_decref(value);
	if (!text)
		return http_answer(req, 500, NULL, NULL, 0);
	return http_reply_owned(req, status, "application/json", text, strlen(text));
}

enum http_next http_reply_error(struct http_req *req, unsigned int status, const char *code,
				const char *fmt, ...)
{
	char sentence[512];
	json_t *message;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	message = json_string(sentence);
	/* A sentence may quote what a stranger sent, or was cut in the middle of a character. */
	for (char *c = sentence; !message && *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	if (!message)
		message = json_string(sentence);
	return http_reply_json(req, status,
			       json_pack("{s:s, s:o, s:s}", "error", code, "message", message,
					 "request", req->id));
}

enum http_next http_refuse(struct http_req *req, unsigned int status, const char *code, const char *fmt, ...)
{
	struct httpd *server = req->server;
	char sentence[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	if (server->opt.refuse && server->opt.refuse(req, server->arg, status, code, sentence))
		return HTTP_ANSWERED;
	return http_reply_error(req, status, code, "%s", sentence);
}

void http_cork(struct http_req *req, bool on)
{
	int value = on;

	setsockopt(req->conn->fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
	req->corked = on;
}

static enum http_next reply_small_file(struct http_req *req, unsigned int status, const char *type,
				       int fd, uint64_t offset, size_t len)
{
	char *data = malloc(len);
	ssize_t n = data ? pread(fd, data, len, (off_t)offset) : -1;

	close(fd);
	if (n == (ssize_t)len)
		return http_reply_owned(req, status, type, data, len);
	free(data);
	return http_reply_error(req, 500, "read", "the data could not be read");
}

enum http_next http_reply_fd(struct http_req *req, unsigned int status, const char *type, int fd,
			     uint64_t offset, uint64_t len)
{
	struct MHD_Response *response;

	if (len == 0) {
		close(fd);
		return http_reply(req, status, type, "", 0);
	}
	if (len <= SMALL_FILE && req->method != HTTP_HEAD)
		return reply_small_file(req, status, type, fd, offset, (size_t)len);
	response = MHD_create_response_from_fd_at_offset64(len, fd, offset);
	if (response && !req->server->opt.tls_cert) {
		http_cork(req, true);
		http_file_begin(req->conn->fd, offset + len);
	}
	if (!response)
		close(fd);
	return http_answer(req, status, type, response, len);
}

static ssize_t stream_read(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct stream *stream = arg;

	for (;;) {
		ssize_t n;

		http_arm(stream->req);
		n = stream->read(stream->ctx, pos, buf, max);
		if (n > 0)
			return n;
		if (n == HTTP_READ_END)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (n != HTTP_READ_LATER)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		switch (http_wait(stream->req, false)) {
		case HTTP_WAIT_GO:
			continue;
		case HTTP_WAIT_SUSPENDED:
			return 0;
		default:
			return MHD_CONTENT_READER_END_WITH_ERROR;
		}
	}
}

static void stream_free(void *arg)
{
	struct stream *stream = arg;

	if (stream->free_ctx)
		stream->free_ctx(stream->ctx);
	free(stream);
}

/* Chunks are made in the connection's own memory: the block is not used for them. */
static size_t stream_block(uint64_t length)
{
	if (length == UINT64_MAX || length == 0)
		return 1;
	return length < STREAM_BLOCK ? (size_t)length : STREAM_BLOCK;
}

enum http_next http_reply_stream(struct http_req *req, unsigned int status, const char *type,
				 uint64_t length, http_read_fn *read, void (*free_ctx)(void *),
				 void *ctx)
{
	struct stream *stream = malloc(sizeof(*stream));
	struct MHD_Response *response = NULL;

	if (stream) {
		*stream = (struct stream){ req, read, free_ctx, ctx };
		response = MHD_create_response_from_callback(
			length == UINT64_MAX ? MHD_SIZE_UNKNOWN : length, stream_block(length),
			stream_read, stream, stream_free);
	}
	if (!response) {
		free(stream);
		if (free_ctx)
			free_ctx(ctx);
	}
	return http_answer(req, status, type, response, length == UINT64_MAX ? 0 : length);
}

static size_t line_len(const char *name, const char *value)
{
	return strlen(name) + strlen(value) + strlen(": \r\n");
}

static char *put_line(char *at, const char *name, const char *value)
{
	return stpcpy(stpcpy(stpcpy(stpcpy(at, name), ": "), value), "\r\n");
}

/* libmicrohttpd's order: the lines as they were added, and the length last. */
static bool write_text(struct http_cached *c, const char *type, const char *const *header_pairs, const void *data, size_t len)
{
	char first[64], last[24];
	char *at;

	c->status_len = (size_t)snprintf(first, sizeof(first), "HTTP/1.1 %u %s\r\n", c->status,
					 MHD_get_reason_phrase_for(c->status));
	snprintf(last, sizeof(last), "%zu", c->len);
	c->head_len = (type ? line_len("Content-Type", type) : 0) + line_len("Content-Length", last) + strlen("\r\n");
	for (const char *const *p = header_pairs; p && p[0]; p += 2)
		c->head_len += line_len(p[0], p[1]);
	c->text = malloc(c->status_len + c->head_len + len + 1);
	if (!c->text)
		return false;
	at = stpcpy(c->text, first);
	if (type)
		at = put_line(at, "Content-Type", type);
	for (const char *const *p = header_pairs; p && p[0]; p += 2)
		at = put_line(at, p[0], p[1]);
	at = stpcpy(put_line(at, "Content-Length", last), "\r\n");
	memcpy(at, data, len);
	return true;
}

struct http_cached *http_cached_new(unsigned int status, const char *type, const void *data,
				    size_t len, const char *const *header_pairs)
{
	struct http_cached *cached = calloc(1, sizeof(*cached));

	if (!cached)
		return NULL;
	cached->status = status;
	cached->len = len;
	cached->refs = 1;
	if (!write_text(cached, type, header_pairs, data, len)) {
		free(cached);
		return NULL;
	}
	cached->data = cached->text + cached->status_len + cached->head_len;
	return cached;
}

/* lines: changed. The length is libmicrohttpd's to write. */
static void add_lines(struct MHD_Response *response, char *lines)
{
	char *save = NULL, *value;

	for (char *line = strtok_r(lines, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
		value = strstr(line, ": ");
		*value = '\0';
		if (strcmp(line, "Content-Length") != 0)
			MHD_add_response_header(response, line, value + 2);
	}
}

/* From now on the text is freed with it. */
static struct MHD_Response *make_response(const struct http_cached *c)
{
	char *lines = strndup(c->text + c->status_len, c->head_len);
	struct MHD_Response *response =
		lines ? MHD_create_response_from_buffer_with_free_callback_cls(c->len, (void *)c->data, free, c->text) : NULL;

	if (response)
		add_lines(response, lines);
	free(lines);
	return response;
}

/* Most are sent by httpd_hot.c alone, so it is made when libmicrohttpd is to send it for the first time. */
static struct MHD_Response *response_of(struct http_cached *c)
{
	static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

	if (c->response)
		return c->response;
	pthread_mutex_lock(&making);
	if (!c->response)
		c->response = make_response(c);
	pthread_mutex_unlock(&making);
	return c->response;
}

struct http_cached *http_cached_over(struct http_cached *body, const char *type, const char *const *header_pairs,
				     const char *const *ids)
{
	struct http_cached *cached = calloc(1, sizeof(*cached));

	if (!cached)
		return NULL;
	for (size_t i = 0; ids[i]; i++)
		cached->ids_len += strlen(ids[i]) + strlen(": \r\n") + HTTP_ID_LEN;
	cached->status = 200;
	cached->len = body->len;
	cached->data = body->data;
	cached->ids = ids;
	cached->refs = 1;
	if (cached->ids_len > HTTP_IDS_LEN || !write_text(cached, type, header_pairs, "", 0)) {
		free(cached);
		return NULL;
	}
	cached->other = http_cached_hold(body);
	return cached;
}

struct http_cached *http_cached_hold(struct http_cached *cached)
{
	atomic_fetch_add(&cached->refs, 1);
	return cached;
}

unsigned int http_cached_status(const struct http_cached *cached)
{
	return cached->status;
}

void http_cached_free(struct http_cached *cached)
{
	if (!cached || atomic_fetch_sub(&cached->refs, 1) > 1)
		return;
	if (cached->response)
		MHD_destroy_response(cached->response); /* and the text */
	else
		free(cached->text);
	http_cached_free(cached->other);
	free(cached);
}

static void put_cached(void *cached)
{
	http_cached_free(cached);
}

enum http_next http_reply_cached_body(struct http_req *req, unsigned int status, const char *type, struct http_cached *cached)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer_with_free_callback_cls(
			cached->len, (void *)cached->data, put_cached, cached);

	if (response)
		atomic_fetch_add(&cached->refs, 1);
	return http_answer(req, status, type, response, cached->len);
}

size_t http_cached_len(const struct http_cached *cached)
{
	return cached->len;
}

enum http_next http_reply_cached(struct http_req *req, struct http_cached *cached)
{
	if (req->answered)
		return HTTP_ANSWERED;
	if (!response_of(cached))
		return http_answer(req, 500, NULL, NULL, 0);
	req->cached = http_cached_hold(cached);
	return http_answer(req, cached->status, NULL, NULL, cached->len);
}

enum MHD_Result http_queue(struct http_req *req)
{
	struct MHD_Response *response = req->cached ? req->cached->response : req->response;

	return response && http_may_queue(req) ? MHD_queue_response(req->mhd, req->status, response) : MHD_NO;
}

void http_drop_answer(struct http_req *req)
{
	struct http_header_block *next;

	if (req->response)
		MHD_destroy_response(req->response);
	http_cached_free(req->cached);
	http_upgrade_drop(req->upgrade);
	for (struct http_header_block *b = req->blocks; b; b = next) {
		next = b->next;
		free(b);
	}
}
