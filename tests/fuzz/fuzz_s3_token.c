/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's list token, target, copy source, tags, dates: no crash; a token that is taken says what it was made of; a key is
 * UTF-8 of at most 1,024 bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/conditions.h"
#include "http/s3/listing.h"
#include "http/s3/operation.h"
#include "http/s3/range.h"
#include "http/s3/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

static void as_token(const char *text)
{
	char key[S3_KEY_MAX + 1], token[S3_TOKEN_MAX];
	bool prefix;

	if (!s3_token_read(text, key, &prefix))
		require(!s3_token_make(token, key, prefix) && !strcmp(token, text));
	if (s3_utf8_valid(text, strlen(text)) && !s3_token_make(token, text, true))
		require(!s3_token_read(token, key, &prefix) && prefix && !strcmp(key, text));
}

static void as_target(const char *text)
{
	static const char *const domains[] = { "s3.example.org", NULL };
	const struct s3_operation *op;
	struct s3_list_params params;
	struct s3_target target;
	struct s3_fault fault;

	if (!s3_target_parse(&target, text, text, domains, &fault)) {
		require(strlen(target.key) <= S3_KEY_MAX && s3_utf8_valid(target.key, strlen(target.key)));
		for (int method = 0; method < HTTP_METHODS; method++) {
			enum s3_error error = s3_operation_of(&op, (enum http_method)method, &target, NULL, &fault);

			require(error || (op && op->implemented && op->method == (enum http_method)method));
			require(error != S3_NOT_IMPLEMENTED || op);
		}
		for (int kind = S3_LIST_V1; kind <= S3_LIST_PARTS; kind++)
			if (!s3_list_params(&params, (enum s3_list_kind)kind, &target, &fault))
				require(params.max <= S3_LIST_MAX && strlen(params.after) <= S3_KEY_MAX);
	}
	s3_target_free(&target);
}

static void as_header(const char *text)
{
	char bucket[S3_BUCKET_MAX + 1], key[S3_KEY_MAX + 1], version[65];
	struct http_range range;
	struct s3_fault fault;
	json_t *tags;

	if (!s3_copy_source_parse(text, bucket, key, version, &fault))
		require(*bucket && *key);
	if (!s3_tags_parse(&tags, text, &fault)) {
		require(json_object_size(tags) <= 10);
		json_decref(tags);
	}
	if (!s3_range_copy(&range, text, 1000, &fault))
		require(range.len && range.first + range.len <= 1000);
	s3_etag_listed(text, "\"etag\"");
	s3_attributes_parse(text);
	require(s3_date_parse(text) >= -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	require(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	as_token(text);
	as_target(text);
	as_header(text);
	free(text);
	return 0;
}
