/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: what was written is found, newest first, page by page; by each field; hostile text stays text; torn
 * lines are passed over; old files go; a folder that cannot be written is counted. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/audit.h"

static char folder[128], path[256];

static struct audit *opened(uint64_t bytes_max)
{
	struct audit_options opt = { .folder = path, .node = "n1", .role = "gateway", .bytes_max = bytes_max };
	struct audit *a;

	assert_int_equal(audit_open(&a, &opt), 0);
	return a;
}

static int setup(void **state)
{
	(void)state;
	unit_folder(folder, sizeof(folder));
	snprintf(path, sizeof(path), "%s/audit", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unit_folder_remove(folder);
	return 0;
}

static void put(struct audit *a, const char *who, const char *what, const char *on, const char *result)
{
	struct audit_entry e = { .who = who, .what = what, .on = on, .result = result, .from = "192.0.2.1",
				 .request = "0123456789abcdef", .bytes = 7 };

	audit_write(a, &e);
}

static size_t found(struct audit *a, struct audit_query q)
{
	json_t *lines = audit_search(a, &q);
	size_t n;

	assert_non_null(lines);
	n = json_array_size(lines);
	json_decref(lines);
	return n;
}

static const char *member(json_t *lines, size_t i, const char *key)
{
	return json_string_value(json_object_get(json_array_get(lines, i), key));
}

static void test_search(void **state)
{
	struct audit *a = opened(0);
	struct audit_query all = { .max = 0 };
	int64_t now = time(NULL);
	json_t *lines;

	(void)state;
	put(a, "ann", "upload", "sales/2026.csv", "ok");
	put(a, "ann", "download", "sales/2026.csv", "ok");
	put(a, "bob", "download", "sales/2026.csv", "denied");
	put(a, "bob", "login", "", "failed");
	lines = audit_search(a, &all);
	assert_int_equal(json_array_size(lines), 4);
	assert_string_equal(member(lines, 0, "what"), "login");
	assert_string_equal(member(lines, 3, "what"), "upload");
	assert_string_equal(member(lines, 0, "node"), "n1");
	assert_string_equal(member(lines, 0, "role"), "gateway");
	assert_string_equal(member(lines, 0, "from"), "192.0.2.1");
	assert_true(strcmp(member(lines, 0, "id"), member(lines, 1, "id")) > 0);
	assert_true(json_number_value(json_object_get(json_array_get(lines, 0), "at")) >= (double)now);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(lines, 0), "bytes")), 7);
	json_decref(lines);
	assert_int_equal(found(a, (struct audit_query){ .who = "ann" }), 2);
	assert_int_equal(found(a, (struct audit_query){ .who = "an" }), 0);
	assert_int_equal(found(a, (struct audit_query){ .what = "download", .who = "bob" }), 1);
	assert_int_equal(found(a, (struct audit_query){ .on = "sales/" }), 3);
	assert_int_equal(found(a, (struct audit_query){ .on = "ales/" }), 0);
	assert_int_equal(found(a, (struct audit_query){ .result = "denied" }), 1);
	assert_int_equal(found(a, (struct audit_query){ .text = "2026.CSV" }), 3);
	assert_int_equal(found(a, (struct audit_query){ .text = "who" }), 0); /* a key is no text */
	assert_int_equal(found(a, (struct audit_query){ .since = now - 5, .until = now + 5 }), 4);
	assert_int_equal(found(a, (struct audit_query){ .since = now + 5 }), 0);
	assert_int_equal(found(a, (struct audit_query){ .until = now - 5 }), 0);
	audit_close(a);
}

static void test_pages(void **state)
{
	struct audit *a = opened(0);
	char before[32] = "", on[16];
	size_t seen = 0;

	(void)state;
	for (int i = 0; i < 2500; i++) {
		snprintf(on, sizeof(on), "page/%d", i);
		put(a, "ann", "upload", on, "ok");
	}
	audit_close(a);
	a = opened(0); /* also what an earlier process wrote */
	for (;;) {
		struct audit_query q = { .max = 700, .on = "page/", .before = *before ? before : NULL };
		json_t *lines = audit_search(a, &q);
		size_t n = json_array_size(lines);

		for (size_t i = 0; i < n; i++, seen++) {
			snprintf(on, sizeof(on), "page/%zu", 2499 - seen);
			assert_string_equal(member(lines, i, "on"), on);
		}
		if (n)
			snprintf(before, sizeof(before), "%s", member(lines, n - 1, "id"));
		json_decref(lines);
		if (!n)
			break;
	}
	assert_int_equal(seen, 2500);
	assert_int_equal(found(a, (struct audit_query){ .max = 100000 }), 1000);
	audit_close(a);
}

/* Whatever a stranger names himself is one line and is found as it is. */
static void test_hostile(void **state)
{
	struct audit *a = opened(0);
	static const char *const names[] = { "a\",\"who\":\"root", "line\nbreak {\"id\":\"", "<script>", "\xc3\xa4\xe2\x82\xac",
					     "back\\slash" };
	char longer[5000];
	json_t *lines;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		put(a, names[i], "login", names[i], "failed");
		assert_int_equal(found(a, (struct audit_query){ .who = names[i] }), 1);
		assert_int_equal(found(a, (struct audit_query){ .on = names[i] }), 1);
		assert_int_equal(found(a, (struct audit_query){ .text = names[i] }), 1);
	}
	assert_int_equal(found(a, (struct audit_query){ .who = "root" }), 0);
	memset(longer, 'x', sizeof(longer));
	memcpy(longer + 1022, "\xe2\x82\xac", 3);
	longer[sizeof(longer) - 1] = '\0';
	put(a, longer, "long", "bad \xff utf-8", "failed");
	lines = audit_search(a, &(struct audit_query){ .what = "long" });
	assert_int_equal(json_array_size(lines), 1);
	assert_int_equal(strlen(member(lines, 0, "who")), 1022);
	assert_string_equal(member(lines, 0, "on"), "bad ? utf-8");
	json_decref(lines);
	audit_close(a);
}

/* The one file that is there. */
static void only_file(char *out, size_t len)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	assert_non_null(dir);
	out[0] = '\0';
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			snprintf(out, len, "%s/%s", path, e->d_name);
	closedir(dir);
}

static void test_torn(void **state)
{
	struct audit *a = opened(0);
	char file[600];
	int fd;

	(void)state;
	put(a, "tim", "upload", "x", "ok");
	audit_close(a);
	only_file(file, sizeof(file));
	fd = open(file, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, "{\"id\":\"00064\nrubbish\n\n{\"id\":\"ffffffffffffffffffffffff\",\"who\":\"tim\"", 64), 64);
	close(fd);
	a = opened(0);
	assert_int_equal(found(a, (struct audit_query){ .who = "tim" }), 1);
	put(a, "tim", "upload", "y", "ok");
	assert_int_equal(found(a, (struct audit_query){ .who = "tim" }), 2);
	audit_close(a);
}

static void test_oldest_go(void **state)
{
	struct audit *a;
	char old[300];
	uint64_t total = 0;
	struct stat st;
	struct dirent *e;
	DIR *dir;
	int fd;

	(void)state;
	audit_close(opened(0));
	snprintf(old, sizeof(old), "%s/2001-01-01.000.jsonl", path);
	fd = open(old, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	a = opened(64 << 10);
	assert_int_equal(access(old, F_OK), -1);
	for (int i = 0; i < 2000; i++)
		put(a, "eve", "upload", "some file", "ok");
	assert_true(found(a, (struct audit_query){ .who = "eve", .max = 1000 }) > 200);
	audit_close(a);
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.' && !fstatat(dirfd(dir), e->d_name, &st, 0)) {
			assert_int_equal(st.st_mode & 077, 0);
			total += (uint64_t)st.st_size;
		}
	closedir(dir);
	assert_true(total > 32 << 10 && total <= 80 << 10);
}

static void *writer(void *arg)
{
	for (int i = 0; i < 500; i++)
		put(arg, "par", "upload", "allel", "ok");
	return NULL;
}

static void test_threads(void **state)
{
	struct audit *a = opened(0);
	pthread_t threads[4];
	size_t n = 0;
	char before[32] = "";

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, a), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (size_t got = 1; got;) {
		struct audit_query q = { .who = "par", .max = 1000, .before = *before ? before : NULL };
		json_t *lines = audit_search(a, &q);

		n += got = json_array_size(lines);
		if (got)
			snprintf(before, sizeof(before), "%s", member(lines, got - 1, "id"));
		json_decref(lines);
	}
	assert_int_equal(n, 2000);
	audit_close(a);
}

static void test_cannot(void **state)
{
	struct metrics *metrics;
	struct audit_options opt = { .folder = path, .node = "n1", .role = "gateway" };
	struct audit *a;
	char *page;
	size_t len;

	(void)state;
	assert_int_equal(metrics_new(&metrics), 0);
	opt.metrics = metrics;
	opt.bytes_max = 800; /* every line wants a new file */
	assert_int_equal(audit_open(&a, &opt), 0);
	put(a, "ann", "upload", "fits", "ok");
	unit_folder_remove(path);
	put(a, "ann", "upload", "x", "ok");
	put(a, "ann", "upload", "y", "ok");
	page = metrics_render(metrics, &len);
	assert_non_null(strstr(page, "weir_audit_failed_total 2"));
	free(page);
	audit_close(a);
	metrics_free(metrics);
	audit_write(NULL, &(struct audit_entry){ .who = "nobody" });
	opt.folder = "/proc/nothing/here";
	assert_int_equal(audit_open(&a, &opt), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_search, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_oldest_go, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cannot, setup, teardown),
	};

	return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
