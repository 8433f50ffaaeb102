/* SPDX-License-Identifier: Apache-2.0 */
/* value.c -- one cell's text as a value of a field's type: chooses the parser, guesses types, formats, compares. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "http/upload/value_parse.h"

static bool is_one_of(char *const *words, size_t n, const char *text, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (!strncmp(words[i], text, len) && !words[i][len])
			return true;
	return false;
}

static int parse_boolean(int64_t *out, const struct field *f, const char *text, size_t len)
{
	static char *const yes[] = { "true", "True", "TRUE", "1" };
	static char *const no[] = { "false", "False", "FALSE", "0" };

	if (!len || memchr(text, '\0', len))
		return -EINVAL;
	if (f->ntrue ? is_one_of(f->true_values, f->ntrue, text, len) : is_one_of(yes, 4, text, len))
		*out = 1;
	else if (f->nfalse ? is_one_of(f->false_values, f->nfalse, text, len) : is_one_of(no, 4, text, len))
		*out = 0;
	else
		return -EINVAL;
	return 0;
}

/* "lon, lat", in degrees. */
static int parse_geopoint(const char *text, size_t len)
{
	const char *comma = memchr(text, ',', len), *lat;
	double x, y;

	if (!comma)
		return -EINVAL;
	lat = comma + 1;
	while (lat < text + len && *lat == ' ')
		lat++;
	if (value_number(&x, text, (size_t)(comma - text), '.', '\0') || value_number(&y, lat, (size_t)(text + len - lat), '.', '\0'))
		return -EINVAL;
	return fabs(x) <= 180 && fabs(y) <= 90 ? 0 : -EINVAL;
}

static int parse_json(enum field_type type, const char *text, size_t len)
{
	json_error_t error;
	json_t *j = json_loadb(text, len, 0, &error);
	bool fine = type == FIELD_OBJECT ? json_is_object(j) : json_is_array(j);

	json_decref(j);
	return fine ? 0 : -EINVAL;
}

/* "2026-03": months since the year 0. */
static int parse_yearmonth(int64_t *out, const char *text, size_t len)
{
	int64_t y, m;

	if (len != 7 || text[4] != '-' || value_integer(&y, text, 4, '\0') || value_integer(&m, text + 5, 2, '\0') || m < 1 || m > 12)
		return -EINVAL;
	*out = y * 12 + m - 1;
	return 0;
}

static int parse_year(int64_t *out, const char *text, size_t len)
{
	if (len < 4 || len > 6 || (len > 4 && *text != '-' && *text != '+'))
		return -EINVAL;
	return value_integer(out, text, len, '\0');
}

static int parse_time(struct value *v, const struct field *f, const char *text, size_t len)
{
	if (f->format == FORMAT_PATTERN && f->time_pattern)
		return value_strptime(&v->i, f->type, f->time_pattern, text, len);
	if (f->type == FIELD_DATE)
		return value_date(&v->i, text, len);
	if (f->type == FIELD_TIME)
		return value_time(&v->i, text, len);
	return value_datetime(&v->i, text, len);
}

static const struct field guessed; /* what a guess is parsed with */

/* Of a field without a type, or of none: what it looks like. */
static int parse_any(struct value *out, const char *text, size_t len)
{
	struct field f = guessed;

	f.type = value_guess(text, len);
	f.decimal = '.';
	f.bare = true;
	return value_parse(out, &f, text, len);
}

/* What is written around a number that is not bare: "95 %", "EUR 12". */
static void strip(const char **text, size_t *len)
{
	const char *s = *text, *e = s + *len;

	while (s < e && (*s < '0' || *s > '9') && *s != '-' && *s != '+' && *s != '.')
		s++;
	while (e > s && (e[-1] < '0' || e[-1] > '9') && e[-1] != '.')
		e--;
	if (s == e)
		return;
	*text = s;
	*len = (size_t)(e - s);
}

int value_parse(struct value *out, const struct field *field, const char *text, size_t len)
{
	struct value v = { .text = text, .len = len };
	int rc = 0;

	if (!field || field->type == FIELD_ANY)
		return parse_any(out, text, len);
	if ((field->type == FIELD_INTEGER || field->type == FIELD_NUMBER) && !field->bare && field->name)
		strip(&text, &len);
	v.type = field->type;
	switch (field->type) {
	case FIELD_INTEGER:
		rc = value_integer(&v.i, text, len, field->group);
		v.d = (double)v.i;
		break;
	case FIELD_NUMBER:
		rc = value_number(&v.d, text, len, field->decimal ? field->decimal : '.', field->group);
		break;
	case FIELD_BOOLEAN:
		rc = parse_boolean(&v.i, field, text, len);
		break;
	case FIELD_DATE: case FIELD_TIME: case FIELD_DATETIME:
		rc = parse_time(&v, field, text, len);
		break;
	case FIELD_YEAR:
		rc = parse_year(&v.i, text, len);
		break;
	case FIELD_YEARMONTH:
		rc = parse_yearmonth(&v.i, text, len);
		break;
	case FIELD_DURATION:
		rc = value_duration(&v.i, text, len);
		break;
	case FIELD_OBJECT: case FIELD_ARRAY:
		rc = parse_json(field->type, text, len);
		break;
	case FIELD_GEOPOINT:
		rc = parse_geopoint(text, len);
		break;
	default:
		if (field->format != FORMAT_NONE && !value_format_ok(field->format, text, len))
			rc = -EINVAL;
	}
	if (!rc)
		*out = v;
	return rc;
}

/* A number's text, as value_number takes it, without words; its type, or STRING. "007" is a text: an identifier whose
 * zeros matter. */
static enum field_type guess_number(const char *s, size_t len)
{
	size_t at = *s == '-' || *s == '+', first = at, digits = 0;
	bool number = false;

	while (at < len && s[at] >= '0' && s[at] <= '9')
		at++;
	digits = at - first;
	if (digits > 1 && s[first] == '0')
		return FIELD_STRING;
	if (at == len) {
		int64_t i;

		return !digits ? FIELD_STRING : digits < 19 || !value_integer(&i, s, len, '\0') ? FIELD_INTEGER : FIELD_NUMBER;
	}
	if (s[at] == '.') {
		for (at++; at < len && s[at] >= '0' && s[at] <= '9'; at++)
			digits++;
		number = digits > 0;
	}
	if (at < len && (s[at] | 0x20) == 'e' && digits) {
		double d;

		number = !value_number(&d, s, len, '.', '\0');
		at = len;
	}
	return number && at == len ? FIELD_NUMBER : FIELD_STRING;
}

enum field_type value_guess(const char *s, size_t len)
{
	enum field_type type = FIELD_STRING;
	int64_t i;

	if (!len)
		return FIELD_STRING;
	if ((*s >= '0' && *s <= '9') || *s == '-' || *s == '+' || *s == '.') {
		type = guess_number(s, len);
		if (type != FIELD_STRING)
			return type;
		if (len == 10 && !value_date(&i, s, len))
			return FIELD_DATE;
		if (len >= 16 && s[4] == '-' && !value_datetime(&i, s, len))
			return FIELD_DATETIME;
		if (len >= 5 && s[2] == ':' && !value_time(&i, s, len))
			return FIELD_TIME;
		return FIELD_STRING;
	}
	if ((len == 4 && (!memcmp(s, "true", 4) || !memcmp(s, "True", 4) || !memcmp(s, "TRUE", 4))) ||
	    (len == 5 && (!memcmp(s, "false", 5) || !memcmp(s, "False", 5) || !memcmp(s, "FALSE", 5))))
		return FIELD_BOOLEAN;
	return FIELD_STRING;
}

static size_t put(char *buf, size_t size, const char *text, size_t len)
{
	size_t n = size ? (len < size - 1 ? len : size - 1) : 0;

	if (size) {
		memcpy(buf, text, n);
		buf[n] = '\0';
	}
	return n;
}

/* Decimal digits of n, at least `width` of them; the length. */
static int put_digits(char *out, uint64_t n, int width)
{
	char digits[20];
	int at = 20;

	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
		width--;
	} while (n || width > 0);
	memcpy(out, digits + at, (size_t)(20 - at));
	return 20 - at;
}

static int format_integer(char *out, int64_t i)
{
	if (i >= 0)
		return put_digits(out, (uint64_t)i, 1);
	*out = '-';
	return 1 + put_digits(out + 1, 0 - (uint64_t)i, 1);
}

/* Of at most 15 digits and 6 places, which all of them are that people write: the least number of places where the
 * decimal gives the same double again. A division of whole numbers below 2^53 by a power of ten rounds right, so that it
 * is what would be read. 0: not so. */
static int format_decimal(char *out, double d)
{
	static const double tens[] = { 1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6 };
	double size = fabs(d);
	int n = 0;

	if (!(size >= 1e-4 && size < 1e9))
		return 0;
	for (int places = 1; places <= 6; places++) {
		uint64_t whole = (uint64_t)(size * tens[places] + 0.5);

		if ((double)whole / tens[places] != size)
			continue;
		if (d < 0)
			out[n++] = '-';
		n += put_digits(out + n, whole / (uint64_t)tens[places], 1);
		out[n++] = '.';
		return n + put_digits(out + n, whole % (uint64_t)tens[places], places);
	}
	return 0;
}

/* The fewest digits that give the same double again. */
static int format_number(char *out, size_t size, double d)
{
	int n;

	if (isnan(d))
		return snprintf(out, size, "NaN");
	if (isinf(d))
		return snprintf(out, size, d < 0 ? "-INF" : "INF");
	if (fabs(d) < 1e15 && d == floor(d))
		return format_integer(out, (int64_t)d);
	n = format_decimal(out, d);
	for (int digits = 15; !n && digits <= 17; digits++) {
		double again;
		int len = snprintf(out, size, "%.*g", digits, d);

		if (digits == 17 || (!value_number(&again, out, (size_t)len, '.', '\0') && again == d))
			n = len;
	}
	return n;
}

static int format_time(char *out, size_t size, int64_t us, const char *end)
{
	int64_t s = us / 1000000;
	int n = snprintf(out, size, "%02d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));

	if (us % 1000000) {
		n += snprintf(out + n, size - (size_t)n, ".%06d", (int)(us % 1000000));
		while (out[n - 1] == '0')
			n--;
	}
	return n + snprintf(out + n, size - (size_t)n, "%s", end);
}

static int format_date(char *out, size_t size, int64_t days)
{
	int64_t year;
	unsigned int month, day;

	value_civil(days, &year, &month, &day);
	if (year >= 0 && year <= 9999) {
		put_digits(out, (uint64_t)year, 4);
		out[4] = out[7] = '-';
		put_digits(out + 5, month, 2);
		return 8 + put_digits(out + 8, day, 2);
	}
	return snprintf(out, size, "%04" PRId64 "-%02u-%02u", year, month, day);
}

static int format_duration(char *out, size_t size, int64_t us)
{
	uint64_t u = us < 0 ? 0 - (uint64_t)us : (uint64_t)us, s = u / 1000000;
	int n = snprintf(out, size, "%sPT%" PRIu64, us < 0 ? "-" : "", s);

	if (u % 1000000) {
		n += snprintf(out + n, size - (size_t)n, ".%06u", (unsigned int)(u % 1000000));
		while (out[n - 1] == '0')
			n--;
	}
	return n + snprintf(out + n, size - (size_t)n, "S");
}

size_t value_format(char *buf, size_t size, const struct value *v)
{
	char text[64];
	int n = 0, m;
	int64_t day;

	switch (v->type) {
	case FIELD_ANY:
		return put(buf, size, "", 0);
	case FIELD_INTEGER:
		n = format_integer(text, v->i);
		break;
	case FIELD_YEAR: /* five digits are a year only behind a sign */
		n = snprintf(text, sizeof(text), "%s%04" PRId64, v->i > 9999 ? "+" : "", v->i);
		break;
	case FIELD_NUMBER:
		n = format_number(text, sizeof(text), v->d);
		break;
	case FIELD_BOOLEAN:
		n = snprintf(text, sizeof(text), v->i ? "true" : "false");
		break;
	case FIELD_DATE:
		n = format_date(text, sizeof(text), v->i);
		break;
	case FIELD_TIME:
		n = format_time(text, sizeof(text), v->i, "");
		break;
	case FIELD_DATETIME:
		day = v->i / VALUE_DAY_US - (v->i % VALUE_DAY_US < 0);
		m = format_date(text, sizeof(text) - 24, day);
		text[m++] = 'T';
		n = m + format_time(text + m, sizeof(text) - (size_t)m, v->i - day * VALUE_DAY_US, "Z");
		break;
	case FIELD_YEARMONTH:
		day = v->i / 12 - (v->i % 12 < 0); /* the year: there are some before 0 */
		n = snprintf(text, sizeof(text), "%04" PRId64 "-%02d", day, (int)(v->i - day * 12 + 1));
		break;
	case FIELD_DURATION:
		n = format_duration(text, sizeof(text), v->i);
		break;
	default:
		return put(buf, size, v->text, v->len);
	}
	return put(buf, size, text, (size_t)n);
}

static bool is_number(const struct value *v)
{
	return v->type == FIELD_INTEGER || v->type == FIELD_NUMBER;
}

static bool is_text(const struct value *v)
{
	return v->type == FIELD_STRING || v->type >= FIELD_OBJECT;
}

static int compare_text(const struct value *a, const struct value *b)
{
	size_t n = a->len < b->len ? a->len : b->len;
	int c = n ? memcmp(a->text, b->text, n) : 0;

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

int value_compare(const struct value *a, const struct value *b)
{
	if (is_number(a) && is_number(b)) {
		if (a->type == FIELD_INTEGER && b->type == FIELD_INTEGER)
			return (a->i > b->i) - (a->i < b->i);
		return (a->d > b->d) - (a->d < b->d);
	}
	if (a->type == b->type && !is_text(a))
		return (a->i > b->i) - (a->i < b->i);
	if ((a->type == FIELD_DATE && b->type == FIELD_DATETIME) || (a->type == FIELD_DATETIME && b->type == FIELD_DATE)) {
		int64_t x = a->type == FIELD_DATE ? a->i * VALUE_DAY_US : a->i, y = b->type == FIELD_DATE ? b->i * VALUE_DAY_US : b->i;

		return (x > y) - (x < y);
	}
	if (is_text(a) && is_text(b))
		return compare_text(a, b);
	if (a->text && b->text)
		return compare_text(a, b);
	return (a->type > b->type) - (a->type < b->type);
}
