// SPDX-License-Identifier: Apache-2.0
/*
 * conditions.c -- conditional requests, lists of entity tags, dates.
 */
#include "http/s3/conditions.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Text without the quotes around it. */
static size_t bare(const char **text, size_t len)
{
	if (len >= 2 && (*text)[0] == '"' && (*text)[len - 1] == '"') {
		(*text)++;
		len -= 2;
	}
	return len;
}

/* The next tag of a list: *tag and its length, without W/ and quotes. A quoted one may hold a comma. */
static bool next_tag(const char **list, const char **tag, size_t *len)
{
	const char *p = *list + strspn(*list, " \t,");
	const char *end;

	if (!*p)
		return false;
	if (!strncmp(p, "W/\"", 3))
		p += 2;
	end = *p == '"' ? strchr(p + 1, '"') : NULL;
	end = end ? end + 1 : p + strcspn(p, ",");
	*list = end;
	while (end > p && isspace((unsigned char)end[-1]))
		end--;
	*tag = p;
	*len = bare(tag, (size_t)(end - p));
	return true;
}

bool s3_etag_listed(const char *list, const char *etag)
{
	size_t want = bare(&etag, strlen(etag)), len;
	const char *tag;

	while (next_tag(&list, &tag, &len))
		if ((len == 1 && *tag == '*') || (len == want && !memcmp(tag, etag, len)))
			return true;
	return false;
}

enum s3_error s3_conditions_read(const struct s3_conditions *c, const char *etag, int64_t modified)
{
	int64_t date;

	if (c->if_match) {
		if (!s3_etag_listed(c->if_match, etag))
			return S3_PRECONDITION_FAILED;
	} else if (c->if_unmodified_since) {
		date = s3_date_parse(c->if_unmodified_since);
		if (date >= 0 && modified > date)
			return S3_PRECONDITION_FAILED;
	}
	if (c->if_none_match)
		return s3_etag_listed(c->if_none_match, etag) ? S3_NOT_MODIFIED : S3_OK;
	if (c->if_modified_since) {
		date = s3_date_parse(c->if_modified_since);
		if (date >= 0 && modified <= date)
			return S3_NOT_MODIFIED;
	}
	return S3_OK;
}

enum s3_error s3_conditions_copy(const struct s3_conditions *c, const char *etag, int64_t modified)
{
	return s3_conditions_read(c, etag, modified) ? S3_PRECONDITION_FAILED : S3_OK;
}

enum s3_error s3_conditions_write_valid(const struct s3_conditions *c, struct s3_fault *fault)
{
	const char *list = c->if_match, *tag;
	size_t len;

	if (c->if_modified_since || c->if_unmodified_since)
		return s3_fault(fault, S3_NOT_IMPLEMENTED,
				"If-Modified-Since and If-Unmodified-Since are not implemented for writes.");
	if (c->if_none_match && c->if_match)
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "If-Match and If-None-Match in one write are not implemented.");
	if (c->if_none_match && strcmp(c->if_none_match, "*") != 0)
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "If-None-Match of a write must be *.");
	if (c->if_match && next_tag(&list, &tag, &len) && next_tag(&list, &tag, &len))
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "If-Match of a write must name one entity tag.");
	return S3_OK;
}

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static int64_t date_of(int year, int month, int day, int hour, int minute, int second)
{
	struct tm tm = { .tm_year = year - 1900, .tm_mon = month, .tm_mday = day,
			 .tm_hour = hour,	 .tm_min = minute, .tm_sec = second };

	if (year < 1970 || year > 9999 || month < 0 || month > 11 || day < 1 || day > 31 || hour < 0 || hour > 23 ||
	    minute < 0 || minute > 59 || second < 0 || second > 60)
		return -1;
	return timegm(&tm);
}

static int month_of(const char name[4])
{
	for (int i = 0; i < 12; i++)
		if (!strncmp(months + (size_t)i * 3, name, 3))
			return i;
	return -1;
}

int64_t s3_date_parse(const char *text)
{
	int year, day, hour, minute, second, month, end = 0;
	const char *comma;
	char name[4];

	while (*text == ' ')
		text++;
	/* 2026-11-27T13:18:42Z, also with a fraction of a second */
	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &end) == 6 && end) {
		text += end;
		if (*text == '.')
			text += 1 + strspn(text + 1, "0123456789");
		return !strcmp(text, "Z") ? date_of(year, month - 1, day, hour, minute, second) : -1;
	}
	if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &end) == 3 && !text[end])
		return date_of(year, month - 1, day, 0, 0, 0);
	comma = strchr(text, ',');
	if (!comma) { /* asctime: Fri Nov 27 13:18:42 2026 */
		if (sscanf(text, "%*3s %3s %2d %2d:%2d:%2d %4d", name, &day, &hour, &minute, &second, &year) != 6)
			return -1;
		return date_of(year, month_of(name), day, hour, minute, second);
	}
	comma += strspn(comma, ", ");
	if (sscanf(comma, "%2d %3s %4d %2d:%2d:%2d", &day, name, &year, &hour, &minute, &second) == 6)
		return date_of(year, month_of(name), day, hour, minute, second);
	/* RFC 850: Friday, 27-Nov-26 13:18:42 GMT */
	if (sscanf(comma, "%2d-%3s-%2d %2d:%2d:%2d", &day, name, &year, &hour, &minute, &second) == 6)
		return date_of(year + (year < 70 ? 2000 : 1900), month_of(name), day, hour, minute, second);
	return -1;
}

/* The years that four digits can tell. */
static struct tm split(int64_t unix_s)
{
	const int64_t last = INT64_C(253402300799);
	time_t t = (time_t)(unix_s < 0 ? 0 : unix_s > last ? last : unix_s);
	struct tm tm;

	gmtime_r(&t, &tm);
	return tm;
}

static void put_two(char *out, int n)
{
	out[0] = (char)('0' + n / 10);
	out[1] = (char)('0' + n % 10);
}

void s3_date_format(char out[30], int64_t unix_s)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	struct tm tm = split(unix_s);

	/* Each GET says one: printf would cost a microsecond. */
	memcpy(out, "Day, 00 Mon 0000 00:00:00 GMT", 30);
	memcpy(out, days + (size_t)tm.tm_wday * 3, 3);
	put_two(out + 5, tm.tm_mday);
	memcpy(out + 8, months + (size_t)tm.tm_mon * 3, 3);
	put_two(out + 12, (tm.tm_year + 1900) / 100);
	put_two(out + 14, tm.tm_year % 100);
	put_two(out + 17, tm.tm_hour);
	put_two(out + 20, tm.tm_min);
	put_two(out + 23, tm.tm_sec);
}

void s3_iso_format(char out[25], int64_t unix_s)
{
	struct tm tm = split(unix_s);

	/* A page of a listing says a thousand. */
	memcpy(out, "0000-00-00T00:00:00.000Z", 25);
	put_two(out, (tm.tm_year + 1900) / 100);
	put_two(out + 2, tm.tm_year % 100);
	put_two(out + 5, tm.tm_mon + 1);
	put_two(out + 8, tm.tm_mday);
	put_two(out + 11, tm.tm_hour);
	put_two(out + 14, tm.tm_min);
	put_two(out + 17, tm.tm_sec);
}
