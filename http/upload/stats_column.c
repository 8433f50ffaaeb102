/* SPDX-License-Identifier: Apache-2.0 */
/* stats_column.c -- one cell more in a column (stats_column.h): the inner loop of statistics. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

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

/* What the fast paths did not take. */
static __attribute__((noinline)) int add_slowly(struct column *c, const char *text, size_t len)
{
	const struct field *field = c->field;
	struct value v;
	int r;

	if (!c->declared && type_moment(c->type) &&
	    !value_parse(&v, &plain_fields[c->type], text, len))
		return add_integer(c, v.i);
	if (!c->declared) {
		enum field_type guess = value_guess(text, len);

		field = &plain_fields[guess];
		r = guess == FIELD_STRING ? 0 : value_parse(&v, field, text, len);
		if (r == -ERANGE && guess == FIELD_INTEGER) { /* beyond 64 bits: a number */
			guess = FIELD_NUMBER;
			r = value_parse(&v, &plain_fields[guess], text, len);
		}
		if (r < 0 || (guess == FIELD_NUMBER && !isfinite(v.d) && c->type != FIELD_NUMBER))
			guess = FIELD_STRING;
		become(c, widen(c->type, guess));
	} else if (value_parse(&v, field, text, len) < 0) {
		c->invalid++;
		return 0;
	}
	if (!c->numeric)
		return 0;
	if (c->type != FIELD_NUMBER)
		return add_integer(c, v.i);
	return isfinite(v.d) ? add_decimal(c, v.d) : 0;
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

/* All places of the top list are taken: from here on registers count what is distinct. */
static __attribute__((noinline)) int count_by_registers(struct column *c)
{
	int r = hll_init(&c->hll, c->small ? STATS_HLL_SMALL : STATS_HLL_BITS);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < c->top.n; i++)
		hll_add(&c->hll, c->top.entries[i].hash);
	hll_known(&c->hll, c->top.n);
	return 0;
}

int column_add(struct column *c, const char *text, size_t len)
{
	uint64_t word = number_word(text, len), hash = XXH3_64bits(text, len);
	uint32_t length = length_of(word, text, len);
	int64_t i;
	double d;

	c->count++;
	if (top_add(&c->top, hash, text, len) && count_by_registers(c) < 0)
		return -ENOMEM;
	if (!c->top.exact)
		hll_add(&c->hll, hash);
	add_edges(c, word, text, len);
	c->min_length = length < c->min_length ? length : c->min_length;
	c->max_length = length > c->max_length ? length : c->max_length;
	switch (c->type) {
	case FIELD_INTEGER:
		if (c->plain && number_integer(text, len, word, &i))
			return add_integer(c, i);
		return add_slowly(c, text, len);
	case FIELD_NUMBER:
		if (c->plain && number_decimal(text, len, word, &d))
			return add_decimal(c, d);
		if (c->plain && number_integer(text, len, word, &i))
			return add_decimal(c, (double)i);
		return add_slowly(c, text, len);
	case FIELD_STRING:
		return 0;
	default:
		return add_slowly(c, text, len);
	}
}
