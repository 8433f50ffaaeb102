/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expr.h -- expressions over a row's columns, for row rules, filters and derived columns: numbers, 'text', names,
 * `names with spaces`, + - * / %, comparisons, and or not, in (…), is null, if(c, a, b), len, lower, upper, trim,
 * substr, concat, round, abs, date('2026-01-31'), year, month, day, matches(name, 'pattern'), coalesce, today() is
 * not there (a rule must say the same tomorrow). Null in, null out; a rule that is null holds.
 *
 * Compiled once against nothing, bound to a header's columns by expr_bind(); evaluation allocates nothing but from
 * the caller's scratch.
 */
#ifndef WEIR_UPLOAD_EXPR_H
#define WEIR_UPLOAD_EXPR_H

#include "http/upload/value.h"

struct expr;
/* 0, -EINVAL with why ("column 7: …") and *at (byte), -ENOMEM. */
int expr_parse(struct expr **out, const char *text, char why[160], size_t *at);
void expr_free(struct expr *e); /* accepts NULL */
/* Names that it uses, in order of first use. */
size_t expr_columns(const struct expr *e, const char *const **names);

struct expr_scratch { char buf[8192]; size_t used; }; /* a result's text lives here or in the row */
/* columns[i] is the value of the i-th name of expr_columns(). 0, or -ERANGE (division by zero, text too long):
 * then *out is null. */
int expr_eval(const struct expr *e, const struct value *columns, struct expr_scratch *scratch, struct value *out);

#endif
