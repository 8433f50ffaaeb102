/* SPDX-License-Identifier: Apache-2.0 */
/* check_cell.c -- one cell against its field: the checker's inner loop. */
#include <errno.h>
#include <string.h>

#include "http/upload/check_impl.h"
#include "http/upload/csv_text.h"
#include "http/upload/number.h"
#include "http/upload/value_parse.h"

/* Of a cell that is as long as one of the missing values. */
bool check_missing_text(const struct check *c, const struct cell *cell)
{
	size_t len = cell->len;

	for (size_t i = 0; i < c->rules->nmissing; i++)
		if (strlen(c->rules->missing_values[i]) == len && !memcmp(c->rules->missing_values[i], cell->text, len))
			return true;
	return false;
}

static int range(struct check *c, const struct plan *p, const struct cell *cell, const struct value *v)
{
	const struct field *f = p->field;
	bool low, high;

	if (f->type == FIELD_NUMBER) {
		low = f->has_minimum && !(v->d >= f->minimum);
		high = f->has_maximum && !(v->d <= f->maximum);
	} else {
		low = f->has_minimum && v->i < f->minimum_int;
		high = f->has_maximum && v->i > f->maximum_int;
	}
	if (__builtin_expect(low || high, 0))
		return tell_range(c, p, cell, low);
	return 0;
}

static int length(struct check *c, const struct plan *p, const struct cell *cell)
{
	uint64_t max = p->field->max_length, min = p->field->min_length, n;

	if (cell->len <= max && cell->len / 4 >= min)
		return 0;
	n = text_utf8_count(cell->text, cell->len);
	if (n < min || n > max)
		return tell_length(c, p, cell, n < min, n);
	return 0;
}

/* Integers are the same value whatever is written before them ("+7", "007"): seen as "7". */
static int unique(struct check *c, const struct plan *p, const struct cell *cell, const struct value *v)
{
	const char *text = cell->text;
	size_t len = cell->len;
	uint64_t first;
	char canonical[32];
	int rc;

	if (p->field->type == FIELD_INTEGER && (p->field->group || *text == '+' || *text == '0' || (*text == '-' && text[1] == '0'))) {
		len = value_format(canonical, sizeof(canonical), v);
		text = canonical;
	}
	if (p->todo & DO_REFERENCE && !keyset_has(p->keys, text, len)) {
		rc = tell_reference(c, p, cell);
		if (rc)
			return rc;
	}
	if (!(p->todo & DO_UNIQUE))
		return 0;
	rc = uniques_add(p->uniques, text, len, c->row->number, &first);
	return rc > 0 ? tell_unique(c, p, cell, first) : rc;
}

/* 0, or what value_parse says. Numbers as nearly all are written are taken at once. */
static inline int parse(struct value *v, const struct plan *p, const struct cell *cell)
{
	const struct field *f = p->field;
	uint64_t word;

	if (f->type == FIELD_STRING) /* the caller has set the rest */
		return f->format == FORMAT_NONE || value_format_ok(f->format, cell->text, cell->len) ? 0 : -EINVAL;
	v->type = f->type;
	if (p->plain && f->type == FIELD_INTEGER) {
		word = number_word(cell->text, cell->len);
		if (number_integer(cell->text, cell->len, word, &v->i)) {
			v->d = (double)v->i;
			return 0;
		}
	} else if (p->plain && f->type == FIELD_NUMBER) {
		word = number_word(cell->text, cell->len);
		if (number_decimal(cell->text, cell->len, word, &v->d))
			return 0;
		if (number_integer(cell->text, cell->len, word, &v->i)) {
			v->d = (double)v->i;
			return 0;
		}
	} else if (p->plain && f->type == FIELD_DATE) {
		return value_date(&v->i, cell->text, cell->len);
	}
	return value_parse(v, f, cell->text, cell->len);
}

int check_cell(struct check *c, const struct plan *p, const struct cell *cell)
{
	unsigned int todo = p->todo;
	struct value *v = &c->values[p->column];
	int rc = 0;

	v->type = FIELD_STRING;
	v->text = cell->text;
	v->len = cell->len;
	if (check_missing(c, cell)) {
		if (p->field->required)
			rc = tell_required(c, p, cell);
		v->type = FIELD_ANY;
		todo = 0;
	}
	if (todo & DO_PARSE) {
		rc = parse(v, p, cell);
		if (__builtin_expect(rc, 0)) {
			rc = tell_type(c, p, cell, rc);
			v->type = FIELD_ANY;
			todo = 0;
		}
	}
	if (!rc && todo & DO_RANGE)
		rc = range(c, p, cell, v);
	if (!rc && todo & DO_LENGTH)
		rc = length(c, p, cell);
	if (!rc && todo & DO_ENUM && !choices_has(&p->choices, cell->text, cell->len))
		rc = tell_enum(c, p, cell);
	if (!rc && todo & DO_PATTERN && !pattern_match(p->field->matcher, cell->text, cell->len))
		rc = tell_pattern(c, p, cell);
	if (!rc && todo & (DO_UNIQUE | DO_REFERENCE))
		rc = unique(c, p, cell, v);
	return rc;
}
