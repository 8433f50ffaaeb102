/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch_hold.c -- segments in memory, and which one is fetched next, and from whom. All under the viewer's lock.
 *
 * What is played comes first, in its order, as far as the buffer reaches; then what the instruction asks to hold. Peers
 * are asked while there is time; the server when time runs out, or when nobody else will have it soon.
 */
#include "tools/media_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"

#define URGENT_MS 6000 /* before it is played, at most: then the server is asked also for what peers could give */
#define LATE_MS	  2500 /* … also when a peer is sending it */
#define PER_PEER  2    /* requests to one peer at once */
#define HEDGE_MS  1200 /* a peer that did not give what is urgent in so long: another is asked too */
#define RATE_UNSEEN 200e3

const char *const viewer_states[4] = { "calm", "strained", "outage", NULL };
const char *const viewer_roles[4] = { "alone", "first", "second", NULL };
const char *const viewer_sources[4] = { "both", "server", "peers", NULL };

/* ---- bytes ----------------------------------------------------------------------------------- */

struct viewer_bytes *viewer_bytes_new(size_t len)
{
	struct viewer_bytes *b = malloc(sizeof(*b) + len);

	if (b) {
		b->refs = 1;
		b->len = len;
	}
	return b;
}

struct viewer_bytes *viewer_bytes_get(struct viewer_bytes *b)
{
	__atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
	return b;
}

void viewer_bytes_put(struct viewer_bytes *b)
{
	if (b && !__atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL))
		free(b);
}

/* ---- what is there --------------------------------------------------------------------------- */

struct viewer_segment *viewer_segment(struct viewer *v, uint32_t rendition, uint32_t n)
{
	struct viewer_rendition *r = rendition < v->nrenditions ? &v->renditions[rendition] : NULL;

	if (!r || !r->nsegments || n < r->segments[0].n || n - r->segments[0].n >= r->nsegments)
		return NULL;
	return &r->segments[n - r->segments[0].n];
}

size_t viewer_at(const struct viewer *v, int64_t ms)
{
	const struct viewer_rendition *r = &v->renditions[v->mine];
	size_t low = 0, high = r->nsegments;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (r->segments[middle].start_ms + r->segments[middle].duration_ms <= ms)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int64_t viewer_buffered(const struct viewer *v)
{
	const struct viewer_rendition *r = &v->renditions[v->mine];
	int64_t end = v->pos_ms;

	for (size_t i = viewer_at(v, v->pos_ms); i < r->nsegments && r->segments[i].have; i++)
		end = r->segments[i].start_ms + r->segments[i].duration_ms;
	return end - v->pos_ms;
}

size_t viewer_have(const struct viewer *v, struct viewer_range *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < v->nrenditions; i++) {
		const struct viewer_rendition *r = &v->renditions[i];

		for (size_t k = 0; k < r->nsegments; k++) {
			const struct viewer_segment *s = &r->segments[k];

			if (!s->have)
				continue;
			if (k && s[-1].have && n)
				out[n - 1].last = s->n;
			else if (n < max)
				out[n++] = (struct viewer_range){ (uint32_t)i, s->n, s->n };
			else
				return n;
		}
	}
	return n;
}

/* Over the limit: what was played, the earliest first. */
static void forget_played(struct viewer *v)
{
	struct viewer_rendition *r = &v->renditions[v->mine];
	size_t end = viewer_at(v, v->pos_ms);

	for (size_t i = 0; i < end && v->stored > VIEWER_MEMORY; i++) {
		struct viewer_segment *s = &r->segments[i];

		if (!s->have)
			continue;
		v->stored -= s->have->len;
		viewer_bytes_put(s->have);
		s->have = NULL;
	}
}

int viewer_store(struct viewer *v, struct viewer_segment *s, struct viewer_bytes *b)
{
	uint8_t digest[32];

	sha256_once(b->data, b->len, digest);
	if (b->len != s->bytes || memcmp(digest, s->sha256, sizeof(digest)))
		return -EBADMSG;
	if (!s->have) {
		s->have = viewer_bytes_get(b);
		v->stored += b->len;
		forget_played(v);
		pthread_cond_broadcast(&v->changed);
	}
	return 0;
}

/* ---- who could give it ----------------------------------------------------------------------- */

static bool gives(const struct viewer *v, const struct viewer_peer *p, size_t rendition, size_t index, int64_t now)
{
	return p && !p->bad && *p->address && p->have && rendition == v->mine && p->have[index] && p->again <= now;
}

/* When would it be here, by what it gave lately? In some unit. */
static double wait_of(const struct viewer_peer *p)
{
	return (double)(p->busy + 1) / (p->rate > 0 ? p->rate : RATE_UNSEEN);
}

static bool better(const struct viewer *v, const struct viewer_peer *p, const struct viewer_peer *best, size_t index, bool free_now)
{
	const struct viewer_segment *s = &v->renditions[v->mine].segments[index];

	return (!free_now || (p->busy < PER_PEER && (!s->by_peers || p != s->asked))) && (!best || wait_of(p) < wait_of(best));
}

/* Of the instruction's `from`; of all when it names none, or, outside the calm, none that has it. free_now: who can be
 * asked for it at once, and is not being asked. */
static struct viewer_peer *find_giver(struct viewer *v, size_t rendition, size_t index, int64_t now, bool free_now)
{
	const struct viewer_instruction *told = viewer_told(v);
	struct viewer_peer *best = NULL;

	for (size_t i = 0; i < told->from.n; i++) {
		struct viewer_peer *p = viewer_peer_by_id(v, told->from.id[i]);

		if (gives(v, p, rendition, index, now) && better(v, p, best, index, free_now))
			best = p;
	}
	if (best || (told->from.n && told->state == VIEWER_CALM))
		return best;
	for (size_t i = 0; i < v->npeers; i++) {
		struct viewer_peer *p = &v->peers[i];

		if (gives(v, p, rendition, index, now) && better(v, p, best, index, free_now))
			best = p;
	}
	return best;
}

/* ---- what is fetched next -------------------------------------------------------------------- */

static int64_t urgent_ms(const struct viewer *v)
{
	return v->opt.buffer_ms / 2 < URGENT_MS ? v->opt.buffer_ms / 2 : URGENT_MS;
}

/* Shall the server be asked for what is played so far ahead? */
static bool server_plays(struct viewer *v, const struct viewer_segment *s, size_t index, int64_t now)
{
	const struct viewer_instruction *told = viewer_told(v);
	int64_t ahead = s->start_ms - v->pos_ms;
	bool giver;

	if (s->have || s->by_server || s->server_again > now)
		return false;
	if (told->source == VIEWER_SERVER)
		return true;
	giver = s->by_peers || find_giver(v, v->mine, index, now, false);
	if (told->source == VIEWER_PEERS_ALONE) /* it would stall otherwise: no harm in asking */
		return !giver && ahead <= 0;
	if (s->by_peers)
		return ahead < LATE_MS;
	if (giver || told->role == VIEWER_SECOND)
		return ahead < urgent_ms(v);
	return true;
}

struct viewer_segment *viewer_pick_server(struct viewer *v, int64_t now)
{
	const struct viewer_instruction *told = viewer_told(v);
	struct viewer_rendition *r = &v->renditions[v->mine];

	for (size_t i = viewer_at(v, v->pos_ms);
	     i < r->nsegments && r->segments[i].start_ms < v->pos_ms + v->opt.buffer_ms; i++)
		if (server_plays(v, &r->segments[i], i, now))
			return &r->segments[i];
	if (told->source == VIEWER_PEERS_ALONE || viewer_buffered(v) < urgent_ms(v))
		return NULL;
	for (size_t i = 0; i < told->nhold; i++)
		for (uint32_t n = told->hold[i].first; n <= told->hold[i].last; n++) {
			struct viewer_segment *s = viewer_segment(v, told->hold[i].rendition, n);

			if (!s)
				break;
			if (!s->have && !s->by_server && !s->by_peers && s->server_again <= now &&
			    !find_giver(v, told->hold[i].rendition, n - v->renditions[told->hold[i].rendition].segments[0].n,
					now, false))
				return s;
		}
	return NULL;
}

static bool wants_peer(const struct viewer *v, const struct viewer_segment *s, int64_t now)
{
	if (s->have || s->by_server)
		return false;
	return !s->by_peers || (s->by_peers == 1 && now - s->asked_at > HEDGE_MS && s->start_ms - v->pos_ms < URGENT_MS);
}

struct viewer_segment *viewer_pick_peer(struct viewer *v, int64_t now, struct viewer_peer **from)
{
	const struct viewer_instruction *told = viewer_told(v);
	struct viewer_rendition *r = &v->renditions[v->mine];

	if (told->source == VIEWER_SERVER)
		return NULL;
	for (size_t i = viewer_at(v, v->pos_ms);
	     i < r->nsegments && r->segments[i].start_ms < v->pos_ms + v->opt.buffer_ms; i++)
		if (wants_peer(v, &r->segments[i], now) && (*from = find_giver(v, v->mine, i, now, true)))
			return &r->segments[i];
	for (size_t i = 0; i < told->nhold; i++)
		for (uint32_t n = told->hold[i].first; n <= told->hold[i].last; n++) {
			struct viewer_segment *s = viewer_segment(v, told->hold[i].rendition, n);

			if (!s)
				break;
			if (wants_peer(v, s, now) && (*from = find_giver(v, told->hold[i].rendition,
								       (size_t)(s - v->renditions[told->hold[i].rendition].segments),
								       now, true)))
				return s;
		}
	return NULL;
}
