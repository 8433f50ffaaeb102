/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that stand apart: long ones, which have places of their own among the server's connections. */
#include "tests/unit/unit.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

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
	char folder[80], path[120], url[160];
	struct addr_port at;
	struct httpd *server;
	int fd, held[7];

	(void)state;
	unit_folder(folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/apart.sock", folder);
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
	unit_folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stand_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
