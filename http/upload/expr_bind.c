// SPDX-License-Identifier: Apache-2.0
/*
 * expr_bind.c -- what an expression's columns are: types that cannot fit each other are found
 * before the first row, and text in quotes that stands against a date becomes one.
 */
#include <stdlib.h>

#include "http/upload/expr_tree.h"

struct binder {
	struct expr *e;
	const enum field_type *types;
	char *why;
	int err;
};

static enum field_type type_of(struct binder *b, uint16_t n);

/* Kinds of values that compare with each other. */
enum kind {
	KIND_ANY,
	KIND_NUMBER,
	KIND_TEXT,
	KIND_TRUTH,
	KIND_DAY,
	KIND_CLOCK,
	KIND_MONTH,
	KIND_SPAN
};

static enum kind kind_of(enum field_type t)
{
	if (expr_is_number(t))
		return KIND_NUMBER;
	if (expr_is_text(t))
		return KIND_TEXT;
	switch (t) {
	case FIELD_BOOLEAN:
		return KIND_TRUTH;
	case FIELD_DATE:
	case FIELD_DATETIME:
		return KIND_DAY;
	case FIELD_TIME:
		return KIND_CLOCK;
	case FIELD_YEARMONTH:
		return KIND_MONTH;
	case FIELD_DURATION:
		return KIND_SPAN;
	default:
		return KIND_ANY;
	}
}

bool expr_as_time(enum field_type type, const char *text, size_t len, struct value *out)
{
	struct field f = { .type = type, .decimal = '.', .bare = true };

	if (!value_parse(out, &f, text, len))
		return true;
	f.type = FIELD_DATE; /* a day is as good as its midnight */
	return type == FIELD_DATETIME && !value_parse(out, &f, text, len);
}

/* A text in quotes beside a value of this type. */
static void convert(struct binder *b, uint16_t n, enum field_type beside)
{
	struct expr_node *node = &b->e->nodes[n];
	enum kind kind = kind_of(beside);
	struct value v;

	if (node->op != EXPR_CONSTANT || node->v.type != FIELD_STRING || kind == KIND_ANY ||
	    kind == KIND_TEXT || kind == KIND_TRUTH || kind == KIND_NUMBER)
		return;
	if (expr_as_time(beside, node->v.text, node->v.len, &v)) {
		v.text = NULL;
		v.len = 0;
		node->v = v;
	} else {
		b->err = expr_refuse(
			b->e, node->at, b->why,
			"'%.40s' is no %s; write one such as '2026-01-31' or '13:45:00'",
			node->v.text, field_type_names[beside]);
	}
}

static void compare(struct binder *b, uint16_t left, uint16_t right, uint32_t at)
{
	enum field_type l = type_of(b, left), r = type_of(b, right);

	convert(b, left, r);
	convert(b, right, l);
	l = type_of(b, left);
	r = type_of(b, right);
	if (!b->err && kind_of(l) && kind_of(r) && kind_of(l) != kind_of(r))
		b->err = expr_refuse(b->e, at, b->why,
				     "%s does not compare with %s; compare values of one kind",
				     field_type_names[l], field_type_names[r]);
}

static void want(struct binder *b, uint16_t n, enum kind kind, const char *what)
{
	enum field_type t = type_of(b, n);

	if (!b->err && kind_of(t) && kind_of(t) != kind)
		b->err = expr_refuse(b->e, b->e->nodes[n].at, b->why,
				     "is of type %s; %s is wanted here", field_type_names[t], what);
}

static void want_all(struct binder *b, uint16_t first, enum kind kind, const char *what)
{
	for (uint16_t k = first; k && !b->err; k = b->e->nodes[k].next)
		want(b, k, kind, what);
}

static enum field_type add_type(struct binder *b, const struct expr_node *n, uint16_t left,
				uint16_t right)
{
	enum field_type l = type_of(b, left), r = type_of(b, right);
	enum kind kl = kind_of(l), kr = kind_of(r);
	bool minus = n->op == EXPR_SUB;

	if (b->err || !kl || !kr)
		return FIELD_ANY;
	if (kl == KIND_NUMBER && kr == KIND_NUMBER)
		return l == FIELD_NUMBER || r == FIELD_NUMBER ? FIELD_NUMBER : FIELD_INTEGER;
	if (kl == KIND_SPAN && kr == KIND_SPAN)
		return FIELD_DURATION;
	if (minus && l == FIELD_DATE && r == FIELD_DATE)
		return FIELD_INTEGER;
	if (minus && ((kl == KIND_DAY && kr == KIND_DAY) || (kl == KIND_CLOCK && kr == KIND_CLOCK)))
		return FIELD_DURATION;
	if (l == FIELD_DATE && kr == KIND_NUMBER)
		return FIELD_DATE;
	if (kl == KIND_DAY && kr == KIND_SPAN)
		return FIELD_DATETIME;
	b->err = expr_refuse(b->e, n->at, b->why, "%s and %s cannot be %s%s", field_type_names[l],
			     field_type_names[r], minus ? "subtracted" : "added",
			     kl == KIND_TEXT && !minus ? "; write concat(a, b)"
						       : "; use values of one kind");
	return FIELD_ANY;
}

/* The type that all of these have, ANY when they differ or it is not known. */
static enum field_type common(struct binder *b, uint16_t first)
{
	enum field_type t = FIELD_ANY, k;

	for (; first && !b->err; first = b->e->nodes[first].next) {
		k = type_of(b, first);
		if (b->e->nodes[first].op == EXPR_CONSTANT && k == FIELD_ANY)
			continue; /* null */
		if (k == FIELD_ANY || (t != FIELD_ANY && t != k))
			return FIELD_ANY;
		t = k;
	}
	return t;
}

static enum field_type call_type(struct binder *b, const struct expr_node *n, uint16_t first,
				 uint16_t second)
{
	struct expr_node *arg = &b->e->nodes[first];
	struct value v;

	switch (n->op) {
	case EXPR_IF:
		want(b, first, KIND_TRUTH, "something true or false");
		return common(b, second);
	case EXPR_COALESCE:
		return common(b, first);
	case EXPR_SUBSTR:
		want(b, first, KIND_TEXT, "text");
		want_all(b, second, KIND_NUMBER, "a number");
		return FIELD_STRING;
	case EXPR_CONCAT:
		for (; first; first = b->e->nodes[first].next)
			type_of(b, first);
		return FIELD_STRING;
	case EXPR_ROUND:
	case EXPR_ABS:
		want_all(b, first, KIND_NUMBER, "a number");
		return type_of(b, first) == FIELD_INTEGER && !second ? FIELD_INTEGER : FIELD_NUMBER;
	case EXPR_DATE:
		if (arg->op == EXPR_CONSTANT && arg->v.type == FIELD_STRING &&
		    !expr_as_time(FIELD_DATE, arg->v.text, arg->v.len, &v))
			b->err = expr_refuse(b->e, arg->at, b->why,
					     "'%.40s' is no date; write one such as '2026-01-31'",
					     arg->v.text);
		else if (kind_of(type_of(b, first)) != KIND_DAY)
			want(b, first, KIND_TEXT, "text or a datetime");
		return FIELD_DATE;
	case EXPR_YEAR:
	case EXPR_MONTH:
	case EXPR_DAY:
		convert(b, first, FIELD_DATETIME);
		if (!b->err)
			want(b, first, KIND_DAY, "a date");
		return FIELD_INTEGER;
	default:
		want(b, first, KIND_TEXT, "text");
		return n->op == EXPR_LEN       ? FIELD_INTEGER
		       : n->op == EXPR_MATCHES ? FIELD_BOOLEAN
					       : FIELD_STRING;
	}
}

static enum field_type infer(struct binder *b, const struct expr_node *n)
{
	uint16_t first = n->kid, second = first ? b->e->nodes[first].next : 0;

	switch (n->op) {
	case EXPR_CONSTANT:
		return n->v.type;
	case EXPR_COLUMN:
		return b->types[n->column];
	case EXPR_OR:
	case EXPR_AND:
	case EXPR_NOT:
		want_all(b, first, KIND_TRUTH, "something true or false");
		return FIELD_BOOLEAN;
	case EXPR_EQ ... EXPR_GE:
	case EXPR_IN:
	case EXPR_NOT_IN:
		for (; second && !b->err; second = b->e->nodes[second].next)
			compare(b, first, second, b->e->nodes[second].at);
		return FIELD_BOOLEAN;
	case EXPR_IS_NULL:
	case EXPR_IS_NOT_NULL:
		type_of(b, first);
		return FIELD_BOOLEAN;
	case EXPR_ADD:
	case EXPR_SUB:
		return add_type(b, n, first, second);
	case EXPR_NEG:
		if (kind_of(type_of(b, first)) != KIND_SPAN)
			want(b, first, KIND_NUMBER, "a number");
		return type_of(b, first);
	case EXPR_MUL:
	case EXPR_DIV:
	case EXPR_MOD:
		want_all(b, first, KIND_NUMBER, "a number");
		return n->op != EXPR_DIV && type_of(b, first) == FIELD_INTEGER &&
				       type_of(b, second) == FIELD_INTEGER
			       ? FIELD_INTEGER
			       : FIELD_NUMBER;
	default:
		return call_type(b, n, first, second);
	}
}

/* Remembered in the node: each one is looked at once, however often it is asked for. */
static enum field_type type_of(struct binder *b, uint16_t n)
{
	struct expr_node *node = &b->e->nodes[n];

	if (b->err)
		return FIELD_ANY;
	if (node->op == EXPR_CONSTANT)
		return node->v.type;
	if (!node->typed) {
		node->type = (uint8_t)infer(b, node);
		node->typed = true;
	}
	return node->type;
}

int expr_bind(struct expr *e, const enum field_type *types, enum field_type *result, char why[160])
{
	struct binder b = { .e = e, .types = types, .why = why };
	enum field_type t;

	for (size_t i = 0; i < e->nnodes; i++)
		e->nodes[i].typed = false;
	t = type_of(&b, e->root);
	if (!b.err && result)
		*result = t;
	return b.err;
}

void expr_free(struct expr *e)
{
	if (!e)
		return;
	for (size_t i = 0; e->nodes && i < e->nnodes; i++)
		pattern_free(e->nodes[i].pattern);
	free(e->nodes);
	free(e->text);
	free(e->pool);
	free(e);
}

size_t expr_patterns(const struct expr *e)
{
	return e->npatterns;
}

size_t expr_columns(const struct expr *e, const char *const **names)
{
	*names = (const char *const *)e->names;
	return e->nnames;
}
