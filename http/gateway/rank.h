/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank.h -- which endpoint a request is sent to.
 *
 * Pure. Endpoints are ranked by accessibility: those of the gateway's own site first, in each site
 * by the published weight (learned from their load); drained and unmeasured-dead ones come last or
 * not at all. A request goes to one of the best `top`, drawn by weight, so that equal endpoints
 * share.
 */
#ifndef WEIR_RANK_H
#define WEIR_RANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rank_endpoint {
	char node[64], site[64], url[256];
	char inside[256]; /* http(s)://HOST:PORT for daemons; "": none */
	double weight; /* ≥ 0; published rate relative to the mean, 1 when nobody measures it */
	bool draining, measured;
	const char *why; /* it is not used, or NULL; a constant string */
};

/* Sorts best first and fills `why`: "draining", "no weight: unhealthy or overloaded". */
void rank_sort(struct rank_endpoint *endpoints, size_t n, const char *own_site);

/* The endpoint for a draw u in [0, 1) out of sorted ones: among the first `top` usable of the best
 * site that has any; when none is usable, among all that are not draining, then among all. NULL
 * when n is 0. */
const struct rank_endpoint *rank_pick(const struct rank_endpoint *endpoints, size_t n,
				      unsigned int top, double u);

#endif
