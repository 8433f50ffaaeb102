/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h -- what a dataset wants of its files: the documented YAML form (weir-dataset(5)), or a Frictionless
 * Table Schema as it is (JSON or YAML), turned into one checked structure.
 *
 * The structure is immutable and may be shared among threads. One table in rules_schema.c is parser, checker,
 * defaults and documentation, as in lib/conf_schema.c. Faults are said all at once as "LINE: KEY: what is
 * wrong; what would be right".
 */
#ifndef WEIR_UPLOAD_RULES_H
#define WEIR_UPLOAD_RULES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "http/upload/finding.h"

struct expr;	/* expr.h */
struct pattern; /* pattern.h */

enum field_type {
	FIELD_ANY,
	FIELD_STRING,
	FIELD_INTEGER,
	FIELD_NUMBER,
	FIELD_BOOLEAN,
	FIELD_DATE,	/* days since 1970-01-01 */
	FIELD_TIME,	/* microseconds of the day */
	FIELD_DATETIME, /* microseconds since 1970-01-01T00:00:00Z */
	FIELD_YEAR,
	FIELD_YEARMONTH,
	FIELD_DURATION, /* ISO 8601, months and microseconds folded to microseconds (month = 30 days) */
	FIELD_OBJECT,	/* JSON text */
	FIELD_ARRAY,
	FIELD_GEOPOINT,
	FIELD_TYPES
};
extern const char *const field_type_names[FIELD_TYPES];

enum field_format { FORMAT_NONE, FORMAT_EMAIL, FORMAT_URI, FORMAT_UUID, FORMAT_BINARY, FORMAT_IPV4, FORMAT_IPV6, FORMAT_HOSTNAME, FORMAT_PATTERN /* strptime pattern */ };

struct field {
	char *name, *title, *description;
	enum field_type type;
	enum field_format format;
	char *time_pattern; /* of FORMAT_PATTERN */
	bool required, unique;
	bool has_minimum, has_maximum;
	double minimum, maximum;	 /* numbers; dates and times in their unit above */
	int64_t minimum_int, maximum_int; /* the same, exact, for integers, dates, times */
	uint64_t min_length, max_length; /* characters; UINT64_MAX: none */
	char **choices; /* enum, sorted bytewise, or none */
	size_t nchoices;
	char *pattern;	 /* of the whole value; NULL: none */
	struct pattern *matcher; /* pattern_match(matcher, text, len); compiled */
	char decimal, group; /* of numbers: decimalChar, groupChar ('\0' none) */
	bool bare; /* false: a number may have something before or behind ("95 %", "EUR 12") */
	char **true_values, **false_values;
	size_t ntrue, nfalse;
	char *reference_dataset, *reference_column; /* foreign key, or NULL */
	bool personal; /* personal data: findings and statistics show no values */
	enum finding_level level; /* of its faults; default: the tolerance's */
};

struct row_rule {
	char *text; /* "end >= start" */
	struct expr *expr;
	char *message; /* or NULL */
	enum finding_level level;
};

enum output_format { OUTPUT_CSV, OUTPUT_JSONL };
enum output_packing { PACK_NONE, PACK_GZIP, PACK_ZSTD };
enum mask_kind { MASK_HASH, MASK_TRUNCATE, MASK_REMOVE };

struct output_column { /* in the order of output */
	char *name;
	char *from;	   /* source column, or NULL for derived */
	struct expr *expr; /* derived */
	bool has_cast;
	enum field_type cast;
	bool masked;
	enum mask_kind mask;
	uint32_t mask_keep; /* characters kept by truncate */
};

struct output { /* one transformation */
	char *name; /* object's name; "{value}" stands for the split column's value */
	enum output_format format;
	enum output_packing packing;
	char *filter_text;
	struct expr *filter; /* NULL: all rows */
	char *split; /* column, or NULL */
	struct output_column *columns;
	size_t ncolumns;
	bool all_columns; /* the file's columns that none is made from stay as they are; those that are changed keep
			   * their places, MASK_REMOVE leaves one out (also drop), derived ones follow. Else (keep):
			   * columns alone, in their order. */
};

struct rules {
	char *name, *title, *description, *owner;
	char **readers, **writers; /* groups */
	size_t nreaders, nwriters;
	char **accept; /* "csv", "tsv", "json", "jsonl", "zip", "image/png", "application/pdf", "*" */
	size_t naccept;
	uint64_t max_size, max_rows; /* 0: none */
	struct {
		char delimiter, quote; /* 0: sniffed */
		int header;	       /* 1 yes, 0 no, -1 sniffed */
		char *encoding;	       /* NULL: found out */
		char comment;	       /* 0: none */
	} dialect;
	struct field *fields;
	size_t nfields;
	char **missing_values; /* "" always among them */
	size_t nmissing;
	char **primary_key; /* columns, unique together */
	size_t nprimary_key;
	struct row_rule *rows;
	size_t nrows;
	bool exact_columns; /* columns that no field names are a fault; default: a warning */
	struct {
		enum finding_level on_fault; /* default reject */
		uint64_t max_faults;	     /* quarantine: more rows than this reject the file; UINT64_MAX */
		double max_share;	     /* … or this share of the rows; 1.0 */
		uint64_t show;		     /* findings told one by one; then only counted. Default 1000 */
		bool stop;		     /* stop reading at the first reject */
	} tolerance;
	struct output *outputs;
	size_t noutputs;
	unsigned int keep_versions; /* earlier versions kept; default 3 */
	char mask_salt[65];	    /* hex; made when the dataset is made; never shown */
	json_t *json;		    /* the normalised form, as stored in the registry */
};

/* text: YAML or JSON, weir's own form or a Table Schema (recognised by "fields" at the top). name: used when
 * the text has none; may be NULL. faults (may be NULL) gets a line for each. 0, -EINVAL, -ENOMEM. */
int rules_parse(struct rules **out, const char *text, size_t len, const char *name, FILE *faults);
void rules_free(struct rules *rules); /* accepts NULL */
/* Seed of the dataset's hashes (uniques.h): from mask_salt, so that its key files fit each other; random without. */
void rules_seed(const struct rules *rules, uint8_t seed[16]);
const struct field *rules_field(const struct rules *rules, const char *name, size_t len);
/* The table as text: every key, type, default, meaning (for weir-dataset(5); a test compares). */
void rules_describe(FILE *out);

#endif
