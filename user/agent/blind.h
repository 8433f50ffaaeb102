/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blind.h -- is it the backends that are gone, or do we see nothing? A publisher whose own link fails loses its backends
 * one check after another, and finds them again one after another; rates that it makes in between would send every
 * balancer's connections to whoever it happens to see at that moment.
 *
 * Pure: no clock, socket or global.
 */
#ifndef WEIR_AGENT_BLIND_H
#define WEIR_AGENT_BLIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What checks say of one backend. */
struct sight {
	bool good;	     /* the last one went well */
	uint64_t good_us;    /* when the last good one began; 0: none yet */
	uint64_t failing_us; /* when the first bad one of the latest row began; 0: none yet */
};
void sight_take(struct sight *sight, bool good, uint64_t began_us);

struct blind {
	bool none;	   /* no backend was up, and not all have had the time to be seen again */
	uint64_t until_us; /* when they have had it; 0: none is up yet */
};
struct blind_view {
	bool up;		   /* the verdict */
	const struct sight *sight; /* NULL: it is not checked */
};
/* May what it sees not be acted upon? True when none is up; while one is down and no other has answered a check of
 * since; and for `patience_us` after the first is up again, unless all are. */
bool blind_is(struct blind *blind, const struct blind_view *view, size_t n, uint64_t now_us, uint64_t patience_us);

/* What a learner takes a backend for. Who is blind does not know that one went: what was up (`was`) is up for it yet, so that
 * it is not new, with a slow start, when it is seen again. */
bool blind_up(bool blind, bool up, bool was);

#endif
