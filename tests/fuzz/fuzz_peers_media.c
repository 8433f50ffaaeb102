/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of segments: whatever is taken is within the limits that its readers rely on; a file that nobody signed is never taken. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "http/peers/media_int.h"

static void look(const struct media_asset *a)
{
	uint32_t segments = 0;

	assert(media_name_valid(a->name) && a->duration_ms && a->nrenditions && a->nrenditions <= MEDIA_RENDITIONS_MAX);
	for (uint32_t i = 0; i < a->nrenditions; i++) {
		const struct media_rendition *r = &a->renditions[i];

		assert(r->bandwidth && r->nsegments && *r->name && *r->playlist && r->playlist[0] != '/' && !strstr(r->playlist, ".."));
		segments += r->nsegments;
		for (uint32_t k = 0; k < r->nsegments; k++)
			assert(r->segments[k].bytes && r->segments[k].duration_ms && r->segments[k].n == r->segments[0].n + k);
	}
	assert(segments <= MEDIA_SEGMENTS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t seed[32] = { 1 };
	static char key[45];
	struct media_asset *a = NULL;
	char why[160] = "", *text;

	if (!*key)
		assert(!media_key_public(seed, key));
	if (!media_parse(&a, (const char *)data, size, why)) {
		look(a);
		media_asset_free(a);
	} else {
		assert(!a && *why);
	}
	text = media_key_unwrap(key, (const char *)data, size, why);
	assert(!text);
	return 0;
}
