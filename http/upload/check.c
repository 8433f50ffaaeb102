/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c -- rows against a dataset's rules: cells, the primary key, row rules, then the row's way (good, or aside), and
 * the verdict on the file. What there is to do for a column is planned once (check_plan.c).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/check_impl.h"

size_t check_spills(const struct rules *rules)
{
	size_t n = rules->nprimary_key > 0;

	for (size_t i = 0; i < rules->nfields; i++)
		n += rules->fields[i].unique;
	return n;
}

int check_new(struct check **out, const struct check_options *opt)
{
	struct check *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	c->opt = *opt;
	c->rules = opt->rules;
	c->worst = -1;
	c->ntallies = RULES;
	c->tallies = calloc(RULES, sizeof(*c->tallies));
	rc = c->tallies ? plan_fields(c) : -ENOMEM;
	if (rc)
		check_free(c);
	else
		*out = c;
	return rc;
}

void check_free(struct check *c)
{
	if (!c)
		return;
	plan_free(c);
	free(c);
}

static int on_names(void *arg, const struct cell *names, uint32_t n)
{
	struct check *c = arg;
	int rc;

	c->row = NULL;
	rc = plan_columns(c, names, n);
	if (!rc && !c->later_names)
		rc = plan_missing(c);
	if (!rc && c->opt.names)
		rc = c->opt.names(c->opt.arg, names, n);
	return rc;
}

/* Faults of the form of this row, told before it, are told now that its place is known. */
static int forms_tell(struct check *c)
{
	int rc = 0;

	for (unsigned int i = 0; i < sizeof(c->pending) / sizeof(c->pending[0]) && !rc; i++) {
		if (!c->pending[i].is)
			continue;
		c->pending[i].is = false;
		rc = tell_form(c, (enum row_fault)i, c->pending[i].row, c->pending[i].column, c->pending[i].offset, false);
	}
	c->any_pending = false;
	return rc;
}

static int on_fault(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	struct check *c = arg;
	bool comes = fault == ROW_FAULT_QUOTE || fault == ROW_FAULT_UNCLOSED || fault == ROW_FAULT_ENCODING || fault == ROW_FAULT_NUL;

	c->row = NULL;
	/* Of JSON no faulty row comes. */
	if (!row || fatal || !comes || c->later_names)
		return tell_form(c, fault, row, column, offset, fatal);
	c->pending[fault].is = c->any_pending = true;
	c->pending[fault].row = row;
	c->pending[fault].column = column;
	c->pending[fault].offset = offset;
	return 0;
}

static int ragged(struct check *c, const struct row *row)
{
	struct fault f = { .rule = RULE_COLUMNS, .level = c->rules->tolerance.on_fault, .column = ROWS_NO_COLUMN, .row = row->number, .offset = row->offset };
	char message[128];

	snprintf(message, sizeof(message), "The row has %u cells, the header %u.", row->ncells, c->nnames);
	return fault_tell(c, &f, message,
			  row->ncells < c->nnames ? "Add the missing cells (empty ones need their delimiter too), or join the row with the next: a line end may be too many."
						  : "Put cells that hold the delimiter in quotes, or take the cells that are too many away.");
}

static int key_add(struct check *c, size_t *len, const struct cell *cell)
{
	size_t need = *len + cell->len + sizeof(cell->len);

	if (need > c->key_text.size) {
		char *grown = realloc(c->key_text.data, need * 2);

		if (!grown)
			return -ENOMEM;
		c->key_text.data = grown;
		c->key_text.size = need * 2;
	}
	if (c->rules->nprimary_key > 1) { /* so that "a","bc" is not "ab","c"; one column's key is the plain text */
		memcpy(c->key_text.data + *len, &cell->len, sizeof(cell->len));
		*len += sizeof(cell->len);
	}
	memcpy(c->key_text.data + *len, cell->text, cell->len);
	*len += cell->len;
	return 0;
}

static int primary_key(struct check *c, const struct row *row)
{
	struct fault f = { .rule = RULE_UNIQUE, .level = c->rules->tolerance.on_fault, .row = row->number, .offset = row->offset };
	char message[160];
	uint64_t first;
	size_t len = 0;
	int rc = 0;

	for (size_t i = 0; i < c->rules->nprimary_key; i++) {
		const struct cell *cell;

		if (c->key[i] == ROWS_NO_COLUMN)
			return 0;
		cell = &row->cells[c->key[i]];
		if (check_missing(c, cell)) {
			const struct field *field = rules_field(c->rules, c->names[c->key[i]], strlen(c->names[c->key[i]]));

			if (field && field->required)
				return 0; /* told already */
			f.rule = RULE_REQUIRED;
			f.column = c->key[i];
			f.offset = cell->offset;
			return fault_tell(c, &f, "The value is missing; it is a part of the primary key.", "Fill it in.");
		}
		rc = key_add(c, &len, cell);
		if (rc)
			return rc;
	}
	if (c->key_is_unique)
		return 0;
	rc = uniques_add(c->key_uniques, c->key_text.data, len, row->number, &first);
	if (rc <= 0)
		return rc;
	f.column = c->rules->nprimary_key == 1 ? c->key[0] : ROWS_NO_COLUMN;
	snprintf(message, sizeof(message), "The primary key is in row %" PRIu64 " already.", first);
	return fault_tell(c, &f, message, "Take one of the two rows away, or correct the key in one of them.");
}

/* Columns of no field: what they look like. */
static void values_guess(struct check *c, const struct row *row)
{
	for (size_t i = 0; i < c->nloose; i++) {
		const struct cell *cell = &row->cells[c->loose[i]];
		struct value *v = &c->values[c->loose[i]];

		if (check_missing(c, cell) || value_parse(v, NULL, cell->text, cell->len))
			*v = (struct value){ .type = FIELD_ANY };
	}
}

static bool is_false(const struct value *v)
{
	if (v->type == FIELD_BOOLEAN || v->type == FIELD_INTEGER)
		return v->i == 0;
	return v->type == FIELD_NUMBER && v->d == 0;
}

static int row_rule(struct check *c, const struct binding *b, const struct row *row)
{
	struct fault f = { .rule = RULE_ROW, .level = b->rule->level, .column = ROWS_NO_COLUMN, .row = row->number, .offset = row->offset };
	struct value result;
	char message[256];

	if (!b->usable)
		return 0;
	for (size_t i = 0; i < b->n; i++)
		c->arguments[i] = c->values[b->columns[i]];
	c->scratch.used = 0;
	if (expr_eval(b->rule->expr, c->arguments, &c->scratch, &result) || !is_false(&result))
		return 0;
	if (b->rule->message)
		snprintf(message, sizeof(message), "%.240s", b->rule->message);
	else
		snprintf(message, sizeof(message), "The row does not fulfil \"%.200s\".", b->rule->text);
	return fault_tell(c, &f, message, "Correct the values that the rule names so that it holds.");
}

/* What is asked of the row beyond its cells. */
static int row_check(struct check *c, const struct row *row)
{
	int rc = 0;

	for (size_t i = 0; i < c->nactive && c->has_uniques; i++)
		if (c->active[i]->uniques)
			uniques_ahead(c->active[i]->uniques, row->cells[c->active[i]->column].text,
				      row->cells[c->active[i]->column].len, row->number);
	for (size_t i = 0; i < c->nactive && !rc; i++)
		rc = check_cell(c, c->active[i], &row->cells[c->active[i]->column]);
	if (!rc && c->key_uniques)
		rc = primary_key(c, row);
	if (c->nloose)
		values_guess(c, row);
	for (size_t i = 0; i < c->nbindings && !rc; i++)
		rc = row_rule(c, &c->bindings[i], row);
	return rc;
}

static int too_many(struct check *c, const struct row *row)
{
	struct fault f = { .rule = RULE_SIZE, .level = FINDING_REJECT, .column = ROWS_NO_COLUMN, .row = row->number, .offset = row->offset };
	char message[128];
	int rc;

	if (c->rejected_size)
		return 0;
	c->rejected_size = true;
	snprintf(message, sizeof(message), "The file has more than %" PRIu64 " rows.", c->rules->max_rows);
	rc = fault_tell(c, &f, message, "Split the file.");
	c->stopped = true;
	return rc ? rc : -ECANCELED;
}

static int tolerance(struct check *c, const char *message)
{
	struct fault f = { .rule = RULE_TOLERANCE, .level = FINDING_REJECT, .column = ROWS_NO_COLUMN };

	if (c->rejected_tolerance)
		return 0;
	c->rejected_tolerance = true;
	return fault_tell(c, &f, message, "Mend the rows that are told above; the file is checked again as a whole.");
}

/* Good, with or without warnings, or aside. */
static int row_goes(struct check *c, const struct row *row)
{
	char message[128];
	int rc;

	if (c->worst <= (int)FINDING_WARN) {
		c->counts.good++;
		c->counts.warned += c->worst == (int)FINDING_WARN;
		return c->opt.good ? c->opt.good(c->opt.arg, row) : 0;
	}
	c->counts.bad++;
	rc = c->opt.bad ? c->opt.bad(c->opt.arg, row) : 0;
	c->quarantined += c->worst == (int)FINDING_QUARANTINE;
	if (rc || c->quarantined <= c->rules->tolerance.max_faults)
		return rc;
	snprintf(message, sizeof(message), "More than %" PRIu64 " rows are faulty.", c->rules->tolerance.max_faults);
	return tolerance(c, message);
}

static int on_row(void *arg, const struct row *told)
{
	struct check *c = arg;
	struct row mine = *told, *row = &mine;
	int rc = 0;

	row->values = row->ncells == c->nnames ? c->values : NULL;
	c->row = row;
	c->worst = -1;
	c->counts.rows = row->number > c->counts.rows ? row->number : c->counts.rows;
	if (c->rules->max_rows && row->number > c->rules->max_rows)
		return too_many(c, row);
	if (__builtin_expect(c->any_pending, 0))
		rc = forms_tell(c);
	if (!rc)
		rc = row->ncells == c->nnames ? row_check(c, row) : ragged(c, row);
	if (!rc || rc == -ECANCELED) {
		int gone = row_goes(c, row);

		rc = rc ? rc : gone;
	}
	c->row = NULL;
	return rc;
}

void check_sink(struct check *c, struct row_sink *sink)
{
	*sink = (struct row_sink){ .names = on_names, .row = on_row, .fault = on_fault, .arg = c };
}

void check_later_names(struct check *c)
{
	c->later_names = true;
}

struct late {
	struct check *c;
	const struct plan *plan; /* NULL: the primary key */
};

/* A duplicate that memory did not tell: the row has gone on as good already, so that the file is refused. */
static int on_late(void *arg, uint64_t row, uint64_t first)
{
	struct late *l = arg;
	enum finding_level level = l->plan ? l->plan->field->level : l->c->rules->tolerance.on_fault;
	struct fault f = { .rule = RULE_UNIQUE, .level = level == FINDING_WARN ? FINDING_WARN : FINDING_REJECT, .row = row };
	char message[160];

	f.column = l->plan ? l->plan->column : l->c->rules->nprimary_key == 1 ? l->c->key[0] : ROWS_NO_COLUMN;
	snprintf(message, sizeof(message), "The value is in row %" PRIu64 " already; it must be unique.", first);
	return fault_tell(l->c, &f, message, "Take one of the two rows away, or correct the value in one of them.");
}

static int late_duplicates(struct check *c)
{
	struct late l = { .c = c };
	int rc = 0;

	for (size_t i = 0; i < c->rules->nfields && !rc; i++) {
		l.plan = &c->plans[i];
		if (l.plan->uniques)
			rc = uniques_end(l.plan->uniques, on_late, &l);
	}
	l.plan = NULL;
	if (!rc && c->key_uniques)
		rc = uniques_end(c->key_uniques, on_late, &l);
	return rc;
}

int check_end(struct check *c)
{
	const struct rules *r = c->rules;
	struct fault none = { .rule = RULE_COLUMNS, .level = FINDING_REJECT, .column = ROWS_NO_COLUMN };
	char message[128];
	int rc = 0;

	c->row = NULL;
	if (!c->stopped) {
		rc = forms_tell(c);
		if (!rc && !c->nnames && r->nfields) {
			c->columns_told = true;
			rc = fault_tell(c, &none, "The file has no rows, not even a header.", "Upload a file with a line of names and rows below it.");
		}
		rc = rc ? rc : plan_missing(c);
		rc = rc ? rc : late_duplicates(c);
	}
	if (!rc && c->counts.rows && (double)c->quarantined > r->tolerance.max_share * (double)c->counts.rows) {
		snprintf(message, sizeof(message), "%" PRIu64 " of %" PRIu64 " rows are faulty, more than %g%%.", c->quarantined, c->counts.rows, 100 * r->tolerance.max_share);
		rc = tolerance(c, message);
	}
	return c->stopped ? 0 : rc;
}

enum verdict check_verdict(const struct check *c)
{
	return c->counts.rejects ? VERDICT_REJECTED : VERDICT_ACCEPTED;
}

void check_counts(const struct check *c, struct check_counts *out)
{
	*out = c->counts;
}

json_t *check_summary(const struct check *c)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->ntallies; i++) {
		size_t column = i / RULES;
		char name[FINDING_VALUE_MAX + 8] = "";

		if (!c->tallies[i].n)
			continue;
		if (column && column <= c->nnames)
			finding_value(name, c->names[column - 1], strlen(c->names[column - 1]));
		json_array_append_new(list, json_pack("{s:s,s:s,s:I}", "rule", check_rule_names[i % RULES], "column", name, "count", (json_int_t)c->tallies[i].n));
	}
	return list;
}

int check_write_keys(struct check *c, const char *column, int fd)
{
	for (size_t i = 0; i < c->rules->nfields; i++)
		if (c->plans[i].uniques && !strcmp(c->rules->fields[i].name, column))
			return uniques_write_keys(c->plans[i].uniques, fd);
	if (c->key_uniques && c->rules->nprimary_key == 1 && !strcmp(c->rules->primary_key[0], column))
		return uniques_write_keys(c->key_uniques, fd);
	return -ENOENT;
}
