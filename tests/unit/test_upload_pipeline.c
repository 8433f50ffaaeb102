/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipeline.c and its parts: a file's whole way, the same whatever the pieces are, with bounded memory; what is no table,
 * packed, or not wanted has a finding that says so.
 */
#include "tests/unit/unit.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <zlib.h>

#include "http/upload/pipeline.h"
#include "lib/priv_filter.h"

struct io {
	const char *text;
	size_t len, at, piece;
	unsigned int random; /* pieces of 1 to piece bytes */
	json_t *findings, *columns, *type;
	char names[8][64];
	struct {
		char *data; /* 64 KiB */
		size_t len;
	} files[8];
	int nfiles, progress;
	int cancel_at;
};

static ssize_t io_read(void *arg, void *buf, size_t max)
{
	struct io *io = arg;
	size_t n = io->len - io->at, piece = io->piece;

	if (io->random) {
		io->random = io->random * 1664525u + 1013904223u;
		piece = 1 + (io->random >> 8) % io->piece;
	}
	if (io->cancel_at && io->at >= (size_t)io->cancel_at)
		return -ECANCELED;
	n = n < max ? n : max;
	n = n < piece ? n : piece;
	memcpy(buf, io->text + io->at, n);
	io->at += n;
	return (ssize_t)n;
}

static int io_tell(void *arg, const char *name, json_t *value)
{
	struct io *io = arg;

	if (!strcmp(name, "finding"))
		json_array_append(io->findings, value);
	else if (!strcmp(name, "progress"))
		io->progress++;
	else if (!strcmp(name, "columns"))
		json_decref(io->columns), io->columns = json_incref(value);
	else if (!strcmp(name, "type"))
		json_decref(io->type), io->type = json_incref(value);
	else
		fail();
	return 0;
}

static int io_open(void *arg, const char *name)
{
	struct io *io = arg;

	assert_true(io->nfiles < 8);
	snprintf(io->names[io->nfiles], 64, "%s", name);
	io->files[io->nfiles].data = calloc(1, 65536);
	assert_non_null(io->files[io->nfiles].data);
	return io->nfiles++;
}

static int io_write(void *arg, int handle, const void *data, size_t len)
{
	struct io *io = arg;

	assert_in_range(handle, 0, io->nfiles - 1);
	assert_true(io->files[handle].len + len < 65536);
	memcpy(io->files[handle].data + io->files[handle].len, data, len);
	io->files[handle].len += len;
	return 0;
}

static struct rules *parse_rules(const char *text)
{
	struct rules *rules = NULL;

	if (text)
		assert_int_equal(rules_parse(&rules, text, strlen(text), "t", stderr), 0);
	return rules;
}

static void io_init(struct io *io, const char *text, size_t len)
{
	memset(io, 0, sizeof(*io));
	io->text = text;
	io->len = len;
	io->piece = 1 << 20;
	io->findings = json_array();
}

static void io_free(struct io *io)
{
	json_decref(io->findings);
	json_decref(io->columns);
	json_decref(io->type);
	while (io->nfiles)
		free(io->files[--io->nfiles].data);
}

static json_t *run(struct io *io, const char *rules_text, int *error)
{
	struct pipeline_io p = { .read = io_read, .tell = io_tell, .open = io_open, .write = io_write, .arg = io };
	struct rules *rules = parse_rules(rules_text);
	json_t *result;

	for (p.nspill = 0; rules && p.nspill < check_spills(rules); p.nspill++)
		p.spill_fds[p.nspill] = memfd_create("spill", MFD_CLOEXEC);
	result = pipeline_run(rules, &p, error);
	while (p.nspill)
		close(p.spill_fds[--p.nspill]);
	rules_free(rules);
	return result;
}

static json_int_t number(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text ? text : "";
}

/* The verdict, and the rule of a finding ("": there is none). */
static void expect(const char *rules, const void *text, size_t len, const char *verdict, const char *rule)
{
	struct io io;
	json_t *result;
	bool found = false;
	int error;

	io_init(&io, text, len);
	result = run(&io, rules, &error);
	assert_int_equal(error, 0);
	for (size_t i = 0; i < json_array_size(io.findings); i++)
		found = found || !strcmp(text_of(json_array_get(io.findings, i), "rule"), rule);
	assert_true(*rule ? found : json_array_size(io.findings) == 0);
	assert_string_equal(text_of(result, "verdict"), verdict);
	json_decref(result);
	io_free(&io);
}

#define RULES                                                                             \
	"accept: [csv, tsv, json, jsonl, gz, zst, zip]\n"                                 \
	"columns:\n"                                                                      \
	"  - name: id\n    type: integer\n    unique: yes\n    required: yes\n"            \
	"  - name: v\n    type: number\n    maximum: 100\n"                                \
	"  - name: s\n    type: string\n"                                                 \
	"tolerance:\n  on_fault: quarantine\n"

static const char table[] = "id,v,s\n1,1.5,a\n2,101,b\n3,x,\"=c\"\n3,4,d\n,5,e\n6,6,f\n";

static void checks_a_table(void **state)
{
	struct io io;
	json_t *result;
	int error;

	(void)state;
	io_init(&io, table, sizeof(table) - 1);
	result = run(&io, RULES, &error);
	assert_int_equal(error, 0);
	assert_string_equal(text_of(result, "verdict"), "accepted");
	assert_int_equal(number(result, "rows"), 6);
	assert_int_equal(number(result, "good"), 2);
	assert_int_equal(number(result, "bad"), 4);
	assert_int_equal(number(result, "quarantine"), 4);
	assert_int_equal(number(result, "bytes"), sizeof(table) - 1);
	assert_int_equal(strlen(text_of(result, "sha256")), 64);
	assert_string_equal(text_of(json_object_get(result, "type"), "kind"), "csv");
	assert_int_equal(json_array_size(io.columns), 3);
	assert_int_equal(number(json_object_get(result, "statistics"), "rows"), 2);
	assert_int_equal(io.nfiles, 1);
	assert_string_equal(io.names[0], "quarantine.csv");
	assert_non_null(strstr(io.files[0].data, "_row,_faults,id,v,s"));
	assert_non_null(strstr(io.files[0].data, "2,v: maximum,2,101,b"));
	assert_non_null(strstr(io.files[0].data, "3,v: type,3,x,'=c"));
	assert_true(io.progress >= 1);
	json_decref(result);
	io_free(&io);
}

/* Everything that is said and written, as one text. */
static char *all_of(const char *rules, const char *text, size_t len, size_t piece, unsigned int seed)
{
	struct io io;
	json_t *all, *result;
	char *out;
	int error;

	io_init(&io, text, len);
	io.piece = piece;
	io.random = seed;
	result = run(&io, rules, &error);
	assert_int_equal(error, 0);
	all = json_pack("{s:O, s:O?, s:O?, s:o}", "findings", io.findings, "columns", io.columns, "type", io.type, "result", result);
	out = json_dumps(all, JSON_SORT_KEYS);
	assert_non_null(out);
	json_decref(all);
	io_free(&io);
	return out;
}

static size_t gzip(const char *text, size_t len, char *out, size_t size)
{
	z_stream z = { .next_in = (unsigned char *)text, .avail_in = (uInt)len, .next_out = (unsigned char *)out, .avail_out = (uInt)size };

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return size - z.avail_out;
}

static void pieces_change_nothing(void **state)
{
	static char packed[65536], lines[65536];
	size_t n = gzip(table, sizeof(table) - 1, packed, sizeof(packed)), len = 0;
	const struct {
		const char *text;
		size_t len;
	} files[] = { { table, sizeof(table) - 1 }, { packed, n }, { lines, 0 } };

	(void)state;
	for (int i = 0; len < 60000; i++)
		len += (size_t)sprintf(lines + len, "{\"id\":%d,\"v\":%d,\"s\":\"%c\"}\n", i, i % 7 ? i % 101 : 999, 'a' + i % 26);
	for (size_t f = 0; f < 3; f++) {
		size_t size = files[f].len ? files[f].len : len;
		char *want = all_of(RULES, files[f].text, size, 1 << 20, 0);

		for (unsigned int seed = 0; seed < 6; seed++) {
			char *got = all_of(RULES, files[f].text, size, seed ? 5000 / seed : 1, seed);

			assert_string_equal(got, want);
			free(got);
		}
		free(want);
	}
}

static la_ssize_t zip_write(struct archive *a, void *arg, const void *data, size_t len)
{
	struct io *out = arg;

	(void)a;
	memcpy((char *)out->text + out->len, data, len);
	out->len += len;
	return (la_ssize_t)len;
}

/* A zip of these texts; returns its length. */
static size_t zip(char *buf, const char *const *texts, const size_t *lens, size_t n)
{
	struct io out = { .text = buf };
	struct archive *a = archive_write_new();

	archive_write_set_format_zip(a);
	archive_write_set_bytes_in_last_block(a, 1);
	assert_int_equal(archive_write_open(a, &out, NULL, zip_write, NULL), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *e = archive_entry_new();
		char name[16];

		snprintf(name, sizeof(name), "%zu.csv", i);
		archive_entry_set_pathname(e, name);
		archive_entry_set_filetype(e, AE_IFREG);
		archive_entry_set_size(e, (la_int64_t)lens[i]);
		assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
		assert_int_equal(archive_write_data(a, texts[i], lens[i]), (la_ssize_t)lens[i]);
		archive_entry_free(e);
	}
	archive_write_close(a);
	archive_write_free(a);
	return out.len;
}

/* Several files of one header are one table: rows and offsets go on. */
static void a_zip_is_one_table(void **state)
{
	static const char *const texts[] = { "id,v,s\n1,1,a\n2,2,b\n", "id,v,s\n3,999,c\n" };
	static const char *const other[] = { "id,v,s\n1,1,a\n", "id,v,t\n3,3,c\n" };
	static const char *const kinds[] = { "id,v,s\n1,1,a\n", "{\"id\":1}\n{\"id\":2}\n" };
	const size_t lens[] = { 19, 15 }, lens2[] = { 13, 13 }, lens3[] = { 13, 18 };
	static char buf[65536];
	struct io io;
	json_t *result, *finding;
	size_t len = zip(buf, texts, lens, 2);
	int error;

	(void)state;
	io_init(&io, buf, len);
	result = run(&io, RULES, &error);
	assert_int_equal(number(result, "rows"), 3);
	assert_int_equal(number(result, "bad"), 1);
	assert_int_equal(number(result, "bytes"), len);
	finding = json_array_get(io.findings, 0);
	assert_int_equal(number(finding, "row"), 3);
	assert_int_equal(number(finding, "row_offset"), 19 + 7);
	assert_int_equal(number(finding, "offset"), 19 + 7 + 2);
	json_decref(result);
	io_free(&io);
	expect(RULES, buf, zip(buf, other, lens2, 2), "rejected", "columns");
	expect(RULES, buf, zip(buf, kinds, lens3, 2), "rejected", "file_type");
}

static void one_level_is_unpacked(void **state)
{
	static char once[65536], twice[65536];
	const char *const texts[] = { once };
	size_t n = gzip(table, sizeof(table) - 1, once, sizeof(once)), lens[] = { n };

	(void)state;
	expect(RULES, once, n, "accepted", "maximum");
	expect(RULES, twice, gzip(once, n, twice, sizeof(twice)), "rejected", "packing");
	expect(RULES, twice, zip(twice, texts, lens, 1), "rejected", "packing");
	expect(RULES, once, n - 9, "rejected", "packing");
}

static void bombs_are_findings(void **state)
{
	size_t len = 64u << 20;
	char *zeros = malloc(len), *packed = malloc(1 << 20);
	size_t n;

	(void)state;
	assert_true(zeros && packed);
	memset(zeros, '1', len);
	for (size_t i = 1; i < len; i += 2)
		zeros[i] = i % 100 == 99 ? '\n' : ',';
	n = gzip(zeros, len, packed, 1 << 20);
	expect(NULL, packed, n, "rejected", "bomb");
	free(zeros);
	free(packed);
}

static void only_wanted_types_pass(void **state)
{
	static const unsigned char png[] = "\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x40\0\0\0\xc8\x08\x06\0\0\0\0\0\0\0\0\0\0\0";
	struct io io;
	json_t *result;
	int error;

	(void)state;
	expect("accept: [json]\n", table, sizeof(table) - 1, "rejected", "file_type");
	expect("accept: [csv]\nmax_size: 20B\n", table, sizeof(table) - 1, "rejected", "size");
	expect("accept: [csv]\n", png, sizeof(png), "rejected", "file_type");
	expect("accept: [csv]\n", "", 0, "rejected", "file_type");
	expect(NULL, "", 0, "accepted", "");
	io_init(&io, (const char *)png, sizeof(png));
	result = run(&io, "accept: [image/*]\n", &error);
	assert_string_equal(text_of(result, "verdict"), "accepted");
	assert_int_equal(number(json_object_get(result, "type"), "width"), 320);
	assert_int_equal(number(json_object_get(result, "type"), "height"), 200);
	json_decref(result);
	io_free(&io);
}

static void json_is_a_table_too(void **state)
{
	static const char text[] = "[{\"id\":1,\"v\":2.5,\"s\":\"a\"},{\"id\":2,\"v\":1000,\"s\":null}]";

	(void)state;
	expect(RULES, text, sizeof(text) - 1, "accepted", "maximum");
	expect(RULES, text, sizeof(text) - 2, "rejected", "maximum");
}

/* A line that is no row is never lost: not as the only one, not as the last. */
static void faulty_lines_reject(void **state)
{
	static const char only[] = "{\"id\":1,\"s\":\"\xe9\"}\n{\"id\":2,\"v\":1,\"s\":\"\xe9\n";
	static const char last[] = "{\"id\":1,\"v\":1,\"s\":\"a\"}\n{\"id\":2,\"v\":1,\"s\":\"a\"";
	static const char middle[] = "{\"id\":1,\"v\":1,\"s\":\"a\"}\n{\"id\":2,\"s\":\"\\u0000\"}\n{\"id\":3,\"v\":1,\"s\":\"a\"}\n";
	struct io io;
	json_t *result;
	int error;

	(void)state;
	expect(RULES, only, sizeof(only) - 1, "rejected", "encoding");
	expect(RULES, last, sizeof(last) - 1, "rejected", "quote");
	io_init(&io, middle, sizeof(middle) - 1);
	result = run(&io, RULES, &error);
	assert_string_equal(text_of(result, "verdict"), "rejected");
	assert_int_equal(number(result, "rows"), 3);
	assert_int_equal(number(result, "good"), 2);
	assert_int_equal(number(result, "bad"), 1);
	assert_int_equal(number(json_array_get(io.findings, 0), "row"), 2);
	json_decref(result);
	io_free(&io);
}

/* What is no fault of the file is an error, and no verdict. */
/* A row that was not read is in no output: a dataset that only warns of faults does not take the file without it. */
static void rows_that_are_lost_reject(void **state)
{
	static const char *const texts[] = { "{\"a\":1}\nno json\n{\"a\":3}\n", "[{\"a\":1},{\"a\":{]" };
	struct io io;
	json_t *r;
	int error;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		io_init(&io, texts[i], strlen(texts[i]));
		r = run(&io, "columns: [{name: a, type: integer}]\ntolerance: {on_fault: warn}\n", &error);
		assert_non_null(r);
		assert_string_equal(text_of(r, "verdict"), "rejected");
		json_decref(r);
		io_free(&io);
	}
}

/* Names with a NUL byte, as wide as they are said to be. */
static void names_may_hold_anything(void **state)
{
	static const char csv[] = "a\0bcdefghijklmno,x\n1,2,3\n", json[] = "{\"a\\u0000bcdefghijklmno\":\"x\"}\n{\"a\\u0000bcdefghijklmno\":{}}\n";
	struct io io;
	json_t *r;
	int error;

	(void)state;
	for (int i = 0; i < 2; i++) {
		io_init(&io, i ? json : csv, i ? sizeof(json) - 1 : sizeof(csv) - 1);
		r = run(&io, "tolerance: {on_fault: quarantine}\n", &error);
		assert_non_null(r);
		if (io.nfiles)
			assert_memory_equal(io.files[0].data, "_row,_faults,a\0bcdefghijklmno", 27);
		json_decref(r);
		io_free(&io);
	}
}

static void a_cancel_is_no_verdict(void **state)
{
	struct io io;
	int error;

	(void)state;
	io_init(&io, table, sizeof(table) - 1);
	io.piece = 5;
	io.cancel_at = 10;
	assert_null(run(&io, RULES, &error));
	assert_int_equal(error, -ECANCELED);
	io_free(&io);
}

static void rows_are_found(void **state)
{
	static const char quoted[] = "a,b\n1,\"x\ny\"\n\n2,z\n3,w";
	struct pipeline_io p = { .read = io_read, .tell = io_tell };
	static const struct {
		uint64_t first, last, offset, length;
		int rc;
	} cases[] = {
		{ 1, 1, 4, 8, 0 }, { 2, 2, 13, 4, 0 }, { 2, 3, 13, 7, 0 }, { 3, 9, 17, 3, 0 }, { 4, 4, 0, 0, -ENOENT },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t offset = 0, length = 0;
		struct io io;

		io_init(&io, quoted, sizeof(quoted) - 1);
		io.piece = i + 1;
		p.arg = &io;
		assert_int_equal(pipeline_locate(NULL, &p, cases[i].first, cases[i].last, &offset, &length), cases[i].rc);
		assert_int_equal(offset, cases[i].offset);
		assert_in_range(length, cases[i].length, cases[i].length + (i == 0)); /* the blank line is either's */
		io_free(&io);
	}
}

/* ---- memory ---------------------------------------------------------------------------------- */

struct endless {
	uint64_t left, row;
	char line[256];
	size_t at, len;
};

static ssize_t endless_read(void *arg, void *buf, size_t max)
{
	struct endless *e = arg;
	size_t n = 0;

	while (n < max && e->left) {
		size_t part;

		if (e->at == e->len) {
			e->at = 0;
			e->len = (size_t)(e->row ? sprintf(e->line, "%llu,%llu.5,name%llu\n", (unsigned long long)e->row,
							   (unsigned long long)(e->row % 97),
							   (unsigned long long)(e->row * 2654435761u)) :
						   sprintf(e->line, "id,v,s\n"));
			e->row++;
		}
		part = e->len - e->at < max - n ? e->len - e->at : max - n;
		part = part < e->left ? part : (size_t)e->left;
		memcpy((char *)buf + n, e->line + e->at, part);
		e->at += part;
		e->left -= part;
		n += part;
	}
	return (ssize_t)n;
}

/* The most that this process has had in memory, in KiB. */
static long peak(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "VmHWM: %ld", &kib) == 1)
			break;
	}
	if (file)
		fclose(file);
	return kib;
}

/* 200 MB with a unique column take no more memory than 2 MB: in a process of its own, whose peak the kernel knows. */
static void memory_is_bounded(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (priv_filter_sanitized())
		skip();
	pid = fork();
	if (!pid) {
		struct endless e = { .left = 200000000 };
		struct rules *rules = parse_rules(RULES);
		FILE *spill = tmpfile();
		struct pipeline_io p = { .read = endless_read, .arg = &e, .nspill = 1 };
		json_t *result;
		int error;

		p.spill_fds[0] = spill ? fileno(spill) : -1;
		result = pipeline_run(rules, &p, &error);
		fprintf(stderr, "# error %d, %lld rows, peak %ld KiB\n", error, (long long)number(result, "rows"), peak());
		_exit(!result || number(result, "bytes") != 200000000 ? 1 : peak() > 32 << 10 ? 2 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checks_a_table),
		cmocka_unit_test(pieces_change_nothing),
		cmocka_unit_test(a_zip_is_one_table),
		cmocka_unit_test(one_level_is_unpacked),
		cmocka_unit_test(bombs_are_findings),
		cmocka_unit_test(only_wanted_types_pass),
		cmocka_unit_test(json_is_a_table_too),
		cmocka_unit_test(faulty_lines_reject),
		cmocka_unit_test(rows_that_are_lost_reject),
		cmocka_unit_test(names_may_hold_anything),
		cmocka_unit_test(a_cancel_is_no_verdict),
		cmocka_unit_test(rows_are_found),
		cmocka_unit_test(memory_is_bounded),
	};

	if (pipeline_prepare())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
