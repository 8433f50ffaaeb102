// SPDX-License-Identifier: Apache-2.0
/* dataplane_table.c -- slot tables through the loader's socket (see dataplane.h). */
#include <errno.h>
#include <string.h>

#include "user/agent/dataplane_int.h"

int dataplane_table_get(struct dataplane *dp, int service, struct weir_slot *out, size_t n)
{
	for (size_t at = 0; at < n;) {
		int rc;

		dataplane_prepare(dp, (uint32_t)service, (uint32_t)at, NULL, 0);
		rc = dataplane_do(dp, LOADER_TABLE_GET);
		if (rc < 0)
			return rc;
		if ((size_t)rc != n || !dp->m.len || at + dp->m.len / sizeof(*out) > n)
			return dataplane_fail(dp, -EINVAL, "service %d has %d slots, not %zu",
					      service, rc, n);
		memcpy(out + at, dp->m.body, dp->m.len);
		at += dp->m.len / sizeof(*out);
	}
	return 0;
}

int dataplane_table_put(struct dataplane *dp, int service, const struct weir_slot *in, size_t n,
			bool serving, uint32_t *changed)
{
	const size_t most = (LOADER_BODY_MAX - sizeof(uint64_t)) / sizeof(*in);
	uint64_t head = serving;
	uint32_t sum = 0;

	for (size_t at = 0; at < n;) {
		size_t part = n - at < most ? n - at : most;
		int rc;

		dataplane_prepare(dp, (uint32_t)service, (uint32_t)at, &head, sizeof(head));
		memcpy(dp->m.body + dp->m.len, in + at, part * sizeof(*in));
		dp->m.len += (uint32_t)(part * sizeof(*in));
		rc = dataplane_do(dp, LOADER_TABLE_PUT);
		if (rc < 0)
			return rc;
		sum += (uint32_t)rc;
		at += part;
	}
	if (changed)
		*changed = sum;
	return 0;
}

int dataplane_owner_get(struct dataplane *dp, uint16_t index, uint64_t *id, struct addr *address,
			bool *up)
{
	struct loader_owner owner;
	int rc;

	dataplane_prepare(dp, index, 0, NULL, 0);
	rc = dataplane_do(dp, LOADER_OWNER_GET);
	if (rc < 0)
		return rc;
	if (dp->m.len != sizeof(owner))
		return dataplane_fail(dp, -EPROTO, "the loader's answer is not understood");
	memcpy(&owner, dp->m.body, sizeof(owner));
	*id = owner.id;
	*address = owner.address;
	*up = owner.up;
	return 0;
}

int dataplane_owner_set(struct dataplane *dp, int service, uint64_t id, const struct addr *address,
			bool up)
{
	struct loader_owner owner;

	memset(&owner, 0, sizeof(owner));
	owner.id = id;
	owner.address = *address;
	owner.up = up;
	dataplane_prepare(dp, (uint32_t)service, 0, &owner, sizeof(owner));
	return dataplane_do(dp, LOADER_OWNER_SET);
}
