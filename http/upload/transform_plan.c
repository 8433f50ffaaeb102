/* SPDX-License-Identifier: Apache-2.0 */
/* transform_plan.c -- which columns an output has for a file with these names, and where each comes
 * from. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/transform_parts.h"

/* A column of the file; one that the rules know may be absent from it, and is null then. */
static int source_of(struct transform *t, const struct plan *p, const char *name, uint32_t *out)
{
	*out = SOURCE_NONE;
	for (uint32_t i = 0; i < t->nnames; i++)
		if (!strcmp(t->names[i], name)) {
			*out = i;
			return 0;
		}
	if (rules_field(t->rules, name, strlen(name)))
		return 0;
	snprintf(t->why, sizeof(t->why), "output \"%.60s\": there is no column \"%.60s\"",
		 p->output->name, name);
	return -EINVAL;
}

static int uses_of(struct transform *t, const struct plan *p, const struct expr *e,
		   struct uses *out)
{
	const char *const *names;
	size_t n = expr_columns(e, &names);
	int r = 0;

	out->at = calloc(n + 1, sizeof(*out->at));
	if (!out->at)
		return -ENOMEM;
	out->n = n;
	for (size_t i = 0; i < n && !r; i++)
		r = source_of(t, p, names[i], &out->at[i]);
	return r;
}

static bool leaves_out(const struct output_column *c)
{
	return c && c->masked && c->mask == MASK_REMOVE;
}

/* declared NULL: the file's column `source` as it is. */
static int add(struct transform *t, struct plan *p, const struct output_column *declared,
	       uint32_t source)
{
	struct plan_column *c = &p->columns[p->n];
	int r = 0;

	if (leaves_out(declared))
		return 0;
	memset(c, 0, sizeof(*c));
	p->n++;
	c->declared = declared;
	c->from = declared ? declared->from : t->names[source];
	c->name = declared ? declared->name : c->from;
	c->source = source;
	if (c->from && declared)
		r = source_of(t, p, c->from, &c->source);
	if (!c->from)
		r = uses_of(t, p, declared->expr, &c->uses);
	c->field = c->from ? rules_field(t->rules, c->from, strlen(c->from)) : NULL;
	c->type = declared && declared->has_cast ? declared->cast
		  : c->field			 ? c->field->type
						 : FIELD_ANY;
	if ((declared && declared->masked) || (c->type == FIELD_ANY && c->from && !t->typed))
		c->type = FIELD_STRING;
	c->source_field = declared && declared->has_cast ? NULL : c->field;
	if (!r && p->n > 1)
		r = csv_out_put(&c->key, ",", 1);
	if (!r)
		r = json_out_string(&c->key, c->name, strlen(c->name));
	return r ? r : csv_out_put(&c->key, ":", 1);
}

/* The file's columns in its order, each as it is or as what the output makes of it; then those of
 * columns that the file does not have, and the derived ones. */
static int add_all(struct transform *t, struct plan *p)
{
	const struct output *o = p->output;
	int r = 0;

	for (uint32_t i = 0; i < p->known && !r; i++) {
		bool named = false;

		for (size_t k = 0; k < o->ncolumns && !r; k++)
			if (o->columns[k].from && !strcmp(o->columns[k].from, t->names[i])) {
				named = true;
				r = add(t, p, &o->columns[k], i);
			}
		if (!named)
			r = add(t, p, NULL, i);
	}
	for (size_t k = 0; k < o->ncolumns && !r; k++) {
		bool known = false;

		for (uint32_t i = 0; o->columns[k].from && i < p->known; i++)
			known |= !strcmp(o->columns[k].from, t->names[i]);
		if (!known)
			r = add(t, p, &o->columns[k], SOURCE_NONE);
	}
	return r;
}

int plan_make(struct transform *t, struct plan *p)
{
	const struct output *o = p->output;
	int r = 0;

	plan_forget(p);
	if (!p->nfiles ||
	    o->format == OUTPUT_JSONL) /* a CSV file whose header is written keeps its columns */
		p->known = t->nnames;
	p->columns = calloc(p->known * (o->ncolumns + 1) + o->ncolumns + 1, sizeof(*p->columns));
	if (!p->columns)
		return -ENOMEM;
	if (o->filter)
		r = uses_of(t, p, o->filter, &p->filter);
	if (!r && o->split)
		r = source_of(t, p, o->split, &p->split);
	if (!r && o->all_columns)
		return add_all(t, p);
	for (size_t k = 0; k < o->ncolumns && !r; k++)
		r = add(t, p, &o->columns[k], SOURCE_NONE);
	return r;
}

void plan_forget(struct plan *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->columns[i].uses.at);
		free(p->columns[i].key.data);
	}
	free(p->columns);
	free(p->filter.at);
	p->columns = NULL;
	p->filter = (struct uses){ NULL, 0 };
	p->n = 0;
}
