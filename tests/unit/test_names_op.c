/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_names_op.c -- what of the names is pure: conditions, what may be a name, messages and
 * records as JSON and back.
 */
#include <errno.h>

#include "http/store/names_op.h"
#include "lib/hash.h"
#include "tests/unit/unit.h"

#define BUCKET "photos"

static char targets[3][CONF_NAME_MAX] = { "ep-1", "ep-2", "ep-3" };

static void conditions(void **state)
{
	static struct name_entry a = { .etag = "a" }, plain = { .sha256 = { 0xab, 0xcd } };

	(void)state;
	assert_int_equal(names_conditions(NULL, NULL, NULL), 0);
	assert_int_equal(names_conditions("*", NULL, NULL), -ECANCELED);
	assert_int_equal(names_conditions("*", NULL, &a), 0);
	assert_int_equal(names_conditions("\"b\", \"a\"", NULL, &a), 0);
	assert_int_equal(names_conditions("\"b\"", NULL, &a), -ECANCELED);
	assert_int_equal(names_conditions("W/\"a\"", NULL, &a), -ECANCELED);
	assert_int_equal(names_conditions(NULL, "*", NULL), 0);
	assert_int_equal(names_conditions(NULL, "*", &a), -ECANCELED);
	assert_int_equal(names_conditions(NULL, "W/\"a\"", &a), -ECANCELED);
	assert_int_equal(names_conditions(NULL, "\"b\"", &a), 0);
	assert_int_equal(names_conditions("garbage", NULL, &a), -ECANCELED);
	/* S3 calls what has no ETag of its own otherwise than the plain interface. */
	assert_int_equal(names_conditions("\"abcd0000000000000000000000000000\"", NULL, &plain), 0);
	assert_int_equal(names_conditions("\"abcd0000000000000000000000000000-0\"", NULL, &plain), 0);
	assert_int_equal(names_conditions("\"abcd0000000000000000000000000000-1\"", NULL, &plain), -ECANCELED);
	assert_int_equal(names_conditions("\"abce0000000000000000000000000000-0\"", NULL, &plain), -ECANCELED);
	assert_int_equal(names_conditions(NULL, "\"abcd0000000000000000000000000000-0\"", &plain), -ECANCELED);
	assert_int_equal(names_conditions("\"a-0\"", NULL, &a), -ECANCELED);
}

static void names_valid(void **state)
{
	char key[NAMES_KEY_MAX + 2];

	(void)state;
	assert_true(names_bucket_valid("a-b.c9"));
	assert_false(names_bucket_valid("ab"));
	assert_false(names_bucket_valid("-abc"));
	assert_false(names_bucket_valid("Abc"));
	memset(key, 'k', sizeof(key));
	key[NAMES_KEY_MAX + 1] = '\0';
	assert_false(names_key_valid(key));
	key[NAMES_KEY_MAX] = '\0';
	assert_true(names_key_valid(key));
	assert_true(names_key_valid("gr\xc3\xbc\xc3\x9f/\xf0\x9f\x90\x9f"));
	assert_false(names_key_valid(""));
	assert_true(names_key_valid("a\nb\x01\x7f"));
	assert_false(names_key_plain("a\nb"));
	assert_false(names_key_plain("a\x7f"));
	assert_false(names_key_plain("\xc2\x85"));
	assert_true(names_key_plain("gr\xc3\xbc\xc3\x9f/\xf0\x9f\x90\x9f"));
	assert_false(names_key_valid("\xc3("));
	assert_false(names_key_valid("\xed\xa0\x80"));
	assert_false(names_key_valid("cut\xf0\x9f"));
}

/* An entry as text is what its value dumps to. */
static void written_alike(const struct name_entry *e)
{
	json_t *value = names_entry_encode(e);
	char *want = json_dumps(value, JSON_COMPACT), *got;
	struct json_text text = { 0 };
	size_t len;

	names_entry_write(&text, e);
	got = json_text_take(&text, &len);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(got, want, len);
	assert_true(len <= names_entry_weight(e));
	free(got);
	free(want);
	json_decref(value);
}

static void messages_round_trip(void **state)
{
	static struct names_op ops[4] = {
		{ .kind = NAMES_OP_PUT,
		  .epoch = 3,
		  .seq = 8,
		  .replaced = true,
		  .nfetch = 1,
		  .fetch = { "ep-3" },
		  .forget = "00112233445566778899aabbccddeeff",
		  .id = "ffeeddccbbaa99887766554433221100",
		  .space = NAMES_PARTS,
		  .entry = { .key = "k\xc3\xa4\"\\",
			     .version = "ffeeddccbbaa99887766554433221100",
			     .size = 1ull << 42,
			     .modified = 1700000000,
			     .nholders = 1,
			     .holders = { "ep-1" },
			     .epoch = 3,
			     .order = 5,
			     .null_version = true,
			     .part = 7,
			     .nparts = 3,
			     .etag = "d41d8cd98f00b204e9800998ecf8427e-3",
			     .meta = "{\"type\":\"text/\u00fc\"}",
			     .seq = 8 } },
		{ .kind = NAMES_OP_FORGOTTEN,
		  .epoch = 3,
		  .seq = 9,
		  .node = "ep-2",
		  .nseqs = 2,
		  .seqs = { 4, 5 } },
		{ .kind = NAMES_OP_CLOSE, .epoch = 3, .seq = 10 },
		{ .kind = NAMES_OP_COMPLETE,
		  .epoch = 3,
		  .seq = 11,
		  .keep = { 0x02, [NAMES_PARTS_MAX / 8] = 0x01 },
		  .entry = { .key = "big",
			     .version = "ffeeddccbbaa99887766554400000000",
			     .nparts = 2,
			     .epoch = 3,
			     .order = 11,
			     .seq = 11 } },
	};
	struct names_batch b = { .bucket = BUCKET,
				 .primary = "ep-1",
				 .epoch = 3,
				 .prev_epoch = 2,
				 .prev_seq = 7,
				 .ntargets = 3,
				 .targets = targets,
				 .nops = 4,
				 .ops = ops };
	struct names_batch back;
	json_t *j;

	(void)state;
	ops[0].entry.meta_len = (unsigned int)strlen(ops[0].entry.meta);
	written_alike(&ops[0].entry);
	written_alike(&ops[3].entry);
	ops[3].entry.nholders = 2;
	strcpy(ops[3].entry.holders[0], "ep-1");
	strcpy(ops[3].entry.holders[1], "ep-2");
	ops[3].entry.marker = ops[3].entry.current = ops[3].entry.deleted = true;
	written_alike(&ops[3].entry);
	ops[3].entry.nholders = 0;
	memset(ops[3].entry.holders, 0, sizeof(ops[3].entry.holders));
	ops[3].entry.marker = ops[3].entry.current = ops[3].entry.deleted = false;
	j = names_batch_encode(&b);
	assert_int_equal(names_batch_decode(&back, j), 0);
	assert_int_equal(back.nops, 4);
	assert_true(names_keeps(back.ops[3].keep, 1) && !names_keeps(back.ops[3].keep, 2) &&
		    names_keeps(back.ops[3].keep, NAMES_PARTS_MAX));
	assert_memory_equal(back.ops, ops, sizeof(ops));
	assert_memory_equal(back.targets, targets, sizeof(targets));
	names_batch_free(&back);
	/* A gap in the order is refused, and so is another epoch inside. */
	json_object_set_new(j, "prev_seq", json_integer(6));
	assert_int_equal(names_batch_decode(&back, j), -EINVAL);
	json_object_set_new(j, "prev_seq", json_integer(7));
	json_object_set_new(j, "epoch", json_integer(4));
	assert_int_equal(names_batch_decode(&back, j), -EINVAL);
	json_object_set_new(j, "epoch", json_integer(3));
	json_object_set_new(json_array_get(json_object_get(j, "ops"), 3), "keep", json_string("02"));
	assert_int_equal(names_batch_decode(&back, j), -EINVAL);
	json_decref(j);
}

static void record_text(void **state)
{
	struct names_record r = { .epoch = 4, .primary = "ep-1" }, back;
	char *text = names_record_encode(&r);

	(void)state;
	assert_string_equal(text, "{\"epoch\":4,\"primary\":\"ep-1\",\"secondary\":null}");
	assert_int_equal(names_record_decode(&back, text, strlen(text)), 0);
	assert_memory_equal(&r, &back, sizeof(r));
	free(text);
	for (size_t i = 0; i < 5; i++) {
		static const char *const bad[] = {
			"", "[]", "{\"epoch\":0,\"primary\":\"a\",\"secondary\":null}",
			"{\"epoch\":1,\"primary\":\"a\",\"secondary\":\"a\"}",
			"{\"epoch\":1,\"primary\":\"a/b\"}"
		};

		assert_int_equal(names_record_decode(&back, bad[i], strlen(bad[i])), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conditions),
		cmocka_unit_test(names_valid),
		cmocka_unit_test(messages_round_trip),
		cmocka_unit_test(record_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
