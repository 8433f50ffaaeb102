/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealing.c -- see sealing.h.
 */
#include "lib/sealing.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"

#define NONCE	  12
#define TAG	  16
#define LEN_MAX	  4096
#define FIRST_KID "first"

static bool encrypt(const uint8_t *key, const char *about, const void *data, int len, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0;
	bool good;

	random_bytes(out, NONCE);
	good = ctx && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, out) == 1 &&
	       EVP_EncryptUpdate(ctx, NULL, &n, (const uint8_t *)about, (int)strlen(about)) == 1 &&
	       EVP_EncryptUpdate(ctx, out + NONCE, &n, data, len) == 1 && EVP_EncryptFinal_ex(ctx, out + NONCE + n, &n) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, out + NONCE + len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

static bool decrypt(const uint8_t *key, const char *about, const uint8_t *in, int len, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t tag[TAG];
	int n = 0;
	bool good;

	memcpy(tag, in + NONCE + len, TAG);
	good = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, in) == 1 &&
	       EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)about, (int)strlen(about)) == 1 &&
	       EVP_DecryptUpdate(ctx, out, &n, in + NONCE, len) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1 && EVP_DecryptFinal_ex(ctx, out + n, &n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

int sealing_seal(const struct token_key *key, const char *about, const void *data, size_t len, char *out, size_t size)
{
	uint8_t sealed[NONCE + LEN_MAX + TAG];
	size_t kid = strlen(key->kid);

	if (len > LEN_MAX || size < kid + 1 + (len + NONCE + TAG + 2) / 3 * 4 + 1)
		return -EINVAL;
	if (!encrypt(key->secret, about, data, (int)len, sealed))
		return -ENOMEM;
	memcpy(out, key->kid, kid);
	out[kid] = '.';
	base64url_encode(sealed, NONCE + len + TAG, out + kid + 1);
	return 0;
}

static const struct token_key *key_of(const struct token_key *keys, size_t nkeys, const char *kid, size_t len)
{
	for (size_t i = 0; i < nkeys; i++)
		if (strlen(keys[i].kid) == len && !memcmp(keys[i].kid, kid, len))
			return &keys[i];
	return NULL;
}

long sealing_open(const struct token_key *keys, size_t nkeys, const char *about, const char *text, void *out, size_t max)
{
	const char *dot = strchr(text, '.');
	const struct token_key *key = dot ? key_of(keys, nkeys, text, (size_t)(dot - text)) : NULL;
	uint8_t sealed[NONCE + LEN_MAX + TAG], plain[LEN_MAX + 1];
	long n, len;

	if (!dot)
		return -EINVAL;
	n = base64url_decode(dot + 1, strlen(dot + 1), sealed, sizeof(sealed));
	len = n - NONCE - TAG;
	if (len < 0 || (size_t)len > max)
		return -EINVAL;
	if (!key)
		return -ENOKEY;
	if (!decrypt(key->secret, about, sealed, (int)len, plain))
		len = -EBADMSG;
	else
		memcpy(out, plain, (size_t)len);
	OPENSSL_cleanse(plain, sizeof(plain));
	return len;
}

int sealing_kid(const char *text, char out[SEALING_KID_MAX])
{
	size_t len = strcspn(text, ".");

	if (!text[len] || !len || len >= SEALING_KID_MAX || strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz") != len)
		return -EINVAL;
	memcpy(out, text, len);
	out[len] = '\0';
	return 0;
}

int sealing_key_parse(const char *kid, json_t *value, struct token_key *key, int64_t *created)
{
	char *text = (char *)json_string_value(json_object_get(value, "secret"));
	struct token_key one = { { 0 }, { 0 } };
	int rc = 0;

	if (!text || strlen(kid) >= sizeof(one.kid) ||
	    base64url_decode(text, strlen(text), one.secret, sizeof(one.secret)) != sizeof(one.secret))
		rc = -EINVAL;
	if (text)
		OPENSSL_cleanse(text, strlen(text)); /* jansson's copy */
	if (!rc) {
		memcpy(one.kid, kid, strlen(kid));
		*created = json_integer_value(json_object_get(value, "created"));
		*key = one;
	}
	OPENSSL_cleanse(&one, sizeof(one));
	return rc;
}

/* 0, also when there is one of that name. */
static int put_key(struct registry *reg, const char *prefix, const char *kid, int64_t created)
{
	uint8_t secret[TOKEN_KEY_BYTES];
	char text[64], path[64];
	struct reg_cond absent = { path, 0 };
	struct reg_change change = { path, NULL, 0 };
	json_t *value;
	char *dump;
	int rc;

	snprintf(path, sizeof(path), "%s%s", prefix, kid);
	random_bytes(secret, sizeof(secret));
	base64url_encode(secret, sizeof(secret), text);
	value = json_pack("{s:s, s:s, s:I}", "kid", kid, "secret", text, "created", (json_int_t)created);
	dump = json_dumps(value, JSON_COMPACT);
	json_decref(value);
	change.value = dump;
	rc = dump ? registry_txn(reg, &absent, 1, &change, 1, NULL) : -ENOMEM;
	if (dump)
		OPENSSL_cleanse(dump, strlen(dump));
	free(dump);
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(text, sizeof(text));
	return rc == -EAGAIN ? 0 : rc;
}

int sealing_key_make(struct registry *reg, const char *prefix)
{
	return put_key(reg, prefix, FIRST_KID, time(NULL));
}

struct dated {
	struct token_key key;
	int64_t created;
};

/* Newest first, as users.c has them. */
static int by_age(const void *a, const void *b)
{
	const struct dated *x = a, *y = b;

	if (x->created != y->created)
		return x->created < y->created ? 1 : -1;
	return strcmp(y->key.kid, x->key.kid);
}

/* All of them, sorted; wiped and freed by free_dated(). */
static int read_dated(struct registry *reg, struct dated **out, size_t *n)
{
	struct reg_kv *kvs = NULL;
	size_t nkvs = 0;
	int rc = registry_list(reg, REG_SEALING, &kvs, &nkvs, NULL);
	struct dated *all = calloc(nkvs + 1, sizeof(*all));

	*n = 0;
	for (size_t i = 0; all && !rc && i < nkvs; i++) {
		json_t *value = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);

		OPENSSL_cleanse(kvs[i].value, kvs[i].value_len);
		*n += !sealing_key_parse(kvs[i].key + strlen(REG_SEALING), value, &all[*n].key, &all[*n].created);
		json_decref(value);
	}
	reg_kv_list_free(kvs, nkvs);
	rc = all ? rc : -ENOMEM;
	if (rc) {
		free(all);
		return rc;
	}
	qsort(all, *n, sizeof(*all), by_age);
	*out = all;
	return 0;
}

static void free_dated(struct dated *all, size_t n)
{
	OPENSSL_cleanse(all, (n + 1) * sizeof(*all));
	free(all);
}

/* At most SEALING_KEYS_MAX, the newest; *newest: when it was made. */
static int read_keys(struct registry *reg, struct token_key *out, size_t *n, int64_t *newest)
{
	struct dated *all;
	size_t found;
	int rc = read_dated(reg, &all, &found);

	*n = 0;
	if (rc)
		return rc;
	*newest = all[0].created;
	*n = found < SEALING_KEYS_MAX ? found : SEALING_KEYS_MAX;
	for (size_t i = 0; i < *n; i++)
		out[i] = all[i].key;
	free_dated(all, found);
	return *n ? 0 : -ENOENT; /* none that can be read */
}

json_t *sealing_key_list(struct registry *reg)
{
	struct dated *all;
	json_t *list;
	size_t n, now = 0;

	if (read_dated(reg, &all, &n))
		return NULL;
	while (now + 1 < n && all[now].created > time(NULL)) /* as users_seal() */
		now++;
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:I, s:b}", "kid", all[i].key.kid, "created", (json_int_t)all[i].created, "now",
						      i == now));
	free_dated(all, n);
	return list;
}

int sealing_key_remove(struct registry *reg, const char *kid)
{
	char path[sizeof(REG_SEALING) + SEALING_KID_MAX];
	struct reg_cond same = { path, 0 };
	struct reg_change change = { path, NULL, 0 };
	struct dated *all;
	struct reg_kv kv;
	bool newest;
	size_t n;
	int rc = read_dated(reg, &all, &n);

	if (rc)
		return rc;
	newest = n && !strcmp(all[0].key.kid, kid);
	free_dated(all, n);
	if (newest)
		return -EBUSY;
	if (strlen(kid) >= SEALING_KID_MAX)
		return -ENOENT;
	snprintf(path, sizeof(path), REG_SEALING "%s", kid);
	rc = registry_get(reg, path, &kv);
	if (rc)
		return rc;
	same.mod_revision = kv.mod_revision;
	OPENSSL_cleanse(kv.value, kv.value_len);
	reg_kv_free(&kv);
	return registry_txn(reg, &same, 1, &change, 1, NULL);
}

int sealing_keys_get(struct registry *reg, struct token_key out[SEALING_KEYS_MAX], size_t *n)
{
	int64_t newest;

	return read_keys(reg, out, n, &newest);
}

int sealing_key_add(struct registry *reg)
{
	int64_t created = time(NULL) + SEALING_AHEAD_S, newest = 0;
	struct token_key keys[SEALING_KEYS_MAX];
	uint8_t random[8];
	char kid[17];
	size_t n;
	int rc = read_keys(reg, keys, &n, &newest);

	OPENSSL_cleanse(keys, sizeof(keys));
	if (rc == -ENOENT)
		return sealing_key_make(reg, REG_SEALING);
	if (rc || n == SEALING_KEYS_MAX)
		return rc ? rc : -EDQUOT;
	random_bytes(random, sizeof(random));
	hex_encode(random, sizeof(random), kid);
	return put_key(reg, REG_SEALING, kid, created > newest ? created : newest + 1);
}

static int newest(struct registry *reg, struct token_key *out)
{
	struct token_key keys[SEALING_KEYS_MAX];
	size_t n = 0;
	int rc = sealing_keys_get(reg, keys, &n);

	if (!rc)
		*out = keys[0];
	OPENSSL_cleanse(keys, sizeof(keys));
	return rc;
}

int sealing_key_get(struct registry *reg, struct token_key *out)
{
	int rc = newest(reg, out);

	if (rc != -ENOENT)
		return rc;
	rc = sealing_key_make(reg, REG_SEALING);
	return rc ? rc : newest(reg, out);
}
