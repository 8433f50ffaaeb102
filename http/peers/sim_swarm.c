/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_swarm.c -- viewers whom nobody instructs: a tracker that gives five random peers of the same rendition, and again
 * every 30 s to who has fewer; the windows that p2p-media-loader comes with, or bounded ones.
 */
#include "http/peers/sim_impl.h"

#define PEERS 5

/* Both can ask the other afterwards: a data channel has two directions. */
static void meet(struct sim *s, uint32_t i)
{
	uint32_t same = s->opt.viewers / SIM_RENDITIONS, rendition = i % SIM_RENDITIONS;

	for (int tries = 0; s->v[i].nconn < PEERS && tries < 3 * PEERS && same; tries++) {
		uint32_t peer = sim_below(&s->rnd, same) * SIM_RENDITIONS + rendition;

		if ((s->v[peer].flags & GROUP_UNREACHABLE) || (s->v[i].flags & GROUP_UNREACHABLE) || peer == i ||
		    s->v[peer].nconn >= SIM_CONNS)
			continue;
		sim_connect(s, i, peer, 500);
		sim_connect(s, peer, i, 500);
	}
}

void sim_swarm_arrive(struct sim *s, uint32_t i)
{
	struct sim_viewer *v = &s->v[i];

	v->w = (struct sim_windows){ .server = true };
	if (s->opt.policy == SIM_SWARM)
		v->w = (struct sim_windows){ .high = 15, .http = 3000, .p2p = 6000, .server = true };
	else if (s->opt.policy == SIM_SWARM_BOUNDED)
		v->w = (struct sim_windows){ .high = 15, .http = 30, .p2p = 60, .server = true };
	v->reannounce = s->step + 1;
}

void sim_swarm(struct sim *s)
{
	if (s->opt.policy != SIM_SWARM && s->opt.policy != SIM_SWARM_BOUNDED)
		return;
	for (uint32_t i = 0; i < s->opt.viewers; i++) {
		struct sim_viewer *v = &s->v[i];

		if (s->step < v->reannounce)
			continue;
		v->reannounce = s->step + SIM_STEPS(30000);
		meet(s, i);
	}
}
