/* SPDX-License-Identifier: Apache-2.0 */
/* dataplane_egress.c -- the agent's end for what this host itself sends (loader_egress.c has the other). */
#include <errno.h>
#include <string.h>

#include "user/agent/dataplane_int.h"

int dataplane_probe(struct dataplane *dp, uint16_t backend, const struct addr *service,
		    enum weir_encap encap)
{
	struct loader_probe p;
	int fd = -1, rc;

	memset(&p, 0, sizeof(p));
	p.service = *service;
	p.encap = (uint8_t)encap;
	dataplane_prepare(dp, backend, 0, &p, sizeof(p));
	rc = dataplane_ask(dp, LOADER_PROBE, &fd);
	if (rc < 0)
		return rc;
	if (rc == 1)
		return dataplane_fail(dp, -EOPNOTSUPP, "%.*s", (int)dp->m.len, (char *)dp->m.body);
	return fd >= 0 ? fd : dataplane_fail(dp, -EPROTO, "the loader sent no socket");
}

int dataplane_egress_counts(struct dataplane *dp, uint64_t out[WEIR_EGRESS_COUNT])
{
	dataplane_prepare(dp, 0, 0, NULL, 0);
	return dataplane_ask_for(dp, LOADER_EGRESS_COUNTS, out, WEIR_EGRESS_COUNT * sizeof(*out));
}

int dataplane_announce(struct dataplane *dp, uint32_t table, const struct addr_prefix *prefix, size_t n)
{
	if (n > CONF_ANNOUNCE_MAX)
		return dataplane_fail(dp, -E2BIG, "agent.announce: at most %d addresses, these are %zu; announce "
				      "networks of them", CONF_ANNOUNCE_MAX, n);
	dataplane_prepare(dp, table, 0, prefix, n * sizeof(*prefix));
	return dataplane_do(dp, LOADER_ANNOUNCE);
}
