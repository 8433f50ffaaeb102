/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sniff_dialect.c -- the dialect of CSV by its first rows: the delimiter that gives the most even rows, the quote that cells
 * are put in, and whether the first row names the others.
 *
 * A file of one column must stay one: a delimiter counts only when the first row has it as often as the others do, and ':'
 * not where it is a part of times, addresses or URLs. Where no delimiter is convincing one is given that does not
 * occur.
 */
#include <string.h>

#include "http/upload/sniff_dialect.h"
#include "http/upload/value.h"

#define ROWS	256u /* that are looked at */
#define COLUMNS 64u  /* whose types are looked at */

struct span {
	const char *text;
	size_t len;
};

struct grid { /* what one delimiter makes of the text */
	char delimiter, quote;
	unsigned int nrows;
	unsigned int cells[ROWS]; /* of each row */
	unsigned int quoted, single; /* cells in "", in '' */
	unsigned int inner;	     /* quotes inside cells without quotes */
};

/* The end of the cell at s, and whether it was in quotes; *stop: the delimiter, a line end or '\0' for the end. */
static const char *cell_end(const char *s, const char *end, char delimiter, char quote, bool *quoted)
{
	*quoted = quote && s < end && *s == quote;
	if (*quoted) {
		for (s++; s < end; s++) {
			if (*s != quote)
				continue;
			if (s + 1 < end && s[1] == quote)
				s++;
			else
				break;
		}
		s += s < end;
	}
	while (s < end && *s != delimiter && *s != '\n' && *s != '\r')
		s++;
	return s;
}

/* Behind the line end at s. */
static const char *line_next(const char *s, const char *end)
{
	if (s < end && *s == '\r')
		return s + 1 < end && s[1] == '\n' ? s + 2 : s + 1;
	return s + (s < end);
}

/* One row into at most max spans; *next: behind it. The number of cells. */
static unsigned int row_cells(const char *s, const char *end, char delimiter, char quote, struct span *spans, unsigned int max, const char **next,
			      struct grid *g)
{
	unsigned int n = 0;

	for (;;) {
		bool quoted;
		const char *e = cell_end(s, end, delimiter, quote, &quoted);

		if (g) {
			g->quoted += quoted;
			g->single += e - s >= 2 && *s == '\'' && e[-1] == '\'';
			g->inner += !quoted && memchr(s, '"', (size_t)(e - s)) != NULL;
		}
		if (n < max) {
			spans[n].text = s + (quoted && e > s);
			spans[n].len = (size_t)(e - s) - (quoted ? (e - s >= 2 && e[-1] == quote ? 2 : 1) : 0);
		}
		n++;
		if (e == end || *e != delimiter) {
			*next = line_next(e, end);
			return n;
		}
		s = e + 1;
	}
}

static void grid_make(struct grid *g, const char *text, const char *end, char delimiter, char quote)
{
	*g = (struct grid){ .delimiter = delimiter, .quote = quote };
	while (text < end && g->nrows < ROWS) {
		const char *next;

		if (*text == '\n' || *text == '\r') {
			text = line_next(text, end);
			continue;
		}
		g->cells[g->nrows++] = row_cells(text, end, delimiter, quote, NULL, 0, &next, g);
		text = next;
	}
}

/* How even the rows are, 0 to 1; 0 also when there is one column. *columns: the usual number. */
static double grid_even(const struct grid *g, unsigned int *columns)
{
	unsigned int most = 0;

	*columns = 1;
	for (unsigned int i = 0; i < g->nrows; i++) {
		unsigned int same = 0;

		for (unsigned int j = 0; j < g->nrows; j++)
			same += g->cells[j] == g->cells[i];
		if (same > most) {
			most = same;
			*columns = g->cells[i];
		}
	}
	return *columns > 1 ? (double)most / g->nrows : 0;
}

/* Lines that are one value although they have colons: times, addresses, URLs. */
static bool colons_are_values(const char *text, const char *end)
{
	for (unsigned int n = 0; text < end && n < ROWS; n++) {
		const char *e = text;

		while (e < end && *e != '\n' && *e != '\r')
			e++;
		if (value_guess(text, (size_t)(e - text)) != FIELD_STRING || memmem(text, (size_t)(e - text), "://", 3) ||
		    memmem(text, (size_t)(e - text), "::", 2) || memmem(text, (size_t)(e - text), ": ", 2))
			return true;
		text = line_next(e, end);
	}
	return false;
}

static double grid_score(const struct grid *g, const char *text, const char *end)
{
	unsigned int columns;
	double even = grid_even(g, &columns), score = even;

	if (!even)
		return 0;
	if (g->cells[0] != columns)
		score *= even > 0.9 && g->nrows > 4 && g->cells[0] > 1 ? 0.7 : 0.3;
	if (g->nrows == 1) /* a header alone, or a sentence */
		score *= columns > 2 || g->delimiter == '\t' ? 0.8 : 0.6;
	if (g->delimiter == ':' && (even < 1 || g->nrows < 2 || colons_are_values(text, end)))
		return 0;
	if (g->delimiter == ':')
		score *= 0.6;
	return score + 0.01 * (columns < 20 ? columns : 20) / 20;
}

static char unused_delimiter(const char *text, size_t len)
{
	for (const char *d = ",\t;|"; *d; d++)
		if (!memchr(text, *d, len))
			return *d;
	return ',';
}

static bool is_year(const struct span *s)
{
	return s->len == 4 && value_guess(s->text, 4) == FIELD_INTEGER && (!memcmp(s->text, "19", 2) || !memcmp(s->text, "20", 2));
}

static bool same_span(const struct span *a, const struct span *b)
{
	return a->len == b->len && !memcmp(a->text, b->text, a->len);
}

struct first { /* the first row, and what is below it */
	struct span names[COLUMNS];
	unsigned int n;
	unsigned int typed[COLUMNS], years[COLUMNS], texts[COLUMNS], repeats;
};

static void first_compare(struct first *f, const char *text, const char *end, char delimiter, char quote)
{
	struct span cells[COLUMNS];
	const char *next;

	for (unsigned int row = 0; text < end && row < ROWS; row++, text = next) {
		unsigned int n = row_cells(text, end, delimiter, quote, cells, COLUMNS, &next, NULL);

		for (unsigned int i = 0; i < n && i < f->n && i < COLUMNS; i++) {
			if (!cells[i].len)
				continue;
			if (value_guess(cells[i].text, cells[i].len) == FIELD_STRING)
				f->texts[i]++;
			else
				f->typed[i]++;
			f->years[i] += is_year(&cells[i]);
			f->repeats += same_span(&cells[i], &f->names[i]) && f->n > 1;
		}
	}
}

/* Names are no numbers or dates, differ, and are not values below them. */
static bool header_guess(const char *text, const char *end, char delimiter, char quote, double *sure)
{
	struct first f = { 0 };
	unsigned int typed = 0, years = 0, telling = 0;
	const char *next;

	f.n = row_cells(text, end, delimiter, quote, f.names, COLUMNS, &next, NULL);
	f.n = f.n < COLUMNS ? f.n : COLUMNS;
	first_compare(&f, next, end, delimiter, quote);
	*sure = 1;
	for (unsigned int i = 0; i < f.n; i++) {
		bool name_typed = f.names[i].len && value_guess(f.names[i].text, f.names[i].len) != FIELD_STRING;

		typed += name_typed;
		years += name_typed && is_year(&f.names[i]) && !(f.years[i] && f.years[i] >= f.typed[i]);
		telling += !name_typed && f.names[i].len && f.typed[i] > f.texts[i];
		for (unsigned int j = 0; j < i; j++)
			if (f.names[j].len && same_span(&f.names[i], &f.names[j]))
				*sure = 0.5;
	}
	if (typed && (typed != years || years == f.n))
		return false;
	if (telling || years)
		return true;
	*sure = f.repeats > 2 ? 0.3 : 0.6; /* all texts: a header is the rule */
	return f.repeats <= 2;
}

static char quote_choose(const struct grid *g)
{
	if (!g->quoted && g->single >= 2)
		return '\'';
	if (!g->quoted && g->inner && g->delimiter == '\t') /* TSV that knows no quotes */
		return '\0';
	return '"';
}

/* Without the last line when the file goes on behind it, and without comments at the beginning. */
static size_t lines_whole(const char *text, size_t len, bool whole)
{
	size_t n = len;

	if (whole)
		return len;
	while (n && text[n - 1] != '\n' && text[n - 1] != '\r')
		n--;
	return n ? n : len;
}

void sniff_dialect(struct sniffed *out, const char *text, size_t len, bool whole)
{
	static const char delimiters[] = { ',', '\t', ';', '|', ':' };
	const char *end = text + lines_whole(text, len, whole);
	double best = 0, sure, score;
	struct grid g;

	out->delimiter = '\0';
	out->quote = '"';
	while (text < end && (*text == '\n' || *text == '\r'))
		text = line_next(text, end);
	for (size_t i = 0; i < sizeof(delimiters); i++) {
		grid_make(&g, text, end, delimiters[i], '"');
		score = grid_score(&g, text, end);
		if (score > best && score > 0.45) {
			best = score;
			out->delimiter = delimiters[i];
			out->quote = quote_choose(&g);
		}
	}
	if (!out->delimiter) {
		out->delimiter = unused_delimiter(text, (size_t)(end - text));
		grid_make(&g, text, end, out->delimiter, '"');
		out->quote = quote_choose(&g);
		best = 0.5;
	}
	out->header = header_guess(text, end, out->delimiter, out->quote, &sure);
	out->confidence = (best < 1 ? best : 1) * (0.7 + 0.3 * sure);
}
