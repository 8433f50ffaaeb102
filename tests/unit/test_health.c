/* SPDX-License-Identifier: Apache-2.0 */
/* health.c: verdicts, parsing, and real probes of a server on loopback that behaves badly in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "user/agent/health.h"

/* ---- pure parts --------------------------------------------------------------------------------- */

static void verdicts(void **state)
{
	struct health_verdict v = { 0 };

	(void)state;
	assert_true(health_judge(&v, true, 2, 3) && v.known && v.up);
	assert_false(health_judge(&v, false, 2, 3));
	assert_false(health_judge(&v, false, 2, 3));
	assert_false(health_judge(&v, true, 2, 3));
	assert_false(health_judge(&v, false, 2, 3));
	assert_false(health_judge(&v, false, 2, 3));
	assert_true(health_judge(&v, false, 2, 3) && !v.up);
	assert_false(health_judge(&v, true, 2, 3));
	assert_true(health_judge(&v, true, 2, 3) && v.up);
	v = (struct health_verdict){ 0 };
	assert_false(health_judge(&v, false, 2, 2));
	assert_false(v.known);
	assert_true(health_judge(&v, false, 2, 2) && v.known && !v.up);
}

static void parses(void **state)
{
	static const char good[] = "HTTP/1.1 200 OK\r\nX: y\r\nEndpoint-Load-Metrics: TEXT "
				   "cpu_utilization=0.5, rps_fractional=7\r\nZ: 1\r\n\r\nok";
	static const char bad_report[] = "HTTP/1.0 503 No\r\nendpoint-load-metrics: TEXT x\r\n\r\n";
	static const char *const bad[] = { "SSH-2.0-x\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 2x0 \r\n\r\n",
					   "HTTP/1.1\r\n\r\n", "HTTP/1.1 \r\n\r\n" };
	struct health_answer answer;
	char *large;

	(void)state;
	for (size_t len = 0; len < sizeof(good) - 3; len++)
		assert_int_equal(health_parse(&answer, good, len), 0);
	assert_int_equal(health_parse(&answer, good, sizeof(good) - 1), 1);
	assert_int_equal(answer.status, 200);
	assert_true(answer.reported && answer.report.cpu_utilization == 0.5);
	assert_int_equal(health_parse(&answer, bad_report, sizeof(bad_report) - 1), 1);
	assert_true(answer.status == 503 && !answer.reported);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(health_parse(&answer, bad[i], strlen(bad[i])), -EINVAL);
	large = malloc(HEALTH_ANSWER_MAX);
	memset(large, 'a', HEALTH_ANSWER_MAX);
	memcpy(large, "HTTP/1.1 200 OK\r\nX: ", 20);
	assert_int_equal(health_parse(&answer, large, HEALTH_ANSWER_MAX - 1), 0);
	assert_int_equal(health_parse(&answer, large, HEALTH_ANSWER_MAX), -EINVAL);
	free(large);
}

/* ---- real probes ---------------------------------------------------------------------------------- */

enum mode { ANSWER, ERROR, SILENT, FLOOD, CUT, GARBAGE };

struct bench {
	sd_event *event;
	int listener;
	struct health_spec spec;
	enum mode mode;
	int silent[64];
	size_t nsilent;
	struct health_result last;
	int results, wanted;
	int marked;             /* sockets that were asked for */
	uint64_t changed_at;
};

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void answer(struct bench *b, int fd)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nendpoint-load-metrics: JSON {\"cpu_utilization\":0.25}"
				 "\r\nContent-Length: 2\r\n\r\nok";
	char request[1024], flood[4096];
	ssize_t len = recv(fd, request, sizeof(request) - 1, 0);

	request[len > 0 ? len : 0] = '\0';
	memset(flood, 'x', sizeof(flood));
	if (b->spec.type == CONF_CHECK_HTTP)
		assert_non_null(strstr(request, "GET /_/health HTTP/1.1\r\nHost: 127.0.0.1:"));
	if (b->mode == ANSWER)
		send(fd, ok, sizeof(ok) - 1, MSG_NOSIGNAL);
	if (b->mode == ERROR)
		send(fd, "HTTP/1.1 500 Broken\r\n\r\n", 23, MSG_NOSIGNAL);
	if (b->mode == GARBAGE)
		send(fd, "220 mail.example ESMTP\r\n", 24, MSG_NOSIGNAL);
	if (b->mode == FLOOD) {
		send(fd, "HTTP/1.1 200 OK\r\nX: ", 20, MSG_NOSIGNAL);
		for (int i = 0; i < 8; i++)
			send(fd, flood, sizeof(flood), MSG_NOSIGNAL);
	}
	close(fd);
}

static int on_listener(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct bench *b = arg;
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	struct timeval patience = { .tv_usec = 200000 };

	(void)source;
	(void)revents;
	if (peer < 0)
		return 0;
	if (b->mode == SILENT && b->nsilent < 64) {
		b->silent[b->nsilent++] = peer;
		return 0;
	}
	setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	/* The probe's request is on its way through this same loop: read it from there. */
	if (b->mode == CUT || b->spec.type == CONF_CHECK_TCP)
		close(peer);
	else
		b->silent[b->nsilent++] = peer;
	return 0;
}

/* Answers those whose request has come. */
static void serve(struct bench *b)
{
	for (size_t i = 0; b->mode != SILENT && i < b->nsilent;) {
		char byte;

		if (recv(b->silent[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1 || errno != EAGAIN) {
			answer(b, b->silent[i]);
			b->silent[i] = b->silent[--b->nsilent];
		} else {
			i++;
		}
	}
}

static int open_socket(void *arg, struct addr_port *target)
{
	((struct bench *)arg)->marked++;
	return socket(target->addr.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void on_result(void *arg, const struct health_result *result)
{
	struct bench *b = arg;

	b->last = *result;
	b->results++;
	if (result->changed)
		b->changed_at = now_us();
}

static void run(struct bench *b, struct health *h, int results)
{
	uint64_t end = now_us() + 10000000;

	b->wanted = b->results + results;
	while (b->results < b->wanted) {
		assert_true(now_us() < end);
		assert_true(sd_event_run(b->event, 5000) >= 0);
		serve(b);
	}
	assert_non_null(h);
}

static struct health *begin(struct bench *b, enum conf_check type)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	struct health *h;

	memset(b, 0, sizeof(*b));
	assert_true(sd_event_new(&b->event) >= 0);
	b->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(b->listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(b->listener, 16), 0);
	assert_int_equal(getsockname(b->listener, (struct sockaddr *)&sin, &len), 0);
	addr_from_sockaddr(&b->spec.target, (struct sockaddr *)&sin);
	b->spec.type = type;
	strcpy(b->spec.path, "/_/health");
	b->spec.interval_us = 30000;
	b->spec.timeout_us = 100000;
	b->spec.rise = 2;
	b->spec.fall = 3;
	assert_true(sd_event_add_io(b->event, NULL, b->listener, EPOLLIN, on_listener, b) >= 0);
	assert_int_equal(health_start(&h, b->event, &b->spec, open_socket, b, on_result, b), 0);
	return h;
}

static void end(struct bench *b, struct health *h)
{
	health_stop(h);
	for (size_t i = 0; i < b->nsilent; i++)
		close(b->silent[i]);
	sd_event_unref(b->event);
	if (b->listener >= 0)
		close(b->listener);
}

static void http_check(void **state)
{
	static const struct { enum mode mode; const char *why; } bad[] = {
		{ ERROR, "status 500" }, { GARBAGE, "not HTTP" }, { FLOOD, "too long" },
		{ CUT, "" }, { SILENT, "in time" },
	};
	struct health *h;
	struct bench b;

	(void)state;
	h = begin(&b, CONF_CHECK_HTTP);
	run(&b, h, 1);
	assert_true(b.last.ok && b.last.changed && health_verdict(h)->up);
	assert_true(b.last.answer.reported && b.last.answer.report.cpu_utilization == 0.25);
	assert_true(b.last.took_ms > 0 && b.last.took_ms < 100 && b.marked == 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		b.mode = bad[i].mode;
		run(&b, h, 2);
		if (b.last.ok || !strstr(b.last.why, bad[i].why))
			fail_msg("mode %d: %s", (int)bad[i].mode, b.last.why);
		assert_true(*b.last.why);
		run(&b, h, 2);
		assert_false(health_verdict(h)->up);
		for (size_t k = 0; k < b.nsilent; k++)
			close(b.silent[k]);
		b.nsilent = 0;
		b.mode = ANSWER;
		run(&b, h, 3);
		assert_true(health_verdict(h)->up);
	}
	end(&b, h);
}

static void tcp_check(void **state)
{
	struct health *h;
	struct bench b;
	uint64_t died;

	(void)state;
	h = begin(&b, CONF_CHECK_TCP);
	run(&b, h, 3);
	assert_true(b.last.ok && health_verdict(h)->up);
	/* Dead: noticed within fall intervals (and the jitter of one). */
	shutdown(b.listener, SHUT_RDWR);
	died = now_us();
	run(&b, h, 3);
	assert_false(health_verdict(h)->up);
	assert_non_null(strstr(b.last.why, "refused"));
	assert_true(b.changed_at - died < 3 * 30000 * 1.1 + 100000);
	end(&b, h);
}

static void stops_in_mid_probe(void **state)
{
	struct health *h;
	struct bench b;

	(void)state;
	h = begin(&b, CONF_CHECK_HTTP);
	b.mode = SILENT;
	while (b.nsilent == 0)
		assert_true(sd_event_run(b.event, 5000) >= 0);
	end(&b, h);
	health_stop(NULL);
}

/* The agent stood still for longer than the time-out: its backend did answer. */
static void stalls_are_not_the_backends(void **state)
{
	const struct timespec stall = { 0, 11000000 };
	struct health *h;
	struct bench b;

	(void)state;
	h = begin(&b, CONF_CHECK_TCP);
	health_stop(h);
	b.spec.interval_us = 1000;
	b.spec.timeout_us = 10000;
	assert_int_equal(health_start(&h, b.event, &b.spec, open_socket, &b, on_result, &b), 0);
	while (b.marked < 20) {
		int marked = b.marked;

		while (b.marked == marked)
			assert_true(sd_event_run(b.event, 5000) >= 0);
		nanosleep(&stall, NULL);
		run(&b, h, 1);
		assert_true(b.last.ok);
	}
	end(&b, h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),
		cmocka_unit_test(parses),
		cmocka_unit_test(http_check),
		cmocka_unit_test(tcp_check),
		cmocka_unit_test(stops_in_mid_probe),
		cmocka_unit_test(stalls_are_not_the_backends),
	};

	return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
