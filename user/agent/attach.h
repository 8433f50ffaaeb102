/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.h -- the edge program in the kernel: loaded over new or pinned maps, put on interfaces,
 * taken off again.
 *
 * Attached by a pinned bpf_link, an interface keeps its program when every process of ours is gone;
 * the next start exchanges the program in that link, with no packet lost between. With `attach:
 * dispatcher` libxdp shares the interface with other programs instead. These functions log, because
 * they alone know what was tried.
 */
#ifndef WEIR_ATTACH_H
#define WEIR_ATTACH_H

#include "lib/conf.h"
#include "user/agent/dataplane.h"
#include "user/agent/maps.h"

struct packet_path;

/* Needs root. 0 or -errno. */
int attach_open(struct packet_path **out, const struct conf_agent *conf);
/* Frees memory and descriptors; what is pinned stays. Accepts NULL. */
void attach_close(struct packet_path *path);

void attach_fds(const struct packet_path *path, struct maps_fds *fds);
size_t attach_interfaces(const struct packet_path *path, struct dataplane_interface *out,
			 size_t max);

/* What a start would do with the maps (migrate_plan()). How many, or -errno. */
struct migrate_plan;
int attach_plan(const struct conf_agent *conf, struct migrate_plan *out, size_t max);

#endif
