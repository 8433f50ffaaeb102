/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csv.c -- the CSV reader: bytes are copied (or converted) into a window that holds at least the row under way, csv_scan.c
 * finds the bytes that matter, and a small state machine makes cells of what lies between them. Cells are unquoted where
 * they are. What a byte means may depend on the next one (CR, a quote inside quotes): then the machine waits for it,
 * so that pieces of any size give the same rows.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/csv.h"
#include "http/upload/csv_scan.h"
#include "http/upload/csv_text.h"

#define WINDOW	 (64u << 10) /* at the beginning; grows to hold a row of ROWS_ROW_MAX */
#define ROOM_MIN (16u << 10) /* free at its end before a piece is taken */

#define unlikely(x) __builtin_expect(!!(x), 0)

enum state {
	START,	 /* of a cell: a quote as its first byte opens it */
	TEXT,	 /* in a cell whose beginning was dropped, or behind text that follows a closing quote */
	CLOSED,	 /* right behind a closing quote */
	QUOTED,
	COMMENT, /* to the end of the line */
};

struct csv {
	struct csv_dialect dialect;
	struct row_sink sink;
	csv_scan_fn *scan;
	struct text_convert convert;
	bool converts;

	char *buf;
	size_t size, end;     /* of the window; CSV_SCAN_PAD more are allocated */
	size_t pos;	      /* looked at up to here */
	size_t skip;	      /* events before it are already understood */
	size_t row, cell;     /* where they begin */
	size_t close;	      /* the closing quote */
	uint64_t base;	      /* offset of buf[0] in the text as UTF-8 … */
	uint64_t row_offset, cell_offset; /* … and of row and cell in the original, when it is converted */

	enum state state;
	bool started, named, final;
	bool dropping; /* the row is too long: nothing of it is kept */
	bool quoted, escaped;
	bool high, nul; /* bytes beyond ASCII, NUL may be in the row */
	bool quote_told;
	int error;
	uint64_t rows;
	uint32_t ncells;
	struct cell cells[ROWS_COLUMNS_MAX];
	struct csv_scan found;
};

int csv_new(struct csv **out, const struct csv_dialect *dialect, const struct row_sink *sink)
{
	struct csv *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->buf = malloc(WINDOW + CSV_SCAN_PAD);
	if (!c->buf) {
		free(c);
		return -ENOMEM;
	}
	memset(c->buf + WINDOW, 0, CSV_SCAN_PAD);
	c->size = WINDOW;
	c->dialect = *dialect;
	c->sink = *sink;
	c->scan = csv_scan_best();
	c->found.delimiter = dialect->delimiter;
	c->found.quote = dialect->quote;
	c->convert.encoding = dialect->encoding;
	c->converts = dialect->encoding >= ENC_UTF16LE;
	*out = c;
	return 0;
}

void csv_free(struct csv *c)
{
	if (!c)
		return;
	free(c->buf);
	free(c);
}

static uint64_t cell_offset(const struct csv *c)
{
	return c->converts ? c->cell_offset : c->base + c->cell;
}

static int tell(struct csv *c, enum row_fault fault, uint32_t column, uint64_t offset, bool fatal)
{
	if (!c->error)
		c->error = c->sink.fault(c->sink.arg, fault, c->named || !c->dialect.header ? c->rows + 1 : 0, column, offset, fatal);
	if (!c->error && fatal)
		c->error = -EBADMSG;
	return c->error;
}

/* The row cannot be kept. Without names nothing can be read. */
static void drop(struct csv *c, enum row_fault fault, uint64_t offset)
{
	bool names = !c->named && c->dialect.header;

	tell(c, fault, fault == ROW_FAULT_LONG_CELL ? c->ncells : ROWS_NO_COLUMN, offset, names);
	c->dropping = true;
}

/* A byte at or behind the result is too much for the cell or the row. */
static size_t limit(const struct csv *c)
{
	size_t cell = c->cell + ROWS_CELL_MAX, row = c->row + ROWS_ROW_MAX;

	return c->dropping || c->state == COMMENT ? SIZE_MAX : cell < row ? cell : row;
}

static void too_long(struct csv *c)
{
	if (c->cell + ROWS_CELL_MAX <= c->row + ROWS_ROW_MAX)
		drop(c, ROW_FAULT_LONG_CELL, cell_offset(c));
	else
		drop(c, ROW_FAULT_LONG_ROW, c->converts ? c->row_offset : c->base + c->row);
}

/* Takes the quotes out of the cell s[0..len), in place, as Python does; its length. */
static uint32_t unquote(char *s, size_t len, char quote)
{
	char *out = s;
	bool inside = true;

	for (size_t i = 1; i < len; i++) {
		if (inside && s[i] == quote) {
			if (i + 1 < len && s[i + 1] == quote)
				i++;
			else
				inside = false;
			if (!inside)
				continue;
		}
		*out++ = s[i];
	}
	return (uint32_t)(out - s);
}

/* A new cell begins at next. */
static inline void cell_begin(struct csv *c, size_t next)
{
	if (unlikely(c->converts))
		c->cell_offset += text_original_bytes(c->dialect.encoding, c->buf + c->cell, next - c->cell);
	c->cell = next;
	c->state = START;
}

static void cell_quoted(struct csv *c, struct cell *cell, size_t end)
{
	size_t start = c->cell;

	if (c->converts) { /* the length in the original, before bytes are moved */
		c->cell_offset += text_original_bytes(c->dialect.encoding, c->buf + start, end - start);
		c->cell = end;
	}
	if (c->state == CLOSED && !c->escaped) {
		cell->text = c->buf + start + 1;
		cell->len = (uint32_t)(c->close - start - 1);
	} else {
		cell->text = c->buf + start;
		cell->len = unquote(c->buf + start, end - start, c->dialect.quote);
	}
	cell->quoted = true;
	cell->null = false;
	c->quoted = c->escaped = false;
}

/* The cell ends at end, the next begins behind it. */
static inline void cell_end(struct csv *c, size_t end)
{
	struct cell *cell = &c->cells[c->ncells];

	if (unlikely(c->dropping)) {
		c->quoted = c->escaped = false;
	} else if (unlikely(c->ncells == ROWS_COLUMNS_MAX)) {
		drop(c, ROW_FAULT_COLUMNS, cell_offset(c));
		c->quoted = c->escaped = false;
	} else {
		c->ncells++;
		cell->offset = cell_offset(c);
		if (unlikely(c->quoted)) {
			cell_quoted(c, cell, end);
		} else {
			cell->text = c->buf + c->cell;
			cell->len = (uint32_t)(end - c->cell);
			cell->null = end == c->cell;
			cell->quoted = false;
		}
	}
}

static void bad_bytes(struct csv *c, struct cell *cell, uint32_t column, bool *told)
{
	char *text = (char *)cell->text; /* into our own window */
	size_t at = 0;

	while ((at += text_utf8_valid(text + at, cell->len - at)) < cell->len) {
		if (!*told)
			tell(c, ROW_FAULT_ENCODING, column, cell->offset + at, false);
		*told = true;
		text[at++] = '?';
	}
}

/* Bytes that no text should have: only looked for where the scan has seen some that may be. */
static void row_bytes(struct csv *c)
{
	bool encoding = false, nul = false;

	for (uint32_t i = 0; i < c->ncells; i++) {
		struct cell *cell = &c->cells[i];
		const char *at;

		if (c->high && !c->converts)
			bad_bytes(c, cell, i, &encoding);
		if (c->high && c->dialect.encoding != ENC_LATIN1 && c->converts && !encoding &&
		    memmem(cell->text, cell->len, "\xef\xbf\xbd", 3)) { /* what was no UTF-16 */
			tell(c, ROW_FAULT_ENCODING, i, cell->offset, false);
			encoding = true;
		}
		at = c->nul && !nul && cell->len ? memchr(cell->text, '\0', cell->len) : NULL;
		if (at) {
			tell(c, ROW_FAULT_NUL, i, cell->offset + (uint64_t)(at - cell->text), false);
			nul = true;
		}
	}
}

/* "column1", "column2" … for a file without names. */
static int names_make(struct csv *c)
{
	struct cell *names = calloc(c->ncells, sizeof(*names));
	char(*text)[16] = calloc(c->ncells, sizeof(*text));
	int rc = -ENOMEM;

	if (names && text) {
		for (uint32_t i = 0; i < c->ncells; i++) {
			names[i].text = text[i];
			names[i].len = (uint32_t)snprintf(text[i], sizeof(text[i]), "column%u", i + 1);
		}
		rc = c->sink.names(c->sink.arg, names, c->ncells);
	}
	free(names);
	free(text);
	return rc;
}

static void row_tell(struct csv *c, uint64_t length)
{
	struct row row = { .number = c->rows + 1,
			   .offset = c->converts ? c->row_offset : c->base + c->row,
			   .length = length,
			   .cells = c->cells,
			   .ncells = c->ncells };

	if (unlikely(c->high || c->nul))
		row_bytes(c);
	if (c->error)
		return;
	if (unlikely(!c->named)) {
		c->error = c->dialect.header ? c->sink.names(c->sink.arg, c->cells, c->ncells) : names_make(c);
		if (c->dialect.header || c->error)
			return;
	}
	c->error = c->sink.row(c->sink.arg, &row);
}

/* The line ends at end, its line end before next. */
static void row_end(struct csv *c, size_t end, size_t next)
{
	bool blank = c->state == COMMENT || (!c->ncells && end == c->cell && c->state == START && !c->dropping);

	if (blank) {
		cell_begin(c, next);
	} else {
		cell_end(c, end);
		cell_begin(c, next);
		if (!c->dropping)
			row_tell(c, c->converts ? c->cell_offset - c->row_offset : next - c->row);
		if (c->named || !c->dialect.header)
			c->rows++;
		c->named |= !c->dropping;
	}
	c->row = next;
	c->row_offset = c->cell_offset;
	c->ncells = 0;
	c->dropping = c->quote_told = false;
	c->high = c->found.high;
	c->nul = c->found.nul;
}

/* A quote: opens, closes, is doubled, or should not be there. False: it depends on a byte that is not here yet. */
static bool quote_at(struct csv *c, size_t p)
{
	char next;

	if (c->state == START && p == c->cell) {
		c->state = QUOTED;
		c->quoted = true;
		return true;
	}
	if (c->state == QUOTED) {
		if (p + 1 == c->end && !c->final)
			return false;
		next = p + 1 < c->end ? c->buf[p + 1] : '\n';
		if (next == c->dialect.quote && p + 1 < c->end) {
			c->escaped = true;
			c->skip = p + 2;
			return true;
		}
		c->close = p;
		c->state = CLOSED;
		if (next == c->dialect.delimiter || next == '\n' || next == '\r')
			return true;
		c->state = TEXT;
	}
	if (!c->quote_told && !c->dropping)
		tell(c, ROW_FAULT_QUOTE, c->ncells, cell_offset(c), false);
	c->quote_told = true;
	return true;
}

static bool comment_here(struct csv *c)
{
	if (c->dialect.comment && !c->ncells && c->state == START && !c->dropping && c->cell < c->end &&
	    c->cell == c->row && c->buf[c->cell] == c->dialect.comment)
		c->state = COMMENT;
	return c->state == COMMENT;
}

/* The byte at p means something. False: wait for the one behind it. */
static bool event(struct csv *c, size_t p)
{
	char ch = c->buf[p];

	if (p < c->skip)
		return true;
	if (unlikely(c->dialect.comment && comment_here(c)) && ch != '\n' && ch != '\r')
		return true;
	if (unlikely(p > limit(c)))
		too_long(c);
	if (c->state == QUOTED && ch != c->dialect.quote)
		return true;
	if (ch == c->dialect.delimiter) {
		cell_end(c, p);
		cell_begin(c, p + 1);
	} else if (ch == '\n') {
		row_end(c, p, p + 1);
	} else if (ch == '\r') {
		if (p + 1 == c->end && !c->final)
			return false;
		c->skip = p + 1 < c->end && c->buf[p + 1] == '\n' ? p + 2 : p + 1;
		row_end(c, p, c->skip);
	} else {
		return quote_at(c, p);
	}
	return true;
}

/*
 * What was found between c->pos and there. False: wait for more, from *at. Cells without quotes that end with a
 * delimiter are nearly all of a file: they are made here, unless something is unusual about the piece: then, and
 * for all else, event() does it.
 */
static bool events(struct csv *c, size_t len, size_t *at)
{
	const uint16_t *found = c->found.at, *stop = found + c->found.n;
	const char delimiter = c->dialect.delimiter, *buf = c->buf;
	const size_t pos = c->pos;
	const bool usual = !c->converts && !c->dialect.comment && pos + len <= limit(c);

	while (found < stop) {
		size_t cell = c->cell;
		uint32_t n = c->ncells;

		if (usual && c->state == START && !c->dropping) {
			for (; found < stop && buf[pos + *found] == delimiter && n < ROWS_COLUMNS_MAX; found++, n++) {
				size_t end = pos + *found;

				c->cells[n] = (struct cell){ .text = buf + cell, .len = (uint32_t)(end - cell), .null = end == cell, .offset = c->base + cell };
				cell = end + 1;
			}
			c->cell = cell;
			c->ncells = n;
			if (found == stop)
				break;
		}
		*at = pos + *found++;
		if (!event(c, *at))
			return false;
		if (c->error)
			break;
	}
	return true;
}

/* All that is in the window. */
static void parse(struct csv *c)
{
	if (!c->started) {
		size_t n = c->end < 3 ? c->end : 3;

		if (n < 3 && !c->final && !memcmp(c->buf, "\xef\xbb\xbf", n))
			return;
		c->started = true;
		if (n == 3 && !memcmp(c->buf, "\xef\xbb\xbf", 3)) {
			c->cell_offset = c->row_offset = text_original_bytes(c->dialect.encoding, c->buf, 3);
			c->pos = c->cell = c->row = 3;
		}
	}
	while (c->pos < c->end && !c->error) {
		size_t len = c->end - c->pos < CSV_SCAN_MAX ? c->end - c->pos : CSV_SCAN_MAX, at;

		c->scan(&c->found, c->buf + c->pos, len);
		c->high |= c->found.high;
		c->nul |= c->found.nul;
		if (!events(c, len, &at)) {
			c->pos = at;
			return;
		}
		c->pos += len;
	}
	if (!c->error && !comment_here(c) && c->end > limit(c))
		too_long(c);
}

/* The window's content moves to its beginning; old is where the cells of this row point into. */
static void shift(struct csv *c, size_t by, const char *old)
{
	for (uint32_t i = 0; i < c->ncells; i++)
		c->cells[i].text = c->buf + (c->cells[i].text - old) - by;
	c->base += by;
	c->end -= by;
	c->pos -= by;
	c->row -= by;
	c->cell -= by;
	c->close -= c->close < by ? c->close : by;
	c->skip -= c->skip < by ? c->skip : by;
}

/* Of a row that is dropped, and of a comment, nothing is kept. */
static void forget(struct csv *c)
{
	if (!c->dropping && !comment_here(c))
		return;
	if (c->converts && c->pos > c->cell)
		c->cell_offset += text_original_bytes(c->dialect.encoding, c->buf + c->cell, c->pos - c->cell);
	if (c->state == START && c->pos > c->cell)
		c->state = TEXT;
	c->ncells = 0;
	c->row = c->cell = c->pos;
}

static int make_room(struct csv *c)
{
	const char *old = c->buf;
	size_t by;
	char *grown;

	if (c->size - c->end >= ROOM_MIN)
		return 0;
	forget(c);
	by = c->row;
	if (by) {
		memmove(c->buf, c->buf + by, c->end - by);
		shift(c, by, old);
	}
	if (c->size - c->end >= c->size / 2)
		return 0;
	grown = malloc(c->size * 2 + CSV_SCAN_PAD);
	if (!grown)
		return -ENOMEM;
	memcpy(grown, c->buf, c->end);
	memset(grown + c->end, 0, c->size * 2 - c->end + CSV_SCAN_PAD);
	for (uint32_t i = 0; i < c->ncells; i++)
		c->cells[i].text = grown + (c->cells[i].text - old);
	free(c->buf);
	c->buf = grown;
	c->size *= 2;
	return 0;
}

int csv_feed(struct csv *c, const void *data, size_t len)
{
	const char *in = data;

	while (len && !c->error) {
		size_t used;

		c->error = make_room(c);
		if (c->error)
			break;
		if (c->converts) {
			c->end += text_convert(&c->convert, in, len, &used, c->buf + c->end, c->size - c->end);
		} else {
			used = c->size - c->end < len ? c->size - c->end : len;
			memcpy(c->buf + c->end, in, used);
			c->end += used;
		}
		in += used;
		len -= used;
		parse(c);
		if (!c->error && c->row == c->end && !c->dropping && c->state == START && c->started) /* whole rows: begin anew */
			shift(c, c->end, c->buf);
	}
	return c->error;
}

int csv_end(struct csv *c)
{
	if (c->error)
		return c->error;
	c->error = make_room(c);
	if (c->error)
		return c->error;
	if (c->converts)
		c->end += text_convert_end(&c->convert, c->buf + c->end);
	c->final = true;
	parse(c);
	if (c->error || (c->row == c->end && !c->dropping && !c->ncells) || comment_here(c))
		return c->error;
	if (c->state == QUOTED && !c->dropping)
		tell(c, ROW_FAULT_UNCLOSED, c->ncells, cell_offset(c), false);
	if (!c->error)
		row_end(c, c->end, c->end);
	return c->error;
}
