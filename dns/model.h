/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h -- what the registry said that matters for answers: services, capacities, live agents,
 * records. Keys and JSON values in, sites and merged zones out.
 *
 * Pure: no registry, file or clock. What is remembered from an earlier life (model_restore) counts
 * until the registry has told its own list of that prefix.
 */
#ifndef WEIR_DNS_MODEL_H
#define WEIR_DNS_MODEL_H

#include <jansson.h>

#include "dns/pick.h"
#include "dns/zone.h"
#include "lib/conf.h"

struct model;

enum model_change { MODEL_NOTHING = 0, MODEL_STEERING = 1, MODEL_RECORDS = 2 };

struct model *model_new(void);	      /* NULL without memory */
void model_free(struct model *model); /* accepts NULL */

/* The prefixes to watch, ended by NULL. */
extern const char *const model_prefixes[];

/* Each says what changed for answers (enum model_change bits). A value that is not the JSON that
 * ARCHITECTURE.md describes is ignored as if the key were absent. */
unsigned int model_put(struct model *model, const char *key, const char *value);
unsigned int model_delete(struct model *model, const char *key);
/* The list of this prefix is complete: what was only remembered goes. */
unsigned int model_synced(struct model *model, const char *prefix);

/* What a restart should know (a new reference), and back. Members are not kept: they are leases. */
json_t *model_remember(const struct model *model);
unsigned int model_restore(struct model *model, const json_t *remembered);

/* The facts of one service; probe is left as it is. addresses, may be NULL: the key's array,
 * borrowed. */
void model_site(const struct model *model, const char *service, const char *own_site,
		struct pick_site *out, const char **site, const json_t **addresses);
/* The TCP address to probe; false when there is none. */
bool model_probe_address(const struct model *model, const char *service, struct addr_port *out);

/* Merges the records of `zone_name` over the zone; refused(arg, key, why) for each that is not. */
void model_merge(const struct model *model, struct dns_zone *zone, const char *zone_name,
		 void (*refused)(void *arg, const char *key, const char *why), void *arg);

#endif
