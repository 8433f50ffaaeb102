/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's XML body: no crash, and a configuration that is taken reads back from its own document as the same. The first
 * byte chooses the kind of body. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/lifecycle.h"
#include "http/s3/xml_in.h"
#include "http/s3/xml_out.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

typedef enum s3_error read_fn(json_t **out, const void *body, size_t len, struct s3_fault *fault);

static enum s3_error tags(json_t **out, const void *body, size_t len, struct s3_fault *fault)
{
	return s3_in_tagging(out, 50, body, len, fault);
}

static void configuration(read_fn *read, char *(*out)(const json_t *value, size_t *len), const void *body, size_t len)
{
	json_t *json = NULL, *again = NULL;
	struct s3_lifecycle *lifecycle = NULL;
	struct s3_fault fault;
	char *text;
	size_t n;

	if (read(&json, body, len, &fault))
		return;
	if (read == s3_in_lifecycle) {
		require(!s3_lifecycle_compile(&lifecycle, json));
		s3_lifecycle_free(lifecycle);
	}
	text = out(json, &n);
	require(text && !read(&again, text, n, &fault) && json_equal(json, again));
	free(text);
	json_decref(json);
	json_decref(again);
}

static void lists(const void *body, size_t len)
{
	struct s3_complete complete;
	struct s3_deletes deletes;
	struct s3_fault fault;

	if (!s3_in_delete(&deletes, body, len, &fault)) {
		require(deletes.n >= 1 && deletes.n <= S3_DELETES_MAX && *deletes.items[deletes.n - 1].key);
		s3_deletes_free(&deletes);
	}
	if (!s3_in_complete(&complete, body, len, &fault)) {
		require(complete.n >= 1 && complete.parts[complete.n - 1].number >= complete.n);
		s3_complete_free(&complete);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct s3_fault fault;
	char location[64];
	const char *word;
	json_t *labels;

	if (!size)
		return 0;
	switch (data[0] % 6) {
	case 0:
		lists(data + 1, size - 1);
		break;
	case 1:
		configuration(tags, s3_out_tagging, data + 1, size - 1);
		break;
	case 2:
		configuration(s3_in_lifecycle, s3_out_lifecycle, data + 1, size - 1);
		break;
	case 3:
		configuration(s3_in_cors, s3_out_cors, data + 1, size - 1);
		break;
	case 4:
		configuration(s3_in_encryption, s3_out_encryption, data + 1, size - 1);
		break;
	default:
		s3_in_acl(&word, data + 1, size - 1, &fault);
		s3_in_versioning(&word, data + 1, size - 1, &fault);
		if (!s3_in_create_bucket(location, &labels, data + 1, size - 1, &fault))
			json_decref(labels);
	}
	return 0;
}
