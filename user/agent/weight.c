/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weight.c -- from reports to weights (see weight.h). The order of a tick is the order of the
 * functions from below: observe, learn, judge capacities, allocate, shape.
 */
#include "user/agent/weight.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SMOOTH_S     5.0        /* of rates, loads and errors */
#define EXPIRE_S     5.0        /* a report older than this is none */
#define KEEP_S       10.0       /* so long a silent backend keeps what it had … */
#define AGE_S        60.0       /* … and then becomes like the others within this */
#define FILL_MIN     0.7        /* delays are balanced as if at least so much of all capacity were used:
				   at little traffic the optimum would be the fastest backend alone */
#define FLOOR        0.05       /* of the share that the configured size gives */
#define DEAD_BAND    0.05       /* relative; one that moves goes on until SETTLED */
#define SETTLED      0.01
#define STEP_PER_S   0.15       /* relative to the share, */
#define STEP_FROM    0.3        /* … taken as so much of an equal share at least */
#define STEP_S       3.0        /* a step after a blackout makes up for so many seconds */
#define SLOW_START_S 30.0
#define SLOW_BEGIN   0.1
#define BLACKOUT_S   2.0        /* reports need so long to show a change of the slots */
#define EJECT_ERRORS 0.5        /* failing: so many of the requests, */
#define EJECT_S      3.0        /* for so long, at one request a second and more */
#define SHRINK       0.1        /* capacities are drawn towards the configured sizes by so much, */
#define SHRINK_COUNT 10.0       /* and more while only a handful of requests was seen */
#define NOMINAL      1000.0     /* requests per second that a size of 1 takes, before anything was seen … */
#define NOMINAL_LOAD 0.05       /* … which counts like so much load that was seen */
#define NOMINAL_S    60.0       /* it follows what is seen, so that a service that falls idle is remembered */
#define LOAD_MIN     0.03       /* … and while there is little load: what differs then is mostly noise */

struct backend {
	struct weight_state state;
	double rate, load, errors;      /* smoothed; load NAN before the first report */
	double last_x[MODEL_METRICS_MAX];
	bool has_last, was_up, moving;
	double age_s, up_s, failing_s;
};

struct weight {
	struct model model;
	struct backend *backends;
	size_t n;
	double nominal;                 /* remembered requests per second of a size of 1 at load 1 */
	double age_s, blackout_s, still_s;      /* since the first tick; left; since a step was allowed */
	double *scratch;                /* [2 n] */
};

int weight_new(struct weight **out)
{
	struct weight *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	model_init(&w->model);
	w->nominal = NOMINAL;
	*out = w;
	return 0;
}

void weight_free(struct weight *w)
{
	if (!w)
		return;
	free(w->backends);
	free(w->scratch);
	free(w);
}

static struct backend *find(const struct weight *w, const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->backends[i].state.name, name) == 0)
			return &w->backends[i];
	return NULL;
}

static void backend_init(struct backend *b, const char *name)
{
	memset(b, 0, sizeof(*b));
	strcpy(b->state.name, name);
	b->load = b->state.load = NAN;
	b->age_s = EXPIRE_S + KEEP_S + AGE_S;
	b->state.why = "";
	for (size_t j = 0; j < MODEL_METRICS_MAX; j++)
		b->state.x[j] = b->last_x[j] = NAN;
}

int weight_backends(struct weight *w, const char *const *names, const double *sizes, size_t n)
{
	struct backend *backends = calloc(n ? n : 1, sizeof(*backends));
	double *scratch = calloc(n ? 2 * n : 1, sizeof(*scratch)), sum = 0;
	int err = backends && scratch ? 0 : -ENOMEM;

	for (size_t i = 0; err == 0 && i < n; i++) {
		const struct backend *old = find(w, names[i]);

		if (strlen(names[i]) >= WEIGHT_NAME_MAX)
			err = -EINVAL;
		for (size_t k = 0; err == 0 && k < i; k++)
			if (strcmp(names[k], names[i]) == 0)
				err = -EINVAL;
		if (err)
			break;
		if (old)
			backends[i] = *old;
		else
			backend_init(&backends[i], names[i]);
		backends[i].state.size = sizes[i] > 0 && isfinite(sizes[i]) ? sizes[i] : 1;
		sum += backends[i].state.target;
	}
	if (err) {
		free(backends);
		free(scratch);
		return err;
	}
	for (size_t i = 0; i < n; i++)
		backends[i].state.target /= sum > 0 ? sum : 1;
	free(w->backends);
	free(w->scratch);
	w->backends = backends;
	w->scratch = scratch;
	w->n = n;
	return 0;
}

int weight_metric(struct weight *w, const char *name)
{
	return model_metric(&w->model, name);
}

void weight_changed(struct weight *w)
{
	w->blackout_s = BLACKOUT_S;
}

const struct weight_state *weight_state(const struct weight *w, size_t i)
{
	return &w->backends[i].state;
}

size_t weight_count(const struct weight *w)
{
	return w->n;
}

const struct model *weight_model(const struct weight *w)
{
	return &w->model;
}

static bool usable(const struct weight_input *in)
{
	return in->up && !in->draining;
}

static bool has_report(const struct backend *b)
{
	return b->age_s < EXPIRE_S && !isnan(b->load);
}

double weight_capacity(const struct weight *w)
{
	double sum = 0;

	for (size_t i = 0; i < w->n; i++)
		if (w->backends[i].was_up)
			sum += w->backends[i].state.capacity;
	return sum;
}

/* ---- observe and learn ------------------------------------------------------------------------ */

static double smooth(double old, double value, double dt)
{
	return isnan(old) ? value : old + (1 - exp(-dt / SMOOTH_S)) * (value - old);
}

/* A new report: a pair for the model from the last metrics and this target, then the averages. */
static void take_report(struct weight *w, struct backend *b, const struct weight_report *r, bool learn)
{
	double passed = fmin(b->age_s, EXPIRE_S);
	double rate = isfinite(r->rate) ? fmax(0, r->rate) : 0;
	double errors = isfinite(r->errors) ? fmin(rate, fmax(0, r->errors)) : 0;
	double load;

	model_scale(&w->model, r->metric, b->state.x);
	if (learn && b->has_last && b->age_s < EXPIRE_S && isfinite(r->inflight))
		model_sample(&w->model, b->last_x, fmax(0, r->inflight));
	memcpy(b->last_x, b->state.x, sizeof(b->last_x));
	b->has_last = true;
	load = model_load(&w->model, b->state.x);
	if (!isnan(load))
		b->load = smooth(b->load, load, passed);
	b->rate = smooth(b->rate, rate - errors, passed);
	b->errors = smooth(b->errors, rate > 0 ? errors / rate : 0, passed);
	b->state.errors = b->errors;
	b->age_s = 0;
}

static void observe(struct weight *w, const struct weight_input *in, double dt)
{
	bool learn = w->blackout_s <= BLACKOUT_S / 2;

	for (size_t i = 0; i < w->n; i++) {
		struct backend *b = &w->backends[i];

		b->age_s += dt;
		if (in[i].fresh)
			take_report(w, b, &in[i].report, learn && usable(&in[i]));
		if (usable(&in[i]))
			/* What is up from the beginning is not new. */
			b->up_s = b->was_up ? b->up_s + dt : w->age_s < EXPIRE_S ? SLOW_START_S : 0;
		b->was_up = usable(&in[i]);
		b->failing_s = b->errors > EJECT_ERRORS && has_report(b) ? b->failing_s + dt : 0;
	}
}

/* ---- capacities ------------------------------------------------------------------------------- */

/* Requests per second that one unit of configured size takes at load 1, and the means. What is idle
 * counts as what it was when it was busy: sites that are compared must not look small for that. */
static double rate_per_size(struct weight *w, double dt, double *mean_load, double *mean_rate)
{
	double rates = 0, loads = 0, sized = 0, per_size;
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++) {
		const struct backend *b = &w->backends[i];

		if (!b->was_up || !has_report(b))
			continue;
		rates += b->rate;
		loads += b->load;
		sized += b->load * b->state.size;
		n++;
	}
	*mean_load = n ? loads / (double)n : 0;
	*mean_rate = n ? rates / (double)n : 0;
	per_size = (rates + w->nominal * NOMINAL_LOAD) / (sized + NOMINAL_LOAD);
	w->nominal += (1 - exp(-dt / NOMINAL_S)) * fmin(1, sized) * (per_size - w->nominal);
	return per_size;
}

/* A silent backend keeps its capacity for a while, then ages to what the others have for its size. */
static double silent_capacity(const struct backend *b, double per_size)
{
	double aged = fmin(1, fmax(0, b->age_s - EXPIRE_S - KEEP_S) / AGE_S);

	if (isnan(b->load))
		return b->state.size * per_size;
	return (1 - aged) * b->state.capacity + aged * b->state.size * per_size;
}

static void judge(struct weight *w, double dt)
{
	double mean_load, mean_rate, known = 0, sizes = 0, prior;
	double per_size = rate_per_size(w, dt, &mean_load, &mean_rate);
	/* So much load at the configured capacity is mixed in. It keeps what is unknown from being taken
	 * for small, and a share that feeds itself (more traffic, so more capacity) from running away. */
	double mix = mean_load * (SHRINK + SHRINK_COUNT / (1 + mean_rate * 2 * SMOOTH_S)) + LOAD_MIN;

	for (size_t i = 0; i < w->n; i++) {
		struct backend *b = &w->backends[i];

		if (!has_report(b))
			continue;
		b->state.load = b->load;
		b->state.capacity = (b->rate + mix * per_size * b->state.size) / (b->load + mix) *
				    (1 - b->errors) * (1 - b->errors);
		if (b->was_up) {
			known += b->state.capacity;
			sizes += b->state.size;
		}
	}
	prior = sizes > 0 ? known / sizes : per_size;
	for (size_t i = 0; i < w->n; i++) {
		struct backend *b = &w->backends[i];

		if (!has_report(b))
			b->state.capacity = silent_capacity(b, prior);
	}
}

/* ---- allocation -------------------------------------------------------------------------------- */

void weight_fill(const double *capacity, size_t n, double rate, double *share)
{
	double sum = 0, level = 0, given = 0;
	size_t active = 0, before = SIZE_MAX;

	for (size_t i = 0; i < n; i++)
		sum += capacity[i];
	for (size_t i = 0; i < n; i++)
		share[i] = sum > 0 ? capacity[i] / sum : 0;
	if (sum <= 0 || rate <= 0 || rate >= sum)
		return;
	/* Where traffic goes, c/(c-x)^2 is equal: x = c - level * sqrt(c). Those with x < 0 drop out. */
	while (active != before) {
		double left = -rate, roots = 0;

		before = active;
		active = 0;
		for (size_t i = 0; i < n; i++) {
			if (sqrt(capacity[i]) <= level)
				continue;
			left += capacity[i];
			roots += sqrt(capacity[i]);
			active++;
		}
		level = left / roots;
	}
	for (size_t i = 0; i < n; i++) {
		share[i] = fmax(0, capacity[i] - level * sqrt(capacity[i]));
		given += share[i];
	}
	for (size_t i = 0; i < n; i++)
		share[i] /= given;
}

static void eject(struct weight *w)
{
	size_t up = 0, failing = 0;

	for (size_t i = 0; i < w->n; i++) {
		struct backend *b = &w->backends[i];

		b->state.failing = b->was_up && b->failing_s >= EJECT_S;
		up += b->was_up;
		failing += b->state.failing;
	}
	/* More than half: the fault is elsewhere, and the others could not take it all. */
	if (2 * failing > up)
		for (size_t i = 0; i < w->n; i++)
			w->backends[i].state.failing = false;
}

static double slow_start(const struct backend *b)
{
	return fmin(1, SLOW_BEGIN + (1 - SLOW_BEGIN) * b->up_s / SLOW_START_S);
}

static void normalise(double *value, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += value[i];
	for (size_t i = 0; i < n; i++)
		value[i] = sum > 0 ? value[i] / sum : 0;
}

static void allocate(struct weight *w)
{
	double *capacity = w->scratch, *share = w->scratch + w->n;
	double sum = 0, rate = 0, sizes = 0;

	eject(w);
	for (size_t i = 0; i < w->n; i++) {
		const struct backend *b = &w->backends[i];

		capacity[i] = b->was_up && !b->state.failing ? b->state.capacity : 0;
		sum += capacity[i];
		rate += b->was_up && has_report(b) ? b->rate : 0;
		sizes += b->was_up ? b->state.size : 0;
	}
	weight_fill(capacity, w->n, fmax(rate, FILL_MIN * sum), share);
	for (size_t i = 0; i < w->n; i++) {
		const struct backend *b = &w->backends[i];

		share[i] = b->was_up ? fmax(share[i], FLOOR * b->state.size / sizes) : 0;
	}
	normalise(share, w->n);
	for (size_t i = 0; i < w->n; i++) {
		struct backend *b = &w->backends[i];

		b->state.wanted = share[i];
		b->state.why = "";
		if (b->was_up && rate > sum && rate > 1)
			b->state.why = "all are overloaded: by capacity";
	}
}

/* ---- from wanted to applied --------------------------------------------------------------------- */

static double step(const struct weight *w, struct backend *b, double goal)
{
	double least = STEP_FROM / (double)w->n, off = goal - b->state.target;
	double most = STEP_PER_S * w->still_s * fmax(b->state.target, least);
	double size = fmax(goal, b->state.target);

	if (b->state.failing || (slow_start(b) < 1 && off > 0))
		return goal;            /* a slow start is a bounded step of its own */
	if (fabs(off) <= (b->moving ? SETTLED : DEAD_BAND) * size) {
		b->moving = false;
		if (fabs(off) > SETTLED * size)
			b->state.why = "within the dead band";
		return b->state.target;
	}
	if (w->blackout_s > 0) {
		b->state.why = "waits for the last change to show";
		return b->state.target;
	}
	b->moving = true;
	if (fabs(off) <= most)
		return goal;
	b->state.why = "moves in bounded steps";
	return b->state.target + copysign(most, off);
}

static void shape(struct weight *w, const struct weight_input *in, double dt)
{
	double *goal = w->scratch, *next = w->scratch + w->n, had = 0;

	for (size_t i = 0; i < w->n; i++) {
		const struct backend *b = &w->backends[i];

		goal[i] = b->was_up ? b->state.wanted * slow_start(b) : 0;
		had += b->was_up ? b->state.target : 0;
	}
	normalise(goal, w->n);
	w->still_s = fmin(STEP_S, w->still_s + dt);
	for (size_t i = 0; i < w->n; i++) {
		struct backend *b = &w->backends[i];

		b->state.target = b->was_up && had > 0 ? b->state.target / had : 0;
		/* Nothing to step from: straight to the goal. */
		next[i] = !b->was_up ? 0 : had > 0 ? step(w, b, goal[i]) : goal[i];
		if (b->was_up && slow_start(b) < 1)
			b->state.why = "slow start";
	}
	normalise(next, w->n);
	if (w->blackout_s <= 0)
		w->still_s = 0;
	for (size_t i = 0; i < w->n; i++) {
		struct backend *b = &w->backends[i];

		b->state.target = next[i];
		if (in[i].draining)
			b->state.why = "draining";
		else if (!in[i].up)
			b->state.why = "down";
		else if (b->state.failing)
			b->state.why = "most of its requests fail: floor only";
		else if (isnan(b->load))
			b->state.why = "no report: by configured size";
		else if (!has_report(b))
			b->state.why = "silent: keeps its capacity, then ages to the others' mean";
	}
}

int weight_tick(struct weight *w, const struct weight_input *in, double dt)
{
	int drifted;

	observe(w, in, dt);
	drifted = model_tick(&w->model, dt);
	judge(w, dt);
	allocate(w);
	shape(w, in, dt);
	w->blackout_s = fmax(0, w->blackout_s - dt);
	w->age_s += dt;
	return drifted;
}
