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

struct sim_weir {
	struct groups *groups;
	struct group_viewer *gv; /* by place; a place whose viewer is not known (yet) is excluded */
	struct group_result result;
	struct sim_instruction *pending, *last; /* on its way; the last that was sent */
	uint64_t *told;				/* [viewers][words]: what each said that it has */
	uint32_t *order, *start, nstart;	/* viewers by grouping */
	uint32_t *due, *knows;			/* steps; 0: none */
	struct sense sense;
	/* By prefix and half of the last 5 s: reports of who asked the server, and those with each sign. */
	uint16_t *asked[2], *sign[SIM_SIGNS][2];
	uint64_t seen[SIM_SEEN];
	uint32_t prefixes;
	double egress[4], server_before, wanted, slope;
	uint64_t queue, instructions;
	bool changed;
	uint32_t left; /* known to have gone since the last grouping */
	double spent;
	uint32_t runs;
};

void sim_plan(struct sim *s); /* after group_run() */
void sim_instruct(struct sim *s, uint32_t i, const struct sim_instruction *p);

#endif
