/* SPDX-License-Identifier: Apache-2.0 */
/* swap.c -- puts rates in force: the ring is built from them and swapped into the maps. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/agent/agent.h"

struct backend *service_backend(const struct service *service, const char *name, size_t *at)
{
	for (size_t i = 0; i < service->n; i++) {
		if (strcmp(service->backends[i]->name, name) == 0) {
			*at = i;
			return service->backends[i];
		}
	}
	return NULL;
}

/* Translates ring owners (indexes of rates entries) to the data plane's, and counts. What belongs to a
 * backend that this configuration does not name (any more, or not yet) stays as it is until the
 * publisher's rates say otherwise. */
static int fill_slots(struct service *service, const struct rates *rates, const uint32_t *ring,
		      uint16_t *owner, uint32_t *count)
{
	uint16_t *index = calloc(rates->n ? rates->n : 1, sizeof(*index));
	size_t *at = calloc(rates->n ? rates->n : 1, sizeof(*at));
	int err = index && at ? 0 : -ENOMEM;

	for (size_t i = 0; err == 0 && i < rates->n; i++) {
		struct backend *b = service_backend(service, rates->entries[i].name, &at[i]);

		if (!b) {
			at[i] = SIZE_MAX;
			log_limited(LOG_LEVEL_WARN, 6, "service %s: the rates in force name the backend %s, "
				    "which %s does not; its slots stay as they are until there are new "
				    "rates", service->name, rates->entries[i].name,
				    service->agent->d->conf->path);
			continue;
		}
		index[i] = (uint16_t)b->index;
	}
	for (uint32_t slot = 0; err == 0 && slot < rates->slots; slot++) {
		uint32_t entry = ring[slot];

		if (entry != RING_NONE && at[entry] == SIZE_MAX) {
			owner[slot] = service->nowner == rates->slots ? service->owner[slot] : 0;
		} else if (entry != RING_NONE) {
			owner[slot] = index[entry];
			count[at[entry]]++;
		} else {
			owner[slot] = 0;
		}
	}
	free(index);
	free(at);
	return err;
}

static int fit_ring(struct service *service, uint32_t slots)
{
	struct ring *ring;
	int err;

	if (service->ring && ring_slots(service->ring) == slots)
		return 0;
	err = ring_new(&ring, slots);
	if (err)
		return err;
	ring_free(service->ring);
	service->ring = ring;
	return 0;
}

int service_apply(struct service *service, const struct rates *rates)
{
	struct agent *agent = service->agent;
	uint16_t *owner = malloc(rates->slots * sizeof(*owner));
	uint32_t *ring = NULL, *count = calloc(service->n ? service->n : 1, sizeof(*count));
	struct rates *copy = NULL;
	int err = owner && count ? fit_ring(service, rates->slots) : -ENOMEM;

	if (err == 0)
		err = rates_ring(rates, service->ring, &ring);
	if (err == 0)
		err = fill_slots(service, rates, ring, owner, count);
	if (err == 0)
		err = rates_copy(&copy, rates);
	if (err == 0 && service->number >= 0) {
		err = dataplane_slots_set(agent->dp, service->number, owner, rates->slots,
					  (uint32_t)rates->generation, &service->moved);
		if (err)
			log_limited(LOG_LEVEL_ERROR, 6, "service %s: the new ring could not be put into the "
				    "maps, the old one stays: %s", service->name, dataplane_error(agent->dp));
	}
	if (err == 0) {
		rates_free(service->rates);
		free(service->slots);
		free(service->owner);
		service->rates = copy;
		service->slots = count;
		service->owner = owner;
		service->nowner = copy->slots;
		owner = NULL;
		weight_changed(service->weight);
		err = saved_write(service);
		if (err)
			log_limited(LOG_LEVEL_WARN, 1, "service %s: the rates could not be saved, a restart will "
				    "move slots: %s", service->name, strerror(-err));
		err = 0;
		log_debug("service %s: generation %llu in force, %u slots moved", service->name,
			  (unsigned long long)copy->generation, service->moved);
	} else {
		rates_free(copy);
		free(count);
	}
	free(owner);
	free(ring);
	return err;
}
