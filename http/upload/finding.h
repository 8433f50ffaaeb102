/* SPDX-License-Identifier: Apache-2.0 */
/*
 * finding.h -- one thing that is wrong with a file: where, against which rule, the value, and how to mend it.
 */
#ifndef WEIR_UPLOAD_FINDING_H
#define WEIR_UPLOAD_FINDING_H

#include <jansson.h>
#include <stdint.h>

#define FINDING_VALUE_MAX 80 /* bytes of the value that are shown; longer ones end in "…" */

enum finding_level { FINDING_WARN, FINDING_QUARANTINE, FINDING_REJECT };

struct finding {
	enum finding_level level;
	uint64_t row;	       /* 0: the header or the whole file */
	uint64_t offset;       /* byte of the cell (row, file) in the unpacked text */
	uint64_t row_offset, row_length;
	const char *column;    /* "" : none */
	const char *rule;      /* "type", "required", "unique", "enum", "pattern", "minimum", "maximum", "min_length",
				* "max_length", "format", "reference", "row", "columns", "quote", "encoding", "size",
				* "file_type", "bomb", … */
	const char *value;     /* shortened, valid UTF-8, control characters replaced */
	char message[256];     /* what is wrong, a sentence */
	char mend[256];	       /* what to do, a sentence */
};

/* {"level","row","column","offset","row_offset","row_length","rule","value","message","mend"}; a new reference. */
json_t *finding_json(const struct finding *f);
/* Copies at most FINDING_VALUE_MAX bytes of text, whole characters, "…" when cut, U+FFFD for what is no
 * UTF-8, U+2400… for control characters. out: FINDING_VALUE_MAX + 8 bytes. */
void finding_value(char *out, const char *text, size_t len);

#endif
