/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csv_text.h -- encodings: is it UTF-8, and UTF-16 and Windows-1252 made into it, in pieces of any size.
 */
#ifndef WEIR_UPLOAD_CSV_TEXT_H
#define WEIR_UPLOAD_CSV_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/upload/sniff.h"

/* Bytes at the beginning that are UTF-8; len when all are. Quick over ASCII. */
size_t text_utf8_valid(const char *text, size_t len);
/* Characters of valid UTF-8. */
size_t text_utf8_count(const char *text, size_t len);

struct text_convert {
	enum text_encoding encoding;
	uint8_t kept[4]; /* bytes of a unit, or a first surrogate, that waits for its rest */
	unsigned int nkept;
	bool bad; /* something was no UTF-16: U+FFFD stands for it; the caller clears it */
};
/* Converts from in (*used bytes of it are taken) into out (size >= 16); the bytes written. A unit of 16 bits makes
 * at most 3 bytes, so that size / 3 units fit. */
size_t text_convert(struct text_convert *c, const void *in, size_t len, size_t *used, char *out, size_t size);
/* At the end: what is left over is no character (0 or 3 bytes of U+FFFD). */
size_t text_convert_end(struct text_convert *c, char *out);
/* How many bytes of the original valid UTF-8 that came from it were. */
size_t text_original_bytes(enum text_encoding encoding, const char *text, size_t len);

#endif
