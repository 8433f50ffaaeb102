/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c -- rows into columns (stats_column.h); what is shown of them is in stats_json.c. */
#include <errno.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "http/upload/missing.h"
#include "http/upload/stats.h"
#include "http/upload/stats_column.h"

struct stats {
	const struct rules *rules; /* or NULL */
	struct column *columns;
	uint64_t *hashes; /* of the row's cells */
	uint32_t n, room;
	uint64_t rows;
	size_t longest_missing; /* bytes of the longest missing value */
};

int stats_new(struct stats **out, const struct rules *rules)
{
	struct stats *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->rules = rules;
	s->longest_missing = missing_longest(rules);
	*out = s;
	return 0;
}

int stats_names(struct stats *s, const struct cell *names, uint32_t n)
{
	bool many = n > STATS_FULL_COLUMNS;

	if (n > s->room) {
		struct column *more = realloc(s->columns, n * sizeof(*more));
		uint64_t *hashes = realloc(s->hashes, n * sizeof(*hashes));

		s->columns = more ? more : s->columns;
		s->hashes = hashes ? hashes : s->hashes;
		if (!more || !hashes)
			return -ENOMEM;
		s->room = n;
	}
	for (; s->n < n; s->n++) {
		const struct cell *name = &names[s->n];
		int r = column_init(&s->columns[s->n], name->text, name->len,
				    s->rules ? rules_field(s->rules, name->text, name->len) : NULL,
				    many);

		if (r < 0)
			return r;
	}
	return 0;
}

int stats_row(struct stats *s, const struct row *row)
{
	uint32_t n = row->ncells < s->n ? row->ncells : s->n;

	s->rows++;
	/* First all hashes: what the columns will look up is on its way by the time that it is wanted. */
	for (uint32_t i = 0; i < n; i++) {
		s->hashes[i] = XXH3_64bits(row->cells[i].text, row->cells[i].len);
		column_ahead(&s->columns[i], s->hashes[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct cell *cell = &row->cells[i];
		int r;

		/* Nulls are what is not counted: also the cells of rows before a column came up. */
		if (missing_value(s->rules, s->longest_missing, cell))
			continue;
		r = column_add(&s->columns[i], s->hashes[i], cell->text, cell->len,
			       row->values ? &row->values[i] : NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

/* From the least to the greatest of the first column of dates. */
static json_t *time_range(struct stats *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		struct column *c = &s->columns[i];

		if ((c->type != FIELD_DATE && c->type != FIELD_DATETIME) || !c->some || c->personal)
			continue;
		return json_pack("{s:o, s:o, s:o}", "column",
				 column_text(c->name, c->name_len, false), "from",
				 column_value(c, (double)c->imin), "to",
				 column_value(c, (double)c->imax));
	}
	return NULL;
}

json_t *stats_json(struct stats *s)
{
	json_t *out = json_object(), *columns = json_array(), *range;
	int r = json_object_set_new(out, "rows", json_integer((json_int_t)s->rows));

	for (uint32_t i = 0; i < s->n; i++)
		if (s->columns[i].by_value)
			column_settle(&s->columns[i], false);
	range = time_range(s);
	for (uint32_t i = 0; i < s->n; i++)
		r |= json_array_append_new(columns, column_json(&s->columns[i], s->rows));
	r |= json_object_set_new(out, "columns", columns);
	if (range)
		r |= json_object_set_new(out, "time_range", range);
	if (!r)
		return out;
	json_decref(out);
	return NULL;
}

void stats_free(struct stats *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		column_fini(&s->columns[i]);
	free(s->columns);
	free(s->hashes);
	free(s);
}
