/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value_strptime.c -- strptime patterns of Table Schema ("%d/%m/%Y"): Python's directives, English names whatever the
 * locale, nothing left over, and dates that exist.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "http/upload/value_parse.h"

struct when {
	int year, month, day, hour, minute, second, yday; /* month, day, yday from 1; 0: not given */
	int64_t us, zone;
	bool pm, am;
};

static const char *const months[] = { "January", "February", "March",	  "April",   "May",	 "June",
				      "July",	 "August",   "September", "October", "November", "December" };
static const char *const weekdays[] = { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" };

/* 1 to max digits; true: *s moved behind them. */
static bool number(const char **s, const char *end, unsigned int max, int low, int high, int *out)
{
	int v = 0;
	unsigned int n = 0;

	for (; n < max && *s < end && (unsigned int)(unsigned char)**s - '0' <= 9; n++, (*s)++)
		v = v * 10 + (**s - '0');
	if (!n || v < low || v > high)
		return false;
	*out = v;
	return true;
}

static bool name(const char **s, const char *end, const char *const *names, int n, bool full, int *out)
{
	for (int i = 0; i < n; i++) {
		size_t len = full ? strlen(names[i]) : 3;

		if ((size_t)(end - *s) >= len && !strncasecmp(*s, names[i], len)) {
			*s += len;
			*out = i + 1;
			return true;
		}
	}
	return false;
}

static bool fraction(const char **s, const char *end, struct when *w)
{
	int64_t scale = 100000;
	const char *first = *s;

	w->us = 0;
	for (; *s < end && *s - first < 9 && (unsigned int)(unsigned char)**s - '0' <= 9; (*s)++, scale /= 10)
		w->us += (**s - '0') * scale;
	return *s > first;
}

static bool zone(const char **s, const char *end, struct when *w)
{
	int h, m = 0, sign;

	if (*s < end && (**s == 'Z' || **s == 'z')) {
		(*s)++;
		return true;
	}
	if (*s == end || (**s != '+' && **s != '-'))
		return false;
	sign = *(*s)++ == '-' ? -1 : 1;
	if (!number(s, end, 2, 0, 23, &h))
		return false;
	if (*s < end && **s == ':')
		(*s)++;
	if (*s < end && !number(s, end, 2, 0, 59, &m))
		return false;
	w->zone = sign * ((int64_t)h * 3600 + m * 60) * 1000000;
	return true;
}

static bool halves(const char **s, const char *end, struct when *w)
{
	if (end - *s < 2 || strncasecmp(*s + 1, "m", 1) || !strchr("aApP", **s))
		return false;
	w->pm = (**s | 0x20) == 'p';
	w->am = !w->pm;
	*s += 2;
	return true;
}

static bool pattern(struct when *w, const char *p, const char **s, const char *end, unsigned int depth);

static bool directive(struct when *w, char d, const char **s, const char *end, unsigned int depth)
{
	int n;

	switch (d) {
	case 'Y':
		return end - *s >= 4 && number(s, end, 4, 0, 9999, &w->year);
	case 'y': /* POSIX: 69 to 99 are the 1900s */
		if (!number(s, end, 2, 0, 99, &n))
			return false;
		w->year = n < 69 ? 2000 + n : 1900 + n;
		return true;
	case 'm':
		return number(s, end, 2, 1, 12, &w->month);
	case 'd': case 'e':
		*s += d == 'e' && *s < end && **s == ' ';
		return number(s, end, 2, 1, 31, &w->day);
	case 'j':
		return number(s, end, 3, 1, 366, &w->yday);
	case 'H':
		return number(s, end, 2, 0, 23, &w->hour);
	case 'I':
		return number(s, end, 2, 1, 12, &w->hour);
	case 'M':
		return number(s, end, 2, 0, 59, &w->minute);
	case 'S':
		return number(s, end, 2, 0, 60, &w->second);
	case 'f':
		return fraction(s, end, w);
	case 'p':
		return halves(s, end, w);
	case 'z':
		return zone(s, end, w);
	case 'Z':
		if (end - *s < 3 || (strncasecmp(*s, "UTC", 3) && strncasecmp(*s, "GMT", 3)))
			return false;
		*s += 3;
		return true;
	case 'b': case 'h':
		return name(s, end, months, 12, false, &w->month);
	case 'B':
		return name(s, end, months, 12, true, &w->month);
	case 'a':
		return name(s, end, weekdays, 7, false, &n);
	case 'A':
		return name(s, end, weekdays, 7, true, &n);
	case 'F':
		return pattern(w, "%Y-%m-%d", s, end, depth);
	case 'T':
		return pattern(w, "%H:%M:%S", s, end, depth);
	case 'R':
		return pattern(w, "%H:%M", s, end, depth);
	case 'D':
		return pattern(w, "%m/%d/%y", s, end, depth);
	case '%':
		return *s < end && *(*s)++ == '%';
	}
	return false;
}

static bool pattern(struct when *w, const char *p, const char **s, const char *end, unsigned int depth)
{
	for (; *p; p++) {
		if (*p == '%' && p[1]) {
			if (depth > 1 || !directive(w, *++p, s, end, depth + 1))
				return false;
		} else if (*s == end || *(*s)++ != *p) {
			return false;
		}
	}
	return true;
}

int value_strptime(int64_t *out, enum field_type type, const char *p, const char *s, size_t len)
{
	struct when w = { .year = 1900 };
	const char *end = s + len;
	int64_t day, t;

	if (!pattern(&w, p, &s, end, 0) || s != end)
		return -EINVAL;
	if (w.pm || w.am) {
		if (w.hour > 12)
			return -EINVAL;
		w.hour = w.hour % 12 + (w.pm ? 12 : 0);
	}
	if (w.second == 60) {
		w.second = 59;
		w.us = 999999;
	}
	w.month = w.month ? w.month : 1;
	w.day = w.day ? w.day : 1;
	if (w.day > (int)value_month_days(w.year, (unsigned int)w.month))
		return -EINVAL;
	day = value_days(w.year, (unsigned int)w.month, (unsigned int)w.day);
	if (w.yday) {
		if (w.yday == 366 && value_month_days(w.year, 2) == 28)
			return -EINVAL;
		day = value_days(w.year, 1, 1) + w.yday - 1;
	}
	t = ((int64_t)w.hour * 3600 + w.minute * 60 + w.second) * 1000000 + w.us - w.zone;
	if (type == FIELD_DATE)
		*out = day;
	else if (type == FIELD_TIME)
		*out = (t % VALUE_DAY_US + VALUE_DAY_US) % VALUE_DAY_US;
	else
		*out = day * VALUE_DAY_US + t;
	return 0;
}
