/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_weir.h -- between sim_weir.c (what the owner knows, when) and sim_plan.c (what it tells whom).
 */
#ifndef WEIR_SIM_WEIR_H
#define WEIR_SIM_WEIR_H

#include <errno.h>

#include "http/peers/sim_impl.h"

enum { SIGN_FAILING, SIGN_SLOW, SIGN_STARVING, SIM_SIGNS };
#define SIM_SEEN 65536

struct sim_instruction {
	struct {
		uint32_t peer, gen;
	} from[SIM_CONNS];
	uint16_t hold[SIM_HOLDS];
	uint8_t nfrom, nhold, role, state;
	struct sim_windows w;
	float cap;
};

/* Why somebody is told something: who has not two to receive from any more comes before all others. */
enum sim_line { LINE_NONE, LINE_ORPHAN, LINE_DUTY /* another state or role, or a portion to fetch */, LINE_OTHER, SIM_LINES };

struct sim_weir {
	struct groups *groups;
	struct group_viewer *gv; /* by place; a place whose viewer is not known (yet) is excluded */
	struct group_result result;
	struct sim_instruction *pending, *last; /* on its way; the last that was decided, and is said when it is its turn */
	uint8_t *line;				/* enum sim_line: what waits to be said */
	uint32_t waiting[SIM_LINES], turn[SIM_LINES];
	uint32_t *orphan; /* step at which it was last seen that it had lost whom it received from, or all but one; 0: never */
	uint64_t *told;				/* [viewers][words]: what each said that it has */
	uint32_t *order, *start, nstart, groupings; /* viewers by grouping: those of g end at start[g], where g + 1's begin */
	uint32_t *due, *knows;			/* steps; 0: none */
	struct sense sense;
	/* By prefix and half of the last 5 s: reports of who asked the server, and those with each sign. */
	uint16_t *asked[2], *sign[SIM_SIGNS][2];
	uint64_t seen[SIM_SEEN];
	uint32_t prefixes;
	double egress[4], server_before, wanted, slope;
	uint64_t instructions;
	bool changed;
	uint32_t left; /* known to have gone since the last grouping */
	double spent;
	uint32_t runs;
};

void sim_plan(struct sim *s); /* after group_run() */
/* Decided; it is told when it is its turn, unless it is what it was told before but for what does not matter. */
void sim_instruct(struct sim *s, uint32_t i, const struct sim_instruction *p);

#endif
