/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload_stats_bench.c -- CPU seconds of column statistics over a made table of ROWS (2,000,000)
 * rows and 10 columns.
 *
 *     upload_stats_bench [ROWS]             the parts: splitting at commas, splitting and
 * statistics upload_stats_bench ROWS write FILE    the same table as a CSV file, for a peer to read
 *     upload_stats_bench ROWS json          the statistics
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/upload/csv.h"
#include "http/upload/sniff.h"
#include "http/upload/stats.h"

#define COLUMNS 10

static uint64_t random_state = 7;

static uint64_t random_bits(void)
{
	uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static double random_unit(void)
{
	return (double)(random_bits() >> 11) / 9007199254740992.0;
}

static const char header[] = "id,amount,price,category,city,day,at,active,token,quantity\n";

static int row_text(char *out, size_t size, uint64_t row)
{
	static const char *const categories[] = { "books", "toys", "garden",
						  "music", "food", "tools" };
	unsigned int day = (unsigned int)(random_bits() % 28) + 1,
		     month = (unsigned int)(random_bits() % 12) + 1;
	uint64_t r = random_bits();
	char quantity[16] = "";

	if (r % 20) /* 5% are empty */
		snprintf(quantity, sizeof(quantity), "%" PRIu64, (r >> 8) % 500);
	return snprintf(out, size,
			"%" PRIu64 ",%.2f,%.4f,%s,city "
			"%.0f,%04u-%02u-%02u,2025-%02u-%02uT%02u:%02u:%02u,%s,%012" PRIx64 ",%s\n",
			row, random_unit() * 100000, exp(random_unit() * 6), categories[r % 6],
			floor(pow(random_unit(), 6) * 5000), 2015 + (unsigned int)(r % 11), month,
			day, month, day, (unsigned int)(r >> 10) % 24, (unsigned int)(r >> 20) % 60,
			(unsigned int)(r >> 30) % 60, r & 64 ? "true" : "false",
			random_bits() & UINT64_C(0xffffffffffff), quantity);
}

struct table {
	char *text;
	size_t len;
};

static struct table table_make(uint64_t rows)
{
	struct table t = { malloc(rows * 160 + 1024), 0 };

	if (!t.text)
		exit(1);
	memcpy(t.text, header, sizeof(header));
	t.len = sizeof(header) - 1;
	for (uint64_t i = 1; i <= rows; i++)
		t.len += (size_t)row_text(t.text + t.len, 160, i);
	return t;
}

static double cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct reading {
	struct stats *s; /* NULL: the reader alone */
	uint64_t rows;
};

static int on_names(void *arg, const struct cell *names, uint32_t n)
{
	struct reading *r = arg;

	return r->s ? stats_names(r->s, names, n) : 0;
}

static int on_row(void *arg, const struct row *row)
{
	struct reading *r = arg;

	r->rows++;
	return r->s ? stats_row(r->s, row) : 0;
}

static int on_fault(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset,
		    bool fatal)
{
	(void)arg, (void)fault, (void)row, (void)column, (void)offset, (void)fatal;
	return -EBADMSG;
}

/* As a worker does it: sniffed, then read in pieces of 64 KiB. */
static uint64_t read_table(const struct table *t, struct stats *s)
{
	struct reading reading = { .s = s };
	const struct row_sink sink = { on_names, on_row, on_fault, &reading };
	struct csv_dialect dialect;
	struct sniffed sniffed;
	struct csv *csv;
	int r;

	sniff(&sniffed, t->text, t->len < SNIFF_BYTES ? t->len : SNIFF_BYTES, t->len <= SNIFF_BYTES,
	      NULL);
	dialect = (struct csv_dialect){ .delimiter = sniffed.delimiter,
					.quote = sniffed.quote,
					.header = sniffed.header,
					.encoding = sniffed.encoding };
	r = csv_new(&csv, &dialect, &sink);
	for (size_t at = 0; at < t->len && !r; at += 65536)
		r = csv_feed(csv, t->text + at, t->len - at < 65536 ? t->len - at : 65536);
	if (!r)
		r = csv_end(csv);
	csv_free(csv);
	if (r < 0)
		exit(1);
	return reading.rows;
}

static void measure(const struct table *t, uint64_t rows)
{
	double begin = cpu_s(), reading, both;
	struct stats *s;
	json_t *json;

	read_table(t, NULL);
	reading = cpu_s() - begin;
	begin = cpu_s();
	if (stats_new(&s, NULL) < 0 || read_table(t, s) != rows)
		exit(1);
	json = stats_json(s);
	both = cpu_s() - begin;
	printf("{\"rows\": %" PRIu64 ", \"bytes\": %zu, \"csv_s\": %.3f, \"all_s\": %.3f, "
	       "\"stats_ns_per_cell\": %.1f}\n",
	       rows, t->len, reading, both, (both - reading) * 1e9 / (double)rows / COLUMNS);
	json_decref(json);
	stats_free(s);
}

int main(int argc, char **argv)
{
	uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000;
	struct table t = table_make(rows);
	struct stats *s;

	if (argc > 3 && !strcmp(argv[2], "write")) {
		FILE *f = fopen(argv[3], "w");

		if (!f || fwrite(t.text, 1, t.len, f) != t.len || fclose(f))
			return 1;
	} else if (argc > 2) {
		if (stats_new(&s, NULL) < 0)
			return 1;
		read_table(&t, s);
		json_dumpf(stats_json(s), stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
	} else {
		measure(&t, rows);
	}
	free(t.text);
	return 0;
}
