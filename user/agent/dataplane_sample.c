// SPDX-License-Identifier: Apache-2.0
/* dataplane_sample.c -- the agent's end of what loader_sample.c answers (see dataplane.h). */
#include <errno.h>
#include <string.h>

#include "user/agent/dataplane_int.h"

int dataplane_flag_counts(struct dataplane *dp, const uint32_t *services, size_t n,
			  struct weir_flag_count *out)
{
	if (n > 1024)
		return dataplane_fail(dp, -E2BIG, "more than 1024 services asked for");
	dataplane_prepare(dp, 0, 0, services, n * sizeof(*services));
	return dataplane_ask_for(dp, LOADER_FLAG_COUNTS, out, n * sizeof(*out));
}

int dataplane_cpu_counts(struct dataplane *dp, struct dataplane_cpu *out, size_t max)
{
	size_t n;
	int rc;

	dataplane_prepare(dp, 0, 0, NULL, 0);
	rc = dataplane_do(dp, LOADER_CPU_COUNTS);
	if (rc < 0)
		return rc;
	n = dp->m.len / sizeof(*out);
	if (n > max)
		n = max;
	memcpy(out, dp->m.body, n * sizeof(*out));
	return (int)n;
}

int dataplane_sample_filter(struct dataplane *dp, uint32_t index, const struct weir_sample_filter *f)
{
	dataplane_prepare(dp, index, 0, f, sizeof(*f));
	return dataplane_do(dp, LOADER_SAMPLE_FILTER);
}

int dataplane_sample_counts(struct dataplane *dp, uint64_t out[WEIR_SAMPLE_COUNTS])
{
	dataplane_prepare(dp, 0, 0, NULL, 0);
	return dataplane_ask_for(dp, LOADER_SAMPLE_COUNTS, out, WEIR_SAMPLE_COUNTS * sizeof(*out));
}

int dataplane_sample_ring(struct dataplane *dp)
{
	int fd = -1, rc;

	dataplane_prepare(dp, 0, 0, NULL, 0);
	rc = dataplane_ask(dp, LOADER_SAMPLE_RING, &fd);
	if (rc < 0)
		return rc;
	return fd >= 0 ? fd : dataplane_fail(dp, -EPROTO, "the loader sent no ring");
}
