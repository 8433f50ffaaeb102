/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pick.c -- sites to weights, weights to the table of choices.
 */
#include "dns/pick.h"

#include <math.h>
#include <string.h>

/* Out by two witnesses, or by its own word; why says which. */
static bool site_is_in(struct pick_site *s)
{
	bool lease_gone = s->registry_known && !s->leased;

	if (s->published && s->healthy == 0) {
		s->why = "it published that no backend is healthy";
		return false;
	}
	if (s->own) {
		s->why = "own site";
		return true;
	}
	if (lease_gone && s->probe == PICK_PROBE_DOWN) {
		s->why = "its agents' leases ended and it does not answer from here";
		return false;
	}
	if (lease_gone)
		s->why = "no agent holds a lease for it, but it answers from here";
	else if (s->probe == PICK_PROBE_DOWN)
		s->why = s->registry_known ? "it does not answer from here, but its agent is alive"
					   : "it does not answer from here, but the registry was "
					     "not heard yet";
	else
		s->why = s->published ? "healthy" : "no capacity published yet";
	return true;
}

/* The share before normalising. Who has published nothing counts like the mean of the others. */
static double site_capacity(const struct pick_site *s, double mean)
{
	return s->published ? s->capacity : mean;
}

static double published_mean(const struct pick_site *sites, size_t n)
{
	double sum = 0;
	size_t known = 0;

	for (size_t i = 0; i < n; i++) {
		if (sites[i].published && sites[i].capacity > 0) {
			sum += sites[i].capacity;
			known++;
		}
	}
	return known ? sum / (double)known : 1;
}

void pick_weigh(struct pick_site *sites, size_t n)
{
	double mean, total = 0;
	size_t in = 0, reachable = 0;

	for (size_t i = 0; i < n; i++) {
		struct pick_site *s = &sites[i];

		if (!isfinite(s->capacity) || s->capacity < 0)
			s->capacity = 0;
		s->weight = 0;
		s->up = false;
		s->why = "its addresses are not known yet";
		if (s->n4 + s->n6 == 0)
			continue;
		reachable++;
		s->up = site_is_in(s);
		in += s->up;
	}
	for (size_t i = 0; i < n && in == 0 && reachable; i++) {
		if (sites[i].n4 + sites[i].n6 == 0)
			continue;
		sites[i].up = true;
		sites[i].why = "no site is well: all are answered";
	}
	mean = published_mean(sites, n);
	for (size_t i = 0; i < n; i++)
		total += sites[i].up ? site_capacity(&sites[i], mean) : 0;
	for (size_t i = 0; i < n; i++) {
		if (!sites[i].up)
			continue;
		/* Nobody has any capacity: an even split is the best guess. */
		sites[i].weight = total > 0 ? site_capacity(&sites[i], mean) / total
					    : 1.0 / (double)(in ? in : reachable);
	}
}

static void family_fill(struct steer_family *f, const struct pick_site *sites, size_t n, bool six)
{
	double total = 0, upto = 0;
	unsigned int positive = 0;

	f->n = 0;
	for (size_t i = 0; i < n; i++) {
		if (six ? !sites[i].n6 : !sites[i].n4)
			continue;
		total += sites[i].weight;
		positive += sites[i].weight > 0;
	}
	for (size_t i = 0; i < n && f->n < PICK_SITES_MAX; i++) {
		const struct pick_site *s = &sites[i];
		unsigned int count = six ? s->n6 : s->n4;
		struct pick_choice *c = &f->choice[f->n];

		/* A family that only sites without weight have is still answered by the ones that
		 * are up. */
		if (!count || (positive ? s->weight <= 0 : !s->up))
			continue;
		upto += positive ? s->weight / total : 0;
		c->upto = upto >= 1 ? UINT32_MAX : (uint32_t)(upto * 4294967295.0);
		c->n = (uint16_t)count;
		for (unsigned int a = 0; a < count; a++)
			memcpy(c->rdata[a], six ? s->v6[a].bytes : s->v4[a].bytes, six ? 16 : 4);
		f->n++;
	}
	for (unsigned int i = 0; i < f->n && !positive; i++)
		f->choice[i].upto = (uint32_t)(4294967295.0 * (i + 1) / f->n);
	/* Sums of doubles may end just below one: the last choice takes the rest. */
	if (f->n)
		f->choice[f->n - 1].upto = UINT32_MAX;
}

void steer_name_fill(struct steer_name *out, uint32_t ttl, const struct pick_site *sites, size_t n)
{
	out->ttl = ttl;
	family_fill(&out->v4, sites, n, false);
	family_fill(&out->v6, sites, n, true);
}
