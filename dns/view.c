/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.c -- the main thread's half: swapping, and freeing late enough.
 */
#include "dns/view.h"

#include <stddef.h>

struct view_reader *views_reader(struct views *views)
{
	return views->nreaders < VIEW_READERS_MAX ? &views->reader[views->nreaders++] : NULL;
}

static int is_held(const struct views *views, const struct view *view)
{
	for (unsigned int i = 0; i < views->nreaders; i++)
		if (atomic_load(&views->reader[i].held) == view)
			return 1;
	return 0;
}

unsigned int views_reap(struct views *views)
{
	unsigned int left = 0;

	for (struct view **p = &views->retired; *p;) {
		struct view *v = *p;

		if (is_held(views, v)) {
			left++;
			p = &v->next;
		} else {
			*p = v->next;
			v->release(v);
		}
	}
	return left;
}

void views_swap(struct views *views, struct view *view)
{
	struct view *old = atomic_exchange(&views->current, view);

	if (old) {
		old->next = views->retired;
		views->retired = old;
	}
	views_reap(views);
}
