/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steer.h -- the program that leads connections to tunnels' addresses to the edge's listener
 * (bpf/listen.bpf.c), in the kernel.
 *
 * Attached to this network namespace by a pinned bpf_link: it goes on without us, and the next
 * start exchanges the program in the link and adopts the maps. Only the loader uses this, while it
 * is still privileged. These functions log.
 */
#ifndef WEIR_STEER_H
#define WEIR_STEER_H

#include "lib/conf.h"
#include "user/agent/maps.h"

struct steer;

/* conf->pin is a folder on a BPF file system where the edge program's maps are pinned already. 0 or
 * -errno. */
int steer_open(struct steer **out, const struct conf_agent *conf);
void steer_close(struct steer *steer); /* frees memory and descriptors; accepts NULL */
void steer_fds(const struct steer *steer, struct maps_fds *fds);
/* Takes down what an earlier start with tunnels left. */
void steer_remove(const char *pin);

/* What a start with tunnels would do with its maps (migrate_plan()). How many, or -errno. */
struct migrate_plan;
int steer_plan(const struct conf_agent *conf, struct migrate_plan *out, size_t max);

/* The pinned link's name under `pin`. */
#define STEER_LINK "listen-link"

#endif
