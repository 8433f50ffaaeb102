/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.h -- the answers that are served, swapped as one pointer while workers read them.
 *
 * A worker announces what it reads for the time of one batch (a hazard pointer); the main thread
 * swaps and frees an old view once nobody announces it. No lock and no shared write on the hot
 * path.
 */
#ifndef WEIR_DNS_VIEW_H
#define WEIR_DNS_VIEW_H

#include <stdatomic.h>

#include "dns/query.h"

#define VIEW_READERS_MAX 1024

struct view {
	struct dns_view answers;
	void (*release)(struct view *view); /* frees it; called by the main thread */
	struct view *next;		    /* among the retired */
};

struct view_reader {
	_Alignas(64) _Atomic(struct view *) held;
};

struct views {
	_Atomic(struct view *) current;
	struct view *retired;
	unsigned int nreaders;
	struct view_reader reader[VIEW_READERS_MAX];
};

/* A reader's slot, before its thread starts; NULL when there are too many. */
struct view_reader *views_reader(struct views *views);
/* Main thread: from now on `view` is read; the old one is released when nobody reads it. */
void views_swap(struct views *views, struct view *view);
/* Main thread: releases what nobody reads any more; how many are left. */
unsigned int views_reap(struct views *views);

static inline const struct dns_view *view_hold(struct views *views, struct view_reader *reader)
{
	struct view *v;

	/* The announcement must be seen before the pointer is trusted: sequentially consistent. */
	do {
		v = atomic_load(&views->current);
		atomic_store(&reader->held, v);
	} while (v != atomic_load(&views->current));
	return &v->answers;
}

static inline void view_drop(struct view_reader *reader)
{
	atomic_store_explicit(&reader->held, NULL, memory_order_release);
}

#endif
