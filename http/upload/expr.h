/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expr.h -- expressions over a row's columns, for row rules, filters and derived columns: numbers, 'text', true, false,
 * null, names, `names with spaces`, + - * / %, comparisons (= == != <> < <= > >=), and or not, in (…), not in (…),
 * is null, is not null, if(c, a, b), coalesce, len, lower, upper, trim, substr, concat, round, abs,
 * date('2026-01-31'), year, month, day, matches(name, 'pattern'). today() is not there (a rule must say the same
 * tomorrow).
 *
 * Null in, null out, but for `is null`, coalesce, and what does not need the null (false and null is false, true or
 * null is true, if() with a null condition takes its last part). A rule that is null holds. Numbers compare by value;
 * dates with dates and, from midnight UTC, with datetimes; text bytewise; text does not compare with what is not text.
 * date - date is days, date + number a date, datetime - datetime a duration.
 *
 * Parsed once; expr_bind() says what the columns are and finds what cannot be. Immutable after that: may be shared
 * among threads. Evaluation allocates nothing.
 */
#ifndef WEIR_UPLOAD_EXPR_H
#define WEIR_UPLOAD_EXPR_H

#include "http/upload/value.h"

#define EXPR_TEXT_MAX 4096u

struct expr;
/* 0, -EINVAL with why ("column 7: …; what would be right") and *at (byte), -ENOMEM. */
int expr_parse(struct expr **out, const char *text, char why[160], size_t *at);
void expr_free(struct expr *e); /* accepts NULL */
/* Names that it uses, in order of first use. */
size_t expr_columns(const struct expr *e, const char *const **names);
size_t expr_patterns(const struct expr *e); /* calls of matches(), at most 16 */
/* types[i] is that of the i-th name, FIELD_ANY where it is not known. Text in quotes that stands against a date, time
 * or datetime becomes one. *result (may be NULL) is the expression's type, FIELD_ANY when it depends. 0, or -EINVAL
 * with why when types do not fit each other. */
int expr_bind(struct expr *e, const enum field_type *types, enum field_type *result, char why[160]);

struct expr_scratch { char buf[8192]; size_t used; }; /* a result's text lives here or in the row; the caller sets
						       * used to 0 when no result is needed any more */
/* columns[i] is the value of the i-th name of expr_columns(). 0, or -ERANGE (division by zero, text too long, kinds of
 * values that do not fit each other): then *out is null. */
int expr_eval(const struct expr *e, const struct value *columns, struct expr_scratch *scratch, struct value *out);

#endif
