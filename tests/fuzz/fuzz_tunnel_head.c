/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads of any names and values, as HTTP/2 and HTTP/1 may bring them: what passes the checks has
 * one authority, one length and nothing of the connection; it survives copying, and what is
 * composed of it is read again as the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/h1_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

/* "name\0value\n…", of which all but the two marks are taken as they are. */
static struct head *head_of(const uint8_t *data, size_t size)
{
	struct head *h = head_new();
	const char *at = (const char *)data, *end = at + size;

	while (h && at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		const char *mark;

		line_end = line_end ? line_end : end;
		mark = memchr(at, '\0', (size_t)(line_end - at));
		if (mark)
			head_add(h, at, (size_t)(mark - at), mark + 1,
				 (size_t)(line_end - mark - 1));
		at = line_end + 1;
	}
	return h;
}

static void check_fields(const struct head *h)
{
	static const char *const never[] = { "host",	   "connection",
					     "keep-alive", "proxy-connection",
					     "upgrade",	   "transfer-encoding" };

	require(h->n <= HEAD_FIELDS_MAX);
	for (size_t i = 0; i < h->n; i++) {
		const struct head_field *f = &h->fields[i];

		require(f->name_len && strlen(f->name) == f->name_len &&
			strlen(f->value) == f->value_len);
		for (size_t k = 0; k < f->name_len; k++)
			require(f->name[k] > ' ' && f->name[k] < 0x7f && f->name[k] != ':' &&
				!(f->name[k] >= 'A' && f->name[k] <= 'Z'));
		require(!strpbrk(f->value, "\r\n"));
	}
	for (size_t i = 0; i < sizeof(never) / sizeof(*never); i++)
		require(!head_get(h, never[i]));
	require(head_count(h, "content-length") <= 1);
	require((h->content_length >= 0) == (head_count(h, "content-length") == 1));
}

static void same_string(const char *a, const char *b)
{
	require(!a == !b && (!a || !strcmp(a, b)));
}

static void check_copy(const struct head *h)
{
	struct head *copy = head_copy(h);

	require(copy != NULL);
	same_string(h->method, copy->method);
	same_string(h->path, copy->path);
	same_string(h->authority, copy->authority);
	require(copy->n == h->n && copy->status == h->status);
	for (size_t i = 0; i < h->n; i++) {
		same_string(h->fields[i].name, copy->fields[i].name);
		same_string(h->fields[i].value, copy->fields[i].value);
	}
	head_free(copy);
}

/* The composed request is one message, to the same, for the same. */
static void check_composed(const struct head *h)
{
	static char text[H1_HEAD_MAX];
	struct h1_how how = { .framing = h->content_length >= 0 ? H1_LENGTH : H1_NONE,
			      .length = h->content_length };
	size_t n = h1_compose_request(text, sizeof(text), h, &how);
	struct h1_read *r = h1_read_request(h->scheme ? h->scheme : "http", sizeof(text));
	enum h1_event event;

	require(n > 0);
	require(h1_read_take(r, (uint8_t *)text, n, &event) == n);
	/* llhttp knows only some methods; Expect and TE mean something to the next hop */
	if (event == H1_HEAD) {
		same_string(h->method, r->head->method);
		same_string(h->path, r->head->path);
		same_string(h->authority, r->head->authority);
		require(h->content_length == r->head->content_length);
	} else {
		require(event == H1_BAD &&
			(r->status == 501 || r->status == 417 || r->status == 431 ||
			 r->status == 426 || r->status == 400));
		require(r->status != 400 || !strcmp(r->why, "not HTTP/1.1"));
	}
	h1_read_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct head *h = head_of(data, size);
	char name[256];
	const char *why = NULL;

	if (!h)
		return 0;
	if (!head_check_request(h, &why)) {
		check_fields(h);
		require(h->authority && !head_hostname(h->authority, name, sizeof(name)));
		check_copy(h);
		if (!h->protocol)
			check_composed(h);
	} else {
		require(why != NULL);
	}
	head_free(h);
	h = head_of(data, size);
	if (!head_check_response(h, "GET", &why)) {
		require(h->status >= 100 && h->status <= 599 && !h->method && !h->authority);
		check_copy(h);
	}
	head_free(h);
	h = head_of(data, size);
	if (!head_check_trailers(h))
		require(!h->status && !head_get(h, "content-length") && !head_get(h, "host"));
	head_free(h);
	return 0;
}
