/* SPDX-License-Identifier: Apache-2.0 */
/* loader_devices.c -- what the packet path knows of this node's devices: the map `devices` (see loader.h, abi/maps.h). */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/agent/loader_int.h"

bool loader_native(const struct loader *l)
{
	struct dataplane_interface on[WEIR_PORTS_MAX];
	size_t n = attach_interfaces(l->path, on, WEIR_PORTS_MAX);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(on[i].mode, "native"))
			return true;
	return false;
}

static bool listed(const struct netlink_device *d, size_t n, uint32_t ifindex)
{
	for (size_t i = 0; i < n; i++)
		if (d[i].ifindex == ifindex)
			return true;
	return false;
}

/* First what is new, then away with the others. */
static int replace(int map, const struct netlink_device *d, size_t n)
{
	uint32_t key, kept, *from = NULL;

	for (size_t i = 0; i < n; i++)
		if (bpf_map_update_elem(map, &d[i].ifindex, &d[i].device, BPF_ANY))
			return -errno;
	while (!bpf_map_get_next_key(map, from, &key)) {
		if (listed(d, n, key)) {
			kept = key;
			from = &kept;
		} else if (bpf_map_delete_elem(map, &key)) {
			return -errno;
		}
	}
	return 0;
}

void loader_devices(struct loader *l)
{
	struct netlink_device *d = calloc(WEIR_DEVICES_MAX, sizeof(*d));
	int n = d ? netlink_devices(l->nl, l->serving, l->nserving, loader_native(l), d, WEIR_DEVICES_MAX) : -ENOMEM;
	int rc = n < 0 ? n : replace(l->fds.devices, d, (size_t)n);

	if (rc)
		log_limited(LOG_LEVEL_WARN, 6,
			    "this node's devices cannot be told to the packet path: %s; what routes lead to a VLAN may be lost",
			    strerror(-rc));
	if (n == WEIR_DEVICES_MAX)
		log_limited(LOG_LEVEL_WARN, 6, "this node has more than %u VLAN devices: what routes lead to the others is lost",
			    WEIR_DEVICES_MAX - 1);
	free(d);
}
