/* SPDX-License-Identifier: Apache-2.0 */
/* transform_cell.c -- a row's cells as an output wants them: values for expressions, derived, cast,
 * masked. */
#include <errno.h>
#include <math.h>

#include "http/upload/transform_parts.h"

#define DAY_US INT64_C(86400000000)

/* A column of this row as a value, parsed once for all that ask. */
static const struct value *value_of(struct transform *t, uint32_t at)
{
	static const struct value none;
	const struct cell *c;

	if (at == SOURCE_NONE)
		return &none;
	/* the check has parsed it */
	if (t->given && t->given[at].type != FIELD_ANY && t->fields[at] && t->given[at].type == t->fields[at]->type)
		return &t->given[at];
	if (t->parsed[at] == t->serial)
		return &t->values[at];
	c = &t->cells[at];
	t->parsed[at] = t->serial;
	if (c->null || value_parse(&t->values[at], t->fields[at], c->text, c->len) < 0)
		t->values[at] = none;
	return &t->values[at];
}

int cell_evaluate(struct transform *t, const struct expr *e, const struct uses *uses,
		  struct value *out)
{
	for (size_t i = 0; i < uses->n; i++)
		t->used[i] = *value_of(t, uses->at[i]);
	t->expr_scratch.used = 0;
	return expr_eval(e, t->used, &t->expr_scratch, out);
}

/* The cell's text is in t->scratch from `begin` on: that may move until the row is whole
 * (cells_settle). */
static int settle_later(struct transform *t, struct cell *out, size_t begin)
{
	*out = (struct cell){ .len = (uint32_t)(t->scratch.len - begin), .offset = begin };
	return 0;
}

static int put_value(struct transform *t, struct cell *out, const struct value *v)
{
	char buf[80];
	size_t begin = t->scratch.len, n;
	bool text = v->type == FIELD_STRING || v->type >= FIELD_OBJECT;

	if (v->type == FIELD_ANY) {
		*out = (struct cell){ .text = "", .null = true };
		return 0;
	}
	n = text ? 0 : value_format(buf, sizeof(buf), v);
	if (csv_out_put(&t->scratch, text ? v->text : buf, text ? v->len : n) < 0)
		return -ENOMEM;
	settle_later(t, out, begin);
	out->quoted =
		v->type != FIELD_INTEGER && v->type != FIELD_NUMBER && v->type != FIELD_BOOLEAN;
	return 0;
}

/* Between numbers, and between dates and datetimes; else by the canonical text. false: it is none.
 */
static bool cast(struct value *v, enum field_type to, char *buf, size_t size)
{
	struct field field = { .type = to, .decimal = '.' };
	enum field_type from = v->type;

	if (from == to)
		return true;
	v->type = to;
	if (to == FIELD_INTEGER && from == FIELD_NUMBER) {
		if (!(fabs(v->d) < 0x1p63))
			return false;
		v->i = (int64_t)round(v->d);
		v->d = (double)v->i;
		return true;
	}
	if ((to == FIELD_NUMBER || to == FIELD_INTEGER) &&
	    (from == FIELD_INTEGER || from == FIELD_BOOLEAN)) {
		v->d = (double)v->i;
		return true;
	}
	if (to == FIELD_DATETIME && from == FIELD_DATE)
		return !__builtin_mul_overflow(v->i, DAY_US, &v->i);
	if (to == FIELD_DATE && from == FIELD_DATETIME) {
		v->i = v->i / DAY_US - (v->i % DAY_US < 0);
		return true;
	}
	v->type = from;
	if (from == FIELD_STRING || from >= FIELD_OBJECT)
		return !value_parse(v, &field, v->text, v->len);
	v->len = value_format(buf, size, v);
	v->text = buf;
	if (to != FIELD_STRING)
		return !value_parse(v, &field, buf, v->len);
	v->type = FIELD_STRING;
	return true;
}

static int cast_cell(struct transform *t, const struct plan_column *c, struct value *v,
		     struct cell *out, uint64_t *failed)
{
	char buf[80];

	if (v->type == FIELD_ANY || cast(v, c->declared->cast, buf, sizeof(buf)))
		return put_value(t, out, v);
	++*failed;
	v->type = FIELD_ANY;
	return put_value(t, out, v);
}

static const char *text_of(const struct transform *t, const struct cell *c)
{
	return c->text ? c->text : t->scratch.data + c->offset;
}

static int mask_cell(struct transform *t, const struct output_column *c, struct cell *cell)
{
	size_t begin = t->scratch.len, keep;
	char hex[MASK_HEX];
	int r;

	if (cell->null)
		return 0;
	if (c->mask == MASK_HASH) {
		mask_hash(&t->mask, text_of(t, cell), cell->len, hex);
		r = csv_out_put(&t->scratch, hex, sizeof(hex));
		return r < 0 ? r : settle_later(t, cell, begin);
	}
	keep = mask_keep(text_of(t, cell), cell->len, c->mask_keep);
	if (keep == cell->len)
		return 0;
	if (!cell->text) { /* in the scratch already, maybe at its end: cut there */
		begin = cell->offset;
		t->scratch.len = begin + keep;
		r = 0;
	} else {
		r = csv_out_put(&t->scratch, cell->text, keep);
	}
	if (!r)
		r = csv_out_put(&t->scratch, "…", 3);
	return r < 0 ? r : settle_later(t, cell, begin);
}

static int make_cell(struct transform *t, struct plan *p, const struct plan_column *c,
		     struct cell *out)
{
	bool casts = c->declared && c->declared->has_cast;
	struct value v = { .type = FIELD_ANY };
	int r = 0;

	if (!c->from) {
		if (cell_evaluate(t, c->declared->expr, &c->uses, &v) < 0) {
			v.type = FIELD_ANY;
			p->failed++;
		}
		r = casts ? cast_cell(t, c, &v, out, &p->failed) : put_value(t, out, &v);
	} else if (c->source == SOURCE_NONE) {
		*out = (struct cell){ .text = "", .null = true };
	} else if (casts && c->declared->cast != FIELD_STRING) { /* text is text as it stands */
		v = *value_of(t, c->source);
		if (v.type == FIELD_ANY && !t->cells[c->source].null)
			p->failed++;
		r = cast_cell(t, c, &v, out, &p->failed);
	} else {
		*out = t->cells[c->source];
	}
	return !r && c->declared && c->declared->masked ? mask_cell(t, c->declared, out) : r;
}

int cells_make(struct transform *t, struct plan *p)
{
	int r = 0;

	t->scratch.len = 0;
	for (size_t i = 0; i < p->n && !r; i++)
		r = make_cell(t, p, &p->columns[i], &t->out_cells[i]);
	for (size_t i = 0; i < p->n && !r; i++)
		if (!t->out_cells[i].text)
			t->out_cells[i].text =
				t->scratch.len ? t->scratch.data + t->out_cells[i].offset : "";
	return r;
}
