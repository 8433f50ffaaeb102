/* SPDX-License-Identifier: Apache-2.0 */
/* transform.c -- rows into the files of outputs; the public part of transform.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "http/upload/missing.h"
#include "http/upload/transform_parts.h"

int transform_new(struct transform **out, const struct rules *rules,
		  const struct transform_files *files)
{
	struct transform *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->rules = rules;
	t->longest_missing = missing_longest(rules);
	mask_init(&t->mask, rules->mask_salt, strlen(rules->mask_salt));
	t->plans = calloc(rules->noutputs + 1, sizeof(*t->plans));
	t->files = *files;
	t->packer.files = &t->files;
	if (!t->plans) {
		free(t);
		return -ENOMEM;
	}
	t->nplans = rules->noutputs;
	for (size_t i = 0; i < t->nplans; i++)
		t->plans[i].output = &rules->outputs[i];
	*out = t;
	return 0;
}

void transform_typed(struct transform *t, bool typed)
{
	t->typed = typed;
}

static int keep_names(struct transform *t, const struct cell *names, uint32_t n)
{
	char **more = realloc(t->names, (n + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	t->names = more;
	for (; t->nnames < n; t->nnames++) {
		t->names[t->nnames] = strndup(names[t->nnames].text, names[t->nnames].len);
		if (!t->names[t->nnames])
			return -ENOMEM;
	}
	free(t->fields), free(t->values), free(t->parsed), free(t->cells);
	t->fields = calloc(n + 1, sizeof(*t->fields));
	t->values = calloc(n + 1, sizeof(*t->values));
	t->parsed = calloc(n + 1, sizeof(*t->parsed));
	t->cells = calloc(n + 1, sizeof(*t->cells));
	if (!t->fields || !t->values || !t->parsed || !t->cells)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		t->fields[i] = rules_field(t->rules, t->names[i], strlen(t->names[i]));
	return 0;
}

/* Room for the widest output and the expression with the most columns. */
static int make_room(struct transform *t)
{
	size_t wide = 1, uses = 1;

	for (size_t i = 0; i < t->nplans; i++) {
		const struct plan *p = &t->plans[i];

		wide = p->n > wide ? p->n : wide;
		uses = p->filter.n > uses ? p->filter.n : uses;
		for (size_t k = 0; k < p->n; k++)
			uses = p->columns[k].uses.n > uses ? p->columns[k].uses.n : uses;
	}
	free(t->out_cells), free(t->used);
	t->out_cells = calloc(wide, sizeof(*t->out_cells));
	t->used = calloc(uses, sizeof(*t->used));
	return t->out_cells && t->used ? 0 : -ENOMEM;
}

static bool masks_by_hash(const struct plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->columns[i].declared && p->columns[i].declared->masked &&
		    p->columns[i].declared->mask == MASK_HASH)
			return true;
	return false;
}

int transform_names(struct transform *t, const struct cell *names, uint32_t n)
{
	int r = keep_names(t, names, n);

	for (size_t i = 0; i < t->nplans && !r; i++) {
		r = plan_make(t, &t->plans[i]);
		if (!r && !*t->rules->mask_salt && masks_by_hash(&t->plans[i])) {
			snprintf(t->why, sizeof(t->why),
				 "output \"%.60s\" masks by hash, but the dataset has no mask_salt",
				 t->plans[i].output->name);
			r = -EINVAL;
		}
	}
	return r ? r : make_room(t);
}

/* ---- files of an output ---- */

static int put_names(struct transform *t, struct plan *p, struct out_file *f)
{
	struct cell *cells;
	struct row row = { .ncells = (uint32_t)p->n };
	int r;

	(void)t;
	if (p->output->format != OUTPUT_CSV || !p->n)
		return 0;
	cells = calloc(p->n, sizeof(*cells));
	if (!cells)
		return -ENOMEM;
	for (size_t i = 0; i < p->n; i++)
		cells[i] = (struct cell){ .text = p->columns[i].name,
					  .len = (uint32_t)strlen(p->columns[i].name) };
	row.cells = cells;
	r = csv_out_row(&f->text, &row, true);
	free(cells);
	return r;
}

static int open_file(struct transform *t, struct plan *p, char *name, uint64_t value,
		     struct out_file **out)
{
	struct out_file **more = realloc(p->files, (p->nfiles + 1) * sizeof(*more));
	struct out_file *f = calloc(1, sizeof(*f));
	int r;

	if (more)
		p->files = more;
	if (!more || !f || !name) {
		free(f);
		free(name);
		return -ENOMEM;
	}
	r = out_file_open(f, &t->packer, p->output, name);
	if (!r)
		r = put_names(t, p, f);
	if (r < 0) {
		out_file_free(f);
		return r;
	}
	f->value = value;
	/* a little less than what the buffer grows to: many files, small ones */
	if (p->output->split)
		f->limit = t->nfiles < 64 ? 60 * 1024 : 14 * 1024;
	t->nfiles++;
	p->files[p->nfiles++] = *out = f;
	return 0;
}

static bool name_taken(const struct plan *p, const char *name)
{
	for (size_t i = 0; i < p->nfiles; i++)
		if (!strcmp(p->files[i]->name, name))
			return true;
	return false;
}

static int open_value(struct transform *t, struct plan *p, const char *value, size_t len,
		      uint64_t hash, struct out_file **out)
{
	char *name = out_file_name(p->output, value, len, 0);

	if (name && name_taken(p, name)) {
		free(name);
		name = out_file_name(p->output, value, len, hash | 1);
	}
	return open_file(t, p, name, hash, out);
}

/* The file of the row: by the value of the split's column; when 256 values have one (512 of all
 * outputs), the rest share "other". */
static int file_of(struct transform *t, struct plan *p, struct out_file **out)
{
	const struct cell none = { .text = "", .null = true };
	const struct cell *c =
		p->split == SOURCE_NONE || !p->output->split ? &none : &t->cells[p->split];
	uint32_t len = c->null ? 0 : c->len, slot;
	uint64_t hash = p->output->split ? XXH3_64bits(c->text, len) : 0;
	int r;

	for (slot = hash % (2 * TRANSFORM_VALUES_MAX); p->index[slot];
	     slot = (slot + 1) % (2 * TRANSFORM_VALUES_MAX))
		if (p->files[p->index[slot] - 1]->value == hash) {
			*out = p->files[p->index[slot] - 1];
			return 0;
		}
	if (p->nfiles < TRANSFORM_VALUES_MAX && t->nfiles < TRANSFORM_FILES_MAX) {
		r = open_value(t, p, c->text, len, hash, out);
		p->index[slot] = (uint16_t)p->nfiles;
		return r;
	}
	r = p->other ? 0 : open_value(t, p, "other", 5, XXH3_64bits("other", 5), &p->other);
	*out = p->other;
	return r;
}

/* ---- rows ---- */

static int put_json(const struct plan *p, struct out_file *f, const struct cell *cells)
{
	size_t begin = f->text.len;
	int r = csv_out_put(&f->text, "{", 1);

	for (size_t i = 0; i < p->n && !r; i++) {
		const struct plan_column *c = &p->columns[i];

		r = csv_out_put(&f->text, c->key.data, c->key.len);
		if (!r)
			r = json_out_cell(&f->text, c->type, c->source_field, &cells[i]);
	}
	if (!r)
		r = csv_out_put(&f->text, "}\n", 2);
	if (r)
		f->text.len = begin;
	return r;
}

static int put_row(struct transform *t, struct plan *p)
{
	struct out_file *f;
	struct value v;
	int r;

	if (p->output->filter) { /* null is no reason to let a row pass */
		r = cell_evaluate(t, p->output->filter, &p->filter, &v);
		p->failed += r < 0;
		if (r < 0 || v.type == FIELD_ANY || !(v.type == FIELD_NUMBER ? v.d != 0 : v.i != 0))
			return 0;
	}
	r = file_of(t, p, &f);
	if (!r)
		r = cells_make(t, p);
	if (r < 0)
		return r;
	if (p->output->format == OUTPUT_JSONL) {
		r = put_json(p, f, t->out_cells);
	} else {
		const struct row out = { .cells = t->out_cells, .ncells = (uint32_t)p->n };

		r = csv_out_row(&f->text, &out, true);
	}
	f->rows++;
	return r || f->text.len < f->limit
		       ? r
		       : out_file_flush(f, &t->packer, p->output->packing, false);
}

int transform_row(struct transform *t, const struct row *row)
{
	int r = 0;

	t->serial++;
	t->given = row->ncells == t->nnames ? row->values : NULL;
	for (uint32_t i = 0; i < t->nnames; i++) {
		t->cells[i] =
			i < row->ncells ? row->cells[i] : (struct cell){ .text = "", .null = true };
		if (missing_value(t->rules, t->longest_missing, &t->cells[i]))
			t->cells[i] = (struct cell){ .text = "", .null = true };
	}
	for (size_t i = 0; i < t->nplans && !r; i++)
		r = put_row(t, &t->plans[i]);
	return r;
}

int transform_end(struct transform *t)
{
	int r = 0;

	for (size_t i = 0; i < t->nplans && !r; i++) {
		struct plan *p = &t->plans[i];
		struct out_file *f;

		if (!p->nfiles && !p->output->split) /* no rows: a file that says so */
			r = file_of(t, p, &f);
		for (size_t k = 0; k < p->nfiles && !r; k++)
			r = out_file_flush(p->files[k], &t->packer, p->output->packing, true);
	}
	return r;
}

const char *transform_why(const struct transform *t)
{
	return t->why;
}

void transform_free(struct transform *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->nplans; i++) {
		for (size_t k = 0; k < t->plans[i].nfiles; k++)
			out_file_free(t->plans[i].files[k]);
		free(t->plans[i].files);
		plan_forget(&t->plans[i]);
	}
	for (uint32_t i = 0; i < t->nnames; i++)
		free(t->names[i]);
	free(t->names), free(t->fields), free(t->values), free(t->parsed), free(t->cells);
	free(t->out_cells), free(t->used), free(t->scratch.data), free(t->plans);
	ZSTD_freeCCtx(t->packer.zstd);
	free(t->packer.buf);
	explicit_bzero(&t->mask, sizeof(t->mask));
	free(t);
}
