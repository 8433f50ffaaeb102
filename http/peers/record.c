/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c -- who is there (record.h): assets, viewers, their homes and networks; joins, silence, leaving.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/media.h"
#include "http/peers/record.h"
#include "lib/hash.h"

#define TAKEOVER_MS    2000 /* until all homes have noticed that an owner is gone: players report as often */
#define DEMAND_UNKNOWN 250000.0f /* bytes/s: 2 Mbit/s, a usual rendition, until the media list is known */

int table_add(struct table *t, struct node *n, uint64_t hash)
{
	if (!t->slots || t->n > t->mask) {
		size_t mask = t->slots ? t->mask * 2 + 1 : 15;
		struct node **slots = calloc(mask + 1, sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		for (size_t i = 0; t->slots && i <= t->mask; i++) {
			for (struct node *x = t->slots[i], *next; x; x = next) {
				next = x->next;
				x->next = slots[x->hash & mask];
				slots[x->hash & mask] = x;
			}
		}
		free(t->slots);
		t->slots = slots;
		t->mask = mask;
	}
	n->hash = hash;
	n->next = t->slots[hash & t->mask];
	t->slots[hash & t->mask] = n;
	t->n++;
	return 0;
}

void table_remove(struct table *t, struct node *n)
{
	for (struct node **at = &t->slots[n->hash & t->mask]; *at; at = &(*at)->next) {
		if (*at == n) {
			*at = n->next;
			t->n--;
			return;
		}
	}
}

struct node *table_first(const struct table *t, uint64_t hash)
{
	return t->slots ? t->slots[hash & t->mask] : NULL;
}

/* One of which no viewer is any more; -1: there is none. What still waits to be said there is for nobody. */
static int home_unused(const struct coordinator *c)
{
	uint64_t used = 0;

	for (size_t i = 0; c->viewers.slots && i <= c->viewers.mask; i++)
		for (const struct node *n = c->viewers.slots[i]; n; n = n->next)
			used |= ((const struct viewer *)n)->homes;
	return ~used ? __builtin_ctzll(~used) : -1;
}

int record_home(struct coordinator *c, const char *home)
{
	int i;

	for (i = 0; i < (int)c->nhomes; i++)
		if (!strcmp(c->homes[i], home))
			return i;
	if (strlen(home) >= sizeof(c->homes[0]))
		return -1;
	i = c->nhomes < RECORD_HOMES ? (int)c->nhomes++ : home_unused(c);
	if (i >= 0)
		strcpy(c->homes[i], home);
	return i;
}

static enum sense_mode mode_of(const struct coordinator *c, struct asset *a)
{
	for (const struct switched *s = c->switches; s; s = s->next) {
		if (!strcmp(s->asset, a->name)) {
			a->own_mode = true;
			return s->mode;
		}
	}
	return c->mode;
}

struct asset *record_asset(struct coordinator *c, const char *name, bool make, int64_t now)
{
	uint64_t hash = hash64(name, strlen(name), 0);
	struct asset *a;

	for (struct node *n = table_first(&c->assets, hash); n; n = n->next) {
		a = (struct asset *)n;
		if (n->hash == hash && !strcmp(a->name, name))
			return a;
	}
	if (!make || strlen(name) >= sizeof(a->name))
		return NULL;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	strcpy(a->name, name);
	a->groups = groups_new(&c->opt.group);
	if (!a->groups || table_add(&c->assets, &a->node, hash)) {
		groups_free(a->groups);
		free(a);
		return NULL;
	}
	sense_init(&a->sense);
	a->sense.mode = mode_of(c, a);
	a->sense.since_ms = now;
	a->grouped_ms = a->sensed_ms = now;
	a->report_ms = c->opt.report_ms;
	a->server_share = 1;
	return a;
}

void record_asset_free(struct coordinator *c, struct asset *a)
{
	while (a->nviewers)
		record_leave(c, a->viewers[a->nviewers - 1]);
	for (uint32_t i = 0; i < a->nprefixes; i++)
		free(a->prefix_list[i]);
	if (a->media && c->opt.media_put)
		c->opt.media_put(c->opt.arg, a->media);
	table_remove(&c->assets, &a->node);
	groups_free(a->groups);
	free(a->swarms.slots); /* the last viewer took the last swarm along */
	free(a->presents.slots);
	free(a->prefixes.slots);
	free(a->prefix_list);
	free(a->viewers);
	free(a->members);
	free(a->plan);
	free(a->edge_at);
	free(a->edges);
	free(a->order);
	free(a->groupings);
	free(a);
}

struct viewer *record_viewer(const struct coordinator *c, const char *id)
{
	uint64_t hash = hash64(id, strlen(id), 0);

	for (struct node *n = table_first(&c->viewers, hash); n; n = n->next)
		if (n->hash == hash && !strcmp(((struct viewer *)n)->id, id))
			return (struct viewer *)n;
	return NULL;
}

/* ---- networks ---- */
static struct prefix *prefix_get(struct asset *a, uint32_t prefix)
{
	uint64_t hash = hash64(&prefix, sizeof(prefix), 0);
	struct prefix *p, **list;

	for (struct node *n = table_first(&a->prefixes, hash); n; n = n->next)
		if (((struct prefix *)n)->prefix == prefix)
			return (struct prefix *)n;
	if (a->nprefixes == a->prefixes_room) {
		uint32_t room = a->prefixes_room ? 2 * a->prefixes_room : 16;

		list = realloc(a->prefix_list, room * sizeof(*list));
		if (!list)
			return NULL;
		a->prefix_list = list;
		a->prefixes_room = room;
	}
	p = calloc(1, sizeof(*p));
	if (!p || table_add(&a->prefixes, &p->node, hash)) {
		free(p);
		return NULL;
	}
	p->prefix = prefix;
	p->at = a->nprefixes;
	a->prefix_list[a->nprefixes++] = p;
	return p;
}

static void prefix_put(struct asset *a, struct prefix *p)
{
	if (!p || --p->viewers)
		return;
	table_remove(&a->prefixes, &p->node);
	a->prefix_list[p->at] = a->prefix_list[--a->nprefixes];
	a->prefix_list[p->at]->at = p->at;
	free(p);
}

/* ---- viewers ---- */
static bool truth(const json_t *o, const char *key, bool otherwise)
{
	const json_t *v = json_object_get(o, key);

	return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

/* What facts say beside what a viewer is. */
struct told {
	int64_t epoch; /* that it knows; 0: none */
	bool excluded;
	bool news; /* of its consent: other homes do not know … */
	bool old;  /* … this one does not */
};

/* known: it was here before, and may have taken its consent back by a report since: a home that did not hear that one tells
 * what the session began with, so a join gives it again only by the viewer's own word, and not against another such. */
static void consent_take(struct viewer *v, const json_t *facts, bool known, struct told *told)
{
	bool consent = truth(facts, "consent", false), said = truth(facts, "said", false), was = v->consent;

	v->receive = consent || truth(facts, "receive", true);
	if (said)
		v->consent = consent && (was || !v->said);
	else if (!v->said)
		v->consent = consent && (was || !known);
	v->said = v->said || said;
	told->news = known && v->consent != was;
	told->old = v->consent != consent;
}

static int facts_take(struct viewer *v, const char *text, bool known, struct told *told)
{
	json_t *facts = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *battery;
	struct prefix *p;

	if (!json_is_object(facts)) {
		json_decref(facts);
		return -EINVAL;
	}
	p = prefix_get(v->asset, (uint32_t)json_integer_value(json_object_get(facts, "prefix")));
	if (!p) {
		json_decref(facts);
		return -ENOMEM;
	}
	p->viewers++;
	prefix_put(v->asset, v->prefix);
	v->prefix = p;
	v->as = (uint32_t)json_integer_value(json_object_get(facts, "as"));
	consent_take(v, facts, known, told);
	v->barred = truth(facts, "barred", false);
	v->metered = truth(facts, "metered", false);
	v->cellular = truth(facts, "cellular", false);
	battery = json_object_get(facts, "battery");
	v->battery_low = json_is_number(battery) && json_number_value(battery) < 0.2;
	told->epoch = json_integer_value(json_object_get(facts, "epoch"));
	told->excluded = truth(facts, "excluded", false);
	json_decref(facts);
	return 0;
}

static int viewers_add(struct asset *a, struct viewer *v)
{
	if (a->nviewers == a->viewers_room) {
		uint32_t room = a->viewers_room ? 2 * a->viewers_room : 16;
		struct viewer **list = realloc(a->viewers, room * sizeof(struct viewer *));

		if (!list)
			return -ENOMEM;
		a->viewers = list;
		a->viewers_room = room;
	}
	v->all_at = a->nviewers;
	a->viewers[a->nviewers++] = v;
	return 0;
}

static void viewers_remove(struct asset *a, const struct viewer *v)
{
	a->viewers[v->all_at] = a->viewers[--a->nviewers];
	a->viewers[v->all_at]->all_at = v->all_at;
}

static struct viewer *viewer_new(struct coordinator *c, int64_t now, const char *id, struct asset *a)
{
	struct viewer *v;

	if (strlen(id) != PEERS_VIEWER_LEN)
		return NULL;
	v = calloc(1, sizeof(*v));
	if (!v)
		return NULL;
	memcpy(v->id, id, PEERS_VIEWER_LEN);
	v->asset = a;
	v->at = GROUP_NONE;
	v->number = hash64(id, PEERS_VIEWER_LEN, 1);
	v->joined_ms = v->heard_ms = v->tokens_ms = v->credit_ms = now;
	v->stability = 0.5f; /* nothing is known of it */
	v->tokens = v->answers = 1e9f; /* the first refill cuts it to the burst */
	if (viewers_add(a, v)) {
		free(v);
		return NULL;
	}
	if (table_add(&c->viewers, &v->node, hash64(id, PEERS_VIEWER_LEN, 0))) {
		viewers_remove(a, v);
		free(v);
		return NULL;
	}
	return v;
}

static void say_consent(struct coordinator *c, const struct viewer *v, int home)
{
	coordinator_say(c, home, DOWN_CONSENT, v->id, strdup(v->consent ? "{\"consent\":true}" : "{\"consent\":false}"));
}

void record_tell_consent(struct coordinator *c, const struct viewer *v, int but)
{
	for (int home = 0; home < RECORD_HOMES; home++)
		if (v->homes >> home & 1 && home != but)
			say_consent(c, v, home);
}

/* What its homes do not know of each other: that it is excluded, what it said of its consent. */
static void homes_agree(struct coordinator *c, struct viewer *v, int home, const struct told *told)
{
	static const char why[] = "this viewer was excluded for what it sent to others";
	uint64_t homes = v->homes;

	if (told->excluded && !v->excluded) {
		v->homes &= ~(1ull << home);
		record_shut_out(c, v, why);
		v->homes = homes;
	} else if (v->excluded && !told->excluded) {
		coordinator_say(c, home, DOWN_CLOSE, v->id, strdup(why));
	}
	if (told->news)
		record_tell_consent(c, v, home);
	if (told->old)
		say_consent(c, v, home);
}

void record_at(struct viewer *v, int home)
{
	v->homes |= 1ull << home;
	v->leaving &= ~(1ull << home);
}

struct viewer *record_join(struct coordinator *c, int64_t now, int home, const char *id, const char *asset, const char *facts)
{
	struct viewer *v = record_viewer(c, id);
	struct asset *a = home >= 0 && (v || c->viewers.n < c->opt.viewers_max) ? record_asset(c, asset, true, now) : NULL;
	struct told told;
	bool known;

	if (!a)
		return NULL;
	if (v && v->asset != a) {
		record_leave(c, v);
		v = NULL;
	}
	known = v;
	if (!v)
		v = viewer_new(c, now, id, a);
	if (!v)
		return NULL;
	if (facts_take(v, facts, known, &told)) {
		if (!v->prefix)
			record_leave(c, v);
		return NULL;
	}
	/* Told again after a change of owners: what it hears from now on is later than all that the other said. */
	if (told.epoch > v->epoch && told.epoch < now + EPOCH_AHEAD_MS) /* clocks differ */
		v->epoch = told.epoch;
	if (told.epoch && !known)
		v->quiet_until = now + TAKEOVER_MS;
	v->epoch = now > v->epoch ? now : v->epoch + 1;
	v->seq = 0;
	/* where it reports, there is its event stream; other gateways are known by its tracker sockets alone */
	if (!v->reported_ms || !(v->homes >> v->home & 1))
		v->home = (uint8_t)home;
	record_at(v, home);
	v->heard_ms = now;
	v->stale = v->resync = true;
	homes_agree(c, v, home, &told);
	record_place(c, v);
	return v;
}

void record_leave(struct coordinator *c, struct viewer *v)
{
	while (v->presents)
		tracker_drop(c, v->presents);
	record_unplace(v);
	viewers_remove(v->asset, v);
	prefix_put(v->asset, v->prefix);
	table_remove(&c->viewers, &v->node);
	free(v->have);
	free(v);
}

/* Who says nothing: stability falls with each report that is due, then it is out of its grouping, then forgotten. */
void record_silence(struct coordinator *c, struct asset *a, int64_t now)
{
	for (uint32_t i = 0; i < a->nviewers; i++) {
		struct viewer *v = a->viewers[i];
		int64_t quiet = now - v->heard_ms;

		tracker_expire(c, v, now);
		if (v->reported_ms && now - v->reported_ms > 3 * (int64_t)a->report_ms)
			v->stability *= 0.9f;
		if (quiet > (v->reported_ms ? SILENT_MS : SILENT_BLIND_MS)) {
			while (v->presents)
				tracker_drop(c, v->presents);
			record_unplace(v);
		}
		if (quiet > FORGOTTEN_MS) {
			record_leave(c, v);
			i--;
		}
	}
}

/* ---- the plan's inputs ---- */
bool record_may_upload(const struct coordinator *c, const struct viewer *v)
{
	return v->consent && !v->excluded && !v->barred && !v->metered && (!v->cellular || c->opt.group.cellular);
}

const struct media_rendition *record_rendition(const struct viewer *v)
{
	const struct media_asset *m = v->asset->media;

	return m && v->rendition < m->nrenditions ? &m->renditions[v->rendition] : NULL;
}

float record_demand(const struct viewer *v)
{
	const struct media_rendition *r = record_rendition(v);

	return r && r->bandwidth ? (float)r->bandwidth / 8 : DEMAND_UNKNOWN;
}

/* The rendition of a swarm, as those say who report; -1: not known. */
static int swarm_rendition(const struct swarm *s)
{
	uint32_t sum = 0, most = 0;
	int best = -1;

	for (int i = 0; i < RECORD_RENDITIONS; i++) {
		sum += s->votes[i];
		if (s->votes[i] > most) {
			most = s->votes[i];
			best = i;
		}
	}
	return most * 5 >= sum * 4 ? best : -1; /* sound's swarm is announced by players of every rendition */
}

/* What it is grouped by: asset and rendition, or the swarm when nobody says which rendition that is; of several the lowest, so
 * that all who are in the same ones have the same. */
static uint64_t key_of(const struct viewer *v)
{
	const struct present *lowest = v->presents;
	uint64_t r = v->rendition;
	bool known = v->reported_ms;

	for (const struct present *p = v->presents; p && !known; p = p->next) {
		known = swarm_rendition(p->swarm) >= 0;
		if (memcmp(p->swarm->info_hash, lowest->swarm->info_hash, TRACKER_ID_LEN) < 0)
			lowest = p;
	}
	if (!known && lowest)
		return hash64(lowest->swarm->info_hash, TRACKER_ID_LEN, v->asset->node.hash);
	return hash64(&r, sizeof(r), v->asset->node.hash);
}

void record_fill(struct coordinator *c, const struct viewer *v, struct group_viewer *g)
{
	g->id = v->number;
	g->asset = key_of(v);
	g->prefix = v->prefix->prefix;
	g->as = v->as;
	g->flags = (v->consent && !v->barred ? GROUP_CONSENT : 0) | (v->metered ? GROUP_METERED : 0) | (v->cellular ? GROUP_CELLULAR : 0) |
		   (v->battery_low ? GROUP_BATTERY_LOW : 0) | (v->unreachable ? GROUP_UNREACHABLE : 0) |
		   (v->excluded ? GROUP_EXCLUDED : 0) | (v->measured ? GROUP_MEASURED : 0);
	g->uplink = v->measured ? v->uplink : 0;
	g->demand = record_demand(v);
	g->rtt_ms = v->rtt_ms;
	g->stability = v->stability;
	g->position = v->segment;
	g->buffer_ms = v->buffer_ms;
	(void)c;
}

static int members_add(struct asset *a, struct viewer *v)
{
	struct group_viewer *g;

	if (a->nmembers == a->members_room) {
		uint32_t room = a->members_room ? 2 * a->members_room : 16;
		struct viewer **members = realloc(a->members, room * sizeof(struct viewer *));
		struct group_viewer *plan;

		if (!members)
			return -ENOMEM;
		a->members = members;
		plan = realloc(a->plan, room * sizeof(*plan));
		if (!plan)
			return -ENOMEM;
		a->plan = plan;
		a->members_room = room;
	}
	v->at = a->nmembers;
	g = &a->plan[a->nmembers];
	memset(g, 0, sizeof(*g));
	g->grouping = GROUP_NONE;
	g->role = GROUP_ALONE;
	a->members[a->nmembers++] = v;
	return 0;
}

void record_place(struct coordinator *c, struct viewer *v)
{
	bool in = v->presents && v->receive && !v->excluded;
	int voted;

	for (const struct present *p = v->presents; p && !v->reported_ms; p = p->next)
		if ((voted = swarm_rendition(p->swarm)) >= 0)
			v->rendition = (uint16_t)voted;
	if (!in) {
		record_unplace(v);
		return;
	}
	if (v->at == GROUP_NONE) {
		if (members_add(v->asset, v))
			return;
		v->asset->dirty = true;
	} else if (key_of(v) != v->asset->plan[v->at].asset) {
		v->asset->dirty = true;
	}
	record_fill(c, v, &v->asset->plan[v->at]);
}

void record_unplace(struct viewer *v)
{
	if (v->at == GROUP_NONE)
		return;
	v->asset->members[v->at] = NULL;
	v->asset->dirty = true;
	v->at = GROUP_NONE;
	v->nhold = 0;
	v->stale = true;
}
