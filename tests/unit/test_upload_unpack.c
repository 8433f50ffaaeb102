/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack.c: what was packed comes out again whatever the pieces are; what is cut, damaged, encrypted or a bomb ends with
 * a reason, and before it costs anything.
 */
#include "tests/unit/unit.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#include "http/upload/unpack.h"

struct bytes {
	unsigned char *data;
	size_t len, size;
};

static void add(struct bytes *b, const void *data, size_t len)
{
	if (b->len + len > b->size) {
		b->size = (b->len + len) * 2;
		b->data = realloc(b->data, b->size);
		assert_non_null(b->data);
	}
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
}

/* What came out: the text, and the names of the entries, each behind a newline. */
struct result {
	struct bytes text;
	char names[4096];
	char why[160];
	bool count_only;
	uint64_t count;
	int stop_at; /* entry that ends it */
	int entries;
};

struct source {
	const struct bytes *from;
	size_t at, piece;
};

static ssize_t source_read(void *arg, void *buf, size_t max)
{
	struct source *s = arg;
	size_t n = s->from->len - s->at;

	n = n < max ? n : max;
	n = n < s->piece ? n : s->piece;
	memcpy(buf, s->from->data + s->at, n);
	s->at += n;
	return (ssize_t)n;
}

static int on_entry(void *arg, const char *name)
{
	struct result *r = arg;
	size_t len = strlen(r->names);

	snprintf(r->names + len, sizeof(r->names) - len, "%s\n", name);
	return r->stop_at && ++r->entries == r->stop_at ? -ECANCELED : 0;
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct result *r = arg;

	r->count += len;
	if (!r->count_only)
		add(&r->text, data, len);
	return 0;
}

static int run(struct result *r, enum file_kind kind, const struct bytes *packed, size_t piece,
	       const struct unpack_limits *limits)
{
	static const struct unpack_limits none;
	const struct unpack_sink sink = { on_entry, on_data, r };
	struct source source = { packed, 0, piece };

	r->text.len = 0;
	r->names[0] = '\0';
	r->count = 0;
	return unpack(kind, source_read, &source, limits ? limits : &none, &sink, r->why);
}

static void gzip_add(struct bytes *out, const void *data, size_t len, int level)
{
	z_stream z = { .next_in = (unsigned char *)data, .avail_in = (uInt)len };
	unsigned char buf[65536];
	int status;

	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	do {
		z.next_out = buf;
		z.avail_out = sizeof(buf);
		status = deflate(&z, Z_FINISH);
		add(out, buf, sizeof(buf) - z.avail_out);
	} while (status == Z_OK);
	assert_int_equal(status, Z_STREAM_END);
	deflateEnd(&z);
}

static void zstd_add(struct bytes *out, const void *data, size_t len, int level)
{
	size_t max = ZSTD_compressBound(len), n;
	char *buf = malloc(max);

	assert_non_null(buf);
	n = ZSTD_compress(buf, max, data, len, level);
	assert_false(ZSTD_isError(n));
	add(out, buf, n);
	free(buf);
}

static la_ssize_t zip_write(struct archive *a, void *arg, const void *data, size_t len)
{
	(void)a;
	add(arg, data, len);
	return (la_ssize_t)len;
}

static struct archive *zip_begin(struct bytes *out, const char *options)
{
	struct archive *a = archive_write_new();

	assert_int_equal(archive_write_set_format_zip(a), ARCHIVE_OK);
	assert_int_equal(archive_write_set_options(a, options), ARCHIVE_OK);
	archive_write_set_bytes_in_last_block(a, 1);
	if (strstr(options, "encryption"))
		assert_int_equal(archive_write_set_passphrase(a, "x"), ARCHIVE_OK);
	assert_int_equal(archive_write_open(a, out, NULL, zip_write, NULL), ARCHIVE_OK);
	return a;
}

static void zip_add(struct archive *a, const char *name, unsigned int type, const void *data, size_t len)
{
	struct archive_entry *e = archive_entry_new();

	archive_entry_set_pathname_utf8(e, name);
	archive_entry_set_filetype(e, type);
	archive_entry_set_perm(e, 0644);
	if (type == AE_IFLNK)
		archive_entry_set_symlink(e, "/etc/passwd");
	else
		archive_entry_set_size(e, (la_int64_t)len);
	assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
	if (len)
		assert_int_equal(archive_write_data(a, data, len), (la_ssize_t)len);
	archive_entry_free(e);
}

static void zip_end(struct archive *a)
{
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
}

/* Text that packs neither well nor not at all. */
static struct bytes make_text(size_t lines)
{
	struct bytes b = { 0 };
	char line[64];

	for (size_t i = 0; i < lines; i++)
		add(&b, line, (size_t)sprintf(line, "%zu,%zu,abc\n", i, i * 2654435761u % 100003));
	return b;
}

static void comes_out_whatever_the_pieces(void **state)
{
	struct bytes text = make_text(30000), gz = { 0 }, zst = { 0 };
	static const size_t pieces[] = { 1, 7, 1000, 65536 };
	struct result r = { 0 };

	(void)state;
	gzip_add(&gz, text.data, text.len / 2, 6);
	gzip_add(&gz, text.data + text.len / 2, text.len - text.len / 2, 1);
	add(&gz, "\0\0\0\0", 4);
	zstd_add(&zst, text.data, text.len / 2, 3);
	zstd_add(&zst, text.data + text.len / 2, text.len - text.len / 2, 19);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(run(&r, KIND_GZIP, &gz, pieces[i], NULL), 0);
		assert_int_equal(r.text.len, text.len);
		assert_memory_equal(r.text.data, text.data, text.len);
		assert_string_equal(r.names, "\n");
		assert_int_equal(run(&r, KIND_ZSTD, &zst, pieces[i], NULL), 0);
		assert_int_equal(r.text.len, text.len);
		assert_memory_equal(r.text.data, text.data, text.len);
	}
	free(text.data), free(gz.data), free(zst.data), free(r.text.data);
}

static void zip_gives_regular_files(void **state)
{
	static const char *const options[] = { "zip:compression=deflate", "zip:compression=store" };
	struct result r = { 0 };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct bytes zip = { 0 };
		struct archive *a = zip_begin(&zip, options[i]);

		zip_add(a, "d/", AE_IFDIR, "", 0);
		zip_add(a, "d/a.csv", AE_IFREG, "x\n1\n", 4);
		zip_add(a, "__MACOSX/d/._a.csv", AE_IFREG, "zzz", 3);
		zip_add(a, "../../\xc3\xbc\x01.csv", AE_IFREG, "x\n2\n", 4);
		zip_end(a);
		for (size_t piece = 1; piece < 5000; piece *= 10) {
			assert_int_equal(run(&r, KIND_ZIP, &zip, piece, NULL), 0);
			assert_int_equal(r.text.len, 8);
			assert_memory_equal(r.text.data, "x\n1\nx\n2\n", 8);
			assert_string_equal(r.names, "d/a.csv\n../../\xc3\xbc\xe2\x90\x81.csv\n");
		}
		free(zip.data);
	}
	free(r.text.data);
}

/* What a link is stands in the directory alone: its target's name comes as text, and is never followed. */
static void links_are_text(void **state)
{
	struct bytes zip = { 0 };
	struct archive *a = zip_begin(&zip, "zip:compression=store");
	struct result r = { 0 };

	(void)state;
	zip_add(a, "link", AE_IFLNK, "", 0);
	zip_end(a);
	assert_int_equal(run(&r, KIND_ZIP, &zip, 4096, NULL), 0);
	assert_int_equal(r.text.len, 11);
	assert_memory_equal(r.text.data, "/etc/passwd", 11);
	free(zip.data), free(r.text.data);
}

/* Every cut of the file is told; nothing is read behind it. */
static void cut_files_are_broken(void **state)
{
	struct bytes text = make_text(200), packed[3] = { 0 };
	static const enum file_kind kinds[] = { KIND_GZIP, KIND_ZSTD, KIND_ZIP };
	struct result r = { 0 };
	struct archive *a;
	size_t whole;

	(void)state;
	gzip_add(&packed[0], text.data, text.len, 6);
	zstd_add(&packed[1], text.data, text.len, 3);
	a = zip_begin(&packed[2], "zip:compression=deflate");
	zip_add(a, "a", AE_IFREG, text.data, text.len);
	/* Cut in the directory, all data are there: only what stands before it counts. */
	whole = packed[2].len;
	zip_end(a);
	for (size_t k = 0; k < 3; k++) {
		size_t len = k == 2 ? whole : packed[k].len;

		for (size_t cut = 1; cut < len; cut += 13) {
			packed[k].len = cut;
			assert_int_equal(run(&r, kinds[k], &packed[k], 100, NULL), -EBADMSG);
			assert_true(r.why[0]);
		}
		free(packed[k].data);
	}
	free(text.data), free(r.text.data);
}

/* One bit flipped anywhere either changes nothing that comes out or is told. */
static void damage_is_told(void **state)
{
	struct bytes text = make_text(300), packed[2] = { 0 };
	static const enum file_kind kinds[] = { KIND_GZIP, KIND_ZIP };
	struct result r = { 0 };
	struct archive *a;

	(void)state;
	gzip_add(&packed[0], text.data, text.len, 6);
	a = zip_begin(&packed[1], "zip:compression=deflate");
	zip_add(a, "a", AE_IFREG, text.data, text.len);
	zip_end(a);
	for (size_t k = 0; k < 2; k++) {
		for (size_t at = 0; at < packed[k].len; at += 7) {
			int rc;

			packed[k].data[at] ^= 0x10;
			rc = run(&r, kinds[k], &packed[k], 4096, NULL);
			if (!rc && r.text.len)
				assert_true(r.text.len == text.len && !memcmp(r.text.data, text.data, text.len));
			packed[k].data[at] ^= 0x10;
		}
		free(packed[k].data);
	}
	free(text.data), free(r.text.data);
}

static void refuses_what_is_behind_the_end(void **state)
{
	struct bytes gz = { 0 };
	struct result r = { 0 };

	(void)state;
	gzip_add(&gz, "a\n", 2, 6);
	add(&gz, "hello", 5);
	assert_int_equal(run(&r, KIND_GZIP, &gz, 100, NULL), -EBADMSG);
	assert_non_null(strstr(r.why, "behind its end"));
	free(gz.data), free(r.text.data);
}

/* 1 GiB of zeros is stopped at the ratio, and anything at the limit of bytes. */
static void bombs_are_stopped(void **state)
{
	static const enum file_kind kinds[] = { KIND_GZIP, KIND_ZSTD, KIND_ZIP };
	const struct unpack_limits small = { .out_max = 100000 };
	size_t len = 64u << 20;
	char *zeros = calloc(1, len);
	struct bytes packed[3] = { 0 };
	struct result r = { .count_only = true };
	struct archive *a;

	(void)state;
	assert_non_null(zeros);
	gzip_add(&packed[0], zeros, len, 9);
	zstd_add(&packed[1], zeros, len, 3);
	a = zip_begin(&packed[2], "zip:compression=deflate");
	zip_add(a, "bomb", AE_IFREG, zeros, len);
	zip_end(a);
	for (size_t k = 0; k < 3; k++) {
		assert_int_equal(run(&r, kinds[k], &packed[k], 65536, NULL), -E2BIG);
		assert_non_null(strstr(r.why, "200 times"));
		assert_true(r.count < 18u << 20);
		assert_int_equal(run(&r, kinds[k], &packed[k], 65536, &small), -E2BIG);
		assert_non_null(strstr(r.why, "100000 bytes"));
		assert_true(r.count <= 100000);
		free(packed[k].data);
	}
	free(zeros);
}

/* Files that share their bytes by entries of the directory that overlap (Fifield 2019): the reader goes by what stands
 * in the file, so that each byte comes out once. */
static void overlapping_entries_come_once(void **state)
{
	struct bytes zip = { 0 }, text = make_text(2000);
	struct result r = { .count_only = true };
	struct archive *a = zip_begin(&zip, "zip:compression=deflate");
	size_t directory, end;
	struct bytes many = { 0 };

	(void)state;
	zip_add(a, "a", AE_IFREG, text.data, text.len);
	zip_end(a);
	for (directory = 0; memcmp(zip.data + directory, "PK\1\2", 4); directory++)
		;
	for (end = directory; memcmp(zip.data + end, "PK\5\6", 4); end++)
		;
	add(&many, zip.data, directory);
	for (int i = 0; i < 5000; i++)
		add(&many, zip.data + directory, end - directory);
	add(&many, zip.data + end, zip.len - end);
	assert_int_equal(run(&r, KIND_ZIP, &many, 65536, NULL), 0);
	assert_int_equal(r.count, text.len);
	free(zip.data), free(many.data), free(text.data);
}

static void entries_have_a_limit(void **state)
{
	struct bytes zip = { 0 };
	struct archive *a = zip_begin(&zip, "zip:compression=store");
	struct result r = { 0 };
	char name[16];

	(void)state;
	for (int i = 0; i < 1001; i++) {
		sprintf(name, "%d", i);
		zip_add(a, name, AE_IFREG, "a\n", 2);
	}
	zip_end(a);
	r.stop_at = 3;
	assert_int_equal(run(&r, KIND_ZIP, &zip, 4096, NULL), -ECANCELED);
	r.stop_at = 0;
	assert_int_equal(run(&r, KIND_ZIP, &zip, 4096, NULL), -E2BIG);
	assert_non_null(strstr(r.why, "1000 files"));
	free(zip.data), free(r.text.data);
}

static void encrypted_is_said(void **state)
{
	static const char *const options[] = { "zip:encryption=zipcrypt", "zip:encryption=aes256" };
	struct result r = { 0 };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct bytes zip = { 0 };
		struct archive *a = zip_begin(&zip, options[i]);

		zip_add(a, "a", AE_IFREG, "x\n1\n", 4);
		zip_end(a);
		assert_int_equal(run(&r, KIND_ZIP, &zip, 4096, NULL), -EBADMSG);
		assert_non_null(strstr(r.why, "encrypted"));
		free(zip.data);
	}
	free(r.text.data);
}

/* A window that would take more memory than a check has. */
static void long_windows_are_refused(void **state)
{
	struct bytes text = make_text(1500000), zst = { 0 };
	size_t max = ZSTD_compressBound(text.len), n;
	ZSTD_CCtx *z = ZSTD_createCCtx();
	char *buf = malloc(max);
	struct result r = { .count_only = true };

	(void)state;
	assert_true(text.len > 20u << 20);
	ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, 27);
	ZSTD_CCtx_setParameter(z, ZSTD_c_contentSizeFlag, 0);
	n = ZSTD_compress2(z, buf, max, text.data, text.len);
	assert_false(ZSTD_isError(n));
	add(&zst, buf, n);
	assert_int_equal(run(&r, KIND_ZSTD, &zst, 65536, NULL), -EBADMSG);
	assert_non_null(strstr(r.why, "window"));
	ZSTD_freeCCtx(z);
	free(buf), free(zst.data), free(text.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_out_whatever_the_pieces),
		cmocka_unit_test(zip_gives_regular_files),
		cmocka_unit_test(links_are_text),
		cmocka_unit_test(cut_files_are_broken),
		cmocka_unit_test(damage_is_told),
		cmocka_unit_test(refuses_what_is_behind_the_end),
		cmocka_unit_test(bombs_are_stopped),
		cmocka_unit_test(overlapping_entries_come_once),
		cmocka_unit_test(entries_have_a_limit),
		cmocka_unit_test(encrypted_is_said),
		cmocka_unit_test(long_windows_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
