/* SPDX-License-Identifier: Apache-2.0 */
/* loader_notes.c -- what is remembered of flows: how full that is, and loads for the choice of two (see loader.h). */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/abi/two.h"
#include "user/agent/loader_int.h"

#define BATCH 4096 /* entries a call */

struct batch {
	struct weir_flow key[BATCH];
	struct weir_note note[BATCH];
};

static int room(int map, uint32_t *n)
{
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(map, &info, &len))
		return -errno;
	*n = info.max_entries;
	return 0;
}

/* How many notes are of a transition that goes on; all when `live` is NULL. An LRU hash never shrinks:
 * what is left of transitions that ended is only room. */
static int count(int map, const uint8_t *live, struct batch *b, uint32_t *n)
{
	__u32 at = 0, got = BATCH;
	void *from = NULL;
	int rc = 0;

	*n = 0;
	while (!rc) {
		got = BATCH;
		rc = bpf_map_lookup_batch(map, from, &at, b->key, b->note, &got, NULL);
		if (rc && errno != ENOENT)
			return -errno;
		for (__u32 i = 0; i < got; i++)
			*n += !live || live[b->note[i].since];
		from = &at;
	}
	return 0;
}

int loader_do_notes(struct loader *l)
{
	struct batch *b = malloc(sizeof(*b));
	uint8_t *live = calloc(1 << 16, 1);
	struct dataplane_notes n = { 0 };
	int rc = b && live ? 0 : -ENOMEM;

	if (!rc)
		rc = room(l->fds.notes, &n.room);
	if (!rc)
		rc = room(l->fds.half_open, &n.half_open_room);
	if (!rc && maps_transitions(l->maps, live)) {
		rc = count(l->fds.notes, live, b, &n.notes);
		if (!rc)
			rc = count(l->fds.half_open, live, b, &n.half_open);
	}
	if (!rc)
		rc = count(l->fds.kept, NULL, b, &n.kept);
	free(live);
	free(b);
	if (rc)
		return rc;
	memcpy(l->out.body, &n, sizeof(n));
	l->out.len = sizeof(n);
	return 0;
}

int loader_do_loads(struct loader *l)
{
	const struct dataplane_load *load = (const void *)l->in.body;
	uint32_t n = l->in.len / sizeof(*load);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t index = load[i].backend;

		if (index && bpf_map_update_elem(l->fds.backend_loads, &index, &load[i].load, BPF_ANY))
			return -errno;
	}
	return 0;
}
