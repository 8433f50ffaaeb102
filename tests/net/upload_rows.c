/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload_rows.c -- the CSV reader by itself, for comparison with another: many files on stdin, their rows on stdout.
 * A file is a line "LENGTH DELIMITER QUOTE PIECE\n" (DELIMITER and QUOTE as numbers of bytes, PIECE the size in which it is
 * fed) and its bytes. For each: a line "ROWS", for each row "CELLS" and for each cell "LENGTH BYTES", lines all.
 */
#include <stdio.h>
#include <stdlib.h>

#include "http/upload/csv.h"

struct text {
	char *data;
	size_t len;
	FILE *file;
	unsigned long rows;
};

static int told(void *arg, const struct row *row)
{
	struct text *out = arg;

	out->rows++;
	fprintf(out->file, "%u\n", row->ncells);
	for (uint32_t i = 0; i < row->ncells; i++) {
		fprintf(out->file, "%u ", row->cells[i].len);
		fwrite(row->cells[i].text, 1, row->cells[i].len, out->file);
		fputc('\n', out->file);
	}
	return 0;
}

static int names(void *arg, const struct cell *cells, uint32_t n)
{
	(void)arg;
	(void)cells;
	(void)n;
	return 0;
}

static int fault(void *arg, enum row_fault what, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	(void)arg;
	(void)what;
	(void)row;
	(void)column;
	(void)offset;
	return fatal ? -1 : 0;
}

static int one(const char *data, size_t len, int delimiter, int quote, size_t piece)
{
	struct text out = { 0 };
	struct row_sink sink = { .names = names, .row = told, .fault = fault, .arg = &out };
	struct csv_dialect dialect = { .delimiter = (char)delimiter, .quote = (char)quote };
	struct csv *csv;
	int rc = 0;

	out.file = open_memstream(&out.data, &out.len);
	if (!out.file || csv_new(&csv, &dialect, &sink))
		return 1;
	for (size_t at = 0; at < len && !rc; at += piece)
		rc = csv_feed(csv, data + at, len - at < piece ? len - at : piece);
	if (!rc)
		rc = csv_end(csv);
	csv_free(csv);
	fclose(out.file);
	printf("%lu\n", out.rows);
	fwrite(out.data, 1, out.len, stdout);
	free(out.data);
	return rc != 0;
}

int main(void)
{
	size_t len, piece;
	int delimiter, quote, rc = 0;

	while (!rc && scanf("%zu %d %d %zu", &len, &delimiter, &quote, &piece) == 4 && getchar() == '\n') {
		char *data = malloc(len + 1);

		rc = !data || fread(data, 1, len, stdin) != len || one(data, len, delimiter, quote, piece ? piece : 1);
		free(data);
	}
	return rc;
}
