/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader_services.c -- the loader's answers about services, backends and slots.
 */
#include <errno.h>
#include <string.h>

#include "user/agent/loader_int.h"

int loader_do_service_set(struct loader *l)
{
	struct maps_service s;
	size_t left = l->in.len - sizeof(s);

	if (l->in.len < sizeof(s))
		return -EBADMSG;
	memcpy(&s, l->in.body, sizeof(s));
	s.name[sizeof(s.name) - 1] = 0;
	if (left != s.naddresses * sizeof(struct maps_address))
		return -EBADMSG;
	return loader_answer_maps(
		l, maps_service_set(l->maps, &s, (const void *)(l->in.body + sizeof(s))));
}

int loader_do_backend_set(struct loader *l)
{
	struct loader_backend b;
	int rc;

	if (l->in.len != sizeof(b) || l->in.number >= maps_max(l->maps)->services)
		return -EBADMSG;
	memcpy(&b, l->in.body, sizeof(b));
	b.name[sizeof(b.name) - 1] = 0;
	rc = maps_backend_set(l->maps, (int)l->in.number, b.name, &b.address, b.up);
	if (rc > 0)
		loader_backend_resolve(l, (uint32_t)rc);
	return loader_answer_maps(l, rc);
}

int loader_do_backend_quic(struct loader *l)
{
	if (l->in.len > WEIR_QUIC_ID_MAX)
		return -EBADMSG;
	return loader_answer_maps(l, maps_backend_quic(l->maps, (int)l->in.number, l->in.offset,
						       l->in.body, (uint8_t)l->in.len));
}

int loader_do_slots_get(struct loader *l)
{
	uint16_t *owner = (uint16_t *)l->out.body;
	uint32_t n = 0, count = 0;
	const struct weir_slot *slot;

	if (l->in.number >= maps_max(l->maps)->services)
		return -EBADMSG;
	slot = maps_slots(l->maps, (int)l->in.number, &n);
	if (!slot || l->in.offset > n)
		return -ENOENT;
	while (count < LOADER_SLOTS_MAX && l->in.offset + count < n) {
		owner[count] = slot[l->in.offset + count].current;
		count++;
	}
	l->out.len = count * sizeof(*owner);
	return (int)n;
}

int loader_do_slots_put(struct loader *l)
{
	uint32_t n = l->in.len / sizeof(uint16_t);

	if (l->in.offset > maps_max(l->maps)->slots || n > maps_max(l->maps)->slots - l->in.offset)
		return -EBADMSG;
	memcpy(l->put + l->in.offset, l->in.body, n * sizeof(uint16_t));
	return 0;
}

int loader_do_slots_set(struct loader *l)
{
	uint32_t generation;

	if (l->in.len != sizeof(generation) || l->in.offset > maps_max(l->maps)->slots ||
	    l->in.number >= maps_max(l->maps)->services)
		return -EBADMSG;
	memcpy(&generation, l->in.body, sizeof(generation));
	return loader_answer_maps(l, maps_slots_set(l->maps, (int)l->in.number, l->put,
						    l->in.offset, generation, maps_now()));
}

int loader_do_state(struct loader *l)
{
	struct dataplane_service_state state = { 0 };
	int service = (int)l->in.number, rc;

	if (l->in.number >= maps_max(l->maps)->services || !maps_slots(l->maps, service, &state.slots))
		return -ENOENT;
	state.transition = maps_in_transition(l->maps, service);
	state.generation = maps_generation(l->maps, service);
	rc = mapset_count(l->fds.service_counts, l->in.number, &state.count);
	if (rc)
		return rc;
	memcpy(l->out.body, &state, sizeof(state));
	l->out.len = sizeof(state);
	return 0;
}
