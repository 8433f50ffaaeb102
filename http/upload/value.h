/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value.h -- one cell's text as a value of a field's type. Pure; the fast path of checking and statistics.
 */
#ifndef WEIR_UPLOAD_VALUE_H
#define WEIR_UPLOAD_VALUE_H

#include "http/upload/rules.h"

struct value {
	enum field_type type; /* ANY: null */
	int64_t i;	      /* INTEGER, BOOLEAN, DATE, TIME, DATETIME, YEAR, YEARMONTH, DURATION */
	double d;	      /* NUMBER (also set for INTEGER) */
	const char *text;     /* STRING and the rest */
	size_t len;
};

/* 0, or -EINVAL when the text is no value of the field's type and format (-ERANGE: it is one, but outside of
 * what 64 bits hold). The text's missing values are the caller's work. */
int value_parse(struct value *out, const struct field *field, const char *text, size_t len);
/* The narrowest type that the text is a value of, for schema inference: INTEGER, NUMBER, BOOLEAN, DATE,
 * TIME, DATETIME, else STRING. */
enum field_type value_guess(const char *text, size_t len);
/* Canonical text (ISO 8601 dates, "true"/"false", shortest round-trip numbers) into buf; the length. */
size_t value_format(char *buf, size_t size, const struct value *value);
/* <0, 0, >0; numbers by value whatever their type, else bytewise. */
int value_compare(const struct value *a, const struct value *b);

#endif
