// SPDX-License-Identifier: Apache-2.0
/*
 * unpack.c -- gz and zstd by their own libraries, zip by libarchive's streaming reader (local headers in order, the
 * directory at the end unread: entries that overlap there are seen once), all under the same limits.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "http/upload/finding.h"
#include "http/upload/unpack.h"

#define IN_PIECE	(64u << 10)
#define OUT_PIECE	(256u << 10)
#define RATIO_FROM	(16u << 20) /* a small file of blanks is no bomb */
#define ZSTD_WINDOW_LOG 24	    /* 16 MiB: what level 19 needs, and half of what a check may keep */

struct unpacking {
	ssize_t (*read)(void *arg, void *buf, size_t max);
	void *read_arg;
	const struct unpack_sink *sink;
	struct unpack_limits limits;
	uint64_t in, out;
	char *why;
	int failed; /* what read or the sink returned */
	unsigned char *piece, *plain;
};

static int broken(struct unpacking *u, const char *what)
{
	snprintf(u->why, 160, "%s", what);
	return -EBADMSG;
}

static ssize_t read_piece(struct unpacking *u)
{
	ssize_t got = u->read(u->read_arg, u->piece, IN_PIECE);

	if (got < 0)
		u->failed = (int)got;
	else
		u->in += (uint64_t)got;
	return got;
}

/* Unpacked bytes to the sink, or the limit that they break. */
static int give(struct unpacking *u, const void *data, size_t len)
{
	int rc;

	if (!len)
		return 0;
	u->out += len;
	if (u->out > u->limits.out_max) {
		snprintf(u->why, 160, "it unpacks to more than %llu bytes", (unsigned long long)u->limits.out_max);
		return -E2BIG;
	}
	if (u->out > RATIO_FROM && u->out / u->limits.ratio_max > u->in) {
		snprintf(u->why, 160, "it unpacks to more than %u times its size", u->limits.ratio_max);
		return -E2BIG;
	}
	rc = u->sink->data(u->sink->arg, data, len);
	if (rc)
		u->failed = rc;
	return rc;
}

/* ---- gzip ------------------------------------------------------------------------------------ */

/* Behind a member: another one, zeros as tapes have them, or the end. 1: another; 0: the end; -EBADMSG, -errno. */
static int next_member(struct unpacking *u, z_stream *z)
{
	for (;;) {
		ssize_t got;

		while (z->avail_in && !*z->next_in) {
			z->next_in++;
			z->avail_in--;
		}
		if (z->avail_in)
			break;
		got = read_piece(u);
		if (got <= 0)
			return (int)got;
		z->next_in = u->piece;
		z->avail_in = (uInt)got;
	}
	if (*z->next_in != 0x1f)
		return broken(u, "there is something behind its end that is not packed");
	return inflateReset(z) == Z_OK ? 1 : -ENOMEM;
}

/* All that comes out of what is in z->next_in. 0, or 1 at a member's end. */
static int inflate_piece(struct unpacking *u, z_stream *z)
{
	int status, rc;

	do {
		z->next_out = u->plain;
		z->avail_out = OUT_PIECE;
		status = inflate(z, Z_NO_FLUSH);
		if (status == Z_MEM_ERROR)
			return -ENOMEM;
		if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
			return broken(u, z->msg ? z->msg : "its data are damaged");
		rc = give(u, u->plain, OUT_PIECE - z->avail_out);
		if (rc)
			return rc;
	} while (status != Z_STREAM_END && !z->avail_out);
	return status == Z_STREAM_END;
}

static int run_gzip(struct unpacking *u)
{
	z_stream z = { 0 };
	int rc = inflateInit2(&z, 16 + MAX_WBITS) == Z_OK ? 0 : -ENOMEM;

	while (!rc) {
		if (!z.avail_in) {
			ssize_t got = read_piece(u);

			if (got <= 0) {
				rc = got ? (int)got : broken(u, "it ends too early");
				break;
			}
			z.next_in = u->piece;
			z.avail_in = (uInt)got;
		}
		rc = inflate_piece(u, &z);
		if (rc != 1)
			continue;
		rc = next_member(u, &z);
		if (!rc)
			break;
		rc = rc == 1 ? 0 : rc;
	}
	inflateEnd(&z);
	return rc;
}

/* ---- zstd ------------------------------------------------------------------------------------ */

static int zstd_fault(struct unpacking *u, size_t code)
{
	switch (ZSTD_getErrorCode(code)) {
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	case ZSTD_error_frameParameter_windowTooLarge:
		return broken(u, "its window is over 16 MiB: pack it at level 19 or lower, and without --long");
	default:
		return broken(u, ZSTD_getErrorName(code));
	}
}

/* *left: what the frame still wants, 0 at its end. */
static int zstd_piece(struct unpacking *u, ZSTD_DStream *z, size_t len, size_t *left)
{
	ZSTD_inBuffer in = { u->piece, len, 0 };
	bool full;

	do {
		ZSTD_outBuffer out = { u->plain, OUT_PIECE, 0 };
		int rc;

		*left = ZSTD_decompressStream(z, &out, &in);
		if (ZSTD_isError(*left))
			return zstd_fault(u, *left);
		rc = give(u, u->plain, out.pos);
		if (rc)
			return rc;
		full = out.pos == out.size;
	} while (in.pos < in.size || full);
	return 0;
}

static int run_zstd(struct unpacking *u)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	size_t left = 1;
	int rc = z && !ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)) ? 0 : -ENOMEM;

	while (!rc) {
		ssize_t got = read_piece(u);

		if (got <= 0) {
			rc = got ? (int)got : left ? broken(u, "it ends too early") : 0;
			break;
		}
		rc = zstd_piece(u, z, (size_t)got, &left);
	}
	ZSTD_freeDStream(z);
	return rc;
}

/* ---- zip ------------------------------------------------------------------------------------- */

static la_ssize_t zip_read(struct archive *a, void *arg, const void **data)
{
	struct unpacking *u = arg;
	ssize_t got = read_piece(u);

	if (got < 0)
		archive_set_error(a, EIO, "read");
	*data = u->piece;
	return got < 0 ? ARCHIVE_FATAL : got;
}

/* libarchive's words end in what libraries said; they are for people. */
static int zip_fault(struct unpacking *u, struct archive *a)
{
	const char *text = archive_error_string(a);
	char clean[FINDING_VALUE_MAX + 8];

	if (u->failed)
		return u->failed;
	if (archive_errno(a) == ENOMEM)
		return -ENOMEM;
	finding_value(clean, text ? text : "", text ? strlen(text) : 0);
	snprintf(u->why, 160, "%s", text ? clean : "its data are damaged");
	return -EBADMSG;
}

static int zip_data(struct unpacking *u, struct archive *a)
{
	for (;;) {
		la_ssize_t got = archive_read_data(a, u->plain, OUT_PIECE);
		int rc;

		/* Warnings are checksums that do not match. */
		if (got < 0)
			return zip_fault(u, a);
		if (!got)
			return 0;
		rc = give(u, u->plain, (size_t)got);
		if (rc)
			return rc;
	}
}

/* What an operating system adds to what people pack. */
static bool is_litter(const char *path)
{
	const char *base = strrchr(path, '/');

	base = base ? base + 1 : path;
	return !strncmp(path, "__MACOSX/", 9) || !strncmp(base, "._", 2) || !strcmp(base, ".DS_Store") ||
	       !strcasecmp(base, "thumbs.db");
}

static int zip_entry(struct unpacking *u, struct archive *a, struct archive_entry *entry)
{
	const char *path = archive_entry_pathname_utf8(entry);
	char name[FINDING_VALUE_MAX + 8];
	int rc;

	if (!path)
		path = archive_entry_pathname(entry);
	path = path ? path : "";
	if (archive_entry_filetype(entry) != AE_IFREG || is_litter(path))
		return 0;
	if (archive_entry_is_encrypted(entry))
		return broken(u, "it is encrypted; pack it without a password");
	finding_value(name, path, strlen(path));
	rc = u->sink->entry(u->sink->arg, name);
	if (rc) {
		u->failed = rc;
		return rc;
	}
	return zip_data(u, a);
}

static int zip_entries(struct unpacking *u, struct archive *a)
{
	struct archive_entry *entry;
	uint32_t entries = 0;

	for (;;) {
		int status = archive_read_next_header(a, &entry), rc;

		if (status == ARCHIVE_EOF)
			return entries ? 0 : broken(u, "it holds nothing");
		if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
			return zip_fault(u, a);
		if (++entries > u->limits.entries_max) {
			snprintf(u->why, 160, "it holds more than %u files", u->limits.entries_max);
			return -E2BIG;
		}
		rc = zip_entry(u, a, entry);
		if (rc)
			return rc;
	}
}

static int run_zip(struct unpacking *u)
{
	struct archive *a = archive_read_new();
	int rc;

	if (!a)
		return -ENOMEM;
	if (archive_read_support_format_zip_streamable(a) != ARCHIVE_OK)
		rc = -ENOMEM;
	else if (archive_read_open(a, u, NULL, zip_read, NULL) != ARCHIVE_OK)
		rc = zip_fault(u, a);
	else
		rc = zip_entries(u, a);
	/* The directory is the file's, too: its digest is over all bytes. */
	while (!rc) {
		ssize_t got = read_piece(u);

		if (got <= 0) {
			rc = (int)got;
			break;
		}
	}
	archive_read_free(a);
	return rc;
}

int unpack(enum file_kind kind, ssize_t (*read)(void *arg, void *buf, size_t max), void *read_arg,
	   const struct unpack_limits *limits, const struct unpack_sink *sink, char why[160])
{
	struct unpacking u = { .read = read, .read_arg = read_arg, .limits = *limits, .sink = sink, .why = why };
	int rc = -ENOMEM;

	why[0] = '\0';
	if (!u.limits.out_max)
		u.limits.out_max = 1ull << 40;
	if (!u.limits.ratio_max)
		u.limits.ratio_max = 200;
	if (!u.limits.entries_max)
		u.limits.entries_max = 1000;
	u.piece = malloc(IN_PIECE);
	u.plain = malloc(OUT_PIECE);
	if (u.piece && u.plain) {
		rc = kind == KIND_ZIP ? 0 : sink->entry(sink->arg, "");
		if (!rc && kind == KIND_ZIP)
			rc = run_zip(&u);
		else if (!rc)
			rc = kind == KIND_GZIP ? run_gzip(&u) : kind == KIND_ZSTD ? run_zstd(&u) : -EINVAL;
	}
	free(u.piece);
	free(u.plain);
	return rc;
}
