/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.c -- a viewer's token (secret.h): pure. The MAC covers the text before the second dot as it was sent, and is
 * looked at before anything of the payload.
 */
#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/secret.h"
#include "lib/hash.h"

#define PREFIX	   "weirv1."
#define PREFIX_LEN 7
#define MAC_TEXT   43 /* 32 bytes in base64url without padding */

static bool viewer_valid(const char *viewer)
{
	return strlen(viewer) == PEERS_VIEWER_LEN && strspn(viewer, "0123456789abcdef") == PEERS_VIEWER_LEN;
}

static void mac_of(const struct peers_secret *s, const char *text, size_t len, uint8_t mac[32])
{
	uint8_t key[32];

	peers_secret_derive(s, "token", NULL, key);
	hmac_sha256(key, sizeof(key), text, len, mac);
	OPENSSL_cleanse(key, sizeof(key));
}

int viewer_token_sign(char out[VIEWER_TOKEN_MAX], const struct viewer_token *t, const struct peers_secret *s)
{
	json_t *o = json_pack("{s:s, s:s, s:I, s:I}", "v", t->viewer, "a", t->asset, "x", (json_int_t)t->expires, "f",
			      (json_int_t)t->flags);
	char text[VIEWER_TOKEN_MAX], *payload;
	uint8_t mac[32];
	size_t len, n;

	if (o && *t->origin && json_object_set_new(o, "o", json_string(t->origin))) {
		json_decref(o);
		o = NULL;
	}
	payload = o && viewer_valid(t->viewer) && *t->asset && t->expires > 0 ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	len = payload ? strlen(payload) : 0;
	if (!payload || PREFIX_LEN + (len + 2) / 3 * 4 + 1 + MAC_TEXT >= VIEWER_TOKEN_MAX) {
		free(payload);
		return -EINVAL;
	}
	memcpy(text, PREFIX, PREFIX_LEN);
	n = PREFIX_LEN + base64url_encode(payload, len, text + PREFIX_LEN);
	free(payload);
	mac_of(s, text, n, mac);
	text[n++] = '.';
	base64url_encode(mac, sizeof(mac), text + n);
	memcpy(out, text, n + MAC_TEXT + 1);
	return 0;
}

static bool take_text(char *out, size_t size, const json_t *o, const char *key)
{
	const json_t *value = json_object_get(o, key);
	size_t len = json_string_length(value);

	if (!json_is_string(value) || len >= size || strlen(json_string_value(value)) != len)
		return false;
	memcpy(out, json_string_value(value), len + 1);
	return true;
}

static int read_payload(struct viewer_token *t, const char *text, size_t len)
{
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *expires = json_object_get(o, "x"), *flags = json_object_get(o, "f");
	bool has_origin = json_object_get(o, "o") != NULL;
	bool fine = json_is_object(o) && json_object_size(o) == 4u + has_origin && json_is_integer(expires) &&
		    json_is_integer(flags) && json_integer_value(flags) >= 0 && json_integer_value(flags) <= UINT32_MAX &&
		    json_integer_value(expires) > 0 && take_text(t->viewer, sizeof(t->viewer), o, "v") &&
		    viewer_valid(t->viewer) && take_text(t->asset, sizeof(t->asset), o, "a") && *t->asset &&
		    (!has_origin || (take_text(t->origin, sizeof(t->origin), o, "o") && *t->origin));

	t->expires = json_integer_value(expires);
	t->flags = (uint32_t)json_integer_value(flags);
	json_decref(o);
	return fine ? 0 : -EINVAL;
}

int viewer_token_verify(struct viewer_token *out, const char *text, const struct peers_secret *s, int64_t now)
{
	struct viewer_token t = { .expires = 0 };
	uint8_t mac[32], right[32], payload[VIEWER_TOKEN_MAX];
	const char *dot;
	size_t len = strnlen(text, VIEWER_TOKEN_MAX);
	long n;

	if (len >= VIEWER_TOKEN_MAX || strncmp(text, PREFIX, PREFIX_LEN))
		return -EINVAL;
	dot = strchr(text + PREFIX_LEN, '.');
	if (!dot || len - (size_t)(dot + 1 - text) != MAC_TEXT ||
	    base64url_decode(dot + 1, MAC_TEXT, mac, sizeof(mac)) != (long)sizeof(mac))
		return -EINVAL;
	mac_of(s, text, (size_t)(dot - text), right);
	if (CRYPTO_memcmp(mac, right, sizeof(mac)))
		return -EBADMSG;
	n = base64url_decode(text + PREFIX_LEN, (size_t)(dot - text) - PREFIX_LEN, payload, sizeof(payload));
	if (n < 0 || read_payload(&t, (char *)payload, (size_t)n))
		return -EINVAL;
	if (t.expires <= now)
		return -ETIME;
	*out = t;
	return 0;
}
