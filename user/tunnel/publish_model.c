/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish_model.c -- what the publisher heard, and what it decides to do about it (see
 * publish_model.h).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/publish_model.h"
#include "user/tunnel/publish_plan.h"

const char *const model_prefixes[MODEL_TABLES] = {
	REG_TUNNELS,   REG_ROUTED,    REG_MEMBERS "edge/", REG_MEMBERS "agent/",
	REG_PUBLISHED, REG_ADDRESSES, REG_ATTACHMENTS,	   REG_RECORDS,
};

struct item {
	json_t *value; /* parsed; NULL when it cannot be */
	char *text;
	int64_t revision, since_ms; /* of this revision, heard then */
	uint64_t settled; /* of a tunnel: nothing to do as long as `places` + 1 is this; 0: not yet
			   */
};

#define SETTLED UINT64_MAX /* until the tunnel itself changes */

/* What one round needs. */
struct round {
	struct model *m;
	struct model_plan *plan;
	struct publish_live *live;
	size_t nlive;
	int64_t now_ms, date;
};

/* ---- what was heard ---- */

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

static void item_put(struct index *ix, const char *key, const char *text, int64_t revision,
		     int64_t now_ms)
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
	item->since_ms = now_ms;
	item->settled = 0;
}

static void table_clear(struct index *ix)
{
	struct index_node *node;

	while ((node = index_next(ix, NULL)))
		item_remove(ix, node->key);
	index_free(ix);
}

/* A record that no tunnel made: somebody's own, which is left alone whatever tunnels want. */
static bool is_taken(const struct model *m, const char *record)
{
	const struct item *item = item_find(&m->tables[MODEL_RECORDS], record);

	return item && !json_is_string(json_object_get(item->value, "tunnel"));
}

/* A name that somebody took, or gave up, may be what a tunnel waits for. */
static void look_again(struct model *m)
{
	struct index_node *node = NULL;

	while ((node = index_next(&m->tables[MODEL_TUNNELS], node)))
		((struct item *)node->value)->settled = 0;
}

void model_put(struct model *m, enum model_table table, const char *key, const char *text,
	       int64_t revision, int64_t now_ms)
{
	bool taken = table == MODEL_RECORDS && is_taken(m, key);

	item_put(&m->tables[table], key, text, revision, now_ms);
	m->places += table == MODEL_EDGES || table == MODEL_ATTACHED;
	if (taken || (table == MODEL_RECORDS && is_taken(m, key)))
		look_again(m);
}

void model_delete(struct model *m, enum model_table table, const char *key)
{
	bool taken = table == MODEL_RECORDS && is_taken(m, key);

	item_remove(&m->tables[table], key);
	m->places += table == MODEL_EDGES || table == MODEL_ATTACHED;
	if (taken)
		look_again(m);
}

void model_clear(struct model *m)
{
	for (size_t i = 0; i < MODEL_TABLES; i++)
		table_clear(&m->tables[i]);
	m->places++;
}

/* ---- deciding ---- */

static int64_t acked_by(const struct model *m, const char *role, const char *node)
{
	char key[CONF_NAME_MAX + 16];
	struct item *item;

	snprintf(key, sizeof(key), "%s/%s", role, node);
	item = item_find(&m->tables[MODEL_ROUTED], key);
	return item ? json_integer_value(json_object_get(item->value, "revision")) : 0;
}

static void gather_live(struct round *r)
{
	const struct model *m = r->m;
	struct index_node *node = NULL;
	size_t max = m->tables[MODEL_EDGES].n + m->tables[MODEL_AGENTS].n;

	r->live = calloc(max ? max : 1, sizeof(*r->live));
	if (!r->live)
		return;
	while ((node = index_next(&m->tables[MODEL_EDGES], node)))
		r->live[r->nlive++] =
			(struct publish_live){ node->key, acked_by(m, "edge", node->key) };
	while ((node = index_next(&m->tables[MODEL_AGENTS], node)))
		if (json_is_true(json_object_get(((struct item *)node->value)->value, "tunnels")))
			r->live[r->nlive++] =
				(struct publish_live){ node->key, acked_by(m, "agent", node->key) };
}

static struct model_action *action_new(struct model_plan *plan, const char *name, const char *what)
{
	struct model_action *a;
	char key[256];

	if (plan->n == plan->room) {
		size_t room = plan->room ? plan->room * 2 : 16;
		struct model_action *more = reallocarray(plan->actions, room, sizeof(*more));

		if (!more)
			return NULL;
		plan->actions = more;
		plan->room = room;
	}
	a = &plan->actions[plan->n];
	*a = (struct model_action){ .what = what };
	snprintf(key, sizeof(key), REG_PUBLISHED "%s", name);
	a->key = strdup(key);
	snprintf(key, sizeof(key), REG_TUNNELS "%s", name);
	a->guard = strdup(key);
	plan->n++;
	return a;
}

/* In order and once, so that the same addresses are the same list. */
static void add_value(json_t *list, const char *text)
{
	size_t i = 0;
	int order = 1;

	while (i < json_array_size(list) &&
	       (order = strcmp(json_string_value(json_array_get(list, i)), text)) < 0)
		i++;
	if (i == json_array_size(list) || order)
		json_array_insert_new(list, i, json_string(text));
}

/* Addresses of edges, for a tunnel that has none of its own: those where it is attached, or all. */
static void edges_values(const struct model *m, const char *tunnel, bool attached, json_t *v4,
			 json_t *v6)
{
	struct index_node *node = NULL;
	char key[TUNNEL_NAME_MAX + CONF_NAME_MAX + 1];

	while ((node = index_next(&m->tables[MODEL_EDGES], node))) {
		const json_t *member = ((struct item *)node->value)->value, *one;
		size_t i;

		snprintf(key, sizeof(key), "%s/%s", tunnel, node->key);
		if (attached && !item_find(&m->tables[MODEL_ATTACHED], key))
			continue;
		json_array_foreach (json_object_get(member, "public"), i, one) {
			const char *text = json_string_value(one);

			if (text)
				add_value(strchr(text, ':') ? v6 : v4, text);
		}
	}
}

static void add_address(json_t *list, const struct addr *a)
{
	char text[ADDR_STRLEN];

	if (a->family != AF_UNSPEC)
		json_array_append_new(list, json_string(addr_format(a, text, sizeof(text))));
}

static json_t *records_of(const struct model *m, const struct tunnel *t, const json_t *old)
{
	json_t *v4 = json_array(), *v6 = json_array(), *records = NULL;

	add_address(v4, &t->address);
	add_address(v6, &t->address6);
	if (!json_array_size(v4) && !json_array_size(v6)) {
		edges_values(m, t->name, true, v4, v6);
		if (!json_array_size(v4) && !json_array_size(v6) && old && json_object_size(old))
			records = json_incref((json_t *)old); /* nowhere: its names stay */
		else if (!json_array_size(v4) && !json_array_size(v6))
			edges_values(m, t->name, false, v4, v6);
	}
	if (!records)
		records = publish_records(t, m->zone, v4, v6);
	json_decref(v4);
	json_decref(v6);
	return records;
}

/* What of it may be published; the names of the rest into taken. */
static json_t *without_taken(const struct model *m, json_t *records, json_t *taken)
{
	json_t *left = json_object(), *values;
	const char *record;

	json_object_foreach (records, record, values) {
		if (is_taken(m, record))
			json_array_append_new(taken, json_string(record));
		else
			json_object_set(left, record, values);
	}
	json_decref(records);
	return left;
}

/* Is the record still the one that this tunnel made? */
static bool is_own(const struct model *m, const char *name, const char *record)
{
	const struct item *item = item_find(&m->tables[MODEL_RECORDS], record);
	const char *owner = item ? json_string_value(json_object_get(item->value, "tunnel")) : NULL;

	return owner && !strcmp(owner, name);
}

/* As what the record was seen when this was decided. */
static void note_revision(const struct model *m, struct model_action *a, const char *record)
{
	const struct item *item = item_find(&m->tables[MODEL_RECORDS], record);

	if (!a->were)
		a->were = json_object();
	json_object_set_new(a->were, record, json_integer(item ? item->revision : 0));
}

/* Records that are published and not wanted any more go at once. */
static bool plan_removal(struct round *r, const char *name, const struct item *is,
			 const json_t *wanted, int64_t tunnel_revision)
{
	struct published was;
	json_t *deletes = json_array(), *left = json_object();
	struct model_action *a = NULL;
	const char *record;
	json_t *values;
	size_t i;

	published_read(&was, is->value);
	json_object_foreach (was.records, record, values) {
		if (json_object_get(wanted, record))
			json_object_set(left, record, values);
		else if (is_own(r->m, name, record))
			json_array_append_new(deletes, json_string(record));
	}
	/* what is another's is forgotten without being deleted */
	if (!tunnel_revision || json_object_size(left) != json_object_size(was.records))
		a = action_new(r->plan, name, tunnel_revision ? "hostnames went" : "removed");
	if (a) {
		a->deletes = json_incref(deletes);
		json_array_foreach (deletes, i, values)
			note_revision(r->m, a, json_string_value(values));
		a->guard_revision = tunnel_revision;
		a->was_revision = is->revision;
		if (tunnel_revision) {
			json_t *value =
				published_make(was.revision, r->date, left,
					       was.silent ? was.silent : json_array(), was.taken);

			a->value = value ? json_dumps(value, JSON_COMPACT) : NULL;
			json_decref(value);
		}
	}
	json_decref(deletes);
	json_decref(left);
	return a != NULL;
}

/* Who was not alive when it was published is not silent. */
static void keep_named(json_t *silent, const json_t *before)
{
	for (size_t i = json_array_size(silent); i-- > 0;) {
		const json_t *one;
		bool named = false;
		size_t k;

		json_array_foreach (before, k, one)
			named |= json_equal(one, json_array_get(silent, i)) == 1;
		if (!named)
			json_array_remove(silent, i);
	}
}

/* The publication of one tunnel, as it is wanted now. */
static void plan_publication(struct round *r, const char *name, struct item *item,
			     const struct item *is, json_t *records, json_t *taken, bool own)
{
	json_t *silent = NULL, *value;
	const char *record;
	struct published was;
	struct model_action *a;
	bool newer;

	published_read(&was, is ? is->value : NULL);
	newer = was.revision < item->revision;
	if (!publish_may(item->revision, r->live, r->nlive, r->now_ms - item->since_ms,
			 newer ? r->m->timeout_ms : 0, &silent))
		goto out;
	if (!newer)
		keep_named(silent, was.silent);
	if (!newer && json_equal(records, was.records) &&
	    json_array_size(silent) == json_array_size(was.silent)) {
		if (!json_array_size(silent))
			item->settled = own ? SETTLED : r->m->places + 1;
		goto out;
	}
	/* the same names again are no news */
	a = action_new(r->plan, name, json_equal(records, was.records) ? NULL : "published");
	if (!a)
		goto out;
	value = published_make(item->revision, r->date, records, silent, taken);
	a->value = value ? json_dumps(value, JSON_COMPACT) : NULL;
	a->puts = json_incref(records);
	a->guard_revision = item->revision;
	a->was_revision = is ? is->revision : 0;
	json_decref(value);
	json_object_foreach (records, record, value)
		note_revision(r->m, a, record);
	a->taken = json_array_size(taken) ? json_incref(taken) : NULL;
	a->silent = newer && json_array_size(silent) ? json_incref(silent) : NULL;
out:
	json_decref(silent);
}

static void plan_tunnel(struct round *r, const char *name, struct item *item)
{
	struct item *is = item_find(&r->m->tables[MODEL_PUBLISHED], name);
	struct published was;
	json_t *records, *taken;
	struct tunnel t;
	bool own;

	if (item->settled == SETTLED || item->settled == r->m->places + 1)
		return;
	published_read(&was, is ? is->value : NULL);
	if (tunnel_parse(&t, item->text))
		return;
	own = t.address.family != AF_UNSPEC || t.address6.family != AF_UNSPEC;
	taken = json_array();
	records = without_taken(r->m, records_of(r->m, &t, was.records), taken);
	tunnel_clear(&t);
	/* removal first, the rest in the next round */
	if (!is || !plan_removal(r, name, is, records, item->revision))
		plan_publication(r, name, item, is, records, taken, own);
	json_decref(records);
	json_decref(taken);
}

void model_plan(struct model *m, int64_t now_ms, int64_t date, struct model_plan *plan)
{
	struct round r = { .m = m, .plan = plan, .now_ms = now_ms, .date = date };
	struct index_node *node = NULL;

	*plan = (struct model_plan){ 0 };
	gather_live(&r);
	if (!r.live)
		return;
	while ((node = index_next(&m->tables[MODEL_PUBLISHED], node)))
		if (!item_find(&m->tables[MODEL_TUNNELS], node->key))
			plan_removal(&r, node->key, node->value, NULL, 0);
	while ((node = index_next(&m->tables[MODEL_TUNNELS], node)))
		plan_tunnel(&r, node->key, node->value);
	free(r.live);
}

void model_plan_free(struct model_plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		free(plan->actions[i].key);
		free(plan->actions[i].value);
		free(plan->actions[i].guard);
		json_decref(plan->actions[i].puts);
		json_decref(plan->actions[i].deletes);
		json_decref(plan->actions[i].silent);
		json_decref(plan->actions[i].were);
		json_decref(plan->actions[i].taken);
	}
	free(plan->actions);
}

bool model_free_address(const struct model *m, int64_t date, char *key, size_t len,
			int64_t *revision)
{
	struct index_node *node = NULL;

	while ((node = index_next(&m->tables[MODEL_ADDRESSES], node))) {
		const struct item *item = node->value;
		const json_t *until = json_object_get(item->value, "until");

		if (!json_is_integer(until) || json_integer_value(until) > date ||
		    (size_t)snprintf(key, len, REG_ADDRESSES "%s", node->key) >= len)
			continue;
		*revision = item->revision;
		return true;
	}
	return false;
}
