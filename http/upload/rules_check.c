// SPDX-License-Identifier: Apache-2.0
/*
 * rules_check.c -- what keys of a dataset's rules mean together; and what is made of them once:
 * bounds in the column's unit, patterns, expressions, sorted choices.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/pattern.h"
#include "http/upload/rules_table.h"
#include "lib/nearest.h"

#define BIT(t) (1u << (t))
static const unsigned int textual = BIT(FIELD_ANY) | BIT(FIELD_STRING) | BIT(FIELD_OBJECT) |
				    BIT(FIELD_ARRAY) | BIT(FIELD_GEOPOINT);
static const unsigned int ordered = BIT(FIELD_INTEGER) | BIT(FIELD_NUMBER) | BIT(FIELD_DATE) |
				    BIT(FIELD_TIME) | BIT(FIELD_DATETIME) | BIT(FIELD_YEAR) |
				    BIT(FIELD_YEARMONTH) | BIT(FIELD_DURATION);
static const unsigned int timed = BIT(FIELD_DATE) | BIT(FIELD_TIME) | BIT(FIELD_DATETIME);
static const unsigned int numeric = BIT(FIELD_INTEGER) | BIT(FIELD_NUMBER);

static bool is(const struct field *f, unsigned int types)
{
	return BIT(f->type) & types;
}

/* A key that means nothing for the column's type. */
static void misfit(struct field_source *s, const char *key, unsigned int types, const char *which,
		   struct rules_faults *faults)
{
	const struct node *n = node_member(s->node, key);

	if (n && !node_null(n) && !is(&s->f, types))
		rules_fault(faults, n, NULL, "means nothing for the type %s; it is for %s",
			    field_type_names[s->f.type], which);
}

static void check_bound(struct field_source *s, const char *key, const char *text, bool *has,
			double *real, int64_t *exact, struct rules_faults *faults)
{
	struct field plain = { .type = s->f.type, .decimal = '.', .bare = true };
	struct value v = { 0 };
	int err;

	if (!text || !is(&s->f, ordered))
		return;
	err = value_parse(&v, &plain, text, strlen(text));
	if (err && s->f.format == FORMAT_PATTERN) /* or as the file writes it */
		err = value_parse(&v, &s->f, text, strlen(text));
	if (err || (s->f.type == FIELD_NUMBER && !isfinite(v.d))) {
		rules_fault(faults, node_member(s->node, key), NULL,
			    "\"%.60s\" is not of type %s; write a value of the column's type%s",
			    text, field_type_names[s->f.type],
			    is(&s->f, timed) ? ", as in 2026-01-31 or 13:45:00" : "");
		return;
	}
	*has = true;
	*exact = v.i;
	*real = is(&s->f, numeric) ? v.d : (double)v.i;
}

static void check_format(struct field_source *s, struct rules_faults *faults)
{
	const struct node *n = node_member(s->node, "format");
	size_t words = 0;

	if (!s->format)
		return;
	if (is(&s->f, timed)) {
		if (!strcmp(s->format, "default"))
			return;
		if (!strchr(s->format, '%') || strchr(s->format, '%')[1] == '\0') {
			rules_fault(faults, n, NULL,
				    "\"%.60s\" is not a pattern; write one such as \"%%d.%%m.%%Y\"",
				    s->format);
			return;
		}
		s->f.format = FORMAT_PATTERN;
		s->f.time_pattern = s->format;
		return;
	}
	while (rules_format_words[words] && strcmp(rules_format_words[words], s->format))
		words++;
	if (!rules_format_words[words]) {
		const char *nearest = nearest_word(s->format, rules_format_words, words);

		rules_fault(faults, n, NULL, "\"%.60s\" is not a format; %s%s%s", s->format,
			    nearest ? "did you mean \""
				    : "write email, uri, uuid, binary, ipv4, ipv6 or hostname",
			    nearest ? nearest : "", nearest ? "\"?" : "");
	} else if (words && s->f.type != FIELD_STRING && s->f.type != FIELD_ANY) {
		rules_fault(faults, n, NULL, "means nothing for the type %s; it is for string",
			    field_type_names[s->f.type]);
	} else {
		s->f.format = (enum field_format)words;
	}
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void check_choices(struct field_source *s, struct rules_faults *faults)
{
	const struct node *n = node_member(s->node, "enum"), *item;
	struct value v;

	if (!n || n->kind != NODE_LIST)
		return;
	if (!s->f.nchoices)
		rules_fault(faults, n, NULL, "is empty; it needs at least one value");
	for (item = n->first; item; item = item->next)
		if (item->kind == NODE_SCALAR && *item->text && s->f.type != FIELD_ANY &&
		    value_parse(&v, &s->f, item->text, strlen(item->text)))
			rules_fault(
				faults, item, NULL,
				"\"%.60s\" is not of type %s; write values as the file has them",
				item->text, field_type_names[s->f.type]);
	for (item = n->first; item; item = item->next)
		if (item->kind != NODE_SCALAR)
			return; /* said already; there are holes */
	qsort(s->f.choices, s->f.nchoices, sizeof(char *), by_bytes);
	for (size_t i = 1; i < s->f.nchoices; i++)
		if (!strcmp(s->f.choices[i], s->f.choices[i - 1])) {
			rules_fault(faults, n, NULL, "has \"%.60s\" twice; keep one of them",
				    s->f.choices[i]);
			return;
		}
}

bool rules_patterns(struct rules_file *file, size_t n, const struct node *node,
		    struct rules_faults *faults)
{
	bool before = file->npatterns > RULES_PATTERNS_MAX;

	file->npatterns += n;
	if (!before && file->npatterns > RULES_PATTERNS_MAX)
		rules_fault(faults, node, NULL, "is one pattern too many; at most %u are possible",
			    RULES_PATTERNS_MAX);
	return file->npatterns <= RULES_PATTERNS_MAX;
}

static void check_pattern(struct rules_file *file, struct field_source *s,
			  struct rules_faults *faults)
{
	char why[160];
	int err;

	if (!s->pattern || !rules_patterns(file, 1, node_member(s->node, "pattern"), faults))
		return;
	err = pattern_new(&s->f.matcher, s->pattern, why);
	if (err == -ENOMEM)
		faults->no_memory = true;
	else if (err)
		rules_fault(faults, node_member(s->node, "pattern"), NULL, "%s%s", why,
			    strchr(why, ';') ? "" : "; correct the expression");
	s->f.pattern = s->pattern;
}

static void check_true_false(struct field_source *s, struct rules_faults *faults)
{
	for (size_t i = 0; i < s->f.ntrue; i++)
		for (size_t j = 0; j < s->f.nfalse; j++)
			if (s->f.true_values[i] && s->f.false_values[j] &&
			    !strcmp(s->f.true_values[i], s->f.false_values[j])) {
				rules_fault(
					faults, node_member(s->node, "false_values"), NULL,
					"\"%.60s\" stands for true as well; keep it in one list",
					s->f.true_values[i]);
				return;
			}
}

static void check_column(struct rules_file *file, struct field_source *s,
			 struct rules_faults *faults)
{
	static const char dates[] = "numbers, dates and times", texts[] = "string";

	if (!node_member(s->node, "max_length") || !s->f.max_length)
		s->f.max_length = UINT64_MAX;
	s->f.level = s->level ? (enum finding_level)(s->level - 1) : file->rules.tolerance.on_fault;
	misfit(s, "minimum", ordered, dates, faults);
	misfit(s, "maximum", ordered, dates, faults);
	misfit(s, "min_length", textual, texts, faults);
	misfit(s, "max_length", textual, texts, faults);
	misfit(s, "decimal", BIT(FIELD_NUMBER), "number", faults);
	misfit(s, "group", numeric, "integer and number", faults);
	misfit(s, "true_values", BIT(FIELD_BOOLEAN), "boolean", faults);
	misfit(s, "false_values", BIT(FIELD_BOOLEAN), "boolean", faults);
	check_format(s, faults);
	check_bound(s, "minimum", s->minimum, &s->f.has_minimum, &s->f.minimum, &s->f.minimum_int,
		    faults);
	check_bound(s, "maximum", s->maximum, &s->f.has_maximum, &s->f.maximum, &s->f.maximum_int,
		    faults);
	if (s->f.has_minimum && s->f.has_maximum &&
	    (is(&s->f, BIT(FIELD_NUMBER)) ? s->f.minimum > s->f.maximum
					  : s->f.minimum_int > s->f.maximum_int))
		rules_fault(faults, node_member(s->node, "maximum"), NULL,
			    "is below minimum; make it larger");
	if (s->f.min_length > s->f.max_length)
		rules_fault(faults, node_member(s->node, "max_length"), NULL,
			    "is below min_length; make it larger");
	if (s->f.type == FIELD_NUMBER && s->f.decimal && s->f.decimal == s->f.group)
		rules_fault(faults, node_member(s->node, "group"), NULL,
			    "is the decimal sign too; choose another character");
	check_choices(s, faults);
	check_pattern(file, s, faults);
	check_true_false(s, faults);
	s->f.reference_dataset = s->reference.dataset;
	s->f.reference_column = s->reference.column;
	if (s->reference.dataset && file->rules.name &&
	    !strcmp(s->reference.dataset, file->rules.name))
		rules_fault(faults, node_member(s->node, "references"), NULL,
			    "refers to the dataset itself; refer to another one");
}

struct named {
	const char *name;
	size_t i;
};

static int by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int d = strcmp(x->name, y->name);

	return d ? d : x->i < y->i ? -1 : 1;
}

static void check_names_differ(struct rules_file *file, struct rules_faults *faults)
{
	struct named *names = calloc(file->nfields + 1, sizeof(*names));
	size_t n = 0;

	if (!names) {
		faults->no_memory = true;
		return;
	}
	for (size_t i = 0; i < file->nfields; i++)
		if (file->fields[i].f.name)
			names[n++] = (struct named){ file->fields[i].f.name, i };
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 1; i < n; i++)
		if (!strcmp(names[i].name, names[i - 1].name))
			rules_fault(faults, node_member(file->fields[names[i].i].node, "name"),
				    NULL,
				    "\"%.60s\" is the name of another column; each has its own",
				    names[i].name);
	free(names);
}

static void check_columns(struct rules_file *file, struct rules_faults *faults)
{
	struct rules *r = &file->rules;
	size_t references = 0, spills = 0;

	r->fields = rules_alloc(&file->arena, (file->nfields + 1) * sizeof(*r->fields));
	if (!r->fields) {
		faults->no_memory = true;
		return;
	}
	for (size_t i = 0; i < file->nfields; i++) {
		struct field_source *s = &file->fields[i];

		if (!s->node)
			continue; /* no section; said already */
		check_column(file, s, faults);
		r->fields[r->nfields++] = s->f;
		references += s->f.reference_dataset != NULL;
		spills += s->f.unique;
	}
	check_names_differ(file, faults);
	if (references > RULES_REFS_MAX)
		rules_fault(faults, node_member(file->root, "columns"), NULL,
			    "has %zu foreign keys; at most %u are possible", references,
			    RULES_REFS_MAX);
	if (spills + (r->nprimary_key > 0) > RULES_REFS_MAX)
		rules_fault(faults, node_member(file->root, "columns"), NULL,
			    "has %zu unique columns; at most %u are possible", spills,
			    RULES_REFS_MAX - 1);
}

/* Says a name that is none of the columns, when there are columns. */
static bool known(struct rules_file *file, const struct node *node, const char *name,
		  struct rules_faults *faults)
{
	const char *names[RULES_COLUMNS_MAX], *nearest;
	size_t n = 0;

	if (!file->rules.nfields || !name || rules_field(&file->rules, name, strlen(name)))
		return true;
	for (size_t i = 0; i < file->rules.nfields && n < RULES_COLUMNS_MAX; i++)
		if (file->rules.fields[i].name)
			names[n++] = file->rules.fields[i].name;
	nearest = faults->n < RULES_GUESSES_MAX ? nearest_word(name, names, n) : NULL;
	rules_fault(faults, node, NULL,
		    nearest ? "there is no column \"%.60s\"; did you mean \"%s\"?"
			    : "there is no column \"%.60s\"; name one of columns%.0s",
		    name, nearest ? nearest : "");
	return false;
}

static void check_primary_key(struct rules_file *file, struct rules_faults *faults)
{
	const struct node *list = node_member(file->root, "primary_key");
	struct rules *r = &file->rules;

	for (size_t i = 0; list && i < r->nprimary_key; i++) {
		const struct node *item = list->kind == NODE_SCALAR ? list : list->first;

		for (size_t j = 0; j < i && item; j++)
			item = item->next;
		if (!r->primary_key[i])
			continue;
		if (!r->nfields)
			rules_fault(faults, item, NULL,
				    "names a column but there are none; describe it in columns");
		else
			known(file, item, r->primary_key[i], faults);
		for (size_t j = 0; j < i; j++)
			if (r->primary_key[j] && !strcmp(r->primary_key[i], r->primary_key[j]))
				rules_fault(faults, item, NULL,
					    "names \"%.60s\" twice; keep one of them",
					    r->primary_key[i]);
	}
}

struct expr *rules_expr(struct rules_file *file, const struct node *node, const char *text,
			bool truth, struct rules_faults *faults)
{
	enum field_type *types, result = FIELD_ANY;
	struct expr *e = NULL;
	const char *const *names;
	char why[160] = "";
	bool good = true;
	size_t at = 0, n;
	int err;

	if (file->npatterns > RULES_PATTERNS_MAX)
		return NULL;
	err = expr_parse(&e, text, why, &at);
	if (!err) {
		rules_patterns(file, expr_patterns(e), node, faults);
		n = expr_columns(e, &names);
		types = calloc(n + 1, sizeof(*types));
		for (size_t i = 0; types && i < n; i++) {
			const struct field *f =
				rules_field(&file->rules, names[i], strlen(names[i]));

			types[i] = f ? f->type : FIELD_ANY;
			good &= known(file, node, names[i], faults);
		}
		err = types ? expr_bind(e, types, &result, why) : -ENOMEM;
		free(types);
		if (!err && truth && result != FIELD_ANY && result != FIELD_BOOLEAN) {
			snprintf(why, sizeof(why),
				 "is of type %s; write something that is true or false, such as "
				 "\"a > 0\"",
				 field_type_names[result]);
			err = -EINVAL;
		}
	}
	if (err == -ENOMEM)
		faults->no_memory = true;
	else if (err && good)
		rules_fault(faults, node, NULL, "%s", why);
	if (err) {
		expr_free(e);
		e = NULL;
	}
	return e;
}

static void check_rows(struct rules_file *file, struct rules_faults *faults)
{
	struct rules *r = &file->rules;

	r->rows = rules_alloc(&file->arena, (file->nrows + 1) * sizeof(*r->rows));
	if (!r->rows) {
		faults->no_memory = true;
		return;
	}
	for (size_t i = 0; i < file->nrows; i++) {
		struct row_source *s = &file->rows[i];

		if (!s->node || !s->r.text)
			continue;
		s->r.level = s->level ? (enum finding_level)(s->level - 1) : r->tolerance.on_fault;
		s->r.expr = rules_expr(file, node_member(s->node, "rule"), s->r.text, true, faults);
		r->rows[r->nrows++] = s->r;
	}
}

static void check_dialect(struct rules_file *file, struct rules_faults *faults)
{
	const struct node *dialect = node_member(file->root, "dialect"),
			  *n = node_member(dialect, "encoding");
	static const char *const names[] = { "utf-8",	 "utf-16",	 "utf-16le",
					     "utf-16be", "windows-1252", "latin-1" };
	struct rules *r = &file->rules;
	size_t i = 0;

	if (r->dialect.delimiter && r->dialect.delimiter == r->dialect.quote)
		rules_fault(faults, node_member(dialect, "quote"), NULL,
			    "is the delimiter too; choose another character");
	if (!r->dialect.encoding)
		return;
	while (i < 6 && strcasecmp(names[i], r->dialect.encoding))
		i++;
	if (i == 6)
		rules_fault(faults, n, NULL,
			    "\"%.40s\" is not known; write utf-8, utf-16, utf-16le, utf-16be, "
			    "windows-1252 or latin-1",
			    r->dialect.encoding);
}

static void check_tolerance(struct rules_file *file, struct rules_faults *faults)
{
	const struct node *t = node_member(file->root, "tolerance");
	struct rules *r = &file->rules;
	static const char *const keys[] = { "max_faults", "max_share" };

	if (!node_member(t, "max_faults") || node_null(node_member(t, "max_faults")))
		r->tolerance.max_faults = UINT64_MAX;
	for (size_t i = 0; i < 2; i++) {
		const struct node *n = node_member(t, keys[i]);
		bool used = r->tolerance.on_fault == FINDING_QUARANTINE;

		for (size_t j = 0; j < file->nfields; j++)
			used |= file->fields[j].level == 1 + FINDING_QUARANTINE;
		for (size_t j = 0; j < file->nrows; j++)
			used |= file->rows[j].level == 1 + FINDING_QUARANTINE;
		if (n && !node_null(n) && !used)
			rules_fault(faults, n, NULL,
				    "has no effect while nothing goes to quarantine; set on_fault: "
				    "quarantine or remove it");
	}
}

/* "" is always among them. */
static void add_missing(struct rules_file *file, struct rules_faults *faults)
{
	struct rules *r = &file->rules;
	char **all;

	for (size_t i = 0; i < r->nmissing; i++)
		if (r->missing_values[i] && !*r->missing_values[i])
			return;
	all = rules_alloc(&file->arena, (r->nmissing + 1) * sizeof(*all));
	if (!all) {
		faults->no_memory = true;
		return;
	}
	all[0] = (char *)"";
	if (r->nmissing)
		memcpy(all + 1, r->missing_values, r->nmissing * sizeof(*all));
	r->missing_values = all;
	r->nmissing++;
}

int rules_check(struct rules_file *file, struct rules_faults *faults)
{
	add_missing(file, faults);
	check_dialect(file, faults);
	check_columns(file, faults);
	if (!file->rules.fields)
		return -ENOMEM;
	check_primary_key(file, faults);
	check_rows(file, faults);
	check_tolerance(file, faults);
	rules_check_outputs(file, faults);
	return 0;
}
