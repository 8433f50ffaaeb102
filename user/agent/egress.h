/* SPDX-License-Identifier: Apache-2.0 */
/*
 * egress.h -- the tc program of bpf/egress.bpf.c in the kernel: loaded beside the edge program's maps,
 * put on interfaces, taken off again.
 *
 * It hangs at the egress of clsact, where it stays when every process of ours is gone; the next start
 * puts its own program in its place. Other filters there are left alone. Only the loader uses this. These
 * functions log what they alone know; all return 0 or -errno.
 */
#ifndef WEIR_EGRESS_H
#define WEIR_EGRESS_H

#include "bpf/abi/egress.h"
#include "user/agent/maps.h"
#include "user/agent/netlink.h"

#define EGRESS_PROGRAM  "weir_egress"   /* by this name it is found and taken off */
#define EGRESS_PRIORITY 119             /* of the filter, with handle 1 */

struct egress_path;

/* pin: the folder where the edge program's maps are pinned; fds: those maps. Needs root. */
int egress_open(struct egress_path **out, const char *pin, const struct maps_fds *fds);
void egress_close(struct egress_path *e);    /* what hangs in the kernel stays; accepts NULL */

int egress_set(struct egress_path *e, const struct weir_egress *settings);
/* Whose SYNs are looked at: these, in place of those before. */
int egress_addresses(struct egress_path *e, const struct addr *own, size_t n);
/* Fine when it is there already; -EBUSY: another filter, or another queueing discipline than clsact, has its
 * place. Failures are logged, six a minute at most. */
int egress_attach(struct egress_path *e, struct netlink *nl, const char *interface, uint32_t ifindex);
int egress_detach(uint32_t ifindex);
/* And clsact, too, where nothing else is in it. */
int egress_remove(struct netlink *nl, uint32_t ifindex);
/* The packets of a socket go to a backend. cookie: SO_COOKIE. */
int egress_probe(struct egress_path *e, uint64_t cookie, uint16_t backend, uint8_t encap);
int egress_counts(struct egress_path *e, uint64_t out[WEIR_EGRESS_COUNT]);

bool egress_is_there(uint32_t ifindex);
/* It is that which we loaded ourselves, not another process's. */
bool egress_is_own(const struct egress_path *e, uint32_t ifindex);

/* Takes the program off every interface of this network namespace, and clsact too where nothing else is in
 * it; says so on standard output. Needs root. */
int egress_take_down(void);

#endif
