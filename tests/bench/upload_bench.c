/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload_bench.c -- MB/s of one core for reading CSV, and for reading and checking it: `upload_bench [MB [csv|check|check_scattered]]`.
 *
 * The file is made in memory: 20 columns (identifiers, numbers, dates, words, an email address, text with quotes), 10 rules
 * that ask something of a value: types, ranges, an enum, a pattern, unique, a rule of the row. 4 MiB of it are fed
 * again and again in pieces of 64 KiB; the unique column counts on (check) or jumps about (check_scattered: nothing but a
 * table of all values can say whether they are unique). CPU time of this process is
 * what counts; the best of 3 rounds is printed as "NAME MB/s", then the most memory of its own as "rss MiB":
 * without files that are mapped (programs, libraries) and without the 4 MiB of text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "http/upload/check.h"
#include "http/upload/csv.h"

#define PIECE (64u << 10)
#define CHUNK (4u << 20)

static const char rules_text[] = "dataset: bench\n"
				 "columns:\n"
				 "  - {name: id, type: integer, required: true, unique: true}\n"
				 "  - {name: ordered, type: datetime, required: true}\n"
				 "  - {name: shipped, type: date, minimum: '2000-01-01'}\n"
				 "  - {name: status, type: string, enum: [new, paid, shipped, returned, cancelled]}\n"
				 "  - {name: quantity, type: integer, minimum: 1, maximum: 1000}\n"
				 "  - {name: price, type: number, minimum: 0, maximum: 100000}\n"
				 "  - {name: sku, type: string, pattern: '[A-Z]{3}-[0-9]{4,6}'}\n"
				 "  - {name: email, type: string, format: email}\n"
				 "  - {name: country, type: string, min_length: 2, max_length: 2}\n"
				 "  - {name: rate, type: number}\n"
				 "  - {name: a}\n  - {name: b}\n  - {name: c}\n  - {name: d}\n  - {name: e}\n  - {name: f}\n"
				 "  - {name: g}\n  - {name: h}\n  - {name: i}\n  - {name: j}\n";
static const char header[] = "id,ordered,shipped,status,quantity,price,sku,email,country,rate,a,b,c,d,e,f,g,h,i,j\n";

static bool scattered;
static uint64_t rng = 88172645463325252u;

static unsigned int draw(unsigned int n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (unsigned int)(rng >> 33) % n;
}

#define ID_WIDTH 10

/* Where the rows of the chunk begin. */
static size_t row_at[CHUNK / 100];
static size_t nrows;

/* Rows of about 180 bytes that begin with room for an id; the bytes. */
static size_t rows_make(char *out, size_t size)
{
	static const char *const status[] = { "new", "paid", "shipped", "returned", "cancelled" };
	static const char *const words[] = { "green", "blue", "Main Street 12", "north", "", "x", "\"Smith, John\"", "lorem ipsum" };
	size_t n = 0;

	nrows = 0;
	while (n + 512 < size) {
		row_at[nrows++] = n;
		n += (size_t)sprintf(out + n, "%*s,2026-%02u-%02uT%02u:%02u:%02uZ,2026-%02u-%02u,%s,%u,%u.%02u,%c%c%c-%u,user%u@example.org,%c%c,%u.%04u",
				     ID_WIDTH, "", 1 + draw(12), 1 + draw(28), draw(24), draw(60), draw(60), 1 + draw(12), 1 + draw(28),
				     status[draw(5)], 1 + draw(1000), draw(9999), draw(100), 'A' + draw(26), 'A' + draw(26), 'A' + draw(26), 1000 + draw(90000),
				     draw(1000000), 'A' + draw(26), 'A' + draw(26), draw(10), draw(10000));
		for (int i = 0; i < 10; i++)
			n += (size_t)sprintf(out + n, ",%s", i < 5 ? words[draw(8)] : i < 8 ? (draw(2) ? "12" : "7.25") : "abcdefgh");
		out[n++] = '\n';
	}
	return n;
}

/* Ids that go on from *id, or the same ones in no order: one after the other through all residues of a prime. */
static void ids_write(char *data, uint64_t *id)
{
	for (size_t i = 0; i < nrows; i++, ++*id) {
		uint64_t v = 1000000000u + (scattered ? *id * 0x9e3779b1u % 1000000007u : *id);

		for (int k = ID_WIDTH - 1; k >= 0; k--, v /= 10)
			data[row_at[i] + (size_t)k] = (char)('0' + v % 10);
	}
}

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t cells;

static int csv_names(void *arg, const struct cell *names, uint32_t n)
{
	(void)arg;
	(void)names;
	(void)n;
	return 0;
}

static int csv_row(void *arg, const struct row *row)
{
	(void)arg;
	cells += row->ncells;
	return 0;
}

static int csv_fault(void *arg, enum row_fault fault, uint64_t row, uint32_t column, uint64_t offset, bool fatal)
{
	(void)arg;
	fprintf(stderr, "fault %d in row %llu, column %u, at %llu\n", (int)fault, (unsigned long long)row, column, (unsigned long long)offset);
	return fatal ? -1 : 0;
}

static int found(void *arg, const struct finding *f)
{
	(void)arg;
	fprintf(stderr, "row %llu, %s: %s (%s)\n", (unsigned long long)f->row, f->column, f->message, f->value);
	return -1;
}

/* Seconds of CPU for these bytes, without those of making them. */
static double feed(const struct row_sink *sink, size_t total)
{
	const struct csv_dialect dialect = { .delimiter = ',', .quote = '"', .header = true };
	static char data[CHUNK];
	struct csv *csv;
	uint64_t id = 1;
	double spent = 0, from;
	size_t n = rows_make(data, sizeof(data));
	int rc;

	if (csv_new(&csv, &dialect, sink))
		exit(1);
	rc = csv_feed(csv, header, strlen(header));
	while (total && !rc) {
		ids_write(data, &id);
		from = cpu();
		for (size_t at = 0; at < n && !rc; at += PIECE)
			rc = csv_feed(csv, data + at, n - at < PIECE ? n - at : PIECE);
		spent += cpu() - from;
		total -= n < total ? n : total;
	}
	from = cpu();
	rc = rc ? rc : csv_end(csv);
	csv_free(csv);
	if (rc)
		exit(1);
	return spent + cpu() - from;
}

static double run_csv(size_t total)
{
	const struct row_sink sink = { .names = csv_names, .row = csv_row, .fault = csv_fault };

	return feed(&sink, total);
}

static double run_check(size_t total)
{
	static const uint8_t seed[16] = "sixteen bytes of";
	FILE *spill = tmpfile();
	int fd = spill ? fileno(spill) : -1;
	struct check_options opt = { .found = found, .spill_fds = &fd, .seed = seed, .memory_max = 16u << 20 };
	struct rules *rules;
	struct row_sink sink;
	struct check *check;
	double spent, from;

	if (rules_parse(&rules, rules_text, strlen(rules_text), NULL, stderr))
		exit(1);
	opt.rules = rules;
	if (check_new(&check, &opt))
		exit(1);
	check_sink(check, &sink);
	spent = feed(&sink, total);
	from = cpu();
	if (check_end(check) || check_verdict(check) != VERDICT_ACCEPTED)
		exit(1);
	spent += cpu() - from;
	check_free(check);
	rules_free(rules);
	if (spill)
		fclose(spill);
	return spent;
}

static double run_scattered(size_t total)
{
	double spent;

	scattered = true;
	spent = run_check(total);
	scattered = false;
	return spent;
}

static void measure(const char *name, double (*run)(size_t), size_t total, const char *only)
{
	double best = 1e9;

	if (only && strcmp(only, name))
		return;
	for (int i = 0; i < 3; i++) {
		double s = run(total);

		best = s < best ? s : best;
	}
	printf("%s %.0f\n", name, (double)total / 1e6 / best);
}

/* KiB of files that are mapped and resident. */
static long file_kib(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	long kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssFile: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

int main(int argc, char **argv)
{
	size_t total = (argc > 1 ? strtoul(argv[1], NULL, 10) : 200) * 1000000;
	const char *only = argc > 2 ? argv[2] : NULL;
	struct rusage used;

	measure("csv", run_csv, total, only);
	measure("check", run_check, total, only);
	measure("check_scattered", run_scattered, total, only);
	getrusage(RUSAGE_SELF, &used);
	printf("rss %.1f\n", (double)(used.ru_maxrss - file_kib() - CHUNK / 1024) / 1024);
	return 0;
}
