/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sniff.h -- what a file is, by its first bytes: type (own rules for text, libmagic for the rest), packing,
 * encoding, and of CSV the dialect. Pure; at least SNIFF_BYTES of the (unpacked) beginning, or all.
 */
#ifndef WEIR_UPLOAD_SNIFF_H
#define WEIR_UPLOAD_SNIFF_H

#include <stdbool.h>
#include <stddef.h>

#define SNIFF_BYTES 65536

enum file_kind { KIND_CSV, KIND_JSON, KIND_JSONL, KIND_GZIP, KIND_ZSTD, KIND_ZIP, KIND_OTHER, KIND_EMPTY };
enum text_encoding { ENC_UTF8, ENC_UTF8_BOM, ENC_UTF16LE, ENC_UTF16BE, ENC_LATIN1 /* Windows-1252 */ };

struct sniffed {
	enum file_kind kind;
	char mime[80];
	enum text_encoding encoding;
	char delimiter, quote; /* of CSV: ',' ';' '\t' '|' ':' */
	bool header;
	double confidence; /* of the dialect, 0 to 1 */
};

/* magic: a libmagic cookie (magic_t), or NULL: then OTHER has "application/octet-stream" unless own rules know it. */
void sniff(struct sniffed *out, const void *data, size_t len, bool whole, void *magic);

#endif
