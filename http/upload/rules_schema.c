// SPDX-License-Identifier: Apache-2.0
/*
 * rules_schema.c -- the table: every key of a dataset's rules with its type, range, default and meaning.
 *
 * A new key is a row here, a member in rules.h, a line in weir-dataset.5 (a test compares), and a check in
 * rules_check.c when it means something together with others.
 */
#include <string.h>

#include "http/upload/rules_table.h"

#define AT(s, f) .offset = offsetof(struct s, f)
#define MANY(s, f) .list = true, .offset = offsetof(struct s, f), .count_offset = offsetof(struct s, n##f)
#define PLACE(s, f, n) .list = true, .offset = offsetof(struct s, f), .count_offset = offsetof(struct s, n)
#define SUB(name_, s, node_) \
	static const struct rules_section name_ = { sizeof(struct s), node_, name_##_keys, \
						    sizeof(name_##_keys) / sizeof(*name_##_keys) }

const char *const field_type_names[FIELD_TYPES] = { "any",  "string",	 "integer",  "number", "boolean", "date",    "time",
						    "datetime", "year", "yearmonth", "duration", "object", "array", "geopoint" };
static const char *const words_type[] = { "any",      "string", "integer",   "number",	 "boolean", "date",  "time",
					  "datetime", "year",	"yearmonth", "duration", "object",  "array", "geopoint", NULL };
/* The first words are those of enum field_format. */
const char *const rules_format_words[] = { "default", "email", "uri", "uuid", "binary", "ipv4", "ipv6", "hostname", NULL };
static const char *const rules_level_words[] = { "warn", "quarantine", "reject", NULL };
/* of a key that may be absent: 0 is "not said" */
static const char *const words_level[] = { "", "warn", "quarantine", "reject", NULL };
static const char *const words_output[] = { "csv", "jsonl", NULL };
static const char *const words_packing[] = { "none", "gzip", "zstd", NULL };

static const struct rules_key dialect_keys[] = {
	{ "delimiter", RULES_CHAR, AT(rules, dialect.delimiter),
	  .doc = "Character between two cells, such as \";\" or tab. Default: found out." },
	{ "quote", RULES_CHAR, AT(rules, dialect.quote),
	  .doc = "Character around cells. Default: found out." },
	{ "header", RULES_TRISTATE, AT(rules, dialect.header), .fallback = "auto",
	  .doc = "The first row has the columns' names. Without them columns are taken in the order of the rules." },
	{ "encoding", RULES_TEXT, AT(rules, dialect.encoding), .max = 40,
	  .doc = "utf-8, utf-16 or windows-1252. Default: found out." },
	{ "comment", RULES_CHAR, AT(rules, dialect.comment),
	  .doc = "Lines that begin with this character are passed over. Default: none are." },
};
SUB(dialect, rules, RULES_NO_NODE);

static const struct rules_key reference_keys[] = {
	{ "dataset", RULES_DATASET, AT(field_source, reference.dataset), .required = true,
	  .doc = "The dataset whose accepted files hold the values." },
	{ "column", RULES_NAME, AT(field_source, reference.column), .required = true,
	  .doc = "Its column; best one that is unique there." },
};
SUB(reference, field_source, offsetof(struct field_source, reference.node));

static const struct rules_key column_keys[] = {
	{ "name", RULES_NAME, AT(field_source, f.name), .required = true,
	  .doc = "As the file's header has it, to the letter." },
	{ "title", RULES_TEXT, AT(field_source, f.title), .max = 200, .doc = "For people." },
	{ "description", RULES_TEXT, AT(field_source, f.description), .max = RULES_TEXT_MAX, .doc = "For people." },
	{ "type", RULES_WORD, AT(field_source, f.type), .words = words_type, .fallback = "any",
	  .doc = "What its values are. Dates and times are written as ISO 8601 has them." },
	{ "format", RULES_TEXT, AT(field_source, format), .max = 100,
	  .doc = "Of a string: email, uri, uuid, binary (base64), ipv4, ipv6 or hostname. Of a date, time or datetime: a "
		 "pattern such as \"%d.%m.%Y\" (strptime(3))." },
	{ "required", RULES_SWITCH, AT(field_source, f.required), .fallback = "no",
	  .doc = "Each row has a value, and each file the column." },
	{ "unique", RULES_SWITCH, AT(field_source, f.unique), .fallback = "no",
	  .doc = "No value stands in two rows; empty ones do not count." },
	{ "minimum", RULES_BOUND, AT(field_source, minimum), .doc = "Smallest value of a number, date or time." },
	{ "maximum", RULES_BOUND, AT(field_source, maximum), .doc = "Largest value of a number, date or time." },
	{ "min_length", RULES_COUNT, AT(field_source, f.min_length), .max = 1u << 20, .fallback = "0",
	  .doc = "Fewest characters." },
	{ "max_length", RULES_COUNT, AT(field_source, f.max_length), .max = 1u << 20,
	  .doc = "Most characters. Default: as many as a cell may have (1 MiB)." },
	{ "enum", RULES_TEXT, PLACE(field_source, f.choices, f.nchoices), .max = RULES_CHOICES_MAX,
	  .doc = "The values that are possible, as the file has them." },
	{ "pattern", RULES_TEXT, AT(field_source, pattern), .max = 1000,
	  .doc = "Regular expression that the whole value fits: . [a-z] \\d \\w \\s ( | ) * + ? {2,5}." },
	{ "references", RULES_SECTION, .offset = 0, .section = &reference,
	  .doc = "Foreign key: each value is one of another dataset's column." },
	{ "personal", RULES_SWITCH, AT(field_source, f.personal), .fallback = "no",
	  .doc = "Personal data: findings and statistics do not show values." },
	{ "level", RULES_WORD, AT(field_source, level), .words = words_level,
	  .doc = "What a fault of this column does. Default: tolerance.on_fault." },
	{ "true_values", RULES_TEXT, PLACE(field_source, f.true_values, f.ntrue), .max = 100,
	  .doc = "What stands for true. Default: true, True, TRUE, 1." },
	{ "false_values", RULES_TEXT, PLACE(field_source, f.false_values, f.nfalse), .max = 100,
	  .doc = "What stands for false. Default: false, False, FALSE, 0." },
	{ "decimal", RULES_CHAR, AT(field_source, f.decimal), .fallback = ".", .doc = "Decimal sign of numbers." },
	{ "group", RULES_CHAR, AT(field_source, f.group), .fallback = "none",
	  .doc = "Character between groups of a number's digits." },
	{ "bare", RULES_SWITCH, AT(field_source, f.bare), .fallback = "yes",
	  .doc = "no: numbers may have something before or behind, such as \"95 %\" or \"EUR 12\"." },
};
SUB(column, field_source, offsetof(struct field_source, node));

static const struct rules_key row_keys[] = {
	{ "rule", RULES_EXPR, AT(row_source, r.text), .required = true,
	  .doc = "An expression over the row's columns that must not be false, such as \"shipped >= ordered\"." },
	{ "message", RULES_TEXT, AT(row_source, r.message), .max = 200, .doc = "What a finding says." },
	{ "level", RULES_WORD, AT(row_source, level), .words = words_level,
	  .doc = "What a row that breaks it does. Default: tolerance.on_fault." },
};
SUB(row, row_source, offsetof(struct row_source, node));

static const struct rules_key tolerance_keys[] = {
	{ "on_fault", RULES_WORD, AT(rules, tolerance.on_fault), .words = rules_level_words, .fallback = "reject",
	  .doc = "reject: one fault rejects the file. quarantine: faulty rows go to a file of their own, the others are "
		 "accepted. warn: rows stay, faults are said; but a row that cannot be read (broken JSON, too long) rejects the file." },
	{ "max_faults", RULES_COUNT, AT(rules, tolerance.max_faults),
	  .doc = "More rows in quarantine than this reject the file. Default: no limit." },
	{ "max_share", RULES_SHARE, AT(rules, tolerance.max_share), .fallback = "100%",
	  .doc = "A larger share of rows in quarantine rejects the file." },
	{ "show", RULES_COUNT, AT(rules, tolerance.show), .max = 100000, .fallback = "1000",
	  .doc = "So many findings are told one by one; further ones are counted." },
	{ "stop", RULES_SWITCH, AT(rules, tolerance.stop), .fallback = "no",
	  .doc = "Stop at the first fault that rejects the file." },
};
SUB(tolerance, rules, RULES_NO_NODE);

static const struct rules_key transform_keys[] = {
	{ "output", RULES_TEXT, AT(output_source, o.name), .required = true, .max = 200,
	  .doc = "Name of the object beside the original; with split, {value} in it stands for the column's value." },
	{ "format", RULES_WORD, AT(output_source, o.format), .words = words_output, .fallback = "csv",
	  .doc = "CSV, or JSON Lines." },
	{ "compression", RULES_WORD, AT(output_source, o.packing), .words = words_packing, .fallback = "none",
	  .doc = "How the object is packed: gzip at a quick level (as small as gzip -4), zstd at level 3." },
	{ "filter", RULES_EXPR, AT(output_source, o.filter_text),
	  .doc = "Only rows for which this expression is true." },
	{ "keep", RULES_NAME, MANY(output_source, keep), .max = 512,
	  .doc = "Only these columns, in this order. Default: all." },
	{ "drop", RULES_NAME, MANY(output_source, drop), .max = 512, .doc = "All but these columns." },
	{ "rename", RULES_MAP, MANY(output_source, rename), .max = 256,
	  .doc = "COLUMN: NEW NAME. Other keys here name the column as the file does." },
	{ "cast", RULES_MAP, MANY(output_source, cast), .max = 256,
	  .doc = "COLUMN: TYPE in which the value is written; what does not fit becomes empty." },
	{ "derive", RULES_MAP, MANY(output_source, derive), .max = 256,
	  .doc = "NEW COLUMN: EXPRESSION, behind the others." },
	{ "mask", RULES_MAP, MANY(output_source, mask), .max = 256,
	  .doc = "COLUMN: hash (the same value always gives the same, not the way back), truncate N (the first N "
		 "characters and \"…\") or remove." },
	{ "split", RULES_NAME, AT(output_source, o.split), .doc = "One object for each value of this column, at most 256." },
};
SUB(transform, output_source, offsetof(struct output_source, node));

static const struct rules_key root_keys[] = {
	{ "dataset", RULES_DATASET, AT(rules_file, rules.name),
	  .doc = "Its name, also that of its bucket: lower-case letters, digits, '-' and '.'. Default: the name under which "
		 "it is made." },
	{ "title", RULES_TEXT, AT(rules_file, rules.title), .max = 200, .doc = "For people." },
	{ "description", RULES_TEXT, AT(rules_file, rules.description), .max = RULES_TEXT_MAX, .doc = "For people." },
	{ "owner", RULES_PRINCIPAL, AT(rules_file, rules.owner),
	  .doc = "The user who may change the rules. Default: who makes the dataset." },
	{ "readers", RULES_PRINCIPAL, PLACE(rules_file, rules.readers, rules.nreaders), .max = 256,
	  .doc = "Groups who may read its files." },
	{ "writers", RULES_PRINCIPAL, PLACE(rules_file, rules.writers, rules.nwriters), .max = 256,
	  .doc = "Groups who may upload; they may read too." },
	{ "accept", RULES_ACCEPT, PLACE(rules_file, rules.accept, rules.naccept), .max = 64,
	  .doc = "File types by content: csv, tsv, json, jsonl, gz, zst and zip of these, a MIME type such as image/png or "
		 "image/*, or \"*\". Default: what can be checked when there are columns (csv, tsv, json, jsonl, gz, zst, "
		 "zip), else all." },
	{ "max_size", RULES_SIZE, AT(rules_file, rules.max_size), .fallback = "0",
	  .doc = "Largest file as it is sent, such as 2GiB. 0: no limit." },
	{ "max_rows", RULES_COUNT, AT(rules_file, rules.max_rows), .fallback = "0", .doc = "Most rows. 0: no limit." },
	{ "dialect", RULES_SECTION, AT(rules_file, rules), .section = &dialect, .doc = "How its CSV is written." },
	{ "columns", RULES_SECTION, MANY(rules_file, fields), .section = &column, .max = RULES_COLUMNS_MAX,
	  .doc = "What is in the columns." },
	{ "columns_exact", RULES_SWITCH, AT(rules_file, rules.exact_columns), .fallback = "no",
	  .doc = "Columns that have no rule are a fault instead of a warning." },
	{ "missing_values", RULES_TEXT, PLACE(rules_file, rules.missing_values, rules.nmissing), .max = 100,
	  .doc = "What stands for no value; empty cells always do." },
	{ "primary_key", RULES_NAME, PLACE(rules_file, rules.primary_key, rules.nprimary_key), .max = 16,
	  .doc = "Columns that are required and together unique." },
	{ "rows", RULES_SECTION, MANY(rules_file, rows), .section = &row, .max = 256, .doc = "Rules over whole rows." },
	{ "tolerance", RULES_SECTION, AT(rules_file, rules), .section = &tolerance, .doc = "What faults do." },
	{ "transform", RULES_SECTION, MANY(rules_file, outputs), .section = &transform, .max = 16,
	  .doc = "Objects that are made of each accepted file." },
	{ "keep_versions", RULES_SMALL, AT(rules_file, rules.keep_versions), .max = 1000, .fallback = "3",
	  .doc = "Earlier versions of a file that are kept." },
	{ "mask_salt", RULES_HEX, AT(rules_file, rules.mask_salt), .hidden = true,
	  .doc = "Secret of the masks, made with the dataset." },
};
const struct rules_section rules_root = { sizeof(struct rules_file), offsetof(struct rules_file, root), root_keys,
					  sizeof(root_keys) / sizeof(*root_keys) };

static const char *const type_words[] = {
	[RULES_TEXT] = "text",
	[RULES_NAME] = "a column's name",
	[RULES_DATASET] = "a dataset's name",
	[RULES_PRINCIPAL] = "a name of letters, digits, '.', '-' and '_'",
	[RULES_ACCEPT] = "a file type",
	[RULES_WORD] = "one of",
	[RULES_SWITCH] = "yes or no",
	[RULES_TRISTATE] = "yes, no or auto",
	[RULES_SIZE] = "a size such as 512KiB or 2GiB",
	[RULES_COUNT] = "a whole number",
	[RULES_SMALL] = "a whole number",
	[RULES_SHARE] = "a share such as 1%",
	[RULES_CHAR] = "a character, tab or none",
	[RULES_BOUND] = "a value of the column's type",
	[RULES_EXPR] = "an expression",
	[RULES_HEX] = "64 hexadecimal digits",
	[RULES_MAP] = "a section of NAME: VALUE",
	[RULES_SECTION] = "a section",
};

const char *rules_type_words(const struct rules_key *key)
{
	return type_words[key->type];
}

static void describe_section(FILE *out, const struct rules_section *section, const char *path)
{
	for (size_t i = 0; i < section->nkeys; i++) {
		const struct rules_key *key = &section->keys[i];
		bool items = key->list && key->type == RULES_SECTION;
		char full[128];

		if (key->hidden)
			continue;
		snprintf(full, sizeof(full), "%s%s%s", path, key->name, items ? "[]" : "");
		fprintf(out, "%s\n    %s%s", full, key->list && key->type != RULES_MAP ? "list of: " : "",
			rules_type_words(key));
		for (const char *const *w = key->words; w && *w; w++)
			if (**w)
				fprintf(out, "%s%s", w == key->words || !*w[-1] ? " " : " | ", *w);
		if (!key->list && key->max && (key->type == RULES_COUNT || key->type == RULES_SMALL))
			fprintf(out, " from %llu to %llu", (unsigned long long)key->min, (unsigned long long)key->max);
		if (key->fallback)
			fprintf(out, "; default %s", key->fallback);
		if (key->required)
			fprintf(out, "; required");
		fprintf(out, "\n    %s\n", key->doc);
		if (key->type == RULES_SECTION) {
			snprintf(full + strlen(full), sizeof(full) - strlen(full), ".");
			describe_section(out, key->section, full);
		}
	}
}

void rules_describe(FILE *out)
{
	describe_section(out, &rules_root, "");
}
