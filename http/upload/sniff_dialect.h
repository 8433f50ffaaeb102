/* SPDX-License-Identifier: Apache-2.0 */
/* sniff_dialect.h -- of text that may be a table: its delimiter, quote, header. Private to sniff*.c. */
#ifndef WEIR_UPLOAD_SNIFF_DIALECT_H
#define WEIR_UPLOAD_SNIFF_DIALECT_H

#include "http/upload/sniff.h"

/* text: UTF-8 without a BOM. whole: the file ends with it. Sets delimiter, quote, header and confidence of *out. */
void sniff_dialect(struct sniffed *out, const char *text, size_t len, bool whole);

#endif
