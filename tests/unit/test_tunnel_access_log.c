/* SPDX-License-Identifier: Apache-2.0 */
/* access_log.c: a line stays a line whatever a client sends, the newest are remembered by tunnel, the
 * file has them all and survives rotation. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "user/tunnel/access_log.h"

static struct addr client = { AF_INET, { 198, 51, 100, 7 } };

static struct access_line sample(void)
{
	return (struct access_line){ .time_us = 1700000000123456, .id = "0123456789abcdef", .tunnel = "app",
				     .method = "GET", .host = "app.edge.example", .path = "/a/b?token=secret",
				     .protocol = "h2", .agent = "curl/8", .client = &client, .status = 200,
				     .bytes_up = 5, .bytes_down = 1ull << 40, .took_us = 1234567,
				     .first_us = 1005, .tries = 1 };
}

static void formats(void **state)
{
	struct access_line line = sample();
	char text[ACCESS_LINE_MAX];
	size_t n = access_line_json(text, &line);

	(void)state;
	assert_int_equal(n, strlen(text));
	assert_string_equal(text, "{\"time\":\"2023-11-14T22:13:20.123Z\",\"id\":\"0123456789abcdef\","
				  "\"client\":\"198.51.100.7\",\"tunnel\":\"app\",\"method\":\"GET\","
				  "\"host\":\"app.edge.example\",\"path\":\"/a/b\",\"protocol\":\"h2\","
				  "\"status\":200,\"up\":5,\"down\":1099511627776,\"ms\":1234.567,"
				  "\"first_ms\":1.005,\"agent\":\"curl/8\"}\n");
	access_line_common(text, &line);
	assert_string_equal(text, "198.51.100.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /a/b h2\" 200 "
				  "1099511627776\n");
	line = (struct access_line){ .client = &client, .id = "x", .cause = "lost", .tries = 3 };
	access_line_json(text, &line);
	assert_string_equal(text, "{\"time\":\"1970-01-01T00:00:00.000Z\",\"id\":\"x\",\"client\":"
				  "\"198.51.100.7\",\"status\":0,\"up\":0,\"down\":0,\"ms\":0.000,"
				  "\"tries\":3,\"cause\":\"lost\"}\n");
}

static void what_clients_send_is_escaped(void **state)
{
	char text[ACCESS_LINE_MAX], long_text[5000];
	struct access_line line = sample();
	json_t *root;

	(void)state;
	for (int c = 1; c < 256; c++)
		long_text[c - 1] = (char)(c == '?' ? '!' : c);
	long_text[255] = '\0';
	line.path = line.agent = line.method = line.host = long_text;
	for (int common = 0; common < 2; common++) {
		size_t n = common ? access_line_common(text, &line) : access_line_json(text, &line);

		assert_ptr_equal(strchr(text, '\n'), text + n - 1);
		for (size_t i = 0; i < n - 1; i++)
			assert_true(text[i] >= 0x20 && text[i] < 0x7f);
	}
	access_line_json(text, &line);
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	json_decref(root);
	memset(long_text, 0xff, sizeof(long_text) - 1); /* as long as it can get */
	long_text[sizeof(long_text) - 1] = '\0';
	line.id = line.tunnel = line.protocol = line.cause = line.trace = line.target = long_text;
	line.status = line.tries = ~0u;
	line.bytes_up = line.bytes_down = line.took_us = line.first_us = ~0ull;
	assert_true(access_line_json(text, &line) < ACCESS_LINE_MAX);
}

static size_t count(json_t *answer, json_int_t last)
{
	size_t n = json_array_size(json_object_get(answer, "lines"));

	assert_int_equal(json_integer_value(json_object_get(answer, "last")), last);
	json_decref(answer);
	return n;
}

static void remembers_the_newest(void **state)
{
	struct access_line line = sample();
	struct access_log *log;
	json_t *answer;

	(void)state;
	assert_int_equal(access_log_open(&log, NULL, false, 0, 0), 0);
	assert_int_equal(count(access_log_lines(log, NULL, 0, 10), 0), 0);
	for (unsigned int i = 1; i <= 10000; i++) {
		line.tunnel = i % 2 ? "app" : "other";
		line.status = i;
		access_log_add(log, &line);
	}
	assert_int_equal(count(access_log_lines(log, NULL, 0, 100000), 10000), 4096);
	assert_int_equal(count(access_log_lines(log, "app", 0, 100000), 10000), 2048);
	assert_int_equal(count(access_log_lines(log, "none", 0, 100000), 10000), 0);
	assert_int_equal(count(access_log_lines(log, NULL, 9990, 100000), 10000), 10);
	assert_int_equal(count(access_log_lines(log, NULL, 20000, 100000), 10000), 0);
	answer = access_log_lines(log, "app", 0, 2);
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(json_object_get(answer, "lines"), 0), "status")), 9997);
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(json_object_get(answer, "lines"), 1), "seq")), 9999);
	json_decref(answer);
	access_log_close(log);
}

static size_t lines_in(const char *path)
{
	FILE *f = fopen(path, "r");
	size_t n = 0;
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static void the_file_has_all(void **state)
{
	struct access_line line = sample();
	char folder[200], path[220], old[220];
	struct access_log *log;
	struct stat st;

	(void)state;
	unit_folder(folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/access", folder);
	snprintf(old, sizeof(old), "%s/access.1", folder);
	assert_int_equal(access_log_open(&log, path, false, 64200, 64200), 0);
	for (int i = 0; i < 1000; i++)
		access_log_add(log, &line);
	assert_int_equal(stat(path, &st), 0);
	if (!geteuid())
		assert_int_equal(st.st_uid, 64200);
	assert_int_equal(rename(path, old), 0);
	assert_int_equal(access_log_reopen(log, path, true), 0);
	assert_int_equal(lines_in(old), 1000);
	access_log_add(log, &line);
	snprintf(old, sizeof(old), "%s/no/folder", folder);
	assert_true(access_log_reopen(log, old, true) < 0); /* the file of before is kept */
	access_log_add(log, &line);
	access_log_close(log);
	assert_int_equal(lines_in(path), 2);
	unit_folder_remove(folder);
}

/* A link in the daemons' user's folder could name any file that root may write. */
static void root_follows_no_link(void **state)
{
	char folder[200], path[220], other[220];
	struct access_log *log = NULL;

	(void)state;
	if (geteuid())
		skip();
	unit_folder(folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/access", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(access_log_open(&log, path, false, 64200, 64200), -ELOOP);
	assert_int_equal(access(other, F_OK), -1);
	unit_folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats),
		cmocka_unit_test(what_clients_send_is_escaped),
		cmocka_unit_test(remembers_the_newest),
		cmocka_unit_test(the_file_has_all),
		cmocka_unit_test(root_follows_no_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
