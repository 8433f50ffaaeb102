/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h -- checksums and digests: SHA-256 (OpenSSL), CRC-32C (ISA-L), 64-bit hashes (xxHash), hex
 * and base64url.
 */
#ifndef WEIR_HASH_H
#define WEIR_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sha256;			 /* a running digest */
struct sha256 *sha256_new(void); /* NULL without memory */
void sha256_add(struct sha256 *h, const void *data, size_t len);
struct sha256 *
sha256_copy(const struct sha256 *h); /* a second one that goes on from here; NULL without memory */
void sha256_end(struct sha256 *h, uint8_t out[32]); /* frees h */
void sha256_drop(struct sha256 *h);		    /* frees without a result; accepts NULL */
void sha256_once(const void *data, size_t len, uint8_t out[32]);
void hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, uint8_t out[32]);

uint32_t crc32c(uint32_t crc, const void *data, size_t len); /* start with 0 */
uint64_t hash64(const void *data, size_t len, uint64_t seed);

/* As CRYPTO_memcmp(), which goes byte by byte: the time depends on the length alone. */
bool hash_same(const void *a, const void *b, size_t len);

/* Random bytes from the kernel; never fails (aborts when the kernel has none). */
void random_bytes(void *out, size_t len);

char *hex_encode(const void *data, size_t len, char *out /* 2·len + 1 */);
int hex_decode(const char *text, void *out, size_t len); /* exactly 2·len digits; 0 or -EINVAL */
size_t base64url_encode(const void *data, size_t len, char *out /* 4·⌈len/3⌉ + 1 */);
/* Decodes at most max bytes; the count or -EINVAL. Padding and '+' '/' are refused. */
long base64url_decode(const char *text, size_t text_len, void *out, size_t max);
/* Standard base64 with padding, for etcd. */
char *base64_encode(const void *data, size_t len); /* malloc'ed, terminated */
long base64_decode(const char *text, size_t text_len, void *out, size_t max);

#endif
