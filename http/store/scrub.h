/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrub.h -- the scrubber: one throttled thread that reads every stored version again and again
 * and has damaged ones mended, fetches what a name says this node holds and it does not,
 * removes what was replaced, and counts what has no name, or removes it (orphans.h).
 */
#ifndef WEIR_STORE_SCRUB_H
#define WEIR_STORE_SCRUB_H

#include "http/store/endpoint.h"

struct scrub;

int scrub_new(struct scrub **out, struct endpoint *ep);
void scrub_free(struct scrub *s);       /* accepts NULL */
/* Begins a round now, without the pause between rounds. */
void scrub_now(struct scrub *s);
/* Was the version replaced by what its key's name says now? Only what is surely older than the name
 * was, and only by a name that keeps no versions: after a backup of the names was put in place, names
 * are older than data. stored: unix seconds, when it came to this disk. */
bool scrub_replaced(const struct manifest *m, int64_t stored, const struct name_entry *entry);
/* {"running","rounds","versions","bytes","missing"}, since the start, of the round that goes on
 * {"round_total","round_done","round_bytes"}, and what orphans_status() adds: a new reference. */
json_t *scrub_status(struct scrub *s);
struct orphans *scrub_orphans(struct scrub *s);

#endif
