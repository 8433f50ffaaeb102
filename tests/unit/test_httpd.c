/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server and client of lib/, one against the other, over a Unix socket. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/httpc.h"
#include "lib/httpd.h"

#define BIG (600u << 10)

struct fixture {
	char folder[80], base[128];
	struct httpd *server;
	struct httpc *client;
	struct metrics *metrics;
	struct http_cached *cached;
	struct http_topic *topic;
	_Atomic int done, waiting;
};

static struct fixture fix;

/* ---- routes ---- */

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
	{ .methods = M(GET), .path = "/events", .begin = events },
	{ .methods = M(GET), .path = "/replay", .begin = replay },
	{ .methods = M(GET), .path = "/late", .begin = late },
	{ .methods = M(GET), .path = "/never", .begin = never, .done = counted_done },
	{ .path = NULL },
};

/* ---- set-up ---- */

static int bind_unix(const char *folder, int backlog)
{
	struct addr_port at = { .port = 0 };

	snprintf(at.path, sizeof(at.path), "%s/sock", folder);
	return addr_bind(&at, SOCK_STREAM, backlog, false, 0600);
}

static int begin(void **state)
{
	struct httpd_options opt = { .name = "test", .threads = 2, .workers = 2, .idle_s = 5 };
	char path[256], *bytes = malloc(BIG);
	int fd;

	unit_folder(fix.folder, sizeof(fix.folder));
	snprintf(fix.base, sizeof(fix.base), "unix:%s/sock:", fix.folder);
	snprintf(path, sizeof(path), "%s/big", fix.folder);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	for (unsigned int i = 0; i < BIG; i++)
		bytes[i] = (char)(i % 251);
	assert_int_equal(write(fd, bytes, BIG), BIG);
	close(fd);
	free(bytes);
	assert_int_equal(metrics_new(&fix.metrics), 0);
	opt.metrics = fix.metrics;
	fix.cached = http_cached_new(200, "text/plain", "kept", 4,
				     (const char *const[]){ "X-Kept", "yes", NULL });
	fd = bind_unix(fix.folder, 0);
	assert_true(fd >= 0);
	assert_int_equal(httpd_start(&fix.server, &opt, &fd, 1, routes, &fix), 0);
	fix.topic = http_topic_new(fix.server, 2);
	assert_int_equal(httpc_new(&fix.client, &(struct httpc_options){ .stall_ms = 4000 }), 0);
	*state = &fix;
	return 0;
}

static int end(void **state)
{
	(void)state;
	http_topic_free(fix.topic);
	httpd_stop(fix.server, 500);
	http_cached_free(fix.cached);
	metrics_free(fix.metrics);
	httpc_free(fix.client);
	unit_folder_remove(fix.folder);
	return 0;
}

/* ---- asking ---- */

static struct httpc_answer ask(struct httpc_call call, const char *target, int rc)
{
	struct httpc_answer answer;
	char url[2048];
	int got;

	snprintf(url, sizeof(url), "%s%s", fix.base, target);
	call.url = url;
	got = httpc_do(fix.client, &call, &answer);
	if (got != rc)
		fail_msg("%s: %d (%s) instead of %d", target, got, answer.error, rc);
	return answer;
}

static void expect(struct httpc_call call, const char *target, long status, const char *part)
{
	struct httpc_answer answer = ask(call, target, 0);

	if (answer.status != status || (part && !strstr(answer.body ? answer.body : "", part)))
		fail_msg("%s: %ld %s", target, answer.status, answer.body);
	httpc_answer_free(&answer);
}

#define CALL(...) ((struct httpc_call){ __VA_ARGS__ })

/* ---- tests ---- */

static void listens_later(void **state)
{
	struct httpc_answer answer = ask(CALL(0), "/cached", -ECONNREFUSED);

	(void)state;
	httpc_answer_free(&answer);
	assert_int_equal(httpd_listen(fix.server), 0);
	assert_int_equal(httpd_listen(fix.server), 0);
	expect(CALL(0), "/cached", 200, "kept");
}

static void says_what_was_asked(void **state)
{
	char uid[64];

	(void)state;
	snprintf(uid, sizeof(uid), "\"uid\":%u,\"local\":true", getuid());
	expect(CALL(0), "/b/x/a%2Fb/c%20d?q=1+2%2B&none", 200, "\"key\":\"a/b/c d\"");
	expect(CALL(0), "/b/x/a%2Fb/c%20d?q=1+2%2B&none", 200, "\"q\":\"1 2+\",\"none\":\"\"");
	expect(CALL(0), "/b/x/?p=1", 200, "\"key\":\"\",\"q\":null");
	expect(CALL(0), "/b/x/a%2Fb", 200, "\"path\":\"/b/x/a%2Fb\"");
	expect(CALL(0), "/b/x/", 200, uid);
	expect(CALL(0), "/nope", 404, "\"error\":\"not_found\"");
	expect(CALL(.method = "DELETE"), "/cached", 405, "\"request\":\"");
	expect(CALL(.method = "HEAD"), "/b/x/", 200, NULL);
}

static void gathers(void **state)
{
	char *body = calloc(1, 200000);

	(void)state;
	memset(body, 'b', 200000 - 1);
	expect(CALL(.method = "POST", .body = "hello", .body_len = 5), "/gather", 200, "hello");
	expect(CALL(.method = "POST", .body = body, .body_len = 100000), "/gather", 200, "bbb");
	expect(CALL(.method = "POST", .body = body, .body_len = 100001), "/gather", 413, "100000");
	expect(CALL(.method = "POST", .body = "", .body_len = 0), "/gather", 200, "");
	expect(CALL(.method = "PUT", .body = "x", .body_len = 1), "/cached", 405, NULL);
	expect(CALL(.method = "PUT", .body = "hello", .body_len = 5), "/allow", 200, "hello");
	expect(CALL(.method = "PUT", .body = "hello", .body_len = 5,
		    .headers = (const char *const[]){ "X-Refuse: ada", NULL }),
	       "/allow", 403, "you may not, ada");
	expect(CALL(0), "/allow", 200, NULL);
	free(body);
}

static ssize_t pull_a(void *arg, char *buf, size_t max)
{
	size_t *left = arg, n = *left < max ? *left : max;

	memset(buf, 'a', n);
	*left -= n;
	return (ssize_t)n;
}

static void back_pressure(void **state)
{
	size_t left = 1000000;
	char sum[64];

	(void)state;
	snprintf(sum, sizeof(sum), "{\"sum\":%d,\"len\":1000000}", 'a' * 1000000);
	expect(CALL(.method = "PUT", .read = pull_a, .arg = &left, .read_len = 1000000), "/sum",
	       200, sum);
	left = 1000000;
	expect(CALL(.method = "PUT", .read = pull_a, .arg = &left, .read_len = UINT64_MAX), "/sum",
	       200, sum);
	expect(CALL(.method = "PUT", .body = "", .body_len = 0), "/sum", 200, "\"len\":0");
}

static void streams(void **state)
{
	struct httpc_answer answer = ask(CALL(.body_max = 1 << 24), "/stream?n=5000000", 0);

	(void)state;
	assert_int_equal(answer.len, 5000000);
	assert_int_equal(answer.content_length, 5000000);
	httpc_answer_free(&answer);
	answer = ask(CALL(.body_max = 1 << 24), "/stream?n=5000000&chunked", 0);
	assert_int_equal(answer.len, 5000000);
	assert_int_equal(answer.content_length, UINT64_MAX);
	httpc_answer_free(&answer);
	expect(CALL(0), "/stream?n=0", 200, NULL);
	expect(CALL(0), "/stream?n=0&chunked", 200, NULL);
	answer = ask(CALL(0), "/stream?n=5000000", -EMSGSIZE);
	httpc_answer_free(&answer);
	answer = ask(CALL(0), "/stream?n=13",
		     -ECONNRESET); /* the reader failed: the client sees that it is short */
	httpc_answer_free(&answer);
	answer = ask(CALL(0), "/stream?n=13&chunked", -ECONNRESET);
	httpc_answer_free(&answer);
}

static void files(void **state)
{
	static const struct {
		const char *header;
		long status;
		size_t len;
		unsigned char first;
	} cases[] = {
		{ "X: y", 200, BIG, 0 },
		{ "Range: bytes=5-9", 206, 5, 5 },
		{ "Range: bytes=300000-", 206, BIG - 300000, 300000 % 251 },
		{ "Range: bytes=-10", 206, 10, (BIG - 10) % 251 },
		{ "Range: bytes=9999999-", 416, 0, 0 },
		{ "Range: lines=1-2", 200, BIG, 0 },
		{ "If-None-Match: \"big\"", 304, 0, 0 },
		{ "If-None-Match: \"x\", W/\"big\"", 304, 0, 0 },
		{ "If-Match: \"x\"", 412, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *const list[] = { cases[i].header, NULL };
		struct httpc_answer answer = ask(CALL(.headers = list), "/file", 0);

		assert_int_equal(answer.status, cases[i].status);
		if (answer.status < 300) {
			assert_int_equal(answer.len, cases[i].len);
			for (size_t b = 0; b < answer.len; b++)
				assert_int_equal((unsigned char)answer.body[b],
						 (cases[i].first + b) % 251);
		}
		httpc_answer_free(&answer);
	}
}

static void headers_and_late(void **state)
{
	struct httpc_answer answer = ask(CALL(0), "/headers", 0);

	(void)state;
	assert_string_equal(answer.etag, "\"x\"");
	httpc_answer_free(&answer);
	for (int i = 0; i < 20; i++)
		expect(CALL(0), "/late", 200, "late");
}

static void *ask_cached(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++)
		expect(CALL(0), "/cached", 200, "kept");
	return NULL;
}

static void cached_by_many(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_cached, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

struct heard {
	char text[4096];
	size_t len;
};

static int hear(void *arg, const void *data, size_t len)
{
	struct heard *heard = arg;

	if (heard->len + len >= sizeof(heard->text))
		return -EMSGSIZE;
	memcpy(heard->text + heard->len, data, len);
	heard->len += len;
	heard->text[heard->len] = '\0';
	if (strstr(heard->text, "event: load\ndata: 1\ndata: 2\n\n"))
		http_topic_send(fix.topic, "bye", "3");
	return strstr(heard->text, "event: bye\ndata: 3\n\n") ? -ECANCELED : 0;
}

static void tells_events(void **state)
{
	struct heard heard = { .len = 0 };
	struct httpc_answer answer;

	(void)state;
	http_topic_send(fix.topic, "load", "0");
	http_topic_send(fix.topic, "load", "1\n2");
	http_topic_send(fix.topic, NULL, "unnamed events are not kept");
	answer = ask(CALL(.on_data = hear, .arg = &heard), "/events", -ECANCELED);
	assert_null(strstr(heard.text, "data: 0"));
	assert_null(strstr(heard.text, "unnamed"));
	httpc_answer_free(&answer);
}

/* What is given comes first and whole, in place of the last events, and then what is sent. */
static int hear_replay(void *arg, const void *data, size_t len)
{
	struct heard *heard = arg;
	const char *end = memchr(data, 'b', len); /* of bye */

	if (heard->len < 64) {
		size_t n = len < 64 ? len : 64;

		memcpy(heard->text, data, n);
	}
	heard->len += len;
	if (heard->len >= REPLAY_BYTES && heard->len < REPLAY_BYTES + 64)
		http_topic_send(fix.topic, "bye", "3");
	return heard->len > REPLAY_BYTES && end ? -ECANCELED : 0;
}

static void replays_events(void **state)
{
	struct heard heard = { .len = 0 };
	struct httpc_answer answer;

	(void)state;
	http_topic_send(fix.topic, "load", "kept, but not for these");
	answer = ask(CALL(.on_data = hear_replay, .arg = &heard), "/replay", -ECANCELED);
	assert_non_null(strstr(heard.text, "event: first\ndata: 1\n"));
	assert_null(strstr(heard.text, "kept"));
	assert_true(heard.len >= REPLAY_BYTES);
	httpc_answer_free(&answer);
}

static void counts(void **state)
{
	size_t len;
	char *page = metrics_render(fix.metrics, &len);

	(void)state;
	assert_non_null(strstr(
		page, "http_requests_total{server=\"test\",route=\"/cached\",status=\"200\"} 401"));
	assert_non_null(strstr(
		page, "http_requests_total{server=\"test\",route=\"none\",status=\"404\"} 1"));
	assert_non_null(strstr(page, "http_request_seconds_count{server=\"test\"}"));
	free(page);
	assert_int_equal(fix.done, 6);
}

static void *ask_once(void *arg)
{
	struct httpc_answer answer;
	struct httpc_call call = { .url = arg };

	httpc_do(fix.client, &call, &answer);
	httpc_answer_free(&answer);
	return NULL;
}

static void start_another(void)
{
	int fd = bind_unix(fix.folder, 16);

	assert_int_equal(httpd_start(&fix.server, &(struct httpd_options){ .metrics = fix.metrics },
				     &fd, 1, routes, &fix),
			 0);
	fix.topic = http_topic_new(fix.server, 2);
	expect(CALL(0), "/cached", 200, "kept");
}

static void stop_ends_events(void **state)
{
	struct timespec began, ended;
	pthread_t thread;
	char url[256];

	(void)state;
	snprintf(url, sizeof(url), "%s/events", fix.base);
	assert_int_equal(pthread_create(&thread, NULL, ask_once, url), 0);
	for (int i = 0; i < 5000 && !http_topic_listeners(fix.topic); i++)
		usleep(1000);
	assert_int_equal(http_topic_listeners(fix.topic), 1);
	clock_gettime(CLOCK_MONOTONIC, &began);
	httpd_stop(fix.server, 30000);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_true(ended.tv_sec - began.tv_sec < 15);
	pthread_join(thread, NULL);
	http_topic_free(fix.topic);
	start_another();
}

static void stops_with_waiting_requests(void **state)
{
	pthread_t threads[3];
	char url[256];
	int done = fix.done;

	(void)state;
	snprintf(url, sizeof(url), "%s/never", fix.base);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_once, url), 0);
	for (int i = 0; i < 5000 && fix.waiting < 3; i++)
		usleep(1000);
	http_topic_free(fix.topic);
	httpd_stop(fix.server, 50);
	assert_int_equal(fix.done, done + 3);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	start_another();
}

/* ---- answers that stand apart ---- */

static ssize_t endless(void *arg, uint64_t pos, char *buf, size_t max)
{
	(void)arg, (void)max;
	if (pos)
		return HTTP_READ_LATER;
	buf[0] = ':';
	return 1;
}

static enum http_next apart(struct http_req *req, void *arg)
{
	(void)arg;
	if (!http_stand_apart(req))
		return http_reply_error(req, 503, "full", "there are as many as may be");
	return http_reply_stream(req, 200, "text/event-stream", UINT64_MAX, endless, NULL, NULL);
}

static enum http_next plain(struct http_req *req, void *arg)
{
	(void)arg;
	return http_reply(req, 200, NULL, "x", 1);
}

static const struct http_route apart_routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/apart", .begin = apart },
	{ .methods = 1u << HTTP_GET, .path = "/plain", .begin = plain },
	{ .path = NULL },
};

/* Asks and keeps the connection: the status; 0: it was closed. */
static int keep(const char *base, const char *path, int *fd)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char text[256];
	ssize_t n;

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", base);
	*fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(*fd >= 0);
	assert_int_equal(connect(*fd, (struct sockaddr *)&to, sizeof(to)), 0);
	n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	if (send(*fd, text, (size_t)n, MSG_NOSIGNAL) != n)
		return 0;
	n = recv(*fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return atoi(text + strlen("HTTP/1.1 "));
}

/* The server sees the end of others in a moment. */
static void keep_until(const char *base, const char *path, int *fd)
{
	for (int i = 0; keep(base, path, fd) != 200; i++) {
		assert_true(i < 1000);
		close(*fd);
		poll(NULL, 0, 10);
	}
}

/* So many that stand apart, so many others; each kind leaves the other's places alone. */
static void stand_apart(void **state)
{
	struct httpd_options opt = { .name = "apart", .threads = 1, .connections_max = 4, .apart_max = 3 };
	char path[120], url[160];
	struct addr_port at;
	struct httpd *server;
	int fd, held[7];

	(void)state;
	snprintf(path, sizeof(path), "%s/apart.sock", fix.folder);
	snprintf(url, sizeof(url), "unix:%s", path);
	assert_int_equal(addr_port_parse(&at, url), 0);
	fd = addr_bind(&at, SOCK_STREAM, 64, false, 0);
	assert_true(fd >= 0);
	assert_int_equal(httpd_start(&server, &opt, &fd, 1, apart_routes, NULL), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(keep(path, "/apart", &held[i]), 200);
	for (int i = 2; i < 6; i++)
		assert_int_equal(keep(path, "/plain", &held[i]), 200);
	assert_int_equal(keep(path, "/plain", &held[6]), 0); /* closed at once */
	close(held[6]);
	close(held[5]);
	keep_until(path, "/apart", &held[5]);
	assert_int_equal(keep(path, "/apart", &held[6]), 503);
	close(held[6]);
	for (int i = 0; i < 6; i++)
		close(held[i]);
	httpd_stop(server, 0);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listens_later),
		cmocka_unit_test(says_what_was_asked),
		cmocka_unit_test(gathers),
		cmocka_unit_test(back_pressure),
		cmocka_unit_test(streams),
		cmocka_unit_test(files),
		cmocka_unit_test(headers_and_late),
		cmocka_unit_test(cached_by_many),
		cmocka_unit_test(tells_events),
		cmocka_unit_test(replays_events),
		cmocka_unit_test(counts),
		cmocka_unit_test(stand_apart),
		cmocka_unit_test(stop_ends_events),
		cmocka_unit_test(stops_with_waiting_requests),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
