/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.h -- from zones, registry and probes to the view that is served: the main thread's part.
 *
 * Everything here runs on the main thread; what the registry client's threads hear is posted to it.
 * Bursts of changes are gathered for a moment before answers are compiled.
 */
#ifndef WEIR_DNS_PUBLISH_H
#define WEIR_DNS_PUBLISH_H

#include <jansson.h>

#include "dns/view.h"
#include "lib/conf.h"
#include "lib/loop.h"
#include "lib/metrics.h"
#include "lib/registry.h"

struct publish;

/* Loads the zones (faults are logged; -EINVAL) and what an earlier life remembered. */
int publish_new(struct publish **out, const struct conf *conf);
/* Only checks zones and steered names, as publish_new() would; faults are logged. 0 or -errno. */
int publish_check(const struct conf *conf);
/* Makes the first view, then listens to the registry (NULL: there is none) and probes. */
int publish_start(struct publish *p, struct loop *loop, struct views *views,
		  struct registry *registry, struct metrics *metrics);
/* Zones and steered names anew. A zone that cannot be read keeps its old records, and a sentence is
 * logged; nothing else fails. conf is the new one and must live as long as the publisher or until
 * the next reload. */
int publish_reload(struct publish *p, const struct conf *conf);
/* Adds "zones" and "steer" to a status answer. */
void publish_status(const struct publish *p, json_t *answer);
/* After the registry's watches ended; remembers, then frees. Accepts NULL. */
void publish_free(struct publish *p);

#endif
