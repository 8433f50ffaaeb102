/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c -- one edge of the installation, who holds lock/tunnels: puts tunnels' names into the
 * zone when every edge routes them, takes them out when they go, gives addresses free after
 * quarantine.
 *
 * A thread of its own, which waits for the registry as long as it likes; the main thread has no
 * part in it. Every write is a transaction on the lock's revision, so that an edge that was away,
 * and does not know yet that another one has the lock, changes nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/attach.h"
#include "user/tunnel/publish_model.h"

#define LOCK	 REG_LOCKS "tunnels"
#define ROUND_MS 500  /* at least so often */
#define CLAIM_MS 2000 /* between attempts to get the lock */
/* So many rounds in a row of which the watches tell nothing: the lock is lost without our knowing,
 * or the registry was restored to an earlier state. Everything is read anew. */
#define REFUSED_MAX 20

struct publish {
	struct registry *reg;
	struct reg_lease *lease;
	char node[CONF_NAME_MAX];
	char *zone;
	int64_t ttl_s;
	pthread_t thread;
	/* the thread's own */
	struct feed {
		struct publish *p;
		enum model_table table;
		struct reg_watch *watch;
	} feeds[MODEL_TABLES];
	bool watching;
	int64_t lock_revision, claimed_ms;
	unsigned int refused; /* rounds in a row in which a transaction found something changed */
	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool ending;
	bool changed;
	struct model model;
	bool synced[MODEL_TABLES];
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- hearing ---- */

static void on_event(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct feed *feed = arg;
	struct publish *p = feed->p;
	const char *key = kv ? kv->key + strlen(model_prefixes[feed->table]) : NULL;

	pthread_mutex_lock(&p->lock);
	if (event == REG_PUT)
		model_put(&p->model, feed->table, key, kv->value, kv->mod_revision, now_ms());
	else if (event == REG_DELETE)
		model_delete(&p->model, feed->table, key);
	else
		p->synced[feed->table] = true;
	p->changed = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

/* ---- the lock ---- */

static void unwatch(struct publish *p)
{
	for (size_t i = 0; i < MODEL_TABLES; i++) {
		registry_unwatch(p->feeds[i].watch);
		p->feeds[i].watch = NULL;
		p->synced[i] = false;
	}
	model_clear(&p->model);
	p->watching = false;
}

static void watch(struct publish *p)
{
	p->watching = true;
	for (size_t i = 0; i < MODEL_TABLES; i++) {
		p->feeds[i] = (struct feed){ .p = p, .table = i };
		if (registry_watch(p->reg, &p->feeds[i].watch, model_prefixes[i], on_event,
				   &p->feeds[i]))
			p->watching = false;
	}
	if (!p->watching)
		unwatch(p);
}

/* The revision under which this process has the lock; another's is never taken for it. */
static int lock_read(struct publish *p, const char *mine)
{
	struct reg_kv kv;
	int rc = registry_get(p->reg, LOCK, &kv);

	if (rc)
		return rc;
	if (strcmp(kv.value, mine))
		rc = -EAGAIN;
	else
		p->lock_revision = kv.mod_revision;
	reg_kv_free(&kv);
	return rc;
}

/* Is it this edge that publishes? */
static bool have_lock(struct publish *p)
{
	char value[CONF_NAME_MAX + 64];

	if (p->watching && p->refused < REFUSED_MAX && registry_lease_holds(p->lease, LOCK))
		return true;
	if (p->watching) {
		log_info("another edge publishes tunnels' names now, or none can");
		unwatch(p);
	}
	if (p->claimed_ms && now_ms() - p->claimed_ms < CLAIM_MS)
		return false;
	p->claimed_ms = now_ms();
	p->refused = 0;
	snprintf(value, sizeof(value), "{\"node\":\"%s\",\"pid\":%d}", p->node, (int)getpid());
	if (registry_lease_claim(p->lease, LOCK, value) || lock_read(p, value))
		return false;
	log_info("this edge publishes tunnels' names");
	watch(p);
	return p->watching;
}

/* ---- doing (without the lock) ---- */

#define RECORDS_MAX (2 * TUNNEL_HOSTNAMES_MAX) /* of one tunnel */

/* One record of a transaction: that it is as it was, and what it becomes. */
struct edited {
	char *key, *value;  /* value NULL: goes */
	const char *record; /* without the prefix */
	int64_t was;
};

static char *record_value(const struct publish *p, json_t *values, const char *tunnel)
{
	json_t *o = json_pack("{s:I,s:O,s:s}", "ttl", (json_int_t)p->ttl_s, "values", values,
			      "tunnel", tunnel);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

static void say(const struct model_action *a, const char *name)
{
	char *silent = a->silent ? json_dumps(a->silent, JSON_COMPACT) : NULL;
	char *taken = a->taken ? json_dumps(a->taken, JSON_COMPACT) : NULL;

	if (silent)
		log_warn("tunnel %s is published though these did not say that they route it: %s",
			 name, silent);
	else if (a->what)
		log_info("tunnel %s: %s", name, a->what);
	if (taken)
		log_warn("tunnel %s: these records are not of a tunnel and stay as they are: %s",
			 name, taken);
	free(silent);
	free(taken);
}

static int edit(struct edited *e, const struct model_action *a, const char *record, char *value)
{
	char key[1024];

	snprintf(key, sizeof(key), REG_RECORDS "%s", record);
	*e = (struct edited){ .key = strdup(key),
			      .value = value,
			      .record = record,
			      .was = json_integer_value(json_object_get(a->were, record)) };
	return e->key ? 0 : -ENOMEM;
}

/* Fills e; *n of them also when it fails. */
static int edit_records(const struct publish *p, const struct model_action *a, const char *name,
			struct edited e[RECORDS_MAX], size_t *n)
{
	const char *record;
	json_t *value;
	size_t i;
	int rc = 0;

	json_array_foreach (a->deletes, i, value)
		if (!rc && *n < RECORDS_MAX)
			rc = edit(&e[(*n)++], a, json_string_value(value), NULL);
	json_object_foreach (a->puts, record, value) {
		char *text = *n < RECORDS_MAX ? record_value(p, value, name) : NULL;

		if (rc || *n == RECORDS_MAX)
			free(text);
		else
			rc = edit(&e[(*n)++], a, record, text) || !text ? -ENOMEM : 0;
	}
	return rc;
}

/* What the transaction wrote, before the watch tells it. */
static void note(struct publish *p, const struct model_action *a, const char *name,
		 const struct edited *e, size_t n, int64_t revision)
{
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < n; i++) {
		if (e[i].value)
			model_put(&p->model, MODEL_RECORDS, e[i].record, e[i].value, revision,
				  now_ms());
		else
			model_delete(&p->model, MODEL_RECORDS, e[i].record);
	}
	if (a->value)
		model_put(&p->model, MODEL_PUBLISHED, name, a->value, revision, now_ms());
	else
		model_delete(&p->model, MODEL_PUBLISHED, name);
	pthread_mutex_unlock(&p->lock);
}

static int act(struct publish *p, const struct model_action *a)
{
	struct reg_cond conds[RECORDS_MAX + 3] = { { LOCK, p->lock_revision },
						   { a->guard, a->guard_revision },
						   { a->key, a->was_revision } };
	struct reg_change changes[RECORDS_MAX + 1];
	struct edited edited[RECORDS_MAX];
	const char *name = a->key ? a->key + strlen(REG_PUBLISHED) : "";
	int64_t revision = 0;
	size_t n = 0;
	int rc = edit_records(p, a, name, edited, &n);

	if (!a->key || !a->guard || (a->guard_revision && !a->value))
		rc = -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		conds[i + 3] = (struct reg_cond){ edited[i].key, edited[i].was };
		changes[i] = (struct reg_change){ edited[i].key, edited[i].value, 0 };
	}
	changes[n] = (struct reg_change){ a->key, a->value, 0 };
	if (!rc)
		rc = registry_txn(p->reg, conds, n + 3, changes, n + 1, &revision);
	if (!rc) {
		note(p, a, name, edited, n, revision);
		say(a, name);
	}
	for (size_t i = 0; i < n; i++) {
		free(edited[i].key);
		free(edited[i].value);
	}
	return rc;
}

/* Addresses whose quarantine is over: at most one a round, they are in no hurry. */
static void free_address(struct publish *p)
{
	char key[128];
	struct reg_cond conds[2] = { { LOCK, p->lock_revision }, { key, 0 } };
	struct reg_change change = { key, NULL, 0 };
	bool found;

	pthread_mutex_lock(&p->lock);
	found = model_free_address(&p->model, time(NULL), key, sizeof(key), &conds[1].mod_revision);
	pthread_mutex_unlock(&p->lock);
	if (found && !registry_txn(p->reg, conds, 2, &change, 1, NULL))
		log_info("address %s is out of quarantine", key + strlen(REG_ADDRESSES));
}

static bool all_synced(const struct publish *p)
{
	for (size_t i = 0; i < MODEL_TABLES; i++)
		if (!p->synced[i])
			return false;
	return true;
}

static void work(struct publish *p)
{
	struct model_plan plan = { 0 };
	bool ready, refused = false;
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	p->changed = false;
	ready = all_synced(p);
	if (ready)
		model_plan(&p->model, now_ms(), time(NULL), &plan);
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < plan.n && !p->ending; i++) {
		rc = act(p, &plan.actions[i]);
		refused |= rc == -EAGAIN; /* something changed: what, the watches tell */
		if (rc && rc != -EAGAIN)
			break;
	}
	p->refused = refused ? p->refused + 1 : 0;
	if (rc && rc != -EAGAIN)
		log_limited(LOG_LEVEL_WARN, 6, "cannot publish tunnels' names: %s",
			    registry_error());
	model_plan_free(&plan);
	if (ready && !rc)
		free_address(p);
}

static void wait_for_work(struct publish *p)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ROUND_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&p->lock);
	while (!p->ending && !p->changed &&
	       pthread_cond_timedwait(&p->wake, &p->lock, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&p->lock);
}

static void *run(void *arg)
{
	struct publish *p = arg;

	while (!p->ending) {
		if (have_lock(p))
			work(p);
		wait_for_work(p);
	}
	unwatch(p);
	return NULL;
}

/* ---- public ---- */

static void publish_free(struct publish *p)
{
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->wake);
	free(p->zone);
	free(p);
}

int publish_open(struct publish **out, struct edge *edge)
{
	const struct conf *conf = edge->d->conf;
	struct publish *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;
	int rc;

	if (!p)
		return -ENOMEM;
	p->reg = edge->d->registry;
	p->lease = edge->lease;
	snprintf(p->node, sizeof(p->node), "%s", conf->node);
	p->zone = conf->tunnels.zone ? strdup(conf->tunnels.zone) : NULL;
	p->ttl_s = (int64_t)(conf->tunnels.ttl_us / 1000000);
	p->model.zone = p->zone;
	p->model.timeout_ms = (int64_t)(conf->tunnels.ack_timeout_us / 1000);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	rc = -pthread_create(&p->thread, NULL, run, p);
	if (rc) {
		publish_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

void publish_close(struct publish *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	publish_free(p);
}
