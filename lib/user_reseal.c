/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_reseal.c -- the secrets of access keys under a new sealing key; see user_edit.h.
 *
 * What was done stands in the registry alone: each sealed text begins with the id of its key. So whoever goes on after an
 * interruption finds texts of older keys, and needs no new key.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sealing.h"
#include "lib/user_edit_impl.h"

#define TRIES 5 /* when others change the user meanwhile */

/* The keys of the installation, newest first. */
struct ring {
	struct token_key keys[SEALING_KEYS_MAX];
	size_t n;
};

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name)) ?: "";
}

static bool names_key(const char *sealed, const char *kid)
{
	size_t len = strlen(kid);

	return !strncmp(sealed, kid, len) && sealed[len] == '.';
}

/* Has it a secret of an older key? */
static bool is_behind(const struct ring *ring, const json_t *key)
{
	const char *sealed = text_of(key, "secret_sealed");

	return *sealed && (!ring->n || !names_key(sealed, ring->keys[0].kid));
}

/* The secret under the newest key. -EBADMSG, -ENOKEY, -EINVAL: nobody can open it. */
static int reseal_text(const struct ring *ring, const json_t *key, char out[SEALED_TEXT_MAX(USER_SECRET_MAX)])
{
	char secret[USER_SECRET_MAX], about[USER_KEY_ABOUT_MAX];
	long n;
	int rc;

	user_key_about(text_of(key, "id"), about);
	n = sealing_open(ring->keys, ring->n, about, text_of(key, "secret_sealed"), secret, sizeof(secret));
	rc = n < 0 ? (int)n : sealing_seal(&ring->keys[0], about, secret, (size_t)n, out, SEALED_TEXT_MAX(USER_SECRET_MAX));
	OPENSSL_cleanse(secret, sizeof(secret));
	return rc;
}

static int reseal_one(const struct ring *ring, json_t *key)
{
	char sealed[SEALED_TEXT_MAX(USER_SECRET_MAX)];
	int rc = reseal_text(ring, key, sealed);

	if (!rc && json_object_set_new(key, "secret_sealed", json_string(sealed)))
		rc = -ENOMEM;
	return rc;
}

/* All of a user's keys; those that do not open stay as they are. *done, *lost: how many. */
static int reseal_user(struct registry *reg, const struct ring *ring, const char *name, unsigned int *done, unsigned int *lost)
{
	int rc = -EAGAIN;

	for (int i = 0; i < TRIES && rc == -EAGAIN; i++) {
		int64_t revision;
		json_t *user, *key;
		size_t k;

		rc = user_read(reg, name, &user, &revision);
		if (rc)
			break;
		*done = *lost = 0;
		json_array_foreach (json_object_get(user, "keys"), k, key)
			if (is_behind(ring, key))
				++*(reseal_one(ring, key) ? lost : done);
		if (*done) {
			rc = user_write(reg, name, user, revision);
		} else {
			json_decref(user);
		}
	}
	return rc == -ENOENT ? 0 : rc; /* removed meanwhile */
}

static int read_ring(struct registry *reg, struct ring *ring)
{
	int rc = sealing_keys_get(reg, ring->keys, &ring->n);

	return rc == -ENOENT ? 0 : rc;
}

/* Did somebody begin and not end? A text that nobody can open does not count: it would stay so for ever. */
static bool was_interrupted(const struct ring *ring, const json_t *users)
{
	char sealed[SEALED_TEXT_MAX(USER_SECRET_MAX)];
	const json_t *user, *key;
	size_t i, k;

	json_array_foreach (users, i, user)
		json_array_foreach (json_object_get(user, "keys"), k, key)
			if (ring->n > 1 && is_behind(ring, key) && !reseal_text(ring, key, sealed))
				return true;
	return false;
}

static int reseal_all(struct registry *reg, const struct ring *ring, const json_t *users, struct user_reseal *out)
{
	const json_t *user;
	int rc = 0;
	size_t i;

	json_array_foreach (users, i, user) {
		unsigned int done = 0, lost = 0;

		rc = reseal_user(reg, ring, text_of(user, "name"), &done, &lost);
		if (rc)
			break;
		out->done += done;
		out->lost += lost;
		out->users += done > 0;
	}
	return rc;
}

int users_reseal(struct registry *reg, struct user_reseal *out)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	json_t *users = user_list_sealed(reg);
	int rc = ring && users ? read_ring(reg, ring) : -EIO;

	*out = (struct user_reseal){ .made = false };
	if (!rc && !was_interrupted(ring, users)) {
		rc = sealing_key_add(reg);
		out->made = !rc;
		if (!rc)
			rc = read_ring(reg, ring);
	}
	if (!rc && ring->n)
		strcpy(out->kid, ring->keys[0].kid);
	if (!rc)
		rc = reseal_all(reg, ring, users, out);
	out->older = ring && ring->n ? (unsigned int)ring->n - 1 : 0;
	json_decref(users);
	if (ring)
		OPENSSL_cleanse(ring, sizeof(*ring));
	free(ring);
	return rc;
}
