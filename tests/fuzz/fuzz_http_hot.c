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

/* Names and values, of which the latter may be empty; what is read apart is among them. */
static void try_lines(const struct http_hot_head *head, const char *bytes)
{
	unsigned int hosts = 0, keys = 0;

	require(head->nlines && head->nlines <= HTTP_HOT_LINES_MAX);
	for (size_t i = 0; i < head->nlines; i++) {
		const char *name = head->lines[i].name, *value = head->lines[i].value;

		try_text(name, bytes, head->len);
		require(http_is_token(name, strlen(name)) && value > name && value + strlen(value) < bytes + head->len);
		require(http_is_field_value(value, strlen(value)) && *value != ' ');
		hosts += value == head->host;
		keys += value == head->authorization;
	}
	require(hosts == 1 && keys == (head->authorization != NULL));
}

static void try_again(const struct http_hot_head *head)
{
	char text[2 * HTTP_HOT_HEAD_MAX];
	struct http_hot_head again;
	int n = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n", head->is_head ? "HEAD" : "GET", head->target);

	for (size_t i = 0; i < head->nlines; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s: %s\r\n", head->lines[i].name, head->lines[i].value);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "\r\n");
	if (n > HTTP_HOT_HEAD_MAX)
		return;
	require(http_hot_head_read(&again, text, (size_t)n) && again.len == (size_t)n && again.is_head == head->is_head &&
		same(again.target, head->target) && same(again.host, head->host) &&
		same(again.authorization, head->authorization) && same(again.if_none_match, head->if_none_match) &&
		same(again.origin, head->origin) && again.nlines == head->nlines);
	for (size_t i = 0; i < head->nlines; i++)
		require(same(again.lines[i].name, head->lines[i].name) && same(again.lines[i].value, head->lines[i].value));
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
		try_text(head.origin, bytes, head.len);
		try_lines(&head, bytes);
		require(!http_target_parse(&target, head.target) && !target.query && !target.authority);
		try_again(&head);
	}
	free(bytes);
	return 0;
}
