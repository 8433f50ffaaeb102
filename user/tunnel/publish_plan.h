/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish_plan.h -- what of a tunnel is to be published, and whether it may be already.
 *
 * Names lead to an address only after every edge routes it: each edge and each agent that is alive
 * has acknowledged the tunnel's revision, or the time-out has passed, and then the silent ones are
 * named. Names that a tunnel gave up go at once. Pure: no registry, no clock.
 */
#ifndef WEIR_TUNNEL_PUBLISH_PLAN_H
#define WEIR_TUNNEL_PUBLISH_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/tunnels.h"

struct publish_live {
	const char *node;
	int64_t acked; /* highest revision; 0: none */
};

/* May a revision be published that was first heard waited_ms ago? *silent gets the names of those
 * who have not acknowledged it (a new reference, sorted as live is, each once), empty unless the
 * time is over. */
bool publish_may(int64_t revision, const struct publish_live *live, size_t n, int64_t waited_ms,
		 int64_t timeout_ms, json_t **silent);

/* What a tunnel's hostnames shall lead to: {"ZONE/NAME/A":["198.51.100.7"],…}. v4 and v6: arrays of
 * texts; types without values are left out. zone NULL: nothing is published. NULL without memory.
 */
json_t *publish_records(const struct tunnel *t, const char *zone, const json_t *v4,
			const json_t *v6);
/* The relative name of a hostname in a zone; false: not in it, or the zone itself, whose name is never
 * a tunnel's to publish. */
bool publish_relative(const char *hostname, const char *zone, char *out, size_t len);

/* published/NAME: */
struct published {
	int64_t revision;
	json_t *records; /* as publish_records() made them; borrowed */
	json_t *silent;	 /* borrowed */
	json_t *taken;	 /* somebody else's records; borrowed, may be NULL */
};
/* value: the parsed text, may be NULL: nothing is published. */
void published_read(struct published *out, const json_t *value);
/* taken may be NULL. */
json_t *published_make(int64_t revision, int64_t at, json_t *records, json_t *silent,
		       json_t *taken);

#endif
