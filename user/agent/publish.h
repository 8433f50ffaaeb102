/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.h -- from wanted weights to published rates: the one place where shares become exact.
 *
 * A ring derives from published (backend, rate) pairs alone (ring.h). Its shares follow the rates
 * statistically, so the publisher corrects the rates until each backend's number of slots is right
 * within a tolerance, and publishes those. It also keeps the move budget: slots that change their
 * owner cost the balancers state until their connections are gone, so that on average only a
 * fraction of the slots may move each second. What leaves a backend that is down, draining or
 * failing is outside the budget.
 *
 * Pure: no clock, socket or global. Nothing here logs; 0 or -errno.
 */
#ifndef WEIR_PUBLISH_H
#define WEIR_PUBLISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "user/agent/ring.h"

#define PUBLISH_NAME_MAX 64             /* a backend's name, with terminator */
#define PUBLISH_BURST_S  60.0           /* so many seconds of the move budget may be saved up */

/* The value of `rates/SERVICE`: the ring of every balancer is a function of this. */
struct rates_entry { char name[PUBLISH_NAME_MAX]; uint32_t rate; };
struct rates {
	uint32_t slots;
	uint64_t seed, generation;      /* below 2^63 (JSON integers) */
	struct rates_entry *entries;    /* in the order of names */
	size_t n;
};

/* {"slots","seed","generation","rates":[["name",rate],…]}. The caller frees the text / the rates.
 * -EINVAL: not such an object, a name twice, out of range; *out is untouched then. */
char *rates_to_json(const struct rates *rates);         /* NULL without memory */
int rates_from_json(struct rates **out, const char *text);
int rates_copy(struct rates **out, const struct rates *rates);
void rates_free(struct rates *rates);                   /* accepts NULL */
/* The ring of these rates: *owner is malloc'ed, [rates->slots], indexes of entries or RING_NONE.
 * ring may be NULL, or a table for the same number of slots. */
int rates_ring(const struct rates *rates, struct ring *ring, uint32_t **owner);

/* ---- the publisher of one service ---- */
struct publish;
/* budget: fraction of the slots per second. */
int publish_new(struct publish **out, uint32_t slots, uint64_t seed, double budget);
void publish_free(struct publish *p);                   /* accepts NULL */
void publish_set_budget(struct publish *p, double budget);
/* Goes on from what another publisher published. Slots or seed that differ from ours are replaced at
 * the next tick, with a generation above theirs. */
int publish_adopt(struct publish *p, const struct rates *rates);

enum publish_urgency {
	PUBLISH_CALM,           /* moves within the budget */
	PUBLISH_FAILING,        /* a smaller weight is applied at once */
	PUBLISH_GONE,           /* down or draining: its slots leave at once, weight counts as 0 */
};
struct publish_want { const char *name; double weight; enum publish_urgency urgency; };

/* One step of dt seconds towards the wanted weights (any scale; negative or not finite counts as 0).
 * Returns 1 when there are new rates (generation is one more), 0 when nothing changes now, or
 * -errno (-EINVAL: a name twice or too long). */
int publish_tick(struct publish *p, const struct publish_want *want, size_t n, double dt);

const struct rates *publish_rates(const struct publish *p);     /* NULL before the first tick */
/* Of the current ring: slots of a backend (0 when unknown), slots moved by the last change. */
uint32_t publish_count(const struct publish *p, const char *name);
uint32_t publish_moved(const struct publish *p);
/* Slots that may move now without waiting. */
double publish_allowance(const struct publish *p);

/* The number of slots that a backend may be off, when it should have `slots`. */
double publish_tolerance(double slots);

#endif
