/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader_ways.c -- what the loader reads of the kernel's tables: the ways to backends, this node's addresses.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/log.h"
#include "user/agent/loader_int.h"

#define CONFIRM_SECONDS	  20  /* below the kernel's base_reachable_time of 30 s */
#define OWN_ADDRESSES_MAX 1024

/* Ways that were asked for in one round: thousands of tunnels have the same few edges. */
struct ways {
	struct {
		struct addr to;
		struct netlink_way way;
		int rc;
	} known[64];
	size_t n;
};

static int find_way(struct loader *l, struct ways *ways, const struct addr *to,
		    struct netlink_way *way)
{
	int rc;

	for (size_t i = 0; ways && i < ways->n; i++) {
		if (!addr_equal(&ways->known[i].to, to))
			continue;
		*way = ways->known[i].way;
		return ways->known[i].rc;
	}
	rc = netlink_way(l->nl, to, way);
	if (ways && ways->n < sizeof(ways->known) / sizeof(*ways->known)) {
		ways->known[ways->n].to = *to;
		ways->known[ways->n].way = *way;
		ways->known[ways->n++].rc = rc;
	}
	return rc;
}

struct addr loader_backend_address(const struct weir_backend *b)
{
	struct addr to = { .family = b->family == WEIR_FAMILY_4 ? AF_INET : AF_INET6 };

	memcpy(to.bytes, b->addr, sizeof(to.bytes));
	return to;
}

static void say_left(const struct addr *to)
{
	char text[64];

	log_limited(LOG_LEVEL_WARN, 6,
		    "backend %s: the way is by a device that XDP cannot send by: its packets are left to the host, which is slower, "
		    "and over IPv4 takes them only with net.ipv4.conf.all.accept_local=1",
		    addr_format(to, text, sizeof(text)));
}

/* ways may be NULL. */
static int resolve(struct loader *l, uint32_t index, struct ways *ways)
{
	const struct weir_backend *b = maps_backend(l->maps, index);
	struct netlink_way way;
	struct addr to;
	int rc;

	if (!b)
		return 0;
	to = loader_backend_address(b);
	rc = find_way(l, ways, &to, &way);
	if (rc == -EAGAIN) {
		/* The same interface as before: the link address that was known may well be right. */
		l->unresolved = true;
		if (b->ifindex == way.ifindex && b->vlan == way.vlan)
			memcpy(way.mac, b->mac, sizeof(way.mac));
		else
			way.ifindex = 0;
	} else if (rc) {
		memset(&way, 0, sizeof(way));
	}
	if (way.incapable && loader_native(l))
		way.ifindex = 0;
	if (!rc && !way.local && !way.ifindex)
		say_left(&to);
	loader_tunnel_source(l, b, &way);
	return maps_backend_way(l->maps, index, &way);
}

int loader_backend_resolve(struct loader *l, uint32_t index)
{
	return resolve(l, index, NULL);
}

struct own {
	struct addr addr[OWN_ADDRESSES_MAX];
	struct addr alone[OWN_ADDRESSES_MAX]; /* that are no network's, as service addresses are */
	size_t n, nalone;
};

static void own_add(void *arg, const struct addr *a, unsigned int prefix_len)
{
	struct own *own = arg;

	if (own->n == OWN_ADDRESSES_MAX || addr_is_loopback(a))
		return;
	own->addr[own->n++] = *a;
	if (prefix_len == (a->family == AF_INET ? 32 : 128))
		own->alone[own->nalone++] = *a;
}

void loader_refresh(struct loader *l)
{
	static struct own own;
	static struct ways ways;
	int rc;

	l->stale = l->unresolved = false;
	own.n = own.nalone = 0;
	rc = netlink_addresses(l->nl, 0, own_add, &own);
	if (!rc)
		rc = mapset_decap_targets(&l->fds, own.addr, own.n);
	if (!rc && l->egress)
		rc = egress_addresses(l->egress, own.alone, own.nalone);
	if (rc)
		log_limited(LOG_LEVEL_WARN, 6, "this node's addresses cannot be read: %s",
			    strerror(-rc));
	loader_devices(l);
	loader_clamp(l);
	loader_lead_again(l);
	ways.n = 0;
	for (uint32_t i = 1; i < maps_backends_end(l->maps); i++)
		resolve(l, i, &ways);
}

void loader_confirm(struct loader *l, uint32_t now)
{
	struct addr last = { 0 };

	if (now - l->confirmed < CONFIRM_SECONDS)
		return;
	l->confirmed = now;
	for (uint32_t i = 1; i < maps_backends_end(l->maps); i++) {
		const struct weir_backend *b = maps_backend(l->maps, i);
		struct addr to;

		if (!b || (b->flags & WEIR_BACKEND_LOCAL))
			continue;
		to = loader_backend_address(b);
		if (!addr_equal(&to, &last))
			netlink_confirm(l->nl, &to);
		last = to;
	}
}
