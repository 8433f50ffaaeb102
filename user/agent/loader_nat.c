/* SPDX-License-Identifier: Apache-2.0 */
/* loader_nat.c -- NAT in the loader process (see loader.h and natset.h). */
#include <errno.h>
#include <string.h>

#include "lib/log.h"
#include "user/agent/loader_int.h"

_Static_assert(CONF_NAT_ADDRESSES_MAX == WEIR_NAT_PLACES, "NAT places");

#define COUNT_SECONDS 2 /* counting walks through all entries, 8 MiB unless agent.limits.nat_ports says more */

struct natset_want loader_nat_want(const struct conf_agent *conf)
{
	struct natset_want want = {
		.tcp_s = (uint32_t)(conf->nat.idle_us / 1000000),
		.udp_s = (uint32_t)(conf->nat.udp_us / 1000000),
	};

	for (size_t i = 0; i < conf->nat.naddresses && want.n < WEIR_NAT_PLACES; i++)
		want.addr[want.n++] = conf->nat.addresses[i];
	return want;
}

static struct natset_fds nat_fds(const struct loader *l)
{
	return (struct natset_fds){
		.settings = l->fds.settings,
		.conf = l->fds.nat_conf,
		.addresses = l->fds.nat_addresses,
		.ports = l->fds.nat_ports,
		.flows = l->fds.nat_flows,
		.counts = l->fds.nat_counts,
	};
}

int loader_nat(struct loader *l, const struct natset_want *want)
{
	const struct natset_fds fds = nat_fds(l);
	int rc = want->n > WEIR_NAT_PLACES ? -E2BIG : natset_write(&fds, want);

	if (rc == -ENOSPC)
		log_error("agent.nat.addresses: %u are more than the table of ports has room for; raise "
			  "agent.limits.nat_ports to %u and restart weir-agent",
			  want->n, want->n * WEIR_NAT_PORTS);
	return rc;
}

int loader_do_nat(struct loader *l)
{
	const struct natset_fds fds = nat_fds(l);
	uint32_t now = maps_now();
	int rc = 0;

	if (!l->nat_at || now - l->nat_at >= COUNT_SECONDS)
		rc = natset_state(&fds, now, &l->nat);
	if (rc)
		return rc;
	l->nat_at = now - l->nat_at >= COUNT_SECONDS ? now : l->nat_at;
	memcpy(l->out.body, &l->nat, sizeof(l->nat));
	l->out.len = sizeof(l->nat);
	return 0;
}
