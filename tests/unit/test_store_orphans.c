/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_orphans.c -- when data without a name may go: each reason that keeps them; whether the
 * names are the ones that were here all the time; what real names say that something needs.
 */
#include "http/store/names_backup.h"
#include "http/store/names_mark.h"
#include "http/store/orphans.h"
#include "tests/unit/names_cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY 86400

/* ---- the verdict ---- */

static const struct orphan_facts goes = { .now = 1000 * DAY,
					  .began = 999 * DAY,
					  .stored = 998 * DAY,
					  .created = 998 * DAY,
					  .since = 997 * DAY,
					  .age = DAY,
					  .alone = true,
					  .before = true,
					  .needed = -ENOENT };

static void without_use_and_seen_twice_it_goes(void **state)
{
	(void)state;
	assert_int_equal(orphan_judge(&goes), ORPHAN_GO);
}

static void each_reason_keeps_it(void **state)
{
	struct orphan_facts f = goes;

	(void)state;
	f.before = false;
	assert_int_equal(orphan_judge(&f), ORPHAN_FIRST);
	f = goes;
	f.needed = 0;
	assert_int_equal(orphan_judge(&f), ORPHAN_NAMED);
	f = goes;
	f.needed = -EAGAIN;
	assert_int_equal(orphan_judge(&f), ORPHAN_UNSURE);
	f.needed = -EIO;
	assert_int_equal(orphan_judge(&f), ORPHAN_UNSURE);
	f = goes;
	f.alone = false;
	assert_int_equal(orphan_judge(&f), ORPHAN_OTHERS);
}

static void young_ones_stay(void **state)
{
	struct orphan_facts f = goes;

	(void)state;
	f.stored = f.began; /* its upload may be under way, however old it is */
	f.now = f.began + 365 * DAY;
	assert_int_equal(orphan_judge(&f), ORPHAN_YOUNG);
	f = goes;
	f.began = f.now;
	f.stored = f.now - DAY + 1;
	assert_int_equal(orphan_judge(&f), ORPHAN_YOUNG);
	f.stored = f.now - DAY;
	assert_int_equal(orphan_judge(&f), ORPHAN_GO);
	f.created = f.now - 5; /* by a clock that was wrong, one of them */
	assert_int_equal(orphan_judge(&f), ORPHAN_YOUNG);
	f = goes;
	f.stored = f.now + DAY;
	assert_int_equal(orphan_judge(&f), ORPHAN_YOUNG);
}

static void what_names_do_not_cover_stays(void **state)
{
	struct orphan_facts f = goes;

	(void)state;
	f.since = f.stored;
	assert_int_equal(orphan_judge(&f), ORPHAN_RESTORED);
	f.since = NAMES_MARK_ALL;
	assert_int_equal(orphan_judge(&f), ORPHAN_RESTORED);
	f.since = f.stored - 1;
	assert_int_equal(orphan_judge(&f), ORPHAN_GO);
}

/* ---- are these the names? ---- */

static char top[128], names_dir[160];
static struct names_db *db;
static struct names_mark *mark;

static void run(const char *fmt, const char *a, const char *b)
{
	char line[600];

	snprintf(line, sizeof(line), fmt, a, b);
	assert_int_equal(system(line), 0);
}

static int store_up(void **state)
{
	(void)state;
	strcpy(top, "/tmp/weir-orphans.XXXXXX");
	assert_non_null(mkdtemp(top));
	snprintf(names_dir, sizeof(names_dir), "%s/names", top);
	return 0;
}

static int store_down(void **state)
{
	(void)state;
	run("rm -rf %s%s", top, "");
	return 0;
}

static void opened(void)
{
	assert_int_equal(names_db_open(&db, names_dir), 0);
	assert_int_equal(names_mark_open(&mark, top, db), 0);
}

static void closed(void)
{
	names_mark_close(mark);
	names_db_close(db);
	mark = NULL;
	db = NULL;
}

static int node_txn(struct names_txn *t, void *arg)
{
	return names_node_put(t, arg, "{}");
}

static void written(const char *name)
{
	assert_int_equal(names_db_write(db, node_txn, (void *)name), 0);
}

static void covered(int64_t from)
{
	assert_int_equal(names_mark_begin(mark, false), 0);
	assert_int_equal(names_mark_end(mark, from, 1), 0);
	assert_int_equal(names_mark_since(mark), from);
}

static void the_first_start_covers_nothing(void **state)
{
	(void)state;
	opened();
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	/* not before a whole round, also not by the next start */
	assert_int_equal(names_mark_begin(mark, false), 0);
	closed();
	opened();
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	covered(100);
	assert_int_equal(names_mark_begin(mark, false), 0);
	assert_int_equal(names_mark_end(mark, 5000, 6000), 0); /* once is enough */
	assert_int_equal(names_mark_since(mark), 100);
	closed();
	opened();
	assert_int_equal(names_mark_since(mark), 100);
	closed();
}

static void a_round_that_began_later_than_its_clock(void **state)
{
	(void)state;
	opened();
	assert_int_equal(names_mark_begin(mark, false), 0);
	assert_int_equal(names_mark_end(mark, 50, 80), 0);
	assert_int_equal(names_mark_since(mark), 80);
	closed();
}

static void a_kill_changes_nothing(void **state)
{
	(void)state;
	opened();
	covered(100);
	written("a");
	run("cp %s/names.seen %s/kept", top, top); /* what a kill leaves: the end is not written */
	closed();
	run("mv %s/kept %s/names.seen", top, top);
	opened();
	assert_int_equal(names_mark_since(mark), 100);
	closed();
}

/* Between the two steps of a new mark. */
static void a_kill_while_it_is_marked(void **state)
{
	char path[200], text[400] = "", mark_hex[33], *at;
	FILE *f;

	(void)state;
	opened();
	covered(100);
	closed();
	snprintf(path, sizeof(path), "%s/names.seen", top);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
	fclose(f);
	at = strstr(text, "\"mark\":\"");
	assert_non_null(at);
	memcpy(mark_hex, at + 8, 32);
	mark_hex[32] = '\0';
	memset(at + 8, '0', 32);
	at = strstr(text, "\"next\":\"");
	assert_non_null(at);
	f = fopen(path, "w");
	fprintf(f, "%.*s%s%s", (int)(at + 8 - text), text, mark_hex, at + 8);
	fclose(f);
	opened();
	assert_int_equal(names_mark_since(mark), 100);
	closed();
}

/* Of an earlier run, and one that was made in this run, which was killed. */
static void a_backup_covers_nothing(void **state)
{
	char backup[200];

	(void)state;
	for (int same_run = 0; same_run < 2; same_run++) {
		for (int over = 0; over < 2; over++) {
			snprintf(backup, sizeof(backup), "%s/backup%d%d", top, same_run, over);
			opened();
			covered(100);
			for (int i = 0; i < 5; i++)
				written("a");
			closed();
			assert_int_equal(names_backup(names_dir, backup), 0);
			if (!same_run) {
				opened();
				written("b");
				closed();
			}
			run(over ? "cp %s/data.mdb %s/data.mdb" : "cp --remove-destination %s/data.mdb %s/data.mdb", backup,
			    names_dir);
			opened();
			assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
			assert_int_equal(names_mark_allow(mark), 0);
			assert_int_equal(names_mark_since(mark), 0);
			closed();
			opened();
			assert_int_equal(names_mark_since(mark), 0);
			closed();
			run("rm %s/names.seen%s", top, "");
		}
	}
}

/* The whole folder as it was, over what there is, but for the data: the same inode, mark and count. */
static void a_cold_copy_covers_nothing(void **state)
{
	(void)state;
	opened();
	covered(100);
	closed();
	run("cp -a %s/names/data.mdb %s/cold.mdb", top, top);
	run("cp -a %s/names.seen %s/cold.seen", top, top);
	opened();
	assert_int_equal(names_mark_since(mark), 100);
	written("late");
	closed();
	run("cp -a %s/cold.mdb %s/names/data.mdb", top, top);
	run("cp -a %s/cold.seen %s/names.seen", top, top);
	opened();
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	closed();
}

static void names_from_nothing_cover_nothing(void **state)
{
	(void)state;
	opened();
	covered(100);
	closed();
	run("rm -r %s%s", names_dir, "");
	opened();
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	closed();
}

static void in_company_nothing_is_covered(void **state)
{
	(void)state;
	opened();
	covered(100);
	assert_int_equal(names_mark_begin(mark, true), 0);
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	assert_int_equal(names_mark_end(mark, 200, 200), 0);
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	assert_int_equal(names_mark_allow(mark), -EBUSY);
	closed();
	opened(); /* alone again, by a registry that begins from nothing */
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	covered(300);
	closed();
}

/* Between two rounds, and also when a kill follows. */
static void company_that_comes_between_rounds(void **state)
{
	(void)state;
	opened();
	covered(100);
	assert_int_equal(names_mark_begin(mark, false), 0);
	assert_int_equal(names_mark_others(mark), 0);
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	run("cp %s/names.seen %s/kept", top, top); /* what a kill leaves */
	assert_int_equal(names_mark_end(mark, 200, 200), 0);
	assert_int_equal(names_mark_begin(mark, false), 0); /* it was taken off the list: not before the next start */
	assert_int_equal(names_mark_end(mark, 200, 200), 0);
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	assert_int_equal(names_mark_allow(mark), -EBUSY);
	assert_int_equal(names_mark_others(mark), 0);
	closed();
	run("grep -q 'since.:-1' %s/kept%s", top, "");
	run("mv %s/kept %s/names.seen", top, top);
	opened();
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	covered(300);
	closed();
}

static void a_mark_that_is_no_text(void **state)
{
	(void)state;
	opened();
	covered(100);
	closed();
	run("printf '{\"mark\":5}' >%s/names.seen%s", top, "");
	opened();
	assert_int_equal(names_mark_since(mark), NAMES_MARK_ALL);
	closed();
}

/* ---- what names say ---- */

static struct cluster cluster; /* for its registry alone */
static struct child node;

static int names_up(void **state)
{
	(void)state;
	cluster_start_lone(&cluster, &node);
	return 0;
}

static int names_down(void **state)
{
	(void)state;
	cluster_end_lone(&cluster, &node);
	return 0;
}

static void named(const char *key, enum names_mode mode, char version[33])
{
	static struct name_entry e;
	struct names_how how = { .mode = mode };

	memset(&e, 0, sizeof(e));
	snprintf(e.key, sizeof(e.key), "%s", key);
	new_version(version);
	version[31] = '1';
	strcpy(e.version, version);
	e.size = 5;
	assert_int_equal(names_put_with(node.names, "data", &e, &how, NULL), 0);
}

static void what_has_a_name_is_needed(void **state)
{
	char version[33], older[33], other[33] = "00112233445566778899aabbccddeef1";
	struct names_how how = { .mode = NAMES_VERSIONED };

	(void)state;
	assert_int_equal(names_needed(node.names, "data", other), -EAGAIN); /* a bucket that nobody knows */
	named("k", NAMES_PLAIN, version);
	wait_until(10, names_needed(node.names, "data", other) == -ENOENT);
	assert_int_equal(names_needed(node.names, "data", version), 0);
	named("v", NAMES_VERSIONED, older);
	named("v", NAMES_VERSIONED, version);
	assert_int_equal(names_needed(node.names, "data", older), 0);
	assert_int_equal(names_delete_with(node.names, "data", "v", NULL, &how, NULL), 0);
	assert_int_equal(names_needed(node.names, "data", version), 0);
	named("r", NAMES_PLAIN, older);
	named("r", NAMES_PLAIN, version);
	assert_int_equal(names_needed(node.names, "data", older), -ENOENT);
	assert_int_equal(names_needed(node.names, "datb", version), -EAGAIN);
	assert_int_equal(names_needed(node.names, "data", "short"), -EAGAIN);
}

static void what_an_upload_may_need_is_needed(void **state)
{
	static struct name_entry upload, part, object;
	struct names_part list = { .number = 1 };
	struct names_how how = { .mode = NAMES_PLAIN };
	char stray[33];

	(void)state;
	memset(&upload, 0, sizeof(upload));
	strcpy(upload.key, "parts");
	assert_int_equal(names_upload_create(node.names, "data", &upload), 0);
	assert_int_equal(names_part_version(upload.version, 1, 7, stray), 0); /* durable, its name never came */
	assert_int_equal(names_needed(node.names, "data", stray), 0);
	memset(&part, 0, sizeof(part));
	assert_int_equal(names_part_version(upload.version, 1, 8, part.version), 0);
	part.size = 5;
	assert_int_equal(names_part_put(node.names, "data", "parts", upload.version, 1, &part, &how), 0);
	assert_int_equal(names_needed(node.names, "data", part.version), 0);
	memset(&object, 0, sizeof(object));
	assert_int_equal(names_upload_complete(node.names, "data", "parts", upload.version, &list, 1, 0, &object, &how, NULL), 0);
	assert_int_equal(names_needed(node.names, "data", part.version), 0);
	assert_int_equal(names_needed(node.names, "data", stray), 0); /* goes with the object */
	assert_int_equal(names_delete_with(node.names, "data", "parts", NULL, &how, NULL), 0);
	assert_int_equal(names_needed(node.names, "data", part.version), -ENOENT);
	assert_int_equal(names_needed(node.names, "data", stray), -ENOENT);
}

static void in_company_it_cannot_be_said(void **state)
{
	char version[33] = "00112233445566778899aabbccddeef1";

	(void)state;
	assert_int_equal(names_needed(node.names, "data", version), -ENOENT);
	assert_int_equal(registry_put(node.registry, REG_ENDPOINTS "ep-9", "{\"site\":\"b\",\"domain\":\"b\"}", 0), 0);
	wait_until(10, names_needed(node.names, "data", version) == -EAGAIN);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest verdicts[] = {
		cmocka_unit_test(without_use_and_seen_twice_it_goes),
		cmocka_unit_test(each_reason_keeps_it),
		cmocka_unit_test(young_ones_stay),
		cmocka_unit_test(what_names_do_not_cover_stays),
	};
#define FRESH(fn) cmocka_unit_test_setup_teardown(fn, store_up, store_down)
	const struct CMUnitTest marks[] = {
		FRESH(the_first_start_covers_nothing),
		FRESH(a_round_that_began_later_than_its_clock),
		FRESH(a_kill_changes_nothing),
		FRESH(a_kill_while_it_is_marked),
		FRESH(a_backup_covers_nothing),
		FRESH(a_cold_copy_covers_nothing),
		FRESH(names_from_nothing_cover_nothing),
		FRESH(in_company_nothing_is_covered),
		FRESH(company_that_comes_between_rounds),
		FRESH(a_mark_that_is_no_text),
	};
	const struct CMUnitTest names[] = {
		cmocka_unit_test(what_has_a_name_is_needed),
		cmocka_unit_test(what_an_upload_may_need_is_needed),
		cmocka_unit_test(in_company_it_cannot_be_said),
	};
	int failed;

	if (argc > 1 && !strcmp(argv[1], "node"))
		return child_main(argv);
	log_open("test", LOG_LEVEL_ERROR);
	failed = cmocka_run_group_tests(verdicts, NULL, NULL);
	failed += cmocka_run_group_tests(marks, NULL, NULL);
	return failed + cmocka_run_group_tests(names, names_up, names_down);
}
