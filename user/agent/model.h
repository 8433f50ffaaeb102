/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h -- how much each reported metric tells about load, learned from the reports themselves.
 *
 * A linear model L = level * sum of theta[j] * x[j] with theta >= 0: recursive least squares with
 * forgetting, solved by coordinate descent under the sign constraint, with a ridge towards a prior
 * that is "cpu alone" (theta = 1 for cpu, 0 for the rest), so that on day zero the load is the cpu
 * utilization, as in gRPC's weighted round robin. What is predicted is the next tick's mean number of
 * requests in flight per core (Little's law), in units in which its mean equals the prior's mean:
 * loads then read like utilizations. Metrics are centred, so that only what varies together with
 * the target counts; a metric that does not vary tells nothing and is ignored.
 *
 * Pure and without allocation: one struct, sums of past samples weighted by their age.
 */
#ifndef WEIR_MODEL_H
#define WEIR_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#define MODEL_METRICS_MAX 16
#define MODEL_NAME_MAX    40
#define MODEL_CLIP        1.2   /* metrics live in [0, 1.2]: a little over full is still told apart */

struct model {
	size_t n;
	char name[MODEL_METRICS_MAX][MODEL_NAME_MAX];
	double scale[MODEL_METRICS_MAX];        /* raw / scale = x; 1 while no value was above 1.2 */
	double top[MODEL_METRICS_MAX];          /* recent largest raw value */
	double prior[MODEL_METRICS_MAX], theta[MODEL_METRICS_MAX];
	/* Sums over samples, each weighted by forgetting^age. */
	double sum, sum_y, sum_yy;
	double sum_x[MODEL_METRICS_MAX], sum_xy[MODEL_METRICS_MAX];
	double sum_xx[MODEL_METRICS_MAX][MODEL_METRICS_MAX];
	unsigned long long samples;             /* ever taken */
	/* One-step-ahead squared errors (smoothed), of this model and of the prior; seconds in a row
	 * that the model was worse / better. */
	double error, prior_error, worse_s, better_s;
	bool fallback;                          /* the prior is in use, because the model was worse */
	unsigned int fallbacks;
};

void model_init(struct model *m);
/* The index of a metric, made at its first use; -1 when there is no room or the name is too long. */
int model_metric(struct model *m, const char *name);

/* Raw metrics (NAN: absent) to x, clipped; follows the scale of what is not a fraction.
 * raw and x have m->n elements. */
void model_scale(struct model *m, const double *raw, double *x);
/* One pair: the metrics of one backend, and its target one tick later. */
void model_sample(struct model *m, const double *x, double y);
/* After a tick's samples: forget, solve, watch for drift. Returns 1 when the model was given up for
 * the prior, -1 when it is used again, else 0. */
int model_tick(struct model *m, double dt);

/* The coefficient in use now. */
double model_theta(const struct model *m, size_t j);
double model_variance(const struct model *m, size_t j);
/* The load of a backend with these metrics, >= 0; NAN when none of the used ones is there. */
double model_load(const struct model *m, const double *x);

#endif
