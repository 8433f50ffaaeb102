/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_impl.h -- the parts of the checker among themselves: check.c (rows, verdict), check_plan.c (what of the rules is to be
 * done for which column), check_cell.c (one cell), check_tell.c (what is said of a fault).
 */
#ifndef WEIR_UPLOAD_CHECK_IMPL_H
#define WEIR_UPLOAD_CHECK_IMPL_H

#include "http/upload/check.h"
#include "http/upload/expr.h"
#include "http/upload/pattern.h"
#include "http/upload/value.h"

#define CHECK_RULES(X)                                                                                          \
	X(TYPE, "type") X(REQUIRED, "required") X(UNIQUE, "unique") X(ENUM, "enum") X(PATTERN, "pattern")       \
	X(MINIMUM, "minimum") X(MAXIMUM, "maximum") X(MIN_LENGTH, "min_length") X(MAX_LENGTH, "max_length")     \
	X(FORMAT, "format") X(REFERENCE, "reference") X(ROW, "row") X(COLUMNS, "columns") X(QUOTE, "quote")     \
	X(ENCODING, "encoding") X(SIZE, "size") X(JSON, "json") X(TOLERANCE, "tolerance")

enum check_rule {
#define X(id, name) RULE_##id,
	CHECK_RULES(X)
#undef X
	RULES
};
extern const char *const check_rule_names[RULES];

enum { /* what is to be done with a value that is there */
	DO_PARSE = 1, /* type or format */
	DO_RANGE = 2,
	DO_LENGTH = 4,
	DO_ENUM = 8,
	DO_PATTERN = 16,
	DO_UNIQUE = 32,
	DO_REFERENCE = 64,
};

#define CHOICES_WORDS 8u

struct choices { /* a field's enum: a few short words, or a hash table */
	uint32_t n;	 /* of words; 0: the table */
	uint64_t words[CHOICES_WORDS]; /* number_word() of each */
	uint8_t word_lens[CHOICES_WORDS];
	uint32_t mask;
	uint32_t *slots; /* index + 1 */
	uint32_t *lens;
	char *const *texts;
};

struct plan { /* of one field */
	const struct field *field;
	unsigned int todo;
	bool plain;		/* a number or date as they are mostly written, nothing around it */
	uint32_t column;	/* in the file; ROWS_NO_COLUMN: not there */
	struct choices choices;
	struct uniques *uniques;
	const struct keyset *keys;
};

struct binding { /* of a row rule's names to columns */
	const struct row_rule *rule;
	size_t n;
	uint32_t *columns; /* of the file */
	bool usable;	 /* all columns are there */
};

struct tally {
	uint64_t n;
};

struct check {
	struct check_options opt;
	const struct rules *rules;

	char **names; /* of the file */
	uint32_t nnames;
	struct plan *plans; /* one for each field, in their order */
	struct plan **active; /* those with something to do, in the order of columns */
	size_t nactive;
	struct value *values; /* [column], of this row: ANY where there is none */
	bool *wanted;	      /* [column]: rules of the row ask for its value */
	uint32_t *loose;      /* columns that are wanted and of no field: what they look like */
	size_t nloose;
	struct binding *bindings;
	size_t nbindings;
	struct value *arguments;
	uint32_t *key; /* columns of the primary key */
	struct uniques *key_uniques;
	bool has_uniques;
	bool key_is_unique; /* its one column is a unique field already */
	struct { char *data; size_t size; } key_text;
	uint64_t missing_lengths; /* bit n: some missing value has n bytes (63: more) */
	bool columns_told, later_names;

	const struct row *row; /* under way; NULL: none */
	int worst;	       /* level of its findings, -1: none */
	struct { bool is; uint64_t row, offset; uint32_t column; } pending[ROW_FAULT_NOT_ROWS + 1];
	bool any_pending;
	uint64_t lost; /* the newest row that did not come */

	struct check_counts counts;
	uint64_t quarantined, shown;
	bool rejected_size, rejected_tolerance, stopped;
	struct tally *tallies; /* [(column + 1) * RULES + rule]; column 0: none */
	size_t ntallies;
	int error;
	struct expr_scratch scratch;
};

/* check_plan.c */
int plan_fields(struct check *c);
void plan_free(struct check *c);
int plan_columns(struct check *c, const struct cell *names, uint32_t n);
int plan_missing(struct check *c);
bool choices_has(const struct choices *ch, const char *text, size_t len);

/* check_cell.c: 0, or what ends the check. Sets the column's value. */
int check_cell(struct check *c, const struct plan *p, const struct cell *cell);
bool check_missing_text(const struct check *c, const struct cell *cell);

static inline bool check_missing(const struct check *c, const struct cell *cell)
{
	size_t len = cell->len;

	if (cell->null || !len)
		return true;
	return __builtin_expect(c->missing_lengths >> (len < 63 ? len : 63) & 1, 0) && check_missing_text(c, cell);
}

/* check_tell.c */
struct fault {
	enum check_rule rule;
	enum finding_level level;
	uint32_t column; /* of the file, or ROWS_NO_COLUMN */
	const char *name; /* of a column that is not in the file; else NULL */
	uint64_t row, offset;
	const struct cell *cell; /* whose value is shown, or NULL */
	bool personal;
};
/* Counts it, tells it when there is room. 0, or what ends the check. */
int fault_tell(struct check *c, const struct fault *f, const char *message, const char *mend) __attribute__((nonnull));
/* Whether fault_tell() would tell it one by one: else there is no need of a message. */
bool fault_shown(struct check *c, const struct fault *f);
/* A fault of a cell of this row. */
struct fault fault_of(const struct check *c, const struct plan *p, const struct cell *cell, enum check_rule rule);
int tell_type(struct check *c, const struct plan *p, const struct cell *cell, int error);
int tell_required(struct check *c, const struct plan *p, const struct cell *cell);
int tell_enum(struct check *c, const struct plan *p, const struct cell *cell);
int tell_pattern(struct check *c, const struct plan *p, const struct cell *cell);
int tell_range(struct check *c, const struct plan *p, const struct cell *cell, bool low);
int tell_length(struct check *c, const struct plan *p, const struct cell *cell, bool low, uint64_t length);
int tell_unique(struct check *c, const struct plan *p, const struct cell *cell, uint64_t first);
int tell_reference(struct check *c, const struct plan *p, const struct cell *cell);
int tell_form(struct check *c, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal);
/* The one of n words that is nearest to text, NULL: none is near. */
const char *near_word(char *const *words, size_t n, const char *text, size_t len);

#endif
