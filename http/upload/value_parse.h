/* SPDX-License-Identifier: Apache-2.0 */
/* value_parse.h -- the parts of value.c: a parser for each kind of text. Private to value*.c and check*.c. */
#ifndef WEIR_UPLOAD_VALUE_PARSE_H
#define WEIR_UPLOAD_VALUE_PARSE_H

#include "http/upload/value.h"

/* All: 0, -EINVAL, -ERANGE; *out untouched on failure. */
int value_integer(int64_t *out, const char *s, size_t len, char group);
int value_number(double *out, const char *s, size_t len, char decimal, char group);
int value_date(int64_t *days, const char *s, size_t len);
int value_time(int64_t *us, const char *s, size_t len);
int value_datetime(int64_t *us, const char *s, size_t len);
int value_duration(int64_t *us, const char *s, size_t len);
/* A strptime pattern of Table Schema; English names, whatever the locale. type: DATE, TIME or DATETIME. */
int value_strptime(int64_t *out, enum field_type type, const char *pattern, const char *s, size_t len);
/* Whether the text has the form. */
bool value_format_ok(enum field_format format, const char *s, size_t len);

#define VALUE_DAY_US 86400000000ll
int64_t value_days(int64_t year, unsigned int month, unsigned int day);
void value_civil(int64_t days, int64_t *year, unsigned int *month, unsigned int *day);
unsigned int value_month_days(int64_t year, unsigned int month);

#endif
