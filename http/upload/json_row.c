// SPDX-License-Identifier: Apache-2.0
/*
 * json_row.c -- the text of one JSON object (or array) as a row. yajl reads it whole; strings without escapes stay where
 * they are, others are kept in an arena that is never longer than the text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "http/upload/jsonrows_impl.h"

#define GO   1 /* what a yajl callback returns */
#define STOP 0

static int stop(struct json_row *r, enum row_fault fault)
{
	if (r->fault < 0)
		r->fault = (int)fault;
	return STOP;
}

/* Where the token that ends at `end` begins: behind the token before it come only white space, ',' and ':'. */
static size_t token_begin(const struct json_row *r, size_t end)
{
	size_t at = r->prev;

	while (at < end && strchr(" \t\r\n,:", r->text[at]) && r->text[at])
		at++;
	return at;
}

static size_t token_end(const struct json_row *r)
{
	return yajl_get_bytes_consumed(r->yajl);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* The slot of a name: its own, or the free one where it would stand. */
static uint16_t *find_slot(const struct json_row *r, const char *name, size_t len)
{
	size_t at = XXH3_64bits(name, len) % JSON_SLOTS;

	while (r->slots[at]) {
		const struct cell *known = &r->names[r->slots[at] - 1];

		if (known->len == len && !memcmp(known->text, name, len))
			break;
		at = (at + 1) % JSON_SLOTS;
	}
	return &r->slots[at];
}

static int add_name(struct json_row *r, uint16_t *slot, const char *name, size_t len, uint64_t offset)
{
	char *copy;

	if (r->nnames == ROWS_COLUMNS_MAX)
		return stop(r, ROW_FAULT_COLUMNS);
	if (len > ROWS_NAME_MAX)
		return stop(r, ROW_FAULT_LONG_CELL);
	copy = malloc(len + 1); /* it may have a NUL inside */
	if (!copy) {
		r->error = -ENOMEM;
		return STOP;
	}
	if (len)
		memcpy(copy, name, len);
	r->names[r->nnames] = (struct cell){ .text = copy, .len = (uint32_t)len, .quoted = true, .offset = offset };
	r->column = r->nnames++;
	*slot = (uint16_t)r->nnames;
	return GO;
}

/* Names of a row that is a fault go again: it has told nobody of them. */
static void forget_names(struct json_row *r, uint32_t n)
{
	while (r->nnames > n) {
		struct cell *last = &r->names[--r->nnames];

		/* In the order of a stack no probe sequence breaks: younger names are gone already. */
		*find_slot(r, last->text, last->len) = 0;
		free((char *)last->text);
	}
}

static int on_key(void *arg, const unsigned char *key, size_t len)
{
	struct json_row *r = arg;
	const char *name = (const char *)key;
	size_t end = token_end(r);
	uint32_t next = r->column + 1; /* in most files, all rows have the same order */
	uint16_t *slot;

	if (r->depth > 1) {
		r->prev = end;
		return GO;
	}
	if (memchr(name, '\0', len))
		return stop(r, ROW_FAULT_NUL);
	if (next < r->nnames && r->names[next].len == len && !memcmp(r->names[next].text, name, len)) {
		r->column = next;
	} else {
		slot = find_slot(r, name, len);
		if (*slot)
			r->column = *slot - 1u;
		else if (!add_name(r, slot, name, len, r->offset + token_begin(r, end)))
			return STOP;
	}
	r->prev = end;
	/* The same name twice: no reader agrees with another on what that means. */
	return r->seen[r->column] == r->number ? stop(r, ROW_FAULT_JSON) : GO;
}

/* ---- values ---------------------------------------------------------------------------------- */

static int put(struct json_row *r, const char *text, size_t len, bool null, bool quoted, size_t begin)
{
	if (r->is_array && ++r->column >= ROWS_COLUMNS_MAX)
		return stop(r, ROW_FAULT_COLUMNS);
	if (len > ROWS_CELL_MAX)
		return stop(r, ROW_FAULT_LONG_CELL);
	r->cells[r->column] = (struct cell){
		.text = text, .len = (uint32_t)len, .null = null, .quoted = quoted, .offset = r->offset + begin
	};
	r->seen[r->column] = r->number;
	if (r->column >= r->ncells)
		r->ncells = r->column + 1;
	return GO;
}

static int scalar(struct json_row *r, const char *text, size_t len, bool null, bool quoted)
{
	size_t end = token_end(r), begin = token_begin(r, end);

	r->prev = end;
	if (r->depth > 1)
		return GO;
	if (!r->depth)
		return stop(r, ROW_FAULT_NOT_ROWS);
	return put(r, text, len, null, quoted, begin);
}

static int on_null(void *arg)
{
	return scalar(arg, "", 0, true, false);
}

static int on_boolean(void *arg, int value)
{
	return scalar(arg, value ? "true" : "false", value ? 4 : 5, false, false);
}

static int on_number(void *arg, const char *text, size_t len)
{
	return scalar(arg, text, len, false, false);
}

static int on_string(void *arg, const unsigned char *string, size_t len)
{
	struct json_row *r = arg;
	const char *text = (const char *)string;

	if (r->depth == 1 && (text < r->text || text >= r->text + r->len)) {
		/* Decoded: shorter than its escapes, so that the arena is long enough. */
		if (len > r->arena_size - r->arena_len)
			return stop(r, ROW_FAULT_LONG_CELL);
		text = memcpy(r->arena + r->arena_len, text, len);
		r->arena_len += len;
	}
	if (r->depth == 1 && memchr(text, '\0', len))
		return stop(r, ROW_FAULT_NUL);
	return scalar(r, text, len, false, true);
}

static int open_bracket(struct json_row *r, bool array)
{
	size_t end = token_end(r), begin = token_begin(r, end);

	r->prev = end;
	if (!r->depth && r->complete)
		return stop(r, ROW_FAULT_JSON);
	if (!r->depth) {
		r->is_array = array;
		if (r->told && array != r->positional)
			return stop(r, ROW_FAULT_NOT_ROWS);
	} else if (r->depth == 1) {
		r->nested = begin;
	}
	return ++r->depth > JSON_DEPTH_MAX ? stop(r, ROW_FAULT_DEPTH) : GO;
}

static int close_bracket(struct json_row *r)
{
	r->prev = token_end(r);
	if (--r->depth == 0)
		r->complete = true;
	if (r->depth == 1)
		return put(r, r->text + r->nested, r->prev - r->nested, false, false, r->nested);
	return GO;
}

static int on_start_map(void *arg)
{
	return open_bracket(arg, false);
}

static int on_start_array(void *arg)
{
	return open_bracket(arg, true);
}

static int on_end(void *arg)
{
	return close_bracket(arg);
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_start_map,
	.yajl_map_key = on_key,
	.yajl_end_map = on_end,
	.yajl_start_array = on_start_array,
	.yajl_end_array = on_end,
};

static int renew(struct json_row *r)
{
	if (r->yajl)
		yajl_free(r->yajl);
	r->yajl = yajl_alloc(&callbacks, NULL, r);
	if (!r->yajl)
		return -ENOMEM;
	yajl_config(r->yajl, yajl_allow_multiple_values, 1);
	return 0;
}

/* ---- one element ----------------------------------------------------------------------------- */

static bool is_utf8(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;

	for (size_t i = 0; i < len;) {
		unsigned int more = s[i] < 0x80 ? 0 : s[i] >= 0xc2 && s[i] < 0xe0 ? 1 : (s[i] & 0xf0) == 0xe0 ? 2 :
				    s[i] >= 0xf0 && s[i] < 0xf5			  ? 3 : 4;

		if (more == 4 || more >= len - i)
			return false;
		for (unsigned int k = 1; k <= more; k++) {
			if ((s[i + k] & 0xc0) != 0x80)
				return false;
		}
		i += more + 1;
	}
	return true;
}

static enum row_fault why_not_json(const struct json_row *r)
{
	if (memchr(r->text, '\0', r->len))
		return ROW_FAULT_NUL;
	return is_utf8(r->text, r->len) ? ROW_FAULT_JSON : ROW_FAULT_ENCODING;
}

/* yajl keeps a number at the very end for what might follow it, and says nothing of it. */
static bool ends_there(const struct json_row *r)
{
	for (size_t i = r->prev; i < r->len; i++) {
		if (!strchr(" \t\r\n", r->text[i]) || !r->text[i])
			return false;
	}
	return true;
}

/* 0; -EBADMSG with r->fault; -ENOMEM. */
static int parse(struct json_row *r)
{
	yajl_status status;

	r->depth = 0;
	r->prev = 0;
	r->complete = false;
	r->column = UINT32_MAX;
	r->fault = -1;
	r->ncells = 0;
	r->arena_len = 0;
	if (r->arena_size < r->len) {
		free(r->arena);
		r->arena = malloc(r->len);
		r->arena_size = r->arena ? r->len : 0;
		if (!r->arena)
			return -ENOMEM;
	}
	status = yajl_parse(r->yajl, (const unsigned char *)r->text, r->len);
	if (status == yajl_status_ok && r->complete && !r->depth && ends_there(r))
		return 0;
	if (r->fault < 0 && status == yajl_status_ok)
		r->fault = r->depth ? ROW_FAULT_UNCLOSED : ROW_FAULT_JSON;
	else if (r->fault < 0)
		r->fault = (int)why_not_json(r);
	if (renew(r))
		return -ENOMEM;
	return r->error ? r->error : -EBADMSG;
}

static int tell_fault(struct json_row *r, bool fatal)
{
	size_t at = r->prev < r->len ? r->prev : r->len;
	uint32_t column = r->column < ROWS_COLUMNS_MAX ? r->column : 0;
	int rc = r->sink->fault(r->sink->arg, (enum row_fault)r->fault, r->number, column, r->offset + at, fatal);

	return rc || !fatal ? rc : -EBADMSG;
}

/* The first row of arrays: strings are names. */
static int take_names(struct json_row *r)
{
	for (uint32_t i = 0; i < r->ncells; i++) {
		const struct cell *c = &r->cells[i];
		uint16_t *slot = find_slot(r, c->text, c->len);

		r->fault = -1;
		r->column = i;
		/* Names that are no strings, and names that come twice. */
		if (!c->quoted || *slot)
			stop(r, ROW_FAULT_NOT_ROWS);
		else
			add_name(r, slot, c->text, c->len, c->offset);
		if (r->error)
			return r->error;
		if (r->fault >= 0)
			return tell_fault(r, true);
	}
	r->positional = true;
	r->told = r->nnames;
	r->number--; /* it was the header */
	return r->sink->names(r->sink->arg, r->names, r->nnames);
}

static int tell_row(struct json_row *r, uint64_t length)
{
	struct row row = { .number = r->number, .offset = r->offset, .length = length, .cells = r->cells };
	int rc = 0;

	row.ncells = r->positional ? r->ncells : r->nnames;
	/* Absent is null; it has no place, so that its row's is told. */
	for (uint32_t i = 0; i < row.ncells; i++) {
		if (r->seen[i] != r->number)
			r->cells[i] = (struct cell){ .text = "", .null = true, .offset = r->offset };
	}
	if (r->told < r->nnames || !r->told)
		rc = r->sink->names(r->sink->arg, r->names, r->nnames);
	r->told = r->nnames;
	return rc ? rc : r->sink->row(r->sink->arg, &row);
}

int json_row_take(struct json_row *r, const char *text, size_t len, uint64_t offset, uint64_t length)
{
	uint32_t known = r->nnames;
	int rc;

	r->number++;
	r->text = text;
	r->len = len;
	r->offset = offset;
	rc = parse(r);
	if (rc == -EBADMSG) {
		forget_names(r, known);
		/* A file that begins with something else is something else. */
		return tell_fault(r, r->fault == ROW_FAULT_NOT_ROWS && r->number == 1);
	}
	if (rc)
		return rc;
	if (r->is_array && !r->told)
		return take_names(r);
	return tell_row(r, length);
}

int json_row_open(struct json_row *r, const struct row_sink *sink)
{
	r->sink = sink;
	r->names = calloc(ROWS_COLUMNS_MAX, sizeof(*r->names));
	r->cells = calloc(ROWS_COLUMNS_MAX, sizeof(*r->cells));
	r->seen = calloc(ROWS_COLUMNS_MAX, sizeof(*r->seen));
	r->slots = calloc(JSON_SLOTS, sizeof(*r->slots));
	return r->names && r->cells && r->seen && r->slots ? renew(r) : -ENOMEM;
}

void json_row_close(struct json_row *r)
{
	for (uint32_t i = 0; i < r->nnames; i++)
		free((char *)r->names[i].text);
	free(r->names);
	free(r->cells);
	free(r->seen);
	free(r->slots);
	free(r->arena);
	if (r->yajl)
		yajl_free(r->yajl);
}
