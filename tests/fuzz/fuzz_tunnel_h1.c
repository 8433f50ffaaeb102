/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger sends as HTTP/1: it is read the same however it was cut, and a message that is
 * let through is the one that a second, simple-minded reader of RFC 9112 sees: same end, same body,
 * same target, same host. A client's requests and a target's responses.
 */
#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "user/tunnel/h1_read.h"

#define HEADER_MAX 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

struct seen {
	bool head, ended, bad, connect, websocket;
	unsigned int status;
	size_t head_end, used, body_len;
	char *body;
	char host[512], target[2048], text[8192];
	size_t text_len;
	enum h1_framing framing;
};

static void note(struct seen *s, const struct h1_read *r, enum h1_event event)
{
	struct h1_how how = { .framing = r->framing, .length = r->head->content_length };

	if (event == H1_HEAD) {
		s->head = true;
		s->framing = r->framing;
		s->connect = r->connect;
		s->websocket = r->websocket;
		if (!r->response) {
			snprintf(s->host, sizeof(s->host), "%s", r->head->authority);
			snprintf(s->target, sizeof(s->target), "%s",
				 r->head->path ? r->head->path : "");
			s->text_len = h1_compose_request(s->text, sizeof(s->text), r->head, &how);
		} else {
			s->status = r->head->status;
			s->text_len = h1_compose_response(s->text, sizeof(s->text), r->head, &how);
		}
		require(s->text_len > 0);
	} else if (event == H1_DATA) {
		memcpy(s->body + s->body_len, r->data, r->len);
		s->body_len += r->len;
	}
	s->bad = event == H1_BAD;
	s->ended = (event != H1_MORE && event != H1_BAD && r->last) || event == H1_END;
}

/* Pieces as the seed says, each in memory of its own. */
static struct seen read_cut(struct h1_read *r, const uint8_t *data, size_t size, uint32_t seed)
{
	struct seen s = { .body = malloc(size + 1) };

	while (s.used < size && !s.bad && !s.ended) {
		size_t n = size - s.used, used = 0;
		uint8_t *piece;

		if (seed) {
			seed = seed * 1103515245 + 12345;
			n = 1 + (seed >> 16) % 40 % n;
		}
		piece = malloc(n);
		memcpy(piece, data + s.used, n);
		while (used < n && !s.bad && !s.ended) {
			enum h1_event event;

			used += h1_read_take(r, piece + used, n - used, &event);
			note(&s, r, event);
			if (event == H1_HEAD)
				s.head_end = s.used + used;
		}
		s.used += used;
		free(piece);
	}
	h1_read_free(r);
	return s;
}

/* ---- the second reader ----------------------------------------------------------------------- */

/* A field's value, "" when absent; how often it is there. */
static unsigned int field(const char *head, const char *name, char *out, size_t max)
{
	unsigned int count = 0;
	const char *line = strstr(head, "\r\n");

	*out = '\0';
	while (line && line[2] && line[2] != '\r') {
		const char *colon = strchr(line + 2, ':'), *value = colon + 1;
		size_t len;

		line += 2;
		require(colon != NULL);
		for (const char *p = line; p < colon; p++)
			require(isgraph((unsigned char)*p) && !strchr("()<>@,;\\\"/[]?={}", *p));
		if ((size_t)(colon - line) == strlen(name) &&
		    !strncasecmp(line, name, strlen(name))) {
			count++;
			value += strspn(value, " \t");
			len = strcspn(value, "\r\n");
			while (len && strchr(" \t", value[len - 1]))
				len--;
			snprintf(out, max, "%.*s", (int)len, value);
		}
		line = strstr(line, "\r\n");
	}
	return count;
}

static char *head_text(const uint8_t *data, size_t size)
{
	const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
	char *text;
	size_t len;

	require(end != NULL);
	len = (size_t)(end - data) + 4;
	text = malloc(len + 1);
	memcpy(text, data, len);
	text[len] = '\0';
	require(strlen(text) == len); /* no NUL */
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n')
			require(i && text[i - 1] == '\r' && text[i + 1] != ' ' &&
				text[i + 1] != '\t');
		else if (text[i] == '\r')
			require(text[i + 1] == '\n');
		else
			require((unsigned char)text[i] >= ' ' || text[i] == '\t');
	}
	return text;
}

/* Decodes chunks; where their trailers begin. */
static size_t dechunk(const uint8_t *data, size_t at, size_t size, char *body, size_t *body_len)
{
	for (;;) {
		const uint8_t *line_end = memmem(data + at, size - at, "\r\n", 2);
		char line[32] = "";
		size_t n, digits;

		require(line_end != NULL);
		n = (size_t)(line_end - (data + at));
		memcpy(line, data + at, n < 20 ? n : 20);
		digits = strspn(line, "0123456789abcdefABCDEF");
		require(digits > 0 && digits < 16 && (line[digits] == ';' || !line[digits]));
		at += n + 2;
		n = strtoul(line, NULL, 16);
		if (!n)
			return at;
		require(n + 2 <= size - at && !memcmp(data + at + n, "\r\n", 2));
		memcpy(body + *body_len, data + at, n);
		*body_len += n;
		at += n + 2;
	}
}

/* The end of trailers that begin there. */
static size_t trailers_end(const uint8_t *data, size_t at, size_t size)
{
	const uint8_t *end;

	if (size - at >= 2 && !memcmp(data + at, "\r\n", 2))
		return at + 2;
	end = memmem(data + at, size - at, "\r\n\r\n", 4);
	require(end != NULL);
	return (size_t)(end - data) + 4;
}

/* Does the second reader see the same message? */
static void agree(const struct seen *s, const uint8_t *data, size_t size, bool response)
{
	bool empty_line = !response && size > 2 && !memcmp(data, "\r\n", 2);
	char *text, value[2048], *body = malloc(size + 1);
	size_t body_len = 0, end;

	if (empty_line)
		data += 2, size -= 2;
	text = head_text(data, size);
	require(s->head_end == strlen(text) + (empty_line ? 2 : 0));
	end = strlen(text);
	if (!response) {
		unsigned int hosts = field(text, "host", value, sizeof(value));
		char *target = strchr(text, ' ') + 1;

		require(hosts == 1);
		if (!s->connect && *target == '/')
			require(!strcasecmp(value, s->host) &&
				!strncmp(target, s->target, strlen(s->target)) &&
				target[strlen(s->target)] == ' ');
	}
	if (s->framing == H1_CHUNKED) {
		require(field(text, "transfer-encoding", value, sizeof(value)) == 1);
		require(!strcasecmp(value, "chunked"));
		require(!field(text, "content-length", value, sizeof(value)));
	} else if (s->framing == H1_LENGTH) {
		require(!field(text, "transfer-encoding", value, sizeof(value)));
		require(field(text, "content-length", value, sizeof(value)) == 1);
		require(strspn(value, "0123456789") == strlen(value));
		if (s->ended)
			require(strtoull(value, NULL, 10) == s->body_len);
	} else if (!response) {
		require(!field(text, "transfer-encoding", value, sizeof(value)));
		require(!field(text, "content-length", value, sizeof(value)) ||
			!strcmp(value, "0"));
	}
	if (s->ended && s->framing == H1_CHUNKED) {
		end = trailers_end(data, dechunk(data, end, size, body, &body_len), size);
		require(body_len == s->body_len && !memcmp(body, s->body, body_len));
		require(end + (empty_line ? 2 : 0) == s->used);
	} else if (s->ended) {
		require(s->used == end + s->body_len + (empty_line ? 2 : 0));
		require(!memcmp(data + end, s->body, s->body_len));
	}
	free(text);
	free(body);
}

/* What was composed of it is one head, and says the same. */
static void check_composed(const struct seen *s)
{
	struct h1_read *r = h1_read_request("http", sizeof(s->text));
	struct seen again = read_cut(r, (const uint8_t *)s->text, s->text_len, 0);

	require(again.head && !again.bad && again.head_end == s->text_len);
	require(!strcmp(again.host, s->host) && !strcmp(again.target, s->target));
	require(again.framing == s->framing);
	require(again.text_len == s->text_len && !memcmp(again.text, s->text, s->text_len));
	free(again.body);
}

static void check_same(const struct seen *a, const struct seen *b)
{
	require(a->head == b->head && a->ended == b->ended && a->bad == b->bad);
	require(a->bad || a->used == b->used);
	require(a->body_len == b->body_len || a->bad);
	require(a->text_len == b->text_len && !memcmp(a->text, b->text, a->text_len));
	require(!memcmp(a->body, b->body, a->body_len < b->body_len ? a->body_len : b->body_len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const methods[] = { "GET", "HEAD", "POST", "CONNECT" };
	struct seen whole, cut;
	bool response;
	uint32_t seed;

	if (size < 2)
		return 0;
	response = data[0] & 1;
	seed = data[1] + 1;
#define READER                                                                                     \
	(response ? h1_read_response(methods[data[0] >> 1 & 3], HEADER_MAX)                        \
		  : h1_read_request("http", HEADER_MAX))
	whole = read_cut(READER, data + 2, size - 2, 0);
	cut = read_cut(READER, data + 2, size - 2, seed);
	check_same(&whole, &cut);
	if (whole.head && (!response || whole.status >= 200))
		agree(&whole, data + 2, size - 2, response);
	if (whole.head && !response && !whole.websocket)
		check_composed(&whole);
	free(whole.body);
	free(cut.body);
	return 0;
}
