/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of tus: any text; what is taken is within its bounds. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/tus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tus_parts parts;
	char *text = malloc(size + 1), out[64];
	struct tus_checksum sum;
	enum tus_concat concat;
	uint64_t n;
	long len;

	memcpy(text, data, size);
	text[size] = '\0';
	if (!tus_number(&n, text))
		assert(n <= INT64_MAX);
	tus_metadata_check(text);
	for (const char *const *key = (const char *const[]){ "dataset", "filename", "a", NULL }; *key; key++) {
		len = tus_metadata(text, *key, out, sizeof(out));
		assert(len < (long)sizeof(out));
		if (len >= 0)
			assert(strlen(out) == (size_t)len);
	}
	if (!tus_checksum_parse(&sum, text)) {
		struct tus_digest *d = tus_digest_new(sum.algorithm);

		tus_digest_add(d, data, size);
		tus_digest_is(d, &sum);
		tus_digest_free(d);
	}
	if (!tus_concat_parse(&concat, &parts, text))
		for (size_t i = 0; i < parts.n; i++)
			assert(parts.id[i][0] && strlen(parts.id[i]) < sizeof(parts.id[i]));
	free(text);
	return 0;
}
