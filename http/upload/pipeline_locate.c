// SPDX-License-Identifier: Apache-2.0
/*
 * pipeline_locate.c -- where rows stand in a file: the reader runs over it, nothing is checked.
 */
#include <errno.h>
#include <stdlib.h>

#include "http/upload/pipeline_impl.h"

struct search {
	uint64_t first, last;
	uint64_t begin, end;   /* of the rows found */
	uint64_t before;       /* where the last row before them ends */
	bool begun, over;
};

static int on_names(void *arg, const struct cell *names, uint32_t n)
{
	(void)arg, (void)names, (void)n;
	return 0;
}

/* A row that the reader could not give (a fault) belongs to the range when its number does: what counts is where
 * its neighbours end and begin. */
static int on_row(void *arg, const struct row *row)
{
	struct search *s = arg;

	if (row->number < s->first) {
		s->before = row->offset + row->length;
		return 0;
	}
	if (!s->begun) {
		s->begun = true;
		s->begin = row->number == s->first ? row->offset : s->before;
	}
	s->end = row->offset + row->length;
	if (row->number <= s->last)
		return 0;
	s->end = row->offset;
	s->over = true;
	return -ECANCELED;
}

static int on_fault(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	(void)arg, (void)fault, (void)row, (void)column, (void)offset, (void)fatal;
	return 0;
}

struct locating {
	struct csv *csv;
	struct jsonrows *json;
	char *piece;
};

static int open_reader(struct locating *l, const struct rules *rules, const struct row_sink *sink, size_t len)
{
	static const struct rules plain = { .dialect = { .header = -1 } };
	struct csv_dialect dialect;
	struct sniffed s = { 0 };

	sniff(&s, l->piece, len, len < SNIFF_BYTES, type_magic());
	if (s.kind == KIND_JSON || s.kind == KIND_JSONL)
		return jsonrows_new(&l->json, s.kind == KIND_JSONL, sink);
	if (s.kind != KIND_CSV)
		return -ENOTSUP;
	type_dialect(&dialect, &s, rules ? rules : &plain);
	return csv_new(&l->csv, &dialect, sink);
}

static int run(struct locating *l, const struct rules *rules, const struct pipeline_io *io, struct search *s)
{
	const struct row_sink sink = { on_names, on_row, on_fault, s };
	size_t len = 0;
	ssize_t got = 1;
	int rc;

	while (len < SNIFF_BYTES && (got = io->read(io->arg, l->piece + len, SNIFF_BYTES - len)) > 0)
		len += (size_t)got;
	if (got < 0)
		return (int)got;
	rc = open_reader(l, rules, &sink, len);
	while (!rc && len) {
		rc = l->csv ? csv_feed(l->csv, l->piece, len) : jsonrows_feed(l->json, l->piece, len);
		got = rc ? 0 : io->read(io->arg, l->piece, PIPELINE_PIECE);
		if (got < 0)
			return (int)got;
		len = (size_t)got;
	}
	if (!rc)
		rc = l->csv ? csv_end(l->csv) : jsonrows_end(l->json);
	return (rc == -ECANCELED && s->over) || rc == -EBADMSG ? 0 : rc;
}

int pipeline_locate(const struct rules *rules, const struct pipeline_io *io, uint64_t first, uint64_t last,
		    uint64_t *offset, uint64_t *length)
{
	struct search s = { .first = first, .last = last };
	struct locating l = { .piece = malloc(PIPELINE_PIECE) };
	int rc = l.piece ? run(&l, rules, io, &s) : -ENOMEM;

	csv_free(l.csv);
	jsonrows_free(l.json);
	free(l.piece);
	if (rc)
		return rc;
	if (!s.begun || s.end <= s.begin)
		return -ENOENT;
	*offset = s.begin;
	*length = s.end - s.begin;
	return 0;
}
