/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tus.c -- see tus.h.
 */
#include "http/upload/tus.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "lib/hash.h"

int tus_number(uint64_t *out, const char *text)
{
	uint64_t n = 0;

	if (!text || !*text)
		return -EINVAL;
	for (; *text; text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (digit > 9 || n > (INT64_MAX - digit) / 10)
			return -EINVAL;
		n = n * 10 + digit;
	}
	*out = n;
	return 0;
}

/* ---- Upload-Metadata ---- */

struct pair {
	const char *key, *value;
	size_t key_len, value_len;
};

/* The next pair; the rest of the header, or NULL when it is malformed. */
static const char *next_pair(const char *at, struct pair *pair)
{
	at += strspn(at, " ");
	pair->key = at;
	pair->key_len = strcspn(at, " ,");
	at += pair->key_len;
	pair->value = at;
	pair->value_len = 0;
	if (*at == ' ') {
		pair->value = ++at;
		pair->value_len = strcspn(at, " ,");
		at += pair->value_len;
		at += strspn(at, " ");
	}
	if (!pair->key_len || (*at && *at != ','))
		return NULL;
	for (const char *c = pair->key; c < at; c++)
		if (*c < ' ' || *c > '~')
			return NULL;
	return *at ? at + 1 : at;
}

int tus_metadata_check(const char *header)
{
	const char *at = header;
	struct pair pair, other;

	while (*at) {
		const char *earlier = header, *begin = at;

		at = next_pair(at, &pair);
		if (!at || (!*at && at[-1] == ','))
			return -EINVAL;
		while (earlier < begin) {
			earlier = next_pair(earlier, &other);
			if (earlier <= begin && other.key_len == pair.key_len &&
			    !memcmp(other.key, pair.key, pair.key_len))
				return -EINVAL;
		}
	}
	return 0;
}

long tus_metadata(const char *header, const char *key, char *out, size_t size)
{
	const char *at = header;
	struct pair pair;
	long n;

	while (at && *at) {
		at = next_pair(at, &pair);
		if (!at || pair.key_len != strlen(key) || memcmp(pair.key, key, pair.key_len))
			continue;
		n = pair.value_len ? base64_decode(pair.value, pair.value_len, out, size - 1) : 0;
		if (n < 0 || memchr(out, '\0', (size_t)n))
			return -EINVAL;
		out[n] = '\0';
		return n;
	}
	return at ? -ENOENT : -EINVAL;
}

/* ---- Upload-Checksum ---- */

static const struct {
	const char *name;
	size_t len;
} algorithms[] = {
	[TUS_SHA1] = { "sha1", 20 },
	[TUS_SHA256] = { "sha256", 32 },
	[TUS_MD5] = { "md5", 16 },
	[TUS_CRC32] = { "crc32", 4 },
};

int tus_checksum_parse(struct tus_checksum *out, const char *header)
{
	size_t len = strcspn(header, " ");
	const char *value = header + len + strspn(header + len, " ");
	uint8_t raw[64];

	for (size_t i = 0; i < sizeof(algorithms) / sizeof(*algorithms); i++) {
		if (strlen(algorithms[i].name) != len || memcmp(algorithms[i].name, header, len))
			continue;
		if (base64_decode(value, strlen(value), raw, sizeof(raw)) != (long)algorithms[i].len)
			return -EINVAL;
		out->algorithm = (enum tus_algorithm)i;
		out->len = algorithms[i].len;
		memcpy(out->value, raw, out->len);
		return 0;
	}
	return len && *value ? -ENOTSUP : -EINVAL;
}

struct tus_digest {
	EVP_MD_CTX *md; /* NULL: crc32 */
	uint32_t crc;
};

struct tus_digest *tus_digest_new(enum tus_algorithm algorithm)
{
	struct tus_digest *d = calloc(1, sizeof(*d));

	if (!d || algorithm == TUS_CRC32)
		return d;
	d->md = EVP_MD_CTX_new();
	if (!d->md || !EVP_DigestInit_ex(d->md,
					 algorithm == TUS_SHA1	 ? EVP_sha1()
					 : algorithm == TUS_MD5 ? EVP_md5()
								 : EVP_sha256(),
					 NULL)) {
		tus_digest_free(d);
		return NULL;
	}
	return d;
}

void tus_digest_add(struct tus_digest *d, const void *data, size_t len)
{
	if (d->md)
		EVP_DigestUpdate(d->md, data, len);
	else
		d->crc = (uint32_t)crc32_z(d->crc, data, len);
}

bool tus_digest_is(struct tus_digest *d, const struct tus_checksum *wanted)
{
	uint8_t value[EVP_MAX_MD_SIZE] = { (uint8_t)(d->crc >> 24), (uint8_t)(d->crc >> 16),
					   (uint8_t)(d->crc >> 8), (uint8_t)d->crc };

	if (d->md)
		EVP_DigestFinal_ex(d->md, value, NULL);
	return !CRYPTO_memcmp(value, wanted->value, wanted->len);
}

void tus_digest_free(struct tus_digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->md);
	free(d);
}

/* ---- Upload-Concat ---- */

int tus_concat_parse(enum tus_concat *out, struct tus_parts *parts, const char *header)
{
	const char *at;

	parts->n = 0;
	if (!strcmp(header, "partial")) {
		*out = TUS_PARTIAL;
		return 0;
	}
	if (strncmp(header, "final;", 6))
		return -EINVAL;
	at = header + 6;
	for (at += strspn(at, " "); *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " "), begin = len;

		while (begin && at[begin - 1] != '/')
			begin--;
		if (parts->n == TUS_PARTS_MAX || len == begin ||
		    len - begin >= sizeof(parts->id[0]))
			return -EINVAL;
		memcpy(parts->id[parts->n], at + begin, len - begin);
		parts->id[parts->n++][len - begin] = '\0';
		at += len;
	}
	if (!parts->n)
		return -EINVAL;
	*out = TUS_FINAL;
	return 0;
}

char *tus_date(time_t at, char buf[32])
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	struct tm tm;

	gmtime_r(&at, &tm);
	snprintf(buf, 32, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday],
		 (unsigned int)tm.tm_mday % 100, months[tm.tm_mon],
		 (unsigned int)(tm.tm_year + 1900) % 10000, (unsigned int)tm.tm_hour % 100,
		 (unsigned int)tm.tm_min % 100, (unsigned int)tm.tm_sec % 100);
	return buf;
}
