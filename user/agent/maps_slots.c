/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps_slots.c -- slots in the pinned maps (see maps.h): owners, transitions, and copies for other machines.
 */
#include <errno.h>
#include <string.h>

#include "user/agent/maps_int.h"

struct weir_slot *maps_slots(struct maps *m, int service, uint32_t *n)
{
	const struct service_state *state;

	if (!maps_service_ok(m, service))
		return NULL;
	state = &m->state[service];
	*n = state->pending_slots ? state->pending_slots : m->info[service].slots;
	return m->slots + (state->pending_slots ? state->pending_first : m->info[service].first);
}

/* The second half first: when the packet path sees `previous`, the stamps are there. */
static void slot_store(struct weir_slot *to, const struct weir_slot *from)
{
	uint64_t head;

	to->owners[2] = from->owners[2];
	to->since = from->since;
	to->elsewhere = from->elsewhere;
	memcpy(&head, from, sizeof(head));
	__atomic_store_n((uint64_t *)to, head, __ATOMIC_RELEASE);
}

static bool backend_up(const struct maps *m, uint32_t index)
{
	return index < m->backends_end && m->backends[index].family &&
	       !(m->backends[index].flags & WEIR_BACKEND_DOWN);
}

/* Pending slots are complete now: all addresses point at them. */
static int slots_replace(struct maps *m, int service)
{
	struct service_state *state = &m->state[service];
	struct weir_service_info *info = &m->info[service];

	info->first = state->pending_first;
	info->slots = state->pending_slots;
	state->pending_slots = 0;
	state->value.first = info->first;
	state->value.slots = info->slots;
	return maps_keys_write(m, service);
}

int maps_slots_set(struct maps *m, int service, const uint16_t *owner, uint32_t n,
		   uint32_t generation, uint32_t now)
{
	uint32_t have = 0, moved = 0;
	struct weir_slot *slot = maps_slots(m, service, &have);
	int rc;

	if (!slot)
		return maps_fail(m, -ENOENT, "there is no service number %d", service);
	if (n != have)
		return maps_fail(m, -EINVAL, "service %s has %u slots, not %u",
				 m->info[service].name, have, n);
	for (uint32_t i = 0; i < n; i++) {
		struct weir_slot s = slot[i];

		if (owner[i] && !maps_backend(m, owner[i]))
			return maps_fail(m, -EINVAL, "slot %u: there is no backend %u", i,
					 owner[i]);
		if (!slot_move(&s, owner[i], backend_up(m, s.current), now))
			continue;
		slot_store(&slot[i], &s);
		moved++;
	}
	if (m->state[service].pending_slots) {
		rc = slots_replace(m, service);
		if (rc)
			return rc;
	}
	m->info[service].generation = generation;
	rc = maps_info_write(m, service);
	return rc ? rc : (int)moved;
}

int maps_table_get(const struct maps *m, int service, uint32_t offset, struct weir_slot *out,
		   uint32_t n, uint32_t now)
{
	const struct weir_service_info *info = &m->info[maps_service_ok(m, service) ? service : 0];

	if (!maps_service_ok(m, service) || offset > info->slots)
		return -ENOENT;
	for (uint32_t i = 0; i < n && offset + i < info->slots; i++) {
		out[i] = m->slots[info->first + offset + i];
		out[i].since = out[i].previous ? (uint16_t)(now - out[i].since) : 0;
		out[i].elsewhere = out[i].previous && (int32_t)(now - out[i].elsewhere) > 0
					   ? now - out[i].elsewhere
					   : 0;
	}
	return (int)info->slots;
}

/* Only what is a backend of ours; a slot without an owner learns nothing. */
static void owners_check(const struct maps *m, struct weir_slot *slot)
{
	unsigned int used = 0;

	slot->current = maps_backend(m, slot->current) ? slot->current : 0;
	slot->previous = maps_backend(m, slot->previous) ? slot->previous : 0;
	for (unsigned int i = 0; i < WEIR_OWNERS; i++)
		if (maps_backend(m, slot->owners[i]))
			slot->owners[used++] = slot->owners[i];
	while (used < WEIR_OWNERS)
		slot->owners[used++] = 0;
}

int maps_table_put(struct maps *m, int service, uint32_t offset, const struct weir_slot *in,
		   uint32_t n, bool serving, uint32_t now)
{
	uint32_t have = 0;
	struct weir_slot *slot = maps_slots(m, service, &have);
	int changed = 0;

	if (!slot || offset > have || n > have - offset)
		return maps_fail(m, -EINVAL, "service %d has %u slots", service, have);
	for (uint32_t i = 0; i < n; i++) {
		struct weir_slot mine = slot[offset + i], theirs = in[i];

		theirs.since = (uint16_t)(now - theirs.since);
		theirs.elsewhere = now - theirs.elsewhere;
		owners_check(m, &theirs);
		if (!slot_copy(&mine, &theirs, serving))
			continue;
		slot_store(&slot[offset + i], &mine);
		changed++;
	}
	return changed;
}

uint32_t maps_generation(const struct maps *m, int service)
{
	return maps_service_ok(m, service) ? m->info[service].generation : 0;
}

uint32_t maps_settle(struct maps *m, uint32_t now, uint32_t drain_s)
{
	uint32_t still = 0;

	for (int k = 0; k < (int)m->max.services; k++) {
		struct weir_slot *slot = m->slots + m->info[k].first;

		for (uint32_t i = 0; maps_service_ok(m, k) && i < m->info[k].slots; i++) {
			struct weir_slot s = slot[i];

			if (!s.previous)
				continue;
			if (slot_settle(&s, now, drain_s))
				slot_store(&slot[i], &s);
			else
				still++;
		}
	}
	return still;
}

uint32_t maps_transitions(const struct maps *m, uint8_t *live)
{
	uint32_t n = 0;

	for (int k = 0; k < (int)m->max.services; k++)
		for (uint32_t i = 0; maps_service_ok(m, k) && i < m->info[k].slots; i++) {
			const struct weir_slot *slot = &m->slots[m->info[k].first + i];

			if (!slot->previous)
				continue;
			live[slot->since] = 1;
			n++;
		}
	return n;
}

uint32_t maps_in_transition(const struct maps *m, int service)
{
	uint32_t n = 0;

	for (uint32_t i = 0; maps_service_ok(m, service) && i < m->info[service].slots; i++)
		n += m->slots[m->info[service].first + i].previous != 0;
	return n;
}
