/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expr_tree.h -- what a parsed expression is made of; shared by expr*.c only.
 */
#ifndef WEIR_UPLOAD_EXPR_TREE_H
#define WEIR_UPLOAD_EXPR_TREE_H

#include "http/upload/expr.h"
#include "http/upload/pattern.h"

#define EXPR_NODES_MAX	 1000u
#define EXPR_DEPTH_MAX	 100u
#define EXPR_COLUMNS_MAX 64u
#define EXPR_PATTERNS_MAX 16u

enum expr_op {
	EXPR_CONSTANT, EXPR_COLUMN,
	EXPR_OR, EXPR_AND, EXPR_NOT,
	EXPR_EQ, EXPR_NE, EXPR_LT, EXPR_LE, EXPR_GT, EXPR_GE,
	EXPR_IN, EXPR_NOT_IN, EXPR_IS_NULL, EXPR_IS_NOT_NULL,
	EXPR_ADD, EXPR_SUB, EXPR_MUL, EXPR_DIV, EXPR_MOD, EXPR_NEG,
	EXPR_IF, EXPR_COALESCE,
	EXPR_LEN, EXPR_LOWER, EXPR_UPPER, EXPR_TRIM, EXPR_SUBSTR, EXPR_CONCAT, EXPR_MATCHES,
	EXPR_ROUND, EXPR_ABS, EXPR_DATE, EXPR_YEAR, EXPR_MONTH, EXPR_DAY,
};

struct expr_node {
	uint8_t op, depth;
	uint8_t type; /* as bound */
	bool typed;
	uint16_t kid, next; /* first child, next one of the same parent; 0: none (node 0 is not used) */
	uint16_t column;
	uint32_t at; /* byte of the text, for what is said of it */
	struct value v; /* of a constant; its text is in expr->pool */
	struct pattern *pattern;
};

struct expr {
	struct expr_node *nodes;
	size_t nnodes;
	uint16_t root;
	char *text, *pool; /* pool: texts of constants and names */
	size_t used;	   /* of the pool */
	const char *names[EXPR_COLUMNS_MAX];
	size_t nnames, npatterns;
};

/* "column N: SENTENCE" for the byte `at`; returns -EINVAL. */
int expr_refuse(const struct expr *e, size_t at, char why[160], const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* <0, 0, >0 into *out; false when they cannot be compared. Neither is null. */
bool expr_compare(const struct value *a, const struct value *b, int *out);
/* Functions of text (expr_text.c). Results are in the scratch or in their argument. 0 or -ERANGE. */
int expr_text_call(enum expr_op op, const struct value *args, size_t n, struct expr_scratch *scratch, struct value *out);
/* A constant's text as a value of a date's, time's or datetime's type. */
bool expr_as_time(enum field_type type, const char *text, size_t len, struct value *out);

static inline bool expr_is_text(enum field_type t)
{
	return t == FIELD_STRING || t == FIELD_OBJECT || t == FIELD_ARRAY || t == FIELD_GEOPOINT;
}

static inline bool expr_is_number(enum field_type t)
{
	return t == FIELD_INTEGER || t == FIELD_NUMBER || t == FIELD_YEAR;
}

static inline void expr_null(struct value *v)
{
	*v = (struct value){ .type = FIELD_ANY };
}

static inline void expr_integer(struct value *v, int64_t i)
{
	*v = (struct value){ .type = FIELD_INTEGER, .i = i, .d = (double)i };
}

#endif
