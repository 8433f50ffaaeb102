/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server and client of lib/, one against the other, over a Unix socket. */
#include "tests/unit/httpd_routes.h"

#include <dlfcn.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "lib/httpd_impl.h"

static struct fixture fix;

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
	opt.choose = choose;
	fix.choose_arg = &fix;
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

static void chosen_before_routes(void **state)
{
	(void)state;
	expect(CALL(0), "/chosen/a/../b//c%2F%2e?q=1+2%2B&none", 200, "GET /chosen/a/../b//c%2F%2e?q=1+2%2B&none\n");
	expect(CALL(.method = "DELETE"), "/chosen", 200, "DELETE /chosen\n");
	expect(CALL(.headers = (const char *const[]){ "X-Choose: a  b ", "x-two: 1", "X-Two: 2", NULL }), "/cached", 200,
	       "X-Choose=a  b \nx-two=1\nX-Two=2\n");
	expect(CALL(0), "/cached", 200, "kept");
	expect(CALL(0), "/b/x/../y", 400, "target");
	expect(CALL(0), "/by-name", 404, NULL);
	expect(CALL(.method = "PUT", .body = "x", .body_len = 1), "/chosen", 413, NULL);
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

/* What libmicrohttpd asks for, up to the end of a file that is sent over that socket and no further. */
static void files_in_large_pieces(void **state)
{
	static const size_t asked = 128 << 10;
	char path[256];
	off64_t at = 0;
	int in, out;

	(void)state;
	/* The one that shared libraries find. */
	assert_ptr_equal(dlsym(RTLD_DEFAULT, "sendfile64"), (void *)sendfile64);
	snprintf(path, sizeof(path), "%s/big", fix.folder);
	in = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/copy", fix.folder);
	out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(in >= 0 && out >= 0);
	assert_int_equal(sendfile64(out, in, &at, asked), asked);
	http_file_begin(out, BIG - 100);
	at = 0;
	assert_int_equal(sendfile64(out, in, &at, asked / 2), asked / 2);
	at = 0;
	assert_int_equal(sendfile64(out, in, &at, asked), BIG - 100 - asked);
	assert_int_equal(at, BIG - 100 - asked);
	assert_int_equal(sendfile64(out, in, &at, asked), asked);
	http_file_begin(out, 0);
	at = 0;
	assert_int_equal(sendfile64(out, in, &at, asked), asked);
	close(in);
	close(out);
}

static void headers_and_late(void **state)
{
	struct httpc_answer answer = ask(CALL(0), "/headers", 0);

	(void)state;
	assert_string_equal(answer.etag, "\"x\"");
	httpc_answer_free(&answer);
	answer = ask(CALL(0), "/cached-body", 0);
	assert_string_equal(answer.etag, "\"own\"");
	httpc_answer_free(&answer);
	for (int i = 0; i < 20; i++)
		expect(CALL(0), "/late", 200, "late");
}

static void *ask_cached(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		expect(CALL(0), "/cached", 200, "kept");
		expect(CALL(0), "/cached-body", 203, "kept");
	}
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
		page, "http_requests_total{server=\"test\",route=\"/cached\",status=\"200\"} 402"));
	assert_non_null(strstr(
		page, "http_requests_total{server=\"test\",route=\"none\",status=\"404\"} 2"));
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
	/* Those that the tests before this one cut are seen to be gone when the watcher looks. */
	for (int i = 0; i < 5000 && http_topic_listeners(fix.topic); i++)
		usleep(1000);
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

/* ---- held requests, which a thread of the owner releases ---- */

#define HOLDERS 16

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct http_req *reqs[HOLDERS];
	unsigned int n, answered;
	bool quit;
} held = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static enum http_next held_then(struct http_req *req, void *arg)
{
	(void)arg;
	return http_reply(req, 201, NULL, NULL, 0);
}

static enum http_next held_end(struct http_req *req, void *arg)
{
	(void)arg;
	if (!http_hold(req))
		return http_reply(req, 503, NULL, NULL, 0);
	pthread_mutex_lock(&held.lock);
	held.reqs[held.n++] = req;
	held.answered++;
	pthread_cond_broadcast(&held.wake);
	pthread_mutex_unlock(&held.lock);
	return HTTP_LATER;
}

static void *release_all(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&held.lock);
	while (!held.quit || held.n) {
		struct http_req *reqs[HOLDERS];
		unsigned int n = held.n;

		memcpy(reqs, held.reqs, sizeof(reqs));
		held.n = 0;
		if (!n) {
			pthread_cond_wait(&held.wake, &held.lock);
			continue;
		}
		pthread_mutex_unlock(&held.lock);
		for (unsigned int i = 0; i < n; i++)
			http_release(reqs[i], held_then, NULL);
		pthread_mutex_lock(&held.lock);
	}
	pthread_mutex_unlock(&held.lock);
	return NULL;
}

/* One after the other on a connection until the server closes it. */
static void *put_for_ever(void *path)
{
	static const char text[] = "PUT /held HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
	struct addr_port at = { .port = 0 };
	struct sockaddr_storage ss;
	socklen_t len;
	char answer[1024];
	int fd;

	snprintf(at.path, sizeof(at.path), "%s", (const char *)path);
	len = addr_port_sockaddr(&at, &ss);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (!connect(fd, (struct sockaddr *)&ss, len))
		while (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL) > 0 && recv(fd, answer, sizeof(answer), 0) > 0)
			;
	close(fd);
	return NULL;
}

static void stops_while_held_go_on(void **state)
{
	static const struct http_route held_routes[] = {
		{ .methods = 1u << HTTP_PUT, .path = "/held", .body_max = 10, .end = held_end },
		{ .path = NULL },
	};
	char folder[64], path[128];
	pthread_t clients[HOLDERS], releaser;

	(void)state;
	unit_folder(folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/sock", folder);
	assert_int_equal(pthread_create(&releaser, NULL, release_all, NULL), 0);
	for (int round = 0; round < 20; round++) {
		struct httpd *server = NULL;
		int fd = bind_unix(folder, HOLDERS);

		assert_int_equal(httpd_start(&server, &(struct httpd_options){ .name = "held", .threads = 2 }, &fd, 1, held_routes, NULL), 0);
		held.answered = 0;
		for (int i = 0; i < HOLDERS; i++)
			assert_int_equal(pthread_create(&clients[i], NULL, put_for_ever, path), 0);
		pthread_mutex_lock(&held.lock);
		while (held.answered < 4 * HOLDERS)
			pthread_cond_wait(&held.wake, &held.lock);
		pthread_mutex_unlock(&held.lock);
		httpd_stop(server, 10);
		for (int i = 0; i < HOLDERS; i++)
			pthread_join(clients[i], NULL);
		unlink(path);
	}
	pthread_mutex_lock(&held.lock);
	held.quit = true;
	pthread_cond_broadcast(&held.wake);
	pthread_mutex_unlock(&held.lock);
	pthread_join(releaser, NULL);
	unit_folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listens_later),
		cmocka_unit_test(says_what_was_asked),
		cmocka_unit_test(chosen_before_routes),
		cmocka_unit_test(gathers),
		cmocka_unit_test(back_pressure),
		cmocka_unit_test(streams),
		cmocka_unit_test(files),
		cmocka_unit_test(files_in_large_pieces),
		cmocka_unit_test(headers_and_late),
		cmocka_unit_test(cached_by_many),
		cmocka_unit_test(tells_events),
		cmocka_unit_test(replays_events),
		cmocka_unit_test(counts),
		cmocka_unit_test(stop_ends_events),
		cmocka_unit_test(stops_with_waiting_requests),
		cmocka_unit_test(stops_while_held_go_on),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
