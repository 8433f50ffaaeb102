/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secret.c -- the installation's peers secret in the registry, and what is derived from it (secret.h).
 */
#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/secret.h"
#include "lib/hash.h"
#include "lib/registry.h"

#define KEY   REG_PEERS "secret"
#define TRIES 3

/* {"secret": 64 hex digits}. */
static int read_value(const struct reg_kv *kv, struct peers_secret *out)
{
	json_t *value = json_loadb(kv->value, kv->value_len, 0, NULL);
	const char *text = json_string_value(json_object_get(value, "secret"));
	int rc = text && !hex_decode(text, out->bytes, sizeof(out->bytes)) ? 0 : -EPROTO;

	json_decref(value);
	return rc;
}

static int make(struct registry *reg)
{
	const struct reg_cond none = { .key = KEY };
	struct reg_change change = { .key = KEY };
	uint8_t secret[32];
	char hex[65], value[96];
	int rc;

	random_bytes(secret, sizeof(secret));
	snprintf(value, sizeof(value), "{\"secret\":\"%s\"}", hex_encode(secret, sizeof(secret), hex));
	change.value = value;
	rc = registry_txn(reg, &none, 1, &change, 1, NULL);
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(hex, sizeof(hex));
	OPENSSL_cleanse(value, sizeof(value));
	return rc;
}

int peers_secret_get(struct registry *reg, struct peers_secret *out)
{
	struct peers_secret found;
	int rc = -EAGAIN;

	/* Whoever loses the race reads what the winner made. */
	for (int i = 0; i < TRIES && rc == -EAGAIN; i++) {
		struct reg_kv kv;

		rc = registry_get(reg, KEY, &kv);
		if (!rc) {
			rc = read_value(&kv, &found);
			reg_kv_free(&kv);
			if (!rc)
				*out = found;
			OPENSSL_cleanse(&found, sizeof(found));
			return rc;
		}
		if (rc == -ENOENT)
			rc = make(reg);
		if (!rc)
			rc = -EAGAIN; /* made: read it */
	}
	return rc;
}

void peers_secret_derive(const struct peers_secret *s, const char *purpose, const char *of, uint8_t out[32])
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%s%s", purpose, of ? of : "");

	hmac_sha256(s->bytes, sizeof(s->bytes), text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1, out);
}

static void mac_text(char out[45], const struct peers_secret *s, const char *purpose, const char *of, const void *text, size_t len)
{
	uint8_t key[32], mac[32];
	char *encoded;

	peers_secret_derive(s, purpose, of, key);
	hmac_sha256(key, sizeof(key), text, len, mac);
	OPENSSL_cleanse(key, sizeof(key));
	encoded = base64_encode(mac, sizeof(mac));
	snprintf(out, 45, "%s", encoded ? encoded : "");
	free(encoded);
}

void exchange_mac(char out[45], const struct peers_secret *s, const char *way, const void *text, size_t len)
{
	mac_text(out, s, "exchange", way, text, len);
}

void session_mac(char out[45], const struct peers_secret *s, const char *viewer, const char *text)
{
	mac_text(out, s, "session", viewer, text, strlen(text));
}
