/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h -- checking of text, for the files of http/s3 alone.
 */
#ifndef WEIR_S3_TEXT_H
#define WEIR_S3_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* UTF-8 of RFC 3629 (no surrogates, nothing overlong), no NUL. */
bool s3_utf8_valid(const char *text, size_t len);
/* How many characters valid UTF-8 has. */
size_t s3_utf8_count(const char *text);
/* Decimal digits only, at most 18 of them; -1 otherwise. */
long long s3_digits(const char *text);
/* Is it a tag's key (1 to 128 characters) or value (0 to 256)? Amazon's set of characters: letters, digits, spaces, + - = . _ : / @ */
bool s3_tag_valid(const char *text, size_t max, bool empty);

#endif
