/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_lease.c -- leases that stay: a thread keeps one alive, makes a new one when it was lost,
 * and puts its keys again; locks are keys that are claimed once and never taken back by themselves.
 *
 * `busy` serialises what talks to the registry about one lease; `lock` guards the fields and is
 * never held across a call, so that registry_lease_holds() does not wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/clock.h"
#include "lib/registry_internal.h"

#define RETRY_MS 200 /* first wait after a failure; doubles up to a third of the TTL */

struct leased_key {
	char *key, *value;
	bool lock;
	bool held; /* lock: mine, as long as the lease lives */
};

struct reg_lease {
	struct registry *reg;
	struct reg_lease *next;
	unsigned int ttl_s;
	void (*on_lost)(void *arg);
	void *arg;
	pthread_t thread;

	pthread_mutex_t busy;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t wake;
	bool stop;
	bool retired;	       /* its keys are another process's */
	int64_t id;	       /* 0: none now */
	uint64_t term;	       /* leases granted so far */
	int64_t sure_until_ms; /* the registry cannot have let the lease lapse before */
	struct leased_key *keys;
	size_t nkeys;
};

static int64_t lease_id(struct reg_lease *lease)
{
	int64_t id;

	pthread_mutex_lock(&lease->lock);
	id = lease->id;
	pthread_mutex_unlock(&lease->lock);
	return id;
}

/* The lease is gone: so are its locks. */
static void lease_forget(struct reg_lease *lease)
{
	pthread_mutex_lock(&lease->lock);
	lease->id = 0;
	lease->sure_until_ms = 0;
	for (size_t i = 0; i < lease->nkeys; i++)
		lease->keys[i].held = false;
	pthread_mutex_unlock(&lease->lock);
}

static void lease_renewed(struct reg_lease *lease, int64_t id, int64_t asked_ms)
{
	pthread_mutex_lock(&lease->lock);
	if (id != lease->id)
		lease->term++;
	lease->id = id;
	lease->sure_until_ms = asked_ms + (int64_t)lease->ttl_s * 1000;
	pthread_mutex_unlock(&lease->lock);
}

int registry_grant(struct registry *reg, int64_t ttl_s, int64_t *lease)
{
	json_t *request = json_object(), *answer = NULL;
	int64_t id;
	int rc;

	reg_set_i64(request, "TTL", ttl_s);
	rc = reg_call(reg, "/v3/lease/grant", request, 0, &answer);
	if (rc)
		return rc;
	id = reg_i64(answer, "ID");
	json_decref(answer);
	if (!id) {
		reg_error_set("the registry granted a lease without a number");
		return -EPROTO;
	}
	*lease = id;
	return 0;
}

/* ---- called with busy held ---- */

static int grant(struct reg_lease *lease)
{
	int64_t asked_ms = reg_now_ms(), id;
	int rc = registry_grant(lease->reg, lease->ttl_s, &id);

	if (!rc)
		lease_renewed(lease, id, asked_ms);
	return rc;
}

/* Puts all remembered keys but the locks. Only calls with busy held change the array. */
static int put_all(struct reg_lease *lease)
{
	bool retired;
	int rc = 0;

	pthread_mutex_lock(&lease->lock);
	retired = lease->retired;
	pthread_mutex_unlock(&lease->lock);
	for (size_t i = 0; i < lease->nkeys && !rc && !retired; i++)
		if (!lease->keys[i].lock)
			rc = registry_put(lease->reg, lease->keys[i].key, lease->keys[i].value,
					  lease_id(lease));
	return rc;
}

/* A living lease with its keys. A put that fails leaves none, so that the next try begins anew. */
static int lease_ensure(struct reg_lease *lease)
{
	int rc;

	if (lease_id(lease))
		return 0;
	rc = grant(lease);
	if (!rc)
		rc = put_all(lease);
	if (rc)
		lease_forget(lease);
	return rc;
}

static int keep_alive(struct reg_lease *lease)
{
	json_t *request = json_object(), *answer = NULL;
	int64_t asked_ms = reg_now_ms(), id = lease_id(lease), ttl;
	int rc;

	reg_set_i64(request, "ID", id);
	rc = reg_call(lease->reg, "/v3/lease/keepalive", request, 0, &answer);
	if (rc)
		return rc;
	ttl = reg_i64(json_object_get(answer, "result"), "TTL");
	json_decref(answer);
	if (ttl <= 0)
		return -ENOENT;
	lease_renewed(lease, id, asked_ms);
	return 0;
}

/* One round of the thread; *lost when keys had lapsed. */
static int renew(struct reg_lease *lease, bool *lost)
{
	int rc = lease_id(lease) ? keep_alive(lease) : -ENOENT;

	if (rc != -ENOENT)
		return rc;
	*lost = lease_id(lease) != 0;
	lease_forget(lease);
	return lease_ensure(lease);
}

/* ---- the thread ---- */

static void wait_ms(struct reg_lease *lease, int64_t ms)
{
	struct timespec until = clock_in_ms(CLOCK_MONOTONIC, ms);

	while (!lease->stop && !pthread_cond_timedwait(&lease->wake, &lease->lock, &until))
		;
}

static void *lease_run(void *arg)
{
	struct reg_lease *lease = arg;
	const int64_t period = (int64_t)lease->ttl_s * 1000 / 3;
	int64_t pause = lease->id ? period : RETRY_MS;

	pthread_mutex_lock(&lease->lock);
	while (wait_ms(lease, pause), !lease->stop) {
		bool lost = false;
		int rc;

		pthread_mutex_unlock(&lease->lock);
		pthread_mutex_lock(&lease->busy);
		rc = renew(lease, &lost);
		pthread_mutex_unlock(&lease->busy);
		if (lost && lease->on_lost)
			lease->on_lost(lease->arg);
		if (!rc)
			pause = period;
		else
			pause = pause >= period ? RETRY_MS : pause * 2;
		if (pause > period)
			pause = period;
		pthread_mutex_lock(&lease->lock);
	}
	pthread_mutex_unlock(&lease->lock);
	return NULL;
}

/* ---- public ---- */

static void lease_free(struct reg_lease *lease)
{
	for (size_t i = 0; i < lease->nkeys; i++) {
		free(lease->keys[i].key);
		free(lease->keys[i].value);
	}
	free(lease->keys);
	pthread_cond_destroy(&lease->wake);
	pthread_mutex_destroy(&lease->lock);
	pthread_mutex_destroy(&lease->busy);
	free(lease);
}

int registry_lease(struct registry *reg, struct reg_lease **out, unsigned int ttl_s,
		   void (*on_lost)(void *arg), void *arg)
{
	struct reg_lease *lease = calloc(1, sizeof(*lease));
	pthread_condattr_t attr;
	int rc;

	if (!lease)
		return -ENOMEM;
	lease->reg = reg;
	lease->ttl_s = ttl_s ? ttl_s : 1;
	lease->on_lost = on_lost;
	lease->arg = arg;
	pthread_mutex_init(&lease->busy, NULL);
	pthread_mutex_init(&lease->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&lease->wake, &attr);
	pthread_condattr_destroy(&attr);
	(void)grant(lease); /* when the registry is silent the thread goes on asking */
	rc = -pthread_create(&lease->thread, NULL, lease_run, lease);
	if (rc) {
		lease_free(lease);
		return rc;
	}
	pthread_mutex_lock(&reg->lock);
	lease->next = reg->leases;
	reg->leases = lease;
	pthread_mutex_unlock(&reg->lock);
	*out = lease;
	return 0;
}

/* Finds or adds the key and gives it the value. */
static struct leased_key *remember(struct reg_lease *lease, const char *key, const char *value,
				   bool lock)
{
	struct leased_key *k = NULL, *more;
	char *copy = strdup(value);

	if (!copy)
		return NULL;
	pthread_mutex_lock(&lease->lock);
	for (size_t i = 0; i < lease->nkeys; i++)
		if (!strcmp(lease->keys[i].key, key))
			k = &lease->keys[i];
	if (!k) {
		more = reallocarray(lease->keys, lease->nkeys + 1, sizeof(*more));
		if (more) {
			lease->keys = more;
			k = &more[lease->nkeys];
			*k = (struct leased_key){ .key = strdup(key) };
			if (k->key)
				lease->nkeys++;
			else
				k = NULL;
		}
	}
	if (k) {
		free(k->value);
		k->value = copy;
		k->lock = lock;
		copy = NULL;
	}
	pthread_mutex_unlock(&lease->lock);
	free(copy);
	return k;
}

int registry_lease_put(struct reg_lease *lease, const char *key, const char *value)
{
	int rc = -ENOMEM;

	pthread_mutex_lock(&lease->busy);
	if (remember(lease, key, value, false)) {
		rc = lease_ensure(lease);
		if (!rc)
			rc = registry_put(lease->reg, key, value, lease_id(lease));
		if (rc == -ENOENT) { /* the lease lapsed without our knowing */
			lease_forget(lease);
			rc = lease_ensure(lease);
		}
	}
	pthread_mutex_unlock(&lease->busy);
	return rc;
}

int registry_lease_withdraw(struct reg_lease *lease, const char *key)
{
	int rc;

	pthread_mutex_lock(&lease->busy);
	pthread_mutex_lock(&lease->lock);
	for (size_t i = 0; i < lease->nkeys; i++) {
		if (strcmp(lease->keys[i].key, key))
			continue;
		free(lease->keys[i].key);
		free(lease->keys[i].value);
		lease->keys[i] = lease->keys[--lease->nkeys];
		break;
	}
	pthread_mutex_unlock(&lease->lock);
	rc = registry_delete(lease->reg, key);
	pthread_mutex_unlock(&lease->busy);
	return rc == -ENOENT ? 0 : rc;
}

/* Is the key there and attached to this lease? */
static bool claimed_by(struct reg_lease *lease, const char *key, int64_t id)
{
	struct reg_kv kv;
	bool mine;

	if (registry_get(lease->reg, key, &kv))
		return false;
	mine = kv.lease == id;
	reg_kv_free(&kv);
	return mine;
}

static int claim(struct reg_lease *lease, const char *key, const char *value)
{
	struct reg_cond cond = { key, 0 };
	struct reg_change change = { key, value, 0 };
	int rc = lease_ensure(lease);

	if (rc)
		return rc;
	change.lease = lease_id(lease);
	rc = registry_txn(lease->reg, &cond, 1, &change, 1, NULL);
	if (rc == -ENOENT) {
		lease_forget(lease);
		rc = lease_ensure(lease);
		change.lease = lease_id(lease);
		if (!rc)
			rc = registry_txn(lease->reg, &cond, 1, &change, 1, NULL);
	}
	if (rc == -EAGAIN && claimed_by(lease, key, change.lease))
		rc = 0;
	return rc;
}

int registry_lease_claim(struct reg_lease *lease, const char *key, const char *value)
{
	struct leased_key *k;
	int rc = -ENOMEM;

	pthread_mutex_lock(&lease->busy);
	k = remember(lease, key, value, true);
	if (k) {
		rc = claim(lease, key, value);
		pthread_mutex_lock(&lease->lock);
		k->held = !rc;
		pthread_mutex_unlock(&lease->lock);
	}
	pthread_mutex_unlock(&lease->busy);
	return rc;
}

bool registry_lease_holds(struct reg_lease *lease, const char *key)
{
	bool held = false;

	pthread_mutex_lock(&lease->lock);
	if (lease->id && reg_now_ms() < lease->sure_until_ms)
		for (size_t i = 0; i < lease->nkeys && !held; i++)
			held = lease->keys[i].lock && lease->keys[i].held &&
			       !strcmp(lease->keys[i].key, key);
	pthread_mutex_unlock(&lease->lock);
	return held;
}

bool registry_lease_certain(struct reg_lease *lease, uint64_t *term)
{
	bool certain;

	pthread_mutex_lock(&lease->lock);
	certain = lease->id && reg_now_ms() < lease->sure_until_ms;
	if (term)
		*term = lease->term;
	pthread_mutex_unlock(&lease->lock);
	return certain;
}

void registry_lease_retire(struct reg_lease *lease)
{
	pthread_mutex_lock(&lease->lock);
	lease->retired = true;
	pthread_mutex_unlock(&lease->lock);
}

void registry_lease_end(struct reg_lease *lease, bool revoke)
{
	struct reg_lease **at;
	json_t *request, *answer = NULL;

	if (!lease)
		return;
	pthread_mutex_lock(&lease->lock);
	lease->stop = true;
	pthread_cond_signal(&lease->wake);
	pthread_mutex_unlock(&lease->lock);
	pthread_join(lease->thread, NULL);
	if (revoke && lease->id) {
		request = json_object();
		reg_set_i64(request, "ID", lease->id);
		if (!reg_call(lease->reg, "/v3/lease/revoke", request, 0, &answer))
			json_decref(answer);
	}
	pthread_mutex_lock(&lease->reg->lock);
	for (at = &lease->reg->leases; *at && *at != lease; at = &(*at)->next)
		;
	if (*at)
		*at = lease->next;
	pthread_mutex_unlock(&lease->reg->lock);
	lease_free(lease);
}

/* ---- announcing ---- */

static const struct addr_port *inside_of(const struct conf *conf, const char *role)
{
	if (!strcmp(role, "agent"))
		return &conf->agent.inside;
	if (!strcmp(role, "ns"))
		return &conf->ns.inside;
	if (!strcmp(role, "gateway"))
		return &conf->gateway.inside;
	if (!strcmp(role, "edge"))
		return &conf->edge.inside;
	return !strcmp(role, "endpoint") ? &conf->endpoint.inside : NULL;
}

int registry_announce(struct reg_lease *lease, const struct conf *conf, const char *role,
		      const char *extra_json)
{
	const struct addr_port *inside = inside_of(conf, role);
	json_t *value = extra_json ? json_loads(extra_json, 0, NULL) : json_object();
	char where[ADDR_PORT_STRLEN], key[256], *text;
	int rc = -ENOMEM;

	if (!json_is_object(value)) {
		json_decref(value);
		reg_error_set("what %s wants to announce is no JSON object", role);
		return -EINVAL;
	}
	if (inside && inside->addr.family == AF_UNSPEC)
		inside = NULL;
	json_object_set_new(value, "node", json_string(conf->node));
	json_object_set_new(value, "site", json_string(conf->site));
	json_object_set_new(value, "domain", json_string(conf->domain));
	json_object_set_new(value, "role", json_string(role));
	json_object_set_new(value, "pid", json_integer(getpid()));
	json_object_set_new(value, "inside",
			    inside ? json_string(addr_port_format(inside, where, sizeof(where)))
				   : json_null());
	json_object_set_new(value, "tls",
			    json_boolean(conf->tls.cert && inside && !addr_port_is_local(inside)));
	text = json_dumps(value, JSON_COMPACT);
	if (text &&
	    (size_t)snprintf(key, sizeof(key), REG_MEMBERS "%s/%s", role, conf->node) < sizeof(key))
		rc = registry_lease_put(lease, key, text);
	free(text);
	json_decref(value);
	return rc;
}
