// SPDX-License-Identifier: Apache-2.0
/*
 * expr_eval.c -- an expression over one row's values. Three-valued as SQL: a null makes null what
 * needs it.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "http/upload/expr_tree.h"

#define DAY_US	 86400000000ll
#define ARGS_MAX 33

struct run {
	const struct expr *e;
	const struct value *columns;
	struct expr_scratch *scratch;
	int err;
};

static void eval(struct run *r, uint16_t n, struct value *out);

static void fail(struct run *r, struct value *out)
{
	r->err = -ERANGE;
	expr_null(out);
}

static void truth(struct value *v, bool b)
{
	v->type = FIELD_BOOLEAN;
	v->i = b;
}

/* A date, or a datetime, as microseconds. */
static bool microseconds(const struct value *v, int64_t *us)
{
	if (v->type == FIELD_DATE)
		return !__builtin_mul_overflow(v->i, DAY_US, us);
	*us = v->i;
	return v->type == FIELD_DATETIME;
}

static int sign(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static bool compare_texts(const struct value *a, const struct value *b, int *out)
{
	size_t n = a->len < b->len ? a->len : b->len;

	*out = n ? memcmp(a->text, b->text, n) : 0;
	if (!*out)
		*out = sign((int64_t)a->len, (int64_t)b->len);
	return true;
}

bool expr_compare(const struct value *a, const struct value *b, int *out)
{
	int64_t x, y;

	if (a->type == b->type && a->type >= FIELD_INTEGER && a->type <= FIELD_DURATION &&
	    a->type != FIELD_NUMBER) {
		*out = sign(a->i, b->i);
		return true;
	}
	if (expr_is_number(a->type) && expr_is_number(b->type)) {
		long double p = a->type == FIELD_NUMBER ? (long double)a->d : (long double)a->i;
		long double q = b->type == FIELD_NUMBER ? (long double)b->d : (long double)b->i;

		*out = (p > q) - (p < q);
		return p == p && q == q;
	}
	if (expr_is_text(a->type) && expr_is_text(b->type))
		return compare_texts(a, b, out);
	if (!microseconds(a, &x) || !microseconds(b, &y))
		return false;
	*out = sign(x, y);
	return true;
}

static void eval_compare(struct run *r, const struct expr_node *n, struct value *out)
{
	struct value b;
	int c;

	eval(r, n->kid, out);
	eval(r, r->e->nodes[n->kid].next, &b);
	if (out->type == FIELD_ANY || b.type == FIELD_ANY) {
		expr_null(out);
		return;
	}
	if (!expr_compare(out, &b, &c)) {
		fail(r, out);
		return;
	}
	truth(out, n->op == EXPR_EQ   ? c == 0
		   : n->op == EXPR_NE ? c != 0
		   : n->op == EXPR_LT ? c < 0
		   : n->op == EXPR_LE ? c <= 0
		   : n->op == EXPR_GT ? c > 0
				      : c >= 0);
}

/* and, or: the first that decides ends it; a null that decides nothing makes the rest null or
 * decided. */
static void eval_logic(struct run *r, const struct expr_node *n, struct value *out)
{
	bool decides = n->op == EXPR_OR, null = false;

	for (uint16_t k = n->kid; k; k = r->e->nodes[k].next) {
		eval(r, k, out);
		if (out->type == FIELD_ANY) {
			null = true;
		} else if (out->type != FIELD_BOOLEAN) {
			fail(r, out);
			return;
		} else if (!!out->i == decides) {
			r->err = 0; /* whatever the others are */
			return;
		}
	}
	if (null)
		expr_null(out);
}

static void eval_in(struct run *r, const struct expr_node *n, struct value *out)
{
	struct value a, b;
	bool null = false;
	int c;

	eval(r, n->kid, &a);
	expr_null(out);
	if (a.type == FIELD_ANY)
		return;
	for (uint16_t k = r->e->nodes[n->kid].next; k; k = r->e->nodes[k].next) {
		eval(r, k, &b);
		if (b.type == FIELD_ANY) {
			null = true;
		} else if (!expr_compare(&a, &b, &c)) {
			fail(r, out);
			return;
		} else if (!c) {
			truth(out, n->op == EXPR_IN);
			return;
		}
	}
	if (!null)
		truth(out, n->op == EXPR_NOT_IN);
}

/* ---- numbers and times ---- */

static void set_number(struct run *r, double d, struct value *out)
{
	if (!isfinite(d)) {
		fail(r, out);
		return;
	}
	*out = (struct value){ .type = FIELD_NUMBER, .d = d };
}

static double as_double(const struct value *v)
{
	return v->type == FIELD_NUMBER ? v->d : (double)v->i;
}

/* Two whole numbers; false when the result does not fit into 64 bits or is not whole. */
static bool whole(enum expr_op op, int64_t a, int64_t b, int64_t *out)
{
	switch (op) {
	case EXPR_ADD:
		return !__builtin_add_overflow(a, b, out);
	case EXPR_SUB:
		return !__builtin_sub_overflow(a, b, out);
	case EXPR_MUL:
		return !__builtin_mul_overflow(a, b, out);
	case EXPR_MOD:
		if (!b || b == -1)
			return false;
		*out = a % b;
		return true;
	default:
		return false;
	}
}

static void numbers(struct run *r, enum expr_op op, const struct value *a, const struct value *b,
		    struct value *out)
{
	double x = as_double(a), y = as_double(b);
	int64_t i;

	if (a->type != FIELD_NUMBER && b->type != FIELD_NUMBER && whole(op, a->i, b->i, &i))
		expr_integer(out, i);
	else if (op >= EXPR_DIV && y == 0)
		fail(r, out);
	else
		set_number(r,
			   op == EXPR_ADD   ? x + y
			   : op == EXPR_SUB ? x - y
			   : op == EXPR_MUL ? x * y
			   : op == EXPR_DIV ? x / y
					    : fmod(x, y),
			   out);
}

static void times(struct run *r, enum expr_op op, const struct value *a, const struct value *b,
		  struct value *out)
{
	bool span = b->type == FIELD_DURATION;
	int64_t x, y, i;
	enum field_type t;

	if (a->type == FIELD_DATE && b->type == FIELD_DATE && op == EXPR_SUB) {
		expr_integer(out, a->i - b->i);
		return;
	}
	if (a->type == FIELD_DATE && b->type == FIELD_INTEGER) {
		t = FIELD_DATE;
		x = a->i;
		y = b->i;
	} else if (a->type == b->type &&
		   (a->type == FIELD_DURATION || (a->type == FIELD_TIME && op == EXPR_SUB))) {
		t = FIELD_DURATION;
		x = a->i;
		y = b->i;
	} else if (microseconds(a, &x) && ((op == EXPR_SUB && microseconds(b, &y)) || span)) {
		t = span ? FIELD_DATETIME : FIELD_DURATION;
		y = span ? b->i : y;
	} else {
		fail(r, out);
		return;
	}
	if (whole(op, x, y, &i))
		*out = (struct value){ .type = t, .i = i };
	else
		fail(r, out);
}

static void eval_arithmetic(struct run *r, const struct expr_node *n, struct value *out)
{
	struct value a, b;

	eval(r, n->kid, &a);
	eval(r, r->e->nodes[n->kid].next, &b);
	if (a.type == FIELD_ANY || b.type == FIELD_ANY)
		expr_null(out);
	else if (expr_is_number(a.type) && expr_is_number(b.type))
		numbers(r, n->op, &a, &b, out);
	else if (n->op == EXPR_ADD || n->op == EXPR_SUB)
		times(r, n->op, &a, &b, out);
	else
		fail(r, out);
}

/* Half away from zero, as people do; -digits rounds to tens, hundreds … */
static void round_to(struct run *r, const struct value *v, const struct value *digits,
		     struct value *out)
{
	static const double tens[] = { 1e0, 1e1, 1e2,  1e3,  1e4,  1e5,	 1e6,  1e7,
				       1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15 };
	double scale, x;

	if (!digits || (digits->type == FIELD_INTEGER && !digits->i)) {
		x = round(as_double(v));
		if (v->type != FIELD_NUMBER)
			*out = *v;
		else if (fabs(x) < 9e15)
			expr_integer(out, (int64_t)x);
		else
			set_number(r, x, out);
		return;
	}
	if (digits->type != FIELD_INTEGER || digits->i < -15 || digits->i > 15) {
		fail(r, out);
		return;
	}
	scale = digits->i >= 0 ? tens[digits->i] : pow(10, (double)digits->i);
	x = as_double(v) * scale;
	set_number(r, fabs(x) < 4503599627370496.0 ? round(x) / scale : as_double(v), out);
}

static void negate(struct run *r, struct value *v)
{
	if ((expr_is_number(v->type) && v->type != FIELD_NUMBER) || v->type == FIELD_DURATION) {
		if (v->i == INT64_MIN)
			fail(r, v);
		else if (v->type == FIELD_DURATION)
			v->i = -v->i;
		else
			expr_integer(v, -v->i);
	} else if (v->type == FIELD_NUMBER) {
		v->d = -v->d;
	} else if (v->type != FIELD_ANY) {
		fail(r, v);
	}
}

/* Days since 1970-01-01 as year, month, day (Hinnant, "chrono-compatible low-level date
 * algorithms"). */
static void civil(int64_t z, int64_t *y, int64_t *m, int64_t *d)
{
	int64_t era, doe, yoe, doy, mp;

	z += 719468;
	era = (z >= 0 ? z : z - 146096) / 146097;
	doe = z - era * 146097;
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = yoe + era * 400 + (*m <= 2);
}

static void day_part(struct run *r, enum expr_op op, struct value *v)
{
	int64_t days = v->i, y, m, d;

	if (v->type == FIELD_DATETIME) {
		days = v->i / DAY_US - (v->i % DAY_US < 0);
	} else if (v->type != FIELD_DATE || days > (INT64_MAX >> 2) || days < (INT64_MIN >> 2)) {
		fail(r, v);
		return;
	}
	if (op == EXPR_DATE) {
		*v = (struct value){ .type = FIELD_DATE, .i = days };
		return;
	}
	civil(days, &y, &m, &d);
	expr_integer(v, op == EXPR_YEAR ? y : op == EXPR_MONTH ? m : d);
}

/* ---- calls ---- */

static void call(struct run *r, const struct expr_node *n, const struct value *args, size_t nargs,
		 struct value *out)
{
	struct value v = args[0];

	switch (n->op) {
	case EXPR_MATCHES:
		if (!expr_is_text(v.type))
			fail(r, out);
		else
			*out = (struct value){ .type = FIELD_BOOLEAN,
					       .i = pattern_match(n->pattern, v.text, v.len) };
		return;
	case EXPR_ROUND:
		if (expr_is_number(v.type))
			round_to(r, &v, nargs > 1 ? &args[1] : NULL, out);
		else
			fail(r, out);
		return;
	case EXPR_ABS:
		if (!expr_is_number(v.type))
			fail(r, &v);
		else if (v.type == FIELD_NUMBER ? v.d < 0 : v.i < 0)
			negate(r, &v);
		*out = v;
		return;
	case EXPR_DATE:
		if (expr_is_text(v.type) && !expr_as_time(FIELD_DATE, v.text, v.len, &v))
			fail(r, &v);
		/* fall through */
	case EXPR_YEAR:
	case EXPR_MONTH:
	case EXPR_DAY:
		if (v.type != FIELD_ANY)
			day_part(r, n->op, &v);
		*out = v;
		return;
	default:
		if (expr_text_call(n->op, args, nargs, r->scratch, out))
			fail(r, out);
	}
}

/* Functions whose arguments are all worked out first; one null makes null. */
static __attribute__((noinline)) void eval_call(struct run *r, const struct expr_node *n,
						struct value *out)
{
	struct value args[ARGS_MAX];
	size_t nargs = 0;

	for (uint16_t k = n->kid; k; k = r->e->nodes[k].next) {
		eval(r, k, &args[nargs]);
		if (args[nargs++].type == FIELD_ANY) {
			expr_null(out);
			return;
		}
	}
	call(r, n, args, nargs, out);
}

static void eval_choice(struct run *r, const struct expr_node *n, struct value *out)
{
	uint16_t k = n->kid;

	if (n->op == EXPR_IF) {
		eval(r, k, out);
		if (out->type != FIELD_ANY && out->type != FIELD_BOOLEAN) {
			fail(r, out);
			return;
		}
		k = r->e->nodes[k].next;
		eval(r, out->type == FIELD_BOOLEAN && out->i ? k : r->e->nodes[k].next, out);
		return;
	}
	do {
		eval(r, k, out);
		k = r->e->nodes[k].next;
	} while (out->type == FIELD_ANY && k);
}

static void load(const struct value *column, struct value *out)
{
	*out = *column;
	if (out->type == FIELD_YEAR)
		expr_integer(out, out->i);
	else if (out->type == FIELD_NUMBER && isnan(out->d))
		expr_null(out);
}

static void eval(struct run *r, uint16_t index, struct value *out)
{
	const struct expr_node *n = &r->e->nodes[index];

	switch (n->op) {
	case EXPR_CONSTANT:
		*out = n->v;
		return;
	case EXPR_COLUMN:
		load(&r->columns[n->column], out);
		return;
	case EXPR_EQ ... EXPR_GE:
		eval_compare(r, n, out);
		return;
	case EXPR_OR:
	case EXPR_AND:
		eval_logic(r, n, out);
		return;
	case EXPR_NOT:
		eval(r, n->kid, out);
		if (out->type == FIELD_BOOLEAN)
			out->i = !out->i;
		else if (out->type != FIELD_ANY)
			fail(r, out);
		return;
	case EXPR_IN:
	case EXPR_NOT_IN:
		eval_in(r, n, out);
		return;
	case EXPR_IS_NULL:
	case EXPR_IS_NOT_NULL:
		eval(r, n->kid, out);
		*out = (struct value){ .type = FIELD_BOOLEAN,
				       .i = (out->type == FIELD_ANY) == (n->op == EXPR_IS_NULL) };
		return;
	case EXPR_NEG:
		eval(r, n->kid, out);
		negate(r, out);
		return;
	case EXPR_ADD ... EXPR_MOD:
		eval_arithmetic(r, n, out);
		return;
	case EXPR_IF:
	case EXPR_COALESCE:
		eval_choice(r, n, out);
		return;
	default:
		eval_call(r, n, out);
	}
}

int expr_eval(const struct expr *e, const struct value *columns, struct expr_scratch *scratch,
	      struct value *out)
{
	struct run r = { .e = e, .columns = columns, .scratch = scratch };

	eval(&r, e->root, out);
	if (r.err)
		expr_null(out);
	return r.err;
}
