/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnels_edit.c -- making, changing and removing tunnels in the registry: the second half of
 * tunnels.h.
 *
 * The registry's conditions are the only lock. A tunnel's name, each hostname and each address is a
 * key of its own that must be absent when it is taken, so two creators can never both have it,
 * whatever they read before.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/tunnels_pool.h"
#include "lib/user_edit.h"

#define TRIES	   64 /* others take the address that we chose: each try, one of them got on */
#define KEY_LEN	   (sizeof(REG_HOSTNAMES) + TUNNEL_HOSTNAME_MAX)
#define KEYS_MAX   (1 + 2 * TUNNEL_HOSTNAMES_MAX + 2)
#define REVOKE_MAX 50 /* in one transaction: two changes each, servers allow 128 */

/* The conditions and changes of one transaction, with the memory for their keys. */
struct edit {
	struct reg_cond conds[KEYS_MAX];
	struct reg_change changes[KEYS_MAX];
	char keys[KEYS_MAX][KEY_LEN];
	size_t nkeys, nconds, nchanges;
};

static void because(char why[TUNNEL_WHY_MAX], const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void because(char why[TUNNEL_WHY_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, TUNNEL_WHY_MAX, fmt, ap);
	va_end(ap);
}

/* The registry's own failure. */
static int registry_failed(int rc, char why[TUNNEL_WHY_MAX])
{
	because(why, "%s%s", registry_error(),
		rc == -ETIMEDOUT ? " (whether it was done is not known: look with weir tunnel info)"
				 : "");
	return rc;
}

static const char *edit_key(struct edit *e, const char *prefix, const char *rest)
{
	char *key = e->keys[e->nkeys++];

	snprintf(key, KEY_LEN, "%s%s", prefix, rest);
	return key;
}

/* key at revision (0: absent) becomes value (NULL: is deleted). */
static void edit_change(struct edit *e, const char *key, int64_t revision, const char *value)
{
	e->conds[e->nconds++] = (struct reg_cond){ key, revision };
	e->changes[e->nchanges++] = (struct reg_change){ key, value, 0 };
}

static int edit_commit(struct registry *reg, const struct edit *e)
{
	return registry_txn(reg, e->conds, e->nconds, e->changes, e->nchanges, NULL);
}

/* {"tunnel": NAME}: who has a hostname or address */
static char *holder_text(const char *name)
{
	char *text = NULL;

	return asprintf(&text, "{\"tunnel\":\"%s\"}", name) < 0 ? NULL : text;
}

static int read_tunnel(struct registry *reg, const char *name, struct tunnel *out,
		       int64_t *revision)
{
	char key[sizeof(REG_TUNNELS) + TUNNEL_NAME_MAX];
	struct reg_kv kv;
	int rc;

	if (!tunnel_name_valid(name))
		return -ENOENT;
	snprintf(key, sizeof(key), REG_TUNNELS "%s", name);
	rc = registry_get(reg, key, &kv);
	if (rc)
		return rc;
	rc = tunnel_parse(out, kv.value);
	if (!rc && strcmp(out->name, name)) {
		tunnel_clear(out);
		rc = -EINVAL;
	}
	*revision = kv.mod_revision;
	reg_kv_free(&kv);
	return rc == -EINVAL ? -EPROTO : rc;
}

/* The same with a sentence. */
static int find_tunnel(struct registry *reg, const char *name, struct tunnel *out,
		       int64_t *revision, char why[TUNNEL_WHY_MAX])
{
	int rc = read_tunnel(reg, name, out, revision);

	if (rc == -ENOENT)
		because(why, "there is no tunnel %.40s", name);
	else if (rc == -EPROTO)
		because(why, "the registry's value of tunnel %s cannot be read", name);
	else if (rc)
		registry_failed(rc, why);
	return rc;
}

int tunnel_get(struct registry *reg, const char *name, struct tunnel *out)
{
	int64_t revision;

	return read_tunnel(reg, name, out, &revision);
}

/* ---- what a tunnel must be ------------------------------------------------------------------- */

static int check_hostnames(const struct tunnel *t, char why[TUNNEL_WHY_MAX])
{
	if (!t->nhostnames) {
		because(why, "a tunnel needs at least one hostname, such as app.edge.example");
		return -EINVAL;
	}
	for (size_t i = 0; i < t->nhostnames; i++) {
		if (!tunnel_hostname_valid(t->hostnames[i])) {
			because(why,
				"\"%.100s\" is no hostname: two labels or more of a-z, 0-9 and -, "
				"such "
				"as app.edge.example",
				t->hostnames[i]);
			return -EINVAL;
		}
		for (size_t k = 0; k < i; k++)
			if (!strcmp(t->hostnames[i], t->hostnames[k])) {
				because(why, "hostname %s is named twice", t->hostnames[i]);
				return -EINVAL;
			}
	}
	return 0;
}

static int check_ports(const struct tunnel *t, bool has_address, char why[TUNNEL_WHY_MAX])
{
	for (size_t i = 0; i < t->nports; i++) {
		const struct tunnel_port *p = &t->ports[i];

		if (!p->port) {
			because(why, "port 0 is no port");
			return -EINVAL;
		}
		if (p->mode == TUNNEL_TCP && !has_address) {
			because(why,
				"port %u/tcp needs an address of the tunnel's own: set prefix in "
				"the "
				"section tunnels of weir.yaml",
				p->port);
			return -EINVAL;
		}
		for (size_t k = 0; k < i; k++)
			if (p->port == t->ports[k].port) {
				because(why, "port %u is named twice", p->port);
				return -EINVAL;
			}
	}
	if (t->client_ca) {
		for (size_t i = 0; i < t->nports; i++)
			if (t->ports[i].mode == TUNNEL_HTTPS)
				return 0;
		because(why, "client certificates need a port where TLS ends at the edge (https)");
		return -EINVAL;
	}
	return 0;
}

static int check_tunnel(const struct tunnel *t, bool has_address, char why[TUNNEL_WHY_MAX])
{
	int rc;

	if (!tunnel_name_valid(t->name)) {
		because(why, "\"%.60s\" is no tunnel's name: 1 to %d of a-z, 0-9 and inner -",
			t->name, TUNNEL_NAME_MAX - 1);
		return -EINVAL;
	}
	if (*t->owner && !user_name_valid(t->owner)) {
		because(why, "\"%.60s\" is no user's name", t->owner);
		return -EINVAL;
	}
	rc = check_hostnames(t, why);
	return rc ? rc : check_ports(t, has_address, why);
}

/* ---- creation -------------------------------------------------------------------------------- */

/* Adds the tunnel's address of a family to the transaction, when the pool has such. */
static int edit_address(struct edit *e, const struct tunnel_pool *pool, uint8_t family,
			const struct taken_address *list, size_t n, const char *holder,
			struct addr *out, char why[TUNNEL_WHY_MAX])
{
	char text[ADDR_STRLEN];
	int64_t revision = 0;
	int rc = tunnels_choose(pool, family, list, n, out, &revision);

	if (rc == -ENOSPC)
		because(why,
			"no IPv%d address is free in tunnels.prefix (freed ones rest for %lld s): "
			"add a "
			"network there",
			family == AF_INET ? 4 : 6, (long long)pool->quarantine_s);
	if (rc == 1)
		edit_change(e, edit_key(e, REG_ADDRESSES, addr_format(out, text, sizeof(text))),
			    revision, holder);
	return rc < 0 ? rc : 0;
}

static void default_ports(struct tunnel *t)
{
	if (t->nports)
		return;
	t->ports[0] = (struct tunnel_port){ 80, TUNNEL_HTTP };
	t->ports[1] = (struct tunnel_port){ 443, TUNNEL_HTTPS };
	t->nports = 2;
}

/* One attempt with what the registry says now. -EAGAIN: something changed meanwhile. */
static int try_create(struct registry *reg, struct tunnel *t, const struct tunnel_pool *pool,
		      const char *holder, char why[TUNNEL_WHY_MAX])
{
	struct edit *e = calloc(1, sizeof(*e));
	struct taken_address *list = NULL;
	int64_t revision = 0;
	char *text = NULL;
	size_t n = 0;
	int rc = e ? tunnels_taken(reg, &list, &n, &revision) : -ENOMEM;

	if (rc) {
		registry_failed(rc, why);
		goto out;
	}
	t->address = t->address6 = (struct addr){ 0 };
	rc = edit_address(e, pool, AF_INET, list, n, holder, &t->address, why);
	if (!rc)
		rc = edit_address(e, pool, AF_INET6, list, n, holder, &t->address6, why);
	if (rc)
		goto out;
	/* Every change of a tunnel costs a revision at least, so this is past any generation that a
	 * removed tunnel of this name had. */
	t->generation = (uint64_t)revision + 1;
	t->created = time(NULL);
	text = tunnel_format(t);
	edit_change(e, edit_key(e, REG_TUNNELS, t->name), 0, text);
	for (size_t i = 0; i < t->nhostnames; i++)
		edit_change(e, edit_key(e, REG_HOSTNAMES, t->hostnames[i]), 0, holder);
	rc = text ? edit_commit(reg, e) : -ENOMEM;
	if (rc && rc != -EAGAIN)
		registry_failed(rc, why);
out:
	free(text);
	free(list);
	free(e);
	return rc;
}

static bool exists(struct registry *reg, const char *prefix, const char *rest)
{
	char key[KEY_LEN];
	struct reg_kv kv;

	snprintf(key, sizeof(key), "%s%s", prefix, rest);
	if (registry_get(reg, key, &kv))
		return false;
	reg_kv_free(&kv);
	return true;
}

/* Which hostname is another tunnel's? 0 when none is. */
static int taken_hostname(struct registry *reg, const struct tunnel *t, const struct tunnel *old,
			  char why[TUNNEL_WHY_MAX])
{
	for (size_t i = 0; i < t->nhostnames; i++) {
		if (old && tunnel_has_hostname(old, t->hostnames[i]))
			continue;
		if (!exists(reg, REG_HOSTNAMES, t->hostnames[i]))
			continue;
		because(why, "hostname %s belongs to another tunnel", t->hostnames[i]);
		return -EADDRINUSE;
	}
	return 0;
}

int tunnel_create(struct registry *reg, struct tunnel *t, const struct tunnel_pool *pool,
		  char why[TUNNEL_WHY_MAX])
{
	char *holder;
	int rc;

	default_ports(t);
	rc = check_tunnel(t, pool->n > 0, why);
	if (rc)
		return rc;
	holder = holder_text(t->name);
	rc = holder ? -EAGAIN : -ENOMEM;
	for (int i = 0; rc == -EAGAIN && i < TRIES; i++) {
		rc = try_create(reg, t, pool, holder, why);
		if (rc != -EAGAIN)
			break;
		because(why, "others make tunnels at the same time; try again");
		if (exists(reg, REG_TUNNELS, t->name)) {
			because(why, "there is a tunnel %s already", t->name);
			rc = -EEXIST;
		} else if (taken_hostname(reg, t, NULL, why)) {
			rc = -EADDRINUSE;
		}
	}
	free(holder);
	return rc;
}

/* ---- changes --------------------------------------------------------------------------------- */

/* Hostnames that come and go. */
static void edit_hostnames(struct edit *e, const struct tunnel *old, const struct tunnel *t,
			   const char *holder)
{
	for (size_t i = 0; i < t->nhostnames; i++)
		if (!tunnel_has_hostname(old, t->hostnames[i]))
			edit_change(e, edit_key(e, REG_HOSTNAMES, t->hostnames[i]), 0, holder);
	for (size_t i = 0; i < old->nhostnames; i++)
		if (!tunnel_has_hostname(t, old->hostnames[i]))
			e->changes[e->nchanges++] =
				(struct reg_change){ edit_key(e, REG_HOSTNAMES, old->hostnames[i]),
						     NULL, 0 };
}

/* What a change does not touch. */
static void keep(struct tunnel *t, const struct tunnel *old)
{
	t->generation = old->generation + 1;
	t->created = old->created;
	t->address = old->address;
	t->address6 = old->address6;
	t->enroll_until = old->enroll_until;
	memcpy(t->enroll_salt, old->enroll_salt, sizeof(t->enroll_salt));
	memcpy(t->enroll_hash, old->enroll_hash, sizeof(t->enroll_hash));
}

static int commit_change(struct registry *reg, const struct tunnel *old, int64_t revision,
			 struct tunnel *t, char why[TUNNEL_WHY_MAX])
{
	struct edit *e = calloc(1, sizeof(*e));
	char *holder = holder_text(t->name), *text = NULL;
	uint64_t before = t->generation;
	int rc = -ENOMEM;

	keep(t, old);
	text = tunnel_format(t);
	if (e && holder && text) {
		edit_change(e, edit_key(e, REG_TUNNELS, t->name), revision, text);
		edit_hostnames(e, old, t, holder);
		rc = edit_commit(reg, e);
	}
	if (rc) {
		t->generation = before;
		registry_failed(rc, why);
	}
	if (rc == -EAGAIN) {
		rc = taken_hostname(reg, t, old, why);
		if (!rc) {
			because(why, "somebody else changed tunnel %s meanwhile; try again",
				t->name);
			rc = -EAGAIN;
		}
	}
	free(text);
	free(holder);
	free(e);
	return rc;
}

int tunnel_change(struct registry *reg, struct tunnel *t, char why[TUNNEL_WHY_MAX])
{
	struct tunnel *old = calloc(1, sizeof(*old));
	int64_t revision;
	int rc = old ? find_tunnel(reg, t->name, old, &revision, why) : -ENOMEM;

	if (rc)
		goto out;
	if (old->generation != t->generation) {
		because(why, "somebody else changed tunnel %s meanwhile; try again", t->name);
		rc = -EAGAIN;
	} else {
		rc = check_tunnel(t, old->address.family || old->address6.family, why);
	}
	if (!rc)
		rc = commit_change(reg, old, revision, t, why);
	tunnel_clear(old);
out:
	free(old);
	return rc;
}

/* ---- certificates that are to count no more ----------------------------------------------------
 */

static char *revoked_text(const char *name, const struct reg_kv *issued)
{
	json_t *was = json_loadb(issued->value, issued->value_len, 0, NULL);
	json_int_t until = json_integer_value(json_object_get(was, "until"));
	char *text = NULL;

	json_decref(was);
	return asprintf(&text, "{\"tunnel\":\"%s\",\"at\":%lld,\"until\":%lld}", name,
			(long long)time(NULL), (long long)until) < 0
		       ? NULL
		       : text;
}

/* At most REVOKE_MAX of them, whose keys begin with prefix ("issued/NAME/"). */
static int revoke_some(struct registry *reg, const char *name, const struct reg_kv *issued,
		       size_t n, size_t prefix)
{
	struct reg_change changes[2 * REVOKE_MAX];
	char keys[REVOKE_MAX][sizeof(REG_REVOKED) + 64], *texts[REVOKE_MAX];
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		texts[i] = revoked_text(name, &issued[i]);
		if (!texts[i])
			rc = -ENOMEM;
		snprintf(keys[i], sizeof(keys[i]), REG_REVOKED "%.64s", issued[i].key + prefix);
		changes[2 * i] = (struct reg_change){ keys[i], texts[i], 0 };
		changes[2 * i + 1] = (struct reg_change){ issued[i].key, NULL, 0 };
	}
	if (!rc && n)
		rc = registry_txn(reg, NULL, 0, changes, 2 * n, NULL);
	for (size_t i = 0; i < n; i++)
		free(texts[i]);
	return rc;
}

int tunnel_revoke(struct registry *reg, const char *name, const char *serial, size_t *n,
		  char why[TUNNEL_WHY_MAX])
{
	char prefix[sizeof(REG_ISSUED) + TUNNEL_NAME_MAX + 1];
	struct reg_kv *kvs = NULL;
	size_t nkvs = 0, done = 0;
	int rc;

	if (!tunnel_name_valid(name)) {
		because(why, "there is no tunnel %.40s", name);
		return -ENOENT;
	}
	snprintf(prefix, sizeof(prefix), REG_ISSUED "%s/", name);
	rc = registry_list(reg, prefix, &kvs, &nkvs, NULL);
	for (size_t i = 0, some; !rc && i < nkvs; i += some) {
		some = serial ? 1 : nkvs - i < REVOKE_MAX ? nkvs - i : REVOKE_MAX;
		if (serial && strcasecmp(kvs[i].key + strlen(prefix), serial))
			continue;
		rc = revoke_some(reg, name, &kvs[i], some, strlen(prefix));
		done += rc ? 0 : some;
	}
	reg_kv_list_free(kvs, nkvs);
	if (rc)
		return registry_failed(rc, why);
	if (!done && serial) {
		because(why, "the authority signed no certificate %.40s for tunnel %s", serial,
			name);
		return -ENOENT;
	}
	*n = done;
	return 0;
}

/* ---- removal and enrolment ---------------------------------------------------------------------
 */

/* Everything that the tunnel held goes, its addresses into quarantine. */
static int commit_removal(struct registry *reg, const struct tunnel *t, int64_t revision,
			  int64_t quarantine_s)
{
	const struct addr *addresses[] = { &t->address, &t->address6 };
	struct edit *e = calloc(1, sizeof(*e));
	char rest[64], text[ADDR_STRLEN];
	int rc;

	if (!e)
		return -ENOMEM;
	snprintf(rest, sizeof(rest), "{\"until\":%lld}", (long long)(time(NULL) + quarantine_s));
	edit_change(e, edit_key(e, REG_TUNNELS, t->name), revision, NULL);
	for (size_t i = 0; i < t->nhostnames; i++)
		e->changes[e->nchanges++] =
			(struct reg_change){ edit_key(e, REG_HOSTNAMES, t->hostnames[i]), NULL, 0 };
	for (size_t i = 0; i < 2; i++)
		if (addresses[i]->family)
			e->changes[e->nchanges++] = (struct reg_change){
				edit_key(e, REG_ADDRESSES,
					 addr_format(addresses[i], text, sizeof(text))),
				rest, 0
			};
	rc = edit_commit(reg, e);
	free(e);
	return rc;
}

int tunnel_remove(struct registry *reg, const char *name, int64_t quarantine_s,
		  char why[TUNNEL_WHY_MAX])
{
	struct tunnel *t = calloc(1, sizeof(*t));
	int64_t revision;
	size_t n;
	int rc = t ? -EAGAIN : -ENOMEM;

	/* The authority changes the tunnel's key with each certificate that it signs: none can come
	 * between the revocation and the removal. */
	for (int i = 0; rc == -EAGAIN && i < TRIES; i++) {
		rc = find_tunnel(reg, name, t, &revision, why);
		if (rc)
			break;
		rc = tunnel_revoke(reg, name, NULL, &n, why);
		if (!rc) {
			rc = commit_removal(reg, t, revision, quarantine_s);
			if (rc)
				registry_failed(rc, why);
		}
		tunnel_clear(t);
	}
	free(t);
	return rc;
}

int tunnel_open_enrolment(struct registry *reg, const char *name, int64_t ttl_s, char secret[44],
			  char why[TUNNEL_WHY_MAX])
{
	struct tunnel *t = calloc(1, sizeof(*t));
	uint8_t salt[16], random[32];
	int64_t revision;
	int rc = t ? -EAGAIN : -ENOMEM;

	random_bytes(salt, sizeof(salt));
	random_bytes(random, sizeof(random));
	base64url_encode(random, sizeof(random), secret);
	OPENSSL_cleanse(random, sizeof(random));
	for (int i = 0; rc == -EAGAIN && i < TRIES; i++) {
		char key[sizeof(REG_TUNNELS) + TUNNEL_NAME_MAX], *text;
		struct reg_cond same = { key, 0 };
		struct reg_change change = { key, NULL, 0 };

		rc = find_tunnel(reg, name, t, &revision, why);
		if (rc)
			break;
		hex_encode(salt, sizeof(salt), t->enroll_salt);
		user_key_hash(t->enroll_salt, secret, t->enroll_hash);
		t->enroll_until = time(NULL) + ttl_s;
		text = tunnel_format(t);
		snprintf(key, sizeof(key), REG_TUNNELS "%s", name);
		same.mod_revision = revision;
		change.value = text;
		rc = text ? registry_txn(reg, &same, 1, &change, 1, NULL) : -ENOMEM;
		if (rc)
			registry_failed(rc, why);
		free(text);
		tunnel_clear(t);
	}
	free(t);
	return rc;
}
