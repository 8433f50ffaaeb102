/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot.c -- the transition rules for one slot, pure (see maps.h and struct weir_slot).
 */
#include <string.h>

#include "user/agent/maps.h"

/* The owner that is left becomes the newest of the earlier ones; none is named twice, nor is the
 * new one. */
static void owners_push(struct weir_slot *slot, uint16_t left, uint16_t to)
{
	uint16_t kept[WEIR_OWNERS] = { left };
	unsigned int used = 1;

	for (unsigned int i = 0; i < WEIR_OWNERS && used < WEIR_OWNERS; i++)
		if (slot->owners[i] && slot->owners[i] != left && slot->owners[i] != to)
			kept[used++] = slot->owners[i];
	memcpy(slot->owners, kept, sizeof(kept));
}

static void owners_drop(struct weir_slot *slot, uint16_t gone)
{
	unsigned int used = 0;

	for (unsigned int i = 0; i < WEIR_OWNERS; i++)
		if (slot->owners[i] && slot->owners[i] != gone)
			slot->owners[used++] = slot->owners[i];
	while (used < WEIR_OWNERS)
		slot->owners[used++] = 0;
}

bool slot_move(struct weir_slot *slot, uint16_t to, bool old_is_up, uint32_t now)
{
	uint16_t left = slot->current;

	if (left == to)
		return false;
	if (left)
		owners_push(slot, left, to);
	else
		owners_drop(slot, to);
	slot->current = to;
	if (slot->previous && slot->previous == left) /* up to now a transition of reported flows alone: */
		slot->elsewhere = now;		      /* those of `left` have their drain time from here */
	if (slot->previous || !left || !to || !old_is_up)
		return true;            /* rule 2, or nothing that could be kept */
	slot->previous = left;
	slot->since = (uint16_t)now;
	slot->elsewhere = now;
	return true;
}

bool slot_settle(struct weir_slot *slot, uint32_t now, uint32_t drain_s)
{
	/* The packet path may have stamped a later second than the `now` read before. */
	if (!slot->previous || (int32_t)(now - slot->elsewhere) <= (int32_t)drain_s)
		return false;
	slot->previous = 0;
	return true;
}

/* At the end, when there is room and it is named nowhere yet. */
static bool owners_learn(struct weir_slot *slot, uint16_t owner)
{
	if (!owner || owner == slot->current)
		return false;
	for (unsigned int i = 0; i < WEIR_OWNERS; i++) {
		if (slot->owners[i] == owner)
			return false;
		if (slot->owners[i])
			continue;
		slot->owners[i] = owner;
		return true;
	}
	return false;
}

bool slot_copy(struct weir_slot *slot, const struct weir_slot *theirs, bool serving)
{
	uint16_t own = slot->current;
	bool changed = false;

	if (!theirs->current)
		return false;
	if (!own || (own != theirs->current && !slot->previous && !serving)) {
		*slot = *theirs;
		owners_learn(slot, own);
		return true;
	}
	changed |= owners_learn(slot, theirs->current);
	for (unsigned int i = 0; i < WEIR_OWNERS; i++)
		changed |= owners_learn(slot, theirs->owners[i]);
	return changed;
}
