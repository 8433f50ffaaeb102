/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.c -- who owns an asset, and messages between homes and owners.
 *
 * The owner is the living gateway whose rendezvous score for the asset is the highest. A gateway that the registry still
 * lists but that does not answer is passed over at once, by those who see it; the registry's lease follows in seconds.
 * Should two gateways for a moment both think that they own an asset, each groups the viewers that it was told of.
 *
 * A batch's MAC says that a gateway wrote it. That it is meant for this one, now, and once, is said by what the MAC covers:
 * who sent it and to whom, a number of the sender's process, when, and a number that grows with each. Times are compared
 * with some tolerance; a process that began anew remembers no numbers, and so takes nothing from before its start.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/peers/exchange.h"
#include "http/peers/exchange_link.h"
#include "lib/hash.h"
#include "lib/log.h"

#define GATEWAYS_MAX 64
#define FORGET_MS    600000
#define CLOCKS_MS    30000 /* that clocks may differ, with what a batch takes on its way */
#define START_MS     20	   /* … of those of one rack: no process ends and begins in so short a time */
#define RUNS_KEPT    4	   /* processes of a gateway that are no more: it begins anew not oftener in twice CLOCKS_MS */

struct gateway_at {
	char node[64];	   /* "": nobody's; its link is kept for the next */
	uint64_t hash;	   /* of the node's name */
	int64_t run;	   /* of its process, as its batches say; 0: not heard so far */
	int64_t number;	   /* of its last batch */
	int64_t ended[RUNS_KEPT]; /* runs that it had before, in a ring */
	unsigned int nended;
	int64_t heard_ms;  /* CLOCK_BOOTTIME: that it was listed, or spoke */
	bool self, member; /* listed by the registry */
	bool away;	   /* did not answer the last time */
	bool was;	   /* took part in ownership before the last change */
	struct link *link; /* NULL: self, or no inside address so far */
};

struct exchange {
	struct exchange_options opt;
	pthread_rwlock_t lock; /* gateways; entries are never removed before the end, those of the long dead become another's */
	struct gateway_at at[GATEWAYS_MAX];
	size_t n;
	struct link_shared shared;
	int64_t started_ms; /* CLOCK_BOOTTIME */
	_Atomic uint64_t refused;
	bool full; /* said so */
};

static int64_t clock_ms(clockid_t which)
{
	struct timespec ts;

	clock_gettime(which, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool takes_part(const struct gateway_at *g)
{
	return g->self || (g->member && !g->away && g->link);
}

static uint64_t score(const struct gateway_at *g, const char *asset)
{
	return hash64(asset, strlen(asset), g->hash);
}

/* The owner now, or by those who took part before the last change. With the lock held; NULL only if nobody did. */
static struct gateway_at *owner_of(struct exchange *x, const char *asset, bool before)
{
	struct gateway_at *best = NULL;
	uint64_t most = 0;

	for (size_t i = 0; i < x->n; i++) {
		struct gateway_at *g = &x->at[i];
		uint64_t s = score(g, asset);

		if ((before ? g->was : takes_part(g)) && (!best || s > most)) {
			best = g;
			most = s;
		}
	}
	return best;
}

static struct gateway_at *find(struct exchange *x, const char *node)
{
	for (size_t i = 0; i < x->n; i++)
		if (!strcmp(x->at[i].node, node))
			return &x->at[i];
	return NULL;
}

/* ---- who lives ---- */

static void remember(struct exchange *x)
{
	for (size_t i = 0; i < x->n; i++)
		x->at[i].was = takes_part(&x->at[i]);
}

static void set_away(struct exchange *x, const char *node, bool away)
{
	struct gateway_at *g;

	pthread_rwlock_wrlock(&x->lock);
	g = find(x, node);
	if (g && g->away != away) {
		remember(x);
		g->away = away;
	}
	pthread_rwlock_unlock(&x->lock);
}

static void on_lost(void *arg, const char *node)
{
	struct exchange *x = arg;

	set_away(x, node, true);
	x->opt.owner_changed(x->opt.arg);
}

static void on_found(void *arg, const char *node)
{
	struct exchange *x = arg;

	log_info("gateway %s answers again", node);
	set_away(x, node, false);
	x->opt.owner_changed(x->opt.arg);
}

static void sign(void *arg, const char *way, const char *text, char mac[45])
{
	struct exchange *x = arg;

	x->opt.sign(x->opt.arg, way, text, mac);
}

static struct gateway_at *add(struct exchange *x, const char *node)
{
	struct gateway_at *g = find(x, node);

	if (g)
		return g;
	for (size_t i = 0; i < x->n && !g; i++)
		g = *x->at[i].node ? NULL : &x->at[i];
	if (!g && x->n == GATEWAYS_MAX) {
		if (!x->full)
			log_error("more than %d gateways: %s takes no part in peer-assisted delivery", GATEWAYS_MAX, node);
		x->full = true;
		return NULL;
	}
	if (!g)
		g = &x->at[x->n++];
	x->full = false;
	snprintf(g->node, sizeof(g->node), "%s", node);
	g->hash = hash64(node, strlen(node), 0x7065657273);
	g->self = !strcmp(node, x->opt.peers->node);
	g->heard_ms = clock_ms(CLOCK_BOOTTIME);
	if (g->link)
		link_set_node(g->link, node);
	return g;
}

/* Its entry is another's, when one comes. With the lock held. */
static void forget(struct gateway_at *g)
{
	struct link *link = g->link;

	if (link)
		link_set_node(link, "");
	memset(g, 0, sizeof(*g));
	g->link = link;
}

/* One of the registry's list. With the lock held; true when something changed. */
static bool note_member(struct exchange *x, const char *node, const char *inside)
{
	struct gateway_at *g = add(x, node);
	bool before = g && takes_part(g);

	if (!g || g->self)
		return false;
	if (inside && !g->link) {
		struct link_options opt = { .client = x->opt.peers->client, .from = x->opt.peers->node,
					    .node = g->node, .shared = &x->shared, .lost = on_lost, .found = on_found,
					    .sign = x->opt.sign ? sign : NULL, .arg = x };

		g->link = link_start(&opt);
	}
	if (inside && g->link)
		link_set_url(g->link, inside);
	g->member = true;
	g->heard_ms = clock_ms(CLOCK_BOOTTIME);
	return takes_part(g) != before;
}

static bool listed(const json_t *list, const char *node)
{
	const json_t *member;
	size_t i;

	json_array_foreach (list, i, member) {
		const char *name = json_string_value(json_object_get(member, "node"));

		if (name && !strcmp(name, node))
			return true;
	}
	return false;
}

/* Those that the registry has no longer; of those that it has not had for long, and that say nothing, nothing is kept. With
 * the lock held; how many. */
static size_t note_gone(struct exchange *x, const json_t *list, char (*gone)[64])
{
	int64_t now = clock_ms(CLOCK_BOOTTIME);
	size_t n = 0;

	for (size_t i = 0; i < x->n; i++) {
		struct gateway_at *g = &x->at[i];
		bool long_ago = !g->member && now - g->heard_ms >= x->opt.forget_ms;

		if (g->self || !*g->node || listed(list, g->node) || (!g->member && !long_ago))
			continue;
		memcpy(gone[n++], g->node, sizeof(gone[0])); /* the long dead once more: they may have spoken since */
		g->member = false;
		if (long_ago)
			forget(g);
		else if (g->link)
			link_set_url(g->link, ""); /* not to be looked for */
	}
	return n;
}

void exchange_tick(struct exchange *x)
{
	json_t *list = x->opt.peers->gateways(x->opt.peers->arg), *member;
	char gone[GATEWAYS_MAX][64];
	size_t ngone, i;
	bool changed = false, was[GATEWAYS_MAX];

	pthread_rwlock_wrlock(&x->lock);
	for (i = 0; i < GATEWAYS_MAX; i++)
		was[i] = i < x->n && takes_part(&x->at[i]);
	json_array_foreach (list, i, member) {
		const char *node = json_string_value(json_object_get(member, "node"));

		if (node && *node && note_member(x, node, json_string_value(json_object_get(member, "inside"))))
			changed = true;
	}
	ngone = note_gone(x, list, gone);
	for (i = 0; i < x->n; i++)
		changed = changed || (was[i] && !takes_part(&x->at[i]));
	for (i = 0; changed && i < x->n; i++)
		x->at[i].was = was[i];
	pthread_rwlock_unlock(&x->lock);
	json_decref(list);
	for (i = 0; i < ngone; i++)
		x->opt.home_gone(x->opt.arg, gone[i]);
	if (changed)
		x->opt.owner_changed(x->opt.arg);
}

/* ---- messages ---- */

void exchange_up(struct exchange *x, enum peers_up kind, const char *viewer, const char *asset, const char *text)
{
	const char *self = x->opt.peers->node;
	struct gateway_at *owner, *before;
	struct link *to = NULL, *old = NULL;
	bool mine, was_mine = false;

	pthread_rwlock_rdlock(&x->lock);
	owner = owner_of(x, asset, false);
	before = kind == UP_JOIN ? owner_of(x, asset, true) : NULL;
	mine = !owner || owner->self;
	to = mine ? NULL : owner->link;
	/* A newcomer owns it now: the former owner shall not instruct its viewers any longer. */
	if (before && before != owner) {
		was_mine = before->self;
		old = takes_part(before) ? before->link : NULL;
	}
	pthread_rwlock_unlock(&x->lock);
	if (was_mine && !mine)
		x->opt.up(x->opt.arg, UP_LEAVE, self, viewer, asset, "");
	if (old)
		link_send(old, LINK_UP, UP_LEAVE, viewer, asset, "");
	if (mine)
		x->opt.up(x->opt.arg, kind, self, viewer, asset, text);
	else
		link_send(to, LINK_UP, (int)kind, viewer, asset, text);
}

void exchange_down(struct exchange *x, const char *home, enum peers_down kind, const char *viewer, const char *text)
{
	struct gateway_at *g;
	struct link *to;

	if (!strcmp(home, x->opt.peers->node)) {
		x->opt.down(x->opt.arg, kind, viewer, text);
		return;
	}
	pthread_rwlock_rdlock(&x->lock);
	g = find(x, home);
	to = g ? g->link : NULL;
	pthread_rwlock_unlock(&x->lock);
	if (to)
		link_send(to, LINK_DOWN, (int)kind, viewer, "", text);
}

size_t exchange_order(struct exchange *x, const char *asset, char (*out)[64], size_t max)
{
	uint64_t scores[GATEWAYS_MAX];
	size_t n = 0;

	pthread_rwlock_rdlock(&x->lock);
	for (size_t i = 0; i < x->n; i++) {
		uint64_t s = score(&x->at[i], asset);
		size_t k = n;

		if (!takes_part(&x->at[i]) || (n == max && (!n || s <= scores[n - 1])))
			continue;
		if (n < max)
			n++;
		else
			k = n - 1;
		for (; k && scores[k - 1] < s; k--) {
			scores[k] = scores[k - 1];
			memcpy(out[k], out[k - 1], 64);
		}
		scores[k] = s;
		memcpy(out[k], x->at[i].node, 64);
	}
	pthread_rwlock_unlock(&x->lock);
	return n;
}

uint64_t exchange_owner(struct exchange *x, const char *asset)
{
	struct gateway_at *g;
	uint64_t hash;

	pthread_rwlock_rdlock(&x->lock);
	g = owner_of(x, asset, false);
	hash = g ? g->hash : 0;
	pthread_rwlock_unlock(&x->lock);
	return hash;
}

bool exchange_owns(struct exchange *x, const char *asset)
{
	return exchange_owner(x, asset) == x->at[0].hash; /* itself is the first, and never changes */
}

struct stamp { /* of a batch */
	const char *from, *to;
	json_int_t run, at, number;
	json_t *messages;
};

/* Is it for us, and of now? NULL, or what is wrong. */
static const char *fault_of(struct exchange *x, const struct stamp *s)
{
	int64_t now = clock_ms(CLOCK_REALTIME);

	if (strcmp(s->to, x->opt.peers->node) || !strcmp(s->from, x->opt.peers->node))
		return "it is not for this gateway";
	if (s->at > now + CLOCKS_MS || s->at < now - CLOCKS_MS)
		return "its time is not ours by more than 30 s: it was sent again, or a clock must be set (both need NTP)";
	/* in today's time: the clock may have been set since */
	if (s->at < now - (clock_ms(CLOCK_BOOTTIME) - x->started_ms) - START_MS)
		return "it is from before this gateway began";
	return NULL;
}

/* With the lock held. *anew: the sender's process is another than before. */
static const char *fault_of_number(struct gateway_at *g, const struct stamp *s, bool *anew)
{
	for (unsigned int i = 0; i < RUNS_KEPT; i++)
		if (g->ended[i] == s->run)
			return "it is of a process of that gateway that is no more";
	if (g->run == s->run && s->number <= g->number)
		return "it was taken already, or a later one";
	*anew = g->run && g->run != s->run;
	if (*anew)
		g->ended[g->nended++ % RUNS_KEPT] = g->run;
	g->run = s->run;
	g->number = s->number;
	return NULL;
}

/* Who speaks? A process that is another than before has none of the viewers that its node had. */
static const char *note_speaker(struct exchange *x, const struct stamp *s)
{
	const char *fault;
	struct gateway_at *g;
	bool strange, anew = false;

	pthread_rwlock_rdlock(&x->lock);
	g = find(x, s->from);
	strange = !g || !g->link;
	pthread_rwlock_unlock(&x->lock);
	if (strange)
		exchange_tick(x); /* it knows us before we looked: there must be a way to answer */
	pthread_rwlock_wrlock(&x->lock);
	g = add(x, s->from);
	fault = g ? fault_of_number(g, s, &anew) : "there are too many gateways";
	if (!fault)
		g->heard_ms = clock_ms(CLOCK_BOOTTIME);
	pthread_rwlock_unlock(&x->lock);
	if (anew) {
		log_info("gateway %s began anew: its viewers come again by themselves", s->from);
		x->opt.home_gone(x->opt.arg, s->from);
	}
	return fault;
}

static bool stamp_read(struct stamp *s, json_t *root)
{
	return !json_unpack(root, "{s:s, s:s, s:I, s:I, s:I, s:o}", "from", &s->from, "to", &s->to, "run", &s->run, "at", &s->at, "n",
			    &s->number, "messages", &s->messages) &&
	       *s->from && strlen(s->from) < 64 && s->run > 0 && s->number > 0 && json_is_array(s->messages);
}

/* Calls for each message of another gateway's batch that is one. */
static int take(struct exchange *x, const char *body, size_t len, enum link_queue queue)
{
	json_t *root = json_loadb(body, len, 0, NULL), *m;
	const char *fault;
	struct stamp s;
	size_t i;

	if (!stamp_read(&s, root)) {
		json_decref(root);
		return -EINVAL;
	}
	fault = fault_of(x, &s);
	if (!fault)
		fault = note_speaker(x, &s);
	if (fault) {
		x->refused++;
		log_limited(LOG_LEVEL_WARN, 6, "what gateway %s says of viewers is not taken: %s", s.from, fault);
		json_decref(root);
		return -ESTALE;
	}
	json_array_foreach (s.messages, i, m) {
		const char *viewer, *asset, *text;
		int kind;

		if (json_unpack(m, "[i, s, s, s]", &kind, &viewer, &asset, &text) || kind < 0 ||
		    strlen(viewer) != PEERS_VIEWER_LEN || strlen(asset) >= PEERS_ASSET_MAX)
			continue;
		if (queue == LINK_UP && kind < UP_KINDS)
			x->opt.up(x->opt.arg, (enum peers_up)kind, s.from, viewer, asset, text);
		else if (queue == LINK_DOWN && kind < DOWN_KINDS)
			x->opt.down(x->opt.arg, (enum peers_down)kind, viewer, text);
	}
	json_decref(root);
	return 0;
}

int exchange_take_up(struct exchange *x, const char *body, size_t len)
{
	return take(x, body, len, LINK_UP);
}

int exchange_take_down(struct exchange *x, const char *body, size_t len)
{
	return take(x, body, len, LINK_DOWN);
}

void exchange_counts(struct exchange *x, struct exchange_counts *out)
{
	*out = (struct exchange_counts){ .lost = x->shared.lost, .refused = x->refused };
}

/* ---- life ---- */

int exchange_start(struct exchange **out, const struct exchange_options *opt)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->opt = *opt;
	x->opt.forget_ms = opt->forget_ms ? opt->forget_ms : FORGET_MS;
	pthread_rwlock_init(&x->lock, NULL);
	random_bytes(&x->shared.run, sizeof(x->shared.run));
	x->shared.run = (x->shared.run & 0xffffffffffff) | 1;
	x->started_ms = clock_ms(CLOCK_BOOTTIME);
	add(x, opt->peers->node);
	remember(x);
	*out = x;
	return 0;
}

void exchange_stop(struct exchange *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->n; i++)
		link_stop(x->at[i].link);
	for (size_t i = 0; i < x->n; i++)
		link_free(x->at[i].link);
	pthread_rwlock_destroy(&x->lock);
	free(x);
}
