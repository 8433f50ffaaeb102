/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http/s3/{operation,target,errors}: a request's target and method are one operation on one bucket and key, or the right error;
 * nothing that was meant for a sub-resource makes or removes a bucket or an object.
 */
#include "tests/unit/unit.h"

#include <errno.h>

#include "http/s3/count.h"
#include "http/s3/operation.h"

static const char *const domains[] = { "s3.example.org", "s3.other", NULL };

struct row {
	enum http_method method;
	const char *host, *target;
	enum s3_error error;
	const char *op, *bucket, *key;
};

static const struct row rows[] = {
	{ HTTP_GET, "h", "/", S3_OK, "ListBuckets", "", "" },
	{ HTTP_GET, "h", "/?max-buckets=3", S3_OK, "ListBuckets", "", "" },
	{ HTTP_GET, "h", "/bucket", S3_OK, "ListObjects", "bucket", "" },
	{ HTTP_GET, "h", "/bucket/", S3_OK, "ListObjects", "bucket", "" },
	{ HTTP_GET, "h", "/bucket?list-type=2&prefix=a", S3_OK, "ListObjectsV2", "bucket", "" },
	{ HTTP_GET, "h", "/bucket?list-type=3", S3_INVALID_ARGUMENT, "", "bucket", "" },
	{ HTTP_GET, "h", "/bucket/?versions", S3_OK, "ListObjectVersions", "bucket", "" },
	{ HTTP_GET, "h", "/bucket/?uploads=", S3_OK, "ListMultipartUploads", "bucket", "" },
	{ HTTP_GET, "h", "/bucket?location", S3_OK, "GetBucketLocation", "bucket", "" },
	{ HTTP_GET, "h", "/bucket?acl&policy", S3_INVALID_ARGUMENT, "", "bucket", "" },
	{ HTTP_GET, "h", "/bucket?website", S3_OK, "GetBucketWebsite", "bucket", "" },
	{ HTTP_HEAD, "h", "/bucket", S3_OK, "HeadBucket", "bucket", "" },
	{ HTTP_PUT, "h", "/bucket", S3_OK, "CreateBucket", "bucket", "" },
	{ HTTP_PUT, "h", "/bucket?x-id=CreateBucket", S3_OK, "CreateBucket", "bucket", "" },
	{ HTTP_PUT, "h", "/bucket?versioning", S3_OK, "PutBucketVersioning", "bucket", "" },
	{ HTTP_PUT, "h", "/bucket?location", S3_METHOD_NOT_ALLOWED, "", "bucket", "" },
	{ HTTP_DELETE, "h", "/bucket", S3_OK, "DeleteBucket", "bucket", "" },
	{ HTTP_DELETE, "h", "/bucket?acl", S3_METHOD_NOT_ALLOWED, "", "bucket", "" },
	{ HTTP_DELETE, "h", "/bucket?versioning", S3_METHOD_NOT_ALLOWED, "", "bucket", "" },
	{ HTTP_DELETE, "h", "/bucket?metadataConfiguration", S3_NOT_IMPLEMENTED, "DeleteBucket", "bucket", "" },
	{ HTTP_PUT, "h", "/bucket?abac", S3_NOT_IMPLEMENTED, "CreateBucket", "bucket", "" },
	{ HTTP_DELETE, "h", "/bucket?lifecycle", S3_OK, "DeleteBucketLifecycle", "bucket", "" },
	{ HTTP_POST, "h", "/bucket?delete", S3_OK, "DeleteObjects", "bucket", "" },
	{ HTTP_POST, "h", "/bucket", S3_PRECONDITION_FAILED, "", "bucket", "" },
	{ HTTP_POST, "h", "/", S3_METHOD_NOT_ALLOWED, "", "", "" },
	{ HTTP_PATCH, "h", "/bucket/key", S3_METHOD_NOT_ALLOWED, "", "bucket", "key" },
	{ HTTP_GET, "h", "/bucket/key", S3_OK, "GetObject", "bucket", "key" },
	{ HTTP_GET, "h", "/bucket/key?partNumber=2&versionId=1", S3_OK, "GetObject", "bucket", "key" },
	{ HTTP_GET, "h", "/bucket//key", S3_OK, "GetObject", "bucket", "/key" },
	{ HTTP_GET, "h", "/bucket/a//b/./../c+d%2Be%20f", S3_OK, "GetObject", "bucket", "a//b/./../c+d+e f" },
	{ HTTP_GET, "h", "/bucket/%E2%82%AC%0a%7f", S3_OK, "GetObject", "bucket", "€\n\x7f" },
	{ HTTP_GET, "h", "/bucket/%", S3_INVALID_URI, "", "bucket", "" },
	{ HTTP_GET, "h", "/bucket/%4", S3_INVALID_URI, "", "bucket", "" },
	{ HTTP_GET, "h", "/bucket/%00", S3_INVALID_URI, "", "bucket", "" },
	{ HTTP_GET, "h", "/bucket/%ff", S3_INVALID_URI, "", "bucket", "" },
	{ HTTP_GET, "h", "/bucket/%ed%a0%80", S3_INVALID_URI, "", "bucket", "" },
	{ HTTP_GET, "h", "/bucket/%c0%af", S3_INVALID_URI, "", "bucket", "" },
	{ HTTP_GET, "h", "/bucket/k?prefix=%zz", S3_INVALID_URI, "", "bucket", "k" },
	{ HTTP_GET, "h", "/Bucket/k", S3_INVALID_BUCKET_NAME, "", "", "" },
	{ HTTP_GET, "h", "/b/k", S3_INVALID_BUCKET_NAME, "", "", "" },
	{ HTTP_GET, "h", "/bucket/key?uploads", S3_METHOD_NOT_ALLOWED, "", "bucket", "key" },
	{ HTTP_GET, "h", "/bucket/key?attributes", S3_OK, "GetObjectAttributes", "bucket", "key" },
	{ HTTP_GET, "h", "/bucket/key?uploadId=1", S3_OK, "ListParts", "bucket", "key" },
	{ HTTP_GET, "h", "/bucket/key?torrent", S3_NOT_IMPLEMENTED, "GetObjectTorrent", "bucket", "key" },
	{ HTTP_GET, "h", "/bucket/key?policy", S3_OK, "GetObject", "bucket", "key" },
	{ HTTP_HEAD, "h", "/bucket/key?partNumber=1", S3_OK, "HeadObject", "bucket", "key" },
	{ HTTP_PUT, "h", "/bucket/key", S3_OK, "PutObject", "bucket", "key" },
	{ HTTP_PUT, "h", "/bucket/key?partNumber=1", S3_INVALID_ARGUMENT, "", "bucket", "key" },
	{ HTTP_PUT, "h", "/bucket/key?uploadId=1", S3_INVALID_ARGUMENT, "", "bucket", "key" },
	{ HTTP_PUT, "h", "/bucket/key?uploadId=1&partNumber=1", S3_OK, "UploadPart", "bucket", "key" },
	{ HTTP_PUT, "h", "/bucket/key?attributes", S3_METHOD_NOT_ALLOWED, "", "bucket", "key" },
	{ HTTP_PUT, "h", "/bucket/key?retention", S3_NOT_IMPLEMENTED, "PutObjectRetention", "bucket", "key" },
	{ HTTP_POST, "h", "/bucket/key", S3_METHOD_NOT_ALLOWED, "", "bucket", "key" },
	{ HTTP_POST, "h", "/bucket/key?uploads", S3_OK, "CreateMultipartUpload", "bucket", "key" },
	{ HTTP_POST, "h", "/bucket/key?uploadId=1", S3_OK, "CompleteMultipartUpload", "bucket", "key" },
	{ HTTP_POST, "h", "/bucket/key?select&select-type=2", S3_NOT_IMPLEMENTED, "SelectObjectContent", "bucket", "key" },
	{ HTTP_DELETE, "h", "/bucket/key", S3_OK, "DeleteObject", "bucket", "key" },
	{ HTTP_DELETE, "h", "/bucket/key?acl", S3_METHOD_NOT_ALLOWED, "", "bucket", "key" },
	{ HTTP_DELETE, "h", "/bucket/key?uploadId=1", S3_OK, "AbortMultipartUpload", "bucket", "key" },
	{ HTTP_OPTIONS, "h", "/bucket/key", S3_OK, "PreflightObject", "bucket", "key" },
	{ HTTP_GET, "bucket.s3.example.org", "/", S3_OK, "ListObjects", "bucket", "" },
	{ HTTP_GET, "Bucket.S3.example.org:8080", "/other/key", S3_OK, "GetObject", "bucket", "other/key" },
	{ HTTP_GET, "a.b-c.s3.other.", "//key", S3_OK, "GetObject", "a.b-c", "/key" },
	{ HTTP_GET, "s3.example.org", "/bucket/key", S3_OK, "GetObject", "bucket", "key" },
	{ HTTP_GET, "xs3.example.org", "/bucket/key", S3_OK, "GetObject", "bucket", "key" },
	{ HTTP_GET, "[::1]:80", "/bucket/key", S3_OK, "GetObject", "bucket", "key" },
	{ HTTP_GET, "a_b.s3.other", "/key", S3_INVALID_BUCKET_NAME, "", "", "" },
	{ HTTP_GET, "h", "http://h/bucket/key", S3_OK, "GetObject", "bucket", "key" },
	{ HTTP_GET, NULL, "/bucket/key", S3_OK, "GetObject", "bucket", "key" },
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		const struct s3_operation *op = NULL;
		struct s3_target target;
		struct s3_fault fault;
		enum s3_error error = s3_target_parse(&target, row->host, row->target, domains, &fault);

		if (!error)
			error = s3_operation_of(&op, row->method, &target, NULL, &fault);
		if (error != row->error || strcmp(op ? op->name : "", row->op) || strcmp(target.bucket, row->bucket) ||
		    (error != S3_INVALID_URI && strcmp(target.key, row->key)))
			fail_msg("%s %s: %s (not %s), operation \"%s\", bucket \"%s\", key \"%s\"", row->host, row->target,
				 s3_error_code(error), s3_error_code(row->error), op ? op->name : "", target.bucket,
				 target.key);
		s3_target_free(&target);
	}
}

/* Copies and forms are told by headers, versions by the query. */
static void test_headers(void **state)
{
	static const struct s3_choice copy = { .copy_source = "/a/b" }, form = { .content_type = "multipart/form-data; b=1" };
	const struct s3_operation *op;
	struct s3_target target;

	(void)state;
	assert_int_equal(s3_target_parse(&target, "h", "/bucket/key?versionId=7", NULL, NULL), S3_OK);
	assert_int_equal(s3_operation_of(&op, HTTP_PUT, &target, &copy, NULL), S3_OK);
	assert_int_equal(op->op, S3_OP_CopyObject);
	assert_int_equal(s3_operation_of(&op, HTTP_GET, &target, NULL, NULL), S3_OK);
	assert_string_equal(s3_operation_action(op, &target), "s3:GetObjectVersion");
	assert_int_equal(op->right, RIGHT_READ);
	assert_string_equal(s3_target_query(&target, "versionId"), "7");
	assert_null(s3_target_query(&target, "versionid"));
	s3_target_free(&target);
	assert_int_equal(s3_target_parse(&target, "h", "/bucket/key?uploadId=u&partNumber=3", NULL, NULL), S3_OK);
	assert_int_equal(s3_operation_of(&op, HTTP_PUT, &target, &copy, NULL), S3_OK);
	assert_int_equal(op->op, S3_OP_UploadPartCopy);
	s3_target_free(&target);
	assert_int_equal(s3_target_parse(&target, "h", "/bucket", NULL, NULL), S3_OK);
	assert_int_equal(s3_operation_of(&op, HTTP_POST, &target, &form, NULL), S3_NOT_IMPLEMENTED);
	assert_int_equal(op->op, S3_OP_PostObject);
	s3_target_free(&target);
}

static void test_long_keys(void **state)
{
	char text[3 * S3_KEY_MAX + 64] = "/bucket/";
	struct s3_target target;
	struct s3_fault fault;

	(void)state;
	for (int i = 0; i < S3_KEY_MAX; i++)
		strcat(text, "%41");
	assert_int_equal(s3_target_parse(&target, NULL, text, NULL, &fault), S3_OK);
	assert_int_equal(strlen(target.key), S3_KEY_MAX);
	s3_target_free(&target);
	strcat(text, "A");
	assert_int_equal(s3_target_parse(&target, NULL, text, NULL, &fault), S3_KEY_TOO_LONG);
	s3_target_free(&target);
}

static void test_bucket_names(void **state)
{
	static const char *const good[] = { "abc", "a-b", "a.b.c", "1bucket", "123", "xn-a", NULL };
	static const char *const bad[] = { "ab",     "Abc",	   "a_b",     "-abc",  "abc-",	  ".abc", "abc.",
					   "a..b",   "192.168.5.4", "xn--abc", "a-s3alias", "sthree-x", "a b",  "",
					   "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1234", NULL };

	(void)state;
	for (size_t i = 0; good[i]; i++)
		if (!s3_bucket_name_valid(good[i]))
			fail_msg("\"%s\" is refused", good[i]);
	for (size_t i = 0; bad[i]; i++)
		if (s3_bucket_name_valid(bad[i]))
			fail_msg("\"%s\" is taken", bad[i]);
}

static void test_copy_source(void **state)
{
	char bucket[S3_BUCKET_MAX + 1], key[S3_KEY_MAX + 1], version[65];

	(void)state;
	assert_int_equal(s3_copy_source_parse("/bucket/a%20b%2Bc+d%3F?versionId=12ab", bucket, key, version, NULL), S3_OK);
	assert_string_equal(bucket, "bucket");
	assert_string_equal(key, "a b+c+d?");
	assert_string_equal(version, "12ab");
	assert_int_equal(s3_copy_source_parse("bucket//k/?x", bucket, key, version, NULL), S3_OK);
	assert_string_equal(key, "/k/?x");
	assert_string_equal(version, "");
	assert_int_equal(s3_copy_source_parse("bucket%2Fkey", bucket, key, version, NULL), S3_OK);
	assert_int_equal(s3_copy_source_parse("bucket", bucket, key, version, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_copy_source_parse("/bucket/", bucket, key, version, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_copy_source_parse("/bucket/%zz", bucket, key, version, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_copy_source_parse("/bucket/k?versionId=", bucket, key, version, NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_copy_source_parse("arn:aws:s3:::x/y", bucket, key, version, NULL), S3_NOT_IMPLEMENTED);
}

static void test_tags(void **state)
{
	json_t *tags = NULL;

	(void)state;
	assert_int_equal(s3_tags_parse(&tags, "a=b&c%20d=e+f&g", NULL), S3_OK);
	assert_int_equal(json_object_size(tags), 3);
	assert_string_equal(json_string_value(json_object_get(tags, "c d")), "e f");
	assert_string_equal(json_string_value(json_object_get(tags, "g")), "");
	json_decref(tags);
	assert_int_equal(s3_tags_parse(&tags, "a=b&a=c", NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_tags_parse(&tags, "=c", NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_tags_parse(&tags, "aws:x=c", NULL), S3_INVALID_TAG);
	assert_int_equal(s3_tags_parse(&tags, "a=%7c", NULL), S3_INVALID_TAG);
	assert_int_equal(s3_tags_parse(&tags, "a=%7", NULL), S3_INVALID_ARGUMENT);
	assert_int_equal(s3_tags_parse(&tags, "1&2&3&4&5&6&7&8&9&10&11", NULL), S3_BAD_REQUEST);
	assert_int_equal(s3_tags_parse(&tags, "", NULL), S3_OK);
	json_decref(tags);
}

static const char *header_of(void *arg, const char *name)
{
	const char *const *pair = arg;

	return strcmp(pair[0], name) ? NULL : pair[1];
}

static void test_headers_refused(void **state)
{
	static const char *const refused[][2] = { { "x-amz-grant-read", "id=1" },
						  { "x-amz-server-side-encryption", "aws:kms" },
						  { "x-amz-object-lock-mode", "GOVERNANCE" },
						  { "x-amz-server-side-encryption-customer-key", "k" } };
	static const char *const fine[][2] = { { "x-amz-server-side-encryption", "AES256" },
					       { "x-amz-bucket-object-lock-enabled", "false" },
					       { "x-amz-request-payer", "requester" } };

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(s3_header_unsupported(header_of, (void *)refused[i]), refused[i][0]);
	for (size_t i = 0; i < 3; i++)
		assert_null(s3_header_unsupported(header_of, (void *)fine[i]));
}

static void test_errors(void **state)
{
	static const char *const more[] = { "Key", "a&b\x01", NULL };
	size_t len;
	char *xml = s3_error_xml(S3_NO_SUCH_KEY, NULL, "/bucket/<k>", "0123", "host", more, &len);

	(void)state;
	assert_string_equal(xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>"
				 "<Message>The specified key does not exist.</Message><Key>a&amp;b&#x1;</Key>"
				 "<Resource>/bucket/&lt;k&gt;</Resource><RequestId>0123</RequestId><HostId>host</HostId></Error>");
	assert_int_equal(len, strlen(xml));
	free(xml);
	for (int i = 1; i < S3_ERRORS_N; i++) {
		assert_true(*s3_error_code((enum s3_error)i) && *s3_error_message((enum s3_error)i));
		assert_in_range(s3_error_status((enum s3_error)i), 304, 507);
	}
	assert_int_equal(s3_error_of(-ENOENT, S3_NO_SUCH_UPLOAD), S3_NO_SUCH_UPLOAD);
	assert_int_equal(s3_error_of(-EIO, S3_NO_SUCH_KEY), S3_INTERNAL);
	assert_int_equal(s3_error_of(0, S3_NO_SUCH_KEY), S3_OK);
}

static void test_counts(void **state)
{
	static const char *const lines[] = { "weir_s3_requests_total{operation=\"GetObject\"} 2\n",
					    "weir_s3_requests_total{operation=\"unknown\"} 1\n",
					    "weir_s3_errors_total{operation=\"GetObject\",code=\"NoSuchKey\"} 1\n",
					    "weir_s3_sent_bytes_total{operation=\"GetObject\"} 10\n",
					    "weir_s3_request_seconds_count{operation=\"GetObject\"} 2\n",
					    "weir_s3_request_seconds_bucket{operation=\"GetObject\",le=\"0.004\"} 1\n" };
	struct s3_counts *counts;
	struct metrics *m;
	size_t len;
	char *page;

	(void)state;
	assert_int_equal(metrics_new(&m), 0);
	assert_int_equal(s3_counts_new(&counts, m), 0);
	s3_counts_add(counts, &(struct s3_counted){ .op = S3_OP_GetObject, .sent = 10, .seconds = 0.003 });
	s3_counts_add(counts, &(struct s3_counted){ .op = S3_OP_GetObject, .code = "NoSuchKey", .seconds = 1.5 });
	s3_counts_add(counts, &(struct s3_counted){ .received = 7 });
	s3_counts_add(NULL, &(struct s3_counted){ .received = 7 });
	page = metrics_render(m, &len);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!strstr(page, lines[i]))
			fail_msg("no %s in\n%s", lines[i], page);
	assert_null(strstr(page, "PutObject"));
	free(page);
	s3_counts_free(counts);
	metrics_free(m);
}

static void test_is_request(void **state)
{
	static const struct {
		const char *target, *authorization, *host, *domain;
		bool is;
	} asked[] = {
		{ "/b/data/k", "AWS4-HMAC-SHA256 Credential=x", "h", NULL, true },
		{ "/b/data/k", "AWS id:signature", "h", NULL, true },
		{ "/b/data/k", "Bearer weir1.x", "h", NULL, false },
		{ "/b/data/k?X-Amz-Algorithm=AWS4-HMAC-SHA256", NULL, "h", NULL, true },
		{ "/data/k", NULL, "h", NULL, true },
		{ "/data?list-type=2", NULL, NULL, NULL, true },
		{ "/", NULL, "h", NULL, false },
		{ "/_/health", NULL, "h", "s3.test", false },
		{ "/o/abc", NULL, "h", "s3.test", false },
		{ "/favicon.ico", NULL, "h", NULL, false },
		{ "/", NULL, "s3.test", "s3.test", true },
		{ "/k", NULL, "data.S3.test:8000", "s3.test", true },
		{ "/k", NULL, "datas3.test", "s3.test", false },
		{ "/_/health", NULL, "s3.test", "s3.test", false },
		{ NULL, "AWS4-HMAC-SHA256 Credential=x", "s3.test", "s3.test", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
		if (s3_request_is(asked[i].target, asked[i].authorization, asked[i].host, asked[i].domain) != asked[i].is)
			fail_msg("row %zu: %s at %s", i, asked[i].target, asked[i].host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),	     cmocka_unit_test(test_headers),
		cmocka_unit_test(test_long_keys),    cmocka_unit_test(test_bucket_names),
		cmocka_unit_test(test_copy_source),  cmocka_unit_test(test_tags),
		cmocka_unit_test(test_headers_refused), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_counts),	     cmocka_unit_test(test_is_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
