/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record_show.c -- the record for people (coordinator.h): assets, and who is in which grouping. A large asset is shown in
 * pieces, between which others have the lock: who moved meanwhile may be there twice or not at all.
 */
#include <sched.h>

#include "http/peers/record.h"

#define GROUPINGS_AT_ONCE 8   /* shown, before others get the lock: under a millisecond */
#define ALONE_AT_ONCE	  512 /* viewers of no grouping */

static const char *const mode_names[] = { "auto", "on", "off" };
static const char *const group_role_names[] = { "alone", "first", "second" };

static json_t *asset_show(const struct asset *a)
{
	uint32_t role[3] = { 0 };

	for (uint32_t i = 0; i < a->nviewers; i++)
		role[instruct_role(a->viewers[i])]++;
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:I}", "asset", a->name, "state",
			 sense_names[a->sense.state], "mode", mode_names[a->sense.mode], "why", a->sense.why, "since_ms",
			 (json_int_t)a->sense.since_ms, "viewers", (int)a->nviewers, "first", (int)role[GROUP_FIRST], "second",
			 (int)role[GROUP_SECOND], "alone", (int)role[GROUP_ALONE], "groupings", (int)a->ngroupings, "demand", a->demand,
			 "egress", a->egress, "p2p", a->p2p, "stalls", (json_int_t)a->stalls);
}

json_t *coordinator_assets(struct coordinator *c)
{
	json_t *out = json_array();

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; c->assets.slots && i <= c->assets.mask; i++)
		for (struct node *n = c->assets.slots[i]; n; n = n->next)
			json_array_append_new(out, asset_show((struct asset *)n));
	pthread_mutex_unlock(&c->lock);
	return json_pack("{s:o}", "assets", out);
}

static void flag(json_t *list, bool is, const char *name)
{
	if (is)
		json_array_append_new(list, json_string(name));
}

static json_t *flags_of(const struct viewer *v)
{
	json_t *out = json_array();

	flag(out, v->consent, "consent");
	flag(out, !v->receive, "refuses");
	flag(out, v->metered, "metered");
	flag(out, v->cellular, "cellular");
	flag(out, v->battery_low, "battery-low");
	flag(out, v->unreachable, "unreachable");
	flag(out, v->excluded, "excluded");
	flag(out, v->barred, "barred");
	flag(out, v->measured, "measured");
	return out;
}

static json_t *viewer_show(struct coordinator *c, const struct viewer *v, int64_t now)
{
	const struct asset *a = v->asset;
	enum group_role role = instruct_role(v);
	const struct group_viewer *g = role == GROUP_ALONE ? NULL : &a->plan[v->at];
	json_t *helpers = json_array(), *hold = json_array();
	uint64_t have = 0;

	for (uint8_t h = 0; g && h < g->nhelpers; h++)
		if (a->members[g->helper[h]])
			json_array_append_new(helpers, json_string(a->members[g->helper[h]]->id));
	for (uint8_t i = 0; role == GROUP_FIRST && i < v->nhold; i++)
		json_array_append_new(hold, json_pack("[I, I]", (json_int_t)v->hold[i].first, (json_int_t)v->hold[i].last));
	for (uint16_t i = 0; i < v->nhave; i++)
		have += v->have[i].last - v->have[i].first + 1;
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:I, s:o, s:o, s:I, s:o, s:I}", "viewer", v->id,
			 "role", group_role_names[role], "home", c->homes[v->home], "position", (json_int_t)v->segment, "buffer_ms",
			 (json_int_t)v->buffer_ms, "up", v->up, "down_server", v->down_server, "down_peers", v->down_peers, "stalls",
			 (json_int_t)v->stalls, "uplink", (double)v->uplink, "cap", g ? (double)g->cap : 0.0, "as", (json_int_t)v->as,
			 "helpers", helpers, "hold", hold, "have", (json_int_t)have, "flags", flags_of(v), "age_ms",
			 (json_int_t)(now > v->heard_ms ? now - v->heard_ms : 0));
}

static void grouping_show(struct coordinator *c, const struct asset *a, const struct grouping *g, json_t *out)
{
	json_t *viewers = json_array();
	const struct viewer *any = NULL;

	for (uint32_t i = 0; i < g->n; i++) {
		const struct viewer *v = a->members[a->order[g->first + i]];

		if (!v)
			continue;
		any = any ? any : v;
		json_array_append_new(viewers, viewer_show(c, v, a->sensed_ms));
	}
	json_array_append_new(out, json_pack("{s:I, s:s, s:i, s:o}", "grouping", (json_int_t)g->number, "asset", a->name, "rendition",
					     any ? (int)any->rendition : 0, "viewers", viewers));
}

/* Some groupings from *next on, by number: the next ones may be others by then. True: there are more. */
static bool groupings_show(struct coordinator *c, const char *asset, uint64_t *next, json_t *out)
{
	const struct asset *a;
	uint32_t i = 0, n = 0;
	bool more;

	pthread_mutex_lock(&c->lock);
	a = record_asset(c, asset, false, 0);
	while (a && i < a->ngroupings && a->groupings[i].number < *next)
		i++;
	for (; a && i < a->ngroupings && n < GROUPINGS_AT_ONCE; i++, n++) {
		grouping_show(c, a, &a->groupings[i], out);
		*next = (uint64_t)a->groupings[i].number + 1;
	}
	more = a && i < a->ngroupings;
	pthread_mutex_unlock(&c->lock);
	return more;
}

/* Some of those who are in no grouping, from the viewer *next on. True: there are more. */
static bool alone_show(struct coordinator *c, const char *asset, uint32_t *next, json_t *out)
{
	const struct asset *a;
	bool more;

	pthread_mutex_lock(&c->lock);
	a = record_asset(c, asset, false, 0);
	for (uint32_t n = 0; a && *next < a->nviewers && n < ALONE_AT_ONCE; n++) {
		const struct viewer *v = a->viewers[(*next)++];

		if (v->at == GROUP_NONE || v->at >= a->nedged || a->plan[v->at].grouping == GROUP_NONE)
			json_array_append_new(out, viewer_show(c, v, a->sensed_ms));
	}
	more = a && *next < a->nviewers;
	pthread_mutex_unlock(&c->lock);
	return more;
}

/* Those who are in no grouping are as one without a number. */
json_t *coordinator_groups(struct coordinator *c, const char *asset)
{
	json_t *out = json_array(), *alone = json_array();
	uint64_t number = 0;
	uint32_t viewer = 0;

	/* a mutex is not fair: who waits for it must get a turn */
	while (groupings_show(c, asset, &number, out))
		sched_yield();
	while (alone_show(c, asset, &viewer, alone))
		sched_yield();
	if (json_array_size(alone))
		json_array_append_new(out, json_pack("{s:n, s:s, s:n, s:o}", "grouping", "asset", asset, "rendition", "viewers", alone));
	else
		json_decref(alone);
	return out;
}
