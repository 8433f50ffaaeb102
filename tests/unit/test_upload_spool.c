/* SPDX-License-Identifier: Apache-2.0 */
/* Files of unfinished uploads: saved and found again, what a start that broke off left, copies. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include "http/upload/spool.h"

static char folder[80];
static struct spool *spool;

static int begin(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/weir-spool.XXXXXX");
	assert_non_null(mkdtemp(folder));
	return spool_open(&spool, folder, "gw-1");
}

static int files(void)
{
	DIR *dir = opendir(folder);
	const struct dirent *e;
	int n = 0;

	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			n++;
	closedir(dir);
	return n;
}

static int end(void **state)
{
	(void)state;
	spool_close(spool);
	assert_int_equal(rmdir(folder), 0); /* each test leaves it empty */
	return 0;
}

static void ids(void **state)
{
	char a[SPOOL_ID_LEN + 1], b[SPOOL_ID_LEN + 1], digits[9];

	(void)state;
	spool_id(spool, a);
	spool_id(spool, b);
	spool_node_digits("gw-1", digits);
	assert_true(spool_id_valid(a));
	assert_memory_equal(a, digits, 8);
	assert_memory_equal(a, b, 8);
	assert_string_not_equal(a, b);
	assert_false(spool_id_valid("../../../../../../../../../../../../etc/"));
	assert_false(spool_id_valid(""));
	a[SPOOL_ID_LEN - 1] = '\0';
	assert_false(spool_id_valid(a));
}

static json_t *found;

static void see(void *arg, const char *id, json_t *state)
{
	(void)arg;
	json_object_set(found, id, state);
}

static void saved(void **state)
{
	char id[SPOOL_ID_LEN + 1], stray[SPOOL_ID_LEN + 1];
	json_t *o = json_pack("{s:s}", "file", "a/b \xc3\xa4"), *got;
	int fd;

	(void)state;
	spool_id(spool, id);
	spool_id(spool, stray);
	assert_null(spool_load(spool, id));
	assert_int_equal(spool_file(spool, id, "data", SPOOL_READ), -ENOENT);
	fd = spool_file(spool, id, "data", SPOOL_MAKE);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(spool_save(spool, id, o), 0);
	json_object_set_new(o, "n", json_integer(2));
	assert_int_equal(spool_save(spool, id, o), 0);
	got = spool_load(spool, id);
	assert_true(json_equal(got, o));
	json_decref(got);
	/* bytes without a state are of a start that broke off */
	close(spool_file(spool, stray, "data", SPOOL_MAKE));
	close(spool_file(spool, stray, "new", SPOOL_MAKE));
	assert_int_equal(files(), 4);
	found = json_object();
	assert_int_equal(spool_each(spool, see, NULL), 0);
	assert_int_equal(json_object_size(found), 1);
	assert_true(json_equal(json_object_get(found, id), o));
	assert_int_equal(files(), 2);
	spool_remove(spool, id, false);
	assert_int_equal(files(), 1);
	spool_remove(spool, id, true);
	assert_int_equal(files(), 0);
	json_decref(found);
	json_decref(o);
}

static void damaged(void **state)
{
	char id[SPOOL_ID_LEN + 1];
	int fd;

	(void)state;
	spool_id(spool, id);
	fd = spool_file(spool, id, "json", SPOOL_MAKE);
	assert_int_equal(write(fd, "{\"file\":", 8), 8);
	close(fd);
	assert_null(spool_load(spool, id));
	found = json_object();
	assert_int_equal(spool_each(spool, see, NULL), 0);
	assert_int_equal(json_object_size(found), 0);
	json_decref(found);
	spool_remove(spool, id, true);
}

static void copies(void **state)
{
	int a = spool_temporary(spool), b = spool_temporary(spool);
	char buf[8] = "";

	(void)state;
	assert_true(a >= 0 && b >= 0);
	assert_int_equal(files(), 0);
	assert_int_equal(write(a, "0123456789", 10), 10);
	assert_int_equal(spool_copy(a, 2, 5, b, 1), 0);
	assert_int_equal(pread(b, buf, 8, 0), 6);
	assert_memory_equal(buf, "\0" "23456", 6);
	assert_int_equal(spool_copy(a, 8, 5, b, 0), -ENODATA);
	assert_int_equal(spool_copy(a, 0, 0, b, 0), 0);
	assert_true(spool_free_bytes(spool) > 0);
	close(a);
	close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ids, begin, end),
		cmocka_unit_test_setup_teardown(saved, begin, end),
		cmocka_unit_test_setup_teardown(damaged, begin, end),
		cmocka_unit_test_setup_teardown(copies, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
