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

#include "lib/log.h"
#include "user/tunnel/attach.h"
#include "user/tunnel/index.h"
#include "user/tunnel/publish_plan.h"

#define LOCK	 REG_LOCKS "tunnels"
#define ROUND_MS 500  /* at least so often */
#define CLAIM_MS 2000 /* between attempts to get the lock */

enum table { TUNNELS, ROUTED, EDGES, AGENTS, PUBLISHED, ADDRESSES, ATTACHED, TABLES };
static const char *const prefixes[TABLES] = {
	REG_TUNNELS,   REG_ROUTED,    REG_MEMBERS "edge/", REG_MEMBERS "agent/",
	REG_PUBLISHED, REG_ADDRESSES, REG_ATTACHMENTS,
};

struct item {
	json_t *value; /* parsed; NULL when it cannot be */
	char *text;
	int64_t revision, since_ms; /* of this revision, heard then */
	uint64_t settled;	    /* of a tunnel: nothing to do until `places` is another */
};

#define SETTLED UINT64_MAX /* until the tunnel itself changes */

struct publish {
	struct registry *reg;
	struct reg_lease *lease;
	char node[CONF_NAME_MAX];
	char *zone;
	int64_t ttl_s, timeout_ms;
	pthread_t thread;
	/* the thread's own */
	struct feed {
		struct publish *p;
		enum table table;
		struct reg_watch *watch;
	} feeds[TABLES];
	bool watching;
	int64_t lock_revision, claimed_ms;
	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool ending;
	bool changed;
	uint64_t places; /* grows when edges or attachments change */
	struct index tables[TABLES];
	bool synced[TABLES];
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- what was heard (under lock) ---- */

static struct item *item_find(const struct index *ix, const char *key)
{
	struct index_node *node = index_find(ix, key, strlen(key));

	return node ? node->value : NULL;
}

static void item_remove(struct index *ix, const char *key)
{
	struct item *item = item_find(ix, key);

	if (!item)
		return;
	index_remove(ix, key, strlen(key), item);
	json_decref(item->value);
	free(item->text);
	free(item);
}

static void item_put(struct index *ix, const char *key, const char *text, int64_t revision)
{
	struct item *item = item_find(ix, key);

	if (item && item->revision >= revision)
		return;
	if (!item) {
		item = calloc(1, sizeof(*item));
		if (!item || index_add(ix, key, strlen(key), item)) {
			free(item);
			return;
		}
	}
	json_decref(item->value);
	free(item->text);
	item->value = json_loads(text, 0, NULL);
	item->text = strdup(text);
	item->revision = revision;
	item->since_ms = now_ms();
	item->settled = 0;
}

static void table_clear(struct index *ix)
{
	struct index_node *node;

	while ((node = index_next(ix, NULL)))
		item_remove(ix, node->key);
	index_free(ix);
}

static void on_event(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct feed *feed = arg;
	struct publish *p = feed->p;
	const char *key = kv ? kv->key + strlen(prefixes[feed->table]) : NULL;

	pthread_mutex_lock(&p->lock);
	if (event == REG_PUT)
		item_put(&p->tables[feed->table], key, kv->value, kv->mod_revision);
	else if (event == REG_DELETE)
		item_remove(&p->tables[feed->table], key);
	else
		p->synced[feed->table] = true;
	if (feed->table == EDGES || feed->table == ATTACHED)
		p->places++;
	p->changed = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

/* ---- the lock ---- */

static void unwatch(struct publish *p)
{
	for (size_t i = 0; i < TABLES; i++) {
		registry_unwatch(p->feeds[i].watch);
		p->feeds[i].watch = NULL;
		table_clear(&p->tables[i]);
		p->synced[i] = false;
	}
	p->watching = false;
}

static void watch(struct publish *p)
{
	p->watching = true;
	for (size_t i = 0; i < TABLES; i++) {
		p->feeds[i] = (struct feed){ .p = p, .table = i };
		if (registry_watch(p->reg, &p->feeds[i].watch, prefixes[i], on_event, &p->feeds[i]))
			p->watching = false;
	}
	if (!p->watching)
		unwatch(p);
}

static int lock_read(struct publish *p)
{
	struct reg_kv kv;
	int rc = registry_get(p->reg, LOCK, &kv);

	if (rc)
		return rc;
	p->lock_revision = kv.mod_revision;
	reg_kv_free(&kv);
	return 0;
}

/* Is it this edge that publishes? */
static bool have_lock(struct publish *p)
{
	char value[CONF_NAME_MAX + 16];

	if (registry_lease_holds(p->lease, LOCK))
		return true;
	if (p->watching)
		log_info("another edge publishes tunnels' names now, or none can");
	if (p->watching)
		unwatch(p);
	if (p->claimed_ms && now_ms() - p->claimed_ms < CLAIM_MS)
		return false;
	p->claimed_ms = now_ms();
	snprintf(value, sizeof(value), "{\"node\":\"%s\"}", p->node);
	if (registry_lease_claim(p->lease, LOCK, value) || lock_read(p))
		return false;
	log_info("this edge publishes tunnels' names");
	watch(p);
	return p->watching;
}

/* ---- deciding (under lock) ---- */

/* One transaction. */
struct action {
	char *key, *value; /* published/NAME; value NULL: deleted */
	char *guard;	   /* tunnels/NAME, and its revision (0: must not exist) */
	int64_t guard_revision, was_revision;
	json_t *puts;	 /* ZONE/NAME/TYPE → values */
	json_t *deletes; /* ZONE/NAME/TYPE, … */
	const char *what;
};

struct plan {
	struct publish_live *live;
	size_t nlive;
	struct action *actions;
	size_t n, room;
};

static int64_t acked_by(struct publish *p, const char *role, const char *node)
{
	char key[CONF_NAME_MAX + 16];
	struct item *item;

	snprintf(key, sizeof(key), "%s/%s", role, node);
	item = item_find(&p->tables[ROUTED], key);
	return item ? json_integer_value(json_object_get(item->value, "revision")) : 0;
}

static void gather_live(struct publish *p, struct plan *plan)
{
	struct index_node *node = NULL;
	size_t max = p->tables[EDGES].n + p->tables[AGENTS].n;

	plan->live = calloc(max ? max : 1, sizeof(*plan->live));
	if (!plan->live)
		return;
	while ((node = index_next(&p->tables[EDGES], node)))
		plan->live[plan->nlive++] =
			(struct publish_live){ node->key, acked_by(p, "edge", node->key) };
	while ((node = index_next(&p->tables[AGENTS], node)))
		if (json_is_true(json_object_get(((struct item *)node->value)->value, "tunnels")))
			plan->live[plan->nlive++] =
				(struct publish_live){ node->key, acked_by(p, "agent", node->key) };
}

static struct action *action_new(struct plan *plan, const char *name, const char *what)
{
	struct action *a;
	char key[256];

	if (plan->n == plan->room) {
		size_t room = plan->room ? plan->room * 2 : 16;
		struct action *more = reallocarray(plan->actions, room, sizeof(*more));

		if (!more)
			return NULL;
		plan->actions = more;
		plan->room = room;
	}
	a = &plan->actions[plan->n];
	*a = (struct action){ .what = what };
	snprintf(key, sizeof(key), REG_PUBLISHED "%s", name);
	a->key = strdup(key);
	snprintf(key, sizeof(key), REG_TUNNELS "%s", name);
	a->guard = strdup(key);
	plan->n++;
	return a;
}

/* Addresses of edges, for a tunnel that has none of its own: those where it is attached, or all. */
static void edges_values(struct publish *p, const char *tunnel, bool attached, json_t *v4,
			 json_t *v6)
{
	struct index_node *node = NULL;
	char key[TUNNEL_NAME_MAX + CONF_NAME_MAX + 1];

	while ((node = index_next(&p->tables[EDGES], node))) {
		const json_t *member = ((struct item *)node->value)->value, *one;
		size_t i;

		snprintf(key, sizeof(key), "%s/%s", tunnel, node->key);
		if (attached && !item_find(&p->tables[ATTACHED], key))
			continue;
		json_array_foreach (json_object_get(member, "public"), i, one) {
			const char *text = json_string_value(one);

			if (text)
				json_array_append_new(strchr(text, ':') ? v6 : v4,
						      json_string(text));
		}
	}
}

static void add_address(json_t *list, const struct addr *a)
{
	char text[ADDR_STRLEN];

	if (a->family != AF_UNSPEC)
		json_array_append_new(list, json_string(addr_format(a, text, sizeof(text))));
}

static json_t *records_of(struct publish *p, const struct tunnel *t, const json_t *old)
{
	json_t *v4 = json_array(), *v6 = json_array(), *records = NULL;

	add_address(v4, &t->address);
	add_address(v6, &t->address6);
	if (!json_array_size(v4) && !json_array_size(v6)) {
		edges_values(p, t->name, true, v4, v6);
		if (!json_array_size(v4) && !json_array_size(v6) && old && json_object_size(old))
			records = json_incref((json_t *)old); /* nowhere: its names stay */
		else if (!json_array_size(v4) && !json_array_size(v6))
			edges_values(p, t->name, false, v4, v6);
	}
	if (!records)
		records = publish_records(t, p->zone, v4, v6);
	json_decref(v4);
	json_decref(v6);
	return records;
}

/* Did another tunnel publish this record meanwhile? Then it is that one's. */
static bool anothers(struct publish *p, const char *name, const char *record)
{
	struct index_node *node = NULL;

	while ((node = index_next(&p->tables[PUBLISHED], node)))
		if (strcmp(node->key, name) &&
		    json_object_get(json_object_get(((struct item *)node->value)->value, "records"),
				    record))
			return true;
	return false;
}

/* Records that are published and not wanted any more go at once. */
static bool plan_removal(struct publish *p, struct plan *plan, const char *name,
			 const struct item *is, const json_t *wanted, int64_t tunnel_revision)
{
	struct published was;
	json_t *deletes = json_array(), *left = json_object();
	struct action *a = NULL;
	const char *record;
	json_t *values;

	published_read(&was, is->value);
	json_object_foreach (was.records, record, values) {
		if (json_object_get(wanted, record))
			json_object_set(left, record, values);
		else if (!anothers(p, name, record))
			json_array_append_new(deletes, json_string(record));
	}
	/* what is another's is forgotten without being deleted */
	if (!tunnel_revision || json_object_size(left) != json_object_size(was.records))
		a = action_new(plan, name, tunnel_revision ? "hostnames went" : "removed");
	if (a) {
		a->deletes = json_incref(deletes);
		a->guard_revision = tunnel_revision;
		a->was_revision = is->revision;
		if (tunnel_revision) {
			json_t *value = published_make(was.revision, time(NULL), left,
						       was.silent ? was.silent : json_array());

			a->value = value ? json_dumps(value, JSON_COMPACT) : NULL;
			json_decref(value);
		}
	}
	json_decref(deletes);
	json_decref(left);
	return a != NULL;
}

/* The publication of one tunnel, as it is wanted now. */
static void plan_publication(struct publish *p, struct plan *plan, const char *name,
			     struct item *item, const struct item *is, json_t *records, bool own)
{
	json_t *silent = NULL, *value;
	struct published was;
	struct action *a;
	bool newer;

	published_read(&was, is ? is->value : NULL);
	newer = was.revision < item->revision;
	if (!publish_may(item->revision, plan->live, plan->nlive, now_ms() - item->since_ms,
			 newer ? p->timeout_ms : 0, &silent))
		goto out;
	/* who was not alive when it was published is not silent */
	if (!newer && !json_array_size(was.silent))
		json_array_clear(silent);
	if (!newer && json_equal(records, was.records) &&
	    json_array_size(silent) == json_array_size(was.silent)) {
		if (!json_array_size(silent))
			item->settled = own ? SETTLED : p->places;
		goto out;
	}
	a = action_new(plan, name, newer ? "published" : "published anew");
	if (!a)
		goto out;
	value = published_make(item->revision, time(NULL), records, silent);
	a->value = value ? json_dumps(value, JSON_COMPACT) : NULL;
	a->puts = json_incref(records);
	a->guard_revision = item->revision;
	a->was_revision = is ? is->revision : 0;
	json_decref(value);
	if (newer && json_array_size(silent)) {
		char *text = json_dumps(silent, JSON_COMPACT);

		log_warn("tunnel %s is published though these did not say that they route it: %s",
			 name, text ? text : "?");
		free(text);
	}
out:
	json_decref(silent);
}

static void plan_tunnel(struct publish *p, struct plan *plan, const char *name, struct item *item)
{
	struct item *is = item_find(&p->tables[PUBLISHED], name);
	struct published was;
	json_t *records;
	struct tunnel t;
	bool own;

	if (item->settled == SETTLED || item->settled == p->places)
		return;
	published_read(&was, is ? is->value : NULL);
	if (tunnel_parse(&t, item->text))
		return;
	own = t.address.family != AF_UNSPEC || t.address6.family != AF_UNSPEC;
	records = records_of(p, &t, was.records);
	tunnel_clear(&t);
	/* removal first, the rest in the next round */
	if (!is || !plan_removal(p, plan, name, is, records, item->revision))
		plan_publication(p, plan, name, item, is, records, own);
	json_decref(records);
}

static bool all_synced(const struct publish *p)
{
	for (size_t i = 0; i < TABLES; i++)
		if (!p->synced[i])
			return false;
	return true;
}

static void make_plan(struct publish *p, struct plan *plan)
{
	struct index_node *node = NULL;

	gather_live(p, plan);
	if (!plan->live)
		return;
	while ((node = index_next(&p->tables[PUBLISHED], node)))
		if (!item_find(&p->tables[TUNNELS], node->key))
			plan_removal(p, plan, node->key, node->value, NULL, 0);
	node = NULL;
	while ((node = index_next(&p->tables[TUNNELS], node)))
		plan_tunnel(p, plan, node->key, node->value);
}

/* ---- doing (without the lock) ---- */

#define CHANGES_MAX 120 /* etcd takes 128 operations a transaction */

static char *record_key(const char *record)
{
	char key[1024];

	snprintf(key, sizeof(key), REG_RECORDS "%s", record);
	return strdup(key);
}

static char *record_value(const struct publish *p, json_t *values)
{
	json_t *o = json_pack("{s:I,s:O}", "ttl", (json_int_t)p->ttl_s, "values", values);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

static int act(struct publish *p, const struct action *a)
{
	struct reg_cond conds[] = { { LOCK, p->lock_revision },
				    { a->guard, a->guard_revision },
				    { a->key, a->was_revision } };
	struct reg_change changes[CHANGES_MAX];
	int64_t revision = 0;
	size_t n = 0, i;
	const char *record;
	json_t *value;
	int rc = 0;

	json_array_foreach (a->deletes, i, value)
		if (n < CHANGES_MAX - 1)
			changes[n++] = (struct reg_change){ record_key(json_string_value(value)),
							    NULL, 0 };
	json_object_foreach (a->puts, record, value)
		if (n < CHANGES_MAX - 1)
			changes[n++] = (struct reg_change){ record_key(record),
							    record_value(p, value), 0 };
	for (i = 0; i < n; i++)
		if (!changes[i].key || (!changes[i].value && !json_array_size(a->deletes)))
			rc = -ENOMEM;
	if (!a->key || !a->guard || (a->guard_revision && !a->value))
		rc = -ENOMEM;
	changes[n] = (struct reg_change){ a->key, a->value, 0 };
	if (!rc)
		rc = registry_txn(p->reg, conds, 3, changes, n + 1, &revision);
	for (i = 0; i < n; i++) {
		free((char *)changes[i].key);
		free((char *)changes[i].value);
	}
	if (rc)
		return rc;
	pthread_mutex_lock(&p->lock);
	/* before the watch tells it */
	if (a->value)
		item_put(&p->tables[PUBLISHED], a->key + strlen(REG_PUBLISHED), a->value, revision);
	else
		item_remove(&p->tables[PUBLISHED], a->key + strlen(REG_PUBLISHED));
	pthread_mutex_unlock(&p->lock);
	log_info("tunnel %s: %s", a->key + strlen(REG_PUBLISHED), a->what);
	return 0;
}

static void plan_free(struct plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		free(plan->actions[i].key);
		free(plan->actions[i].value);
		free(plan->actions[i].guard);
		json_decref(plan->actions[i].puts);
		json_decref(plan->actions[i].deletes);
	}
	free(plan->actions);
	free(plan->live);
}

/* Addresses whose quarantine is over: at most one a round, they are in no hurry. */
static void free_address(struct publish *p)
{
	char key[sizeof(REG_ADDRESSES) + ADDR_STRLEN] = "";
	struct index_node *node = NULL;
	struct reg_cond conds[2] = { { LOCK, p->lock_revision }, { key, 0 } };
	struct reg_change change = { key, NULL, 0 };

	pthread_mutex_lock(&p->lock);
	while ((node = index_next(&p->tables[ADDRESSES], node)) && !*key) {
		const struct item *item = node->value;
		const json_t *until = json_object_get(item->value, "until");

		if (!json_is_integer(until) || json_integer_value(until) > time(NULL) ||
		    strlen(node->key) >= ADDR_STRLEN)
			continue;
		snprintf(key, sizeof(key), REG_ADDRESSES "%s", node->key);
		conds[1].mod_revision = item->revision;
	}
	pthread_mutex_unlock(&p->lock);
	if (*key && !registry_txn(p->reg, conds, 2, &change, 1, NULL))
		log_info("address %s is out of quarantine", key + strlen(REG_ADDRESSES));
}

static void work(struct publish *p)
{
	struct plan plan = { 0 };
	bool ready;
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	p->changed = false;
	ready = all_synced(p);
	if (ready)
		make_plan(p, &plan);
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < plan.n && !p->ending; i++) {
		rc = act(p, &plan.actions[i]);
		if (rc == -EAGAIN) /* something changed: what, the watches tell */
			lock_read(p);
		else if (rc)
			break;
	}
	if (rc && rc != -EAGAIN)
		log_limited(LOG_LEVEL_WARN, 6, "cannot publish tunnels' names: %s",
			    registry_error());
	plan_free(&plan);
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
	p->places = 1;
	snprintf(p->node, sizeof(p->node), "%s", conf->node);
	p->zone = conf->tunnels.zone ? strdup(conf->tunnels.zone) : NULL;
	p->ttl_s = (int64_t)(conf->tunnels.ttl_us / 1000000);
	p->timeout_ms = (int64_t)(conf->tunnels.ack_timeout_us / 1000);
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
