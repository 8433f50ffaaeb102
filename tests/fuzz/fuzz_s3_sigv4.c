/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's head as a stranger writes it: a line with method and target, then header lines. Reading its
 * signature and checking it touch nothing outside, and no key that a stranger does not have signs it; what we
 * sign ourselves passes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/sigv4.h"

#define NOW 1369353600 /* 20130524T000000Z */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

/* Splits in place; the number of headers. */
static size_t split(char *text, char **target, struct http_pair *pairs, size_t max)
{
	char *save = NULL, *line = strtok_r(text, "\n", &save);
	size_t n = 0;

	*target = line ? strchr(line, ' ') : NULL;
	if (!*target)
		return 0;
	*(*target)++ = '\0';
	while (n < max && (line = strtok_r(NULL, "\n", &save))) {
		char *colon = strchr(line, ':');

		if (!colon)
			continue;
		*colon = '\0';
		pairs[n++] = (struct http_pair){ line, colon + 1 };
	}
	return n;
}

static void sign_and_check(struct sigv4_request req, const uint8_t key[32])
{
	struct http_pair pairs[16];
	char *text;
	struct sigv4 sig;

	if (req.nheaders > 11)
		return;
	pairs[0] = (struct http_pair){ "x-amz-date", "20130524T000000Z" };
	pairs[1] = (struct http_pair){ "x-amz-content-sha256", "UNSIGNED-PAYLOAD" };
	pairs[2] = (struct http_pair){ "Host", "h" };
	memcpy(pairs + 3, req.headers, req.nheaders * sizeof(*pairs));
	req.headers = pairs;
	req.nheaders += 3;
	text = sigv4_authorize(&req, "ID", key, "r");
	if (!text)
		return;
	pairs[req.nheaders++] = (struct http_pair){ "Authorization", text };
	if (sigv4_read(&sig, &req, NOW, NULL) == S3_OK && sig.kind == SIGV4_HEADER && !memcmp(sig.region, "r", 2))
		require(sigv4_check(&sig, &req, key) == S3_OK);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[32] = { 1, 2, 3 };
	char *text = malloc(size + 1), *target;
	struct http_pair pairs[HTTP_HEADERS_MAX];
	struct sigv4_request req = { .headers = pairs };
	struct s3_fault fault;
	struct sigv4 sig;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	req.nheaders = split(text, &target, pairs, HTTP_HEADERS_MAX);
	if (target) {
		req.method = text;
		req.target = target;
		if (sigv4_read(&sig, &req, NOW, &fault) == S3_OK && sig.kind != SIGV4_NONE) {
			require(strlen(sig.id) <= SIGV4_ID_MAX && strlen(sig.date) == 8 && strlen(sig.timestamp) == 16);
			require(sigv4_signs(&sig, "host"));
			require(sigv4_check(&sig, &req, key) == S3_SIGNATURE_MISMATCH);
		}
		sign_and_check(req, key);
	}
	free(text);
	return 0;
}
