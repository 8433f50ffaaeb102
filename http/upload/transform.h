/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transform.h -- the outputs that a dataset declares: rows in, files out (CSV or JSON Lines, packed by gzip or zstd).
 *
 * A cell is cast, then masked. Missing values are null: nothing in CSV, null in JSON. A cast or derivation that has no
 * result is null too (and counted: "failed"). mask: hash is the first 32 hex digits of HMAC-SHA256 with the text of
 * mask_salt as key, truncate keeps N characters and "…", remove leaves the column out. JSON values have the type of
 * the cast or the field; a column without either is text, or when the file is JSON itself (transform_typed) what it was.
 *
 * People open CSV in spreadsheets: CSV outputs and quarantine.csv are marked against formulas (csv_out_row), names too;
 * JSON Lines are for programs and are not, nor is the original, which stays as it came.
 */
#ifndef WEIR_UPLOAD_TRANSFORM_H
#define WEIR_UPLOAD_TRANSFORM_H

#include "http/upload/rows.h"
#include "http/upload/rules.h"

/* Where outputs go: open is asked once for each file of an output (split: for each value, at most 256, then "other"). */
struct transform_files {
	int (*open)(void *arg, const struct output *output, const char *name); /* a handle >= 0, or -errno */
	int (*write)(void *arg, int handle, const void *data, size_t len);
	void *arg;
};
struct transform;
int transform_new(struct transform **out, const struct rules *rules, const struct transform_files *files);
void transform_typed(struct transform *t, bool typed); /* before the names; false */
int transform_names(struct transform *t, const struct cell *names, uint32_t n); /* -EINVAL: a column is not there (transform_why) */
int transform_row(struct transform *t, const struct row *row);
int transform_end(struct transform *t);
const char *transform_why(const struct transform *t);
/* [{"output","name","rows","bytes","format","packing","columns":[{"name","from","derived","mask"}],"filter"}]: the lineage; new reference. */
json_t *transform_lineage(const struct transform *t);
void transform_free(struct transform *t); /* accepts NULL */

/* One row as CSV with RFC 4180 quotes into a growing buffer: for quarantine files too. mark: cells that a spreadsheet
 * would run (csv_out_runs) get a leading apostrophe. Null is nothing, a text of no characters is "". 0 or -ENOMEM. */
struct csv_out { char *data; size_t len, size; }; /* data by malloc(), the caller's to free */
int csv_out_row(struct csv_out *out, const struct row *row, bool mark);
/* =, +, -, @, tab, CR or LF at the beginning, and not a number. */
bool csv_out_runs(const char *text, size_t len);

#endif
