/* SPDX-License-Identifier: Apache-2.0 */
/* dataplane_filter.c -- the agent's end of what loader_filter.c does (see dataplane.h). */
#include <errno.h>
#include <string.h>

#include "user/agent/dataplane_int.h"
#include "user/agent/filterset.h"

int dataplane_filter(struct dataplane *dp, enum dataplane_filter what, const void *body, size_t len, void *out,
		     size_t *max)
{
	bool top = what == DATAPLANE_FILTER_TOP;
	int rc;

	if (len > LOADER_BODY_MAX)
		return dataplane_fail(dp, -E2BIG, "too many entries at once");
	dataplane_prepare(dp, what, top ? (uint32_t)(*max / sizeof(struct filterset_top)) : 0, body, len);
	rc = dataplane_do(dp, LOADER_FILTER);
	if (rc < 0 || !max)
		return rc;
	if (dp->m.len > *max)
		return dataplane_fail(dp, -EPROTO, "the loader's answer is not understood");
	if (dp->m.len)
		memcpy(out, dp->m.body, dp->m.len);
	*max = dp->m.len;
	return rc;
}
