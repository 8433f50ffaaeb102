/* SPDX-License-Identifier: Apache-2.0 */
/* egress.c -- load, attach, fill, detach (see egress.h). */
#include "user/agent/egress.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "skel/egress.skel.h"

#define PIN_PATH_MAX 512
#define CPUS_MAX     1024

struct egress_path {
	struct egress *skel;
};

/* ---- loading ---------------------------------------------------------------------------------- */

/* The edge program's maps are shared; what this program does not use of them is not made. */
static int share_maps(struct egress *skel, const struct maps_fds *fds)
{
	const struct {
		struct bpf_map *map;
		int fd;
	} shared[] = {
		{ skel->maps.settings, fds->settings },
		{ skel->maps.services, fds->services },
		{ skel->maps.service_prefixes, fds->service_prefixes },
		{ skel->maps.backends, fds->backends },
	};
	const struct bpf_map *own[] = { skel->maps.egress, skel->maps.egress_addrs, skel->maps.probes,
					skel->maps.egress_counts };
	struct bpf_map *map;
	int rc = 0;

	bpf_object__for_each_map(map, skel->obj)
	{
		bool mine = bpf_map__is_internal(map);

		for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
			mine |= map == own[i];
		if (!mine)
			bpf_map__set_autocreate(map, false);
	}
	for (size_t i = 0; !rc && i < sizeof(shared) / sizeof(*shared); i++) {
		bpf_map__set_autocreate(shared[i].map, true);
		rc = bpf_map__reuse_fd(shared[i].map, shared[i].fd);
	}
	return rc;
}

/* Pinned for people; they hold nothing that outlives the loader, so old ones are replaced. */
static int pin_maps(struct egress *skel, const char *pin)
{
	struct bpf_map *own[] = { skel->maps.egress, skel->maps.egress_addrs, skel->maps.probes,
				  skel->maps.egress_counts };
	char path[PIN_PATH_MAX];
	int rc = 0;

	for (size_t i = 0; !rc && i < sizeof(own) / sizeof(*own); i++) {
		snprintf(path, sizeof(path), "%s/%s", pin, bpf_map__name(own[i]));
		unlink(path);
		rc = bpf_map__pin(own[i], path);
	}
	return rc;
}

int egress_open(struct egress_path **out, const char *pin, const struct maps_fds *fds)
{
	struct egress_path *e = calloc(1, sizeof(*e));
	int rc = 0;

	if (!e)
		return -ENOMEM;
	e->skel = egress__open();
	if (!e->skel)
		rc = -errno;
	if (!rc)
		rc = share_maps(e->skel, fds);
	if (!rc)
		rc = egress__load(e->skel);
	if (!rc)
		rc = pin_maps(e->skel, pin);
	if (rc) {
		egress_close(e);
		return rc;
	}
	*out = e;
	return 0;
}

void egress_close(struct egress_path *e)
{
	if (!e)
		return;
	egress__destroy(e->skel);
	free(e);
}

/* ---- attaching -------------------------------------------------------------------------------- */

/* Is the filter at our place ours? Only root may ask for a program by its id: else it is taken as ours. */
static bool is_ours(uint32_t id)
{
	int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	bool ours;

	if (fd < 0)
		return true;
	ours = !bpf_obj_get_info_by_fd(fd, &info, &len) && !strcmp(info.name, EGRESS_PROGRAM);
	close(fd);
	return ours;
}

static int find(uint32_t ifindex, bool *ours)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = EGRESS_PRIORITY);
	int rc = bpf_tc_query(&hook, &opts);

	if (!rc)
		*ours = is_ours(opts.prog_id);
	return rc;
}

/* Where "ingress" is, what is put at the egress lands on the other side, and nothing tells. */
static int need_clsact(struct netlink *nl, const char *interface, uint32_t ifindex)
{
	char kind[NETLINK_KIND_MAX];
	int rc = netlink_qdisc(nl, ifindex, kind);

	if (rc)
		log_limited(LOG_LEVEL_ERROR, 6, "%s: its queueing disciplines cannot be read: %s", interface,
			    strerror(-rc));
	if (rc || !strcmp(kind, "clsact"))
		return rc;
	log_limited(LOG_LEVEL_ERROR, 6, "%s has the queueing discipline \"%s\" where the tc program needs clsact; "
		    "`tc qdisc del dev %s %s` makes room, and `tc qdisc add dev %s clsact` is a place for "
		    "ingress filters, too",
		    interface, kind, interface, kind, interface);
	return -EBUSY;
}

int egress_attach(struct egress_path *e, struct netlink *nl, const char *interface, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = EGRESS_PRIORITY,
		    .flags = BPF_TC_F_REPLACE);
	bool ours = true;
	int rc = bpf_tc_hook_create(&hook);

	/* Tried again at each check and each change of the network: what is said has a limit. */
	if (rc && rc != -EEXIST) {
		log_limited(LOG_LEVEL_ERROR, 6, "%s: clsact cannot be made: %s", interface, strerror(-rc));
		return rc;
	}
	rc = need_clsact(nl, interface, ifindex);
	if (rc)
		return rc;
	if (!find(ifindex, &ours) && !ours) {
		log_limited(LOG_LEVEL_ERROR, 6, "%s: another tc filter has priority %d and handle 1 at the "
			    "egress; move it (`tc filter show dev %s egress`)",
			    interface, EGRESS_PRIORITY, interface);
		return -EBUSY;
	}
	opts.prog_fd = bpf_program__fd(e->skel->progs.weir_egress);
	rc = bpf_tc_attach(&hook, &opts);
	if (rc)
		log_limited(LOG_LEVEL_ERROR, 6, "%s: the tc program cannot be attached: %s", interface,
			    strerror(-rc));
	return rc;
}

int egress_detach(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = EGRESS_PRIORITY);
	bool ours = false;

	if (find(ifindex, &ours) || !ours)
		return 0;
	opts.prog_fd = opts.prog_id = 0;
	opts.flags = 0;
	return bpf_tc_detach(&hook, &opts);
}

bool egress_is_there(uint32_t ifindex)
{
	bool ours = false;

	return !find(ifindex, &ours) && ours;
}

bool egress_is_own(const struct egress_path *e, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = EGRESS_PRIORITY);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return !bpf_tc_query(&hook, &opts) &&
	       !bpf_obj_get_info_by_fd(bpf_program__fd(e->skel->progs.weir_egress), &info, &len) &&
	       info.id == opts.prog_id;
}

int egress_remove(struct netlink *nl, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	int rc = egress_detach(ifindex);

	if (!rc && netlink_filters(nl, ifindex) == 0)
		bpf_tc_hook_destroy(&hook);
	return rc;
}

static int take_off(struct netlink *nl, const struct if_nameindex *i)
{
	bool ours = false;
	int rc;

	if (find(i->if_index, &ours) || !ours)
		return 0;
	rc = egress_remove(nl, i->if_index);
	if (rc) {
		fprintf(stderr, "weir-agent: %s: the tc program cannot be removed: %s\n", i->if_name,
			strerror(-rc));
		return rc;
	}
	printf("%s: tc program removed\n", i->if_name);
	return 0;
}

int egress_take_down(void)
{
	struct if_nameindex *all = if_nameindex();
	struct netlink *nl = NULL;
	int rc = netlink_open(&nl);

	for (struct if_nameindex *i = all; !rc && i && i->if_index; i++)
		rc = take_off(nl, i);
	netlink_close(nl);
	if_freenameindex(all);
	return rc;
}

/* ---- filling ---------------------------------------------------------------------------------- */

int egress_set(struct egress_path *e, const struct weir_egress *settings)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(bpf_map__fd(e->skel->maps.egress), &zero, settings, BPF_ANY) ? -errno
											       : 0;
}

int egress_addresses(struct egress_path *e, const struct addr *own, size_t n)
{
	return mapset_targets(bpf_map__fd(e->skel->maps.egress_addrs), own,
			      n < WEIR_ANNOUNCES_MAX ? n : WEIR_ANNOUNCES_MAX);
}

int egress_probe(struct egress_path *e, uint64_t cookie, uint16_t backend, uint8_t encap)
{
	struct weir_probe p = { .backend = backend, .encap = encap };

	return bpf_map_update_elem(bpf_map__fd(e->skel->maps.probes), &cookie, &p, BPF_ANY) ? -errno : 0;
}

int egress_counts(struct egress_path *e, uint64_t out[WEIR_EGRESS_COUNT])
{
	int map = bpf_map__fd(e->skel->maps.egress_counts), cpus = libbpf_num_possible_cpus();
	uint64_t per_cpu[CPUS_MAX];

	if (cpus <= 0 || cpus > CPUS_MAX)
		return -E2BIG;
	for (uint32_t i = 0; i < WEIR_EGRESS_COUNT; i++) {
		if (bpf_map_lookup_elem(map, &i, per_cpu))
			return -errno;
		out[i] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			out[i] += per_cpu[cpu];
	}
	return 0;
}
