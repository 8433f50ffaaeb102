/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zones.h -- the configured zones in memory: read from their files, their serials, and compiled
 * together with the registry's records.
 *
 * Main thread. Faults of zone files are logged here, with file and line.
 */
#ifndef WEIR_DNS_ZONES_H
#define WEIR_DNS_ZONES_H

#include "dns/compile.h"
#include "dns/model.h"
#include "lib/conf.h"

struct zone_source {
	const struct conf_zone *conf;
	struct dns_zone *zone; /* as the file says */
	uint64_t digest;       /* of what is served, without the serial; 0: nothing yet */
	uint32_t serial;       /* served */
};

struct zones {
	struct zone_source *list;
	size_t n;
};

/* Reads every zone of conf; a broken file keeps the zone that `old` (may be NULL) has, and a
 * sentence is logged. -EINVAL when there is none to keep. *out owns its zones; old is untouched. */
int zones_load(struct zones *out, const struct zones *old, const struct conf_ns *conf);
void zones_free(struct zones *zones);
/* Is the name in one of them? */
bool zones_hold(const struct zones *zones, const uint8_t *name, size_t len);

/* The records of the model merged over copies, serials moved on, all compiled. remembered: serials
 * of an earlier life (zones_remember()) or NULL. 0 or -ENOMEM. */
int zones_compile(struct zones *zones, const struct model *model, const json_t *remembered,
		  const struct dns_steer *steers, size_t nsteers, struct dns_table **out);
json_t *zones_remember(const struct zones *zones);

#endif
