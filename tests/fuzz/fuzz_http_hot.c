/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger sends first on a connection, as the server in front of libmicrohttpd reads it: what it takes lies inside
 * the bytes, is a target that the server would serve, and says the same when it is written down again.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/httpd_hot_head.h"
#include "lib/httpd_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

static void try_text(const char *text, const char *bytes, size_t len)
{
	if (!text)
		return;
	require(text > bytes && text < bytes + len && memchr(text, 0, (size_t)(bytes + len - text)) != NULL);
	require(*text && http_is_field_value(text, strlen(text)));
}

static int same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static void try_again(const struct http_hot_head *head)
{
	char text[HTTP_HOT_HEAD_MAX + 256];
	struct http_hot_head again;
	int n = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s%s%s\r\n", head->is_head ? "HEAD" : "GET",
			 head->target, head->host, head->authorization ? "Authorization: " : "",
			 head->authorization ? head->authorization : "", head->authorization ? "\r\n" : "",
			 head->if_none_match ? "If-None-Match: " : "", head->if_none_match ? head->if_none_match : "",
			 head->if_none_match ? "\r\n" : "");

	if (n > HTTP_HOT_HEAD_MAX)
		return;
	require(http_hot_head_read(&again, text, (size_t)n) && again.len == (size_t)n && again.is_head == head->is_head &&
		same(again.target, head->target) && same(again.host, head->host) &&
		same(again.authorization, head->authorization) && same(again.if_none_match, head->if_none_match));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = malloc(size ? size : 1); /* of that size: a sanitizer sees who reads on */
	struct http_hot_head head;
	struct http_target target;

	if (!bytes)
		return 0;
	memcpy(bytes, data, size);
	if (http_hot_head_read(&head, bytes, size)) {
		require(head.len <= size && head.len <= HTTP_HOT_HEAD_MAX && !memcmp(data + head.len - 4, "\r\n\r\n", 4));
		require(head.target && head.host);
		try_text(head.target, bytes, head.len);
		try_text(head.host, bytes, head.len);
		try_text(head.authorization, bytes, head.len);
		try_text(head.if_none_match, bytes, head.len);
		require(!http_target_parse(&target, head.target) && !target.query && !target.authority);
		try_again(&head);
	}
	free(bytes);
	return 0;
}
