/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http/s3/{listing,conditions,range}: parameters and pages of listings, tokens that cannot be mutilated, conditions and dates,
 * ranges.
 */
#include "tests/unit/unit.h"

#include <time.h>

#include "http/s3/conditions.h"
#include "http/s3/listing.h"
#include "http/s3/range.h"

static enum s3_error params(struct s3_list_params *out, struct s3_target *target, enum s3_list_kind kind, const char *query)
{
	char raw[3000];

	snprintf(raw, sizeof(raw), "/bucket?%s", query);
	assert_int_equal(s3_target_parse(target, NULL, raw, NULL, NULL), S3_OK);
	return s3_list_params(out, kind, target, NULL);
}

static void refused(enum s3_list_kind kind, const char *query)
{
	struct s3_list_params p;
	struct s3_target target;

	if (params(&p, &target, kind, query) != S3_INVALID_ARGUMENT)
		fail_msg("%s is taken", query);
	s3_target_free(&target);
}

static void test_params(void **state)
{
	struct s3_list_params p;
	struct s3_target t;

	(void)state;
	refused(S3_LIST_V1, "max-keys=-1");
	refused(S3_LIST_V1, "max-keys=1x");
	refused(S3_LIST_V2, "max-keys=2147483648");
	refused(S3_LIST_V1, "encoding-type=base64");
	refused(S3_LIST_V2, "continuation-token=");
	refused(S3_LIST_V2, "continuation-token=AAAA");
	refused(S3_LIST_VERSIONS, "version-id-marker=1");
	refused(S3_LIST_PARTS, "part-number-marker=x");
	refused(S3_LIST_UPLOADS, "max-uploads=x");
	assert_int_equal(params(&p, &t, S3_LIST_V1, "max-keys=5000&marker=a/&delimiter=/&encoding-type=url"), S3_OK);
	assert_int_equal(p.max, 1000);
	assert_true(p.url && p.after_prefix);
	s3_target_free(&t);
	assert_int_equal(params(&p, &t, S3_LIST_V1, "max-keys=0&marker=a/b&delimiter=/"), S3_OK);
	assert_int_equal(p.max, 0);
	assert_false(p.after_prefix);
	assert_string_equal(p.after, "a/b");
	s3_target_free(&t);
	assert_int_equal(params(&p, &t, S3_LIST_PARTS, "uploadId=u&max-parts=7&part-number-marker=3"), S3_OK);
	assert_int_equal(p.max, 7);
	assert_int_equal(p.after_part, 3);
	s3_target_free(&t);
}

/* Every token that is changed in one character is refused, or says the same. */
static void test_tokens(void **state)
{
	char token[S3_TOKEN_MAX], text[S3_KEY_MAX + 1], key[S3_KEY_MAX + 2];
	bool prefix;

	(void)state;
	memset(key, 'k', sizeof(key));
	key[S3_KEY_MAX] = '\0';
	assert_int_equal(s3_token_make(token, key, true), 0);
	assert_true(strlen(token) < S3_TOKEN_MAX);
	assert_int_equal(s3_token_read(token, text, &prefix), 0);
	assert_string_equal(text, key);
	assert_true(prefix);
	key[S3_KEY_MAX] = 'k';
	key[S3_KEY_MAX + 1] = '\0';
	assert_int_not_equal(s3_token_make(token, key, true), 0);
	assert_int_equal(s3_token_make(token, "a/€", false), 0);
	for (size_t i = 0; token[i]; i++) {
		char old = token[i];

		for (const char *c = "ABZaz09-_=+/ "; *c; c++) {
			token[i] = *c;
			if (!s3_token_read(token, text, &prefix) && (strcmp(text, "a/€") || prefix))
				fail_msg("character %zu as %c: another place", i, *c);
		}
		token[i] = old;
	}
	assert_int_equal(s3_token_read(token, text, &prefix), 0);
	assert_false(prefix);
}

static void test_common_prefix(void **state)
{
	(void)state;
	assert_int_equal(s3_common_prefix("a/b/c", "", "/"), 2);
	assert_int_equal(s3_common_prefix("a/b/c", "a/", "/"), 4);
	assert_int_equal(s3_common_prefix("a/b/c", "a/b/", "/"), 0);
	assert_int_equal(s3_common_prefix("a/b/c", "x", "/"), 0);
	assert_int_equal(s3_common_prefix("a/b/c", "", ""), 0);
	assert_int_equal(s3_common_prefix("a--b", "", "--"), 3);
	assert_int_equal(s3_common_prefix("/a", "", "/"), 1);
}

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

static void same(char *got, const char *want)
{
	assert_string_equal(got, want);
	free(got);
}

static void test_page_v1(void **state)
{
	static const struct s3_list_row row = { .key = "a b", .size = 5, .modified = 0, .etag = "\"e\"",
						.owner = { "me", NULL } };
	struct s3_list_params p;
	struct s3_target t;
	struct s3_list list;
	size_t len;

	(void)state;
	assert_int_equal(params(&p, &t, S3_LIST_V1, "max-keys=2&delimiter=/&encoding-type=url"), S3_OK);
	s3_list_begin(&list, &p, "bucket");
	assert_int_equal(s3_list_row(&list, &row), 0);
	assert_int_equal(s3_list_prefix(&list, "b+/"), 0);
	assert_int_equal(s3_list_row(&list, &row), 1);
	assert_int_equal(s3_list_prefix(&list, "c/"), 1);
	same(s3_list_end(&list, true, &len),
	     HEAD "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><Prefix></Prefix>"
		  "<Marker></Marker><NextMarker>b%2B/</NextMarker><MaxKeys>2</MaxKeys><Delimiter>/</Delimiter>"
		  "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><Contents><Key>a%20b</Key>"
		  "<LastModified>1970-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>5</Size>"
		  "<Owner><ID>me</ID><DisplayName>me</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>"
		  "<CommonPrefixes><Prefix>b%2B/</Prefix></CommonPrefixes></ListBucketResult>");
	s3_target_free(&t);
}

/* A page of V2 and the one that its token asks for. */
static void test_page_v2(void **state)
{
	static const struct s3_list_row row = { .key = "key&", .size = 1, .etag = "e", .owner = { "me", NULL },
						.checksum = { "CRC32", "x", "FULL_OBJECT" } };
	char query[S3_TOKEN_MAX + 32] = "list-type=2&continuation-token=", *text, *begin, *end;
	struct s3_list_params p;
	struct s3_target t;
	struct s3_list list;
	size_t len;

	(void)state;
	assert_int_equal(params(&p, &t, S3_LIST_V2, "list-type=2&max-keys=1&start-after=a"), S3_OK);
	s3_list_begin(&list, &p, "bucket");
	assert_int_equal(s3_list_row(&list, &row), 0);
	text = s3_list_end(&list, true, &len);
	assert_non_null(strstr(text, "<Key>key&amp;</Key>"));
	assert_non_null(strstr(text, "<StartAfter>a</StartAfter><KeyCount>1</KeyCount>"));
	assert_non_null(strstr(text, "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"));
	assert_null(strstr(text, "<Owner>"));
	begin = strstr(text, "<NextContinuationToken>") + strlen("<NextContinuationToken>");
	end = strchr(begin, '<');
	strncat(query, begin, (size_t)(end - begin));
	free(text);
	s3_target_free(&t);
	assert_int_equal(params(&p, &t, S3_LIST_V2, query), S3_OK);
	assert_string_equal(p.after, "key&");
	assert_false(p.after_prefix);
	s3_target_free(&t);
}

static void test_page_versions(void **state)
{
	static const struct s3_list_row version = { .key = "k", .version = "v1", .size = 1, .etag = "e", .latest = false },
					marker = { .key = "k", .version = "m1", .latest = true, .marker = true };
	struct s3_list_params p;
	struct s3_target t;
	struct s3_list list;
	size_t len;

	(void)state;
	assert_int_equal(params(&p, &t, S3_LIST_VERSIONS, "versions&key-marker=a&version-id-marker=b"), S3_OK);
	s3_list_begin(&list, &p, "bucket");
	assert_int_equal(s3_list_row(&list, &marker), 0);
	assert_int_equal(s3_list_row(&list, &version), 0);
	same(s3_list_end(&list, true, &len),
	     HEAD "<ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name><Prefix></Prefix>"
		  "<KeyMarker>a</KeyMarker><VersionIdMarker>b</VersionIdMarker><NextKeyMarker>k</NextKeyMarker>"
		  "<NextVersionIdMarker>v1</NextVersionIdMarker><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated>"
		  "<DeleteMarker><Key>k</Key><VersionId>m1</VersionId><IsLatest>true</IsLatest>"
		  "<LastModified>1970-01-01T00:00:00.000Z</LastModified></DeleteMarker>"
		  "<Version><Key>k</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest>"
		  "<LastModified>1970-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>1</Size>"
		  "<StorageClass>STANDARD</StorageClass></Version></ListVersionsResult>");
	s3_target_free(&t);
}

static void test_page_uploads(void **state)
{
	static const struct s3_list_row upload = { .key = "k", .version = "u1", .owner = { "me", NULL } },
					part = { .part = 7, .etag = "e", .size = 9, .checksum = { "SHA1", "c", NULL } };
	struct s3_list_params p;
	struct s3_target t;
	struct s3_list list;
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(params(&p, &t, S3_LIST_UPLOADS, "uploads&upload-id-marker=z"), S3_OK);
	assert_string_equal(p.after_version, "");
	s3_list_begin(&list, &p, "bucket");
	assert_int_equal(s3_list_row(&list, &upload), 0);
	text = s3_list_end(&list, false, &len);
	assert_non_null(strstr(text, "<UploadId>u1</UploadId><Initiator><ID>me</ID>"));
	assert_non_null(strstr(text, "<MaxUploads>1000</MaxUploads><IsTruncated>false</IsTruncated>"));
	free(text);
	s3_target_free(&t);
	assert_int_equal(params(&p, &t, S3_LIST_PARTS, "uploadId=u1&delimiter=/"), S3_OK);
	s3_list_begin(&list, &p, "bucket");
	list.upload_key = "k";
	list.upload_id = "u1";
	assert_int_equal(s3_list_row(&list, &part), 0);
	text = s3_list_end(&list, true, &len);
	assert_non_null(strstr(text, "<NextPartNumberMarker>7</NextPartNumberMarker>"));
	assert_non_null(strstr(text, "<Size>9</Size><ChecksumSHA1>c</ChecksumSHA1></Part></ListPartsResult>"));
	free(text);
	s3_target_free(&t);
}

static void test_conditions(void **state)
{
	static const char past[] = "Thu, 01 Jan 1970 00:00:10 GMT", future[] = "Fri, 27 Nov 2026 13:18:42 GMT";
	static const struct {
		struct s3_conditions c;
		enum s3_error want;
	} rows[] = {
		{ { NULL, NULL, NULL, NULL }, S3_OK },
		{ { "\"e\"", NULL, NULL, NULL }, S3_OK },
		{ { "e", NULL, NULL, NULL }, S3_OK },
		{ { "\"x\", \"e\"", NULL, NULL, NULL }, S3_OK },
		{ { "*", NULL, NULL, NULL }, S3_OK },
		{ { "\"x\"", NULL, NULL, NULL }, S3_PRECONDITION_FAILED },
		{ { NULL, "\"e\"", NULL, NULL }, S3_NOT_MODIFIED },
		{ { NULL, "W/\"e\"", NULL, NULL }, S3_NOT_MODIFIED },
		{ { NULL, "*", NULL, NULL }, S3_NOT_MODIFIED },
		{ { NULL, "\"x\"", NULL, NULL }, S3_OK },
		{ { NULL, NULL, future, NULL }, S3_NOT_MODIFIED },
		{ { NULL, NULL, past, NULL }, S3_OK },
		{ { NULL, NULL, "yesterday", NULL }, S3_OK },
		{ { NULL, NULL, NULL, past }, S3_PRECONDITION_FAILED },
		{ { NULL, NULL, NULL, future }, S3_OK },
		{ { "\"e\"", NULL, NULL, past }, S3_OK },
		{ { NULL, "\"x\"", future, NULL }, S3_OK },
		{ { "\"x\"", "\"e\"", NULL, NULL }, S3_PRECONDITION_FAILED },
	};
	struct s3_conditions c = { .if_none_match = "\"e\"" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (s3_conditions_read(&rows[i].c, "\"e\"", 1000) != rows[i].want)
			fail_msg("row %zu: not %s", i, s3_error_code(rows[i].want));
	assert_int_equal(s3_conditions_copy(&c, "e", 1000), S3_PRECONDITION_FAILED);
	assert_int_equal(s3_conditions_write_valid(&c, NULL), S3_NOT_IMPLEMENTED);
	c.if_none_match = "*";
	assert_int_equal(s3_conditions_write_valid(&c, NULL), S3_OK);
	c = (struct s3_conditions){ .if_match = "\"e\"" };
	assert_int_equal(s3_conditions_write_valid(&c, NULL), S3_OK);
	c.if_match = "\"a\", \"b\"";
	assert_int_equal(s3_conditions_write_valid(&c, NULL), S3_NOT_IMPLEMENTED);
}

static void test_dates(void **state)
{
	static const char *const same_moment[] = { "Fri, 27 Nov 2026 13:18:42 GMT", "Friday, 27-Nov-26 13:18:42 GMT",
						   "Fri Nov 27 13:18:42 2026", "2026-11-27T13:18:42Z",
						   "2026-11-27T13:18:42.123Z" };
	static const char *const none[] = { "", "yesterday", "Fri, 32 Nov 2026 13:18:42 GMT", "2026-13-01T00:00:00Z",
					    "2026-11-27T13:18:42+01:00", ",", "Fri, 27 Nov" };
	char text[30];

	(void)state;
	for (size_t i = 0; i < sizeof(same_moment) / sizeof(same_moment[0]); i++)
		assert_int_equal(s3_date_parse(same_moment[i]), 1795785522);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_int_equal(s3_date_parse(none[i]), -1);
	s3_date_format(text, 1795785522);
	assert_string_equal(text, same_moment[0]);
	s3_iso_format(text, INT64_MAX);
	assert_string_equal(text, "9999-12-31T23:59:59.000Z");
	for (time_t t = 0; t < 253402300799; t += 97000001) {
		char want[30];

		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.000Z", gmtime(&t));
		s3_iso_format(text, t);
		assert_string_equal(text, want);
	}
}

static void test_ranges(void **state)
{
	static const uint64_t sizes[] = { 5, 6, 2 };
	struct http_range r;
	unsigned int n;
	int ranged;

	(void)state;
	assert_int_equal(s3_range_read(&r, &ranged, NULL, 10), S3_OK);
	assert_true(!ranged && r.first == 0 && r.len == 10);
	assert_int_equal(s3_range_read(&r, &ranged, "bytes=-3", 10), S3_OK);
	assert_true(ranged && r.first == 7 && r.len == 3);
	assert_int_equal(s3_range_read(&r, &ranged, "bytes=10-", 10), S3_INVALID_RANGE);
	assert_int_equal(s3_range_read(&r, &ranged, "lines=1-2", 10), S3_OK);
	assert_false(ranged);
	assert_int_equal(s3_range_copy(&r, "bytes=0-9", 10, NULL), S3_OK);
	assert_true(r.first == 0 && r.len == 10);
	assert_int_equal(s3_range_copy(&r, "bytes=0-10", 10, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_range_copy(&r, "bytes=5-", 10, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_range_copy(&r, "bytes=-5", 10, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_range_copy(&r, "bytes=5-4", 10, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_range_copy(&r, "0-4", 10, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_range_copy(&r, "bytes=0-1,3-4", 10, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_number_parse(&n, "10000", 1, S3_PARTS_MAX, "Part number", NULL), S3_OK);
	assert_int_equal(s3_number_parse(&n, "10001", 1, S3_PARTS_MAX, "Part number", NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_number_parse(&n, "", 0, S3_PARTS_MAX, "Part number", NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_range_part(&r, 2, sizes, 3, 13), S3_OK);
	assert_true(r.first == 5 && r.len == 6);
	assert_int_equal(s3_range_part(&r, 4, sizes, 3, 13), S3_INVALID_PART_NUMBER);
	assert_int_equal(s3_range_part(&r, 1, NULL, 0, 13), S3_OK);
	assert_true(r.first == 0 && r.len == 13);
	assert_int_equal(s3_range_part(&r, 2, NULL, 0, 13), S3_INVALID_PART_NUMBER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_params),	     cmocka_unit_test(test_tokens),   cmocka_unit_test(test_common_prefix),
		cmocka_unit_test(test_page_v1),	     cmocka_unit_test(test_page_v2),  cmocka_unit_test(test_page_versions),
		cmocka_unit_test(test_page_uploads), cmocka_unit_test(test_conditions), cmocka_unit_test(test_dates),
		cmocka_unit_test(test_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
