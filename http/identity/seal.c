/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal.c -- see seal.h. Form: base64url of nonce (12), ciphertext, tag (16); the plaintext is the time until which it is
 * good (8 bytes) and the JSON text.
 */
#include "http/identity/seal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"

#define NONCE	  12
#define TAG	  16
#define PLAIN_MAX 2500

/* A hash of a token that is given to nobody (it has expired, too): only who has the signing key can make it. */
static int derive(struct users *users, const char *purpose, uint8_t key[32])
{
	struct token_scope word = { .user = "seal", .expires = 1 };
	char text[TOKEN_MAX];
	int rc;

	snprintf(word.prefix, sizeof(word.prefix), "seal %s", purpose);
	rc = users_sign(users, &word, text);
	if (rc)
		return rc;
	sha256_once(text, strlen(text), key);
	OPENSSL_cleanse(text, sizeof(text));
	return 0;
}

static bool encrypt(const uint8_t key[32], const uint8_t *plain, int len, uint8_t *out /* NONCE + len + TAG */)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0;
	bool good;

	random_bytes(out, NONCE);
	good = ctx && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, out) == 1 &&
	       EVP_EncryptUpdate(ctx, out + NONCE, &n, plain, len) == 1 && EVP_EncryptFinal_ex(ctx, out + NONCE + n, &n) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, out + NONCE + len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

static bool decrypt(const uint8_t key[32], const uint8_t *in, int len, uint8_t *plain)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int body = len - NONCE - TAG, n = 0;
	bool good = ctx && body >= 0 && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, in) == 1 &&
		    EVP_DecryptUpdate(ctx, plain, &n, in + NONCE, body) == 1 &&
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, (void *)(uintptr_t)(in + NONCE + body)) == 1 &&
		    EVP_DecryptFinal_ex(ctx, plain + n, &n) == 1;

	EVP_CIPHER_CTX_free(ctx);
	return good;
}

int seal(char out[SEALED_MAX], struct users *users, const char *purpose, const json_t *value, int64_t until)
{
	char *text = json_dumps(value, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;
	uint8_t key[32], plain[PLAIN_MAX], sealed[NONCE + PLAIN_MAX + TAG];
	int rc = !text ? -ENOMEM : len + sizeof(until) > sizeof(plain) ? -EMSGSIZE : derive(users, purpose, key);

	if (!rc) {
		memcpy(plain, &until, sizeof(until));
		memcpy(plain + sizeof(until), text, len);
		len += sizeof(until);
		rc = encrypt(key, plain, (int)len, sealed) ? 0 : -ENOMEM;
	}
	if (!rc)
		base64url_encode(sealed, NONCE + len + TAG, out);
	OPENSSL_cleanse(key, sizeof(key));
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
	return rc;
}

json_t *unseal(struct users *users, const char *purpose, const char *text, int64_t now)
{
	uint8_t key[32], sealed[NONCE + PLAIN_MAX + TAG], plain[PLAIN_MAX];
	long n = base64url_decode(text, strnlen(text, SEALED_MAX), sealed, sizeof(sealed));
	json_t *value = NULL;
	int64_t until;

	if (n < (long)(NONCE + sizeof(until) + TAG) || derive(users, purpose, key))
		return NULL;
	if (decrypt(key, sealed, (int)n, plain)) {
		memcpy(&until, plain, sizeof(until));
		if (now < until)
			value = json_loadb((char *)plain + sizeof(until), (size_t)n - NONCE - TAG - sizeof(until), 0, NULL);
	}
	OPENSSL_cleanse(key, sizeof(key));
	return value;
}
