/* SPDX-License-Identifier: Apache-2.0 */
/* CSV of a stranger: the same rows and faults whatever the pieces are; cells are UTF-8; offsets go up. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/csv.h"
#include "http/upload/csv_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	uint64_t sum, rows, faults, offset;
};

static void require(int truth)
{
	if (!truth)
		abort();
}

static void mix(struct seen *s, const void *data, size_t len)
{
	const uint8_t *b = data;

	for (size_t i = 0; i < len; i++)
		s->sum = (s->sum ^ b[i]) * 0x100000001b3u;
}

static void mix_cells(struct seen *s, const struct cell *cells, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		mix(s, &cells[i].len, sizeof(cells[i].len));
		mix(s, &cells[i].offset, sizeof(cells[i].offset));
		mix(s, cells[i].text, cells[i].len);
		require(text_utf8_valid(cells[i].text, cells[i].len) == cells[i].len);
	}
}

static int names(void *arg, const struct cell *cells, uint32_t n)
{
	mix_cells(arg, cells, n);
	return 0;
}

static int row(void *arg, const struct row *r)
{
	struct seen *s = arg;

	require(r->offset >= s->offset && r->ncells > 0);
	s->offset = r->offset + r->length;
	s->rows++;
	mix(s, &r->number, sizeof(r->number));
	mix(s, &r->length, sizeof(r->length));
	mix_cells(s, r->cells, r->ncells);
	return 0;
}

static int fault(void *arg, enum row_fault what, uint64_t number, uint32_t column, uint64_t offset, bool fatal)
{
	struct seen *s = arg;

	(void)fatal;
	s->faults++;
	mix(s, &what, sizeof(what));
	mix(s, &number, sizeof(number));
	mix(s, &column, sizeof(column));
	mix(s, &offset, sizeof(offset));
	return 0;
}

static struct seen read_in(const struct csv_dialect *dialect, const uint8_t *data, size_t size, uint32_t pieces)
{
	struct seen s = { 0 };
	struct row_sink sink = { .names = names, .row = row, .fault = fault, .arg = &s };
	struct csv *csv;
	int rc = 0;

	require(csv_new(&csv, dialect, &sink) == 0);
	for (size_t at = 0, n; at < size && !rc; at += n) {
		uint8_t *piece;

		n = size - at;
		if (pieces) {
			pieces = pieces * 1664525 + 1013904223;
			n = 1 + (pieces >> 24) % (pieces & 1 << 20 ? 3 : 200);
			n = n < size - at ? n : size - at;
		}
		piece = malloc(n); /* so that reading behind it is seen */
		require(piece != NULL);
		memcpy(piece, data + at, n);
		rc = csv_feed(csv, piece, n);
		free(piece);
	}
	if (!rc)
		csv_end(csv);
	csv_free(csv);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char delimiters[] = { ',', ';', '\t', '|' };
	struct csv_dialect d = { 0 };
	struct seen whole, pieces;

	if (size < 5)
		return 0;
	d.delimiter = delimiters[data[0] & 3];
	d.quote = data[0] & 4 ? '"' : data[0] & 8 ? '\'' : '\0';
	d.comment = data[0] & 16 ? '#' : '\0';
	d.header = data[0] & 32;
	d.encoding = (enum text_encoding)(data[1] % 5);
	whole = read_in(&d, data + 5, size - 5, 0);
	pieces = read_in(&d, data + 5, size - 5, 1u | data[2] | (uint32_t)data[3] << 8 | (uint32_t)data[4] << 16);
	require(whole.sum == pieces.sum && whole.rows == pieces.rows && whole.faults == pieces.faults);
	return 0;
}
