/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_routes.h -- the server that test_httpd.c asks: a route for each way to answer.
 */
#ifndef WEIR_TESTS_HTTPD_ROUTES_H
#define WEIR_TESTS_HTTPD_ROUTES_H

#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lib/httpc.h"
#include "lib/httpd.h"

#define BIG (600u << 10)

struct fixture {
	void *choose_arg;
	char folder[80], base[128];
	struct httpd *server;
	struct httpc *client;
	struct metrics *metrics;
	struct http_cached *cached;
	struct http_topic *topic;
	_Atomic int done, waiting;
};

static enum http_next echo(struct http_req *req, void *arg)
{
	const char *q = http_query(req, "q");

	(void)arg;
	return http_reply_json(req, 200,
			       json_pack("{s:s, s:s?, s:s?, s:s?, s:s, s:I, s:b}", "bucket",
					 http_param(req, "bucket"), "key", http_param(req, "key"),
					 "q", q, "none", http_query(req, "none"), "path",
					 http_path(req), "uid", (json_int_t)http_peer_uid(req),
					 "local", http_is_local(req)));
}

static enum http_next gathered(struct http_req *req, void *arg)
{
	size_t len;
	const void *body = http_body(req, &len);

	(void)arg;
	return http_reply(req, 200, "text/plain", body, len);
}

static void counted_done(struct http_req *req, void *arg)
{
	(void)req;
	((struct fixture *)arg)->done++;
}

/* A sum over the body, which is taken 1,000 bytes at a time and only after a resume by another
 * thread. */
struct summing {
	unsigned long sum, len;
	pthread_t thread;
	bool threaded, ready;
};

static void *resume_soon(void *arg)
{
	usleep(200);
	http_resume(arg);
	return NULL;
}

static enum http_next sum_begin(struct http_req *req, void *arg)
{
	(void)arg;
	http_set_state(req, calloc(1, sizeof(struct summing)));
	return HTTP_CONTINUE;
}

static enum http_next sum_body(struct http_req *req, void *arg, const void *data, size_t len,
			       size_t *taken)
{
	struct summing *s = http_state(req);

	(void)arg;
	s->ready = !s->ready;
	*taken = !s->ready ? 0 : len < 20000 ? len : 20000;
	for (size_t i = 0; i < *taken; i++)
		s->sum += ((const unsigned char *)data)[i];
	s->len += *taken;
	if (s->threaded)
		pthread_join(s->thread, NULL);
	s->threaded = !pthread_create(&s->thread, NULL, resume_soon, req);
	return HTTP_LATER;
}

static void sum_work(struct http_req *req, void *arg)
{
	struct summing *s = http_state(req);

	(void)arg;
	http_reply_json(
		req, 200,
		json_pack("{s:I, s:I}", "sum", (json_int_t)s->sum, "len", (json_int_t)s->len));
}

static enum http_next sum_end(struct http_req *req, void *arg)
{
	return http_work(req, sum_work, arg);
}

static void sum_done(struct http_req *req, void *arg)
{
	struct summing *s = http_state(req);

	(void)arg;
	if (s && s->threaded)
		pthread_join(s->thread, NULL);
	free(s);
}

/* Allowed by a worker, which does not reply: the body is wanted then. */
static void allow(struct http_req *req, void *arg)
{
	(void)arg;
	if (http_header(req, "X-Refuse"))
		http_reply_error(req, 403, "refused", "you may not, %s",
				 http_header(req, "X-Refuse"));
}

static enum http_next allow_begin(struct http_req *req, void *arg)
{
	return http_work(req, allow, arg);
}

static ssize_t letters(void *ctx, uint64_t pos, char *buf, size_t max)
{
	uint64_t total = *(uint64_t *)ctx;
	size_t n = total - pos < max ? (size_t)(total - pos) : max;

	if (n == 0)
		return HTTP_READ_END;
	if (total == 13 && pos > 0)
		return HTTP_READ_FAIL;
	n = total == 13 ? 5 : n;
	memset(buf, 'l', n);
	return (ssize_t)n;
}

static enum http_next stream(struct http_req *req, void *arg)
{
	uint64_t *total = malloc(sizeof(*total));

	(void)arg;
	*total = strtoull(http_query(req, "n"), NULL, 10);
	return http_reply_stream(req, 200, NULL, http_query(req, "chunked") ? UINT64_MAX : *total,
				 letters, free, total);
}

static enum http_next from_file(struct http_req *req, void *arg)
{
	struct http_range range = { 0, BIG };
	char path[256];
	int rc = http_range_parse(&range, http_header(req, "Range"), BIG), status;

	snprintf(path, sizeof(path), "%s/big", ((struct fixture *)arg)->folder);
	status = http_conditions(req, "\"big\"");
	if (status == 304)
		return http_reply(req, 304, NULL, NULL, 0);
	if (status || rc < 0)
		return http_reply_error(req, status ? (unsigned)status : 416, "condition", "no");
	return http_reply_fd(req, rc ? 206 : 200, NULL, open(path, O_RDONLY | O_CLOEXEC),
			     range.first, range.len);
}

static enum http_next headers(struct http_req *req, void *arg)
{
	(void)arg;
	assert_int_equal(http_add_header(req, "X-A", "b\r\nX-Evil: 1"), -EINVAL);
	assert_int_equal(http_add_header(req, "X A", "b"), -EINVAL);
	assert_int_equal(http_add_header(req, "ETag", "\"x\""), 0);
	return http_reply(req, 200, NULL, "", 0);
}

static enum http_next cached_body(struct http_req *req, void *arg)
{
	char long_value[1500];

	memset(long_value, 'v', sizeof(long_value) - 1);
	long_value[sizeof(long_value) - 1] = '\0';
	http_add_header(req, "ETag", "\"own\"");
	http_add_header(req, "X-Long", long_value);
	return http_reply_cached_body(req, 203, "text/own", ((struct fixture *)arg)->cached);
}

static enum http_next cached(struct http_req *req, void *arg)
{
	return http_reply_cached(req, ((struct fixture *)arg)->cached);
}

static enum http_next events(struct http_req *req, void *arg)
{
	return http_reply_events(req, ((struct fixture *)arg)->topic);
}

#define REPLAY_BYTES (400u << 10) /* more than a listener may be behind */

static enum http_next replay(struct http_req *req, void *arg)
{
	char *first = malloc(REPLAY_BYTES), *event;
	enum http_next next;
	size_t len;

	memset(first, ':', REPLAY_BYTES);
	first[REPLAY_BYTES - 1] = '\n';
	event = http_event_format("first", "1", &len);
	memcpy(first + 1, event, len);
	memcpy(first, "\n", 1);
	next = http_reply_events_from(req, ((struct fixture *)arg)->topic, first, REPLAY_BYTES);
	free(event);
	free(first);
	return next;
}

static void *answer_soon(void *arg)
{
	usleep(1000);
	http_reply(arg, 200, NULL, "late", 4);
	http_resume(arg);
	return NULL;
}

/* Answered by a thread of the handler's own; other threads' resumes must not disturb. */
static enum http_next late(struct http_req *req, void *arg)
{
	pthread_t thread;

	(void)arg;
	http_resume(req);
	assert_int_equal(pthread_create(&thread, NULL, answer_soon, req), 0);
	pthread_detach(thread);
	return HTTP_LATER;
}

static enum http_next never(struct http_req *req, void *arg)
{
	(void)req;
	((struct fixture *)arg)->waiting++;
	return HTTP_LATER;
}

/* Says the target as sent, and each header line. */
static enum http_next chosen(struct http_req *req, void *arg)
{
	struct http_pair pairs[HTTP_HEADERS_MAX];
	size_t n = http_headers(req, pairs, HTTP_HEADERS_MAX), len;
	char *text;
	FILE *out = open_memstream(&text, &len);

	(void)arg;
	fprintf(out, "%s %s\n", http_method_name(http_method(req)), http_target(req));
	for (size_t i = 0; i < n; i++)
		fprintf(out, "%s=%s\n", pairs[i].name, pairs[i].value);
	fclose(out);
	return http_reply_owned(req, 200, NULL, text, len);
}

#define M(m) (1u << HTTP_##m)
static const struct http_route routes[] = {
	{ .methods = M(GET),
	  .path = "/b/:bucket/"
		  "*key",
	  .begin = echo,
	  .done = counted_done },
	{ .methods = M(POST), .path = "/gather", .body_max = 100000, .end = gathered },
	{ .methods = M(PUT),
	  .path = "/sum",
	  .body_max = 1 << 24,
	  .begin = sum_begin,
	  .body = sum_body,
	  .end = sum_end,
	  .done = sum_done },
	{ .methods = M(PUT) | M(GET),
	  .path = "/allow",
	  .body_max = 100000,
	  .begin = allow_begin,
	  .end = gathered },
	{ .methods = M(GET), .path = "/stream", .begin = stream },
	{ .methods = M(GET), .path = "/file", .begin = from_file },
	{ .methods = M(GET), .path = "/headers", .begin = headers },
	{ .methods = M(GET), .path = "/cached", .begin = cached },
	{ .methods = M(GET), .path = "/cached-body", .begin = cached_body },
	{ .methods = M(GET), .path = "by-name", .begin = chosen },
	{ .methods = M(GET), .path = "/events", .begin = events },
	{ .methods = M(GET), .path = "/replay", .begin = replay },
	{ .methods = M(GET), .path = "/late", .begin = late },
	{ .methods = M(GET), .path = "/never", .begin = never, .done = counted_done },
	{ .path = NULL },
};

/* Everything of "/chosen", by whatever method, and whatever names a host of its own. */
static inline const struct http_route *choose(struct http_req *req, void *arg)
{
	const char *host = http_header(req, "X-Choose");
	size_t i = 0;

	assert_ptr_equal(((struct fixture *)arg)->choose_arg, arg);
	if (strncmp(http_path(req), "/chosen", 7) != 0 && !host)
		return NULL;
	while (strcmp(routes[i].path, "by-name") != 0)
		i++;
	return &routes[i];
}

#endif
