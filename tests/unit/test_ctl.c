// SPDX-License-Identifier: Apache-2.0
/* ctl: a server on a thread of its own, asked by the client and by sockets that misbehave. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/ctl.h"
#include "tests/unit/unit.h"

static char folder[200], path[300];
static struct loop *loop;
static struct ctl *ctl;
static pthread_t thread;

static json_t *cmd_status(void *arg, const json_t *request, char *err, size_t err_len)
{
	(void)request, (void)err, (void)err_len;
	return json_pack("{s:s}", "node", (const char *)arg);
}

static json_t *cmd_fail(void *arg, const json_t *request, char *err, size_t err_len)
{
	(void)arg;
	snprintf(err, err_len, "%s is not here", json_string_value(json_object_get(request, "what")));
	return NULL;
}

/* "size" bytes of x */
static json_t *cmd_big(void *arg, const json_t *request, char *err, size_t err_len)
{
	size_t n = (size_t)json_integer_value(json_object_get(request, "size"));
	char *text = malloc(n + 1);
	json_t *answer;

	(void)arg, (void)err, (void)err_len;
	memset(text, 'x', n);
	text[n] = '\0';
	answer = json_pack("{s:s}", "text", text);
	free(text);
	return answer;
}

static const struct ctl_command commands[] = {
	{ "status", cmd_status }, { "fail", cmd_fail }, { "big", cmd_big }, { NULL, NULL },
};

static void *serve(void *arg)
{
	loop_run(loop);
	return arg;
}

static int start(void **state)
{
	(void)state;
	unit_folder(folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/a.sock", folder);
	if (loop_new(&loop) || ctl_bind(&ctl, path, getuid()) ||
	    ctl_serve(ctl, loop, commands, (void *)"gw-a1"))
		return -1;
	return pthread_create(&thread, NULL, serve, NULL);
}

static void quit(void *arg)
{
	(void)arg;
	loop_quit(loop, 0);
}

static int stop(void **state)
{
	struct stat st;

	(void)state;
	loop_post(loop, quit, NULL);
	pthread_join(thread, NULL);
	ctl_free(ctl);
	loop_free(loop);
	if (!lstat(path, &st)) /* the file must be gone */
		return -1;
	unit_folder_remove(folder);
	return 0;
}

static int ask(const char *request_text, json_t **answer)
{
	json_t *request = json_loads(request_text, JSON_DECODE_ANY, NULL);
	int err = ctl_call(path, request, answer, 5000);

	json_decref(request);
	return err;
}

static void asks_and_answers(void **state)
{
	json_t *answer = NULL;
	struct stat st;

	(void)state;
	assert_int_equal(ask("{\"do\":\"status\"}", &answer), 0);
	assert_true(json_is_true(json_object_get(answer, "ok")));
	assert_string_equal(json_string_value(json_object_get(answer, "node")), "gw-a1");
	json_decref(answer);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void errors_are_sentences(void **state)
{
	static const char *const cases[][2] = {
		{ "{\"do\":\"fail\",\"what\":\"x\"}", "x is not here" },
		{ "{\"do\":\"nonsense\"}", "no such command" },
		{ "{\"what\":1}", "\"do\"" },
		{ "[1]", "\"do\"" },
		{ "{\"do\":\"big\",\"size\":17000000}", "16 MiB" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *answer = NULL;

		assert_int_equal(ask(cases[i][0], &answer), -EREMOTEIO);
		assert_true(json_is_false(json_object_get(answer, "ok")));
		assert_non_null(strstr(json_string_value(json_object_get(answer, "error")), cases[i][1]));
		json_decref(answer);
	}
}

static void large_answers_arrive_whole(void **state)
{
	json_t *answer = NULL;

	(void)state;
	assert_int_equal(ask("{\"do\":\"big\",\"size\":16000000}", &answer), 0);
	assert_int_equal(json_string_length(json_object_get(answer, "text")), 16000000);
	json_decref(answer);
}

static int raw_connect(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%.100s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

/* Everything until the server closes, within 10 s; the length. */
static size_t raw_read(int fd, char *buf, size_t size)
{
	size_t len = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		assert_int_equal(poll(&p, 1, 10000), 1);
		n = recv(fd, buf + len, size - 1 - len, 0);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	close(fd);
	return len;
}

static void not_json_is_said(void **state)
{
	char buf[1000];
	int fd = raw_connect();

	(void)state;
	assert_int_equal(send(fd, "GET / HTTP/1.1\r\n", 16, 0), 16);
	raw_read(fd, buf, sizeof(buf));
	assert_non_null(strstr(buf, "\"ok\":false"));
	assert_int_equal(buf[strlen(buf) - 1], '\n');
	fd = raw_connect(); /* in pieces */
	assert_int_equal(send(fd, "{\"do\":", 6, 0), 6);
	assert_int_equal(send(fd, "\"status\"}\nrest", 14, 0), 14);
	raw_read(fd, buf, sizeof(buf));
	assert_non_null(strstr(buf, "\"ok\":true"));
}

static void endless_lines_end(void **state)
{
	static char junk[70000];
	char buf[100];
	int fd = raw_connect();

	(void)state;
	memset(junk, 'a', sizeof(junk));
	send(fd, junk, sizeof(junk), MSG_NOSIGNAL);
	assert_int_equal(raw_read(fd, buf, sizeof(buf)), 0);
}

static void silence_is_dropped_and_others_served(void **state)
{
	char buf[100];
	json_t *answer = NULL;
	int silent = raw_connect();

	(void)state;
	assert_int_equal(ask("{\"do\":\"status\"}", &answer), 0);
	json_decref(answer);
	assert_int_equal(raw_read(silent, buf, sizeof(buf)), 0); /* after 5 s */
}

static void a_crowd_is_bounded(void **state)
{
	char buf[100];
	int fds[33];

	(void)state;
	for (int i = 0; i < 33; i++)
		fds[i] = raw_connect();
	assert_int_equal(raw_read(fds[32], buf, sizeof(buf)), 0);
	for (int i = 0; i < 32; i++)
		close(fds[i]);
}

static void nobody_there(void **state)
{
	json_t *request = json_pack("{s:s}", "do", "status"), *answer = NULL;
	char gone[400];

	(void)state;
	snprintf(gone, sizeof(gone), "%s/none.sock", folder);
	assert_int_equal(ctl_call(gone, request, &answer, 100), -ENOENT);
	assert_null(answer);
	json_decref(request);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(asks_and_answers), T(errors_are_sentences), T(large_answers_arrive_whole),
		T(not_json_is_said), T(endless_lines_end), T(silence_is_dropped_and_others_served),
		T(a_crowd_is_bounded), T(nobody_there),
	};

	return cmocka_run_group_tests_name("ctl", tests, NULL, NULL);
}
