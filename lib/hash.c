// SPDX-License-Identifier: Apache-2.0
/*
 * hash.c -- checksums and digests of OpenSSL, ISA-L and xxHash behind one header; hex and base64
 * by hand, because OpenSSL's base64 takes blanks and knows no alphabet for URLs.
 */
#include <errno.h>
#include <isa-l.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "lib/hash.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const EVP_MD *fetched;
static pthread_key_t kept; /* a thread's context for what is hashed at once */
static bool keeps;

static void kept_free(void *ctx)
{
	EVP_MD_CTX_free(ctx);
}

/* EVP_sha256() is looked up again by OpenSSL 3 whenever it is used, which costs more than to hash a short text. */
static void fetch(void)
{
	fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!fetched)
		fetched = EVP_sha256();
	keeps = !pthread_key_create(&kept, kept_free);
}

static const EVP_MD *sha256_md(void)
{
	pthread_once(&once, fetch);
	return fetched;
}

/* A context that was begun. Short texts are hashed in the time that it takes to make one. */
static EVP_MD_CTX *begin_at_once(void)
{
	EVP_MD_CTX *ctx;

	pthread_once(&once, fetch);
	ctx = keeps ? pthread_getspecific(kept) : NULL;
	if (ctx) {
		if (EVP_DigestInit_ex(ctx, NULL, NULL) != 1)
			abort();
		return ctx;
	}
	ctx = EVP_MD_CTX_new();
	if (!ctx || EVP_DigestInit_ex(ctx, fetched, NULL) != 1)
		abort();
	if (keeps && pthread_setspecific(kept, ctx))
		abort();
	return ctx;
}

static void end_at_once(EVP_MD_CTX *ctx)
{
	if (!keeps)
		EVP_MD_CTX_free(ctx);
}

/* An alias for EVP_MD_CTX: the struct itself has no members of ours. */
struct sha256 *sha256_new(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx && EVP_DigestInit_ex(ctx, sha256_md(), NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	return (struct sha256 *)ctx;
}

void sha256_add(struct sha256 *h, const void *data, size_t len)
{
	/* SHA-256 fails only for an uninitialised context: a wrong digest must never be used. */
	if (EVP_DigestUpdate((EVP_MD_CTX *)h, data, len) != 1)
		abort();
}

struct sha256 *sha256_copy(const struct sha256 *h)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx && EVP_MD_CTX_copy_ex(ctx, (const EVP_MD_CTX *)h) != 1) {
		EVP_MD_CTX_free(ctx);
		ctx = NULL;
	}
	return (struct sha256 *)ctx;
}

void sha256_end(struct sha256 *h, uint8_t out[32])
{
	if (EVP_DigestFinal_ex((EVP_MD_CTX *)h, out, NULL) != 1)
		abort();
	sha256_drop(h);
}

void sha256_drop(struct sha256 *h)
{
	EVP_MD_CTX_free((EVP_MD_CTX *)h);
}

void sha256_once(const void *data, size_t len, uint8_t out[32])
{
	EVP_MD_CTX *ctx = begin_at_once();

	if (EVP_DigestUpdate(ctx, data, len) != 1 || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
		abort();
	end_at_once(ctx);
}

void hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, uint8_t out[32])
{
	uint8_t pad[64] = { 0 }; /* the key, as long as a block of SHA-256: RFC 2104 section 2 */
	EVP_MD_CTX *ctx;

	if (key_len > sizeof(pad))
		sha256_once(key, key_len, pad);
	else if (key_len)
		memcpy(pad, key, key_len);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	ctx = begin_at_once();
	if (EVP_DigestUpdate(ctx, pad, sizeof(pad)) != 1 || EVP_DigestUpdate(ctx, data, len) != 1 || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
		abort();
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	if (EVP_DigestInit_ex(ctx, NULL, NULL) != 1 || EVP_DigestUpdate(ctx, pad, sizeof(pad)) != 1 ||
	    EVP_DigestUpdate(ctx, out, 32) != 1 || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
		abort();
	end_at_once(ctx);
	OPENSSL_cleanse(pad, sizeof(pad));
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	/* ISA-L neither inverts before nor after, and counts in int; RFC 3720 appendix B.4 inverts.
	 */
	crc = ~crc;
	while (len) {
		int n = len > 1 << 30 ? 1 << 30 : (int)len;

		crc = crc32_iscsi((unsigned char *)p, n, crc);
		p += n;
		len -= (size_t)n;
	}
	return ~crc;
}

uint64_t hash64(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}

bool hash_same(const void *a, const void *b, size_t len)
{
	const uint8_t *p = a, *q = b;
	uint64_t differ = 0, x, y;
	size_t i = 0;

	for (; i + 8 <= len; i += 8) {
		memcpy(&x, p + i, 8);
		memcpy(&y, q + i, 8);
		differ |= x ^ y;
	}
	for (; i < len; i++)
		differ |= (uint64_t)(p[i] ^ q[i]);
	return !differ;
}

void random_bytes(void *out, size_t len)
{
	uint8_t *p = out;

	while (len) {
		ssize_t got = getrandom(p, len, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort();
		p += got;
		len -= (size_t)got;
	}
}

char *hex_encode(const void *data, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * len] = '\0';
	return out;
}

/* A digit's value, and 16 to tell it from what is none. */
static const uint8_t hex_digit[256] = {
	['0'] = 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, ['A'] = 26, 27, 28, 29, 30, 31, ['a'] = 26, 27, 28, 29, 30, 31,
};

int hex_decode(const char *text, void *out, size_t len)
{
	uint8_t *p = out;

	for (size_t i = 0; i < 2 * len; i++)
		if (!hex_digit[(unsigned char)text[i]]) /* also the terminator */
			return -EINVAL;
	if (text[2 * len])
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(hex_digit[(unsigned char)text[2 * i]] << 4 |
				 (hex_digit[(unsigned char)text[2 * i + 1]] & 15));
	return 0;
}

static const char alphabet_std[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char alphabet_url[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Without padding or terminator; the number of characters. RFC 4648 section 4. */
static size_t encode(const char *alphabet, const uint8_t *in, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		size_t have = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)in[i] << 16 | (have > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
			     (have > 2 ? in[i + 2] : 0);

		for (size_t k = 0; k <= have; k++)
			out[n++] = alphabet[v >> (18 - 6 * k) & 63];
	}
	return n;
}

/* Without padding. Refuses other characters, impossible lengths and bits behind the end, so that a
 * value has one spelling only (RFC 4648 section 3.5). */
static long decode(const char *alphabet, const char *text, size_t len, uint8_t *out, size_t max)
{
	uint32_t v = 0;
	unsigned int bits = 0;
	size_t n = 0;

	if (len % 4 == 1)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		const char *at = text[i] ? strchr(alphabet, text[i]) : NULL;

		if (!at)
			return -EINVAL;
		v = v << 6 | (uint32_t)(at - alphabet);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			if (n == max)
				return -EINVAL;
			out[n++] = (uint8_t)(v >> bits);
			v &= (1u << bits) - 1;
		}
	}
	return v ? -EINVAL : (long)n;
}

size_t base64url_encode(const void *data, size_t len, char *out)
{
	size_t n = encode(alphabet_url, data, len, out);

	out[n] = '\0';
	return n;
}

long base64url_decode(const char *text, size_t text_len, void *out, size_t max)
{
	return decode(alphabet_url, text, text_len, out, max);
}

char *base64_encode(const void *data, size_t len)
{
	char *out = malloc((len + 2) / 3 * 4 + 1);
	size_t n;

	if (!out)
		return NULL;
	n = encode(alphabet_std, data, len, out);
	while (n % 4)
		out[n++] = '=';
	out[n] = '\0';
	return out;
}

long base64_decode(const char *text, size_t text_len, void *out, size_t max)
{
	if (text_len % 4)
		return -EINVAL;
	for (int pad = 0; pad < 2 && text_len && text[text_len - 1] == '='; pad++)
		text_len--;
	return decode(alphabet_std, text, text_len, out, max);
}
