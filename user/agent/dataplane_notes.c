/* SPDX-License-Identifier: Apache-2.0 */
/* dataplane_notes.c -- the agent's end of what loader_notes.c and loader_nat.c answer (see dataplane.h). */
#include <errno.h>

#include "user/agent/dataplane_int.h"

int dataplane_notes(struct dataplane *dp, struct dataplane_notes *out)
{
	dataplane_prepare(dp, 0, 0, NULL, 0);
	return dataplane_ask_for(dp, LOADER_NOTES, out, sizeof(*out));
}

int dataplane_loads(struct dataplane *dp, const struct dataplane_load *load, size_t n)
{
	if (n > 1024)
		return dataplane_fail(dp, -E2BIG, "more than 1024 loads told");
	dataplane_prepare(dp, 0, 0, load, n * sizeof(*load));
	return dataplane_do(dp, LOADER_LOADS);
}

int dataplane_nat(struct dataplane *dp, struct natset_state *out)
{
	dataplane_prepare(dp, 0, 0, NULL, 0);
	return dataplane_ask_for(dp, LOADER_NAT, out, sizeof(*out));
}
