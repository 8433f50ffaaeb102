/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ready answers in front of libmicrohttpd: whatever a client sends, a server with them says the same bytes as one without,
 * but for the date and the request's id; and their limits are the same.
 */
#include "tests/unit/unit.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/httpd.h"

#define ANSWER_MAX (1 << 20)
#define LARGE	   60000
#define ETAG	   "\"v1\""

struct side {
	struct httpd *server;
	struct metrics *metrics;
	struct addr_port at;
	unsigned int hot, routed;
};
static struct http_cached *small, *large, *unchanged;
static struct side with, without;

/* Answers "/cold0" to "/cold9", which are made ready by workers, who wait while the gate is shut; "/never" never is. */
#define COLD 10
static struct http_cached *cold[COLD];
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool shut, ready[COLD];
	unsigned int begun, ended;
} warm = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* ---- the servers ---- */

static int cold_number(const char *target)
{
	return !strncmp(target, "/cold", 5) ? target[5] - '0' : -1;
}

static struct http_cached *pick(const char *target, const char *if_none_match)
{
	if (cold_number(target) >= 0)
		return cold[cold_number(target)];
	if (!strcmp(target, "/large"))
		return large;
	if (strcmp(target, "/small") != 0)
		return NULL;
	return if_none_match && !strcmp(if_none_match, ETAG) ? unchanged : small;
}

static enum http_next begin(struct http_req *req, void *arg)
{
	struct side *side = arg;
	struct http_cached *answer = pick(http_path(req), http_header(req, "If-None-Match"));

	side->routed++;
	return answer ? http_reply_cached(req, answer) : http_reply_error(req, 404, "none", "nothing here");
}

static const struct http_route routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/:name", .begin = begin },
	{ .methods = 1u << HTTP_POST, .path = "/:name", .body_max = 100, .end = begin },
	{ .path = NULL },
};

static void run_warm(void *what, void *arg)
{
	int number = cold_number(what);

	(void)arg;
	pthread_mutex_lock(&warm.lock);
	warm.begun++;
	pthread_cond_broadcast(&warm.changed);
	while (warm.shut)
		pthread_cond_wait(&warm.changed, &warm.lock);
	if (number >= 0)
		warm.ready[number] = true;
	warm.ended++;
	pthread_cond_broadcast(&warm.changed);
	pthread_mutex_unlock(&warm.lock);
}

static bool is_cold(const char *target)
{
	int number = cold_number(target);
	bool is;

	pthread_mutex_lock(&warm.lock);
	is = number < 0 ? !strcmp(target, "/never") : !warm.ready[number];
	pthread_mutex_unlock(&warm.lock);
	return is;
}

/* All is cold again, and none was warmed. */
static void cool(bool shut)
{
	pthread_mutex_lock(&warm.lock);
	memset(warm.ready, 0, sizeof(warm.ready));
	warm.begun = warm.ended = 0;
	warm.shut = shut;
	pthread_mutex_unlock(&warm.lock);
}

static void wait_until(const unsigned int *count, unsigned int least)
{
	pthread_mutex_lock(&warm.lock);
	while (*count < least)
		pthread_cond_wait(&warm.changed, &warm.lock);
	pthread_mutex_unlock(&warm.lock);
}

static void open_gate(void)
{
	pthread_mutex_lock(&warm.lock);
	warm.shut = false;
	pthread_cond_broadcast(&warm.changed);
	pthread_mutex_unlock(&warm.lock);
}

static struct http_cached *hot(const struct http_hot_ask *ask, const struct http_route **route, struct http_warm *warmer, void *arg)
{
	struct http_cached *answer = pick(ask->target, ask->if_none_match);
	struct side *side = arg;

	assert_string_equal(ask->host, "x");
	*route = routes;
	if (is_cold(ask->target)) {
		*warmer = (struct http_warm){ run_warm, strdup(ask->target) };
		return NULL;
	}
	if (!answer || ask->authorization)
		return NULL;
	side->hot++;
	return http_cached_hold(answer);
}

static void start(struct side *side, http_hot_fn *fn, struct httpd_options opt)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd;

	memset(side, 0, sizeof(*side));
	assert_int_equal(addr_port_parse(&side->at, "127.0.0.1:0"), 0);
	fd = addr_bind(&side->at, SOCK_STREAM, 64, false, 0);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(&side->at, (struct sockaddr *)&ss);
	assert_int_equal(metrics_new(&side->metrics), 0);
	opt.name = "hot";
	opt.threads = 1;
	opt.hot = fn;
	opt.metrics = side->metrics;
	assert_int_equal(httpd_start(&side->server, &opt, &fd, 1, routes, side), 0);
}

static void stop(struct side *side)
{
	httpd_stop(side->server, 0);
	metrics_free(side->metrics);
}

static int set_up(void **state)
{
	char *bytes = malloc(LARGE);

	(void)state;
	memset(bytes, 'l', LARGE);
	small = http_cached_new(200, "text/plain", "small", 5, (const char *const[]){ "ETag", ETAG, "X-Kept", "yes", NULL });
	large = http_cached_new(200, "text/plain", bytes, LARGE, NULL);
	unchanged = http_cached_new(304, NULL, "", 0, (const char *const[]){ "ETag", ETAG, NULL });
	free(bytes);
	for (int i = 0; i < COLD; i++)
		cold[i] = http_cached_new(200, "text/plain", (char[]){ 'c', (char)('0' + i) }, 2, NULL);
	return small && large && unchanged ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	http_cached_free(small);
	http_cached_free(large);
	http_cached_free(unchanged);
	for (int i = 0; i < COLD; i++)
		http_cached_free(cold[i]);
	return 0;
}

/* ---- a client ---- */

static int dial(const struct side *side)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_port_sockaddr(&side->at, &ss);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

#define LAST "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

/* Sends the pieces and a last request, and reads to the end, without dates and ids. */
static char *talk(const struct side *side, const char *const *pieces)
{
	char *answer = malloc(ANSWER_MAX), *line;
	size_t n = 0;
	ssize_t got;
	int fd = dial(side);

	for (; *pieces; pieces++) {
		assert_int_equal(send(fd, *pieces, strlen(*pieces), MSG_NOSIGNAL), strlen(*pieces));
		poll(NULL, 0, pieces[1] ? 5 : 0); /* it may be read alone: nothing depends on it */
	}
	send(fd, LAST, strlen(LAST), MSG_NOSIGNAL); /* some were told to go */
	while ((got = recv(fd, answer + n, ANSWER_MAX - 1 - n, 0)) > 0)
		n += (size_t)got;
	answer[n] = '\0';
	close(fd);
	for (line = answer; (line = strstr(line, "\r\nDate: ")); line += 8)
		memset(line + 8, '.', 29);
	for (line = answer; (line = strstr(line, "\r\nX-Request-Id: ")); line += 16)
		memset(line + 16, '.', 16);
	for (line = answer; (line = strstr(line, "\"request\":\"")); line += 11)
		memset(line + 11, '.', 16);
	return answer;
}

/* ---- the same bytes ---- */

#define SMALL "GET /small HTTP/1.1\r\nHost: x\r\n"
#define GET_COLD(n) "GET /cold" n " HTTP/1.1\r\nHost: x\r\n\r\n"
#define PIECES(...) { __VA_ARGS__, NULL }

static const struct {
	const char *pieces[4];
	unsigned int hot; /* how many of the requests are answered from memory */
} cases[] = {
	{ PIECES(SMALL "\r\n"), 1 },
	{ PIECES("HEAD /small HTTP/1.1\r\nHost: x\r\n\r\n"), 1 },
	{ PIECES("GET /large HTTP/1.1\r\nhost:x\r\n\r\n"), 1 },
	{ PIECES("HEAD /large HTTP/1.1\r\nHost:   x\r\n\r\n"), 1 },
	{ PIECES(SMALL "If-None-Match: " ETAG "\r\n\r\n"), 1 },
	{ PIECES("HEAD /small HTTP/1.1\r\nHost: x\r\nIf-None-Match: " ETAG "\r\n\r\n"), 1 },
	{ PIECES(SMALL "If-None-Match: \"v2\"\r\n\r\n"), 1 },
	{ PIECES(SMALL "Connection: Keep-Alive\r\nUser-Agent: a (b) \"c\"\r\nACCEPT: */*\r\n\r\n"), 1 },
	{ PIECES(SMALL "\r\n" SMALL "\r\n" SMALL "\r\n"), 3 },
	{ PIECES(SMALL "\r\n" SMALL "Range: bytes=0-1\r\n\r\n" SMALL "\r\n"), 1 },
	{ PIECES(SMALL "\r\n", SMALL, "\r\n"), 0 /* one, and two when the rest comes at once */ },
	{ PIECES(SMALL "\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n"), 1 },
	{ PIECES(GET_COLD("0") "HEAD /cold1 HTTP/1.1\r\nHost: x\r\n\r\n" GET_COLD("1") SMALL "\r\n"), 4 },
	{ PIECES(GET_COLD("2") "GET /never HTTP/1.1\r\nHost: x\r\n\r\n" SMALL "\r\n"), 1 },
	{ PIECES("GET /sm", "all HTTP/1.1\r\nHost: x\r\n\r\n"), 0 },
	{ PIECES(SMALL "Authorization: Bearer x\r\n\r\n"), 0 },
	{ PIECES(SMALL "Connection: close\r\n\r\n" SMALL "\r\n"), 0 },
	{ PIECES(SMALL "Connection: keep-alive, close\r\n\r\n"), 0 },
	{ PIECES("GET /small HTTP/1.0\r\nHost: x\r\n\r\n"), 0 },
	{ PIECES("GET /small HTTP/1.1\r\n\r\n"), 0 },
	{ PIECES("GET /small HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"), 0 },
	{ PIECES("GET /small HTTP/1.1\nHost: x\n\n"), 0 },
	{ PIECES("GET /small HTTP/1.1\r\nHost : x\r\n\r\n"), 0 },
	{ PIECES("GET /small HTTP/1.1\r\nHost: x/y\r\n\r\n"), 0 },
	{ PIECES("GET  /small HTTP/1.1\r\nHost: x\r\n\r\n"), 0 },
	{ PIECES("GET /small?a=b HTTP/1.1\r\nHost: x\r\n\r\n"), 0 },
	{ PIECES("GET /sm%61ll HTTP/1.1\r\nHost: x\r\n\r\n"), 0 },
	{ PIECES("GET /./small HTTP/1.1\r\nHost: x\r\n\r\n"), 0 },
	{ PIECES("GET http://x/small HTTP/1.1\r\nHost: x\r\n\r\n"), 0 },
	{ PIECES("get /small HTTP/1.1\r\nHost: x\r\n\r\n"), 0 },
	{ PIECES(SMALL "Content-Length: 0\r\n\r\n"), 0 },
	{ PIECES(SMALL "Content-Length: 5\r\n\r\nhello"), 0 },
	{ PIECES(SMALL "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 0 },
	{ PIECES(SMALL "X-Other: 1\r\n\r\n"), 0 },
	{ PIECES(SMALL "Accept: a\r\n b\r\n\r\n"), 0 },
	{ PIECES(SMALL "Accept: a\rb\r\n\r\n"), 0 },
	{ PIECES(SMALL "If-None-Match: \"v2\"\r\nIf-None-Match: " ETAG "\r\n\r\n"), 0 },
	{ PIECES("POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" SMALL "\r\n"), 0 },
	{ PIECES("\r\n" SMALL "\r\n"), 0 },
	{ PIECES("nonsense\r\n\r\n"), 0 },
	{ PIECES(SMALL), 0 },
};

static void says_the_same(void **state)
{
	struct httpd_options opt = { .connections_max = 100 };

	(void)state;
	start(&with, hot, opt);
	start(&without, NULL, opt);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned int before = with.hot;
		char *a = talk(&with, cases[i].pieces), *b = talk(&without, cases[i].pieces);

		if (strcmp(a, b) != 0)
			fail_msg("%s\nis answered with\n%.600s\ninstead of\n%.600s", cases[i].pieces[0], a, b);
		if (cases[i].hot && with.hot - before != cases[i].hot)
			fail_msg("%s\n%u ready answers instead of %u", cases[i].pieces[0], with.hot - before, cases[i].hot);
		if (!cases[i].hot && !cases[i].pieces[2] && with.hot != before)
			fail_msg("%s\nwas answered from memory", cases[i].pieces[0]);
		free(a);
		free(b);
	}
	assert_int_equal(without.hot, 0);
}

static char *lines_of(struct side *side, const char *name)
{
	size_t len;
	char *all = metrics_render(side->metrics, &len), *at, *out = calloc(1, len + 1);

	for (char *line = strtok_r(all, "\n", &at); line; line = strtok_r(NULL, "\n", &at))
		if (strstr(line, name))
			strcat(strcat(out, line), "\n");
	free(all);
	return out;
}

/* After what says_the_same() did. */
static void counts_the_same(void **state)
{
	static const char *const names[] = { "http_requests_total{", "http_refused_total{", "http_sent_bytes_total{",
					     "http_request_seconds_count" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *a = NULL, *b = lines_of(&without, names[i]);

		for (int tries = 0; tries < 200 && (!a || strcmp(a, b) != 0); tries++) { /* an answer is counted after it was sent */
			free(a);
			free(b);
			poll(NULL, 0, 10);
			a = lines_of(&with, names[i]);
			b = lines_of(&without, names[i]);
		}
		assert_string_equal(a, b);
		free(a);
		free(b);
	}
	stop(&with);
	stop(&without);
}

/* ---- slow, late and many ---- */

/* More than the socket takes waits for room, and comes whole and in order. */
static void waits_for_room(void **state)
{
	static const char ask[] = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
	const int count = 300; /* 18 MB: more than two sockets hold */
	struct httpd_options opt = { .idle_s = 5 };
	size_t bodies = 0;
	static char buf[1 << 16];
	ssize_t n;
	int fd;

	(void)state;
	start(&with, hot, opt);
	fd = dial(&with);
	for (int i = 0; i < count; i++)
		assert_int_equal(send(fd, ask, sizeof(ask) - 1, 0), sizeof(ask) - 1);
	shutdown(fd, SHUT_WR);
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		for (ssize_t i = 0; i < n; i++)
			bodies += buf[i] == 'l';
	close(fd);
	assert_int_equal(n, 0);
	assert_true(bodies >= (size_t)count * LARGE && bodies < (size_t)count * (LARGE + 20)); /* heads have some, too */
	assert_int_equal(with.hot, count);
	stop(&with);
}

/* How long, in ms, until the server closes the connection. */
static long closes_after(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct timespec a, b;
	char byte;

	clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(poll(&p, 1, 8000), 1);
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	close(fd);
	return (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
}

static void closes_who_is_slow(void **state)
{
	struct httpd_options opt = { .header_s = 1, .idle_s = 2 };
	char text[512], *lines;
	int silent, partial, idle;

	(void)state;
	start(&with, hot, opt);
	silent = dial(&with);
	partial = dial(&with);
	idle = dial(&with);
	assert_int_equal(send(partial, "GET /sm", 7, 0), 7);
	assert_int_equal(send(idle, SMALL "\r\n", strlen(SMALL "\r\n"), 0), strlen(SMALL "\r\n"));
	assert_true(recv(idle, text, sizeof(text), 0) > 100);
	assert_in_range(closes_after(silent), 700, 4000);
	assert_in_range(closes_after(partial), 0, 3000);
	assert_in_range(closes_after(idle), 300, 6000);
	lines = lines_of(&with, "reason=\"slow\"");
	assert_non_null(strstr(lines, " 2\n"));
	free(lines);
	stop(&with);
}

/* A client that was served: its connection stays, or 0 when it was closed at once. */
static bool served(int fd, const char *ask)
{
	char text[512];

	return send(fd, ask, strlen(ask), MSG_NOSIGNAL) == (ssize_t)strlen(ask) && recv(fd, text, sizeof(text), 0) > 100;
}

static void limits_an_address(void **state)
{
	static const char common[] = SMALL "X-Other: 1\r\n\r\n", ready[] = SMALL "\r\n";
	struct httpd_options opt = { .connections_max = 100, .per_address_max = 4 };
	int fds[5], again;
	bool came = false;

	(void)state;
	start(&with, hot, opt);
	for (int i = 0; i < 4; i++) { /* those that were handed over count, too */
		fds[i] = dial(&with);
		assert_true(served(fds[i], i % 2 ? common : ready));
	}
	fds[4] = dial(&with);
	assert_false(served(fds[4], ready));
	for (int i = 1; i < 5; i++)
		close(fds[i]);
	for (int tries = 0; tries < 200 && !came; tries++) { /* the server sees their end in a moment */
		poll(NULL, 0, 10);
		again = dial(&with);
		came = served(again, common);
		close(again);
	}
	assert_true(came);
	close(fds[0]);
	stop(&with);
}

static void leaves_others_waiting(void **state)
{
	struct httpd_options opt = { .connections_max = 2 };
	int fds[3];
	struct pollfd p;

	(void)state;
	start(&with, hot, (opt.per_address_max = 100, opt));
	for (int i = 0; i < 2; i++) {
		fds[i] = dial(&with);
		assert_true(served(fds[i], SMALL "\r\n"));
	}
	fds[2] = dial(&with);
	assert_int_equal(send(fds[2], SMALL "\r\n", strlen(SMALL "\r\n"), 0), strlen(SMALL "\r\n"));
	p = (struct pollfd){ .fd = fds[2], .events = POLLIN };
	assert_int_equal(poll(&p, 1, 300), 0);
	close(fds[0]);
	assert_int_equal(poll(&p, 1, 5000), 1);
	close(fds[1]);
	close(fds[2]);
	stop(&with);
}

static void stops(void **state)
{
	struct httpd_options opt = { .connections_max = 100 };
	struct sockaddr_storage ss;
	socklen_t len;
	int fds[4], late;

	(void)state;
	start(&with, hot, opt);
	for (int i = 0; i < 4; i++) {
		fds[i] = dial(&with);
		assert_true(i == 0 || served(fds[i], i == 1 ? SMALL "X-Other: 1\r\n\r\n" : SMALL "\r\n"));
	}
	httpd_stop_accepting(with.server);
	late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	len = addr_port_sockaddr(&with.at, &ss);
	assert_int_not_equal(connect(late, (struct sockaddr *)&ss, len), 0);
	close(late);
	for (int i = 0; i < 4; i++) /* what is connected goes on */
		assert_true(served(fds[i], SMALL "\r\n"));
	stop(&with);
	for (int i = 0; i < 4; i++)
		assert_true(closes_after(fds[i]) < 1000);
}

/* ---- made ready by workers ---- */

/* A cold answer's last bytes are its body. */
static void answers_cold(int fd, char number)
{
	char text[512];
	ssize_t n = recv(fd, text, sizeof(text), 0);

	assert_true(n > 100 && text[n - 2] == 'c' && text[n - 1] == number);
}

static void ask_cold(int fd, const char *ask)
{
	assert_int_equal(send(fd, ask, strlen(ask), MSG_NOSIGNAL), strlen(ask));
}

static void reset(int fd)
{
	struct linger linger = { .l_onoff = 1 };

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	close(fd);
}

static void wait_for_line(const char *name, const char *end)
{
	char *line = NULL;

	for (int tries = 0; tries < 500 && (!line || !strstr(line, end)); tries++) {
		free(line);
		poll(NULL, 0, tries ? 10 : 0);
		line = lines_of(&with, name);
	}
	assert_non_null(strstr(line, end));
	free(line);
}

/* One connection stays, whatever is cold; what is asked together is answered in that order. */
static void warms_and_keeps(void **state)
{
	static const char all[] = GET_COLD("3") GET_COLD("1") GET_COLD("3") GET_COLD("2") GET_COLD("0");
	struct httpd_options opt = { .workers = 3 };
	char text[4096], *at = text;
	size_t n = 0;
	int fd;

	(void)state;
	cool(false);
	start(&with, hot, opt);
	fd = dial(&with);
	for (int i = 4; i < COLD; i++) {
		char ask[] = GET_COLD("?");

		ask[9] = (char)('0' + i);
		ask_cold(fd, ask);
		answers_cold(fd, ask[9]);
	}
	ask_cold(fd, all);
	shutdown(fd, SHUT_WR); /* who says that it is done is answered, too */
	for (ssize_t got; (got = recv(fd, text + n, sizeof(text) - 1 - n, 0)) > 0;)
		n += (size_t)got;
	text[n] = '\0';
	for (const char *want = "31320"; *want; want++) {
		at = strstr(at, "\r\n\r\nc");
		assert_non_null(at);
		at += 5;
		assert_int_equal(*at, *want);
	}
	assert_int_equal(warm.ended, COLD);
	assert_int_equal(with.hot, COLD + 1);
	assert_int_equal(with.routed, 0);
	close(fd);
	stop(&with);
}

/* Others are served while one waits for a worker; one that goes away is forgotten at once, and its work ends without it. */
static void forgets_who_left(void **state)
{
	struct httpd_options opt = { .workers = 2 };
	int fds[4];

	(void)state;
	cool(true);
	start(&with, hot, opt);
	for (int i = 0; i < 4; i++) { /* two with workers, two behind them */
		fds[i] = dial(&with);
		ask_cold(fds[i], GET_COLD("1") GET_COLD("2"));
	}
	wait_until(&warm.begun, 2);
	wait_for_line("http_requests_in_flight{", " 4\n");
	for (int i = 1; i < 4; i++)
		reset(fds[i]);
	wait_for_line("http_requests_in_flight{", " 1\n");
	wait_for_line("http_connections{", " 1\n");
	fds[1] = dial(&with);
	assert_true(served(fds[1], SMALL "\r\n"));
	close(fds[0]); /* this one says good-bye in good order, and is answered for nothing */
	open_gate();
	wait_until(&warm.ended, 4);
	ask_cold(fds[1], GET_COLD("1"));
	answers_cold(fds[1], '1');
	assert_int_equal(with.routed, 0);
	close(fds[1]);
	stop(&with);
}

/* Where `most` wait for workers, the next one is handed over, and answered there. */
static void hands_over_more_than(int most, struct httpd_options opt)
{
	int *fds = calloc((size_t)most + 1, sizeof(*fds));

	cool(true);
	opt.workers = 1;
	opt.per_address_max = opt.connections_max = 1000;
	start(&with, hot, opt);
	for (int i = 0; i <= most; i++) {
		fds[i] = dial(&with);
		ask_cold(fds[i], GET_COLD("1"));
		if (i == 0)
			wait_until(&warm.begun, 1); /* the first is in no queue */
	}
	answers_cold(fds[most], '1');
	assert_int_equal(with.routed, 1);
	open_gate();
	for (int i = 0; i < most; i++)
		answers_cold(fds[i], '1');
	assert_int_equal(with.routed, 1);
	for (int i = 0; i <= most; i++)
		close(fds[i]);
	free(fds);
	stop(&with);
}

static void warms_few(void **state)
{
	(void)state;
	hands_over_more_than(256, (struct httpd_options){ .queue_max = 1000 });
	hands_over_more_than(3, (struct httpd_options){ .queue_max = 2 });
}

static void *stop_now(void *grace_ms)
{
	httpd_stop(with.server, *(unsigned int *)grace_ms);
	return NULL;
}

/* A server that stops waits for its workers; who has asked is answered within the grace. */
static void stops_while_it_warms(void **state)
{
	struct httpd_options opt = { .workers = 1 };

	(void)state;
	for (unsigned int grace_ms = 0; grace_ms <= 60000; grace_ms += 60000) {
		int fds[3], late;
		struct sockaddr_storage ss;
		pthread_t stopper;
		socklen_t len;

		cool(true);
		start(&with, hot, opt);
		for (int i = 0; i < 3; i++) {
			fds[i] = dial(&with);
			ask_cold(fds[i], GET_COLD("1"));
		}
		wait_for_line("http_requests_in_flight{", " 3\n");
		reset(fds[2]);
		len = addr_port_sockaddr(&with.at, &ss);
		assert_int_equal(pthread_create(&stopper, NULL, stop_now, &grace_ms), 0);
		for (bool refused = false; !refused; close(late)) {
			late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
			refused = connect(late, (struct sockaddr *)&ss, len) != 0;
		}
		open_gate();
		for (int i = 0; i < 2 && grace_ms; i++)
			answers_cold(fds[i], '1');
		assert_int_equal(pthread_join(stopper, NULL), 0);
		assert_int_equal(warm.ended, 3);
		close(fds[0]);
		close(fds[1]);
		metrics_free(with.metrics);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_the_same),      cmocka_unit_test(counts_the_same),
		cmocka_unit_test(waits_for_room),     cmocka_unit_test(closes_who_is_slow),
		cmocka_unit_test(limits_an_address),  cmocka_unit_test(leaves_others_waiting),
		cmocka_unit_test(stops),	      cmocka_unit_test(warms_and_keeps),
		cmocka_unit_test(forgets_who_left),   cmocka_unit_test(warms_few),
		cmocka_unit_test(stops_while_it_warms),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
