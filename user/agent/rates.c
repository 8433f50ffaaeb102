/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rates.c -- the published rates as a value: copied, written and read as JSON, turned into a ring
 * (see publish.h).
 */
#include "user/agent/publish.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int entry_order(const void *a, const void *b)
{
	return strcmp(((const struct rates_entry *)a)->name, ((const struct rates_entry *)b)->name);
}

static struct rates *rates_alloc(size_t n)
{
	struct rates *rates = calloc(1, sizeof(*rates));

	if (!rates)
		return NULL;
	rates->entries = calloc(n ? n : 1, sizeof(*rates->entries));
	if (!rates->entries) {
		free(rates);
		return NULL;
	}
	rates->n = n;
	return rates;
}

void rates_free(struct rates *rates)
{
	if (!rates)
		return;
	free(rates->entries);
	free(rates);
}

int rates_copy(struct rates **out, const struct rates *rates)
{
	struct rates *copy = rates_alloc(rates->n);

	if (!copy)
		return -ENOMEM;
	copy->slots = rates->slots;
	copy->seed = rates->seed;
	copy->generation = rates->generation;
	memcpy(copy->entries, rates->entries, rates->n * sizeof(*copy->entries));
	*out = copy;
	return 0;
}

char *rates_to_json(const struct rates *rates)
{
	json_t *pairs = json_array(), *root;
	char *text;

	for (size_t i = 0; i < rates->n; i++)
		json_array_append_new(pairs, json_pack("[sI]", rates->entries[i].name,
						       (json_int_t)rates->entries[i].rate));
	root = json_pack("{sI sI sI so}", "slots", (json_int_t)rates->slots,
			 "seed", (json_int_t)rates->seed,
			 "generation", (json_int_t)rates->generation, "rates", pairs);
	text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return text;
}

static int read_entry(struct rates_entry *entry, json_t *pair)
{
	const char *name = json_string_value(json_array_get(pair, 0));
	json_t *rate = json_array_get(pair, 1);
	size_t len = name ? strlen(name) : 0;

	if (json_array_size(pair) != 2 || len == 0 || len >= sizeof(entry->name) ||
	    !json_is_integer(rate) || json_integer_value(rate) < 0 ||
	    json_integer_value(rate) > UINT32_MAX)
		return -EINVAL;
	memcpy(entry->name, name, len + 1);
	entry->rate = (uint32_t)json_integer_value(rate);
	return 0;
}

static int read_entries(struct rates *rates, json_t *pairs)
{
	for (size_t i = 0; i < rates->n; i++)
		if (read_entry(&rates->entries[i], json_array_get(pairs, i)) < 0)
			return -EINVAL;
	qsort(rates->entries, rates->n, sizeof(*rates->entries), entry_order);
	for (size_t i = 1; i < rates->n; i++)
		if (entry_order(&rates->entries[i - 1], &rates->entries[i]) == 0)
			return -EINVAL;
	return 0;
}

int rates_from_json(struct rates **out, const char *text)
{
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *pairs = NULL;
	json_int_t slots = 0, seed = -1, generation = -1;
	struct rates *rates;
	int err = -EINVAL;

	if (json_unpack(root, "{sI sI sI so}", "slots", &slots, "seed", &seed,
			"generation", &generation, "rates", &pairs) < 0 ||
	    slots < 1 || slots > RING_SLOTS_MAX || seed < 0 || generation < 0 ||
	    !json_is_array(pairs) || json_array_size(pairs) > RING_BACKENDS_MAX) {
		json_decref(root);
		return -EINVAL;
	}
	rates = rates_alloc(json_array_size(pairs));
	if (rates) {
		rates->slots = (uint32_t)slots;
		rates->seed = (uint64_t)seed;
		rates->generation = (uint64_t)generation;
		err = read_entries(rates, pairs);
	} else {
		err = -ENOMEM;
	}
	json_decref(root);
	if (err)
		rates_free(rates);
	else
		*out = rates;
	return err;
}

int rates_ring(const struct rates *rates, struct ring *ring, uint32_t **owner)
{
	struct ring_backend *set = malloc((rates->n ? rates->n : 1) * sizeof(*set));
	uint32_t *slots = malloc(rates->slots * sizeof(*slots));
	struct ring *own = NULL;
	int err = set && slots ? 0 : -ENOMEM;

	if (err == 0 && !ring)
		err = ring_new(&own, rates->slots);
	else if (err == 0 && ring_slots(ring) != rates->slots)
		err = -EINVAL;
	for (size_t i = 0; err == 0 && i < rates->n; i++)
		set[i] = (struct ring_backend){ ring_id(rates->entries[i].name), rates->entries[i].rate };
	if (err == 0)
		err = ring_build(ring ? ring : own, set, rates->n, rates->seed, slots);
	ring_free(own);
	free(set);
	if (err)
		free(slots);
	else
		*owner = slots;
	return err;
}
