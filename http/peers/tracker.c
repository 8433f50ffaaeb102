/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracker.c -- the tracker that chooses (record.h): an offer goes to one of those with whom the grouping links its
 * viewer, to nobody else, and an answer only back from there.
 *
 * Clients make offers with their announces alone (five each). What cannot be used at once is kept; when two shall be
 * linked and neither has an offer here, one of them is asked for an announce at once: an announce's answer with an
 * interval of one second, unasked for, which unmodified clients obey (they set their timer by every answer).
 */
#include <stdlib.h>
#include <string.h>

#include "http/peers/record.h"
#include "lib/hash.h"

#define ANNOUNCES_RATE	2.0f /* per second of one viewer */
#define ANNOUNCES_BURST 20.0f
#define ANSWERS_RATE	20.0f
#define ANSWERS_BURST	60.0f
#define INTERVAL_MIN	10 /* s */
#define INTERVAL_MAX	60
#define ASK_MS		5000   /* between two demands for an announce at once */
#define PRESENT_MS	200000 /* without an announce, which come at least once in INTERVAL_MAX: it left the swarm */
#define BACKOFF_MAX	5      /* doublings of OFFER_WAIT_MS between tries of a pair that fails */

/* ---- links ---- */
struct link *tracker_link(const struct present *p, const struct present *other)
{
	for (uint32_t i = 0; i < p->nlinks; i++)
		if (p->links[i].other == other)
			return &p->links[i];
	return NULL;
}

struct link *tracker_link_by_id(const struct viewer *v, const uint8_t peer_id[TRACKER_ID_LEN])
{
	for (struct present *p = v->presents; p; p = p->next)
		for (uint32_t i = 0; i < p->nlinks; i++)
			if (!memcmp(p->links[i].other->peer_id, peer_id, TRACKER_ID_LEN))
				return &p->links[i];
	return NULL;
}

struct present *tracker_present(const struct viewer *v, const struct swarm *s)
{
	struct present *p = v->presents;

	while (p && p->swarm != s)
		p = p->next;
	return p;
}

static void link_cut(struct present *p, const struct present *other)
{
	struct link *l = tracker_link(p, other);

	if (l)
		*l = p->links[--p->nlinks];
}

/* Room for one more: the oldest that does not work makes it, when there are too many. */
static bool link_room(struct present *p)
{
	struct link *oldest = NULL, *links;
	uint32_t room;

	if (p->nlinks == RECORD_LINKS) {
		for (uint32_t i = 0; i < p->nlinks; i++)
			if (!p->links[i].connected && (!oldest || p->links[i].at_ms < oldest->at_ms))
				oldest = &p->links[i];
		if (!oldest)
			return false;
		link_cut(oldest->other, p);
		*oldest = p->links[--p->nlinks];
	}
	if (p->nlinks == p->links_room) {
		room = p->links_room ? 2 * p->links_room : 4;
		links = realloc(p->links, room * sizeof(*links));
		if (!links)
			return false;
		p->links = links;
		p->links_room = room;
	}
	return true;
}

/* Both sides of the pair's link, made when there is none. */
static bool link_both(struct present *p, struct present *q, struct link **of_p, struct link **of_q)
{
	struct link *l = tracker_link(p, q);

	if (!l) {
		if (!link_room(p) || !link_room(q))
			return false;
		p->links[p->nlinks++] = (struct link){ .other = q, .from_bytes = -1 };
		q->links[q->nlinks++] = (struct link){ .other = p, .from_bytes = -1 };
	}
	*of_p = tracker_link(p, q);
	*of_q = tracker_link(q, p);
	return *of_p && *of_q;
}

static void unreachable(struct viewer *v)
{
	bool now = v->tried >= 3 && !v->reached;

	if (v->unreachable != now) {
		v->unreachable = now;
		v->asset->dirty = true;
	}
}

void tracker_connected(struct viewer *v, struct link *l)
{
	struct viewer *other = l->other->viewer;

	l->connected = true;
	l->fails = 0;
	if (l->reached)
		return;
	l->reached = true;
	v->reached++;
	other->reached++;
	unreachable(v);
	unreachable(other);
}

/* May the pair be tried (again)? A link that was answered and does not work is counted here. */
static bool pair_open(struct present *p, struct present *q, int64_t now)
{
	struct link *a = tracker_link(p, q), *b = a ? tracker_link(q, p) : NULL;

	if (!a || !b)
		return true;
	if (!a->answered)
		return now - a->at_ms >= (int64_t)OFFER_WAIT_MS << (a->fails < BACKOFF_MAX ? a->fails : BACKOFF_MAX);
	if (now - a->at_ms < LINK_WAIT_MS || a->connected || b->connected)
		return false;
	if (!a->checked_ms && !b->checked_ms)
		return now - a->at_ms > LINK_BLIND_MS;
	/* a report after the wait, and it is not in it */
	if (a->checked_ms - a->at_ms < LINK_WAIT_MS / 2 && b->checked_ms - b->at_ms < LINK_WAIT_MS / 2)
		return false;
	a->answered = b->answered = false;
	if (!a->fails) { /* once a pair, so that nobody's word counts often */
		p->viewer->tried++;
		q->viewer->tried++;
		unreachable(p->viewer);
		unreachable(q->viewer);
	}
	return now - a->at_ms >= (int64_t)OFFER_WAIT_MS << (a->fails < BACKOFF_MAX ? a->fails : BACKOFF_MAX);
}

bool tracker_may_meet(const struct coordinator *c, const struct viewer *a, const struct viewer *b)
{
	if (a == b || a->asset != b->asset || a->excluded || b->excluded || !a->receive || !b->receive ||
	    a->asset->sense.mode == SENSE_OFF)
		return false;
	return record_may_upload(c, a) || record_may_upload(c, b);
}

/* ---- offers to those who shall be linked ---- */
static bool offer_send(struct coordinator *c, struct kept_offer *o, struct present *to, int64_t now)
{
	struct present *from = o->of;
	struct link *a, *b;

	if (!link_both(from, to, &a, &b))
		return false;
	if (a->at_ms) { /* tried before, in vain */
		if (!a->fails && a->mine) {
			to->viewer->tried++;
			unreachable(to->viewer);
		}
		a->fails += a->fails < 255;
	}
	a->mine = true;
	b->mine = false;
	a->at_ms = b->at_ms = now;
	a->answered = b->answered = a->connected = b->connected = false;
	a->checked_ms = b->checked_ms = 0;
	a->home = b->home = o->home;
	b->fails = a->fails;
	memcpy(a->id, o->id, sizeof(a->id));
	memcpy(b->id, o->id, sizeof(b->id));
	coordinator_say(c, to->home, DOWN_TRACK, to->viewer->id,
			tracker_write_offer(from->swarm->info_hash, from->peer_id, o->id, o->text));
	c->counts.relayed++;
	offers_free(c, o);
	return true;
}

static void ask_announce(struct coordinator *c, struct present *p, int64_t now)
{
	if (now - p->asked_ms < ASK_MS)
		return;
	p->asked_ms = now;
	coordinator_say(c, p->home, DOWN_TRACK, p->viewer->id,
			tracker_write_answer_to_announce(p->swarm->info_hash, 1, 0, p->swarm->presents));
}

/* How many pairs of that presence, for which it is to make the offer, have no link on its way. */
static unsigned int match_present(struct coordinator *c, struct present *p, int64_t now)
{
	struct viewer *v = p->viewer;
	struct asset *a = v->asset;
	unsigned int open = 0;

	for (uint32_t e = a->edge_at[v->at]; e < a->edge_at[v->at + 1]; e++) {
		struct viewer *w = a->members[a->edges[e]];
		struct present *q = w ? tracker_present(w, p->swarm) : NULL;

		if (!q || !tracker_may_meet(c, v, w) || !pair_open(p, q, now))
			continue;
		/* newest first: it has the longest to live */
		if (p->nkept && offer_send(c, p->kept[p->nkept - 1], q, now))
			continue;
		if (q->nkept && offer_send(c, q->kept[q->nkept - 1], p, now))
			continue;
		/* one side is asked for an announce: who is fed, and of two who feed the one with the lower number */
		open += a->plan[v->at].role == GROUP_SECOND || (a->plan[w->at].role != GROUP_SECOND && v->number < w->number);
	}
	return open;
}

void tracker_match(struct coordinator *c, struct viewer *v, int64_t now, bool ask)
{
	v->matched_ms = now;
	if (v->at == GROUP_NONE || v->at >= v->asset->nedged)
		return;
	for (struct present *p = v->presents; p; p = p->next)
		if (match_present(c, p, now) && ask)
			ask_announce(c, p, now);
}

/* ---- swarms and presences ---- */
static struct swarm *swarm_get(const struct coordinator *c, struct asset *a, const uint8_t info_hash[TRACKER_ID_LEN], bool make)
{
	uint64_t hash = hash64(info_hash, TRACKER_ID_LEN, c->seed);
	struct swarm *s;

	for (struct node *n = table_first(&a->swarms, hash); n; n = n->next)
		if (n->hash == hash && !memcmp(((struct swarm *)n)->info_hash, info_hash, TRACKER_ID_LEN))
			return (struct swarm *)n;
	s = make ? calloc(1, sizeof(*s)) : NULL;
	if (!s)
		return NULL;
	memcpy(s->info_hash, info_hash, TRACKER_ID_LEN);
	if (table_add(&a->swarms, &s->node, hash)) {
		free(s);
		return NULL;
	}
	return s;
}

void tracker_drop(struct coordinator *c, struct present *p)
{
	struct viewer *v = p->viewer;
	struct swarm *s = p->swarm;

	offers_clear(c, p);
	v->stale = true; /* its lists named those */
	for (uint32_t i = 0; i < p->nlinks; i++) {
		p->links[i].other->viewer->stale = true; /* its lists name it */
		link_cut(p->links[i].other, p);
	}
	for (struct present **at = &v->presents; *at; at = &(*at)->next) {
		if (*at == p) {
			*at = p->next;
			break;
		}
	}
	v->npresents--;
	if (p->voted)
		s->votes[p->voted - 1]--;
	table_remove(&v->asset->presents, &p->node);
	if (!--s->presents) {
		table_remove(&v->asset->swarms, &s->node);
		free(s);
	}
	free(p->links);
	free(p);
}

void tracker_expire(struct coordinator *c, struct viewer *v, int64_t now)
{
	for (struct present *p = v->presents, *next; p; p = next) {
		next = p->next;
		if (now - p->heard_ms > PRESENT_MS)
			tracker_drop(c, p);
	}
}

static struct present *present_new(struct coordinator *c, struct viewer *v, const struct tracker_message *m)
{
	struct present *p = v->presents, *q;
	struct swarm *s;

	if (v->npresents == RECORD_SWARMS) {
		for (q = p; q; q = q->next)
			if (q->heard_ms < p->heard_ms)
				p = q;
		tracker_drop(c, p);
	}
	s = swarm_get(c, v->asset, m->info_hash, true);
	p = s ? calloc(1, sizeof(*p)) : NULL;
	if (!p || table_add(&v->asset->presents, &p->node, hash64(m->peer_id, TRACKER_ID_LEN, c->seed))) {
		free(p);
		if (s && !s->presents) {
			table_remove(&v->asset->swarms, &s->node);
			free(s);
		}
		return NULL;
	}
	p->viewer = v;
	p->swarm = s;
	memcpy(p->peer_id, m->peer_id, sizeof(p->peer_id));
	p->next = v->presents;
	v->presents = p;
	v->npresents++;
	s->presents++;
	v->stale = true;
	return p;
}

/* The viewer's place in that swarm; a new peer_id is a new player, which knows nothing of the old one's links. */
static struct present *present_get(struct coordinator *c, struct viewer *v, const struct tracker_message *m)
{
	struct swarm *s = swarm_get(c, v->asset, m->info_hash, false);
	struct present *p = s ? tracker_present(v, s) : NULL;

	if (p && memcmp(p->peer_id, m->peer_id, sizeof(p->peer_id))) {
		tracker_drop(c, p);
		p = NULL;
	}
	return p ? p : present_new(c, v, m);
}

/* Two with the same peer_id would be taken for one by all others: what is said of one of them would count for the other. */
static bool peer_id_taken(const struct coordinator *c, const struct viewer *v, const uint8_t peer_id[TRACKER_ID_LEN])
{
	uint64_t hash = hash64(peer_id, TRACKER_ID_LEN, c->seed);

	for (struct node *n = table_first(&v->asset->presents, hash); n; n = n->next) {
		const struct present *p = (struct present *)n;

		if (n->hash == hash && p->viewer != v && !memcmp(p->peer_id, peer_id, TRACKER_ID_LEN))
			return true;
	}
	return false;
}

/* ---- messages ---- */
static unsigned int interval(const struct viewer *v, unsigned int open)
{
	uint32_t many = v->asset->nmembers / 1000;
	unsigned int s = many < INTERVAL_MIN ? INTERVAL_MIN : many > INTERVAL_MAX ? INTERVAL_MAX : many;

	if (open)
		return s;
	return 3 * s < INTERVAL_MAX ? 3 * s : INTERVAL_MAX; /* it will be asked when it is wanted */
}

/* One voice each, however often it announces. */
static void vote(struct present *p)
{
	const struct viewer *v = p->viewer;

	if (!v->reported_ms || v->rendition >= RECORD_RENDITIONS)
		return;
	if (p->voted)
		p->swarm->votes[p->voted - 1]--;
	p->voted = (uint8_t)(v->rendition + 1);
	p->swarm->votes[v->rendition]++;
}

static void take_announce(struct coordinator *c, struct viewer *v, int home, int64_t now, struct tracker_message *m)
{
	struct asset *a = v->asset;
	struct present *p;
	unsigned int open = 0, keep;

	c->counts.announces++;
	if (m->event == TRACKER_STOPPED) {
		struct swarm *s = swarm_get(c, a, m->info_hash, false);

		p = s ? tracker_present(v, s) : NULL;
		if (p && !memcmp(p->peer_id, m->peer_id, sizeof(p->peer_id)))
			tracker_drop(c, p);
		record_place(c, v);
		coordinator_say(c, home, DOWN_TRACK, v->id, tracker_write_answer_to_announce(m->info_hash, INTERVAL_MAX, 0, 0));
		return;
	}
	/* Often it was its own, before its session ended: that viewer leaves soon. Who hears nothing may not come again for long. */
	if (peer_id_taken(c, v, m->peer_id) || !(p = present_get(c, v, m))) {
		c->counts.dropped++;
		coordinator_say(c, home, DOWN_TRACK, v->id, tracker_write_answer_to_announce(m->info_hash, INTERVAL_MIN, 0, 0));
		return;
	}
	p->heard_ms = now;
	p->home = (uint8_t)home;
	vote(p);
	record_place(c, v);
	if (a->dirty && coordinator_group_cheap(a))
		coordinator_group(c, a, now, false);
	if (v->at != GROUP_NONE && a->sense.mode != SENSE_OFF) {
		for (unsigned int i = 0; i < m->noffers; i++)
			offers_keep(c, p, &m->offers[i], home, now);
		if (v->at < a->nedged)
			open = match_present(c, p, now);
		v->matched_ms = now;
		/* who is fed gets its offers in anew when they are wanted; those who feed are wanted by all who come */
		keep = a->plan[v->at].role == GROUP_SECOND ? 2 : RECORD_KEPT;
		while (p->nkept > keep)
			offers_free(c, p->kept[0]);
	}
	coordinator_say(c, home, DOWN_TRACK, v->id,
			tracker_write_answer_to_announce(m->info_hash, interval(v, open), 0, p->swarm->presents));
}

static void take_answer(struct coordinator *c, struct viewer *v, int64_t now, const struct tracker_message *m)
{
	struct swarm *s = swarm_get(c, v->asset, m->info_hash, false);
	struct present *p = s ? tracker_present(v, s) : NULL, *to;
	struct link *l = NULL, *back;

	for (uint32_t i = 0; p && i < p->nlinks && !l; i++)
		if (!memcmp(p->links[i].other->peer_id, m->to_peer_id, TRACKER_ID_LEN) && !p->links[i].mine &&
		    !p->links[i].answered && !memcmp(p->links[i].id, m->offer_id, TRACKER_ID_LEN))
			l = &p->links[i];
	back = l ? tracker_link(l->other, p) : NULL;
	/* its gateway may have gone since: who made the offer waits there alone */
	if (!back || memcmp(p->peer_id, m->peer_id, TRACKER_ID_LEN) || !tracker_may_meet(c, v, l->other->viewer) ||
	    !(l->other->viewer->homes >> l->home & 1)) {
		c->counts.dropped++;
		return;
	}
	v->answers++; /* what was asked for is no flood */
	to = l->other;
	l->answered = back->answered = true;
	l->at_ms = back->at_ms = now;
	l->checked_ms = back->checked_ms = 0;
	c->counts.answers++;
	coordinator_say(c, l->home, DOWN_TRACK, to->viewer->id, tracker_write_answer(m->info_hash, m->peer_id, m->offer_id, m->answer));
}

static void take_scrape(struct coordinator *c, struct viewer *v, int home, struct tracker_message *m)
{
	unsigned int complete[TRACKER_HASHES_MAX] = { 0 }, incomplete[TRACKER_HASHES_MAX] = { 0 };

	for (const struct present *p = v->presents; p && !m->nhashes; p = p->next)
		memcpy(m->hashes[m->nhashes++], p->swarm->info_hash, TRACKER_ID_LEN);
	for (unsigned int i = 0; i < m->nhashes; i++) {
		const struct swarm *s = swarm_get(c, v->asset, m->hashes[i], false);

		incomplete[i] = s ? s->presents : 0;
	}
	coordinator_say(c, home, DOWN_TRACK, v->id,
			tracker_write_scrape((const uint8_t (*)[20])m->hashes, complete, incomplete, m->nhashes));
}

static bool refill(struct viewer *v, int64_t now, float *of)
{
	float s = (float)(now - v->tokens_ms) / 1000;

	if (s > 0) {
		v->tokens += ANNOUNCES_RATE * s;
		v->answers += ANSWERS_RATE * s;
		v->tokens_ms = now;
	}
	if (v->tokens > ANNOUNCES_BURST)
		v->tokens = ANNOUNCES_BURST;
	if (v->answers > ANSWERS_BURST)
		v->answers = ANSWERS_BURST;
	if (*of < 1)
		return false;
	--*of;
	return true;
}

void tracker_take(struct coordinator *c, struct viewer *v, int home, int64_t now, struct tracker_message *m)
{
	v->heard_ms = now;
	record_at(v, home);
	if (v->excluded || !refill(v, now, m->action == TRACKER_ANSWER ? &v->answers : &v->tokens)) {
		c->counts.dropped++;
		return;
	}
	if (m->action == TRACKER_ANSWER)
		take_answer(c, v, now, m);
	else if (m->action == TRACKER_SCRAPE)
		take_scrape(c, v, home, m);
	else
		take_announce(c, v, home, now, m);
}
