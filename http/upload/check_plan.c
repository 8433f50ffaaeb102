/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_plan.c -- what of the rules is to be done for which column: made once for the fields, and again when the names of
 * columns are known (or more of them, with JSON); says which columns are missing, too many, or twice.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "http/upload/check_impl.h"
#include "http/upload/number.h"

/* All are of 1 to 8 bytes, and there are few. */
static bool choices_words(struct choices *ch, const struct field *f)
{
	if (f->nchoices > CHOICES_WORDS)
		return false;
	for (uint32_t i = 0; i < f->nchoices; i++) {
		size_t len = strlen(f->choices[i]);

		if (!len || len > 8)
			return false;
		ch->words[i] = number_word(f->choices[i], len);
		ch->word_lens[i] = (uint8_t)len;
	}
	ch->n = (uint32_t)f->nchoices;
	return true;
}

static int choices_make(struct choices *ch, const struct field *f)
{
	uint32_t size = 4;

	if (choices_words(ch, f))
		return 0;
	while (size < 2 * f->nchoices)
		size *= 2;
	ch->slots = calloc(size, sizeof(*ch->slots));
	ch->lens = calloc(f->nchoices + 1, sizeof(*ch->lens));
	if (!ch->slots || !ch->lens)
		return -ENOMEM;
	ch->mask = size - 1;
	ch->texts = f->choices;
	for (uint32_t i = 0; i < f->nchoices; i++) {
		uint32_t at;

		ch->lens[i] = (uint32_t)strlen(f->choices[i]);
		at = (uint32_t)XXH3_64bits(f->choices[i], ch->lens[i]) & ch->mask;
		while (ch->slots[at])
			at = (at + 1) & ch->mask;
		ch->slots[at] = i + 1;
	}
	return 0;
}

bool choices_has(const struct choices *ch, const char *text, size_t len)
{
	uint32_t at;

	if (ch->n) {
		uint64_t word = number_word(text, len);
		unsigned int found = 0;

		for (uint32_t i = 0; i < ch->n; i++) /* all of them: no branch that goes by the value */
			found |= (ch->words[i] == word) & (ch->word_lens[i] == len);
		return found;
	}
	at = (uint32_t)XXH3_64bits(text, len) & ch->mask;
	for (; ch->slots[at]; at = (at + 1) & ch->mask) {
		uint32_t i = ch->slots[at] - 1;

		if (ch->lens[i] == len && !memcmp(ch->texts[i], text, len))
			return true;
	}
	return false;
}

static unsigned int todo_of(const struct field *f)
{
	bool text = f->type == FIELD_STRING || f->type == FIELD_ANY;
	unsigned int todo = 0;

	if (f->format != FORMAT_NONE || !text)
		todo |= DO_PARSE;
	if (f->has_minimum || f->has_maximum)
		todo |= DO_RANGE;
	if (f->min_length > 0 || f->max_length != UINT64_MAX)
		todo |= DO_LENGTH;
	if (f->nchoices)
		todo |= DO_ENUM;
	if (f->matcher)
		todo |= DO_PATTERN;
	return todo;
}

/* Memory is shared evenly; sets are in the order of fields, the primary key's is the last. */
static int uniques_of(struct check *c, struct uniques **out, size_t *spill)
{
	size_t n = check_spills(c->rules), memory = c->opt.memory_max ? c->opt.memory_max : 16u << 20;
	int fd = c->opt.spill_fds ? c->opt.spill_fds[*spill] : -1;

	(*spill)++;
	return uniques_new(out, memory / n, fd, c->opt.seed);
}

int plan_fields(struct check *c)
{
	const struct rules *r = c->rules;
	size_t spill = 0, reference = 0;
	int rc = 0;

	c->plans = calloc(r->nfields + 1, sizeof(*c->plans));
	c->active = calloc(r->nfields + 1, sizeof(struct plan *));
	if (!c->plans || !c->active)
		return -ENOMEM;
	for (size_t i = 0; i < r->nfields && !rc; i++) {
		struct plan *p = &c->plans[i];

		p->field = &r->fields[i];
		p->column = ROWS_NO_COLUMN;
		p->todo = todo_of(p->field);
		p->plain = p->field->format == FORMAT_NONE && !p->field->time_pattern && !p->field->group &&
			   (!p->field->decimal || p->field->decimal == '.');
		if (p->todo & DO_ENUM)
			rc = choices_make(&p->choices, p->field);
		if (!rc && p->field->unique) {
			p->todo |= DO_UNIQUE;
			c->has_uniques = true;
			rc = uniques_of(c, &p->uniques, &spill);
			c->key_is_unique |= r->nprimary_key == 1 && !strcmp(r->primary_key[0], p->field->name);
		}
		if (p->field->reference_dataset) {
			p->keys = c->opt.keysets ? c->opt.keysets[reference] : NULL;
			p->todo |= p->keys ? DO_REFERENCE : 0;
			reference++;
		}
	}
	if (!rc && r->nprimary_key)
		rc = uniques_of(c, &c->key_uniques, &spill);
	for (size_t i = 0; i < r->nmissing; i++) {
		size_t len = strlen(r->missing_values[i]);

		c->missing_lengths |= 1ull << (len < 63 ? len : 63);
	}
	return rc;
}

static void bindings_free(struct check *c)
{
	for (size_t i = 0; i < c->nbindings; i++)
		free(c->bindings[i].columns);
	free(c->bindings);
	free(c->arguments);
	free(c->values);
	free(c->wanted);
	free(c->loose);
	free(c->key);
	c->bindings = NULL;
	c->arguments = c->values = NULL;
	c->wanted = NULL;
	c->loose = c->key = NULL;
	c->nbindings = c->nloose = 0;
}

void plan_free(struct check *c)
{
	for (size_t i = 0; c->plans && i < c->rules->nfields; i++) {
		free(c->plans[i].choices.slots);
		free(c->plans[i].choices.lens);
		uniques_free(c->plans[i].uniques);
	}
	uniques_free(c->key_uniques);
	bindings_free(c);
	free(c->plans);
	free(c->active);
	for (uint32_t i = 0; i < c->nnames; i++)
		free(c->names[i]);
	free(c->names);
	free(c->tallies);
	free(c->key_text.data);
}

/* Of the file's names; ROWS_NO_COLUMN. */
static uint32_t column_of(const struct check *c, const char *name)
{
	for (uint32_t i = 0; i < c->nnames; i++)
		if (!strcmp(c->names[i], name))
			return i;
	return ROWS_NO_COLUMN;
}

static bool is_field(const struct check *c, uint32_t column)
{
	for (size_t i = 0; i < c->rules->nfields; i++)
		if (c->plans[i].column == column)
			return true;
	return false;
}

static void want(struct check *c, uint32_t column)
{
	if (!c->wanted[column] && !is_field(c, column))
		c->loose[c->nloose++] = column;
	c->wanted[column] = true;
}

static int bind(struct check *c, struct binding *b, const struct row_rule *rule)
{
	const char *const *names;

	b->rule = rule;
	b->n = expr_columns(rule->expr, &names);
	b->columns = calloc(b->n + 1, sizeof(*b->columns));
	b->usable = true;
	if (!b->columns)
		return -ENOMEM;
	for (size_t i = 0; i < b->n; i++) {
		uint32_t column = column_of(c, names[i]);

		if (column == ROWS_NO_COLUMN) {
			b->usable = false;
			continue;
		}
		want(c, column);
		b->columns[i] = column;
	}
	return 0;
}

/* Row rules and the primary key, by the names that are there now. */
static int bindings_make(struct check *c)
{
	const struct rules *r = c->rules;
	size_t most = 0;
	int rc = 0;

	bindings_free(c);
	c->values = calloc(c->nnames + 1, sizeof(*c->values));
	c->wanted = calloc(c->nnames + 1, sizeof(*c->wanted));
	c->loose = calloc(c->nnames + 1, sizeof(*c->loose));
	c->bindings = calloc(r->nrows + 1, sizeof(*c->bindings));
	c->key = calloc(r->nprimary_key + 1, sizeof(*c->key));
	if (!c->values || !c->wanted || !c->loose || !c->bindings || !c->key)
		return -ENOMEM;
	for (; c->nbindings < r->nrows && !rc; c->nbindings++) {
		rc = bind(c, &c->bindings[c->nbindings], &r->rows[c->nbindings]);
		most = c->bindings[c->nbindings].n > most ? c->bindings[c->nbindings].n : most;
	}
	c->arguments = calloc(most + 1, sizeof(*c->arguments));
	for (size_t i = 0; i < r->nprimary_key; i++)
		c->key[i] = column_of(c, r->primary_key[i]);
	return rc ? rc : c->arguments ? 0 : -ENOMEM;
}

/* Every field's column, and those with work in the order of columns. */
static void fields_place(struct check *c)
{
	size_t n = c->rules->nfields;

	for (size_t i = 0; i < n; i++)
		c->plans[i].column = column_of(c, c->plans[i].field->name);
}

/* Fields of which something is asked: a check, or a value for an expression. */
static void active_make(struct check *c)
{
	c->nactive = 0;
	for (uint32_t column = 0; column < c->nnames; column++)
		for (size_t i = 0; i < c->rules->nfields; i++) {
			struct plan *p = &c->plans[i];

			if (p->column == column && (p->todo || p->field->required || c->wanted[column]))
				c->active[c->nactive++] = p;
		}
}

static struct fault fault_of_name(const struct check *c, enum finding_level level, uint32_t column, const char *name, uint64_t offset)
{
	(void)c;
	return (struct fault){ .rule = RULE_COLUMNS,
			       .level = level == FINDING_WARN ? FINDING_WARN : FINDING_REJECT, /* no row to put aside */
			       .column = column,
			       .name = name,
			       .offset = offset };
}

/* Names of fields that the file does not have, for "did you mean". */
static const char *near_field(const struct check *c, const char *name)
{
	char *absent[64];
	size_t n = 0;

	for (size_t i = 0; i < c->rules->nfields && n < 64; i++)
		if (c->plans[i].column == ROWS_NO_COLUMN)
			absent[n++] = c->rules->fields[i].name;
	return near_word(absent, n, name, strlen(name));
}

static int name_check(struct check *c, uint32_t i, const struct cell *cell)
{
	const char *name = c->names[i], *near;
	enum finding_level level = c->rules->tolerance.on_fault;
	char mend[256], message[256];
	uint32_t first = column_of(c, name);
	struct fault f;

	if (cell->len > ROWS_NAME_MAX) {
		f = fault_of_name(c, level, i, NULL, cell->offset);
		return fault_tell(c, &f, "The column's name is longer than 256 bytes.", "Shorten it; perhaps the file has no header.");
	}
	if (!*name) {
		f = fault_of_name(c, FINDING_WARN, i, NULL, cell->offset);
		snprintf(message, sizeof(message), "Column %u has no name.", i + 1);
		return fault_tell(c, &f, message, "Name it in the header, or take it away: a delimiter may end the lines.");
	}
	if (first < i) {
		f = fault_of_name(c, level, i, NULL, cell->offset);
		snprintf(message, sizeof(message), "Columns %u and %u have the same name.", first + 1, i + 1);
		return fault_tell(c, &f, message, "Rename one of them, or take it away.");
	}
	if (is_field(c, i) || !c->rules->nfields)
		return 0;
	near = near_field(c, name);
	f = fault_of_name(c, c->rules->exact_columns ? level : FINDING_WARN, i, NULL, cell->offset);
	if (near)
		snprintf(mend, sizeof(mend), "Did you mean \"%.80s\"? Rename the column.", near);
	else
		snprintf(mend, sizeof(mend), "Take the column away, or have it added to the dataset's rules.");
	return fault_tell(c, &f, "The dataset's rules do not know this column; nothing in it is checked.", mend);
}

static int field_missing(struct check *c, const struct plan *p)
{
	char mend[256];
	char **extra = calloc(c->nnames + 1, sizeof(*extra));
	struct fault f = fault_of_name(c, p->field->level, ROWS_NO_COLUMN, p->field->name, 0);
	const char *near = NULL;
	size_t n = 0;
	int rc;

	for (uint32_t i = 0; extra && i < c->nnames; i++)
		if (!is_field(c, i))
			extra[n++] = c->names[i];
	if (extra)
		near = near_word(extra, n, p->field->name, strlen(p->field->name));
	if (near)
		snprintf(mend, sizeof(mend), "Did you mean \"%.80s\"? Rename this column of the file to %.80s.", near, p->field->name);
	else
		snprintf(mend, sizeof(mend), "Add the column %.80s to the header and each row.", p->field->name);
	rc = fault_tell(c, &f, "The file has no column of this name.", mend);
	free(extra);
	return rc;
}

static int rules_missing(struct check *c)
{
	char message[256];
	int rc = 0;

	for (size_t i = 0; i < c->rules->nprimary_key && !rc; i++) {
		struct fault f = fault_of_name(c, c->rules->tolerance.on_fault, ROWS_NO_COLUMN, c->rules->primary_key[i], 0);

		if ((c->key && c->key[i] != ROWS_NO_COLUMN) || rules_field(c->rules, c->rules->primary_key[i], strlen(c->rules->primary_key[i])))
			continue;
		rc = fault_tell(c, &f, "The file has no column of this name, which is a part of the primary key.", "Add the column to the header and each row.");
	}
	for (size_t i = 0; i < c->nbindings && !rc; i++) {
		struct fault f = fault_of_name(c, c->bindings[i].rule->level, ROWS_NO_COLUMN, "", 0);

		if (c->bindings[i].usable)
			continue;
		f.rule = RULE_ROW;
		snprintf(message, sizeof(message), "The rule \"%.120s\" cannot be checked: a column of it is missing.", c->bindings[i].rule->text);
		rc = fault_tell(c, &f, message, "Add the column to the header and each row.");
	}
	return rc;
}

/* Fields without a column, datasets that are referred to without keys. */
int plan_missing(struct check *c)
{
	int rc = 0;

	if (c->columns_told)
		return 0;
	c->columns_told = true;
	for (size_t i = 0; i < c->rules->nfields && !rc; i++) {
		const struct plan *p = &c->plans[i];
		struct fault f = fault_of_name(c, p->field->level, p->column, p->column == ROWS_NO_COLUMN ? p->field->name : NULL, 0);
		char message[256];

		if (p->column == ROWS_NO_COLUMN) {
			rc = field_missing(c, p);
		} else if (p->field->reference_dataset && !p->keys) {
			f.rule = RULE_REFERENCE;
			snprintf(message, sizeof(message), "The dataset %.80s that the column refers to has no file with column %.80s.",
				 p->field->reference_dataset, p->field->reference_column);
			rc = fault_tell(c, &f, message, "Upload a file into that dataset first.");
		}
	}
	return rc ? rc : rules_missing(c);
}

int plan_columns(struct check *c, const struct cell *names, uint32_t n)
{
	char **grown = realloc(c->names, (n + 1) * sizeof(*grown));
	struct tally *tallies = realloc(c->tallies, (size_t)(n + 1) * RULES * sizeof(*tallies));
	uint32_t had = c->nnames;
	int rc = 0;

	c->names = grown ? grown : c->names;
	c->tallies = tallies ? tallies : c->tallies;
	if (!grown || !tallies)
		return -ENOMEM;
	memset(tallies + c->ntallies, 0, ((size_t)(n + 1) * RULES - c->ntallies) * sizeof(*tallies));
	c->ntallies = (size_t)(n + 1) * RULES;
	for (; c->nnames < n; c->nnames++) {
		c->names[c->nnames] = strndup(names[c->nnames].len ? names[c->nnames].text : "", names[c->nnames].len);
		if (!c->names[c->nnames])
			return -ENOMEM;
	}
	fields_place(c);
	rc = bindings_make(c);
	if (rc)
		return rc;
	active_make(c);
	for (uint32_t i = had; i < n && !rc; i++)
		rc = name_check(c, i, &names[i]);
	return rc;
}
