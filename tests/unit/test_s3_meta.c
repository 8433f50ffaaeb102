/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_s3_meta.c -- what S3 keeps of an object: headers in, one compact text, headers out; limits of user metadata.
 */
#include <errno.h>

#include "http/s3/meta.h"
#include "tests/unit/unit.h"

static const char *user(const json_t *meta, const char *name)
{
	return s3_meta_text(json_object_get(meta, S3_META_USER), name);
}

static void headers_that_are_kept(void **state)
{
	json_t *meta = json_object(), *again;
	char text[1024];

	(void)state;
	assert_int_equal(s3_meta_take(meta, "content-type", "text/plain; charset=utf-8"), 0);
	assert_int_equal(s3_meta_take(meta, "Cache-Control", "no-store"), 0);
	assert_int_equal(s3_meta_take(meta, "Expires", ""), 0);
	assert_int_equal(s3_meta_take(meta, "Authorization", "secret"), 0);
	assert_int_equal(s3_meta_take(meta, "X-Amz-Meta-Color", "blue"), 0);
	assert_int_equal(s3_meta_take(meta, "x-amz-meta-COLOR", "red"), 0);
	assert_int_equal(s3_meta_take(meta, "x-amz-meta-", "no name"), 0);
	assert_int_equal(s3_meta_write(meta, text, sizeof(text)), 0);
	assert_null(strstr(text, "secret"));
	again = s3_meta_read(text);
	assert_string_equal(s3_meta_text(again, S3_META_TYPE), "text/plain; charset=utf-8");
	assert_string_equal(s3_meta_text(again, "cc"), "no-store");
	assert_null(s3_meta_text(again, "ex"));
	assert_string_equal(user(again, "color"), "blue,red");
	assert_int_equal(json_object_size(json_object_get(again, S3_META_USER)), 1);
	json_decref(again);
	json_decref(meta);
}

static void how_it_came_is_no_encoding(void **state)
{
	static const char *const cases[][2] = {
		{ "aws-chunked", NULL },
		{ "aws-chunked,gzip", "gzip" },
		{ "gzip , AWS-Chunked", "gzip" },
		{ "gzip, br", "gzip,br" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *meta = json_object();

		assert_int_equal(s3_meta_take(meta, "Content-Encoding", cases[i][0]), 0);
		if (cases[i][1])
			assert_string_equal(s3_meta_text(meta, "ce"), cases[i][1]);
		else
			assert_null(s3_meta_text(meta, "ce"));
		json_decref(meta);
	}
}

static void bytes_that_are_no_text(void **state)
{
	json_t *meta = json_object();

	(void)state;
	assert_int_equal(s3_meta_take(meta, "x-amz-meta-a", "\xe4pfel"), 0); /* Latin-1 */
	assert_string_equal(user(meta, "a"), "\xc3\xa4pfel");
	assert_int_equal(s3_meta_take(meta, "x-amz-meta-b", "\xc3\xa4pfel"), 0);
	assert_string_equal(user(meta, "b"), "\xc3\xa4pfel");
	json_decref(meta);
}

static void limits(void **state)
{
	char value[S3_META_USER_MAX + 10], text[64];
	json_t *meta = json_object();

	(void)state;
	memset(value, 'x', sizeof(value));
	value[S3_META_USER_MAX - 1] = '\0';
	assert_int_equal(s3_meta_take(meta, "x-amz-meta-a", value), 0); /* 1 + 2,047 */
	assert_int_equal(s3_meta_write(meta, text, sizeof(text)), -E2BIG);
	assert_int_equal(s3_meta_take(meta, "x-amz-meta-b", ""), -E2BIG);
	json_decref(meta);
	meta = json_object();
	value[S3_META_USER_MAX - 1] = 'x';
	value[S3_META_USER_MAX] = '\0';
	assert_int_equal(s3_meta_take(meta, "x-amz-meta-a", value), -E2BIG);
	json_decref(meta);
}

static void texts_that_are_none(void **state)
{
	json_t *nothing = s3_meta_read(NULL);

	(void)state;
	assert_int_equal(json_object_size(nothing), 0);
	json_decref(nothing);
	assert_null(s3_meta_read("[]"));
	assert_null(s3_meta_read("{"));
	assert_null(s3_meta_read("{\"m\":1,\"m\":2}"));
}

static void checksum_without_reading(void **state)
{
	char name[16];
	bool composite;

	(void)state;
	assert_true(s3_meta_has_checksum("{\"t\":\"a/b\",\"c\":{\"CRC64NVME\":\"AAAAAAAAAAA=\"}}",
					 name, &composite));
	assert_string_equal(name, "CRC64NVME");
	assert_false(composite);
	assert_true(s3_meta_has_checksum("{\"c\":{\"SHA1\":\"AAAA-2\"},\"ct\":\"COMPOSITE\"}", name,
					 &composite));
	assert_string_equal(name, "SHA1");
	assert_true(composite);
	assert_false(s3_meta_has_checksum("", name, &composite));
	assert_false(s3_meta_has_checksum(NULL, name, &composite));
	assert_false(s3_meta_has_checksum(
		"{\"u\":{\"c\":\"x\",\"d\":\"\\\"c\\\":{\\\"SHA1\\\":\\\"A\\\"}\"}}", name,
		&composite));
	assert_false(
		s3_meta_has_checksum("{\"c\":{\"ANAMETHATHASNOROOM\":\"A\"}}", name, &composite));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_that_are_kept),
		cmocka_unit_test(how_it_came_is_no_encoding),
		cmocka_unit_test(bytes_that_are_no_text),
		cmocka_unit_test(limits),
		cmocka_unit_test(texts_that_are_none),
		cmocka_unit_test(checksum_without_reading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
