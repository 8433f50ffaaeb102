/* SPDX-License-Identifier: Apache-2.0 */
/* stats_json.c -- a column's statistics as JSON (stats.h): numbers as numbers, dates and times as
 * text. */
#include <math.h>
#include <string.h>

#include "http/upload/stats_column.h"

#define BINS 20u
#define TOP  10u

static const struct {
	const char *name;
	double q;
} quantiles[] = { { "0.01", 0.01 }, { "0.05", 0.05 }, { "0.25", 0.25 }, { "0.5", 0.5 },
		  { "0.75", 0.75 }, { "0.95", 0.95 }, { "0.99", 0.99 } };

json_t *column_text(const char *text, size_t len, bool cut)
{
	char buf[ROWS_NAME_MAX + 8];
	json_t *out;

	if (len > ROWS_NAME_MAX)
		len = ROWS_NAME_MAX, cut = true;
	if (cut) /* no half of a character: its first byte is not 10xxxxxx */
		for (size_t back = 0; back < 4 && len > back; back++) {
			uint8_t lead = (uint8_t)text[len - 1 - back];

			if (lead < 0x80 || lead >= 0xc0) {
				size_t need = lead < 0x80   ? 1
					      : lead < 0xe0 ? 2
					      : lead < 0xf0 ? 3
							    : 4;

				len -= need > back + 1 ? back + 1 : 0;
				break;
			}
		}
	memcpy(buf, text, len);
	if (cut)
		memcpy(buf + len, "…", 3);
	out = json_stringn(buf, len + (cut ? 3 : 0));
	if (out)
		return out;
	for (size_t i = 0; i < len; i++)
		if ((uint8_t)buf[i] >= 0x80)
			buf[i] = '?';
	return json_stringn(buf, len);
}

json_t *column_value(const struct column *c, double x)
{
	struct value v = { .type = c->type, .d = x };
	char buf[64];
	size_t len;

	if (!isfinite(x))
		return json_null();
	if (c->type == FIELD_NUMBER)
		return json_real(x);
	v.i = fabs(x) < 0x1p63 ? (int64_t)x : x < 0 ? INT64_MIN : INT64_MAX;
	if (c->type == FIELD_INTEGER || c->type == FIELD_YEAR)
		return json_integer(v.i);
	len = value_format(buf, sizeof(buf), &v);
	return column_text(buf, len < sizeof(buf) ? len : 0, false);
}

static double edge(const struct column *c, bool greatest)
{
	if (c->type == FIELD_NUMBER)
		return greatest ? c->dmax : c->dmin;
	return (double)(greatest ? c->imax : c->imin);
}

/* Equal widths from the least to the greatest; counts are differences of rounded cumulative ones:
 * they sum up. */
static json_t *histogram(const struct column *c, const struct kll_view *v)
{
	json_t *out = json_array();
	double lo = edge(c, false), hi = edge(c, true),
	       n = (double)(c->moments.n + c->moments.block);
	unsigned int bins = hi > lo && isfinite(hi - lo) ? BINS : 1;
	double before = 0;

	for (unsigned int i = 0; i < bins; i++) {
		double from = lo + (hi - lo) * i / bins, to = lo + (hi - lo) * (i + 1) / bins;
		/* a value on a border belongs to the bin that it begins, but the last bin has both
		 * its ends */
		double upto = i + 1 == bins ? n : round(kll_rank(v, nextafter(to, -INFINITY)) * n);
		json_t *f = c->type == FIELD_INTEGER ? json_real(from) : column_value(c, from);
		json_t *t = c->type == FIELD_INTEGER ? json_real(to) : column_value(c, to);

		json_array_append_new(out, json_pack("{s:o, s:o, s:I}", "from", f, "to", t, "count",
						     (json_int_t)(upto - before)));
		before = upto;
	}
	return out;
}

static void put_quantiles(json_t *out, const struct column *c)
{
	json_t *q = json_object();
	struct kll_view v;

	if (column_quantiles(&v, c) < 0) {
		json_decref(q);
		return;
	}
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++)
		json_object_set_new(q, quantiles[i].name,
				    column_value(c, kll_quantile(&v, quantiles[i].q)));
	json_object_set_new(out, "quantiles", q);
	if (!c->by_value && (v.n > 2 * c->kll.run || c->kll.shift))
		json_object_set_new(out, "quantile_error", json_real(kll_error(c->kll.run)));
	json_object_set_new(out, "histogram", histogram(c, &v));
	kll_view_fini(&v);
}

static void put_numbers(json_t *out, struct column *c)
{
	double stddev = moments_stddev(&c->moments);

	if (c->type == FIELD_INTEGER || c->type == FIELD_YEAR) {
		json_object_set_new(out, "min", json_integer(c->imin));
		json_object_set_new(out, "max", json_integer(c->imax));
	} else {
		json_object_set_new(out, "min", column_value(c, edge(c, false)));
		json_object_set_new(out, "max", column_value(c, edge(c, true)));
	}
	if (c->type == FIELD_INTEGER || c->type == FIELD_NUMBER || c->type == FIELD_YEAR) {
		if (isfinite(c->moments.mean))
			json_object_set_new(out, "mean", json_real(c->moments.mean));
		if (isfinite(stddev))
			json_object_set_new(out, "stddev", json_real(stddev));
	}
	put_quantiles(out, c);
}

static void put_text(json_t *out, const struct column *c)
{
	const struct edge_text *a = &c->least, *z = &c->greatest;

	if (!c->count)
		return;
	json_object_set_new(out, "min", column_text(a->text, a->len, a->cut));
	json_object_set_new(out, "max", column_text(z->text, z->len, z->cut));
	json_object_set_new(out, "min_length", json_integer(c->min_length));
	json_object_set_new(out, "max_length", json_integer(c->max_length));
}

/* Values whose count is mostly inherited from others say nothing and are left out. */
static void put_top(json_t *out, const struct column *c)
{
	const struct top_entry *list[TOP];
	size_t n = top_list(&c->top, list, TOP);
	json_t *top = json_array();

	for (size_t i = 0; i < n; i++) {
		const struct top_entry *e = list[i];
		json_t *one;

		if (!c->top.exact && (e->count < 2 * e->error || e->count < e->error + 8))
			continue;
		one = json_pack("{s:o, s:I}", "value", column_text(e->text, e->len, e->cut),
				"count", (json_int_t)e->count);
		if (e->error) /* it may be as much too high */
			json_object_set_new(one, "at_most", json_true());
		json_array_append_new(top, one);
	}
	json_object_set_new(out, "top", top);
	if (!c->top.exact)
		json_object_set_new(out, "top_sampled", json_true());
}

static void put_distinct(json_t *out, struct column *c)
{
	double d;

	if (c->top.exact) {
		json_object_set_new(out, "distinct", json_integer(c->top.n));
		return;
	}
	d = hll_estimate(&c->hll);
	d = d < (double)c->count ? d : (double)c->count;
	json_object_set_new(out, "distinct", json_integer((json_int_t)llround(d)));
	json_object_set_new(out, "distinct_error", json_real(hll_error(c->hll.bits)));
}

json_t *column_json(struct column *c, uint64_t rows)
{
	enum field_type type = c->type == FIELD_ANY ? FIELD_STRING : c->type;
	json_t *out =
		json_pack("{s:o, s:s, s:I, s:I}", "name", column_text(c->name, c->name_len, false),
			  "type", field_type_names[type], "count", (json_int_t)c->count, "nulls",
			  (json_int_t)(rows - c->count));

	if (!out)
		return NULL;
	if (c->invalid)
		json_object_set_new(out, "invalid", json_integer((json_int_t)c->invalid));
	put_distinct(out, c);
	if (c->small)
		json_object_set_new(out, "sketch", json_string("small"));
	if (c->personal) {
		json_object_set_new(out, "personal", json_true());
		return out;
	}
	if (c->numeric && c->some)
		put_numbers(out, c);
	else if (c->type == FIELD_STRING || !c->numeric)
		put_text(out, c);
	put_top(out, c);
	return out;
}
