/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger writes in a request's line and headers: ranges stay inside the object, targets
 * hold no NUL and no dot segment after decoding, parameters lie inside the path, encoding and
 * decoding are inverse.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/httpd_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

static void try_range(const char *text, uint64_t size)
{
	struct http_range range = { 7, 7 };
	int rc = http_range_parse(&range, text, size);

	if (rc == 1)
		require(range.len > 0 && range.first < size && range.len <= size - range.first);
	else
		require((rc == 0 || rc == -ERANGE) && range.first == 7 && range.len == 7);
}

static void try_decoded(char *path)
{
	char *save = NULL;

	for (char *part = strtok_r(path, "/", &save); part; part = strtok_r(NULL, "/", &save))
		require(strcmp(part, ".") != 0 && strcmp(part, "..") != 0);
}

static void try_target(const char *text)
{
	static const char *const patterns[] = { "/b/:bucket/"
						"*key",
						"/o/:sha256", "/",
						"/"
						"*all",
						"/:a/:b/:c" };
	struct http_param_at params[HTTP_PARAMS_MAX];
	struct http_target target;
	char *decoded;
	long n;

	if (http_target_parse(&target, text))
		return;
	decoded = malloc(target.path_len + 1);
	n = http_percent_decode(target.path, target.path_len, decoded, false);
	require(n >= 0 && (size_t)n == strlen(decoded) && (size_t)n <= target.path_len);
	try_decoded(decoded);
	free(decoded);
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
		int count = http_route_match(patterns[i], target.path, target.path_len, params);

		for (int p = 0; p < count; p++)
			require(params[p].text >= target.path &&
				params[p].text + params[p].len <= target.path + target.path_len);
	}
}

static void try_encode(const char *text)
{
	char *encoded = http_percent_encode(text, false);
	char *decoded = malloc(strlen(encoded) + 1);

	require(http_percent_decode(encoded, strlen(encoded), decoded, false) ==
		(long)strlen(text));
	require(!strcmp(decoded, text));
	free(encoded);
	free(decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	int status;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	try_range(text, 0);
	try_range(text, 1000);
	try_range(text, UINT64_MAX);
	try_target(text);
	try_encode(text);
	status = http_conditions_eval(text, NULL, "\"a\"", true);
	require(status == 0 || status == 412);
	status = http_conditions_eval(NULL, text, "\"a\"", true);
	require(status == 0 || status == 304);
	free(text);
	return 0;
}
