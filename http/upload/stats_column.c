/* SPDX-License-Identifier: Apache-2.0 */
/* stats_column.c -- one cell more in a column (stats_column.h): the inner loop of statistics. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/number.h"
#include "http/upload/stats_column.h"

/* Fields as inference sees them. */
static const struct field plain_fields[FIELD_TYPES] = {
	[FIELD_INTEGER] = { .type = FIELD_INTEGER, .decimal = '.' },
	[FIELD_NUMBER] = { .type = FIELD_NUMBER, .decimal = '.' },
	[FIELD_BOOLEAN] = { .type = FIELD_BOOLEAN, .decimal = '.' },
	[FIELD_DATE] = { .type = FIELD_DATE, .decimal = '.' },
	[FIELD_TIME] = { .type = FIELD_TIME, .decimal = '.' },
	[FIELD_DATETIME] = { .type = FIELD_DATETIME, .decimal = '.' },
};

static bool type_numeric(enum field_type type)
{
	return type == FIELD_INTEGER || type == FIELD_NUMBER || type == FIELD_DATE ||
	       type == FIELD_TIME || type == FIELD_DATETIME || type == FIELD_YEAR ||
	       type == FIELD_YEARMONTH || type == FIELD_DURATION;
}

static bool type_moment(enum field_type type)
{
	return type == FIELD_DATE || type == FIELD_TIME || type == FIELD_DATETIME;
}

int column_init(struct column *c, const char *name, size_t len, const struct field *field,
		bool small)
{
	memset(c, 0, sizeof(*c));
	c->name = strndup(name, len);
	c->name_len = c->name ? strlen(c->name) : 0;
	c->field = field;
	c->declared = field && field->type != FIELD_ANY;
	c->type = c->declared ? field->type : FIELD_ANY;
	c->numeric = type_numeric(c->type);
	c->plain = !field ||
		   ((!field->decimal || field->decimal == '.') && field->format == FORMAT_NONE);
	c->personal = field && field->personal;
	/* of numbers and of what is personal no text is shown */
	c->texts = !c->personal && !(c->declared && c->numeric);
	c->by_value = true;
	c->small = small;
	c->min_length = UINT32_MAX;
	kll_init(&c->kll, small ? STATS_KLL_SMALL : STATS_KLL_RUN, 1);
	if (!c->name || top_init(&c->top, small ? STATS_TOP_SMALL : STATS_TOP) < 0) {
		column_fini(c);
		return -ENOMEM;
	}
	return 0;
}

void column_fini(struct column *c)
{
	free(c->name);
	c->name = NULL;
	top_fini(&c->top);
	hll_fini(&c->hll);
	kll_fini(&c->kll);
}

void moments_fold(struct moments *m)
{
	double n = m->block, mean, m2, delta, all;

	if (!m->block)
		return;
	mean = m->shift + m->sum / n;
	m2 = m->squares - m->sum * m->sum / n;
	delta = mean - m->mean;
	all = (double)m->n + n;
	m->m2 += (m2 > 0 ? m2 : 0) + delta * delta * ((double)m->n / all) * n;
	m->mean += delta * (n / all);
	m->n += m->block;
	m->block = 0;
	m->sum = m->squares = 0;
	m->shift = m->mean;
}

double moments_stddev(struct moments *m)
{
	moments_fold(m);
	return m->n > 1 ? sqrt(m->m2 / (double)(m->n - 1)) : NAN;
}

static inline int add_number(struct column *c, double x)
{
	struct moments *m = &c->moments;
	double d;

	if (!m->block && !m->n)
		m->shift = x;
	d = x - m->shift;
	m->sum += d;
	m->squares += d * d;
	if (++m->block == MOMENTS_BLOCK)
		moments_fold(m);
	return kll_add(&c->kll, x);
}

static inline int add_integer(struct column *c, int64_t i)
{
	if (i < c->imin || !c->some)
		c->imin = i;
	if (i > c->imax || !c->some)
		c->imax = i;
	c->some = true;
	return add_number(c, (double)i);
}

static inline int add_decimal(struct column *c, double x)
{
	if (x < c->dmin || !c->some)
		c->dmin = x;
	if (x > c->dmax || !c->some)
		c->dmax = x;
	c->some = true;
	return add_number(c, x);
}

/* The narrowest type that holds both. */
static enum field_type widen(enum field_type a, enum field_type b)
{
	if (a == b || a == FIELD_ANY)
		return b;
	if ((a == FIELD_INTEGER && b == FIELD_NUMBER) || (a == FIELD_NUMBER && b == FIELD_INTEGER))
		return FIELD_NUMBER;
	return FIELD_STRING;
}

static void become(struct column *c, enum field_type type)
{
	if (type == c->type)
		return;
	if (c->type == FIELD_INTEGER && type == FIELD_NUMBER) {
		c->dmin = (double)c->imin;
		c->dmax = (double)c->imax;
	}
	c->type = type;
	c->numeric = type_numeric(type);
	if (!c->numeric)
		kll_fini(&c->kll);
}

/* What the column is with this value too; only of columns that no field declares. */
static void infer(struct column *c, const char *text, size_t len, struct value *v)
{
	enum field_type guess;
	int r;

	if (type_moment(c->type) && !value_parse(v, &plain_fields[c->type], text, len))
		return;
	guess = value_guess(text, len);
	r = guess == FIELD_STRING ? 0 : value_parse(v, &plain_fields[guess], text, len);
	if (r == -ERANGE && guess == FIELD_INTEGER) { /* beyond 64 bits: a number */
		guess = FIELD_NUMBER;
		r = value_parse(v, &plain_fields[guess], text, len);
	}
	if (r < 0 || (guess == FIELD_NUMBER && !isfinite(v->d) && c->type != FIELD_NUMBER))
		guess = FIELD_STRING;
	become(c, widen(c->type, guess));
}

static int add_value(struct column *c, const struct value *v)
{
	if (!c->numeric)
		return 0;
	if (c->type != FIELD_NUMBER)
		return add_integer(c, v->i);
	return isfinite(v->d) ? add_decimal(c, v->d) : 0;
}

/* What the fast paths did not take. */
static __attribute__((noinline)) int add_slowly(struct column *c, const char *text, size_t len)
{
	struct value v;

	if (!c->declared) {
		infer(c, text, len, &v);
	} else if (value_parse(&v, c->field, text, len) < 0) {
		c->invalid++;
		return 0;
	}
	return add_value(c, &v);
}

static void keep_edge(struct edge_text *e, uint64_t prefix, const char *text, size_t len)
{
	e->set = true;
	e->prefix = prefix;
	e->cut = len > STATS_TEXT;
	e->len = (uint8_t)(e->cut ? STATS_TEXT : len);
	memcpy(e->text, text, e->len);
}

static int edge_order(const struct edge_text *e, const char *text, size_t len)
{
	size_t n = len < STATS_TEXT ? len : STATS_TEXT;
	int order = memcmp(text, e->text, n < e->len ? n : e->len);

	return order ? order : (n > e->len) - (n < e->len);
}

static inline void add_edges(struct column *c, uint64_t word, const char *text, size_t len)
{
	uint64_t prefix = __builtin_bswap64(word);

	if (__builtin_expect(prefix <= c->least.prefix, 0) || !c->least.set)
		if (!c->least.set || edge_order(&c->least, text, len) < 0)
			keep_edge(&c->least, prefix, text, len);
	if (__builtin_expect(prefix >= c->greatest.prefix, 0) || !c->greatest.set)
		if (!c->greatest.set || edge_order(&c->greatest, text, len) > 0)
			keep_edge(&c->greatest, prefix, text, len);
}

/* Of a text that is not ASCII alone: bytes that do not go on with a character (10xxxxxx). */
static __attribute__((noinline)) uint32_t characters(const char *text, size_t len)
{
	uint32_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((uint8_t)text[i] & 0xc0) != 0x80;
	return n;
}

static inline uint32_t length_of(uint64_t word, const char *text, size_t len)
{
	for (size_t i = 8; i < len; i += 8)
		word |= number_word(text + i, len - i);
	return word & NUMBER_BYTES(0x80) ? characters(text, len) : (uint32_t)len;
}

static inline void add_text(struct column *c, uint64_t word, const char *text, size_t len)
{
	uint32_t length = length_of(word, text, len);

	add_edges(c, word, text, len);
	c->min_length = length < c->min_length ? length : c->min_length;
	c->max_length = length > c->max_length ? length : c->max_length;
}

/* The value as a number, date or time. given: it was parsed already, or NULL. */
static inline int add_parsed(struct column *c, uint64_t word, const char *text, size_t len,
			     const struct value *given)
{
	int64_t i;
	double d;

	if (c->type == FIELD_STRING)
		return 0;
	if (given && given->type == c->type && c->declared)
		return add_value(c, given);
	if (c->type == FIELD_INTEGER && c->plain && number_integer(text, len, word, &i))
		return add_integer(c, i);
	if (c->type == FIELD_NUMBER && c->plain) {
		if (number_decimal(text, len, word, &d))
			return add_decimal(c, d);
		if (number_integer(text, len, word, &i))
			return add_decimal(c, (double)i);
	}
	return add_slowly(c, text, len);
}

/* All places of the top list are taken: from here on registers count what is distinct. */
static int count_by_registers(struct column *c)
{
	int r = hll_init(&c->hll, c->small ? STATS_HLL_SMALL : STATS_HLL_BITS);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < c->top.n; i++)
		hll_add(&c->hll, c->top.entries[i].hash);
	hll_known(&c->hll, c->top.n);
	return 0;
}

/* From here on each value is taken by itself. */
static int take_one_by_one(struct column *c)
{
	c->by_value = false;
	return column_settle(c, true);
}

/* A value that the top list does not have, and wants. */
static __attribute__((noinline)) int add_new(struct column *c, uint64_t hash, const char *text,
					     size_t len)
{
	struct value v;
	int r = 0;

	if (c->by_value) {
		if (!c->declared)
			infer(c, text, len, &v);
		/* its text could not be parsed later */
		if (len > TOP_TEXT && c->type != FIELD_STRING)
			r = take_one_by_one(c);
	}
	if (r || !top_miss(&c->top, hash, text, len))
		return r;
	r = count_by_registers(c);
	return r || !c->by_value ? r : take_one_by_one(c);
}

int column_add(struct column *c, uint64_t hash, const char *text, size_t len, const struct value *given)
{
	uint64_t word;
	struct top_entry *place = top_find(&c->top, hash);

	c->count++;
	if (place) {
		place->count++;
		if (c->by_value)
			return 0;
		word = number_word(text, len);
		return add_parsed(c, word, text, len, given);
	}
	if (top_wants(&c->top) && add_new(c, hash, text, len) < 0)
		return -ENOMEM;
	if (!c->top.exact)
		hll_add(&c->hll, hash);
	word = number_word(text, len);
	if (c->texts)
		add_text(c, word, text, len);
	return c->by_value ? 0 : add_parsed(c, word, text, len, given);
}

/* ---- by the list of values -------------------------------------------------------------------- */

/* x of a value as the column's type has it; false: it is none. */
static bool entry_number(const struct column *c, const struct top_entry *e, struct value *v)
{
	const struct field *field = c->declared ? c->field : &plain_fields[c->type];

	if (value_parse(v, field, e->text, e->len) < 0) {
		v->type = FIELD_ANY;
		return false;
	}
	if (c->type != FIELD_NUMBER)
		v->d = (double)v->i;
	return c->numeric && isfinite(v->d);
}

static int settle_one(struct column *c, const struct top_entry *e, bool sketch)
{
	struct moments *m = &c->moments;
	double w = (double)e->count, delta;
	struct value v;

	if (!entry_number(c, e, &v)) {
		c->invalid += v.type == FIELD_ANY && c->declared ? e->count : 0;
		return 0;
	}
	c->imin = !c->some || v.i < c->imin ? v.i : c->imin;
	c->imax = !c->some || v.i > c->imax ? v.i : c->imax;
	c->dmin = !c->some || v.d < c->dmin ? v.d : c->dmin;
	c->dmax = !c->some || v.d > c->dmax ? v.d : c->dmax;
	c->some = true;
	delta = v.d - m->mean; /* West 1979 */
	m->n += e->count;
	m->mean += delta * (w / (double)m->n);
	m->m2 += w * delta * (v.d - m->mean);
	m->shift = m->mean;
	return sketch ? kll_add_many(&c->kll, v.d, e->count) : 0;
}

int column_settle(struct column *c, bool sketch)
{
	int r = 0;

	c->some = false;
	c->invalid = 0;
	c->moments = (struct moments){ 0 };
	for (uint32_t i = 0; i < c->top.n && !r && c->type != FIELD_STRING; i++)
		r = settle_one(c, &c->top.entries[i], sketch);
	return r;
}

int column_quantiles(struct kll_view *v, const struct column *c)
{
	struct value value;
	int r;

	if (!c->by_value)
		return kll_view(v, &c->kll);
	r = kll_view_new(v, c->top.n);
	for (uint32_t i = 0; i < c->top.n && !r; i++)
		if (entry_number(c, &c->top.entries[i], &value))
			v->items[v->n++] = (struct kll_item){ value.d, c->top.entries[i].count };
	return r ? r : kll_view_sort(v);
}
