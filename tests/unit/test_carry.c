/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request that a gateway carries: a client, a server that carries, and servers in the place of endpoints, all here. Bodies
 * both ways, an endpoint that refuses early, is dead, dies in the middle, is slow; a client that goes away.
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "http/gateway/carry.h"
#include "lib/httpc.h"

#define BIG (3u << 20)

static struct carriers *carriers;
static struct httpd *gateway, *endpoint;
static struct httpc *client;
static char gateway_url[64], endpoint_url[64], dead_url[64], cutter_url[64];
/* What pick() gives, in this order. */
static const char *_Atomic order_of[CARRY_TRIES + 1];
static atomic_int picked, faults[CARRY_MEMORY + 1];
/* What the endpoint saw. */
static _Atomic uint64_t got, sum;
static atomic_int begun, ended_ok, left;
static _Atomic(struct http_req *) held;

static int bound(char url[64])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	snprintf(url, 64, "http://127.0.0.1:%d", ntohs(at.sin_port));
	return fd;
}

/* ---- the endpoint ---- */

static enum http_next take_begin(struct http_req *req, void *arg)
{
	(void)arg;
	begun++;
	assert_true(!http_header(req, "Expect") == !http_header(req, "X-Expects"));
	if (http_header(req, "X-Refuse"))
		return http_reply_error(req, 403, "no", "not you");
	return HTTP_CONTINUE;
}

static enum http_next take_body(struct http_req *req, void *arg, const void *data, size_t len, size_t *taken)
{
	(void)arg;
	if (http_header(req, "X-Slow") && !held && !got) { /* takes nothing until it is let go */
		held = req;
		*taken = 0;
		return HTTP_CONTINUE;
	}
	for (size_t i = 0; i < len; i++)
		sum += ((const uint8_t *)data)[i] * (1 + (got + i) % 251);
	got += len;
	return HTTP_CONTINUE;
}

static enum http_next take_end(struct http_req *req, void *arg)
{
	char text[64];

	(void)arg;
	ended_ok++;
	http_add_header(req, "ETag", "\"abc\"");
	http_add_header(req, "x-amz-version-id", http_target(req));
	snprintf(text, sizeof(text), "%llu", (unsigned long long)sum);
	return http_reply(req, 200, "text/plain", text, strlen(text));
}

static void take_done(struct http_req *req, void *arg)
{
	(void)req, (void)arg;
	if (held == req)
		held = NULL;
	left++;
}

static ssize_t pattern(void *arg, uint64_t pos, char *buf, size_t max)
{
	uint64_t size = (uintptr_t)arg;
	size_t n = max < size - pos ? max : (size_t)(size - pos);

	for (size_t i = 0; i < n; i++)
		buf[i] = (char)((pos + i) * 31 >> 3);
	return n ? (ssize_t)n : HTTP_READ_END;
}

static enum http_next give(struct http_req *req, void *arg)
{
	const char *size = http_query(req, "size");
	uint64_t n = size ? strtoull(size, NULL, 10) : 5;

	(void)arg;
	begun++;
	if (http_query(req, "none"))
		return http_reply(req, 304, NULL, NULL, 0);
	return http_reply_stream(req, 206, "x/y", http_query(req, "chunked") ? UINT64_MAX : n, pattern, NULL, (void *)(uintptr_t)n);
}

static const struct http_route endpoint_routes[] = {
	{ .methods = 1u << HTTP_PUT | 1u << HTTP_POST,
	  .path = "/*rest",
	  .body_max = UINT64_MAX,
	  .begin = take_begin,
	  .body = take_body,
	  .end = take_end,
	  .done = take_done },
	{ .methods = 1u << HTTP_GET, .path = "/*rest", .begin = give },
	{ .path = NULL },
};

/* Sends the beginning of an answer of 1 MiB, or nothing, and closes; says by the target. */
static void *cutter_run(void *arg)
{
	int listener = (int)(intptr_t)arg, fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		char text[65536];
		ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, "/half")) {
			n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
			memset(text + n, 'x', 5000);
			assert_int_equal(send(fd, text, (size_t)n + 5000, MSG_NOSIGNAL), n + 5000);
		}
		close(fd);
	}
	return NULL;
}

/* ---- the gateway ---- */

static int pick(void *arg, char (*tried)[64], size_t ntried, char base[256], char node[64])
{
	int n = picked++;

	(void)arg, (void)tried;
	if (ntried > CARRY_TRIES || n >= CARRY_TRIES || !order_of[n])
		return -ENOENT;
	snprintf(base, 256, "%s", order_of[n]);
	snprintf(node, 64, "e%d", n);
	return 0;
}

static enum http_next refuse(void *arg, struct http_req *req, enum carry_fault fault, const char *node)
{
	(void)arg;
	faults[fault]++;
	http_add_header(req, "X-Node", node);
	return http_reply_error(req, 503, "fault", "%d", fault);
}

static enum http_next carry_it(struct http_req *req, void *arg)
{
	const char *none[] = { "X-Weir-S3-Host: them", http_header(req, "X-Refuse") ? "X-Refuse: 1" : "A: b",
			       http_header(req, "X-Slow") ? "X-Slow: 1" : "C: d", http_header(req, "Expect") ? "X-Expects: 1" : "E: f", NULL };
	uint64_t len = http_content_length(req);
	struct carry_order order = { .method = http_method_name(http_method(req)),
				     .target = http_target(req),
				     .headers = none,
				     .body_len = len,
				     .has_body = len != 0,
				     .expects = http_header(req, "Expect") != NULL,
				     .pick = pick,
				     .refuse = refuse };
	struct carry *c = carry_begin(carriers, req, &order);

	(void)arg;
	assert_non_null(c);
	http_set_state(req, c);
	return carry_next(c);
}

static enum http_next body(struct http_req *req, void *arg, const void *data, size_t len, size_t *taken)
{
	(void)arg;
	return carry_body(http_state(req), data, len, taken);
}

static enum http_next end(struct http_req *req, void *arg)
{
	(void)arg;
	return carry_end(http_state(req));
}

static void done(struct http_req *req, void *arg)
{
	(void)arg;
	carry_done(http_state(req));
}

static const struct http_route gateway_routes[] = {
	{ .methods = 1u << HTTP_PUT | 1u << HTTP_GET | 1u << HTTP_POST | 1u << HTTP_DELETE,
	  .path = "/*rest",
	  .body_max = UINT64_MAX,
	  .begin = carry_it,
	  .body = body,
	  .end = end,
	  .done = done },
	{ .path = NULL },
};

static int set_up(void **state)
{
	struct httpd_options opt = { .name = "t", .threads = 2 };
	struct httpc_options copt = { .stall_ms = 20000 };
	struct conf conf = { 0 };
	pthread_t thread;
	int fd = bound(gateway_url), cutter;

	(void)state;
	assert_int_equal(carriers_new(&carriers, &conf, 1), 0);
	assert_int_equal(carriers_start(carriers), 0);
	listen(fd, 16);
	assert_int_equal(httpd_start(&gateway, &opt, &fd, 1, gateway_routes, NULL), 0);
	fd = bound(endpoint_url);
	listen(fd, 16);
	assert_int_equal(httpd_start(&endpoint, &opt, &fd, 1, endpoint_routes, NULL), 0);
	bound(dead_url); /* bound, nobody listens */
	cutter = bound(cutter_url);
	listen(cutter, 16);
	assert_int_equal(pthread_create(&thread, NULL, cutter_run, (void *)(intptr_t)cutter), 0);
	pthread_detach(thread);
	return httpc_new(&client, &copt);
}

static int tear_down(void **state)
{
	(void)state;
	httpc_free(client);
	carriers_stop(carriers);
	httpd_stop(gateway, 1000);
	httpd_stop(endpoint, 1000);
	carriers_free(carriers);
	return 0;
}

static void endpoints(const char *first, const char *second)
{
	order_of[0] = first;
	order_of[1] = second;
	order_of[2] = NULL;
	picked = begun = ended_ok = left = 0;
	got = sum = 0;
	memset(faults, 0, sizeof(faults));
}

struct source {
	uint64_t at, len, sum;
};

static ssize_t produce(void *arg, char *buf, size_t max)
{
	struct source *s = arg;
	size_t n = max < s->len - s->at ? max : (size_t)(s->len - s->at);

	for (size_t i = 0; i < n; i++) {
		buf[i] = (char)((s->at + i) * 7 >> 2);
		s->sum += (uint8_t)buf[i] * (1 + (s->at + i) % 251);
	}
	s->at += n;
	return (ssize_t)n;
}

static int ask(struct httpc_answer *a, const char *method, const char *target, struct source *s, bool chunked, const char *header)
{
	char url[256];
	const char *headers[] = { header, NULL };
	struct httpc_call call = { .method = method, .url = url, .headers = header ? headers : NULL, .arg = s, .body_max = 64 << 20 };

	snprintf(url, sizeof(url), "%s%s", gateway_url, target);
	if (s) {
		call.read = produce;
		call.read_len = chunked ? UINT64_MAX : s->len;
	}
	return httpc_do(client, &call, a);
}

static void bodies_go_up(void **state)
{
	static const uint64_t sizes[] = { 1, 70000, 131072, 131073, BIG };

	(void)state;
	for (size_t i = 0; i < 10; i++) {
		struct source s = { .len = sizes[i / 2] };
		struct httpc_answer a;
		char want[32];

		endpoints(endpoint_url, NULL);
		assert_int_equal(ask(&a, "PUT", "/i/s3/a%2Fb//c?x=%20&y", &s, i % 2, NULL), 0);
		assert_int_equal(a.status, 200);
		snprintf(want, sizeof(want), "%llu", (unsigned long long)s.sum);
		assert_string_equal(a.body, want);
		assert_string_equal(a.etag, "\"abc\"");
		assert_int_equal(got, sizes[i / 2]);
		httpc_answer_free(&a);
	}
}

static void a_put_without_a_body(void **state)
{
	struct source s = { 0 };
	struct httpc_answer a;

	(void)state;
	endpoints(endpoint_url, NULL);
	assert_int_equal(ask(&a, "PUT", "/b/k", &s, false, NULL), 0);
	assert_int_equal(a.status, 200);
	httpc_answer_free(&a);
	endpoints(endpoint_url, NULL);
	assert_int_equal(ask(&a, "POST", "/b/k?uploads", NULL, false, NULL), 0);
	assert_int_equal(a.status, 200);
	httpc_answer_free(&a);
	assert_int_equal(got, 0);
}

static void answers_come_down(void **state)
{
	static const unsigned int sizes[] = { 0, 5, 131072, 131073, BIG };
	char target[64];

	(void)state;
	for (size_t i = 0; i < 10; i++) {
		struct httpc_answer a;

		endpoints(endpoint_url, NULL);
		snprintf(target, sizeof(target), "/x?size=%u%s", sizes[i / 2], i % 2 ? "&chunked=1" : "");
		assert_int_equal(ask(&a, "GET", target, NULL, false, NULL), 0);
		assert_int_equal(a.status, 206);
		assert_int_equal(a.len, sizes[i / 2]);
		for (size_t k = 0; k < a.len; k++)
			assert_true(a.body[k] == (char)(k * 31 >> 3));
		httpc_answer_free(&a);
	}
}

static void heads_and_nothing(void **state)
{
	struct httpc_answer a;

	(void)state;
	endpoints(endpoint_url, NULL);
	assert_int_equal(ask(&a, "HEAD", "/x?size=123456789", NULL, false, NULL), 0);
	assert_int_equal(a.status, 206);
	assert_int_equal(a.content_length, 123456789);
	httpc_answer_free(&a);
	endpoints(endpoint_url, NULL);
	assert_int_equal(ask(&a, "GET", "/x?none=1", NULL, false, NULL), 0);
	assert_int_equal(a.status, 304);
	assert_int_equal(a.len, 0);
	httpc_answer_free(&a);
}

static void an_early_refusal(void **state)
{
	struct source s = { .len = BIG };
	struct httpc_answer a;

	(void)state;
	endpoints(endpoint_url, NULL);
	assert_int_equal(ask(&a, "PUT", "/x", &s, false, "X-Refuse: 1"), 0);
	assert_int_equal(a.status, 403);
	assert_non_null(strstr(a.body, "not you"));
	assert_int_equal(got, 0);
	httpc_answer_free(&a);
}

static void another_endpoint(void **state)
{
	struct source s = { .len = 200000 };
	struct httpc_answer a;

	(void)state;
	endpoints(dead_url, endpoint_url);
	assert_int_equal(ask(&a, "PUT", "/x", &s, false, NULL), 0);
	assert_int_equal(a.status, 200);
	assert_int_equal(got, 200000);
	httpc_answer_free(&a);
	/* nothing of the answer was told: a GET is asked again, a PUT whose body was sent is not */
	endpoints(cutter_url, endpoint_url);
	assert_int_equal(ask(&a, "GET", "/x?size=7", NULL, false, NULL), 0);
	assert_int_equal(a.status, 206);
	assert_int_equal(a.len, 7);
	httpc_answer_free(&a);
	endpoints(cutter_url, endpoint_url);
	s = (struct source){ .len = 200000 };
	assert_int_equal(ask(&a, "PUT", "/x", &s, false, NULL), 0);
	assert_int_equal(a.status, 503);
	assert_int_equal(faults[CARRY_LOST], 1);
	assert_int_equal(begun, 0);
	httpc_answer_free(&a);
	endpoints(cutter_url, endpoint_url);
	assert_int_equal(ask(&a, "DELETE", "/x", NULL, false, NULL), 0);
	assert_int_equal(a.status, 503);
	assert_int_equal(faults[CARRY_LOST], 1);
	httpc_answer_free(&a);
}

static void no_endpoint(void **state)
{
	struct source s = { .len = BIG };
	struct httpc_answer a;

	(void)state;
	endpoints(NULL, NULL);
	assert_int_equal(ask(&a, "GET", "/x", NULL, false, NULL), 0);
	assert_int_equal(a.status, 503);
	assert_int_equal(faults[CARRY_NONE], 1);
	httpc_answer_free(&a);
	endpoints(dead_url, dead_url);
	assert_int_equal(ask(&a, "PUT", "/x", &s, false, NULL), 0);
	assert_int_equal(a.status, 503);
	assert_int_equal(faults[CARRY_UNREACHABLE], 1);
	assert_int_equal(picked, 3);
	httpc_answer_free(&a);
}

/* An answer that has begun is cut, so that the client sees that it is short. */
static void an_endpoint_dies(void **state)
{
	struct httpc_answer a;

	(void)state;
	endpoints(cutter_url, NULL);
	assert_int_equal(ask(&a, "GET", "/half", NULL, false, NULL), -ECONNRESET);
	httpc_answer_free(&a);
}

static int raw(const char *text)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	at.sin_port = htons((uint16_t)atoi(strrchr(gateway_url, ':') + 1));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	return fd;
}

static void wait_for(atomic_int *what, int count)
{
	for (int i = 0; *what < count; i++) {
		assert_true(i < 1000);
		poll(NULL, 0, 10);
	}
}

static void until_idle(void)
{
	for (int i = 0; carriers_active(carriers); i++) {
		assert_true(i < 1000);
		poll(NULL, 0, 10);
	}
}

/* Its request at the endpoint ends, too: in the middle of a body, and in the middle of an answer that it does not read. */
static void a_client_goes_away(void **state)
{
	int fd;

	(void)state;
	until_idle();
	endpoints(endpoint_url, NULL);
	fd = raw("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
	wait_for(&begun, 1);
	close(fd);
	wait_for(&left, 1);
	until_idle();
	assert_int_equal(ended_ok, 0);
	endpoints(endpoint_url, NULL);
	fd = raw("GET /x?size=100000000 HTTP/1.1\r\nHost: a\r\n\r\n");
	wait_for(&begun, 1);
	close(fd);
	until_idle();
}

/* An endpoint that takes nothing stops the client after a few buffers. */
static void back_pressure(void **state)
{
	const char head[] = "PUT /x HTTP/1.1\r\nHost: a\r\nX-Slow: 1\r\nContent-Length: 50000000\r\n\r\n";
	char *block = calloc(1, 65536), answer[512];
	int small = 65536, fd;
	size_t sent = 0;
	ssize_t n;

	(void)state;
	endpoints(endpoint_url, NULL);
	fd = raw(head);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (int still = 0; still < 20;) {
		n = send(fd, block, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
		still = n > 0 ? 0 : still + 1;
		sent += n > 0 ? (size_t)n : 0;
		if (n <= 0)
			poll(NULL, 0, 10);
	}
	assert_true(sent < 40000000); /* the rest is in sockets and rings */
	assert_non_null(held);
	got = 1; /* the endpoint goes on */
	http_resume(held);
	while (sent < 50000000 && (n = send(fd, block, sent + 65536 > 50000000 ? 50000000 - sent : 65536, MSG_NOSIGNAL)) > 0)
		sent += (size_t)n;
	assert_int_equal(sent, 50000000);
	n = recv(fd, answer, sizeof(answer), 0);
	assert_true(n > 12 && !strncmp(answer, "HTTP/1.1 200", 12));
	assert_int_equal(got, 50000001);
	close(fd);
	free(block);
}

/* What comes until the server closes, or says "100 Continue". */
static char *hear(int fd, char *out, size_t size, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	ssize_t n = 1;

	out[0] = '\0';
	while (n > 0 && poll(&p, 1, timeout_ms) == 1) {
		n = recv(fd, out + len, size - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
		out[len] = '\0';
		if (!strcmp(out, "HTTP/1.1 100 Continue\r\n\r\n") || (strstr(out, "\r\n\r\n") && strstr(out, "not you")))
			break;
	}
	return out;
}

static void expect_refusal(const char *answer)
{
	if (strncmp(answer, "HTTP/1.1 403 ", 13) || !strstr(answer, "Connection: close") || !strstr(answer, "\r\n\r\n{") ||
	    !strstr(answer, "not you"))
		fail_msg("no refusal: %s", answer);
}

/* Who waits to be told "100 Continue" hears what the endpoint says, before a byte of the body. */
static void who_waits_is_told(void **state)
{
	char text[4096];
	int fd;

	(void)state;
	endpoints(endpoint_url, NULL);
	fd = raw("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000000\r\nExpect: 100-continue\r\nX-Refuse: 1\r\n\r\n");
	expect_refusal(hear(fd, text, sizeof(text), 5000));
	close(fd);
	until_idle();
	endpoints(endpoint_url, NULL);
	fd = raw("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
	assert_string_equal(hear(fd, text, sizeof(text), 5000), "HTTP/1.1 100 Continue\r\n\r\n");
	assert_int_equal(send(fd, "abc", 3, MSG_NOSIGNAL), 3);
	assert_true(!strncmp(hear(fd, text, sizeof(text), 1000), "HTTP/1.1 200", 12));
	assert_int_equal(got, 3);
	close(fd);
	endpoints(dead_url, dead_url);
	fd = raw("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
	assert_true(!strncmp(hear(fd, text, sizeof(text), 1000), "HTTP/1.1 503", 12));
	close(fd);
}

/* Refused in the middle of its body: a client that holds back the rest, of much and of little; one that sends all before it
 * listens; one that sends without an end. */
static void refused_in_the_middle(void **state)
{
	const char *lengths[] = { "5000000000", "5000" };
	char head[256], text[4096], *block = calloc(1, 1 << 20);
	size_t sent = 0;
	ssize_t n;
	int fd;

	(void)state;
	for (int i = 0; i < 2; i++) {
		endpoints(endpoint_url, NULL);
		snprintf(head, sizeof(head), "PUT /x HTTP/1.1\r\nHost: a\r\nX-Refuse: 1\r\nContent-Length: %s\r\n\r\nabc", lengths[i]);
		fd = raw(head);
		expect_refusal(hear(fd, text, sizeof(text), 4000));
		close(fd);
	}
	endpoints(endpoint_url, NULL);
	fd = raw("PUT /x HTTP/1.1\r\nHost: a\r\nX-Refuse: 1\r\nContent-Length: 100000000\r\n\r\n");
	while (sent < 100000000 && (n = send(fd, block, 1000000, MSG_NOSIGNAL)) > 0)
		sent += (size_t)n;
	assert_int_equal(sent, 100000000);
	expect_refusal(hear(fd, text, sizeof(text), 4000));
	close(fd);
	endpoints(endpoint_url, NULL);
	fd = raw("PUT /x HTTP/1.1\r\nHost: a\r\nX-Refuse: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
	do {
		snprintf(block, 10, "fff00\r\n");
		memcpy(block + 7 + 0xfff00, "\r\n", 2);
		block[7] = 'x';
		if (send(fd, block, 7 + 0xfff00 + 2, MSG_NOSIGNAL) <= 0)
			break;
	} while (recv(fd, text, 1, MSG_PEEK | MSG_DONTWAIT) != 1);
	expect_refusal(hear(fd, text, sizeof(text), 4000));
	close(fd);
	free(block);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_go_up),	      cmocka_unit_test(a_put_without_a_body), cmocka_unit_test(answers_come_down),
		cmocka_unit_test(heads_and_nothing), cmocka_unit_test(an_early_refusal),     cmocka_unit_test(another_endpoint),
		cmocka_unit_test(no_endpoint),	      cmocka_unit_test(an_endpoint_dies),     cmocka_unit_test(a_client_goes_away),
		cmocka_unit_test(back_pressure),     cmocka_unit_test(who_waits_is_told),    cmocka_unit_test(refused_in_the_middle),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
