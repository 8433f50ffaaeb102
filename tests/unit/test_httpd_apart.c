/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that stand apart: long ones, which have places of their own among the server's connections. And the server's own
 * refusals in the words of its owner. */
#include "tests/unit/unit.h"

#include <poll.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "lib/httpd.h"

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

static sem_t gate;

static void wait_at_gate(struct http_req *req, void *arg)
{
	(void)arg;
	sem_wait(&gate);
	http_reply(req, 200, NULL, "x", 1);
}

static enum http_next work(struct http_req *req, void *arg)
{
	return http_work(req, wait_at_gate, arg);
}

static sem_t taken, left, over;

/* Takes a piece of the body, and refuses the next one when the client has sent the rest of what it sends. */
static enum http_next refuse_piece(struct http_req *req, void *arg, const void *data, size_t len, size_t *used)
{
	(void)arg;
	*used = len;
	sem_post(&taken);
	if (memcmp(data, "more", 4) != 0)
		return HTTP_CONTINUE;
	sem_wait(&left);
	return http_reply_error(req, 507, "full", "there is no room");
}

static void request_over(struct http_req *req, void *arg)
{
	(void)req, (void)arg;
	sem_post(&over);
}

static bool refuse(struct http_req *req, void *arg, unsigned int status, const char *code, const char *sentence)
{
	char text[200];

	(void)arg;
	assert_true(*sentence);
	snprintf(text, sizeof(text), "<%u %s>", status, code);
	http_reply(req, status, "text/xml", text, strlen(text));
	return true;
}

static const struct http_route apart_routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/work", .begin = work },
	{ .methods = 1u << HTTP_PUT, .path = "/put", .body_max = 10, .begin = plain },
	{ .methods = 1u << HTTP_PUT, .path = "/full", .body_max = 1 << 24, .body = refuse_piece, .done = request_over },
	{ .methods = 1u << HTTP_GET, .path = "/apart", .begin = apart },
	{ .methods = 1u << HTTP_GET, .path = "/plain", .begin = plain },
	{ .path = NULL },
};

static int connected(const char *base)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd;

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", base);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* Asks and keeps the connection: the status; 0: it was closed. */
static int keep(const char *base, const char *path, int *fd)
{
	char text[256];
	ssize_t n;

	*fd = connected(base);
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

static struct httpd *serve(const struct httpd_options *opt, char folder[80], char path[120])
{
	struct httpd *server;
	struct addr_port at;
	char url[160];
	int fd;

	unit_folder(folder, 80);
	snprintf(path, 120, "%s/apart.sock", folder);
	snprintf(url, sizeof(url), "unix:%s", path);
	assert_int_equal(addr_port_parse(&at, url), 0);
	fd = addr_bind(&at, SOCK_STREAM, 64, false, 0);
	assert_true(fd >= 0);
	assert_int_equal(httpd_start(&server, opt, &fd, 1, apart_routes, NULL), 0);
	return server;
}

/* The answer to a request that ends the connection. */
static void expect(const char *path, const char *request, const char *status, const char *part)
{
	char text[1024];
	size_t len = 0;
	ssize_t n;
	int fd = connected(path);

	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	while ((n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	if (strncmp(text + strlen("HTTP/1.1 "), status, 3) || !strstr(text, part))
		fail_msg("%s: %s", request, text);
	close(fd);
}

/* What the server says itself, its owner says: no route is asked, none is there, or all workers are busy. */
static void refusals(void **state)
{
	struct httpd_options opt = { .name = "refuse", .threads = 1, .workers = 1, .queue_max = 1, .refuse = refuse };
	static const char ask[] = "GET /work HTTP/1.1\r\nHost: x\r\n\r\n";
	char folder[80], path[120], text[512];
	struct httpd *server = serve(&opt, folder, path);
	int held[3];
	ssize_t n;

	(void)state;
	sem_init(&gate, 0, 0);
	expect(path, "GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404", "<404 not_found>");
	expect(path, "PUT /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "405", "<405 method>");
	expect(path, "PUT /put HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nConnection: close\r\n\r\nabcdefghijk", "413", "<413 too_large>");
	expect(path, "BREW /plain HTTP/1.1\r\nHost: x\r\n\r\n", "501", "<501 malformed>");
	expect(path, "GET /plain HTTP/1.1\r\nHost: x\r\nA: \001\r\n\r\n", "400", "<400 malformed>");
	/* One works, one waits: the next is refused. Which of the first two works is theirs to find out. */
	for (int i = 0; i < 3; i++) {
		struct pollfd p = { .events = POLLIN };

		p.fd = held[i] = connected(path);
		assert_int_equal(send(held[i], ask, sizeof(ask) - 1, MSG_NOSIGNAL), sizeof(ask) - 1);
		while (i == 1 && poll(&p, 1, 50) == 1) { /* it came before a worker took the first one */
			recv(held[i], text, sizeof(text), 0);
			assert_int_equal(send(held[i], ask, sizeof(ask) - 1, MSG_NOSIGNAL), sizeof(ask) - 1);
		}
	}
	n = recv(held[2], text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	assert_non_null(strstr(text, "<503 busy>"));
	assert_non_null(strstr(text, "Retry-After: 1"));
	sem_post(&gate);
	sem_post(&gate);
	for (int i = 0; i < 3; i++)
		close(held[i]);
	httpd_stop(server, 2000);
	unit_folder_remove(folder);
}

/* So many that stand apart, so many others; each kind leaves the other's places alone. */
static void stand_apart(void **state)
{
	struct httpd_options opt = { .name = "apart", .threads = 1, .connections_max = 4, .apart_max = 3 };
	char folder[80], path[120];
	struct httpd *server = serve(&opt, folder, path);
	int held[7];

	(void)state;
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
	unit_folder_remove(folder);
}

/* Who was refused in the middle of a body has ended together with the last bytes: the request ends,
 * too, and not when its time to send the rest is over. */
static void left_with_the_last_bytes(void **state)
{
	static const char head[] = "PUT /full HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\nabc";
	struct httpd_options opt = { .name = "left", .threads = 1 };
	char folder[80], path[120], text[1024] = "";
	struct httpd *server = serve(&opt, folder, path);
	struct timespec until;
	int fd = connected(path);

	(void)state;
	sem_init(&taken, 0, 0);
	sem_init(&left, 0, 0);
	sem_init(&over, 0, 0);
	assert_int_equal(send(fd, head, sizeof(head) - 1, MSG_NOSIGNAL), sizeof(head) - 1);
	sem_wait(&taken);
	assert_int_equal(send(fd, "more", 4, MSG_NOSIGNAL), 4);
	sem_wait(&taken);
	assert_int_equal(send(fd, text, sizeof(text), MSG_NOSIGNAL), sizeof(text));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	sem_post(&left);
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "507"));
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20; /* of 30 */
	assert_int_equal(sem_timedwait(&over, &until), 0);
	close(fd);
	httpd_stop(server, 0);
	unit_folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stand_apart),
		cmocka_unit_test(refusals),
		cmocka_unit_test(left_with_the_last_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
