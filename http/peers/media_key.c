/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_key.c -- Ed25519 over a list's payload (RFC 8032, by OpenSSL), and the file that holds both.
 */
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/media_int.h"
#include "lib/hash.h"

int media_key_public(const uint8_t seed[32], char out[45])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
	uint8_t raw[32];
	size_t len = sizeof(raw);
	char *text = NULL;

	if (key && EVP_PKEY_get_raw_public_key(key, raw, &len) == 1 && len == sizeof(raw))
		text = base64_encode(raw, len);
	EVP_PKEY_free(key);
	if (!text)
		return -EINVAL;
	snprintf(out, 45, "%s", text);
	free(text);
	return 0;
}

int media_key_sign(const uint8_t seed[32], const char *text, size_t len, uint8_t out[MEDIA_SIGNATURE])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t size = MEDIA_SIGNATURE;
	int rc = -EINVAL;

	if (key && ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
	    EVP_DigestSign(ctx, out, &size, (const unsigned char *)text, len) == 1 && size == MEDIA_SIGNATURE)
		rc = 0;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return rc;
}

int media_key_verify(const char *public_key, const char *text, size_t len, const uint8_t signature[MEDIA_SIGNATURE])
{
	EVP_PKEY *key = NULL;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t raw[33];
	int rc = -EBADMSG;

	if (base64_decode(public_key, strlen(public_key), raw, sizeof(raw)) == 32)
		key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, 32);
	if (key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
	    EVP_DigestVerify(ctx, signature, MEDIA_SIGNATURE, (const unsigned char *)text, len) == 1)
		rc = 0;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return rc;
}

char *media_key_wrap(const uint8_t seed[32], const char *public_key, const char *payload, size_t len)
{
	uint8_t signature[MEDIA_SIGNATURE];
	char *encoded, *text = NULL;
	json_t *file;

	if (media_key_sign(seed, payload, len, signature))
		return NULL;
	encoded = base64_encode(signature, sizeof(signature));
	file = json_pack("{s:s%, s:s, s:s}", "payload", payload, len, "signature", encoded ? encoded : "", "key", public_key);
	if (encoded && file)
		text = json_dumps(file, JSON_COMPACT);
	json_decref(file);
	free(encoded);
	return text;
}

char *media_key_unwrap(const char *public_key, const char *file, size_t len, char why[160])
{
	json_t *root = json_loadb(file, len, JSON_REJECT_DUPLICATES, NULL);
	const char *payload = json_string_value(json_object_get(root, "payload"));
	const char *encoded = json_string_value(json_object_get(root, "signature"));
	uint8_t signature[MEDIA_SIGNATURE + 2];
	char *text = NULL;

	if (!payload || !encoded)
		snprintf(why, 160, "it is no signed list");
	else if (base64_decode(encoded, strlen(encoded), signature, sizeof(signature)) != MEDIA_SIGNATURE ||
		 media_key_verify(public_key, payload, strlen(payload), signature))
		snprintf(why, 160, "its signature is not this installation's; add the asset again (weir media add)");
	else if (!(text = strdup(payload)))
		snprintf(why, 160, "out of memory");
	json_decref(root);
	return text;
}
