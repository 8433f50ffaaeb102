/* SPDX-License-Identifier: Apache-2.0 */
/* mask.c -- personal data made unreadable: keyed hashes (RFC 2104 over SHA-256), or only the
 * beginning. */
#define OPENSSL_API_COMPAT 0x10100000L /* SHA256_*: see transform_parts.h */
#include <string.h>

#include "http/upload/transform_parts.h"

void mask_init(struct mask *m, const char *key, size_t len)
{
	unsigned char block[SHA256_CBLOCK] = { 0 };

	if (len > sizeof(block))
		SHA256((const unsigned char *)key, len, block);
	else
		memcpy(block, key, len);
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36;
	SHA256_Init(&m->inner);
	SHA256_Update(&m->inner, block, sizeof(block));
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] ^= 0x36 ^ 0x5c;
	SHA256_Init(&m->outer);
	SHA256_Update(&m->outer, block, sizeof(block));
	explicit_bzero(block, sizeof(block));
}

void mask_hash(const struct mask *m, const char *text, size_t len, char out[MASK_HEX])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char digest[SHA256_DIGEST_LENGTH];
	SHA256_CTX c = m->inner;

	SHA256_Update(&c, text, len);
	SHA256_Final(digest, &c);
	c = m->outer;
	SHA256_Update(&c, digest, sizeof(digest));
	SHA256_Final(digest, &c);
	for (int i = 0; i < MASK_HEX / 2; i++) {
		out[2 * i] = hex[digest[i] >> 4];
		out[2 * i + 1] = hex[digest[i] & 15];
	}
}

size_t mask_keep(const char *text, size_t len, uint32_t n)
{
	size_t at = 0;

	for (; at < len; at++)
		if (((unsigned char)text[at] & 0xc0) != 0x80 && !n--)
			break;
	return at;
}
