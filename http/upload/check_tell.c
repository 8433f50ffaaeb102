/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_tell.c -- what is said of a fault: what is wrong, and how to mend it. Values stand in a finding's value alone, and
 * not at all when the field is personal data.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "http/upload/check_impl.h"

#define FIRST_OF_A_KIND 200u /* findings beyond `show` for rules and columns that told nothing yet */

const char *const check_rule_names[RULES] = {
#define X(id, name) name,
	CHECK_RULES(X)
#undef X
};

static struct tally *tally(struct check *c, const struct fault *f)
{
	size_t i = (f->column == ROWS_NO_COLUMN ? 0 : (size_t)f->column + 1) * RULES + f->rule;

	return i < c->ntallies ? &c->tallies[i] : &c->tallies[f->rule];
}

bool fault_shown(struct check *c, const struct fault *f)
{
	uint64_t show = c->rules->tolerance.show;

	return c->shown < show || (show && c->shown < show + FIRST_OF_A_KIND && !tally(c, f)->n);
}

static const char *fault_column(const struct check *c, const struct fault *f)
{
	if (f->name)
		return f->name;
	return f->column < c->nnames ? c->names[f->column] : "";
}

int fault_tell(struct check *c, const struct fault *f, const char *message, const char *mend)
{
	char value[FINDING_VALUE_MAX + 8] = "", column[FINDING_VALUE_MAX + 8];
	struct finding out = { .level = f->level, .row = f->row, .offset = f->offset, .rule = check_rule_names[f->rule], .value = value };
	bool shown = fault_shown(c, f);
	int rc = 0;

	tally(c, f)->n++;
	c->counts.findings++;
	c->counts.rejects += f->level == FINDING_REJECT;
	if (f->row && c->row && (int)f->level > c->worst)
		c->worst = (int)f->level;
	if (shown && c->opt.found) {
		c->shown++;
		if (f->cell && !f->personal)
			finding_value(value, f->cell->text, f->cell->len);
		finding_value(column, fault_column(c, f), strlen(fault_column(c, f)));
		out.column = f->name || f->column < c->nnames ? column : "";
		out.row_offset = c->row ? c->row->offset : f->offset;
		out.row_length = c->row ? c->row->length : 0;
		snprintf(out.message, sizeof(out.message), "%s", message);
		snprintf(out.mend, sizeof(out.mend), "%s", mend);
		rc = c->opt.found(c->opt.arg, &out);
	} else if (!shown && c->opt.counted && c->row && f->level != FINDING_WARN) {
		out.column = fault_column(c, f);
		snprintf(out.message, sizeof(out.message), "%s", message);
		c->opt.counted(c->opt.arg, &out);
	}
	if (!rc && f->level == FINDING_REJECT && c->rules->tolerance.stop) {
		c->stopped = true;
		rc = -ECANCELED;
	}
	return rc;
}

struct fault fault_of(const struct check *c, const struct plan *p, const struct cell *cell, enum check_rule rule)
{
	return (struct fault){ .rule = rule,
			       .level = p->field->level,
			       .column = p->column,
			       .row = c->row ? c->row->number : 0,
			       .offset = cell ? cell->offset : 0,
			       .cell = cell,
			       .personal = p->field->personal };
}

/* Levenshtein's distance of short words, letters alike whatever their case; 99: far. */
static unsigned int distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned int row[65], last, up;

	if (na > 64 || nb > 64 || (na > nb ? na - nb : nb - na) > 3)
		return 99;
	for (unsigned int j = 0; j <= nb; j++)
		row[j] = j;
	for (unsigned int i = 1; i <= na; i++) {
		last = row[0];
		row[0] = i;
		for (unsigned int j = 1; j <= nb; j++) {
			unsigned int best = last + ((a[i - 1] | 0x20) != (b[j - 1] | 0x20));

			up = row[j];
			if (up + 1 < best)
				best = up + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			last = up;
			row[j] = best;
		}
	}
	return row[nb];
}

const char *near_word(char *const *words, size_t n, const char *text, size_t len)
{
	unsigned int best = 99;
	const char *word = NULL;

	for (size_t i = 0; i < n; i++) {
		size_t wl = strlen(words[i]);
		unsigned int d = distance(words[i], wl, text, len), allowed = wl < 4 ? 1 : wl < 8 ? 2 : 3;

		if (d <= allowed && d < best && d < wl) {
			best = d;
			word = words[i];
		}
	}
	return word;
}

static const char *article(enum field_type t)
{
	static const char *const words[FIELD_TYPES] = {
		[FIELD_ANY] = "a value",	[FIELD_STRING] = "text",       [FIELD_INTEGER] = "a whole number", [FIELD_NUMBER] = "a number",
		[FIELD_BOOLEAN] = "true or false", [FIELD_DATE] = "a date",    [FIELD_TIME] = "a time",		   [FIELD_DATETIME] = "a date with time",
		[FIELD_YEAR] = "a year",	[FIELD_YEARMONTH] = "a month of a year", [FIELD_DURATION] = "a duration", [FIELD_OBJECT] = "a JSON object",
		[FIELD_ARRAY] = "a JSON array", [FIELD_GEOPOINT] = "a place",
	};

	return words[t];
}

static const char *example(enum field_type t)
{
	static const char *const words[FIELD_TYPES] = {
		[FIELD_ANY] = "a value",
		[FIELD_STRING] = "text",
		[FIELD_INTEGER] = "digits alone, such as 42 or -7",
		[FIELD_NUMBER] = "digits, such as 42 or -7.5",
		[FIELD_BOOLEAN] = "true or false",
		[FIELD_DATE] = "year, month and day, such as 2026-01-31",
		[FIELD_TIME] = "hours, minutes and seconds, such as 13:45:00",
		[FIELD_DATETIME] = "such as 2026-01-31T13:45:00Z",
		[FIELD_YEAR] = "four digits, such as 2026",
		[FIELD_YEARMONTH] = "such as 2026-01",
		[FIELD_DURATION] = "such as P1DT2H30M",
		[FIELD_OBJECT] = "such as {\"a\": 1}",
		[FIELD_ARRAY] = "such as [1, 2]",
		[FIELD_GEOPOINT] = "longitude and latitude, such as 13.4, 52.5",
	};

	return words[t];
}

static const struct {
	const char *what, *example;
} formats[] = {
	[FORMAT_EMAIL] = { "an email address", "such as name@example.org" },
	[FORMAT_URI] = { "a URI", "such as https://example.org/page" },
	[FORMAT_UUID] = { "a UUID", "such as 123e4567-e89b-12d3-a456-426614174000" },
	[FORMAT_BINARY] = { "base64", "A-Z, a-z, 0-9, + and /, filled up with = to a multiple of four" },
	[FORMAT_IPV4] = { "an IPv4 address", "such as 192.0.2.1" },
	[FORMAT_IPV6] = { "an IPv6 address", "such as 2001:db8::1" },
	[FORMAT_HOSTNAME] = { "a host name", "such as www.example.org" },
};

/* Would the cell be fine without the spaces around it, or with '.' for ','? What a person would see at once. */
static const char *easy_mend(const struct field *f, const struct cell *cell, char *buf, size_t size)
{
	const char *s = cell->text, *e = s + cell->len;
	struct value v;

	while (s < e && (*s == ' ' || *s == '\t'))
		s++;
	while (e > s && (e[-1] == ' ' || e[-1] == '\t' || e[-1] == '\r'))
		e--;
	if ((size_t)(e - s) < cell->len && e > s && !value_parse(&v, f, s, (size_t)(e - s)))
		return "Take the spaces around the value away.";
	if (f->type == FIELD_NUMBER && memchr(s, f->decimal == ',' ? '.' : ',', (size_t)(e - s))) {
		snprintf(buf, size, "Write numbers with '%c' before the decimals%s.", f->decimal ? f->decimal : '.', f->group ? "" : " and nothing between thousands");
		return buf;
	}
	if (f->type == FIELD_INTEGER && (memchr(s, '.', (size_t)(e - s)) || memchr(s, ',', (size_t)(e - s))))
		return "Write a whole number: digits alone, without decimals or separators.";
	if (f->type == FIELD_DATE && e - s > 10 && !value_parse(&v, f, s, 10))
		return "Write the date alone, without a time.";
	return NULL;
}

int tell_type(struct check *c, const struct plan *p, const struct cell *cell, int error)
{
	const struct field *f = p->field;
	bool format = f->format != FORMAT_NONE && f->format != FORMAT_PATTERN;
	struct fault fault = fault_of(c, p, cell, format ? RULE_FORMAT : RULE_TYPE);
	char message[256] = "", mend[256] = "", buf[128];
	const char *easy;

	if (!fault_shown(c, &fault))
		return fault_tell(c, &fault, "", "");
	easy = easy_mend(f, cell, buf, sizeof(buf));
	if (error == -ERANGE) {
		snprintf(message, sizeof(message), "The value is too large for %s of 64 bits.", article(f->type));
		snprintf(mend, sizeof(mend), "Write a smaller value, or have the column's type made string.");
	} else if (format) {
		snprintf(message, sizeof(message), "The value is not %s.", formats[f->format].what);
		snprintf(mend, sizeof(mend), "Write it as %s, %s.", formats[f->format].what, formats[f->format].example);
	} else if (f->format == FORMAT_PATTERN && f->time_pattern) {
		snprintf(message, sizeof(message), "The value is not %s of the form %.60s.", article(f->type), f->time_pattern);
		snprintf(mend, sizeof(mend), "Write it as %.60s (%%d day, %%m month, %%Y year, %%H hour, %%M minute, %%S second), one that exists.", f->time_pattern);
	} else if (f->type == FIELD_BOOLEAN && f->ntrue && f->nfalse) {
		snprintf(message, sizeof(message), "The value is neither of the words for yes and no.");
		snprintf(mend, sizeof(mend), "Write %.60s or %.60s.", f->true_values[0], f->false_values[0]);
	} else {
		snprintf(message, sizeof(message), "The value is not %s.", article(f->type));
		snprintf(mend, sizeof(mend), "Write %s: %s.", article(f->type), example(f->type));
	}
	return fault_tell(c, &fault, message, easy ? easy : mend);
}

int tell_required(struct check *c, const struct plan *p, const struct cell *cell)
{
	struct fault fault = fault_of(c, p, cell, RULE_REQUIRED);
	char mend[256];

	snprintf(mend, sizeof(mend), "Fill in %s; the column may not be empty.", p->field->type == FIELD_STRING || p->field->type == FIELD_ANY ? "a value" : article(p->field->type));
	return fault_tell(c, &fault, "The value is missing.", mend);
}

int tell_enum(struct check *c, const struct plan *p, const struct cell *cell)
{
	struct fault fault = fault_of(c, p, cell, RULE_ENUM);
	const struct field *f = p->field;
	char mend[256];
	const char *near;
	size_t n = 0;

	if (!fault_shown(c, &fault))
		return fault_tell(c, &fault, "", "");
	near = near_word(f->choices, f->nchoices, cell->text, cell->len);
	n = (size_t)snprintf(mend, sizeof(mend), near ? "Did you mean \"%.80s\"? Allowed:" : "Write one of:", near);
	for (size_t i = 0; i < f->nchoices && n < sizeof(mend); i++) {
		if (n + strlen(f->choices[i]) + 12 > sizeof(mend)) {
			snprintf(mend + n, sizeof(mend) - n, "%s …", i ? "," : "");
			break;
		}
		n += (size_t)snprintf(mend + n, sizeof(mend) - n, "%s %s%s", i ? "," : "", f->choices[i], i + 1 == f->nchoices ? "." : "");
	}
	return fault_tell(c, &fault, "The value is none of those that are allowed.", mend);
}

int tell_pattern(struct check *c, const struct plan *p, const struct cell *cell)
{
	struct fault fault = fault_of(c, p, cell, RULE_PATTERN);
	const char *s = cell->text, *e = s + cell->len;
	char mend[256];

	while (s < e && *s == ' ')
		s++;
	while (e > s && e[-1] == ' ')
		e--;
	if ((size_t)(e - s) < cell->len && pattern_match(p->field->matcher, s, (size_t)(e - s)))
		snprintf(mend, sizeof(mend), "Take the spaces around the value away.");
	else
		snprintf(mend, sizeof(mend), "Write a value that matches %.200s as a whole.", p->field->pattern);
	return fault_tell(c, &fault, "The value does not have the form that the column wants.", mend);
}

int tell_range(struct check *c, const struct plan *p, const struct cell *cell, bool low)
{
	struct fault fault = fault_of(c, p, cell, low ? RULE_MINIMUM : RULE_MAXIMUM);
	const struct field *f = p->field;
	struct value v = { .type = f->type, .d = low ? f->minimum : f->maximum, .i = low ? f->minimum_int : f->maximum_int };
	char message[128], mend[160], bound[64];

	value_format(bound, sizeof(bound), &v);
	snprintf(message, sizeof(message), "The value is %s %s.", low ? "below" : "above", bound);
	snprintf(mend, sizeof(mend), "Write a value of %s %s %s.", low ? "at least" : "at most", bound,
		 f->type == FIELD_DATE || f->type == FIELD_DATETIME ? "(year first)" : "or mend the unit");
	return fault_tell(c, &fault, message, mend);
}

int tell_length(struct check *c, const struct plan *p, const struct cell *cell, bool low, uint64_t length)
{
	struct fault fault = fault_of(c, p, cell, low ? RULE_MIN_LENGTH : RULE_MAX_LENGTH);
	uint64_t bound = low ? p->field->min_length : p->field->max_length;
	char message[128], mend[128];

	snprintf(message, sizeof(message), "The value has %" PRIu64 " characters, at %s %" PRIu64 " are allowed.", length, low ? "least" : "most", bound);
	snprintf(mend, sizeof(mend), "%s the value to at %s %" PRIu64 " characters.", low ? "Lengthen" : "Shorten", low ? "least" : "most", bound);
	return fault_tell(c, &fault, message, mend);
}

int tell_unique(struct check *c, const struct plan *p, const struct cell *cell, uint64_t first)
{
	struct fault fault = fault_of(c, p, cell, RULE_UNIQUE);
	char message[128];

	snprintf(message, sizeof(message), "The value is in row %" PRIu64 " already; the column's values must be unique.", first);
	return fault_tell(c, &fault, message, "Take one of the two rows away, or correct the value in one of them.");
}

int tell_reference(struct check *c, const struct plan *p, const struct cell *cell)
{
	struct fault fault = fault_of(c, p, cell, RULE_REFERENCE);
	const struct field *f = p->field;
	char message[256], mend[256];

	snprintf(message, sizeof(message), "The value is not in column %.80s of dataset %.80s.", f->reference_column, f->reference_dataset);
	snprintf(mend, sizeof(mend), "Correct the value, or upload the row that it refers to into %.80s first.", f->reference_dataset);
	return fault_tell(c, &fault, message, mend);
}

static const struct {
	enum check_rule rule;
	bool lost; /* the row does not come */
	const char *message, *mend;
} forms[] = {
	[ROW_FAULT_QUOTE] = { RULE_QUOTE, false, "There is a quote inside the cell, or text behind its closing quote.",
			      "Put the whole cell in quotes and double each quote inside it: \"5\"\" pipe\"; no space before or behind the quotes." },
	[ROW_FAULT_UNCLOSED] = { RULE_QUOTE, false, "The file ends inside quotes: the quote that opens here is never closed, or the file is cut off.",
				 "Close the quotes, or upload the whole file." },
	[ROW_FAULT_LONG_CELL] = { RULE_SIZE, true, "The cell is longer than 1 MiB; perhaps a quote that opens here is never closed.",
				  "Close the quotes, or shorten the cell." },
	[ROW_FAULT_LONG_ROW] = { RULE_SIZE, true, "The row is longer than 4 MiB.", "Shorten the row; perhaps line ends are missing." },
	[ROW_FAULT_COLUMNS] = { RULE_COLUMNS, true, "The row has more than 1024 cells.", "Take cells away; perhaps line ends are missing." },
	[ROW_FAULT_ENCODING] = { RULE_ENCODING, false, "The cell holds bytes that are no characters in the file's encoding.",
				 "Save the file as UTF-8." },
	[ROW_FAULT_NUL] = { RULE_ENCODING, false, "The cell holds a NUL byte, which no text has.", "Take it away; perhaps the file is no text, or UTF-16." },
	[ROW_FAULT_JSON] = { RULE_JSON, true, "This is no JSON.", "Mend it here: a comma, a quote or a bracket may be missing or too many." },
	[ROW_FAULT_DEPTH] = { RULE_JSON, true, "The JSON is nested deeper than 64.", "Flatten it." },
	[ROW_FAULT_NOT_ROWS] = { RULE_JSON, true, "The JSON is no list of objects.", "Write [{…}, {…}], or one object a line." },
};

int tell_form(struct check *c, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	enum finding_level level = c->rules->tolerance.on_fault;
	bool lost = row && (forms[fault].lost || c->later_names);
	struct fault f = { .rule = forms[fault].rule, .column = column < c->nnames ? column : ROWS_NO_COLUMN, .row = row, .offset = offset };

	/* What cannot be put aside as a row; and a row that was not read is in no output, which no mere warning may hide. */
	f.level = fatal || lost || (level == FINDING_QUARANTINE && !row) ? FINDING_REJECT : level;
	if (lost && row > c->lost) {
		c->lost = row;
		c->counts.rows = row > c->counts.rows ? row : c->counts.rows;
		c->counts.bad++;
	}
	return fault_tell(c, &f, forms[fault].message, forms[fault].mend);
}
