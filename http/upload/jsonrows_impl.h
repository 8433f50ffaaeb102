/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jsonrows_impl.h -- what the parts of jsonrows.c share: jsonrows.c cuts the text into elements (lines, or members of
 * the array), json_row.c makes a row of one with yajl.
 */
#ifndef WEIR_UPLOAD_JSONROWS_IMPL_H
#define WEIR_UPLOAD_JSONROWS_IMPL_H

#include <yajl/yajl_parse.h>

#include "http/upload/jsonrows.h"

#define JSON_DEPTH_MAX 64u /* brackets, the row's own among them */
#define JSON_SLOTS     4096u

/* One row: the element's text, names and cells. */
struct json_row {
	const struct row_sink *sink;
	yajl_handle yajl;
	/* the element that is parsed */
	const char *text;
	size_t len, prev; /* prev: the end of the token before */
	uint64_t offset;
	unsigned int depth;
	bool is_array, complete;
	size_t nested; /* where a nested value begins */
	uint32_t column; /* of the value that comes; UINT32_MAX: none */
	int fault; /* enum row_fault, or -1 */
	int error; /* -errno: no fault of the file */
	/* names, in the order in which they came up */
	struct cell *names;
	uint32_t nnames, told;
	uint16_t *slots; /* of a hash table: the column's number + 1 */
	bool positional; /* rows are arrays; the first has the names */
	/* cells of this row; seen[i] is the row's number when set */
	struct cell *cells;
	uint64_t *seen;
	uint32_t ncells;
	uint64_t number;
	char *arena; /* of strings with escapes */
	size_t arena_len, arena_size;
};

int json_row_open(struct json_row *r, const struct row_sink *sink);
void json_row_close(struct json_row *r);
/* Parses one element and gives it to the sink, as a row, as names, or as a fault. length: with what separates it from
 * the next. 0 or what the sink returned. */
int json_row_take(struct json_row *r, const char *text, size_t len, uint64_t offset, uint64_t length);

#endif
