/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users_s3.c -- keys that check signatures, and what is sealed (token.h).
 *
 * A signature is an HMAC by a key that is derived from the secret, the day and the region (Amazon: "Create a signed AWS API
 * request", deriving the signing key). The secret is unsealed for a moment here and leaves this file never; what was
 * derived is kept, so that most requests cost a search.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/sealing.h"
#include "lib/user_edit.h"
#include "lib/users_internal.h"

#define SERVICE "s3"
/* So long it is not asked again whether a key is lost: clients may ask in a loop, from all threads, and each question blocks one. */
#define LOST_MS	  5000
#define UNSURE_MS 1000 /* the key is on its way, or nobody knows */

/* ---- the derived key ------------------------------------------------------------------------- */

/* Held: without the lock of the cache nobody else is here. */
void users_s3_forget(struct users *u)
{
	pthread_mutex_lock(&u->s3_lock);
	OPENSSL_cleanse(u->s3, sizeof(u->s3));
	pthread_mutex_unlock(&u->s3_lock);
}

static void derive(const char *secret, const char *date, const char *region, uint8_t out[32])
{
	char first[4 + USER_SECRET_MAX + 1];
	uint8_t a[32], b[32];
	int len = snprintf(first, sizeof(first), "AWS4%s", secret);

	hmac_sha256(first, (size_t)len, date, strlen(date), a);
	hmac_sha256(a, sizeof(a), region, strlen(region), b);
	hmac_sha256(b, sizeof(b), SERVICE, strlen(SERVICE), a);
	hmac_sha256(a, sizeof(a), "aws4_request", 12, out);
	OPENSSL_cleanse(first, sizeof(first));
	OPENSSL_cleanse(a, sizeof(a));
	OPENSSL_cleanse(b, sizeof(b));
}

static int unseal_and_derive(const struct users *u, const json_t *key, const char *date, const char *region, uint8_t out[32])
{
	char secret[USER_SECRET_MAX + 1], about[USER_KEY_ABOUT_MAX];
	const char *sealed = users_text(key, "secret_sealed");
	long n;

	if (!*sealed)
		return -ENOKEY;
	n = sealing_open(u->sealing.keys, u->sealing.n, user_key_about(users_text(key, "id"), about), sealed, secret,
			 sizeof(secret) - 1);
	if (n >= 0) {
		secret[n] = '\0';
		derive(secret, date, region, out);
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	/* A key that was made a moment ago may come after the secrets that are sealed by it. */
	return n >= 0 ? 0 : n == -ENOKEY ? -EAGAIN : -ENOKEY;
}

static struct s3_cached *place_of(struct users *u, const char *id, const char *date, const char *region)
{
	uint64_t hash = hash64(id, strlen(id), hash64(date, 8, hash64(region, strlen(region), 0)));

	return &u->s3[hash % S3_CACHED];
}

/* Held for reading, so that nothing changes meanwhile. */
static bool recall(struct users *u, const char *id, const char *date, const char *region, int64_t now, struct users_s3 *out)
{
	struct s3_cached *place = place_of(u, id, date, region);
	bool hit;

	pthread_mutex_lock(&u->s3_lock);
	hit = place->generation == u->generation && !strcmp(place->id, id) && !strcmp(place->date, date) &&
	      !strcmp(place->region, region) && (!place->scope.expires || now < place->scope.expires);
	if (hit) {
		memcpy(out->key, place->key, sizeof(place->key));
		out->scope = place->scope;
	}
	pthread_mutex_unlock(&u->s3_lock);
	if (hit)
		out->scope.issued = now;
	return hit;
}

static void keep(struct users *u, const char *id, const char *date, const char *region, const struct users_s3 *found)
{
	struct s3_cached *place = place_of(u, id, date, region);

	pthread_mutex_lock(&u->s3_lock);
	place->generation = u->generation;
	strcpy(place->id, id);
	strcpy(place->date, date);
	strcpy(place->region, region);
	memcpy(place->key, found->key, sizeof(place->key));
	place->scope = found->scope;
	pthread_mutex_unlock(&u->s3_lock);
}

/* Why is there no key of this id that is good now? */
static int why_not(const struct users *u, const char *id, int64_t now)
{
	const char *name = json_string_value(json_object_get(u->ids, id));
	const json_t *user = name ? users_active(u, name) : NULL, *key;
	int64_t expires;
	size_t i;

	if (!name)
		return u->synced == SYNCED_ALL ? -ENOENT : -EAGAIN;
	json_array_foreach (json_object_get(user, "keys"), i, key) {
		expires = json_integer_value(json_object_get(key, "expires"));
		if (!strcmp(users_text(key, "id"), id) && !json_is_true(json_object_get(key, "disabled")) && expires &&
		    now >= expires)
			return -EKEYEXPIRED;
	}
	return -EACCES;
}

static int find(struct users *u, const char *id, const char *date, const char *region, int64_t now, struct users_s3 *out)
{
	const json_t *key;
	const char *name;
	int rc;

	if (recall(u, id, date, region, now, out))
		return 0;
	key = users_key(u, id, NULL, now, &name);
	if (!key)
		return why_not(u, id, now);
	if (u->synced != SYNCED_ALL)
		return -EAGAIN;
	rc = unseal_and_derive(u, key, date, region, out->key);
	if (!rc)
		rc = users_scope(u, name, key, now, &out->scope);
	if (!rc)
		keep(u, id, date, region, out);
	return rc;
}

int users_s3_key(struct users *u, const char *id, const char *date, const char *region, int64_t now, struct users_s3 *out)
{
	struct users_s3 found = { { 0 }, { .bucket = "" } };
	int rc;

	if (strlen(id) > TOKEN_ACCESS_KEY_MAX || !*id)
		return -ENOENT;
	if (strlen(date) != 8 || strspn(date, "0123456789") != 8 || !*region || strlen(region) >= sizeof(u->s3[0].region))
		return -EINVAL;
	pthread_rwlock_rdlock(&u->lock);
	rc = find(u, id, date, region, now, &found);
	pthread_rwlock_unlock(&u->lock);
	if (!rc)
		*out = found;
	OPENSSL_cleanse(&found.key, sizeof(found.key));
	return rc;
}

/* ---- sealing --------------------------------------------------------------------------------- */

/* The place of the key that seals now; -1: none. A new one is used when everybody has heard of it (SEALING_AHEAD_S); a first one at
 * once. While the keys are still being told one by one, an older one may look like the newest. */
static int sealing_now(const struct keyring *ring)
{
	size_t at = 0;

	while (at + 1 < ring->n && ring->created[at] > time(NULL))
		at++;
	return ring->n && ring->synced ? (int)at : -1;
}

int users_seal(struct users *u, const char *about, const void *data, size_t len, char *out, size_t size)
{
	int rc, at;

	pthread_rwlock_rdlock(&u->lock);
	at = sealing_now(&u->sealing);
	rc = at < 0 ? -ENOKEY : sealing_seal(&u->sealing.keys[at], about, data, len, out, size);
	pthread_rwlock_unlock(&u->lock);
	return rc;
}

int users_sealing_kid(struct users *u, char out[SEALING_KID_MAX])
{
	int at;

	pthread_rwlock_rdlock(&u->lock);
	at = sealing_now(&u->sealing);
	if (at >= 0)
		strcpy(out, u->sealing.keys[at].kid);
	pthread_rwlock_unlock(&u->lock);
	return at < 0 ? -ENOKEY : 0;
}

long users_unseal(struct users *u, const char *about, const char *text, void *out, size_t max)
{
	long n;

	pthread_rwlock_rdlock(&u->lock);
	n = sealing_open(u->sealing.keys, u->sealing.n, about, text, out, max);
	pthread_rwlock_unlock(&u->lock);
	return n;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* With s3_lock: what is known of the key, or the place of what was known longest ago. */
static struct missing *missing_of(struct users *u, const char *kid)
{
	struct missing *oldest = u->missing;

	for (struct missing *m = u->missing; m < u->missing + LOST_MAX; m++) {
		if (!strcmp(m->kid, kid))
			return m;
		if (m->until_ms < oldest->until_ms)
			oldest = m;
	}
	return oldest;
}

/* True: the caller asks the registry, and says with settle() what came of it. Else *lost is the answer; what was lost a moment ago is so
 * while somebody asks. */
static bool must_ask(struct users *u, const char *kid, bool *lost)
{
	const struct missing *m;
	int64_t now = now_ms(), until;
	bool ask;

	pthread_mutex_lock(&u->s3_lock);
	m = missing_of(u, kid);
	until = strcmp(m->kid, kid) ? 0 : m->until_ms;
	*lost = until && m->lost && now < until + (u->asks ? LOST_MS : 0);
	ask = now >= until && !u->asks && now >= u->silent_until_ms;
	if (ask)
		u->asks = true;
	pthread_mutex_unlock(&u->s3_lock);
	return ask;
}

static bool settle(struct users *u, const char *kid, int rc)
{
	int64_t now = now_ms();

	pthread_mutex_lock(&u->s3_lock);
	u->asks = false;
	if (!rc || rc == -ENOENT) {
		struct missing *m = missing_of(u, kid);

		strcpy(m->kid, kid);
		m->lost = rc != 0;
		m->until_ms = now + (rc ? LOST_MS : UNSURE_MS);
	} else {
		u->silent_until_ms = now + UNSURE_MS;
	}
	pthread_mutex_unlock(&u->s3_lock);
	return rc == -ENOENT;
}

bool users_sealing_lost(struct users *u, const char *text)
{
	char kid[SEALING_KID_MAX], path[sizeof(REG_SEALING) + SEALING_KID_MAX];
	struct reg_kv kv;
	bool lost;
	int rc;

	if (sealing_kid(text, kid))
		return false;
	if (!must_ask(u, kid, &lost))
		return lost;
	snprintf(path, sizeof(path), REG_SEALING "%s", kid);
	rc = registry_get(u->reg, path, &kv);
	if (!rc) {
		OPENSSL_cleanse(kv.value, kv.value_len);
		reg_kv_free(&kv);
	}
	return settle(u, kid, rc);
}
