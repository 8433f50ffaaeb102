// SPDX-License-Identifier: Apache-2.0
/*
 * origin_places.c -- which edges there are.
 *
 * A *place* is what somebody named (weir.yaml, or an edge over its control stream); its name is
 * asked for again every 30 s. A *candidate* is one address of a place.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/tunnel/origin_dial.h"

#define CANDIDATES_MAX 256
#define PLACES_MAX     256   /* an edge that tells of ever new ones gets no further */
#define NAMES_MS       30000 /* a place's name is asked for again */
#define NAMES_SOON_MS  1000  /* the same after a failure, at most so often */

static void candidate_forget(struct origin_dial *d, struct candidate *gone)
{
	struct candidate **at = &d->candidates;

	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	free(gone);
}

/* Those that no place names and no connection uses. */
void candidates_sweep(struct origin_dial *d)
{
	struct candidate *c, *next;

	for (c = d->candidates; c; c = next) {
		next = c->next;
		if (!c->place && !c->links)
			candidate_forget(d, c);
	}
}

static struct candidate *candidate_find(const struct origin_dial *d, const struct addr_port *to)
{
	for (struct candidate *c = d->candidates; c; c = c->next)
		if (c->to.port == to->port && addr_equal(&c->to.addr, &to->addr))
			return c;
	return NULL;
}

static void candidate_add(struct origin_dial *d, struct place *p, const struct addr_port *to)
{
	struct candidate *c = candidate_find(d, to);
	size_t n = 0;

	if (c) {
		if (!c->place)
			c->place = p;
		return;
	}
	for (c = d->candidates; c; c = c->next)
		n++;
	c = n < CANDIDATES_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c)
		return;
	c->to = *to;
	c->place = p;
	addr_port_format(to, c->text, sizeof(c->text));
	c->next = d->candidates;
	d->candidates = c;
}

static void place_forget(struct origin_dial *d, struct place *gone)
{
	struct place **at = &d->places;

	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	for (struct candidate *c = d->candidates; c; c = c->next)
		c->place = c->place == gone ? NULL : c->place;
	free(gone);
}

/* A place answered: its addresses are candidates, and those that it had are no more. */
static void place_answered(struct names_job *job)
{
	struct place *p = (struct place *)((char *)job - offsetof(struct place, job));
	struct origin_dial *d = p->d;

	if (!p->named && !p->learned) {
		place_forget(d, p);
	} else if (job->n) {
		p->complained = false;
		for (struct candidate *c = d->candidates; c; c = c->next)
			c->place = c->place == p ? NULL : c->place;
		for (size_t i = 0; i < job->n; i++)
			candidate_add(d, p, &job->found[i]);
	} else if (!p->complained) { /* old addresses stay: an outage of names is none of edges */
		p->complained = true;
		log_warn("edge %s: %s", p->text, job->error);
	}
	candidates_sweep(d);
	dial_fill(d);
}

static void place_ask(struct place *p)
{
	p->asked_ms = reactor_now_ms(p->d->o->reactor);
	if (names_ask(&p->job, p->d->o->reactor))
		p->asked_ms -= NAMES_MS - NAMES_SOON_MS;
}

void place_failed(struct place *p)
{
	if (p && reactor_now_ms(p->d->o->reactor) - p->asked_ms > NAMES_SOON_MS)
		place_ask(p);
}

void places_second(struct origin_dial *d)
{
	uint64_t now = reactor_now_ms(d->o->reactor);

	for (struct place *p = d->places; p; p = p->next)
		if (now - p->asked_ms >= NAMES_MS)
			place_ask(p);
}

static struct place *place_of(struct origin_dial *d, const char *text)
{
	struct place *p;
	size_t n = 0;

	for (p = d->places; p; p = p->next, n++)
		if (!strcmp(p->text, text))
			return p;
	p = n < PLACES_MAX ? calloc(1, sizeof(*p)) : NULL;
	if (!p || names_split(text, p->job.host, &p->job.port)) {
		free(p);
		return NULL;
	}
	snprintf(p->text, sizeof(p->text), "%s", text);
	p->d = d;
	p->job.done = place_answered;
	p->next = d->places;
	d->places = p;
	place_ask(p);
	return p;
}

/* Those that nobody names any more go; one whose name is being asked for goes when that is done. */
void places_sweep(struct origin_dial *d)
{
	struct place *p, *next;

	for (p = d->places; p; p = next) {
		next = p->next;
		if (!p->named && !p->learned && !p->job.running)
			place_forget(d, p);
	}
	candidates_sweep(d);
}

void places_configured(struct origin_dial *d)
{
	const struct conf_origin *conf = &d->o->d->conf->origin;

	for (struct place *p = d->places; p; p = p->next)
		p->named = false;
	for (size_t i = 0; i < conf->nedges; i++) {
		struct place *p = place_of(d, conf->edges[i]);

		if (p)
			p->named = true;
		else
			log_error("origin.edges[%zu]: \"%s\" is no NAME:PORT or ADDRESS:PORT", i,
				  conf->edges[i]);
	}
}

void origin_dial_learned(struct origin_dial *d, const struct control *told)
{
	if (!told->nedges)
		return;
	for (struct place *p = d->places; p; p = p->next)
		p->learned = false;
	for (size_t i = 0; i < told->nedges; i++) {
		struct place *p = place_of(d, told->edges[i]);

		if (p)
			p->learned = true;
	}
	places_sweep(d);
	dial_fill(d);
}

json_t *origin_dial_candidates(const struct origin_dial *d)
{
	json_t *list = json_array();
	uint64_t now = reactor_now_ms(d->o->reactor);

	for (const struct candidate *c = d->candidates; c; c = c->next)
		json_array_append_new(
			list, json_pack("{ss ss ss sI sI sf ss}", "address", c->text, "name",
					c->place ? c->place->text : "", "edge", c->edge,
					"connections", (json_int_t)dial_load_of(d, c), "failures",
					(json_int_t)c->failures, "retry_in_s",
					c->next_ms > now ? (double)(c->next_ms - now) / 1000 : 0.0,
					"error", c->error));
	for (const struct place *p = d->places; p; p = p->next)
		if (!p->job.n && *p->job.error && !p->job.running)
			json_array_append_new(list,
					      json_pack("{ss ss ss sI ss}", "address", "", "name",
							p->text, "edge", "", "connections",
							(json_int_t)0, "error", p->job.error));
	return list;
}
