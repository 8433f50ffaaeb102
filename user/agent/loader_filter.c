/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader_filter.c -- the loader's part in the filter (see loader.h and filterset.h). The agent reads the
 * lists, which anybody may have written; here only numbers arrive, and each is checked.
 */
#include <errno.h>
#include <string.h>

#include "user/agent/loader_int.h"

int loader_start_filter(struct loader *l)
{
	const struct filterset_fds fds = {
		.settings = l->fds.settings,
		.filter4 = l->fds.filter4,
		.filter6 = l->fds.filter6,
		.hints = l->fds.filter_hints,
		.limits = l->fds.filter_limits,
		.buckets = l->fds.filter_buckets,
		.shared = l->fds.filter_shared,
	};

	return filterset_open(&l->filter, &fds);
}

static int do_entries(struct loader *l, int (*fn)(struct filterset *, const struct filterset_entry *, size_t))
{
	const struct filterset_entry *e = (const void *)l->in.body;

	if (l->in.len % sizeof(*e))
		return -EBADMSG;
	return fn(l->filter, e, l->in.len / sizeof(*e));
}

static int do_lookup(struct loader *l)
{
	const struct filterset_entry *e = (const void *)l->in.body;

	if (l->in.len != sizeof(*e) || (e->family != WEIR_FAMILY_4 && e->family != WEIR_FAMILY_6))
		return -EBADMSG;
	return filterset_lookup(l->filter, e);
}

static int do_limits(struct loader *l)
{
	struct weir_limits limits;

	if (l->in.len && l->in.len != sizeof(limits))
		return -EBADMSG;
	memcpy(&limits, l->in.body, l->in.len);
	return filterset_limits(l->filter, l->in.len ? &limits : NULL);
}

static int do_top(struct loader *l)
{
	size_t max = LOADER_BODY_MAX / sizeof(struct filterset_top);
	int n = filterset_top(l->filter, (struct filterset_top *)l->out.body,
			      l->in.offset < max ? l->in.offset : max);

	l->out.len = n > 0 ? (uint32_t)n * (uint32_t)sizeof(struct filterset_top) : 0;
	return n;
}

static int do_state(struct loader *l)
{
	struct filterset_state state;
	int rc = filterset_state(l->filter, &state);

	if (rc)
		return rc;
	memcpy(l->out.body, &state, sizeof(state));
	l->out.len = sizeof(state);
	return 0;
}

int loader_do_filter(struct loader *l)
{
	switch (l->in.number) {
	case DATAPLANE_FILTER_BEGIN:
		return filterset_begin(l->filter);
	case DATAPLANE_FILTER_PUT:
		return do_entries(l, filterset_put);
	case DATAPLANE_FILTER_COMMIT:
		return filterset_commit(l->filter);
	case DATAPLANE_FILTER_CHANGE:
		return do_entries(l, filterset_change);
	case DATAPLANE_FILTER_LOOKUP:
		return do_lookup(l);
	case DATAPLANE_FILTER_LIMITS:
		return do_limits(l);
	case DATAPLANE_FILTER_TOP:
		return do_top(l);
	case DATAPLANE_FILTER_STATE:
		return do_state(l);
	}
	return -EOPNOTSUPP;
}
