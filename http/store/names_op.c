/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_op.c -- names, conditions and the messages of ordered names, as values. See names_op.h.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_op.h"
#include "lib/hash.h"
#include "lib/utf8.h"

char *names_etag(const uint8_t sha256[32], char out[35])
{
	out[0] = '"';
	hex_encode(sha256, 16, out + 1);
	out[33] = '"';
	out[34] = '\0';
	return out;
}

bool names_bucket_valid(const char *bucket)
{
	size_t len = strlen(bucket);

	if (len < 3 || len > NAMES_BUCKET_MAX || bucket[0] == '-' || bucket[0] == '.')
		return false;
	return strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len;
}

bool names_text_valid(const char *text, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = text[i] ? utf8_char(text + i, len - i) : 0;
		if (!n)
			return false;
	}
	return true;
}

bool names_key_valid(const char *key)
{
	size_t len = strnlen(key, NAMES_KEY_MAX + 1);

	return len >= 1 && len <= NAMES_KEY_MAX && names_text_valid(key, len);
}

bool names_key_plain(const char *key)
{
	if (!names_key_valid(key) || strlen(key) > 512)
		return false;
	for (const unsigned char *p = (const unsigned char *)key; *p; p++)
		/* U+0080 to U+009F are control characters too. */
		if (*p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0))
			return false;
	return true;
}

bool names_is_group(const char *version)
{
	return strnlen(version, 33) == 32 && !strcmp(version + 24, "00000000");
}

int names_part_version(const char *id, unsigned int number, uint16_t attempt, char out[33])
{
	if (!names_is_group(id) || number < 1 || number > NAMES_PARTS_MAX)
		return -EINVAL;
	memcpy(out, id, 24);
	snprintf(out + 24, 9, "%04x%04x", number, attempt);
	return 0;
}

void names_part_key(char out[NAMES_KEY_MAX + 1], const char *id, unsigned int number)
{
	snprintf(out, 40, "%.32s/%05u", id, number);
}

char *names_entry_etag(const struct name_entry *entry, char out[NAMES_ETAG_MAX + 3])
{
	if (!entry->etag[0])
		return names_etag(entry->sha256, out);
	snprintf(out, NAMES_ETAG_MAX + 3, "\"%s\"", entry->etag);
	return out;
}

char *names_entry_s3_etag(const struct name_entry *entry, char out[NAMES_ETAG_MAX + 3])
{
	char plain[NAMES_ETAG_MAX + 3];

	names_entry_etag(entry, plain);
	if (entry->etag[0])
		strcpy(out, plain);
	else
		snprintf(out, NAMES_ETAG_MAX + 3, "\"%.32s-0\"", plain + 1);
	return out;
}

bool names_node_valid(const char *node)
{
	size_t len = strnlen(node, CONF_NAME_MAX);

	if (len < 1 || len >= CONF_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)node[i]) && !strchr("-._", node[i]))
			return false;
	return true;
}

/* Of a lower-case digit; -1: is none. */
static int hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int names_version_pack(uint8_t out[16], const char *hex)
{
	/* Several times in each write: no library call for each. */
	for (int i = 0; i < 16; i++) {
		int high = hex_value(hex[2 * i]), low = high < 0 ? -1 : hex_value(hex[2 * i + 1]);

		if (low < 0)
			return -EINVAL;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return hex[32] ? -EINVAL : 0;
}

void names_entry_clear(struct name_entry *e)
{
	memset(e, 0, offsetof(struct name_entry, key));
	e->key[0] = e->meta[0] = '\0';
	e->meta_len = 0;
}

void names_entry_copy(struct name_entry *to, const struct name_entry *from)
{
	memcpy(to, from, offsetof(struct name_entry, key));
	memcpy(to->key, from->key, strlen(from->key) + 1);
	to->meta_len = from->meta_len;
	memcpy(to->meta, from->meta, from->meta_len + 1);
}

int names_entry_check(const struct name_entry *entry)
{
	uint8_t version[16];

	if (!names_key_valid(entry->key) || names_version_pack(version, entry->version) ||
	    entry->nholders > NAMES_HOLDERS_MAX || entry->size > INT64_MAX ||
	    entry->nparts > NAMES_PARTS_MAX || entry->part > NAMES_PARTS_MAX ||
	    entry->meta_len > NAMES_META_MAX || entry->meta[entry->meta_len] ||
	    !names_text_valid(entry->meta, entry->meta_len) ||
	    strnlen(entry->etag, sizeof(entry->etag)) > NAMES_ETAG_MAX)
		return -EINVAL;
	for (const char *p = entry->etag; *p; p++)
		if (*p < 0x21 || *p > 0x7e || *p == '"')
			return -EINVAL;
	for (unsigned int i = 0; i < entry->nholders; i++)
		if (!names_node_valid(entry->holders[i]))
			return -EINVAL;
	return 0;
}

/* Is etag in the list? A weak tag never matches strongly (RFC 9110 section 8.8.3.2). */
static bool etag_listed(const char *list, const char *etag, bool weak)
{
	const char *p = list;

	while (*p) {
		bool w = false;
		const char *end;

		p += strspn(p, " \t,");
		if (p[0] == 'W' && p[1] == '/') {
			w = true;
			p += 2;
		}
		if (*p != '"') { /* without quotes it is no tag of RFC 9110, but S3's clients send
				    it so */
			size_t len = strcspn(p, ", \t");

			if (!len)
				return false;
			if ((weak || !w) && len + 2 == strlen(etag) && !strncmp(p, etag + 1, len))
				return true;
			p += len;
			continue;
		}
		end = strchr(p + 1, '"');
		if (!end)
			return false;
		end++;
		if ((weak || !w) && (size_t)(end - p) == strlen(etag) &&
		    !strncmp(p, etag, (size_t)(end - p)))
			return true;
		p = end;
	}
	return false;
}

static bool is_star(const char *header)
{
	header += strspn(header, " \t");
	return header[0] == '*' && !header[1 + strspn(header + 1, " \t")];
}

static bool entry_listed(const char *list, const struct name_entry *entry, bool weak)
{
	char etag[NAMES_ETAG_MAX + 3];

	return is_star(list) || etag_listed(list, names_entry_etag(entry, etag), weak) ||
	       etag_listed(list, names_entry_s3_etag(entry, etag), weak);
}

int names_conditions(const char *if_match, const char *if_none_match,
		     const struct name_entry *entry)
{
	if (if_match && (!entry || !entry_listed(if_match, entry, false)))
		return -ECANCELED;
	if (if_none_match && entry && entry_listed(if_none_match, entry, true))
		return -ECANCELED;
	return 0;
}

void names_batch_free(struct names_batch *batch)
{
	free(batch->targets);
	free(batch->ops);
	batch->targets = NULL;
	batch->ops = NULL;
	batch->ntargets = batch->nops = 0;
}
