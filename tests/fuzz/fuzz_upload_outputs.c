/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's CSV through statistics and outputs: JSON that jansson reads, CSV that our reader gives back cell by cell. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/csv.h"
#include "http/upload/stats.h"
#include "http/upload/transform.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char rules_text[] =
    "columns:\n"
    "  - {name: a, type: integer}\n  - {name: b, type: number}\n  - {name: c, type: date}\n"
    "  - {name: d, type: object}\n  - {name: e, type: boolean}\n"
    "missing_values: [n/a]\n"
    "transform:\n"
    "  - {output: plain.csv}\n"
    "  - {output: plain.jsonl, format: jsonl}\n"
    "  - {output: \"split-{value}.jsonl\", format: jsonl, split: a}\n"
    "  - {output: packed.csv, compression: gzip, filter: \"b > 1 or a is null\", derive: {x: \"a / b\", y: \"concat(a, c)\"}}\n"
    "  - {output: masked.jsonl, format: jsonl, mask: {a: hash, c: truncate 3}, cast: {b: integer, d: string, c: datetime}}\n";

struct work {
	struct stats *stats;
	struct transform *transform;
	struct csv_out out[600];
	char *names[600];
	int n;
	uint64_t rows;
};

static void require(int truth)
{
	if (!truth)
		abort();
}

static int on_open(void *arg, const struct output *output, const char *name)
{
	struct work *w = arg;

	(void)output;
	require(!strchr(name, '/') && *name != '.' && w->n < 600);
	w->names[w->n] = strdup(name);
	require(w->names[w->n] != NULL);
	return w->n++;
}

static int on_write(void *arg, int handle, const void *data, size_t len)
{
	struct csv_out *o = &((struct work *)arg)->out[handle];

	o->data = realloc(o->data, o->len + len + 1);
	require(o->data != NULL);
	memcpy(o->data + o->len, data, len);
	o->len += len;
	return 0;
}

static int on_names(void *arg, const struct cell *names, uint32_t n)
{
	struct work *w = arg;

	require(stats_names(w->stats, names, n) == 0);
	require(transform_names(w->transform, names, n) == 0);
	return 0;
}

static int on_row(void *arg, const struct row *row)
{
	struct work *w = arg;

	w->rows++;
	require(stats_row(w->stats, row) == 0);
	require(transform_row(w->transform, row) == 0);
	return 0;
}

static int on_fault(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	(void)arg, (void)fault, (void)row, (void)column, (void)offset, (void)fatal;
	return 0;
}

/* Each line is one JSON object. */
static void check_lines(const struct csv_out *o, uint64_t rows)
{
	uint64_t lines = 0;

	for (size_t at = 0; at < o->len; lines++) {
		const char *end = memchr(o->data + at, '\n', o->len - at);
		json_error_t error;
		json_t *j;

		require(end != NULL);
		j = json_loadb(o->data + at, (size_t)(end - o->data) - at, JSON_ALLOW_NUL, &error);
		/* jansson takes no number beyond a double or 64 bits */
		require(j != NULL || json_error_code(&error) == json_error_numeric_overflow);
		json_decref(j);
		at = (size_t)(end - o->data) + 1;
	}
	require(lines == rows);
}

static int count_row(void *arg, const struct row *row)
{
	(void)row;
	++*(uint64_t *)arg;
	return 0;
}

static int no_names(void *arg, const struct cell *names, uint32_t n)
{
	(void)arg, (void)names, (void)n;
	return 0;
}

static int read_csv(const void *data, size_t size, const struct row_sink *sink)
{
	const struct csv_dialect dialect = { .delimiter = ',', .quote = '"', .header = true };
	struct csv *csv;
	int r;

	require(csv_new(&csv, &dialect, sink) == 0);
	r = csv_feed(csv, data, size);
	if (!r)
		r = csv_end(csv);
	csv_free(csv);
	return r;
}

static const struct csv_out *file_named(const struct work *w, const char *name)
{
	for (int i = 0; i < w->n; i++)
		if (!strcmp(w->names[i], name))
			return &w->out[i];
	abort();
}

static void finish(struct work *w)
{
	uint64_t rows = 0;
	const struct row_sink count = { no_names, count_row, on_fault, &rows };
	json_t *j = stats_json(w->stats);
	char *text = json_dumps(j, 0);

	require(text != NULL);
	free(text);
	json_decref(j);
	require(transform_end(w->transform) == 0);
	j = transform_lineage(w->transform);
	for (size_t i = 0; i < json_array_size(j); i++) {
		json_t *one = json_array_get(j, i);
		const char *name = json_string_value(json_object_get(one, "name"));
		uint64_t expect = (uint64_t)json_integer_value(json_object_get(one, "rows"));

		if (strstr(name, ".jsonl"))
			check_lines(file_named(w, name), expect);
	}
	if (w->rows) {
		const struct csv_out *plain = file_named(w, "plain.csv");

		read_csv(plain->data, plain->len, &count);
		require(rows == w->rows);
	}
	json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rules *rules;
	struct work *w = calloc(1, sizeof(*w));
	const struct transform_files files = { on_open, on_write, w };
	const struct row_sink sink = { on_names, on_row, on_fault, w };

	if (!rules)
		require(rules_parse(&rules, rules_text, sizeof(rules_text) - 1, "fuzz", stderr) == 0);
	strcpy(rules->mask_salt, "00");
	require(w && stats_new(&w->stats, size % 2 ? rules : NULL) == 0);
	require(transform_new(&w->transform, rules, &files) == 0);
	if (read_csv(data, size, &sink) == 0)
		finish(w);
	stats_free(w->stats);
	transform_free(w->transform);
	for (int i = 0; i < w->n; i++) {
		free(w->out[i].data);
		free(w->names[i]);
	}
	free(w);
	return 0;
}
