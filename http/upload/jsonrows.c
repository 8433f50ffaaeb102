// SPDX-License-Identifier: Apache-2.0
/*
 * jsonrows.c -- cuts JSON Lines at its line ends and a JSON array at its members, in pieces of any size.
 *
 * Brackets and quotes are followed here so that no more than one row is ever kept: yajl alone would keep a string of
 * any length. What stands between the brackets is yajl's to judge.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/jsonrows_impl.h"

#define BOM_OVER 4u

enum place {
	AT_BEGIN,     /* white space, a BOM, '[' */
	BEFORE_FIRST, /* a member or ']' */
	BEFORE,	      /* a member */
	WITHIN,	      /* brackets */
	SCALAR,	      /* a member that is no row */
	BEHIND,	      /* ',' or ']' */
	AT_END,	      /* white space */
};

struct jsonrows {
	struct row_sink sink;
	struct json_row row;
	bool lines, over; /* over: a fatal fault was told */
	unsigned int bom; /* bytes of it that were there; BOM_OVER: it is behind us */
	uint64_t offset;  /* of the next byte */
	/* the element that is not whole yet */
	char *buf;
	size_t len, size;
	bool too_long;
	uint64_t begin;
	/* of an array */
	enum place place;
	unsigned int depth;
	uint64_t kinds; /* a bit a depth: 1 is '[' */
	bool in_string, escaped;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int fault(struct jsonrows *j, enum row_fault what, uint64_t row, uint64_t offset, bool fatal)
{
	int rc = j->sink.fault(j->sink.arg, what, row, 0, offset, fatal);

	j->over = j->over || fatal;
	return rc || !fatal ? rc : -EBADMSG;
}

/* Keeps a part of an element; one that grows too long is passed over from then on. */
static int keep(struct jsonrows *j, const char *text, size_t len)
{
	size_t size = j->size ? j->size : 4096;
	char *buf;

	if (j->too_long || len > ROWS_ROW_MAX - j->len) {
		j->too_long = true;
		return 0;
	}
	while (size < j->len + len)
		size *= 2;
	if (size != j->size) {
		buf = realloc(j->buf, size);
		if (!buf)
			return -ENOMEM;
		j->buf = buf;
		j->size = size;
	}
	if (len)
		memcpy(j->buf + j->len, text, len);
	j->len += len;
	return 0;
}

/* The element's last part is there: parsed where it stands when it is its only one. */
static int take(struct jsonrows *j, const char *text, size_t len, uint64_t length)
{
	int rc;

	if (j->len || j->too_long || len > ROWS_ROW_MAX) {
		rc = keep(j, text, len);
		if (rc)
			return rc;
		text = j->buf;
		len = j->len;
	}
	j->len = 0;
	if (j->too_long) {
		j->too_long = false;
		j->row.number++;
		return fault(j, ROW_FAULT_LONG_ROW, j->row.number, j->begin, false);
	}
	rc = json_row_take(&j->row, text, len, j->begin, length);
	j->over = j->over || rc == -EBADMSG;
	return rc;
}

/* ---- JSON Lines ------------------------------------------------------------------------------ */

static int feed_lines(struct jsonrows *j, const char *data, size_t len)
{
	const char *end = data + len;
	int rc = 0;

	while (data < end && !rc) {
		const char *nl;
		size_t n;

		/* Space before a row is nobody's, so that a line of it alone is no row. */
		if (!j->len && !j->too_long && is_space(*data)) {
			data++;
			j->offset++;
			continue;
		}
		nl = memchr(data, '\n', (size_t)(end - data));
		n = (size_t)((nl ? nl : end) - data);
		if (!j->len && !j->too_long)
			j->begin = j->offset;
		j->offset += n + (nl != NULL);
		rc = nl ? take(j, data, n, j->offset - j->begin) : keep(j, data, n);
		data += n + 1;
	}
	return rc;
}

/* ---- an array -------------------------------------------------------------------------------- */

/* Follows brackets and quotes from data on; returns the byte behind the member's end, or NULL when it is not there.
 * *rc is set when a bracket closes another kind's. */
static const char *follow(struct jsonrows *j, const char *data, const char *end, bool *mismatch)
{
	for (; data < end; data++) {
		char c = *data;

		if (j->in_string) {
			if (j->escaped)
				j->escaped = false;
			else if (c == '\\')
				j->escaped = true;
			else if (c == '"')
				j->in_string = false;
		} else if (c == '"') {
			j->in_string = true;
		} else if (c == '{' || c == '[') {
			if (j->depth < 64)
				j->kinds = (j->kinds & ~(1ull << j->depth)) | (uint64_t)(c == '[') << j->depth;
			j->depth++;
		} else if (c == '}' || c == ']') {
			j->depth--;
			if (j->depth < 64 && (j->kinds >> j->depth & 1) != (c == ']')) {
				*mismatch = true;
				return data;
			}
			if (!j->depth)
				return data + 1;
		}
	}
	return NULL;
}

/* Within a member: as much of data as belongs to it. */
static int feed_member(struct jsonrows *j, const char **data, const char *end)
{
	bool mismatch = false;
	const char *stop = follow(j, *data, end, &mismatch);
	size_t n = (size_t)((stop ? stop : end) - *data);
	int rc;

	j->offset += n;
	if (mismatch)
		return fault(j, ROW_FAULT_JSON, j->row.number + 1, j->offset, true);
	if (stop) {
		j->place = BEHIND;
		rc = take(j, *data, n, j->offset - j->begin);
	} else {
		rc = keep(j, *data, n);
	}
	*data += n;
	return rc;
}

static int begin_member(struct jsonrows *j, char c)
{
	j->begin = j->offset;
	if (c == '{' || c == '[') {
		j->place = WITHIN;
		j->depth = 0;
		j->in_string = j->escaped = false;
		return 0;
	}
	if (c == ',' || c == ']' || c == '}' || c == ':')
		return fault(j, ROW_FAULT_JSON, j->row.number + 1, j->offset, true);
	j->place = SCALAR;
	j->in_string = c == '"';
	j->escaped = false;
	j->row.number++;
	return fault(j, ROW_FAULT_NOT_ROWS, j->row.number, j->offset, j->row.number == 1);
}

/* A member that is no row is passed over up to what ends it, which it leaves. */
static bool within_scalar(struct jsonrows *j, char c)
{
	if (j->in_string) {
		if (j->escaped)
			j->escaped = false;
		else if (c == '\\')
			j->escaped = true;
		else if (c == '"')
			j->in_string = false;
		return true;
	}
	if (c == '"')
		j->in_string = true;
	return c != ',' && c != ']';
}

/* A byte between members; it is passed over with 0 unless a member begins with it. */
static int feed_between(struct jsonrows *j, char c)
{
	if (is_space(c))
		return 0;
	switch (j->place) {
	case AT_BEGIN:
		j->place = BEFORE_FIRST;
		return c == '[' ? 0 : fault(j, ROW_FAULT_NOT_ROWS, 0, j->offset, true);
	case BEFORE_FIRST:
		if (c == ']') {
			j->place = AT_END;
			return 0;
		}
		return begin_member(j, c);
	case BEFORE:
		return begin_member(j, c);
	case BEHIND:
		j->place = c == ',' ? BEFORE : AT_END;
		return c == ',' || c == ']' ? 0 : fault(j, ROW_FAULT_JSON, j->row.number + 1, j->offset, true);
	default:
		return fault(j, ROW_FAULT_JSON, 0, j->offset, true);
	}
}

static int feed_array(struct jsonrows *j, const char *data, size_t len)
{
	const char *end = data + len;
	int rc = 0;

	while (data < end && !rc) {
		if (j->place == WITHIN) {
			rc = feed_member(j, &data, end);
			continue;
		}
		if (j->place == SCALAR && !within_scalar(j, *data))
			j->place = BEHIND;
		if (j->place != SCALAR)
			rc = feed_between(j, *data);
		/* The member's first byte is the member's. */
		if (j->place == WITHIN)
			continue;
		data++;
		j->offset++;
	}
	return rc;
}

/* ---- both ------------------------------------------------------------------------------------ */

/* Bytes of a BOM at the beginning, which may come one by one. -EBADMSG: a part of one. */
static int pass_bom(struct jsonrows *j, const char **data, size_t *len)
{
	static const char bom[] = "\xef\xbb\xbf";

	while (*len && j->bom < 3 && **data == bom[j->bom]) {
		j->bom++;
		j->offset++;
		(*data)++;
		(*len)--;
	}
	if (j->bom < 3 && (!*len || !j->bom)) {
		if (*len)
			j->bom = BOM_OVER;
		return 0;
	}
	if (j->bom < 3)
		return fault(j, ROW_FAULT_ENCODING, 0, 0, true);
	j->bom = BOM_OVER;
	return 0;
}

int jsonrows_new(struct jsonrows **out, bool lines, const struct row_sink *sink)
{
	struct jsonrows *j = calloc(1, sizeof(*j));
	int rc;

	if (!j)
		return -ENOMEM;
	j->sink = *sink;
	j->lines = lines;
	rc = json_row_open(&j->row, &j->sink);
	if (rc) {
		jsonrows_free(j);
		return rc;
	}
	*out = j;
	return 0;
}

int jsonrows_feed(struct jsonrows *j, const void *data, size_t len)
{
	const char *text = data;
	int rc = 0;

	if (j->over)
		return -EBADMSG;
	if (j->bom != BOM_OVER)
		rc = pass_bom(j, &text, &len);
	if (rc)
		return rc;
	return j->lines ? feed_lines(j, text, len) : feed_array(j, text, len);
}

int jsonrows_end(struct jsonrows *j)
{
	if (j->over)
		return -EBADMSG;
	if (j->lines)
		return j->len || j->too_long ? take(j, "", 0, j->offset - j->begin) : 0;
	if (j->place == AT_END)
		return 0;
	return fault(j, j->place == AT_BEGIN ? ROW_FAULT_NOT_ROWS : ROW_FAULT_UNCLOSED, j->row.number + 1, j->offset, true);
}

void jsonrows_free(struct jsonrows *j)
{
	if (!j)
		return;
	json_row_close(&j->row);
	free(j->buf);
	free(j);
}
