/* SPDX-License-Identifier: Apache-2.0 */
/* report.c -- from ORCA reports to learner samples (see report.h). */
#include "user/agent/report.h"

#include <math.h>
#include <string.h>

static void put(struct weight *w, struct weight_report *out, const char *name, double value)
{
	int j = isfinite(value) ? weight_metric(w, name) : -1;

	if (j >= 0)
		out->metric[j] = value;
}

/* The target: mean number in flight per core. Told, or by Little's law from successes and latency. */
static double in_flight(const struct orca_report *orca)
{
	double cores = orca_named_get(orca, "cores"), told = orca_named_get(orca, "inflight");
	double latency_ms = orca_named_get(orca, "latency_ms");
	double errors = isfinite(orca->eps) ? orca->eps : 0;

	if (!isfinite(told))
		told = fmax(0, orca->rps_fractional - errors) * latency_ms / 1e3;
	return told / (cores > 0 ? cores : 1);
}

bool report_take(struct weight *w, const struct orca_report *orca, double probe_ms,
		 struct weight_report *out)
{
	/* The target is no metric, and the number of cores no load. */
	static const char *const taken[] = { "inflight", "cores", "latency_ms" };

	for (size_t j = 0; j < MODEL_METRICS_MAX; j++)
		out->metric[j] = NAN;
	out->rate = orca->rps_fractional;
	out->errors = orca->eps;
	out->inflight = in_flight(orca);
	put(w, out, "cpu", orca->cpu_utilization);
	put(w, out, "memory", orca->mem_utilization);
	put(w, out, "application", orca->application_utilization);
	put(w, out, "rate", orca->rps_fractional);
	put(w, out, "errors", orca->rps_fractional > 0 ? orca->eps / orca->rps_fractional : 0);
	put(w, out, "latency", orca_named_get(orca, "latency_ms"));
	put(w, out, "probe", probe_ms);
	for (size_t i = 0; i < orca->nnamed; i++) {
		bool skip = false;

		for (size_t k = 0; k < sizeof(taken) / sizeof(taken[0]); k++)
			skip |= strcmp(orca->named[i].name, taken[k]) == 0;
		if (!skip)
			put(w, out, orca->named[i].name, orca->named[i].value);
	}
	return isfinite(orca->rps_fractional);
}
