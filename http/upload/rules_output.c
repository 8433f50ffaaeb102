// SPDX-License-Identifier: Apache-2.0
/*
 * rules_output.c -- the transformations of a dataset's rules as columns of outputs: keep, drop,
 * rename, cast, derive and mask of one output together say what each column is made of.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/rules_table.h"
#include "lib/nearest.h"

struct maker {
	struct rules_file *file;
	struct output_source *s;
	struct rules_faults *faults;
	struct output_column *columns;
	size_t n, max;
};

/* The column made of `from`, made when it is not there. */
static struct output_column *column_of(struct maker *m, const char *from)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->columns[i].from && !strcmp(m->columns[i].from, from))
			return &m->columns[i];
	if (m->n == m->max)
		return NULL;
	m->columns[m->n] = (struct output_column){ .name = (char *)from, .from = (char *)from };
	return &m->columns[m->n++];
}

/* The column that a pair speaks of; NULL with a fault when it is none, or keep leaves it out. */
static struct output_column *column_for(struct maker *m, const struct node *node, const char *name)
{
	const struct rules *r = &m->file->rules;

	if (r->nfields && !rules_field(r, name, strlen(name))) {
		const char *names[RULES_COLUMNS_MAX], *nearest;

		for (size_t i = 0; i < r->nfields; i++)
			names[i] = r->fields[i].name ? r->fields[i].name : "";
		nearest = m->faults->n < RULES_GUESSES_MAX ? nearest_word(name, names, r->nfields)
							   : NULL;
		rules_fault(m->faults, node, NULL,
			    nearest ? "there is no column \"%.60s\"; did you mean \"%s\"?"
				    : "there is no column \"%.60s\"; name one of columns%.0s",
			    name, nearest ? nearest : "");
		return NULL;
	}
	for (size_t i = 0; m->s->nkeep && i < m->s->nkeep; i++) {
		if (m->s->keep[i] && !strcmp(m->s->keep[i], name))
			break;
		if (i + 1 == m->s->nkeep) {
			rules_fault(m->faults, node, NULL,
				    "\"%.60s\" is not kept; name it in keep too", name);
			return NULL;
		}
	}
	return column_of(m, name);
}

static const struct node *item_at(const struct node *list, size_t i)
{
	const struct node *n = list->kind == NODE_LIST ? list->first : list;

	while (n && n->next && i--)
		n = n->next;
	return n;
}

static void take_lists(struct maker *m)
{
	const struct node *keep = node_member(m->s->node, "keep"),
			  *drop = node_member(m->s->node, "drop");
	struct output_column *c;

	if (m->s->nkeep && m->s->ndrop)
		rules_fault(m->faults, drop, NULL, "stands beside keep; write one of them");
	for (size_t i = 0; i < m->s->nkeep; i++)
		if (m->s->keep[i])
			column_for(m, item_at(keep, i), m->s->keep[i]);
	for (size_t i = 0; !m->s->nkeep && i < m->s->ndrop; i++) {
		c = m->s->drop[i] ? column_for(m, item_at(drop, i), m->s->drop[i]) : NULL;
		if (c) {
			c->masked = true;
			c->mask = MASK_REMOVE;
		}
	}
}

static void take_cast(struct maker *m, const struct rules_pair *p)
{
	struct output_column *c = column_for(m, p->node, p->name);
	const char *nearest;

	for (int t = FIELD_STRING; c && t < FIELD_TYPES; t++)
		if (!strcmp(field_type_names[t], p->value)) {
			c->has_cast = true;
			c->cast = (enum field_type)t;
			return;
		}
	if (!c)
		return;
	nearest = nearest_word(p->value, field_type_names, FIELD_TYPES);
	rules_fault(
		m->faults, p->node, NULL,
		nearest ? "\"%.60s\" is not a type; did you mean \"%s\"?"
			: "\"%.60s\" is not a type; write one such as string, integer or date%.0s",
		p->value, nearest ? nearest : "");
}

static void take_mask(struct maker *m, const struct rules_pair *p)
{
	struct output_column *c = column_for(m, p->node, p->name);
	char *end;
	unsigned long keep;

	if (!c)
		return;
	c->masked = true;
	if (!strcmp(p->value, "hash")) {
		c->mask = MASK_HASH;
	} else if (!strcmp(p->value, "remove")) {
		c->mask = MASK_REMOVE;
	} else if (!strncmp(p->value, "truncate ", 9) && p->value[9] >= '0' && p->value[9] <= '9' &&
		   (keep = strtoul(p->value + 9, &end, 10)) <= 1000 && !*end) {
		c->mask = MASK_TRUNCATE;
		c->mask_keep = (uint32_t)keep;
	} else {
		rules_fault(m->faults, p->node, NULL,
			    "\"%.60s\" is not a mask; write hash, truncate N (such as truncate 1) "
			    "or remove",
			    p->value);
	}
}

static void take_derived(struct maker *m, const struct rules_pair *p)
{
	struct output_column *c;

	if (m->n == m->max)
		return;
	c = &m->columns[m->n++];
	*c = (struct output_column){ .name = p->name };
	c->expr = rules_expr(m->file, p->node, p->value, false, m->faults);
}

struct taken {
	const char *name;
	const struct node *node;
}; /* node: of the pair that gave the name, or NULL */

static int by_name(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;
	int d = strcmp(x->name, y->name);

	return d ? d : (x->node != NULL) - (y->node != NULL);
}

/* Where the name of an output's column was said, when it is not the file's own. */
static const struct node *said_by(const struct maker *m, const struct output_column *c)
{
	const struct rules_pair *pairs = c->from ? m->s->rename : m->s->derive;
	size_t n = c->from ? m->s->nrename : m->s->nderive;

	for (size_t i = 0; i < n; i++)
		if (!strcmp(pairs[i].name, c->from ? c->from : c->name))
			return pairs[i].node;
	return NULL;
}

/* The file's columns that stay as they are. */
static size_t add_untouched(const struct maker *m, struct taken *list, size_t n)
{
	const struct rules *r = &m->file->rules;
	bool touched[RULES_COLUMNS_MAX] = { false };

	for (size_t i = 0; i < m->n; i++) {
		const struct field *f = m->columns[i].from ? rules_field(r, m->columns[i].from,
									 strlen(m->columns[i].from))
							   : NULL;

		if (f)
			touched[f - r->fields] = true;
	}
	for (size_t i = 0; i < r->nfields; i++)
		if (r->fields[i].name && !touched[i])
			list[n++] = (struct taken){ r->fields[i].name, NULL };
	return n;
}

/* Names of the output differ. */
static void check_differ(struct maker *m)
{
	struct taken *list = calloc(m->n + m->file->rules.nfields + 1, sizeof(*list));
	size_t n = 0;

	if (!list) {
		m->faults->no_memory = true;
		return;
	}
	for (size_t i = 0; i < m->n; i++)
		if (!m->columns[i].masked || m->columns[i].mask != MASK_REMOVE)
			list[n++] =
				(struct taken){ m->columns[i].name, said_by(m, &m->columns[i]) };
	if (m->s->o.all_columns)
		n = add_untouched(m, list, n);
	qsort(list, n, sizeof(*list), by_name);
	for (size_t i = 1; i < n; i++)
		if (!strcmp(list[i].name, list[i - 1].name) && list[i].node)
			rules_fault(m->faults, list[i].node, NULL,
				    "\"%.60s\" is the name of another column of the output; choose "
				    "another",
				    list[i].name);
	free(list);
}

/* An output is an object's name below derived/FILE/. */
static void check_output_name(struct maker *m)
{
	const char *name = m->s->o.name, *value = name ? strstr(name, "{value}") : NULL;
	const struct node *n = node_member(m->s->node, "output");
	bool bad;

	if (!name)
		return;
	bad = *name == '.' || strchr(name, '/');
	for (const char *c = name; *c; c++)
		bad |= (unsigned char)*c < ' ' || *c == 0x7f;
	if (bad)
		rules_fault(m->faults, n, NULL,
			    "\"%.60s\" is not a file's name; write one such as orders.csv, without "
			    "\"/\" and not beginning with \".\"",
			    name);
	if (m->s->o.split && !value)
		rules_fault(m->faults, n, NULL,
			    "has no {value} although it is split; write one such as "
			    "orders-{value}.csv");
	if (!m->s->o.split && value)
		rules_fault(m->faults, n, NULL,
			    "has {value} but there is no split; add split: COLUMN or leave {value} "
			    "out");
	for (struct output_source *s = m->file->outputs; s < m->s; s++)
		if (s->o.name && !strcmp(s->o.name, name))
			rules_fault(m->faults, n, NULL,
				    "\"%.60s\" is the name of another output; each has its own",
				    name);
}

static void make_output(struct rules_file *file, struct output_source *s,
			struct rules_faults *faults)
{
	struct maker m = { .file = file, .s = s, .faults = faults };

	m.max = s->nkeep + s->ndrop + s->nrename + s->ncast + s->nmask + s->nderive;
	m.columns = rules_alloc(&file->arena, (m.max + 1) * sizeof(*m.columns));
	if (!m.columns) {
		faults->no_memory = true;
		return;
	}
	s->o.columns = m.columns;
	s->o.all_columns = !s->nkeep;
	take_lists(&m);
	for (size_t i = 0; i < s->nrename; i++) {
		struct output_column *c = column_for(&m, s->rename[i].node, s->rename[i].name);

		if (c)
			c->name = s->rename[i].value;
	}
	for (size_t i = 0; i < s->ncast; i++)
		take_cast(&m, &s->cast[i]);
	for (size_t i = 0; i < s->nmask; i++)
		take_mask(&m, &s->mask[i]);
	for (size_t i = 0; i < s->nderive; i++)
		take_derived(&m, &s->derive[i]);
	s->o.ncolumns = m.n;
	check_differ(&m);
	check_output_name(&m);
	if (s->o.split && file->rules.nfields &&
	    !rules_field(&file->rules, s->o.split, strlen(s->o.split)))
		rules_fault(faults, node_member(s->node, "split"), NULL,
			    "there is no column \"%.60s\"; name one of columns", s->o.split);
	if (s->o.filter_text)
		s->o.filter = rules_expr(file, node_member(s->node, "filter"), s->o.filter_text,
					 true, faults);
}

int rules_check_outputs(struct rules_file *file, struct rules_faults *faults)
{
	struct rules *r = &file->rules;

	r->outputs = rules_alloc(&file->arena, (file->noutputs + 1) * sizeof(*r->outputs));
	if (!r->outputs) {
		faults->no_memory = true;
		return -ENOMEM;
	}
	for (size_t i = 0; i < file->noutputs; i++) {
		if (!file->outputs[i].node)
			continue;
		make_output(file, &file->outputs[i], faults);
		r->outputs[r->noutputs++] = file->outputs[i].o;
	}
	return 0;
}
