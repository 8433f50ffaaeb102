/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value_number.c -- integers and decimal numbers out of text. Numbers of up to 15 digits and small exponents are
 * exact products of exact doubles (Clinger 1990, "How to read floating point numbers accurately"); the rest goes to
 * strtod in the C locale, so that every result is correctly rounded.
 */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/value_parse.h"

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void c_locale_make(void)
{
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

int value_integer(int64_t *out, const char *s, size_t len, char group)
{
	const char *end = s + len;
	bool negative = false, big = false;
	uint64_t n = 0;
	size_t digits = 0;

	if (s < end && (*s == '-' || *s == '+'))
		negative = *s++ == '-';
	if (end - s <= 18 && s < end) { /* nothing can overflow; most have no groups */
		const char *d = s;

		while (d < end && (unsigned int)(unsigned char)*d - '0' <= 9)
			n = n * 10 + (unsigned int)(*d++ - '0');
		if (d == end) {
			*out = negative ? -(int64_t)n : (int64_t)n;
			return 0;
		}
		n = 0;
	}
	for (; s < end; s++) {
		unsigned int d = (unsigned int)(unsigned char)*s - '0';

		if (d > 9) {
			if (!group || *s != group || !digits || s + 1 == end)
				return -EINVAL;
			continue;
		}
		digits++;
		if (n > (UINT64_MAX - d) / 10)
			big = true;
		n = n * 10 + d;
	}
	if (!digits)
		return -EINVAL;
	if (big || n > (uint64_t)INT64_MAX + negative)
		return -ERANGE;
	*out = (int64_t)(negative ? 0 - n : n);
	return 0;
}

/* The text again, with '.' and without groups, for strtod. */
static int number_slow(double *out, const char *s, size_t len, char decimal, char group)
{
	char small[128], *buf = small, *end;
	size_t n = 0;
	int rc = 0;

	if (len >= sizeof(small))
		buf = malloc(len + 1);
	if (!buf)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		if (group && s[i] == group)
			continue;
		buf[n++] = s[i] == decimal ? '.' : s[i];
	}
	buf[n] = '\0';
	pthread_once(&c_locale_once, c_locale_make);
	*out = c_locale ? strtod_l(buf, &end, c_locale) : strtod(buf, &end);
	if (isinf(*out))
		rc = -ERANGE;
	if (buf != small)
		free(buf);
	return rc;
}

static bool is_word(const char *s, size_t len, const char *word)
{
	return len == strlen(word) && !memcmp(s, word, len);
}

/* Table Schema: NaN, INF and -INF are numbers. */
static int number_word(double *out, const char *s, size_t len)
{
	if (is_word(s, len, "NaN"))
		*out = NAN;
	else if (is_word(s, len, "INF"))
		*out = INFINITY;
	else if (is_word(s, len, "-INF"))
		*out = -INFINITY;
	else
		return -EINVAL;
	return 0;
}

static const char *exponent(const char *s, const char *end, int *e)
{
	bool negative = false;
	int n = 0;

	if (s < end && (*s == '-' || *s == '+'))
		negative = *s++ == '-';
	if (s == end)
		return NULL;
	for (; s < end; s++) {
		unsigned int d = (unsigned int)(unsigned char)*s - '0';

		if (d > 9)
			return NULL;
		if (n < 100000)
			n = n * 10 + (int)d;
	}
	*e += negative ? -n : n;
	return s;
}

static const double powers[] = { 1e0,  1e1,  1e2,  1e3,	 1e4,  1e5,  1e6,  1e7,	 1e8,  1e9,  1e10, 1e11,
				 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

int value_number(double *out, const char *text, size_t len, char decimal, char group)
{
	const char *s = text, *end = text + len;
	bool negative = false, point = false;
	unsigned int digits = 0, significant = 0;
	uint64_t m = 0;
	int e = 0;
	double d;

	if (s < end && (*s == '-' || *s == '+'))
		negative = *s++ == '-';
	for (; s < end; s++) {
		unsigned int c = (unsigned int)(unsigned char)*s - '0';

		if (c <= 9) {
			m = m * 10 + c; /* wraps with over 19 digits: then it is not used */
			digits++;
			significant += significant || c;
			e -= point;
		} else if (*s == decimal && !point) {
			point = true;
		} else if (!group || *s != group || !digits || point) {
			break;
		}
	}
	if (!digits)
		return number_word(out, text, len);
	if (s < end && ((*s | 0x20) != 'e' || !exponent(s + 1, end, &e)))
		return -EINVAL;
	if (significant > 19 || m > 1ull << 53 || e < -22 || e > 22)
		return m || significant > 19 ? number_slow(out, text, len, decimal, group) : (*out = negative ? -0.0 : 0.0, 0);
	d = (double)m;
	d = e < 0 ? d / powers[-e] : d * powers[e];
	*out = negative ? -d : d;
	return 0;
}
