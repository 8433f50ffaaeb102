/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.c -- the bytes that follow a version's data (manifest.h). Pure.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/manifest.h"

static const uint8_t magic[8] = { 'w', 'e', 'i', 'r', 'v', 'e', 'r', '1' };

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

uint64_t manifest_chunks(uint64_t size)
{
	return (size + CHUNK_SIZE - 1) / CHUNK_SIZE;
}

uint32_t chunk_length(uint64_t size, uint64_t number)
{
	uint64_t start = number * CHUNK_SIZE;

	if (start >= size)
		return 0;
	return size - start < CHUNK_SIZE ? (uint32_t)(size - start) : CHUNK_SIZE;
}

unsigned int chunk_blocks(uint32_t length)
{
	return (length + BLOCK_SIZE - 1) / BLOCK_SIZE;
}

uint32_t record_length(uint32_t chunk_len)
{
	return 32 + 4 * chunk_blocks(chunk_len) + 4;
}

uint64_t record_offset(uint64_t size, uint64_t number)
{
	uint64_t full = size / CHUNK_SIZE, at = size;

	at += (number < full ? number : full) * RECORD_MAX;
	if (number > full) /* past the last, shorter chunk */
		at += record_length((uint32_t)(size % CHUNK_SIZE));
	return at;
}

/* The number is the seed: a record in another's place does not check out. */
static uint32_t record_crc(const uint8_t *rec, size_t len, uint64_t number)
{
	uint8_t seed[8];

	put64(seed, number);
	return crc32c(crc32c(0, seed, sizeof(seed)), rec, len);
}

void record_encode(const struct chunk_record *rec, uint64_t number, uint32_t chunk_len,
		   uint8_t *out)
{
	uint32_t len = record_length(chunk_len);

	memcpy(out, rec->sha256, 32);
	for (unsigned int i = 0; i < chunk_blocks(chunk_len); i++)
		put32(out + 32 + 4 * i, rec->blocks[i]);
	put32(out + len - 4, record_crc(out, len - 4, number));
}

int record_decode(struct chunk_record *rec, uint64_t number, uint32_t chunk_len, const uint8_t *in)
{
	uint32_t len = record_length(chunk_len);

	if (get32(in + len - 4) != record_crc(in, len - 4, number))
		return -EBADMSG;
	memcpy(rec->sha256, in, 32);
	for (unsigned int i = 0; i < chunk_blocks(chunk_len); i++)
		rec->blocks[i] = get32(in + 32 + 4 * i);
	return 0;
}

/* ---- the head: written by hand, for it is a part of each PUT; read by a library ---- */

/* One character of valid UTF-8; returns its bytes. */
static unsigned int character(const uint8_t *p, uint32_t *out)
{
	static const uint8_t first[5] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	unsigned int n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;

	*out = *p & first[n];
	for (unsigned int i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80) {
			*out = 0xfffd;
			return i;
		}
		*out = *out << 6 | (p[i] & 0x3f);
	}
	return n;
}

/* A JSON string in ASCII, for it is also sent as a header. out has room for 6 bytes a byte, and 2. */
static char *text_encode(char *out, const char *text)
{
	const uint8_t *p = (const uint8_t *)text;
	uint32_t c;

	*out++ = '"';
	while (*p) {
		if (*p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\') {
			*out++ = (char)*p++;
			continue;
		}
		p += character(p, &c);
		if (c >= 0x10000) {
			c -= 0x10000;
			out += sprintf(out, "\\u%04x\\u%04x", 0xd800 | c >> 10, 0xdc00 | (c & 0x3ff));
		} else {
			out += sprintf(out, "\\u%04x", c);
		}
	}
	*out++ = '"';
	return out;
}

char *manifest_encode(const struct manifest *m, size_t *len)
{
	char version[VERSION_STRLEN], sha[65], *text, *p;
	size_t names = strlen(m->bucket) + strlen(m->key);

	for (unsigned int i = 0; i < m->nholders; i++)
		names += strlen(m->holders[i]) + 3;
	text = malloc(6 * names + 400);
	if (!text)
		return NULL;
	p = text + sprintf(text, "{\"version\":\"%s\",\"size\":%" PRIu64 ",\"sha256\":\"%s\",\"bucket\":",
			   version_format(&m->version, version), m->size,
			   hex_encode(m->sha256, 32, sha));
	p = text_encode(p, m->bucket);
	p = text_encode(stpcpy(p, ",\"key\":"), m->key);
	p += sprintf(p, ",\"created\":%" PRId64 ",\"holders\":[", m->created);
	for (unsigned int i = 0; i < m->nholders; i++) {
		if (i)
			*p++ = ',';
		p = text_encode(p, m->holders[i]);
	}
	p = stpcpy(p, "]}");
	if (len)
		*len = (size_t)(p - text);
	return text;
}

static int copy_text(char *out, size_t max, const char *text)
{
	size_t len = strlen(text);

	if (len >= max)
		return -EBADMSG;
	memcpy(out, text, len + 1);
	return 0;
}

static int decode_holders(struct manifest *m, const json_t *holders)
{
	size_t n = json_array_size(holders);

	if (!json_is_array(holders) || n > HOLDERS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		const char *name = json_string_value(json_array_get(holders, i));

		if (!name || copy_text(m->holders[i], NODE_MAX, name))
			return -EBADMSG;
	}
	m->nholders = (unsigned int)n;
	return 0;
}

int manifest_decode(struct manifest *out, const char *text, size_t len)
{
	const char *version, *sha, *bucket, *key;
	struct manifest m = { 0 };
	json_int_t size, created;
	json_t *root, *holders;
	int rc = -EBADMSG;

	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!root)
		return -EBADMSG;
	if (json_unpack(root, "{s:s, s:I, s:s, s:s, s:s, s:I, s:o}", "version", &version, "size",
			&size, "sha256", &sha, "bucket", &bucket, "key", &key, "created", &created,
			"holders", &holders))
		goto out;
	if (size < 0 || (uint64_t)size > OBJECT_MAX || version_parse(&m.version, version) ||
	    strlen(sha) != 64 || hex_decode(sha, m.sha256, 32) ||
	    copy_text(m.bucket, BUCKET_MAX, bucket) || copy_text(m.key, KEY_MAX, key) ||
	    decode_holders(&m, holders))
		goto out;
	m.size = (uint64_t)size;
	m.created = created;
	*out = m;
	rc = 0;
out:
	json_decref(root);
	return rc;
}

void footer_encode(const struct footer *f, uint8_t out[FOOTER_SIZE])
{
	memcpy(out, magic, 8);
	put64(out + 8, f->size);
	put32(out + 16, f->head_len);
	put32(out + 20, f->head_crc);
	put32(out + 24, 0);
	put32(out + 28, crc32c(0, out, 28));
}

int footer_decode(struct footer *f, const uint8_t in[FOOTER_SIZE], uint64_t file_size)
{
	uint64_t size = get64(in + 8);
	uint32_t head_len = get32(in + 16);

	if (memcmp(in, magic, 8) || get32(in + 28) != crc32c(0, in, 28))
		return -EBADMSG;
	if (size > OBJECT_MAX || head_len > HEAD_MAX ||
	    record_offset(size, manifest_chunks(size)) + head_len + FOOTER_SIZE != file_size)
		return -EBADMSG;
	*f = (struct footer){ .size = size, .head_len = head_len, .head_crc = get32(in + 20) };
	return 0;
}
