// SPDX-License-Identifier: Apache-2.0
/*
 * h1_shape.c -- see h1_shape.h. Two small machines: one for lines (head and trailers), one for the
 * line before a chunk; bodies are only counted.
 */
#include <errno.h>
#include <string.h>

#include "user/tunnel/h1_shape.h"
#include "user/tunnel/head_impl.h"

enum line_state {
	LINE_FIRST, /* before a request's line, where one empty line is let through */
	LINE_FIRST_LF,
	LINE_START_LINE, /* in the request's or status line */
	LINE_BEGIN,	 /* before a field, or the end */
	LINE_NAME,
	LINE_VALUE,
	LINE_LF,
	LINE_END_LF,
};

enum chunk_state {
	CHUNK_CR, /* after the data of a chunk */
	CHUNK_LF,
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_LINE_LF,
};

/* RFC 9110 section 5.6.2. */
static const bool is_tchar[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,	    ['&'] = 1,	       ['\''] = 1,
	['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,	    ['^'] = 1,	       ['_'] = 1,
	['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1,
};

/* In a value: what is visible, space, tab, and bytes above ASCII. */
static const bool is_text[256] = { ['\t'] = 1, [' ' ... '~'] = 1, [0x80 ... 0xff] = 1 };
/* In a request's line: visible ASCII and the two spaces. */
static const bool is_visible[256] = { [' ' ... '~'] = 1 };

void h1_shape_begin(struct h1_shape *s, bool response, size_t header_bytes_max)
{
	*s = (struct h1_shape){ .part = H1_PART_HEAD,
				.state = response ? LINE_START_LINE : LINE_FIRST,
				.response = response,
				.lines_max = header_bytes_max };
}

void h1_shape_body(struct h1_shape *s, enum h1_framing framing, uint64_t length)
{
	s->left = length;
	switch (framing) {
	case H1_LENGTH:
		s->part = length ? H1_PART_BODY : H1_PART_END;
		break;
	case H1_CHUNKED:
		s->part = H1_PART_CHUNK_LINE;
		s->state = CHUNK_SIZE;
		s->left = s->digits = 0;
		break;
	case H1_CLOSE:
		s->part = H1_PART_STREAM;
		break;
	default:
		s->part = H1_PART_END;
	}
}

static const uint8_t *run_of(const bool set[256], const uint8_t *p, const uint8_t *end)
{
	while (p < end && set[*p])
		p++;
	return p;
}

/* The same of is_text, eight at a time. */
static const uint8_t *text_run(const uint8_t *p, const uint8_t *end)
{
	for (; end - p >= 8; p += 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		if (head_has_control(w))
			break;
	}
	return run_of(is_text, p, end);
}

/* One step: at most a run of equal meaning. NULL: not allowed here. */
static const uint8_t *line_step(struct h1_shape *s, const uint8_t *p, const uint8_t *end)
{
	switch ((enum line_state)s->state) {
	case LINE_FIRST:
		if (*p == '\r' && !s->line) {
			s->state = LINE_FIRST_LF;
			return p + 1;
		}
		s->state = LINE_START_LINE;
		return is_tchar[*p] ? p + 1 : NULL;
	case LINE_FIRST_LF:
		s->state = LINE_FIRST;
		s->line = 1;
		return *p == '\n' ? p + 1 : NULL;
	case LINE_START_LINE:
		p = s->response ? text_run(p, end) : run_of(is_visible, p, end);
		break;
	case LINE_BEGIN:
		if (*p == '\r') {
			s->state = LINE_END_LF;
			return p + 1;
		}
		s->state = LINE_NAME;
		return is_tchar[*p] ? p + 1 : NULL;
	case LINE_NAME:
		p = run_of(is_tchar, p, end);
		if (p == end)
			return p;
		s->state = LINE_VALUE;
		return *p == ':' ? p + 1 : NULL;
	case LINE_VALUE:
		p = text_run(p, end);
		break;
	case LINE_LF:
		s->state = LINE_BEGIN;
		return *p == '\n' ? p + 1 : NULL;
	case LINE_END_LF:
		s->part = H1_PART_END;
		return *p == '\n' ? p + 1 : NULL;
	}
	if (p == end)
		return p;
	s->state = LINE_LF;
	return *p == '\r' ? p + 1 : NULL;
}

static long lines_take(struct h1_shape *s, const uint8_t *data, size_t len)
{
	enum h1_part part = s->part;
	const uint8_t *p = data, *end = data + len;

	while (p && p < end && s->part == part)
		p = line_step(s, p, end);
	if (!p)
		return -EBADMSG;
	s->lines += (size_t)(p - data);
	return s->lines > s->lines_max ? -EMSGSIZE : p - data;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int chunk_size(struct h1_shape *s, uint8_t c)
{
	int digit = hex_digit(c);

	if (digit >= 0) {
		s->left = s->left << 4 | (uint64_t)digit;
		return ++s->digits > 15 ? -EBADMSG : 0; /* 2^60 bytes */
	}
	s->line = 0;
	if (!s->digits || (c != ';' && c != '\r'))
		return -EBADMSG;
	s->state = c == ';' ? CHUNK_EXTENSION : CHUNK_LINE_LF;
	return 0;
}

static int chunk_extension(struct h1_shape *s, uint8_t c)
{
	if (c == '\r') {
		s->state = CHUNK_LINE_LF;
		return 0;
	}
	if (!is_visible[c] && c != '\t')
		return -EBADMSG;
	return ++s->line > H1_EXTENSION_LINE || ++s->extensions > H1_EXTENSION_ALL ? -EMSGSIZE : 0;
}

static int chunk_line_end(struct h1_shape *s, uint8_t c)
{
	if (c != '\n')
		return -EBADMSG;
	s->part = s->left ? H1_PART_CHUNK_DATA : H1_PART_TRAILERS;
	if (s->part == H1_PART_TRAILERS) {
		s->state = LINE_BEGIN;
		s->lines = 0;
	}
	return 0;
}

static int chunk_step(struct h1_shape *s, uint8_t c)
{
	switch ((enum chunk_state)s->state) {
	case CHUNK_CR:
		s->state = CHUNK_LF;
		return c == '\r' ? 0 : -EBADMSG;
	case CHUNK_LF:
		s->state = CHUNK_SIZE;
		s->left = s->digits = 0;
		return c == '\n' ? 0 : -EBADMSG;
	case CHUNK_SIZE:
		return chunk_size(s, c);
	case CHUNK_EXTENSION:
		return chunk_extension(s, c);
	case CHUNK_LINE_LF:
		return chunk_line_end(s, c);
	}
	return -EBADMSG;
}

static long chunk_line_take(struct h1_shape *s, const uint8_t *data, size_t len)
{
	size_t n = 0;

	while (n < len && s->part == H1_PART_CHUNK_LINE) {
		int rc = chunk_step(s, data[n++]);

		if (rc)
			return rc;
	}
	return (long)n;
}

static long counted_take(struct h1_shape *s, size_t len)
{
	size_t n = len < s->left ? len : (size_t)s->left;

	s->left -= n;
	if (s->left)
		return (long)n;
	if (s->part == H1_PART_BODY) {
		s->part = H1_PART_END;
	} else {
		s->part = H1_PART_CHUNK_LINE;
		s->state = CHUNK_CR;
	}
	return (long)n;
}

long h1_shape_take(struct h1_shape *s, const uint8_t *data, size_t len)
{
	switch (s->part) {
	case H1_PART_HEAD:
	case H1_PART_TRAILERS:
		return lines_take(s, data, len);
	case H1_PART_BODY:
	case H1_PART_CHUNK_DATA:
		return counted_take(s, len);
	case H1_PART_CHUNK_LINE:
		return chunk_line_take(s, data, len);
	case H1_PART_STREAM:
		return (long)len;
	case H1_PART_END:
		break;
	}
	return 0;
}
