/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum.c -- S3's checksums: running, as text, and of a multipart upload's parts. Hashes by OpenSSL's EVP, CRCs
 * by checksum_crc.c and ISA-L.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/s3/checksum_impl.h"
#include "lib/hash.h"

static const struct {
	const char *name, *header, *evp;
	size_t size;
	uint64_t poly;
} kinds[CHECKSUM_KINDS] = {
	[CHECKSUM_CRC32] = { "CRC32", "x-amz-checksum-crc32", NULL, 4, CRC32_POLY },
	[CHECKSUM_CRC32C] = { "CRC32C", "x-amz-checksum-crc32c", NULL, 4, CRC32C_POLY },
	[CHECKSUM_CRC64NVME] = { "CRC64NVME", "x-amz-checksum-crc64nvme", NULL, 8, CRC64NVME_POLY },
	[CHECKSUM_SHA1] = { "SHA1", "x-amz-checksum-sha1", "SHA1", 20, 0 },
	[CHECKSUM_SHA256] = { "SHA256", "x-amz-checksum-sha256", "SHA256", 32, 0 },
	[CHECKSUM_MD5] = { "MD5", NULL, "MD5", 16, 0 },
};

struct checksums {
	unsigned int kinds;
	uint64_t crc[CHECKSUM_CRC64NVME + 1];
	EVP_MD_CTX *hash[CHECKSUM_KINDS]; /* NULL for CRCs and for what is not wanted */
};

size_t checksum_size(enum checksum_kind kind)
{
	return kinds[kind].size;
}

const char *checksum_name(enum checksum_kind kind)
{
	return kinds[kind].name;
}

const char *checksum_header(enum checksum_kind kind)
{
	return kinds[kind].header;
}

bool checksum_by_name(enum checksum_kind *out, const char *name)
{
	for (int k = 0; k < CHECKSUM_MD5; k++) {
		if (strcasecmp(kinds[k].name, name) != 0)
			continue;
		*out = (enum checksum_kind)k;
		return true;
	}
	return false;
}

/* ---- running ---- */

struct checksums *checksums_new(unsigned int wanted)
{
	struct checksums *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->kinds = wanted;
	for (int k = 0; k < CHECKSUM_KINDS; k++) {
		if (!(wanted & 1u << k) || !kinds[k].evp)
			continue;
		c->hash[k] = EVP_MD_CTX_new();
		if (!c->hash[k] || EVP_DigestInit_ex(c->hash[k], EVP_get_digestbyname(kinds[k].evp), NULL) != 1) {
			checksums_free(c);
			return NULL;
		}
	}
	return c;
}

static uint64_t crc_add(int kind, uint64_t crc, const void *data, size_t len)
{
	switch (kind) {
	case CHECKSUM_CRC32:
		return crc32_zlib((uint32_t)crc, data, len);
	case CHECKSUM_CRC32C:
		return crc32c((uint32_t)crc, data, len);
	default:
		return crc64_nvme(crc, data, len);
	}
}

void checksums_add(struct checksums *c, const void *data, size_t len)
{
	for (int k = 0; k < CHECKSUM_KINDS; k++) {
		if (c->hash[k]) {
			/* Fails only for an uninitialised context: a wrong digest must never be used. */
			if (EVP_DigestUpdate(c->hash[k], data, len) != 1)
				abort();
		} else if (c->kinds & 1u << k) {
			c->crc[k] = crc_add(k, c->crc[k], data, len);
		}
	}
}

static void put_number(uint64_t value, size_t size, uint8_t *out)
{
	while (size--) {
		out[size] = (uint8_t)value;
		value >>= 8;
	}
}

static uint64_t get_number(const uint8_t *bytes, size_t size)
{
	uint64_t value = 0;

	while (size--)
		value = value << 8 | *bytes++;
	return value;
}

void checksums_get(struct checksums *c, enum checksum_kind kind, uint8_t out[CHECKSUM_MAX])
{
	if (!c->hash[kind])
		put_number(c->crc[kind], kinds[kind].size, out);
	else if (EVP_DigestFinal_ex(c->hash[kind], out, NULL) != 1)
		abort();
}

void checksums_free(struct checksums *c)
{
	for (int k = 0; c && k < CHECKSUM_KINDS; k++)
		EVP_MD_CTX_free(c->hash[k]);
	free(c);
}

void checksum_once(enum checksum_kind kind, const void *data, size_t len, uint8_t out[CHECKSUM_MAX])
{
	if (!kinds[kind].evp)
		put_number(crc_add((int)kind, 0, data, len), kinds[kind].size, out);
	else if (EVP_Digest(data, len, out, NULL, EVP_get_digestbyname(kinds[kind].evp), NULL) != 1)
		abort();
}

/* ---- text ---- */

void checksum_text(enum checksum_kind kind, const uint8_t *value, char out[CHECKSUM_TEXT_MAX])
{
	EVP_EncodeBlock((unsigned char *)out, value, (int)kinds[kind].size);
}

int checksum_parse(enum checksum_kind kind, const char *text, uint8_t out[CHECKSUM_MAX])
{
	uint8_t value[CHECKSUM_MAX];
	char again[CHECKSUM_TEXT_MAX];
	long n = base64_decode(text, strlen(text), value, sizeof(value));

	if (n != (long)kinds[kind].size)
		return -EINVAL;
	checksum_text(kind, value, again);
	if (strcmp(again, text) != 0) /* padding, or bits that mean nothing */
		return -EINVAL;
	memcpy(out, value, (size_t)n);
	return 0;
}

/* ---- of parts ---- */

int checksum_combine(enum checksum_kind kind, uint8_t a[CHECKSUM_MAX], const uint8_t b[CHECKSUM_MAX], uint64_t b_len)
{
	size_t size = kinds[kind].size;
	uint64_t both;

	if (kinds[kind].evp)
		return -EINVAL;
	both = crc_combine(get_number(a, size), get_number(b, size), b_len, kinds[kind].poly, (unsigned int)size * 8);
	put_number(both, size, a);
	return 0;
}

void checksum_composite(enum checksum_kind kind, const uint8_t *parts, size_t n, uint8_t out[CHECKSUM_MAX])
{
	checksum_once(kind, parts, n * kinds[kind].size, out);
}
