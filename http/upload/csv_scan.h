/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csv_scan.h -- where in a piece of text the bytes are that mean something to CSV: the fast half of csv.c. AVX2 where
 * the processor has it, SSE2 or NEON else, eight bytes at a time elsewhere; all give the same.
 */
#ifndef WEIR_UPLOAD_CSV_SCAN_H
#define WEIR_UPLOAD_CSV_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CSV_SCAN_MAX 4096u /* bytes of one call: a multiple of 64 */
#define CSV_SCAN_PAD 64u   /* bytes behind the text that may be read (whatever they are) */

struct csv_scan {
	char delimiter, quote; /* quote '\0': none */
	uint32_t n;
	bool high, nul; /* some byte is beyond ASCII; is 0 */
	uint16_t at[CSV_SCAN_MAX + 8]; /* positions of delimiters, quotes, LF and CR, in order */
};

/* text[0..len), len <= CSV_SCAN_MAX. */
typedef void csv_scan_fn(struct csv_scan *s, const char *text, size_t len);
csv_scan_fn *csv_scan_best(void);
/* Every one that this processor can run, NULL at the end: for tests. */
csv_scan_fn *const *csv_scan_all(void);

#endif
