/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank.c -- see rank.h.
 */
#include "http/gateway/rank.h"

#include <stdlib.h>
#include <string.h>

static __thread const char *sort_site; /* qsort has no argument for it */

static int compare(const void *a, const void *b)
{
	const struct rank_endpoint *x = a, *y = b;
	int own_x = !strcmp(x->site, sort_site), own_y = !strcmp(y->site, sort_site);

	if ((x->why == NULL) != (y->why == NULL))
		return x->why ? 1 : -1;
	if (own_x != own_y)
		return own_y - own_x;
	if (x->weight != y->weight)
		return x->weight > y->weight ? -1 : 1;
	return strcmp(x->node, y->node);
}

void rank_sort(struct rank_endpoint *endpoints, size_t n, const char *own_site)
{
	for (size_t i = 0; i < n; i++)
		endpoints[i].why = endpoints[i].draining     ? "draining"
				   : endpoints[i].weight > 0 ? NULL
							     : "no weight: unhealthy or overloaded";
	sort_site = own_site;
	qsort(endpoints, n, sizeof(*endpoints), compare);
}

/* One of endpoints[0 … n) by weight; the draw falls on the last when rounding leaves a rest. */
static const struct rank_endpoint *draw(const struct rank_endpoint *endpoints, size_t n, double u)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += endpoints[i].weight;
	if (sum <= 0)
		return &endpoints[(size_t)(u * (double)n) % n];
	u *= sum;
	for (size_t i = 0; i + 1 < n; i++) {
		u -= endpoints[i].weight;
		if (u < 0)
			return &endpoints[i];
	}
	return &endpoints[n - 1];
}

const struct rank_endpoint *rank_pick(const struct rank_endpoint *endpoints, size_t n,
				      unsigned int top, double u)
{
	size_t usable = 0, staying = 0;

	if (!n)
		return NULL;
	while (usable < n && usable < (top ? top : 1) && !endpoints[usable].why &&
	       !strcmp(endpoints[usable].site, endpoints[0].site))
		usable++;
	if (usable)
		return draw(endpoints, usable, u);
	/* Nobody is well: better a try than an error. Drained ones were sorted by weight among the
	 * others. */
	for (size_t i = 0; i < n; i++)
		staying += !endpoints[i].draining;
	if (!staying)
		return draw(endpoints, n, u);
	staying = (size_t)(u * (double)staying);
	for (size_t i = 0;; i++)
		if (!endpoints[i].draining && staying-- == 0)
			return &endpoints[i];
}
