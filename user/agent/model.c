/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c -- non-negative recursive least squares with forgetting and a ridge (see model.h).
 *
 * The sums of products are a sufficient statistic: mean and covariance at any time are those of all
 * samples weighted by forgetting^age, so that centring is exact and nothing has to be undone when a
 * metric's scale changes (its sums are multiplied).
 */
#include "user/agent/model.h"

#include <math.h>
#include <string.h>

#define FORGET_PER_S  0.995     /* samples count half after 138 s */
#define RIDGE         12.0      /* the prior weighs as much as so many samples */
#define VARIANCE_MIN  1e-6      /* a standard deviation below 0.001 is no variance */
#define SWEEPS        60        /* of coordinate descent, from the last solution */
#define ERROR_S       30.0      /* smoothing of the errors, seconds */
#define DRIFT_S       60.0      /* worse than the prior for so long: back to it */
#define WORSE         1.05
#define SCALE_KEEP_S  0.99      /* a scale that became too large shrinks by 1% a second */
#define LEVEL_MAX     5.0
#define PRIOR_MEAN_MIN 1e-3     /* an idle service still gets units to count in */

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	model_metric(m, "cpu");
	m->prior[0] = m->theta[0] = 1;
}

int model_metric(struct model *m, const char *name)
{
	for (size_t j = 0; j < m->n; j++)
		if (strcmp(m->name[j], name) == 0)
			return (int)j;
	if (m->n == MODEL_METRICS_MAX || strlen(name) >= MODEL_NAME_MAX)
		return -1;
	strcpy(m->name[m->n], name);
	m->scale[m->n] = 1;
	return (int)m->n++;
}

/* The unit of metric j becomes `scale`: its sums and its coefficient follow. */
static void rescale(struct model *m, size_t j, double scale)
{
	double ratio = m->scale[j] / scale;

	m->scale[j] = scale;
	m->sum_x[j] *= ratio;
	m->sum_xy[j] *= ratio;
	m->theta[j] /= ratio;
	for (size_t k = 0; k < m->n; k++) {
		m->sum_xx[j][k] *= ratio;
		m->sum_xx[k][j] *= ratio;
	}
}

void model_scale(struct model *m, const double *raw, double *x)
{
	for (size_t j = 0; j < m->n; j++) {
		if (isfinite(raw[j]) && raw[j] > MODEL_CLIP * m->scale[j] && m->prior[j] == 0)
			rescale(m, j, raw[j]);
		if (isfinite(raw[j]))
			m->top[j] = fmax(m->top[j], raw[j]);
		x[j] = isfinite(raw[j]) ? fmin(MODEL_CLIP, fmax(0, raw[j] / m->scale[j])) : NAN;
	}
}

static double mean_x(const struct model *m, size_t j)
{
	return m->sum > 0 ? m->sum_x[j] / m->sum : 0;
}

double model_variance(const struct model *m, size_t j)
{
	double mean = mean_x(m, j);

	return m->sum > 0 ? fmax(0, m->sum_xx[j][j] / m->sum - mean * mean) : 0;
}

static bool varies(const struct model *m, size_t j)
{
	return model_variance(m, j) >= VARIANCE_MIN;
}

/* From units of the target to units of load: the means of target and prior become equal. */
static double unit(const struct model *m)
{
	double prior = 0;

	for (size_t j = 0; j < m->n; j++)
		prior += m->prior[j] * mean_x(m, j);
	return m->sum_y > 0 ? fmax(prior, PRIOR_MEAN_MIN) * m->sum / m->sum_y : 1;
}

/* How far off the two models are on a pair that neither has seen. */
static void observe_errors(struct model *m, const double *x, double y)
{
	double off = unit(m) * (y - m->sum_y / m->sum), prior_off = off;
	double keep = exp(-1 / (ERROR_S * fmax(1, m->sum * (1 - FORGET_PER_S))));

	for (size_t j = 0; j < m->n; j++) {
		off -= m->theta[j] * (x[j] - mean_x(m, j));
		prior_off -= m->prior[j] * (x[j] - mean_x(m, j));
	}
	m->error = keep * m->error + (1 - keep) * off * off;
	m->prior_error = keep * m->prior_error + (1 - keep) * prior_off * prior_off;
}

void model_sample(struct model *m, const double *x_given, double y)
{
	double x[MODEL_METRICS_MAX];

	/* What is absent is taken as average: it then says nothing. */
	for (size_t j = 0; j < m->n; j++)
		x[j] = isnan(x_given[j]) ? mean_x(m, j) : x_given[j];
	if (m->sum > RIDGE)
		observe_errors(m, x, y);
	m->sum += 1;
	m->sum_y += y;
	m->sum_yy += y * y;
	for (size_t j = 0; j < m->n; j++) {
		m->sum_x[j] += x[j];
		m->sum_xy[j] += x[j] * y;
		for (size_t k = 0; k < m->n; k++)
			m->sum_xx[j][k] += x[j] * x[k];
	}
	m->samples++;
}

static void forget(struct model *m, double dt)
{
	double keep = pow(FORGET_PER_S, dt);

	m->sum *= keep;
	m->sum_y *= keep;
	m->sum_yy *= keep;
	for (size_t j = 0; j < m->n; j++) {
		m->sum_x[j] *= keep;
		m->sum_xy[j] *= keep;
		for (size_t k = 0; k < m->n; k++)
			m->sum_xx[j][k] *= keep;
	}
}

/* After an outlier the usual values would be lost near zero: the scale comes down slowly. */
static void shrink_scales(struct model *m, double dt)
{
	double keep = pow(SCALE_KEEP_S, dt);

	for (size_t j = 0; j < m->n; j++) {
		m->top[j] *= keep;
		if (m->scale[j] > 1 && m->top[j] < 0.5 * m->scale[j])
			rescale(m, j, fmax(1, m->scale[j] * keep));
	}
}

/* Minimises |y - theta x|^2 + ridge |theta - prior|^2 (in units of each metric's variance), theta >= 0. */
static void solve(struct model *m)
{
	double scale = unit(m), mean_y = m->sum_y / m->sum, ridge = RIDGE / m->sum;

	for (int sweep = 0; sweep < SWEEPS; sweep++) {
		double change = 0;

		for (size_t j = 0; j < m->n; j++) {
			double variance = model_variance(m, j), pull, theta;

			if (variance < VARIANCE_MIN) {
				m->theta[j] = m->prior[j];
				continue;
			}
			pull = scale * (m->sum_xy[j] / m->sum - mean_x(m, j) * mean_y) +
			       ridge * variance * m->prior[j];
			for (size_t k = 0; k < m->n; k++)
				if (k != j && varies(m, k))
					pull -= m->theta[k] * (m->sum_xx[j][k] / m->sum -
							       mean_x(m, j) * mean_x(m, k));
			theta = fmax(0, pull / (variance * (1 + ridge)));
			change = fmax(change, fabs(theta - m->theta[j]));
			m->theta[j] = theta;
		}
		if (change < 1e-7)
			break;
	}
}

/* Nothing goes together with the target: then the prior is as good a guess as any. */
static void keep_some_load(struct model *m)
{
	double sum = 0;

	for (size_t j = 0; j < m->n; j++)
		sum += m->theta[j];
	if (sum < 1e-6)
		memcpy(m->theta, m->prior, sizeof(m->theta));
}

static int watch_drift(struct model *m, double dt)
{
	if (m->sum <= RIDGE || m->prior_error == 0)
		return 0;
	m->worse_s = m->error > WORSE * m->prior_error ? m->worse_s + dt : 0;
	m->better_s = m->error < m->prior_error ? m->better_s + dt : 0;
	if (!m->fallback && m->worse_s >= DRIFT_S) {
		/* What was learned is not true any more: the memory goes, names and scales stay. */
		m->sum = m->sum_y = m->sum_yy = m->worse_s = m->better_s = 0;
		m->error = m->prior_error = 0;
		memset(m->sum_x, 0, sizeof(m->sum_x));
		memset(m->sum_xy, 0, sizeof(m->sum_xy));
		memset(m->sum_xx, 0, sizeof(m->sum_xx));
		memcpy(m->theta, m->prior, sizeof(m->theta));
		m->fallback = true;
		m->fallbacks++;
		return 1;
	}
	if (m->fallback && m->better_s >= DRIFT_S) {
		m->fallback = false;
		return -1;
	}
	return 0;
}

int model_tick(struct model *m, double dt)
{
	int drifted;

	shrink_scales(m, dt);
	if (m->sum <= 0)
		return 0;
	drifted = watch_drift(m, dt);
	if (drifted == 1)
		return 1;
	solve(m);
	keep_some_load(m);
	forget(m, dt);
	return drifted;
}

double model_theta(const struct model *m, size_t j)
{
	return m->fallback ? m->prior[j] : m->theta[j];
}

/* The fit is centred: its slopes say how loads differ, not how high they are. The level makes the mean
 * load the mean of the prior's, so that loads of sites can be compared. */
static double level(const struct model *m)
{
	double fitted = 0, prior = 0;

	for (size_t j = 0; j < m->n; j++) {
		fitted += model_theta(m, j) * mean_x(m, j);
		prior += m->prior[j] * mean_x(m, j);
	}
	if (m->sum < RIDGE || fitted <= 0 || prior < PRIOR_MEAN_MIN)
		return 1;
	return fmin(LEVEL_MAX, fmax(1 / LEVEL_MAX, prior / fitted));
}

double model_load(const struct model *m, const double *x)
{
	double load = 0;
	bool any = false;

	for (size_t j = 0; j < m->n; j++) {
		if (isnan(x[j]) || model_theta(m, j) == 0)
			continue;
		any = true;
		load += model_theta(m, j) * x[j];
	}
	return any ? load * level(m) : NAN;
}
