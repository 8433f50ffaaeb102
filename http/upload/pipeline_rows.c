// SPDX-License-Identifier: Apache-2.0
/*
 * pipeline_rows.c -- from a reader's rows to the check, and from the check to statistics, outputs and quarantine.
 *
 * Between reader and check stands a relay: the entries of a zip are one table for all behind it, with rows and offsets
 * that go on from entry to entry.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/pipeline_impl.h"

static int failed(struct pipeline *p, int rc)
{
	if (rc && !p->failed)
		p->failed = rc;
	return rc;
}

/* ---- reader to check ------------------------------------------------------------------------- */

static void forget_names(struct pipeline *p)
{
	for (uint32_t i = 0; i < p->nnames; i++)
		free((char *)p->names[i].text);
	free(p->names);
	p->names = NULL;
	p->nnames = 0;
}

static int keep_names(struct pipeline *p, const struct cell *names, uint32_t n)
{
	forget_names(p);
	p->names = calloc(n ? n : 1, sizeof(*p->names));
	if (!p->names)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		char *text = malloc(names[i].len + 1); /* a name may have a NUL inside */

		if (!text)
			return -ENOMEM;
		if (names[i].len)
			memcpy(text, names[i].text, names[i].len);
		p->names[i] = names[i];
		p->names[i].text = text;
		p->nnames = i + 1;
	}
	return 0;
}

static bool same_names(const struct pipeline *p, const struct cell *names, uint32_t n)
{
	if (n < p->nnames && !p->json)
		return false;
	for (uint32_t i = 0; i < n && i < p->nnames; i++) {
		if (names[i].len != p->names[i].len || memcmp(names[i].text, p->names[i].text, names[i].len))
			return false;
	}
	return p->json || n == p->nnames;
}

static int relay_names(void *arg, const struct cell *names, uint32_t n)
{
	struct pipeline *p = arg;
	int rc;

	if (p->entries > 1 && p->names) {
		if (!same_names(p, names, n)) {
			pipeline_reject(p, "columns", "Give all files of the archive the same header, or upload them one by one.",
					"\"%.60s\" in the archive has other columns than the files before it.", p->entry);
			return -ECANCELED;
		}
		if (n <= p->nnames)
			return 0;
	}
	rc = keep_names(p, names, n);
	return rc ? failed(p, rc) : p->sink.names(p->sink.arg, names, n);
}

static int relay_row(void *arg, const struct row *row)
{
	struct pipeline *p = arg;
	struct row moved;

	p->rows++;
	if (!p->entry_text && !p->entry_rows)
		return p->sink.row(p->sink.arg, row);
	moved = *row;
	moved.number += p->entry_rows;
	moved.offset += p->entry_text;
	moved.cells = p->cells;
	for (uint32_t i = 0; i < row->ncells; i++) {
		p->cells[i] = row->cells[i];
		p->cells[i].offset += p->entry_text;
	}
	return p->sink.row(p->sink.arg, &moved);
}

static int relay_fault(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	struct pipeline *p = arg;

	return p->sink.fault(p->sink.arg, fault, row + p->entry_rows, column, offset + p->entry_text, fatal);
}

void rows_sink(struct pipeline *p, struct row_sink *out)
{
	*out = (struct row_sink){ relay_names, relay_row, relay_fault, p };
}

/* ---- quarantine ------------------------------------------------------------------------------ */

static int write_line(struct pipeline *p, const struct cell *cells, uint32_t n)
{
	const struct row row = { .cells = cells, .ncells = n };
	int rc;

	p->line.len = 0;
	/* People open this file in spreadsheets. */
	rc = csv_out_row(&p->line, &row, true);
	if (!rc)
		rc = p->io->write(p->io->arg, p->quarantine, p->line.data, p->line.len);
	return failed(p, rc);
}

static struct cell text_cell(const char *text)
{
	return (struct cell){ .text = text, .len = (uint32_t)strlen(text) };
}

static int open_quarantine(struct pipeline *p)
{
	struct cell *cells;
	int rc;

	p->quarantine = p->io->open(p->io->arg, "quarantine.csv");
	if (p->quarantine < 0)
		return failed(p, p->quarantine);
	cells = malloc((p->nnames + 2) * sizeof(*cells));
	if (!cells)
		return failed(p, -ENOMEM);
	cells[0] = text_cell("_row");
	cells[1] = text_cell("_faults");
	if (p->nnames)
		memcpy(cells + 2, p->names, p->nnames * sizeof(*cells));
	rc = write_line(p, cells, p->nnames + 2);
	free(cells);
	return rc;
}

static int on_bad(void *arg, const struct row *row)
{
	struct pipeline *p = arg;
	char number[24];

	p->quarantined++;
	if (!p->io->open)
		return 0;
	if (p->quarantine < 0 && open_quarantine(p))
		return p->failed;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)row->number);
	/* row->cells may be p->cells, from its beginning on. */
	memmove(p->cells + 2, row->cells, row->ncells * sizeof(*row->cells));
	p->cells[0] = text_cell(number);
	p->cells[1] = text_cell(p->faults_row == row->number ? p->faults : "");
	return write_line(p, p->cells, row->ncells + 2);
}

/* ---- check to the rest ----------------------------------------------------------------------- */

static void note_fault(void *arg, const struct finding *f)
{
	struct pipeline *p = arg;
	size_t len;

	if (p->faults_row != f->row) {
		p->faults_row = f->row;
		p->faults[0] = '\0';
	}
	len = strlen(p->faults);
	if (f->level == FINDING_WARN)
		return;
	if (!*f->column && !strcmp(f->rule, "row")) /* there may be many: which of them */
		snprintf(p->faults + len, sizeof(p->faults) - len, "%srow: %s", len ? "; " : "", f->message);
	else
		snprintf(p->faults + len, sizeof(p->faults) - len, "%s%s%s%s", len ? "; " : "", f->column,
			 *f->column ? ": " : "", f->rule);
}

static int on_found(void *arg, const struct finding *f)
{
	struct pipeline *p = arg;

	if (f->row)
		note_fault(p, f);
	return pipeline_tell(p, "finding", finding_json(f));
}

static int tell_columns(struct pipeline *p, const struct cell *names, uint32_t n)
{
	json_t *columns = json_array();

	for (uint32_t i = 0; columns && i < n; i++) {
		const struct field *f = rules_field(p->rules, names[i].text, names[i].len);
		json_t *column = json_object();

		json_object_set_new(column, "name", json_stringn(names[i].text, names[i].len));
		if (f)
			json_object_set_new(column, "type", json_string(field_type_names[f->type]));
		json_array_append_new(columns, column);
	}
	return pipeline_tell(p, "columns", columns);
}

static int on_names(void *arg, const struct cell *names, uint32_t n)
{
	struct pipeline *p = arg;
	int rc = tell_columns(p, names, n);

	if (!rc)
		rc = failed(p, stats_names(p->stats, names, n));
	if (rc || !p->transform)
		return rc;
	transform_typed(p->transform, p->json);
	rc = transform_names(p->transform, names, n);
	if (rc != -EINVAL)
		return failed(p, rc);
	pipeline_reject(p, "output", "Add the column, or ask the dataset's owner to change the output.",
			"An output of the dataset cannot be made of these columns: %.150s.", transform_why(p->transform));
	transform_free(p->transform);
	p->transform = NULL;
	return p->failed;
}

static int on_good(void *arg, const struct row *row)
{
	struct pipeline *p = arg;
	int rc = stats_row(p->stats, row);

	if (!rc && p->transform)
		rc = transform_row(p->transform, row);
	return failed(p, rc);
}

/* ---- opening, ending, result ----------------------------------------------------------------- */

static int output_open(void *arg, const struct output *output, const char *name)
{
	struct pipeline *p = arg;

	(void)output;
	return p->io->open(p->io->arg, name);
}

static int output_write(void *arg, int handle, const void *data, size_t len)
{
	struct pipeline *p = arg;

	return p->io->write(p->io->arg, handle, data, len);
}

static int open_keysets(struct pipeline *p)
{
	int rc = 0;

	p->keysets = calloc(p->io->nkeysets + 1, sizeof(*p->keysets));
	if (!p->keysets)
		return -ENOMEM;
	for (size_t i = 0; i < p->io->nkeysets && !rc; i++) {
		if (p->io->keyset_fds[i] >= 0)
			rc = keyset_open(&p->keysets[i], p->io->keyset_fds[i]);
	}
	return rc;
}

static int open_check(struct pipeline *p)
{
	uint8_t seed[16];
	struct check_options opt = {
		.rules = p->rules,
		.found = on_found,
		.counted = note_fault,
		.names = on_names,
		.good = on_good,
		.bad = on_bad,
		.arg = p,
		.memory_max = p->io->memory_max ? p->io->memory_max : 16u << 20,
		.spill_fds = p->io->spill_fds,
		.seed = seed,
	};
	int rc = open_keysets(p);

	if (rc)
		return rc;
	rules_seed(p->rules, seed); /* a dataset's own: its key files can be merged */
	opt.keysets = p->keysets;
	/* A rule that wants a file which the caller did not hand over is the caller's fault. */
	if (check_spills(p->rules) > p->io->nspill)
		return -EINVAL;
	rc = check_new(&p->check, &opt);
	if (!rc)
		check_sink(p->check, &p->sink);
	return rc;
}

int rows_open(struct pipeline *p)
{
	const struct transform_files files = { output_open, output_write, p };
	int rc;

	p->cells = calloc(ROWS_COLUMNS_MAX + 2, sizeof(*p->cells));
	rc = p->cells ? stats_new(&p->stats, p->no_rules ? NULL : p->rules) : -ENOMEM;
	if (!rc && p->io->open && p->rules->noutputs)
		rc = transform_new(&p->transform, p->rules, &files);
	return rc ? rc : open_check(p);
}

static int write_keys(struct pipeline *p)
{
	int rc = 0;

	for (size_t i = 0; i < p->io->nkeys && !rc; i++) {
		rc = check_write_keys(p->check, p->io->key_columns[i], p->io->key_fds[i]);
		if (rc == -ENOENT)
			rc = 0;
	}
	return rc;
}

/* Nothing but the pipeline's own findings when the file was no table. */
int rows_end(struct pipeline *p)
{
	int rc = 0;

	if (!p->was_read)
		return 0;
	rc = check_end(p->check);
	if (rc == -ECANCELED && !p->failed)
		rc = 0;
	if (!rc && !p->rejected && check_verdict(p->check) == VERDICT_ACCEPTED) {
		if (p->transform)
			rc = transform_end(p->transform);
		if (!rc)
			rc = write_keys(p);
	}
	return failed(p, rc);
}

static json_t *whole_summary(struct pipeline *p)
{
	json_t *summary = check_summary(p->check), *all = json_array();

	json_array_extend(all, p->summary);
	json_array_extend(all, summary);
	json_decref(summary);
	return all;
}

void rows_result(struct pipeline *p, json_t *result)
{
	struct check_counts counts = { 0 };
	bool rejected;

	check_counts(p->check, &counts);
	rejected = p->rejected || check_verdict(p->check) == VERDICT_REJECTED;
	json_object_set_new(result, "verdict", json_string(rejected ? "rejected" : "accepted"));
	json_object_set_new(result, "rows", json_integer((json_int_t)counts.rows));
	json_object_set_new(result, "good", json_integer((json_int_t)counts.good));
	json_object_set_new(result, "bad", json_integer((json_int_t)counts.bad));
	json_object_set_new(result, "warned", json_integer((json_int_t)counts.warned));
	json_object_set_new(result, "findings", json_integer((json_int_t)(counts.findings + p->findings)));
	json_object_set_new(result, "summary", whole_summary(p));
	json_object_set_new(result, "quarantine", json_integer((json_int_t)p->quarantined));
	if (p->names)
		json_object_set_new(result, "statistics", stats_json(p->stats));
	json_object_set_new(result, "outputs",
			    p->transform && !rejected && p->names ? transform_lineage(p->transform) : json_array());
}

void rows_close(struct pipeline *p)
{
	check_free(p->check);
	stats_free(p->stats);
	transform_free(p->transform);
	for (size_t i = 0; p->keysets && i < p->io->nkeysets; i++)
		keyset_close(p->keysets[i]);
	free(p->keysets);
	forget_names(p);
	free(p->cells);
	free(p->line.data);
}
