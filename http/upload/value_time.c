/* SPDX-License-Identifier: Apache-2.0 */
/* value_time.c -- dates, times, both with zones, durations (ISO 8601), and strptime patterns of Table Schema. */
#include <errno.h>
#include <string.h>

#include "http/upload/number.h"
#include "http/upload/value_parse.h"

/* Days since 1970-01-01 in the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms"). */
int64_t value_days(int64_t year, unsigned int month, unsigned int day)
{
	int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400;
	unsigned int yoe = (unsigned int)(y - era * 400);
	unsigned int doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + (int64_t)(yoe * 365 + yoe / 4 - yoe / 100 + doy) - 719468;
}

void value_civil(int64_t days, int64_t *year, unsigned int *month, unsigned int *day)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned int doe = (unsigned int)(z - era * 146097);
	unsigned int yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned int doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

	*day = doy - (153 * mp + 2) / 5 + 1;
	*month = mp < 10 ? mp + 3 : mp - 9;
	*year = (int64_t)yoe + era * 400 + (*month <= 2);
}

unsigned int value_month_days(int64_t year, unsigned int month)
{
	static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		return 29;
	return days[month - 1];
}

/* Exactly n (2 or 4) digits, or -1. */
static inline int digits(const char *s, unsigned int n)
{
	unsigned int a = (unsigned char)s[0] - '0', b = (unsigned char)s[1] - '0', c, d;

	if (a > 9 || b > 9)
		return -1;
	if (n == 2)
		return (int)(a * 10 + b);
	c = (unsigned char)s[2] - '0';
	d = (unsigned char)s[3] - '0';
	return c > 9 || d > 9 ? -1 : (int)(a * 1000 + b * 100 + c * 10 + d);
}

int value_date(int64_t *days, const char *s, size_t len)
{
	uint64_t first, last, ymd;
	unsigned int m, d;

	if (len != 10 || s[4] != '-' || s[7] != '-')
		return -EINVAL;
	first = number_word(s, 8);    /* "2026-01-" */
	last = number_word(s + 2, 8); /* "26-01-31" */
	if (!number_digits((first & 0xffffffff) | (first >> 40 & 0xffff) << 32 | last >> 48 << 48, 8, &ymd))
		return -EINVAL;
	m = (unsigned int)(ymd / 100 % 100);
	d = (unsigned int)(ymd % 100);
	if (m - 1 > 11 || d - 1 > 30 || (d > 28 && d > value_month_days((int64_t)(ymd / 10000), m)))
		return -EINVAL;
	*days = value_days((int64_t)(ymd / 10000), m, d);
	return 0;
}

/* HH:MM[:SS[.fraction]] at the beginning; *used bytes of it. A second of 60 (leap) is taken as 59.999999. */
static int time_prefix(int64_t *us, const char *s, size_t len, size_t *used)
{
	int h, m, sec = 0;
	int64_t fraction = 0, scale = 100000;
	size_t at = 5;

	if (len < 5 || s[2] != ':')
		return -EINVAL;
	h = digits(s, 2);
	m = digits(s + 3, 2);
	if (h < 0 || h > 23 || m < 0 || m > 59)
		return -EINVAL;
	if (len >= 8 && s[5] == ':') {
		sec = digits(s + 6, 2);
		if (sec < 0 || sec > 60)
			return -EINVAL;
		at = 8;
		if (at < len && (s[at] == '.' || s[at] == ',')) {
			size_t first = ++at;

			for (; at < len && (unsigned int)(unsigned char)s[at] - '0' <= 9; at++, scale /= 10)
				fraction += (s[at] - '0') * scale;
			if (at == first)
				return -EINVAL;
		}
		if (sec == 60) {
			sec = 59;
			fraction = 999999;
		}
	}
	*us = ((int64_t)h * 3600 + m * 60 + sec) * 1000000 + fraction;
	*used = at;
	return 0;
}

/* "", "Z", "+HH", "+HHMM", "+HH:MM": the offset from UTC in microseconds. */
static int zone(int64_t *us, const char *s, size_t len)
{
	int h, m = 0;

	*us = 0;
	if (!len || (len == 1 && (*s == 'Z' || *s == 'z')))
		return 0;
	if ((*s != '+' && *s != '-') || (len != 3 && len != 5 && len != 6))
		return -EINVAL;
	h = digits(s + 1, 2);
	if (len == 5)
		m = digits(s + 3, 2);
	else if (len == 6)
		m = s[3] == ':' ? digits(s + 4, 2) : -1;
	if (h < 0 || h > 23 || m < 0 || m > 59)
		return -EINVAL;
	*us = ((int64_t)h * 3600 + m * 60) * 1000000 * (*s == '-' ? -1 : 1);
	return 0;
}

int value_time(int64_t *us, const char *s, size_t len)
{
	int64_t t, off;
	size_t used;

	if (time_prefix(&t, s, len, &used) || zone(&off, s + used, len - used))
		return -EINVAL;
	*us = ((t - off) % VALUE_DAY_US + VALUE_DAY_US) % VALUE_DAY_US;
	return 0;
}

int value_datetime(int64_t *us, const char *s, size_t len)
{
	int64_t day, t, off;
	size_t used;

	if (len < 16 || (s[10] != 'T' && s[10] != ' ' && s[10] != 't') || value_date(&day, s, 10))
		return -EINVAL;
	if (time_prefix(&t, s + 11, len - 11, &used))
		return -EINVAL;
	s += 11 + used;
	len -= 11 + used;
	if (len && *s == ' ') { /* "2026-01-31 10:00:00 +01:00" */
		s++;
		len--;
		if (!len)
			return -EINVAL;
	}
	if (zone(&off, s, len))
		return -EINVAL;
	*us = day * VALUE_DAY_US + t - off;
	return 0;
}

/* One "nX" of a duration; seconds may have a fraction. */
static const char *duration_part(const char *s, const char *end, double *n)
{
	double scale = 1;
	bool any = false, point = false;

	*n = 0;
	for (; s < end; s++) {
		unsigned int d = (unsigned int)(unsigned char)*s - '0';

		if (d <= 9) {
			any = true;
			*n = *n * 10 + d;
			scale *= point ? 10 : 1;
		} else if ((*s == '.' || *s == ',') && !point) {
			point = true;
		} else {
			break;
		}
	}
	*n /= scale;
	return any && s < end && *n < 1e12 ? s : NULL;
}

/* "PnYnMnWnDTnHnMnS", each unit once and in this order; a year is 365 days, a month 30. */
int value_duration(int64_t *us, const char *s, size_t len)
{
	static const struct {
		char unit[5];
		double seconds[4];
	} halves[2] = { { "YMWD", { 365 * 86400.0, 30 * 86400.0, 7 * 86400.0, 86400 } }, { "HMS", { 3600, 60, 1 } } };
	const char *end = s + len, *unit;
	bool negative = len && *s == '-', any = false;
	unsigned int half = 0, next = 0;
	double total = 0, n;

	s += negative;
	if (s >= end || *s++ != 'P')
		return -EINVAL;
	while (s < end) {
		if (*s == 'T' && !half) {
			half = 1;
			next = 0;
			any = false;
			s++;
			continue;
		}
		s = duration_part(s, end, &n);
		unit = s && *s ? strchr(halves[half].unit + next, *s) : NULL;
		if (!unit)
			return -EINVAL;
		next = (unsigned int)(unit - halves[half].unit);
		total += n * halves[half].seconds[next++];
		any = true;
		s++;
	}
	if (!any)
		return -EINVAL;
	if (total > 9e12)
		return -ERANGE;
	*us = (int64_t)(total * 1e6 + 0.5) * (negative ? -1 : 1);
	return 0;
}
