/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transform_file.c -- one file of an output: text is gathered, packed and written. gzip is one
 * stream a file; zstd is one frame after the other, so that 256 files of a split share one
 * compressor (a stream of its own has 1 MiB and more).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/transform_parts.h"

/* ISA-L's first level: as small as zlib's fourth and some eight times as quick. 360 KiB a stream, or 106 KiB when there may
 * be many. No time in the head: the same rows, the same bytes. */
static int gzip_begin(struct out_file *f, bool split)
{
	uint32_t size = split ? ISAL_DEF_LVL1_MIN : ISAL_DEF_LVL1_DEFAULT;
	uint8_t *work = malloc(size);

	f->gzip = malloc(sizeof(*f->gzip));
	if (!f->gzip || !work) {
		free(f->gzip);
		free(work);
		f->gzip = NULL;
		return -ENOMEM;
	}
	isal_deflate_init(f->gzip);
	f->gzip->level = 1;
	f->gzip->level_buf = work;
	f->gzip->level_buf_size = size;
	f->gzip->gzip_flag = IGZIP_GZIP;
	f->gzip->flush = NO_FLUSH;
	return 0;
}

/* Takes name. */
int out_file_open(struct out_file *f, struct out_packer *p, const struct output *output, char *name)
{
	int r = 0;

	memset(f, 0, sizeof(*f));
	f->name = name;
	f->limit = 262144;
	if (output->packing == PACK_GZIP)
		r = gzip_begin(f, output->split);
	if (output->packing == PACK_ZSTD && !p->zstd && !(p->zstd = ZSTD_createCCtx()))
		r = -ENOMEM;
	if (!p->buf && !r) {
		p->size = ZSTD_compressBound(262144);
		p->buf = malloc(p->size);
		r = p->buf ? 0 : -ENOMEM;
	}
	if (!r)
		f->handle = p->files->open(p->files->arg, output, name);
	return r < 0 ? r : f->handle < 0 ? f->handle : 0;
}

static int put(struct out_file *f, struct out_packer *p, const void *data, size_t len)
{
	f->bytes += len;
	return len ? p->files->write(p->files->arg, f->handle, data, len) : 0;
}

static int put_gzip(struct out_file *f, struct out_packer *p, bool last)
{
	int r;

	f->gzip->next_in = (uint8_t *)f->text.data;
	f->gzip->avail_in = (uint32_t)f->text.len;
	f->gzip->end_of_stream = last;
	do {
		f->gzip->next_out = (uint8_t *)p->buf;
		f->gzip->avail_out = (uint32_t)p->size;
		if (isal_deflate(f->gzip) != COMP_OK)
			return -EIO;
		r = put(f, p, p->buf, p->size - f->gzip->avail_out);
		if (r < 0)
			return r;
	} while (last ? f->gzip->internal_state.state != ZSTATE_END : f->gzip->avail_out == 0);
	return 0;
}

static int put_zstd(struct out_file *f, struct out_packer *p)
{
	for (size_t at = 0; at < f->text.len || !f->bytes;) {
		size_t len = f->text.len - at < 262144 ? f->text.len - at : 262144;
		size_t n = ZSTD_compressCCtx(p->zstd, p->buf, p->size, f->text.data + at, len, 3);
		int r = ZSTD_isError(n) ? -EIO : put(f, p, p->buf, n);

		if (r < 0)
			return r;
		at += len;
	}
	return 0;
}

int out_file_flush(struct out_file *f, struct out_packer *p, enum output_packing packing, bool last)
{
	int r;

	if (packing == PACK_GZIP)
		r = put_gzip(f, p, last);
	else if (packing == PACK_ZSTD)
		r = put_zstd(f, p);
	else
		r = put(f, p, f->text.data, f->text.len);
	f->text.len = 0;
	return r;
}

void out_file_free(struct out_file *f)
{
	if (!f)
		return;
	if (f->gzip)
		free(f->gzip->level_buf);
	free(f->gzip);
	free(f->text.data);
	free(f->name);
	free(f);
}

/* Letters, digits, "._-" and characters beyond ASCII stay; others become "_"; no dot at the
 * beginning; 100 bytes. */
static size_t clean(char out[104], const char *value, size_t len)
{
	json_t *text;
	size_t n = 0;

	for (size_t i = 0; i < len && n < 100; i++) {
		unsigned char c = (unsigned char)value[i];
		bool keep = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
			    c == '_' || c == '-' || (c == '.' && n) || c >= 0x80;

		out[n++] = keep ? (char)c : '_';
	}
	if (n == 100 && len > n) /* no half of a character */
		while (n && ((unsigned char)out[n - 1] & 0x80) &&
		       ((unsigned char)value[n] & 0xc0) == 0x80)
			n--;
	text = json_stringn(out, n);
	for (size_t i = 0; !text && i < n; i++) /* no UTF-8 */
		out[i] = (unsigned char)out[i] >= 0x80 ? '_' : out[i];
	json_decref(text);
	if (!n)
		n = (size_t)sprintf(out, "empty");
	return n;
}

char *out_file_name(const struct output *output, const char *value, size_t len, uint64_t mark)
{
	const char *name = output->name, *at = strstr(name, "{value}");
	char part[104 + 20] = "", *out = NULL;
	size_t n;

	if (!output->split)
		return strdup(name);
	n = clean(part, value, len);
	if (mark)
		n += (size_t)sprintf(part + n, "-%08x", (unsigned int)(mark >> 32));
	if (at) {
		if (asprintf(&out, "%.*s%.*s%s", (int)(at - name), name, (int)n, part, at + 7) < 0)
			return NULL;
		return out;
	}
	at = strrchr(name, '/');
	at = strchrnul(at ? at : name, '.'); /* "sales.csv.gz": "sales-VALUE.csv.gz" */
	if (asprintf(&out, "%.*s-%.*s%s", (int)(at - name), name, (int)n, part, at) < 0)
		return NULL;
	return out;
}
