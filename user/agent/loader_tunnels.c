// SPDX-License-Identifier: Apache-2.0
/*
 * loader_tunnels.c -- the loader's part in tunnels: the edge's listener goes into the map, other
 * edges may encapsulate, the host takes the prefix as its own (see loader.h).
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/log.h"
#include "user/agent/loader_int.h"

int loader_sources(struct loader *l)
{
	int rc = mapset_decap_sources(&l->fds, l->from, l->nfrom, WEIR_DECAP_ANY, NULL, 0);

	/* Until the agent has heard the registry, what an earlier process wrote stays. */
	if (rc || !l->edges_known)
		return rc;
	return mapset_decap_sources(&l->fds, l->edges, l->nedges, WEIR_DECAP_TUNNELS, l->from,
				    l->nfrom);
}

int loader_prefixes(struct loader *l, const struct addr_prefix *prefix, size_t n)
{
	int rc = mapset_tunnel_prefixes(&l->fds, prefix, n);

	return rc ? rc : netlink_routes(l->nl, NETLINK_LOCAL, 0, prefix, n);
}

int loader_start_tunnels(struct loader *l, const struct conf_agent *conf,
			 const struct conf_tunnels *tunnels)
{
	int rc;

	l->fds.tunnel_ports = l->fds.listeners = l->fds.listen_counts = -1;
	if (!tunnels || !tunnels->enabled) {
		steer_remove(conf->pin);
		return 0;
	}
	rc = steer_open(&l->steer, conf);
	if (rc)
		return rc;
	steer_fds(l->steer, &l->fds);
	return 0;
}

void loader_tunnel_source(struct loader *l, const struct weir_backend *b, struct netlink_way *way)
{
	const struct addr *self = &l->self[b->family == WEIR_FAMILY_6];
	bool had = b->source[0] | b->source[1] | b->source[2] | b->source[3];

	if (way->local || !maps_is_tunnel(l->maps, b->service))
		return;
	if (self->family) {
		way->source = *self;
	} else if (had) {
		way->source.family = b->family == WEIR_FAMILY_4 ? AF_INET : AF_INET6;
		memcpy(way->source.bytes, b->source, sizeof(way->source.bytes));
	}
}

int loader_do_edges(struct loader *l)
{
	struct loader_edges e;
	const struct addr *a;

	if (l->in.len < sizeof(e))
		return -EBADMSG;
	memcpy(&e, l->in.body, sizeof(e));
	a = (const void *)(l->in.body + sizeof(e));
	if (e.n > LOADER_EDGES_MAX || l->in.len != sizeof(e) + e.n * sizeof(*a))
		return -EBADMSG;
	l->nedges = 0;
	for (uint32_t i = 0; i < e.n; i++) {
		if (a[i].family != AF_INET && a[i].family != AF_INET6)
			return -EBADMSG;
		l->edges[l->nedges].addr = a[i];
		l->edges[l->nedges++].len = a[i].family == AF_INET ? 32 : 128;
	}
	l->edges_known = true;
	if ((e.self[0].family && e.self[0].family != AF_INET) ||
	    (e.self[1].family && e.self[1].family != AF_INET6))
		return -EBADMSG;
	if (memcmp(l->self, e.self, sizeof(l->self)))
		l->stale = true; /* backends' sources are written anew */
	memcpy(l->self, e.self, sizeof(l->self));
	return loader_sources(l);
}

static int socket_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) ? -1 : value;
}

int loader_do_listener(struct loader *l)
{
	uint32_t key = l->in.number == AF_INET6 ? WEIR_LISTENER_6 : WEIR_LISTENER_4;
	uint64_t value = (uint64_t)(uint32_t)l->came_fd;
	int err;

	if (l->came_fd < 0)
		return loader_answer_error(l, -EBADMSG, "no socket came along");
	if (!l->steer)
		return loader_answer_error(l, -EOPNOTSUPP, "tunnels are not configured");
	if ((l->in.number != AF_INET && l->in.number != AF_INET6) ||
	    socket_option(l->came_fd, SO_DOMAIN) != (int)l->in.number ||
	    socket_option(l->came_fd, SO_TYPE) != SOCK_STREAM ||
	    socket_option(l->came_fd, SO_PROTOCOL) != IPPROTO_TCP ||
	    socket_option(l->came_fd, SO_ACCEPTCONN) != 1)
		return loader_answer_error(l, -EINVAL, "not a listening TCP socket of that family");
	if (!bpf_map_update_elem(l->fds.listeners, &key, &value, BPF_ANY))
		return 0;
	err = -errno;
	return loader_answer_error(l, err, "the listener cannot be put into the map: %s",
				   strerror(-err));
}

int loader_do_listen_counts(struct loader *l)
{
	uint64_t *out = (uint64_t *)l->out.body, per_cpu[1024];
	int cpus = libbpf_num_possible_cpus();

	if (!l->steer)
		return -EOPNOTSUPP;
	if (cpus <= 0 || cpus > 1024)
		return -E2BIG;
	for (uint32_t i = 0; i < WEIR_LISTEN_COUNT; i++) {
		if (bpf_map_lookup_elem(l->fds.listen_counts, &i, per_cpu))
			return -errno;
		out[i] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			out[i] += per_cpu[cpu];
	}
	l->out.len = WEIR_LISTEN_COUNT * sizeof(*out);
	return 0;
}

int loader_do_service_remove(struct loader *l)
{
	if (l->in.len || l->in.number >= maps_max(l->maps)->services)
		return -EBADMSG;
	if (!maps_is_tunnel(l->maps, (int)l->in.number))
		return loader_answer_error(l, -EPERM, "number %u is not a tunnel", l->in.number);
	return loader_answer_maps(l, maps_service_remove(l->maps, (int)l->in.number));
}

int loader_do_service_counts(struct loader *l)
{
	const uint32_t *number = (const uint32_t *)l->in.body;
	struct weir_count *out = (struct weir_count *)l->out.body;
	uint32_t n = l->in.len / sizeof(*number);
	int rc = 0;

	if (n > LOADER_BODY_MAX / sizeof(*out))
		return -EBADMSG;
	for (uint32_t i = 0; !rc && i < n; i++)
		rc = number[i] < maps_max(l->maps)->services
			     ? mapset_count(l->fds.service_counts, number[i], &out[i])
			     : -EBADMSG;
	l->out.len = rc ? 0 : n * (uint32_t)sizeof(*out);
	return rc;
}
