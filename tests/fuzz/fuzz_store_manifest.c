/* SPDX-License-Identifier: Apache-2.0 */
/* A version's head, footer and records from a damaged disk or a peer: decoded or refused, never
 * more. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "http/store/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct manifest m, again;
	struct chunk_record rec;
	struct footer f;
	size_t n;

	if (!manifest_decode(&m, (const char *)data, len)) {
		char *text = manifest_encode(&m, &n);

		/* What was accepted can be written, unless its text is not UTF-8 to jansson. */
		if (text && manifest_decode(&again, text, n))
			abort();
		free(text);
	}
	if (len >= FOOTER_SIZE)
		footer_decode(&f, data, len);
	if (len >= RECORD_MAX)
		record_decode(&rec, data[0], CHUNK_SIZE, data);
	return 0;
}
