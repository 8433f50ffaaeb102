/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_key.c -- access keys in the registry; see user_edit.h.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/sealing.h"
#include "lib/user_edit_impl.h"

#define TRIES 5 /* when others change the user meanwhile */

void user_key_hash(const char *salt, const char *secret, char hash[65])
{
	struct sha256 *h = sha256_new();
	uint8_t digest[32] = { 0 };

	if (!h)
		abort();
	sha256_add(h, salt, strlen(salt));
	sha256_add(h, secret, strlen(secret));
	sha256_end(h, digest);
	hex_encode(digest, sizeof(digest), hash);
}

const char *user_key_about(const char *id, char out[USER_KEY_ABOUT_MAX])
{
	snprintf(out, USER_KEY_ABOUT_MAX, "key %s", id);
	return out;
}

bool user_grant_parse(char *text, struct user_grant *out)
{
	char *bucket = strchr(text, ':'), *slash;

	if (!bucket)
		return false;
	*bucket++ = '\0';
	slash = strchr(bucket, '/');
	if (slash)
		*slash++ = '\0';
	*out = (struct user_grant){ bucket, slash ? slash : "", text };
	return rights_parse(text) && *bucket && strlen(bucket) < 64;
}

/* "WEIR" and 80 random bits in base32 (RFC 4648): the form that clients know of access keys. */
static void make_id(char id[USER_KEY_ID_LEN + 1])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	uint8_t random[USER_KEY_ID_LEN - 4];

	random_bytes(random, sizeof(random));
	memcpy(id, "WEIR", 4);
	for (size_t i = 0; i < sizeof(random); i++)
		id[4 + i] = letters[random[i] % 32];
	id[USER_KEY_ID_LEN] = '\0';
}

static json_t *scopes_of(const struct user_key_options *opt)
{
	json_t *list = json_array();

	for (size_t i = 0; opt && i < opt->nscopes; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "bucket", opt->scopes[i].bucket, "prefix",
						      opt->scopes[i].prefix, "rights", opt->scopes[i].rights));
	return list;
}

static bool options_valid(const struct user_key_options *opt)
{
	for (size_t i = 0; opt && i < opt->nscopes; i++)
		if (!rights_parse(opt->scopes[i].rights) || !*opt->scopes[i].rights || !*opt->scopes[i].bucket ||
		    strlen(opt->scopes[i].bucket) > 63 || strlen(opt->scopes[i].prefix) > 1024)
			return false;
	return !opt || ((!opt->note || strlen(opt->note) <= USER_NOTE_MAX) && opt->expires >= 0);
}

/* The registry's part of a new secret. */
static json_t *make_record(const struct token_key *sealing, struct user_key *key)
{
	uint8_t salt[16], secret[30];
	char salt_text[33], hash[65], about[USER_KEY_ABOUT_MAX], sealed[SEALED_TEXT_MAX(USER_SECRET_MAX)];
	int rc;

	make_id(key->id);
	random_bytes(salt, sizeof(salt));
	random_bytes(secret, sizeof(secret));
	hex_encode(salt, sizeof(salt), salt_text);
	base64url_encode(secret, sizeof(secret), key->secret);
	OPENSSL_cleanse(secret, sizeof(secret));
	user_key_hash(salt_text, key->secret, hash);
	rc = sealing_seal(sealing, user_key_about(key->id, about), key->secret, strlen(key->secret), sealed, sizeof(sealed));
	return rc ? NULL : json_pack("{s:s, s:s, s:s, s:s, s:I}", "id", key->id, "salt", salt_text, "hash", hash,
				     "secret_sealed", sealed, "created", (json_int_t)time(NULL));
}

int user_key_new(struct registry *reg, const struct user_key_options *opt, struct user_key *key, json_t **record)
{
	struct token_key sealing;
	json_t *made;
	int rc = options_valid(opt) ? sealing_key_get(reg, &sealing) : -EINVAL;

	if (rc)
		return rc;
	made = make_record(&sealing, key);
	OPENSSL_cleanse(&sealing, sizeof(sealing));
	if (!made)
		return -ENOMEM;
	if (opt && opt->nscopes)
		json_object_set_new(made, "scopes", scopes_of(opt));
	if (opt && opt->expires)
		json_object_set_new(made, "expires", json_integer((json_int_t)opt->expires));
	if (opt && opt->note && *opt->note && json_object_set_new(made, "note", json_string(opt->note))) {
		json_decref(made); /* not UTF-8 */
		return -EINVAL;
	}
	*record = made;
	return 0;
}

/* ---- changes: read, change, compare and swap ------------------------------------------------- */

struct change {
	const char *id;
	const struct user_key_options *opt;
	json_t *record; /* of the new key */
	int64_t until;
	bool disabled;
};

/* The place of the key in the list, or -ENOKEY. */
static int place_of(const json_t *keys, const char *id)
{
	const json_t *key;
	size_t i;

	json_array_foreach (keys, i, key)
		if (!strcmp(json_string_value(json_object_get(key, "id")) ?: "", id))
			return (int)i;
	return -ENOKEY;
}

static int edit(struct registry *reg, const char *name, int (*fn)(json_t *keys, struct change *c), struct change *c)
{
	int64_t revision;
	json_t *user, *keys;
	int rc = -EAGAIN;

	for (int i = 0; i < TRIES && rc == -EAGAIN; i++) {
		rc = user_read(reg, name, &user, &revision);
		if (rc)
			return rc;
		keys = json_object_get(user, "keys");
		rc = json_is_array(keys) ? fn(keys, c) : -EPROTO;
		if (rc)
			json_decref(user);
		else
			rc = user_write(reg, name, user, revision);
	}
	return rc;
}

static int do_add(json_t *keys, struct change *c)
{
	if (json_array_size(keys) >= USER_KEYS_MAX)
		return -EDQUOT;
	return json_array_append(keys, c->record) ? -ENOMEM : 0;
}

int user_key_add(struct registry *reg, const char *name, const struct user_key_options *opt, struct user_key *key)
{
	struct change c = { .opt = opt };
	int rc = token_name_valid(name) ? user_key_new(reg, opt, key, &c.record) : -EINVAL;

	if (!rc)
		rc = edit(reg, name, do_add, &c);
	json_decref(c.record);
	if (rc)
		OPENSSL_cleanse(key, sizeof(*key));
	return rc;
}

/* The new key may what the old one may; the old one stays good until then. */
static int do_rotate(json_t *keys, struct change *c)
{
	static const char *const kept[] = { "scopes", "note" };
	int at = place_of(keys, c->id), rc;
	json_t *old = at < 0 ? NULL : json_array_get(keys, (size_t)at);
	int64_t expires = json_integer_value(json_object_get(old, "expires"));

	if (at < 0)
		return at;
	for (size_t i = 0; i < 2; i++)
		if (json_object_get(old, kept[i]))
			json_object_set(c->record, kept[i], json_object_get(old, kept[i]));
	if (c->until <= time(NULL))
		json_array_remove(keys, (size_t)at);
	else if (!expires || expires > c->until)
		json_object_set_new(old, "expires", json_integer((json_int_t)c->until));
	rc = do_add(keys, c);
	return rc;
}

int user_key_rotate(struct registry *reg, const char *name, const char *id, int64_t until, int64_t expires,
		    struct user_key *key)
{
	struct user_key_options opt = { .expires = expires };
	struct change c = { .id = id, .until = until };
	int rc = token_name_valid(name) ? user_key_new(reg, &opt, key, &c.record) : -EINVAL;

	if (!rc)
		rc = edit(reg, name, do_rotate, &c);
	json_decref(c.record);
	if (rc)
		OPENSSL_cleanse(key, sizeof(*key));
	return rc;
}

static int do_revoke(json_t *keys, struct change *c)
{
	int at = place_of(keys, c->id);

	return at < 0 ? at : json_array_remove(keys, (size_t)at) ? -ENOMEM : 0;
}

int user_key_revoke(struct registry *reg, const char *name, const char *id)
{
	struct change c = { .id = id };

	return edit(reg, name, do_revoke, &c);
}

static int do_disable(json_t *keys, struct change *c)
{
	int at = place_of(keys, c->id);

	return at < 0 ? at : json_object_set_new(json_array_get(keys, (size_t)at), "disabled", json_boolean(c->disabled)) ? -ENOMEM : 0;
}

int user_key_set_disabled(struct registry *reg, const char *name, const char *id, bool disabled)
{
	struct change c = { .id = id, .disabled = disabled };

	return edit(reg, name, do_disable, &c);
}

void user_key_public(json_t *key)
{
	json_object_set_new(key, "s3", json_boolean(json_object_get(key, "secret_sealed") != NULL));
	json_object_del(key, "salt");
	json_object_del(key, "hash");
	json_object_del(key, "secret_sealed");
}

json_t *user_keys(struct registry *reg, const char *name)
{
	json_t *users = user_list(reg), *list = users ? json_array() : NULL, *user, *key;
	size_t i, k;

	json_array_foreach (users, i, user) {
		const json_t *called = json_object_get(user, "name");

		if (name && strcmp(json_string_value(called) ?: "", name))
			continue;
		json_array_foreach (json_object_get(user, "keys"), k, key) {
			json_object_set(key, "user", (json_t *)called);
			json_array_append(list, key);
		}
	}
	json_decref(users);
	return list;
}
