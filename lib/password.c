/* SPDX-License-Identifier: Apache-2.0 */
/*
 * password.c -- see password.h.
 */
#include "lib/password.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>

#include "lib/hash.h"

#define COST_N	   32768
#define COST_R	   8
#define COST_P	   1
#define SALT_BYTES 16
#define HASH_BYTES 32
/* What a record may ask for: 128·n·r bytes are used, and a little more. */
#define N_MAX	   (1 << 18)
#define R_MAX	   16
#define P_MAX	   8
#define MEMORY_MAX ((uint64_t)600 << 20)

static bool derive(const char *password, const uint8_t *salt, uint64_t n, uint64_t r, uint64_t p,
		   uint8_t out[HASH_BYTES])
{
	return EVP_PBE_scrypt(password, strlen(password), salt, SALT_BYTES, n, r, p, MEMORY_MAX,
			      out, HASH_BYTES) == 1;
}

json_t *password_hash(const char *password)
{
	uint8_t salt[SALT_BYTES], hash[HASH_BYTES];
	char salt_text[2 * SALT_BYTES + 1], hash_text[2 * HASH_BYTES + 1];
	size_t len = strlen(password);
	json_t *record = NULL;

	if (len < PASSWORD_MIN || len > PASSWORD_MAX)
		return NULL;
	random_bytes(salt, sizeof(salt));
	if (derive(password, salt, COST_N, COST_R, COST_P, hash))
		record = json_pack("{s:s, s:i, s:i, s:i, s:s, s:s}", "kdf", "scrypt", "n", COST_N,
				   "r", COST_R, "p", COST_P, "salt",
				   hex_encode(salt, sizeof(salt), salt_text), "hash",
				   hex_encode(hash, sizeof(hash), hash_text));
	OPENSSL_cleanse(hash, sizeof(hash));
	OPENSSL_cleanse(hash_text, sizeof(hash_text));
	return record;
}

/* A number of the record within 1 and max, else 0. */
static uint64_t cost(const json_t *record, const char *key, json_int_t max)
{
	json_int_t n = json_integer_value(json_object_get(record, key));

	return n >= 1 && n <= max ? (uint64_t)n : 0;
}

static bool take_hex(const json_t *record, const char *key, uint8_t *out, size_t len)
{
	const char *text = json_string_value(json_object_get(record, key));

	return text && !hex_decode(text, out, len);
}

bool password_check(const json_t *record, const char *password)
{
	const char *kdf = json_string_value(json_object_get(record, "kdf"));
	uint64_t n = cost(record, "n", N_MAX), r = cost(record, "r", R_MAX),
		 p = cost(record, "p", P_MAX);
	uint8_t salt[SALT_BYTES] = { 0 }, known[HASH_BYTES] = { 0 }, hash[HASH_BYTES];
	bool there = kdf && !strcmp(kdf, "scrypt") && n && r && p &&
		     take_hex(record, "salt", salt, sizeof(salt)) &&
		     take_hex(record, "hash", known, sizeof(known)),
	     same;

	if (strlen(password) > PASSWORD_MAX)
		return false; /* says nothing of the user */
	if (!there) {
		n = COST_N;
		r = COST_R;
		p = COST_P;
	}
	same = derive(password, salt, n, r, p, hash) && !CRYPTO_memcmp(hash, known, sizeof(hash));
	OPENSSL_cleanse(hash, sizeof(hash));
	OPENSSL_cleanse(known, sizeof(known));
	return there && same;
}
