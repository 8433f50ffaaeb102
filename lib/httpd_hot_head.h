/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_hot_head.h -- the plainest request head, read without libmicrohttpd: GET or HEAD of a path, HTTP/1.1, few and
 * well-known header lines, nothing that could be read in two ways (RFC 9112). All else is libmicrohttpd's to read, and
 * httpd_check.c's to refuse.
 *
 * Pure: bytes in, a struct out. The server, the unit test and the fuzzer call the same function.
 */
#ifndef WEIR_HTTPD_HOT_HEAD_H
#define WEIR_HTTPD_HOT_HEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/httpd.h"

#define HTTP_HOT_HEAD_MAX 4096 /* bytes of a head: a token and the lines of a browser fit */
#define HTTP_HOT_LINES_MAX 24

struct http_hot_head {
	bool is_head; /* HEAD, else GET */
	size_t len;   /* with the empty line */
	/* Ended by NUL, inside the bytes that were read, as are the lines' names and values. The target begins with '/', has letters, digits and -._~!$&'()*+,;=:@/,
	 * no query, no escape, no empty segment and none that begins with a dot. The others: NULL when absent. */
	const char *target, *host, *authorization, *if_none_match, *origin;
	struct http_pair lines[HTTP_HOT_LINES_MAX]; /* all, as sent, values without the blanks before them */
	size_t nlines;
};

/* Reads the head at the beginning of len bytes, in place: separators become NUL. False: it is not whole, or not of this kind;
 * then *out says nothing, and bytes may have changed. */
bool http_hot_head_read(struct http_hot_head *out, char *bytes, size_t len);

#endif
