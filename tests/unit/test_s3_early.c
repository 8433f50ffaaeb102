/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that begin before their operation has ended: what the worker and the server's thread do to each other when the client
 * stays, goes away, or memory is short. The server has one thread: who waits there stops everybody. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "http/store/s3.h"

#define WAIT_S 20 /* at most, for what takes a moment */

static struct endpoint ep = { .node = "a" };
static sem_t step, stepped, over, ended; /* let the worker go on; it did; done was called; the last has freed */
static bool went; /* what the worker's last step said */
static _Atomic int steps; /* of each copy */

static void end_of(struct s3 *s3)
{
	s3_early_free(s3->early);
	free(s3);
	sem_post(&ended);
}

static void copy(struct http_req *req, void *arg)
{
	struct s3 *s3 = http_state(req);

	(void)arg;
	went = s3_early_tick(s3) && !s3->req;
	sem_post(&stepped);
	for (int i = steps; i; i--) {
		sem_wait(&step);
		went = s3_early_tick(s3);
		sem_post(&stepped);
	}
	if (steps)
		s3_reply_error(s3, S3_PRECONDITION_FAILED);
	else
		s3_early_say(s3, NULL, 0);
	if (s3_early_leave(s3->early, true))
		end_of(s3);
}

static enum http_next begin(struct http_req *req, void *arg)
{
	struct s3 *s3 = calloc(1, sizeof(*s3));

	assert_non_null(s3);
	s3->ep = &ep;
	s3->req = req;
	s3->bucket = s3->key = "";
	http_set_state(req, s3);
	return http_work(req, copy, arg);
}

static void done(struct http_req *req, void *arg)
{
	struct s3 *s3 = http_state(req);
	bool last = s3_early_leave(s3->early, false);

	(void)arg;
	if (last)
		end_of(s3);
	sem_post(&over);
}

static enum http_next plain(struct http_req *req, void *arg)
{
	(void)arg;
	return http_reply(req, 200, NULL, "x", 1);
}

static const struct http_route routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/copy", .begin = begin, .done = done },
	{ .methods = 1u << HTTP_GET, .path = "/plain", .begin = plain },
	{ .path = NULL },
};

static char folder[80], path[100];
static struct httpd *server;

static void happens(sem_t *what)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	assert_int_equal(sem_timedwait(what, &until), 0);
}

static int setup(void **state)
{
	struct httpd_options opt = { .name = "test", .threads = 1, .workers = 1 };
	struct addr_port at;
	char url[160];
	int fd;

	(void)state;
	setenv("WEIR_S3_EARLY_MS", "0", 1);
	sem_init(&step, 0, 0), sem_init(&stepped, 0, 0), sem_init(&over, 0, 0), sem_init(&ended, 0, 0);
	unit_folder(folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/sock", folder);
	snprintf(url, sizeof(url), "unix:%s", path);
	assert_int_equal(addr_port_parse(&at, url), 0);
	fd = addr_bind(&at, SOCK_STREAM, 64, false, 0);
	assert_true(fd >= 0);
	return httpd_start(&server, &opt, &fd, 1, routes, NULL);
}

static int teardown(void **state)
{
	(void)state;
	httpd_stop(server, 0);
	unit_folder_remove(folder);
	return 0;
}

static int ask(const char *what)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct timeval wait = { .tv_sec = WAIT_S };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char text[100];

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", what);
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	return fd;
}

/* All that comes until `part` was there (NULL: until the end). */
static void hear(int fd, const char *part, char text[4096])
{
	size_t len = 0;
	ssize_t n = 1;

	text[0] = '\0';
	while (n > 0 && !(part && strstr(text, part))) {
		n = recv(fd, text + len, 4095 - len, 0);
		assert_true(n >= 0 || errno == ECONNRESET);
		len += n > 0 ? (size_t)n : 0;
		text[len] = '\0';
	}
	if (part)
		assert_non_null(strstr(text, part));
}

static void expect_served(void)
{
	char text[4096];
	int fd = ask("/plain");

	hear(fd, NULL, text);
	assert_memory_equal(text, "HTTP/1.1 200", 12);
	close(fd);
}

static void a_client_that_went_stops_nobody(void **state)
{
	char text[4096];
	int fd;

	(void)state;
	steps = 2;
	fd = ask("/copy");
	hear(fd, "<?xml", text);
	assert_memory_equal(text, "HTTP/1.1 200", 12);
	happens(&stepped);
	assert_true(went);
	expect_served();
	close(fd);
	setenv("WEIR_S3_EARLY_MS", "600000", 1); /* the next but one */
	sem_post(&step); /* a blank, which cannot be sent */
	happens(&stepped);
	assert_true(went);
	happens(&over); /* while the worker is at work */
	assert_int_not_equal(sem_trywait(&ended), 0);
	expect_served();
	sem_post(&step);
	happens(&stepped);
	assert_false(went); /* it hears of it at once, not when the next blank is due */
	setenv("WEIR_S3_EARLY_MS", "0", 1);
	happens(&ended);
	expect_served();
}

/* The client stays, the program does not: the worker hears of it by the next piece, and says so at the end of the answer. */
static void a_program_that_stops_gives_up(void **state)
{
	char text[4096];
	struct timespec now;
	int fd;

	(void)state;
	steps = 3;
	fd = ask("/copy");
	hear(fd, "<?xml", text);
	happens(&stepped);
	assert_false(s3_early_stops(&ep));
	clock_gettime(CLOCK_MONOTONIC, &now);
	setenv("WEIR_S3_EARLY_MS", "600000", 1);
	ep.give_up_ms = (int64_t)(now.tv_sec + 3600) * 1000; /* it has time to end */
	sem_post(&step);
	happens(&stepped);
	assert_true(went);
	ep.give_up_ms = 1;
	sem_post(&step);
	happens(&stepped);
	assert_false(went);
	assert_true(s3_early_stops(&ep));
	sem_post(&step);
	hear(fd, NULL, text);
	assert_non_null(strstr(text, "</Error>"));
	close(fd);
	happens(&stepped);
	happens(&over);
	happens(&ended);
	ep.give_up_ms = 0;
	setenv("WEIR_S3_EARLY_MS", "0", 1);
}

static void an_error_is_the_end(void **state)
{
	char text[4096];

	(void)state;
	steps = 1;
	for (int i = 0; i < 200; i++) {
		int fd = ask("/copy");

		sem_post(&step);
		hear(fd, NULL, text);
		assert_non_null(strstr(text, "<Code>PreconditionFailed</Code>"));
		assert_non_null(strstr(text, "</Error>"));
		assert_string_equal(text + strlen(text) - 5, "0\r\n\r\n");
		close(fd);
		happens(&stepped);
		happens(&stepped);
		happens(&over);
		happens(&ended);
	}
	assert_int_not_equal(sem_trywait(&ended), 0);
}

static void without_memory_the_answer_is_cut(void **state)
{
	char text[4096];
	int fd;

	(void)state;
	steps = 0;
	fd = ask("/copy");
	hear(fd, NULL, text);
	assert_null(strstr(text, "\r\n0\r\n"));
	close(fd);
	happens(&stepped);
	happens(&over);
	happens(&ended);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_that_went_stops_nobody),
		cmocka_unit_test(a_program_that_stops_gives_up),
		cmocka_unit_test(an_error_is_the_end),
		cmocka_unit_test(without_memory_the_answer_is_cut),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
