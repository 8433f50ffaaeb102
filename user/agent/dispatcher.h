/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatcher.h -- `attach: dispatcher`: interfaces shared with other XDP programs, by libxdp.
 *
 * Where the kernel has freplace, libxdp's dispatcher calls all programs in turn: a new start joins before the earlier one leaves.
 * Elsewhere libxdp attaches a program alone, and a new start takes the earlier one's place in one step. Either way no packet
 * finds none. Nothing here logs (libxdp does).
 */
#ifndef WEIR_DISPATCHER_H
#define WEIR_DISPATCHER_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/conf.h"

struct dispatcher;

/* What an attach found there, and so how it is undone. */
struct dispatcher_before {
	int program; /* ours of an earlier start, exchanged in place: a descriptor that the caller closes; -1: none */
	bool left;   /* ours of an earlier start has left the dispatcher: there is no way back */
};

/* The edge program of an object that is opened, not loaded: the first attach loads it. 0 or -errno. */
int dispatcher_open(struct dispatcher **out, struct bpf_program *edge, struct bpf_object *obj);
void dispatcher_close(struct dispatcher *d); /* accepts NULL; what is attached stays */

/* generic: not in the driver. 0 or -errno; *before is set always. */
int dispatcher_attach(struct dispatcher *d, uint32_t ifindex, bool generic, struct dispatcher_before *before);
/* Would an attach fail with -EBUSY: is a program there that does not share, another's, or one that a link holds? */
bool dispatcher_refuses(uint32_t ifindex);
/* Puts back what was there before; not to be called when it has left. */
int dispatcher_undo(struct dispatcher *d, uint32_t ifindex, const struct dispatcher_before *before);

/* Takes our programs off an interface, out of a dispatcher or alone. How many were there. */
int dispatcher_clear(uint32_t ifindex);
/* Those that use the map of this number: what another agent put there stays. */
int dispatcher_drop(uint32_t ifindex, uint32_t map);
/* Out of a dispatcher alone (look: only counts them). How many. */
int dispatcher_leave(uint32_t ifindex, bool look);

#endif
