/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight.h -- the learner: reports of a service's backends in, loads, capacities and weights out.
 *
 * Each tick: the model (model.h) learns from pairs of (metrics, requests in flight per core one tick
 * later); a backend's load L is the model's; its capacity C = successes per second / L * (1 - e)^2, so
 * that a server that fails fast looks small and not fast; the wanted shares minimise the mean delay
 * of that traffic over these capacities (convex water-filling); what is applied follows in bounded
 * steps, with a dead band, a floor and a slow start.
 *
 * Pure: no clock, socket or global. Numbers that are unknown are NAN.
 */
#ifndef WEIR_WEIGHT_H
#define WEIR_WEIGHT_H

#include <stdbool.h>
#include <stddef.h>

#include "user/agent/model.h"

#define WEIGHT_NAME_MAX 64

struct weight_report {
	double metric[MODEL_METRICS_MAX];       /* raw, by weight_metric()'s index; NAN: absent */
	double rate;                            /* requests per second, all */
	double errors;                          /* of these, failed by the server's fault, per second */
	double inflight;                        /* mean in flight per core; NAN: unknown */
};

struct weight_input {
	bool up, draining;
	bool fresh;                             /* report came since the last tick */
	struct weight_report report;
};

/* What the learner thinks of one backend. */
struct weight_state {
	char name[WEIGHT_NAME_MAX];
	double size;            /* configured capacity, relative */
	double load;            /* NAN: never reported */
	double capacity;        /* requests per second at load 1 */
	double wanted;          /* share, the sum over the service is 1 (or 0: none is up) */
	double target;          /* the wanted share after steps, dead band and slow start */
	double errors;          /* fraction of requests, smoothed */
	double x[MODEL_METRICS_MAX];    /* last metrics as the model sees them */
	bool failing;           /* ejected: its share may shrink at once */
	const char *why;        /* why target is not wanted, or wanted is special; "" else. Static text */
};

struct weight;

int weight_new(struct weight **out);                    /* 0 or -ENOMEM */
void weight_free(struct weight *w);                     /* accepts NULL */

/* The backends from now on, in this order; what is known of a name is kept. 0, -EINVAL (a name too
 * long or twice) or -ENOMEM: then nothing changed. */
int weight_backends(struct weight *w, const char *const *names, const double *sizes, size_t n);
/* The index of a metric in reports, -1 when there is no room for it. */
int weight_metric(struct weight *w, const char *name);

/* One step of dt seconds; in[n] in the order of the backends. Returns what model_tick() returned. */
int weight_tick(struct weight *w, const struct weight_input *in, double dt);
/* New slots are in force: what follows is not judged until it has had time to show. */
void weight_changed(struct weight *w);

const struct weight_state *weight_state(const struct weight *w, size_t i);
size_t weight_count(const struct weight *w);
const struct model *weight_model(const struct weight *w);
/* Of the whole service: the sum of the capacities of those that are up and not draining. */
double weight_capacity(const struct weight *w);

/* Shares of `rate` over capacities that minimise the mean delay sum of x/(c - x): zero for those that
 * are too slow to help. rate at or above the sum of capacities: by capacity. Pure, for tests. */
void weight_fill(const double *capacity, size_t n, double rate, double *share);

#endif
