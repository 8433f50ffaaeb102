/* SPDX-License-Identifier: Apache-2.0 */
/* JSON of a stranger, in one piece and in pieces: the same rows and faults, cells within the limits, rows in order. */
#include <stdlib.h>

#include "http/upload/jsonrows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint64_t hash, row;
};

static void require(int truth)
{
	if (!truth)
		abort();
}

static void mix(struct seen *s, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		s->hash = (s->hash ^ ((const unsigned char *)data)[i]) * 1099511628211u;
}

static void mix_cells(struct seen *s, const struct cell *cells, uint32_t n)
{
	require(n <= ROWS_COLUMNS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		require(cells[i].len <= ROWS_CELL_MAX);
		mix(s, cells[i].text, cells[i].len);
		mix(s, &cells[i].offset, sizeof(cells[i].offset));
		mix(s, &cells[i].null, 1);
	}
}

static int on_names(void *arg, const struct cell *names, uint32_t n)
{
	mix_cells(arg, names, n);
	return 0;
}

static int on_row(void *arg, const struct row *row)
{
	struct seen *s = arg;

	require(row->number > s->row);
	s->row = row->number;
	mix_cells(s, row->cells, row->ncells);
	return 0;
}

static int on_fault(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	const uint64_t all[] = { fault, row, column, offset, fatal };

	mix(arg, all, sizeof(all));
	return 0;
}

static struct seen read_in(bool lines, const uint8_t *data, size_t size, size_t piece)
{
	struct seen s = { .hash = 14695981039346656037u };
	const struct row_sink sink = { on_names, on_row, on_fault, &s };
	struct jsonrows *j = NULL;
	int rc;

	require(jsonrows_new(&j, lines, &sink) == 0);
	rc = 0;
	for (size_t at = 0; at < size && !rc; at += piece)
		rc = jsonrows_feed(j, data + at, size - at < piece ? size - at : piece);
	if (!rc)
		rc = jsonrows_end(j);
	mix(&s, &rc, sizeof(rc));
	jsonrows_free(j);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole, parts;
	bool lines;

	if (size < 2)
		return 0;
	lines = data[0] & 1;
	whole = read_in(lines, data + 2, size - 2, size);
	parts = read_in(lines, data + 2, size - 2, 1u + data[1] % 17);
	require(whole.hash == parts.hash);
	return 0;
}
