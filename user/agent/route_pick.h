/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_pick.h -- which edge answers for a tunnel, as this node sees it. Pure.
 *
 * In order: an edge that holds an attachment, lives and does not drain; one that drains; with no attachment
 * anywhere, an edge that can say so (it answers 502). Within one kind: this node's own edge, for no packet
 * crosses the network then; the one that answers now, unless another is much nearer to the origin; the
 * nearest to the origin, and of several about as near the one that the names choose, so that all
 * nodes choose the same.
 */
#ifndef WEIR_ROUTE_PICK_H
#define WEIR_ROUTE_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct route_choice {
	const char *edge;
	bool attached; /* holds an attachment of the tunnel's present generation */
	bool alive;    /* its lease is there, and its probe answers or was not made yet */
	bool draining;
	bool local;	 /* this node's */
	uint32_t rtt_us; /* to the origin; 0: not known */
};

enum route_why {
	ROUTE_NONE,	  /* there is no edge at all */
	ROUTE_LOCAL,	  /* this node holds an attachment */
	ROUTE_NEAREST,	  /* of those that do */
	ROUTE_KEPT,	  /* it answered before, and none is much nearer */
	ROUTE_DRAINING,	  /* only draining ones are left */
	ROUTE_UNATTACHED, /* no edge holds an attachment */
	ROUTE_ALL_DEAD,	  /* none seems to live: the last one stays */
};
const char *route_why_text(enum route_why why);

/* Returns an index of c, or -1. current: the index that answers now, or -1. why may be NULL. */
int route_pick(const char *tunnel, const struct route_choice *c, size_t n, int current,
	       enum route_why *why);

#endif
