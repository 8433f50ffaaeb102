/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_pick.c -- see attach_pick.h.
 */
#include <math.h>

#include "user/tunnel/attach_pick.h"

#define SPREAD	   8.0	 /* in requests: how much the share of recent picks weighs */
#define RECENT_S   5.0	 /* their half-life */
#define ADAPT_S	   2.0	 /* time constant with which weights follow what was learned */
#define DOUBT_S	   30.0	 /* … and go back to 1 when too little is known */
#define BUSY_MIN_S 50e-6 /* a faster answer tells of our own clock */

/* Lower is better. Without load `open` says nothing, so that the best one would get every request
 * and the others none: the share of recent picks makes shares follow the weights there too. */
static double score(const struct pick_origin *o, double recent)
{
	return (o->open + 1 + SPREAD * o->recent / (recent + 1)) / o->weight;
}

static bool better(const struct pick_conn *a, const struct pick_conn *b, uint64_t turn)
{
	uint64_t a_open = a->open + (a->turn == turn ? 0 : PICK_TOGETHER);
	uint64_t b_open = b->open + (b->turn == turn ? 0 : PICK_TOGETHER);

	if (a_open != b_open)
		return a_open < b_open;
	/* an unknown time is as good as a large one */
	return (a->rtt_us ? a->rtt_us : UINT32_MAX) < (b->rtt_us ? b->rtt_us : UINT32_MAX);
}

/* Looked at too seldom to know whether it is well again; one that does not answer is not asked
 * more. */
static bool is_due(const struct pick_origin *o, double recent)
{
	return o->recent * PICK_LOOK < recent && o->open < 2;
}

static bool candidate(const struct pick_conn *c, const struct pick_conn *avoid)
{
	return c->usable && c != avoid;
}

long pick(struct pick_conn *const *conns, size_t n, const struct pick_conn *avoid, uint64_t turn)
{
	static uint64_t mark;
	double recent = 0, best_score = INFINITY;
	const struct pick_origin *origin = NULL;
	long best = -1;

	mark++;
	for (size_t i = 0; i < n; i++) {
		struct pick_origin *o = conns[i]->origin;

		if (!candidate(conns[i], avoid) || o->mark == mark)
			continue;
		o->mark = mark;
		recent += o->recent;
	}
	for (size_t i = 0; i < n; i++) {
		double s;

		if (!candidate(conns[i], avoid))
			continue;
		s = is_due(conns[i]->origin, recent) ? 0 : score(conns[i]->origin, recent);
		if (conns[i]->origin != origin && s < best_score) {
			best_score = s;
			origin = conns[i]->origin;
			best = (long)i;
		} else if (conns[i]->origin == origin && better(conns[i], conns[best], turn)) {
			best = (long)i;
		}
	}
	if (best < 0 && avoid)
		return pick(conns, n, NULL, turn);
	if (best >= 0) {
		conns[best]->origin->recent++;
		conns[best]->turn = turn;
	}
	return best;
}

void pick_join(struct pick_origin *o, struct pick_origin *const *others, size_t n)
{
	o->recent = 0;
	for (size_t i = 0; i < n; i++)
		o->recent += others[i]->recent / (double)n;
}

void pick_answered(struct pick_origin *o, double busy_s, bool good)
{
	o->all++;
	o->good += good;
	o->busy_s += fmax(busy_s, BUSY_MIN_S);
}

void pick_waited(struct pick_origin *o, double busy_s)
{
	o->busy_s += busy_s;
}

/* Relative to nothing: answers per second of service. Negative: not enough is known. */
static double capacity(const struct pick_origin *o)
{
	if (o->all < PICK_SAMPLES || o->busy_s <= 0)
		return -1;
	return o->good / o->busy_s * (o->good / o->all);
}

void pick_learn(struct pick_origin *const *origins, size_t n, double dt_s)
{
	double keep = exp2(-dt_s / PICK_HALF_S);
	double sum = 0;
	size_t known = 0;

	for (size_t i = 0; i < n; i++) {
		double c = capacity(origins[i]);

		known += c >= 0;
		sum += fmax(c, 0);
	}
	for (size_t i = 0; i < n; i++) {
		struct pick_origin *o = origins[i];
		double c = capacity(o), want = 1;

		if (known > 1 && c >= 0 && sum > 0)
			want = fmin(fmax(c / (sum / (double)known), PICK_WEIGHT_MIN),
				    PICK_WEIGHT_MAX);
		o->weight += (want - o->weight) * (1 - exp(-dt_s / (c < 0 ? DOUBT_S : ADAPT_S)));
		o->good *= keep;
		o->all *= keep;
		o->busy_s *= keep;
		o->recent *= exp2(-dt_s / RECENT_S);
	}
}

uint32_t pick_rtt_step(uint32_t told_us, uint32_t now_us)
{
	uint32_t apart = now_us > told_us ? now_us - told_us : told_us - now_us;

	if (!now_us || (told_us && (apart < 200 || apart < told_us / 3)))
		return told_us;
	return now_us < 100 ? now_us : now_us / 100 * 100;
}
