/* SPDX-License-Identifier: Apache-2.0 */
/* transform_lineage.c -- what was made of what: one entry a file. */

#include "http/upload/transform_parts.h"

static json_t *text(const char *s)
{
	json_t *j = json_string(s);

	return j ? j : json_string("?");
}

static json_t *columns_of(const struct plan *p)
{
	static const char *const masks[] = { "hash", "truncate", "remove" };
	json_t *out = json_array();

	for (size_t i = 0; i < p->n; i++) {
		const struct plan_column *c = &p->columns[i];
		json_t *one = json_object();

		json_object_set_new(one, "name", text(c->name));
		if (c->from)
			json_object_set_new(one, "from", text(c->from));
		else
			json_object_set_new(one, "derived", json_true());
		if (c->declared && c->declared->has_cast)
			json_object_set_new(one, "cast",
					    json_string(field_type_names[c->declared->cast]));
		if (c->declared && c->declared->masked)
			json_object_set_new(one, "mask", json_string(masks[c->declared->mask]));
		json_array_append_new(out, one);
	}
	return out;
}

static json_t *file_of(const struct plan *p, const struct out_file *f)
{
	static const char *const packings[] = { "none", "gzip", "zstd" };
	const struct output *o = p->output;
	json_t *out =
		json_pack("{s:o, s:o, s:I, s:I, s:s, s:s, s:o}", "output", text(o->name), "name",
			  text(f->name), "rows", (json_int_t)f->rows, "bytes", (json_int_t)f->bytes,
			  "format", o->format == OUTPUT_JSONL ? "jsonl" : "csv", "packing",
			  packings[o->packing], "columns", columns_of(p));

	if (out && o->filter_text)
		json_object_set_new(out, "filter", text(o->filter_text));
	if (out && o->split)
		json_object_set_new(out, "split", text(o->split));
	if (out && p->failed)
		json_object_set_new(out, "failed", json_integer((json_int_t)p->failed));
	return out;
}

json_t *transform_lineage(const struct transform *t)
{
	json_t *out = json_array();

	for (size_t i = 0; i < t->nplans; i++)
		for (size_t k = 0; k < t->plans[i].nfiles; k++)
			json_array_append_new(out, file_of(&t->plans[i], t->plans[i].files[k]));
	return out;
}
