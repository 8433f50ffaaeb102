// SPDX-License-Identifier: Apache-2.0
/*
 * loader_table.c -- the loader's part in copying slot tables between balancers: whole slots, and owners
 * that no configuration names any more (see loader.h, table.h).
 */
#include <errno.h>
#include <string.h>

#include "user/agent/loader_int.h"

#define TABLE_MAX (LOADER_BODY_MAX / sizeof(struct weir_slot))

int loader_do_table_get(struct loader *l)
{
	struct weir_slot *out = (struct weir_slot *)l->out.body;
	int have;

	if (l->in.len || l->in.number > INT32_MAX)
		return -EBADMSG;
	have = maps_table_get(l->maps, (int)l->in.number, l->in.offset, out, TABLE_MAX, maps_now());
	if (have >= 0) {
		uint32_t left = (uint32_t)have - l->in.offset;

		l->out.len = (uint32_t)((left < TABLE_MAX ? left : TABLE_MAX) * sizeof(*out));
	}
	return have;
}

int loader_do_table_put(struct loader *l)
{
	const struct weir_slot *in = (const void *)(l->in.body + sizeof(uint64_t));
	uint64_t serving;

	if (l->in.len < sizeof(serving) || (l->in.len - sizeof(serving)) % sizeof(*in) ||
	    l->in.number > INT32_MAX)
		return -EBADMSG;
	memcpy(&serving, l->in.body, sizeof(serving));
	return loader_answer_maps(
		l, maps_table_put(l->maps, (int)l->in.number, l->in.offset, in,
				  (uint32_t)((l->in.len - sizeof(serving)) / sizeof(*in)),
				  serving != 0, maps_now()));
}

int loader_do_owner_get(struct loader *l)
{
	const struct weir_backend *b = maps_backend(l->maps, l->in.number);
	struct loader_owner owner;

	if (l->in.len)
		return -EBADMSG;
	if (!b)
		return -ENOENT;
	memset(&owner, 0, sizeof(owner));
	owner.id = b->id;
	owner.address = loader_backend_address(b);
	owner.up = !(b->flags & WEIR_BACKEND_DOWN);
	memcpy(l->out.body, &owner, sizeof(owner));
	l->out.len = sizeof(owner);
	return 0;
}

int loader_do_owner_set(struct loader *l)
{
	struct loader_owner owner;
	int rc;

	if (l->in.len != sizeof(owner) || l->in.number > INT32_MAX)
		return -EBADMSG;
	memcpy(&owner, l->in.body, sizeof(owner));
	rc = maps_owner_set(l->maps, (int)l->in.number, owner.id, &owner.address, owner.up);
	if (rc > 0)
		l->stale = true; /* its next hop is looked up with the others */
	return loader_answer_maps(l, rc);
}
