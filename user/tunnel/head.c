// SPDX-License-Identifier: Apache-2.0
/*
 * head.c -- the head of a message: one piece of memory for all its text, a table of fields that
 * points into it. What makes a head valid: head_check.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "user/tunnel/head.h"
#include "user/tunnel/head_impl.h"
#include "user/tunnel/spare.h"

#define HEAD_TEXT_FIRST	  1024 /* what most requests fit in */
#define HEAD_FIELDS_FIRST 24

/* ---- characters ------------------------------------------------------------------------------ */

/* RFC 9110 section 5.6.2: 0 not of a token, else the character in lower case. */
#define L(c) [c] = c
#define U(c) [c] = (c) + 32
static const char token_chars[256] = {
	L('!'), L('#'), L('$'), L('%'), L('&'), L('\''), L('*'), L('+'), L('-'), L('.'), L('^'),
	L('_'), L('`'), L('|'), L('~'), L('0'), L('1'),	 L('2'), L('3'), L('4'), L('5'), L('6'),
	L('7'), L('8'), L('9'), L('a'), L('b'), L('c'),	 L('d'), L('e'), L('f'), L('g'), L('h'),
	L('i'), L('j'), L('k'), L('l'), L('m'), L('n'),	 L('o'), L('p'), L('q'), L('r'), L('s'),
	L('t'), L('u'), L('v'), L('w'), L('x'), L('y'),	 L('z'), U('A'), U('B'), U('C'), U('D'),
	U('E'), U('F'), U('G'), U('H'), U('I'), U('J'),	 U('K'), U('L'), U('M'), U('N'), U('O'),
	U('P'), U('Q'), U('R'), U('S'), U('T'), U('U'),	 U('V'), U('W'), U('X'), U('Y'), U('Z'),
};
#undef L
#undef U

bool head_is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!token_chars[(unsigned char)text[i]])
			return false;
	return len > 0;
}

/* The same, copied in lower case. */
static bool copy_token(char *to, const char *text, size_t len)
{
	char c = 1;

	for (size_t i = 0; i < len && c; i++)
		to[i] = c = token_chars[(unsigned char)text[i]];
	to[len] = '\0';
	return len && c;
}

/* RFC 9110 section 5.5: no control character but the tab. */
static bool is_value(const char *text, size_t len)
{
	size_t i = 0;

	for (; len - i >= 8; i += 8) {
		uint64_t w;

		memcpy(&w, text + i, 8);
		if (head_has_control(w))
			break;
	}
	for (; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

int64_t head_number(const char *text, size_t len)
{
	int64_t n = 0;

	if (!len || len > 18)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		n = n * 10 + (text[i] - '0');
	}
	return n;
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct head *head_new(void)
{
	struct head *h = spare_get(sizeof(*h));

	if (h)
		*h = (struct head){ .content_length = -1 };
	return h;
}

void head_free(struct head *h)
{
	if (!h)
		return;
	spare_put(h->fields);
	spare_put(h->text);
	spare_put(h);
}

void head_clear(struct head *h)
{
	*h = (struct head){ .content_length = -1,
			    .fields = h->fields,
			    .fields_size = h->fields_size,
			    .text = h->text,
			    .text_size = h->text_size };
}

static void rebase(const char **at, const char *from, const char *to)
{
	if (*at)
		*at = to + (*at - from);
}

/* The same text lies somewhere else from now on. */
static void rebase_all(struct head *h, const char *from, const char *to)
{
	rebase(&h->method, from, to);
	rebase(&h->scheme, from, to);
	rebase(&h->authority, from, to);
	rebase(&h->path, from, to);
	rebase(&h->protocol, from, to);
	for (size_t i = 0; i < h->n; i++) {
		rebase(&h->fields[i].name, from, to);
		rebase(&h->fields[i].value, from, to);
	}
}

/* Room for len bytes and a NUL: where they go, or NULL with the reason. What was copied from the
 * head itself may lie in *old, which the caller frees afterwards. */
static char *text_room(struct head *h, size_t len, int *rc, char **old)
{
	size_t want = h->text_len + len + 1, size = h->text_size ? h->text_size : HEAD_TEXT_FIRST;
	char *text;

	*old = NULL;
	if (want <= h->text_size)
		return h->text + h->text_len;
	/* every string's NUL, and what was replaced, are not counted as the sender's */
	if (want > HEAD_BYTES_MAX + 4 * HEAD_FIELDS_MAX + 4096) {
		*rc = -E2BIG;
		return NULL;
	}
	while (size < want)
		size *= 2;
	text = spare_get(size);
	if (!text) {
		*rc = -ENOMEM;
		return NULL;
	}
	if (h->text) {
		memcpy(text, h->text, h->text_len);
		rebase_all(h, h->text, text);
		*old = h->text;
	}
	h->text = text;
	h->text_size = size;
	return h->text + h->text_len;
}

static const char *text_keep(struct head *h, const char *from, size_t len, int *rc)
{
	char *old, *to = text_room(h, len, rc, &old);

	if (!to)
		return NULL;
	memcpy(to, from, len);
	to[len] = '\0';
	h->text_len += len + 1;
	spare_put(old);
	return to;
}

static int fields_room(struct head *h)
{
	size_t size = h->fields_size ? 2 * h->fields_size : HEAD_FIELDS_FIRST;
	struct head_field *fields;

	if (h->n >= HEAD_FIELDS_MAX)
		return -E2BIG;
	if (h->n < h->fields_size)
		return 0;
	fields = spare_resize(h->fields, size * sizeof(*fields));
	if (!fields)
		return -ENOMEM;
	h->fields = fields;
	h->fields_size = size;
	return 0;
}

struct head *head_copy(const struct head *h)
{
	return head_copy_room(h, 0, 0);
}

struct head *head_copy_room(const struct head *h, size_t text, size_t fields)
{
	struct head *copy = head_new();

	if (!copy)
		return NULL;
	*copy = *h;
	copy->text_size = h->text_len + text ? h->text_len + text : 1;
	copy->fields_size = h->n + fields ? h->n + fields : 1;
	copy->text = spare_get(copy->text_size);
	copy->fields = spare_get(copy->fields_size * sizeof(*copy->fields));
	if (!copy->text || !copy->fields) {
		head_free(copy);
		return NULL;
	}
	if (h->text_len)
		memcpy(copy->text, h->text, h->text_len);
	if (h->n)
		memcpy(copy->fields, h->fields, h->n * sizeof(*h->fields));
	rebase_all(copy, h->text, copy->text);
	return copy;
}

/* Most names that are looked for are not there: one bit tells. */
static uint32_t initial(const char *name)
{
	return 1u << (*name & 31);
}

/* ---- adding ---------------------------------------------------------------------------------- */

static bool is_secret(const char *name, size_t len)
{
	switch (len) {
	case 6:
		return !memcmp(name, "cookie", 6);
	case 10:
		return !memcmp(name, "set-cookie", 10);
	case 13:
		return !memcmp(name, "authorization", 13);
	case 19:
		return !memcmp(name, "proxy-authorization", 19);
	}
	return false;
}

static const char **pseudo_at(struct head *h, const char *name, size_t len)
{
	static const struct {
		const char *name;
		size_t at;
	} pseudo[] = {
		{ ":method", offsetof(struct head, method) },
		{ ":path", offsetof(struct head, path) },
		{ ":scheme", offsetof(struct head, scheme) },
		{ ":authority", offsetof(struct head, authority) },
		{ ":protocol", offsetof(struct head, protocol) },
	};

	for (size_t i = 0; i < sizeof(pseudo) / sizeof(*pseudo); i++)
		if (strlen(pseudo[i].name) == len && !memcmp(name, pseudo[i].name, len))
			return (const char **)((char *)h + pseudo[i].at);
	return NULL;
}

static int add_pseudo(struct head *h, const char *name, size_t name_len, const char *value,
		      size_t value_len)
{
	const char **at, *kept;
	int rc = 0;

	if (h->n || memchr(value, '\0', value_len) || !is_value(value, value_len))
		return -EINVAL;
	if (name_len == 7 && !memcmp(name, ":status", 7)) {
		if (h->status || value_len != 3 || head_number(value, 3) < 100)
			return -EINVAL;
		return head_set_status(h, (unsigned int)head_number(value, 3));
	}
	at = pseudo_at(h, name, name_len);
	if (!at || *at)
		return -EINVAL;
	if (h->text_len + value_len > HEAD_BYTES_MAX)
		return -E2BIG;
	kept = text_keep(h, value, value_len, &rc);
	if (!kept)
		return rc;
	*at = kept;
	return 0;
}

int head_add(struct head *h, const char *name, size_t name_len, const char *value, size_t value_len)
{
	struct head_field *f;
	char *to, *old;
	int rc;

	if (name_len && name[0] == ':')
		return add_pseudo(h, name, name_len, value, value_len);
	while (value_len && (value[0] == ' ' || value[0] == '\t'))
		value++, value_len--;
	while (value_len && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
		value_len--;
	if (name_len > UINT16_MAX || !is_value(value, value_len))
		return -EINVAL;
	if (h->text_len + name_len + value_len > HEAD_BYTES_MAX)
		return -E2BIG;
	rc = fields_room(h);
	if (rc)
		return rc;
	to = text_room(h, name_len + 1 + value_len, &rc, &old);
	if (!to)
		return rc;
	if (!copy_token(to, name, name_len)) {
		spare_put(old);
		return -EINVAL;
	}
	memcpy(to + name_len + 1, value, value_len);
	to[name_len + 1 + value_len] = '\0';
	h->text_len += name_len + 1 + value_len + 1;
	spare_put(old);
	h->initials |= initial(to);
	f = &h->fields[h->n++];
	*f = (struct head_field){ .name = to,
				  .value = to + name_len + 1,
				  .name_len = (uint16_t)name_len,
				  .value_len = (uint32_t)value_len,
				  .secret = is_secret(to, name_len) };
	if (h->content_length < 0 && name_len == 14 && !memcmp(to, "content-length", 14))
		h->content_length = head_number(value, value_len);
	return 0;
}

int head_addf(struct head *h, const char *name, const char *fmt, ...)
{
	char small[512], *text = small;
	va_list ap;
	int n, rc;

	va_start(ap, fmt);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	if ((size_t)n >= sizeof(small)) {
		va_start(ap, fmt);
		n = vasprintf(&text, fmt, ap);
		va_end(ap);
		if (n < 0)
			return -ENOMEM;
	}
	rc = head_add(h, name, strlen(name), text, (size_t)n);
	if (text != small)
		free(text);
	return rc;
}

int head_set_status(struct head *h, unsigned int status)
{
	if (status < 100 || status > 599)
		return -EINVAL;
	h->status = status;
	return 0;
}

int head_set(struct head *h, const char *pseudo, const char *value)
{
	const char **at = pseudo_at(h, pseudo, strlen(pseudo)), *kept;
	int rc = 0;

	if (!at || (value && !is_value(value, strlen(value))))
		return -EINVAL;
	if (!value) {
		*at = NULL;
		return 0;
	}
	kept = text_keep(h, value, strlen(value), &rc);
	if (!kept)
		return rc;
	*at = kept;
	return 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

bool head_field_is(const struct head_field *f, const char *name, size_t len)
{
	return f->name_len == len && !memcmp(f->name, name, len);
}

void head_remove(struct head *h, const char *name)
{
	size_t len, to = 0;

	if (!(h->initials & initial(name)))
		return;
	len = strlen(name);
	for (size_t i = 0; i < h->n; i++)
		if (!head_field_is(&h->fields[i], name, len)) {
			if (to != i)
				h->fields[to] = h->fields[i];
			to++;
		}
	if (to != h->n && !strcmp(name, "content-length"))
		h->content_length = -1;
	h->n = to;
}

const struct head_field *head_find(const struct head *h, const char *name)
{
	size_t len;

	if (!(h->initials & initial(name)))
		return NULL;
	len = strlen(name);
	for (size_t i = 0; i < h->n; i++)
		if (head_field_is(&h->fields[i], name, len))
			return &h->fields[i];
	return NULL;
}

const char *head_get(const struct head *h, const char *name)
{
	const struct head_field *f = head_find(h, name);

	return f ? f->value : NULL;
}

size_t head_count(const struct head *h, const char *name)
{
	size_t len, count = 0;

	if (!(h->initials & initial(name)))
		return 0;
	len = strlen(name);
	for (size_t i = 0; i < h->n; i++)
		count += head_field_is(&h->fields[i], name, len);
	return count;
}

/* The next member of a comma-separated list, without the space around it; false at the end. */
bool head_list_next(const char **at, const char **member, size_t *len)
{
	const char *p = *at, *end;

	while (*p == ',' || *p == ' ' || *p == '\t')
		p++;
	if (!*p)
		return false;
	end = p + strcspn(p, ",");
	*at = end;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*member = p;
	*len = (size_t)(end - p);
	return true;
}

bool head_has_token(const struct head *h, const char *name, const char *token)
{
	size_t name_len = strlen(name), token_len = strlen(token), len;
	const char *at, *member;

	for (size_t i = 0; i < h->n; i++) {
		if (!head_field_is(&h->fields[i], name, name_len))
			continue;
		at = h->fields[i].value;
		while (head_list_next(&at, &member, &len))
			if (len == token_len && !strncasecmp(member, token, len))
				return true;
	}
	return false;
}

void head_keep_method(char *to, size_t size, const char *method)
{
	size_t len = strnlen(method, size - 1);

	memcpy(to, method, len);
	to[len] = '\0';
}

bool head_is_safe(const struct head *h)
{
	static const char *const safe[] = { "GET", "HEAD", "OPTIONS", "TRACE" };

	for (size_t i = 0; h->method && i < sizeof(safe) / sizeof(*safe); i++)
		if (!strcmp(h->method, safe[i]))
			return true;
	return false;
}

/* RFC 9110 section 6.4.1. */
bool head_response_has_body(const struct head *h, const char *method)
{
	if (h->status < 200 || h->status == 204 || h->status == 304)
		return false;
	return !method || strcmp(method, "HEAD") != 0;
}
