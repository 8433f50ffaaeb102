// SPDX-License-Identifier: Apache-2.0
/*
 * origin_dial.c -- how many connections to which edge.
 *
 * Which edge answers at an address is known after the first hello, so that two addresses of one
 * edge count as one. Connections are spread evenly over edges; what is too many on one edge is
 * detached once another has taken it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "user/tunnel/origin_dial.h"

#define BACKOFF_MS     100 /* the first retry comes at once, the second after this, then doubled */
#define BACKOFF_MAX_MS 10000
#define MISSED_MS      30000 /* an edge that served us so shortly ago most likely restarts: then at */
#define MISSED_MAX_MS                                                                              \
	400 /* most this between two retries, so that clients whom it holds do not wait long */
#define SETTLED_MS 5000	 /* a connection that stood for so long ends the backoff */
#define AVOID_MS   10000 /* an edge that drains is not dialled while there is another */

/* ---- counting ---- */

/* Is it one of those that shall stand? */
static bool counts(const struct origin_link *l)
{
	return l->state != LINK_LEAVING && !l->stale;
}

static bool same_edge(const struct candidate *a, const struct candidate *b)
{
	return a == b || (*a->edge && !strcmp(a->edge, b->edge));
}

unsigned int dial_load_of(const struct origin_dial *d, const struct candidate *c)
{
	unsigned int n = 0;

	for (const struct origin_link *l = d->links; l; l = l->next)
		n += counts(l) && l->candidate && same_edge(l->candidate, c);
	return n;
}

static unsigned int count_all(const struct origin_dial *d, bool up, unsigned int *most)
{
	unsigned int n = 0, load;

	*most = 0;
	for (const struct origin_link *l = d->links; l; l = l->next) {
		if (!counts(l) || (up && l->state != LINK_UP))
			continue;
		n++;
		load = l->candidate ? dial_load_of(d, l->candidate) : 1;
		*most = load > *most ? load : *most;
	}
	return n;
}

size_t origin_dial_up(const struct origin_dial *d, size_t *edges)
{
	size_t n = 0, e = 0;

	for (const struct origin_link *l = d->links; l; l = l->next) {
		bool first = l->state == LINK_UP;

		n += l->state == LINK_UP;
		for (const struct origin_link *k = d->links; k != l && first; k = k->next)
			first = k->state != LINK_UP || strcmp(k->edge, l->edge);
		e += first;
	}
	if (edges)
		*edges = e;
	return n;
}

static bool edge_is_up(const struct origin_dial *d, const struct candidate *c)
{
	for (const struct origin_link *l = d->links; l; l = l->next)
		if (counts(l) && l->state == LINK_UP && same_edge(l->candidate, c))
			return true;
	return false;
}

/* Is its edge named by another address too? */
static bool stands_by_name(const struct origin_dial *d, const struct candidate *c)
{
	for (const struct candidate *k = d->candidates; k; k = k->next)
		if (k->place && k->place->named && same_edge(k, c))
			return true;
	return false;
}

static uint64_t chance(uint64_t below)
{
	uint64_t r;

	random_bytes(&r, sizeof(r));
	return r % below;
}

/* ---- choosing and dialling ---- */

static void link_remove(struct origin_link *l)
{
	*l->at = l->next;
	if (l->next)
		l->next->at = l->at;
}

static void candidate_dial(struct origin_dial *d, struct candidate *c)
{
	struct origin_link *l;
	int err = origin_link_dial(&l, d->o, &c->to);

	if (err) { /* no descriptors, no memory */
		snprintf(c->error, sizeof(c->error), "%s", strerror(-err));
		c->failures++;
		c->next_ms = reactor_now_ms(d->o->reactor) + BACKOFF_MAX_MS;
		return;
	}
	l->candidate = c;
	l->next = d->links;
	if (l->next)
		l->next->at = &l->next;
	l->at = &d->links;
	d->links = l;
	c->links++;
	c->dialling++;
}

/* Is it the first of its edge among those that answer, as far as is known? */
static bool stands_for_edge(const struct origin_dial *d, const struct candidate *c, uint64_t now)
{
	if (!c->place || c->failures || c->avoid_ms > now)
		return false;
	for (const struct candidate *k = d->candidates; k != c; k = k->next)
		if (k->place && !k->failures && k->avoid_ms <= now && same_edge(k, c))
			return false;
	return true;
}

/* Edges that the configuration does not name are dialled only as long as it leads to fewer than
 * two: whoever names edges wants those, near or chosen, and the others are for when they fall. */
static bool is_spare(const struct origin_dial *d, const struct candidate *c, uint64_t now)
{
	unsigned int named = 0;

	if (!c->place || c->place->named)
		return false;
	for (const struct candidate *k = d->candidates; k; k = k->next)
		named += k->place && k->place->named && stands_for_edge(d, k, now);
	return named >= 2;
}

/* How many an edge gets while others are still being dialled. */
static unsigned int fair_share(const struct origin_dial *d, uint64_t now)
{
	unsigned int edges = 0, want = d->o->d->conf->origin.connections;

	for (const struct candidate *c = d->candidates; c; c = c->next)
		edges += stands_for_edge(d, c, now) && !is_spare(d, c, now);
	return edges ? (want + edges - 1) / edges : want;
}

/* The best to dial now, or NULL; *wait_ms: until when nobody may be. even_out: only an edge that
 * has two connections less than another. */
static struct candidate *pick(const struct origin_dial *d, bool even_out, unsigned int most,
			      uint64_t now, uint64_t *wait_ms)
{
	struct candidate *best = NULL;
	unsigned int best_load = 0, ties = 0, share = fair_share(d, now);

	for (struct candidate *c = d->candidates; c; c = c->next) {
		unsigned int load;
		bool avoided, best_avoided = best && best->avoid_ms > now;

		/* One at a time to an address that has not shown that it answers. */
		if (!c->place || (c->dialling && (!*c->edge || c->failures)) || is_spare(d, c, now))
			continue;
		load = dial_load_of(d, c);
		avoided = c->avoid_ms > now;
		if (even_out ? load + 1 >= most || avoided : load >= share && !c->failures)
			continue;
		if (c->next_ms > now) {
			*wait_ms = c->next_ms - now < *wait_ms ? c->next_ms - now : *wait_ms;
			continue;
		}
		if (best && (best_avoided != avoided ? avoided : load > best_load))
			continue;
		ties = best && best_avoided == avoided && load == best_load ? ties + 1 : 1;
		if (ties > 1 && chance(ties))
			continue;
		best = c;
		best_load = load;
	}
	return best;
}

/* As many connections as are wanted, where they are wanted. */
void dial_fill(struct origin_dial *d)
{
	const unsigned int want = d->o->d->conf->origin.connections;
	uint64_t now = reactor_now_ms(d->o->reactor), wait_ms = UINT64_MAX;
	struct candidate *c;
	unsigned int most;

	while (!d->draining) {
		bool enough = count_all(d, false, &most) >= want;

		/* One more than wanted at most, so that a slow edge is not dialled again and again.
		 */
		if (enough && count_all(d, false, &most) > want)
			break;
		c = pick(d, enough, most, now, &wait_ms);
		if (!c)
			break;
		candidate_dial(d, c);
	}
	if (wait_ms != UINT64_MAX && !d->draining)
		reactor_timer_set(d->o->reactor, &d->retry, wait_ms ? wait_ms : 1);
}

static void on_retry(struct reactor_timer *t)
{
	dial_fill((struct origin_dial *)((char *)t - offsetof(struct origin_dial, retry)));
}

/* One that is too many: of the edge with the most, with the least to do. */
static struct origin_link *surplus(const struct origin_dial *d)
{
	struct origin_link *best = NULL;
	unsigned int best_load = 0;

	for (struct origin_link *l = d->links; l; l = l->next) {
		unsigned int load;

		if (!counts(l) || l->state != LINK_UP || !l->candidate)
			continue;
		load = dial_load_of(d, l->candidate);
		if (best && (load < best_load ||
			     (load == best_load && origin_link_open(l) >= origin_link_open(best))))
			continue;
		best = l;
		best_load = load;
	}
	return best;
}

/* After one came up: what it replaces may go. */
static void trim(struct origin_dial *d)
{
	const unsigned int want = d->o->d->conf->origin.connections;
	unsigned int most, up = count_all(d, true, &most), stale = 0;
	struct origin_link *l, *next;

	for (; up > want && (l = surplus(d)); up--)
		origin_link_detach(l);
	for (l = d->links; l; l = l->next)
		stale += l->stale && l->state != LINK_LEAVING;
	for (l = d->links; l && stale && stale + up > want; l = next) {
		next = l->next;
		if (!l->stale || l->state == LINK_LEAVING)
			continue;
		origin_link_detach(l);
		stale--;
	}
}

/* ---- what links tell ---- */

void origin_dial_link_up(struct origin_link *l)
{
	struct origin *o = l->o;
	struct origin_dial *d = o->dial;
	struct candidate *c = l->candidate;
	size_t edges, up;

	c->dialling--;
	c->error[0] = '\0';
	snprintf(c->edge, sizeof(c->edge), "%s", l->edge);
	up = origin_dial_up(d, &edges);
	log_info("attached to edge %s at %s (%zu of %u connections, %zu edge%s)", l->edge, c->text,
		 up, o->d->conf->origin.connections, edges, edges == 1 ? "" : "s");
	d->alone = false;
	origin_count_link(o, "attached");
	origin_attached(o);
	trim(d);
	dial_fill(d);
}

void origin_dial_link_leaving(struct origin_link *l)
{
	struct origin_dial *d = l->o->dial;

	log_info("edge %s at %s drains: its requests end there, new ones come elsewhere", l->edge,
		 l->candidate->text);
	l->candidate->avoid_ms = reactor_now_ms(l->o->reactor) + AVOID_MS;
	origin_count_link(l->o, "drained");
	dial_fill(d);
}

/* The first retry at once, then 100 ms doubled up to 10 s; half of it is chance, so that origins do
 * not come back all at once. */
static uint64_t backoff_ms(unsigned int failures)
{
	uint64_t ms;

	if (failures < 2)
		return 0;
	ms = failures - 2 < 7 ? (uint64_t)BACKOFF_MS << (failures - 2) : BACKOFF_MAX_MS;
	ms = ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : ms;
	return ms / 2 + chance(ms / 2 + 1);
}

static void candidate_failed(struct origin_dial *d, struct candidate *c, const char *why,
			     bool stood)
{
	uint64_t now = reactor_now_ms(d->o->reactor), wait_ms;

	c->failures = stood ? 1 : c->failures + 1;
	wait_ms = backoff_ms(c->failures);
	if (c->served_ms && now - c->served_ms < MISSED_MS && wait_ms > MISSED_MAX_MS)
		wait_ms = MISSED_MAX_MS / 2 + chance(MISSED_MAX_MS / 2 + 1);
	c->next_ms = now + wait_ms;
	/* Once for each reason; the retries are debug's. */
	if (strcmp(c->error, why))
		log_warn("edge %s%s%s: %s", c->text, *c->edge ? " " : "", c->edge, why);
	else
		log_debug("edge %s: %s (failure %u)", c->text, why, c->failures);
	snprintf(c->error, sizeof(c->error), "%s", why);
	place_failed(c->place);
}

void origin_dial_link_down(struct origin_link *l, const char *why)
{
	struct origin *o = l->o;
	struct origin_dial *d = o->dial;
	struct candidate *c = l->candidate;
	enum link_state state = l->state;
	bool ours = l->detached;
	bool stood = l->up_ms && reactor_now_ms(o->reactor) - l->up_ms > SETTLED_MS;
	char text[ORIGIN_WHY_MAX];

	snprintf(text, sizeof(text), "%s", why);
	if (l->up_ms)
		c->served_ms = reactor_now_ms(o->reactor);
	link_remove(l);
	c->links--;
	c->dialling -= !l->up_ms;
	origin_link_free(l);
	if (!ours && (state != LINK_LEAVING || !stood)) {
		origin_count_link(o, state == LINK_UP ? "lost" : "refused");
		candidate_failed(d, c, text, stood);
	} else if (!ours) {
		log_info("edge %s at %s: the connection has ended: %s", c->edge, c->text, text);
	}
	candidates_sweep(d);
	if (!d->draining && !d->alone && !origin_dial_up(d, NULL) && state == LINK_UP) {
		d->alone = true;
		log_error("no edge is attached any more: nothing reaches the targets until one is");
	}
	dial_fill(d);
}

/* ---- opening, reload, drain ---- */

int origin_dial_open(struct origin_dial **out, struct origin *o)
{
	struct origin_dial *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->o = o;
	d->retry.fn = on_retry;
	*out = d;
	places_configured(d);
	return 0;
}

void origin_dial_close(struct origin_dial *d)
{
	struct origin_link *l;

	if (!d)
		return;
	d->draining = true;
	reactor_timer_stop(d->o->reactor, &d->retry);
	while ((l = d->links)) {
		link_remove(l);
		origin_link_free(l);
	}
}

/* After reactor_free(): no name is being asked for any more. */
void origin_dial_free(struct origin_dial *d)
{
	struct candidate *c;
	struct place *p;

	if (!d)
		return;
	while ((c = d->candidates)) {
		d->candidates = c->next;
		free(c);
	}
	while ((p = d->places)) {
		d->places = p->next;
		free(p);
	}
	free(d);
}

void origin_dial_reload(struct origin_dial *d, bool recredential)
{
	places_configured(d);
	places_sweep(d);
	for (struct candidate *c = d->candidates; c; c = c->next) {
		if (!recredential)
			continue;
		c->failures = 0; /* what was refused before may be taken now */
		c->next_ms = 0;
	}
	for (struct origin_link *l = d->links; l; l = l->next) {
		if (recredential || !l->candidate->place)
			l->stale = true;
	}
	trim(d);
	dial_fill(d);
}

/* Connections to spare edges are replaced once two named ones have taken some again. */
static void release_spares(struct origin_dial *d)
{
	unsigned int named = 0;

	for (const struct candidate *c = d->candidates; c; c = c->next) {
		bool first = c->place && c->place->named && edge_is_up(d, c);

		for (const struct candidate *k = d->candidates; k != c && first; k = k->next)
			first = !k->place || !k->place->named || !same_edge(k, c);
		named += first;
	}
	for (struct origin_link *l = d->links; l && named >= 2; l = l->next) {
		const struct candidate *c = l->candidate;

		if (counts(l) && c->place && !c->place->named && !stands_by_name(d, c))
			l->stale = true;
	}
}

static void gauges(const struct origin_dial *d)
{
	struct origin *o = d->o;
	size_t edges, up = origin_dial_up(d, &edges);
	uint32_t rtt = 0, least = 0;

	for (const struct origin_link *l = d->links; l; l = l->next) {
		rtt = l->h2 ? h2_rtt_us(l->h2) : 0;
		least = rtt && (!least || rtt < least) ? rtt : least;
	}
	o->up = (uint32_t)up;
	o->edges = (uint32_t)edges;
	o->rtt_us = least;
	o->until = o->cred->until;
}

void origin_dial_second(struct origin_dial *d)
{
	uint64_t now = reactor_now_ms(d->o->reactor);
	struct orca_report report = { 0 };
	double cpu = 0;

	if (d->o->load) {
		load_report(d->o->load, &report);
		cpu = report.cpu_utilization;
	}
	places_second(d);
	for (struct origin_link *l = d->links; l; l = l->next) {
		if (l->state == LINK_UP && now - l->up_ms > SETTLED_MS && l->candidate->failures)
			l->candidate->failures = 0;
		origin_link_load(l, cpu);
	}
	origin_dial_settle(d);
	release_spares(d);
	trim(d);
	dial_fill(d);
	gauges(d);
}

void origin_dial_drain(struct origin_dial *d)
{
	d->draining = true;
	reactor_timer_stop(d->o->reactor, &d->retry);
	for (struct origin_link *l = d->links; l; l = l->next)
		origin_link_detach(l);
}

bool origin_dial_is_idle(const struct origin_dial *d)
{
	return !d->links;
}

void origin_dial_settle(struct origin_dial *d)
{
	for (struct origin_link *l = d->links; l; l = l->next)
		origin_link_settle(l);
}

/* ---- showing ---- */

json_t *origin_dial_status(const struct origin_dial *d)
{
	static const char *const words[] = { "dialling", "greeting", "up", "leaving" };
	json_t *list = json_array();
	uint64_t now = reactor_now_ms(d->o->reactor);

	for (const struct origin_link *l = d->links; l; l = l->next)
		json_array_append_new(
			list,
			json_pack("{ss ss ss ss sf sI sI sb}", "edge", l->edge, "site", l->site,
				  "address", l->candidate->text, "state", words[l->state], "rtt_ms",
				  l->h2 ? (double)h2_rtt_us(l->h2) / 1000.0 : 0.0, "open",
				  (json_int_t)origin_link_open(l), "since_s",
				  (json_int_t)((now - (l->up_ms ? l->up_ms : l->began_ms)) / 1000),
				  "stale", l->stale));
	return list;
}
