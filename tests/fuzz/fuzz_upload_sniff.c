/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's first bytes: every answer is one of those that there are; cells as values: what parses is formatted and parses again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/csv_text.h"
#include "http/upload/finding.h"
#include "http/upload/sniff.h"
#include "http/upload/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

static void values(const char *text, size_t len)
{
	static char pattern[] = "%d %b %Y %I:%M:%S.%f %p%z";
	struct field f = { .decimal = '.', .bare = true };
	char out[64];

	for (int type = FIELD_ANY; type < FIELD_TYPES; type++) {
		struct value v, again;
		size_t n;

		f.type = (enum field_type)type;
		if (value_parse(&v, &f, text, len) || v.type == FIELD_STRING || v.type >= FIELD_OBJECT || v.type == FIELD_DURATION)
			continue;
		n = value_format(out, sizeof(out), &v);
		f.type = v.type;
		if (v.type == FIELD_DATETIME && (strlen(out) < 5 || out[4] != '-'))
			continue; /* a zone moved it out of the years of four digits */
		require(value_parse(&again, &f, out, n) == 0);
		require(v.type == FIELD_NUMBER ? value_compare(&v, &again) == 0 : v.i == again.i);
	}
	f.time_pattern = pattern;
	for (int format = FORMAT_EMAIL; format <= FORMAT_PATTERN; format++) {
		struct value v;

		f.format = (enum field_format)format;
		f.type = format == FORMAT_PATTERN ? FIELD_DATETIME : FIELD_STRING;
		value_parse(&v, &f, text, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + !size), shown[FINDING_VALUE_MAX + 8];
	struct sniffed s;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	sniff(&s, text, size, size & 1, NULL);
	require(s.kind <= KIND_EMPTY && s.mime[0] && s.confidence >= 0 && s.confidence <= 1);
	if (s.kind == KIND_CSV)
		require(s.delimiter && strchr(",\t;|:", s.delimiter) && (!s.quote || strchr("\"'", s.quote)));
	finding_value(shown, text, size);
	require(strlen(shown) <= FINDING_VALUE_MAX + 3 && text_utf8_valid(shown, strlen(shown)) == strlen(shown));
	values(text, size);
	free(text);
	return 0;
}
