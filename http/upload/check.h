/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h -- rows against a dataset's rules. Pure: a row_sink in, findings out; the verdict at the end.
 */
#ifndef WEIR_UPLOAD_CHECK_H
#define WEIR_UPLOAD_CHECK_H

#include "http/upload/finding.h"
#include "http/upload/rows.h"
#include "http/upload/rules.h"
#include "http/upload/uniques.h"

enum verdict { VERDICT_ACCEPTED, VERDICT_REJECTED };

struct check_options {
	const struct rules *rules;
	/* Called for each finding up to tolerance.show. Non-zero ends the check. */
	int (*found)(void *arg, const struct finding *finding);
	/* May be NULL: faults of rows beyond those, for who notes why a row is bad. Row, level, column and rule alone, and
	 * the message of a rule over rows. */
	void (*counted)(void *arg, const struct finding *finding);
	/* Rows that stay (statistics, outputs), with row->values, and rows that go to quarantine; may be NULL. */
	int (*names)(void *arg, const struct cell *names, uint32_t n);
	int (*good)(void *arg, const struct row *row);
	int (*bad)(void *arg, const struct row *row);
	void *arg;
	size_t memory_max; /* for uniques, all together */
	const int *spill_fds; /* one for each unique field and the primary key (check_spills()) */
	/* One for each field with a reference, in the order of fields; NULL: that dataset has no such file (a fault). */
	struct keyset *const *keysets;
	const uint8_t *seed; /* 16 random bytes */
};
struct check;
size_t check_spills(const struct rules *rules);
int check_new(struct check **out, const struct check_options *opt);
/* A sink for a reader (csv.h, jsonrows.h); arg is the check. Its functions return -ECANCELED when the rules want the
 * reading to stop (tolerance.stop, max_rows): then check_end() and the verdict are asked for as after the end. */
void check_sink(struct check *c, struct row_sink *sink);
/* Before the first names: they may come again with more (JSON), so that missing columns are told at the end alone. */
void check_later_names(struct check *c);
/* After the reader's end: duplicates across runs, missing columns, tolerance. */
int check_end(struct check *c);
enum verdict check_verdict(const struct check *c);
struct check_counts { uint64_t rows, good, bad, warned, findings, rejects; };
void check_counts(const struct check *c, struct check_counts *out);
/* [{"rule","column","count"}]: all findings, also those not told one by one; new reference. */
json_t *check_summary(const struct check *c);
/* Writes the values of a column that others refer to (uniques_write_keys); -ENOENT: not collected. */
int check_write_keys(struct check *c, const char *column, int fd);
void check_free(struct check *c); /* accepts NULL */

#endif
