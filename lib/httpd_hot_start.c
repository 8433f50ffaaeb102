/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_hot_start.c -- what is not the same each time that a ready answer is sent: its date, and the request's id.
 */
#include <stdio.h>
#include <string.h>

#include "lib/httpd_impl.h"

#define DATE_LEN 37 /* "Date: Fri, 27 Nov 2026 16:41:55 GMT\r\n" */

size_t http_start_len(const struct http_cached *answer)
{
	return answer->status_len + DATE_LEN + answer->ids_len;
}

static void write_date(char *at, size_t size, time_t now)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm;

	gmtime_r(&now, &tm);
	snprintf(at, size, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", days + 3 * tm.tm_wday, tm.tm_mday,
		 months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void write_ids(char *at, struct httpd *server, const struct http_cached *answer)
{
	char id[HTTP_ID_LEN + 1];

	http_make_id(server, id);
	for (size_t i = 0; answer->ids[i]; i++)
		at = stpcpy(stpcpy(stpcpy(stpcpy(at, answer->ids[i]), ": "), id), "\r\n");
}

/* The date changes once a second, and stays where it is between answers of one status. */
void http_start_write(struct http_start *start, struct httpd *server, const struct http_cached *answer)
{
	char *at = start->text + answer->status_len;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != start->date_of || start->date_at != answer->status_len) {
		start->date_of = now.tv_sec;
		start->date_at = answer->status_len;
		write_date(at, sizeof(start->text) - answer->status_len, now.tv_sec);
	}
	memcpy(start->text, answer->text, answer->status_len);
	if (answer->ids)
		write_ids(at + DATE_LEN, server, answer);
}
