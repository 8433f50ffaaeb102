// SPDX-License-Identifier: Apache-2.0
/*
 * pipeline_image.c -- width and height of PNG, JPEG, GIF and WebP, out of their first bytes. Pure; anything else is left
 * alone.
 */
#include <string.h>

#include "http/upload/pipeline_impl.h"

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t le16(const uint8_t *p)
{
	return (uint32_t)p[1] << 8 | p[0];
}

static uint32_t be32(const uint8_t *p)
{
	return be16(p) << 16 | be16(p + 2);
}

/* ITU-T T.81, B.2.2: the frame header, SOF0 to SOF15 without DHT, JPG and DAC. */
static bool jpeg_size(const uint8_t *data, size_t len, uint32_t *width, uint32_t *height)
{
	size_t at = 2;

	while (at + 9 < len && data[at] == 0xff) {
		uint8_t marker = data[at + 1];

		if (marker == 0xff) {
			at++;
			continue;
		}
		if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
			*height = be16(data + at + 5);
			*width = be16(data + at + 7);
			return true;
		}
		at += 2 + be16(data + at + 2);
	}
	return false;
}

/* RFC 9649: lossy (VP8), lossless (VP8L), extended (VP8X). */
static bool webp_size(const uint8_t *d, uint32_t *width, uint32_t *height)
{
	if (!memcmp(d + 12, "VP8 ", 4)) {
		*width = le16(d + 26) & 0x3fff;
		*height = le16(d + 28) & 0x3fff;
	} else if (!memcmp(d + 12, "VP8L", 4)) {
		uint32_t bits = le16(d + 21) | le16(d + 23) << 16;

		*width = (bits & 0x3fff) + 1;
		*height = (bits >> 14 & 0x3fff) + 1;
	} else if (!memcmp(d + 12, "VP8X", 4)) {
		*width = (le16(d + 24) | (uint32_t)d[26] << 16) + 1;
		*height = (le16(d + 27) | (uint32_t)d[29] << 16) + 1;
	} else {
		return false;
	}
	return true;
}

void image_describe(json_t *type, const void *data, size_t len)
{
	const uint8_t *d = data;
	uint32_t width = 0, height = 0;
	bool found = false;

	if (len < 30)
		return;
	if (!memcmp(d, "\x89PNG\r\n\x1a\n", 8) && !memcmp(d + 12, "IHDR", 4)) {
		width = be32(d + 16);
		height = be32(d + 20);
		found = true;
	} else if (!memcmp(d, "GIF87a", 6) || !memcmp(d, "GIF89a", 6)) {
		width = le16(d + 6);
		height = le16(d + 8);
		found = true;
	} else if (d[0] == 0xff && d[1] == 0xd8) {
		found = jpeg_size(d, len, &width, &height);
	} else if (!memcmp(d, "RIFF", 4) && !memcmp(d + 8, "WEBP", 4)) {
		found = webp_size(d, &width, &height);
	}
	if (!found)
		return;
	json_object_set_new(type, "width", json_integer(width));
	json_object_set_new(type, "height", json_integer(height));
}
