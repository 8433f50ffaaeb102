/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repair.h -- bringing back what this endpoint should hold whole: fetching versions, mending
 * damaged ones, and a scrubber that walks everything, throttled.
 */
#ifndef WEIR_STORE_REPAIR_H
#define WEIR_STORE_REPAIR_H

#include "http/store/endpoint.h"

/* Starts the threads; they run until repair_free(), which accepts NULL. */
int repair_new(struct repair **out, struct endpoint *ep);
void repair_free(struct repair *r);

/* A reader found damage: mended soon. Never blocks. */
void repair_queue(struct repair *r, const struct version *v);

/* A name says that this endpoint holds a version, and it does not: fetched soon. Never blocks. */
void repair_missing(struct repair *r, const char *bucket, const struct name_entry *entry);

/* The same at once: 0 it is here, or its name stands for another by now; or -errno. */
int repair_missing_now(struct endpoint *ep, const char *bucket, const struct name_entry *entry);

/* Gets a whole version from one of the holders and commits it, replacing what is here. 0, -ENOENT
 * (each that could be asked says that it has none), or -errno. */
int repair_fetch(struct endpoint *ep, const struct version *v,
		 const char (*holders)[CONF_NAME_MAX], unsigned int nholders);

void repair_scrub(struct repair *r);      /* a round of the scrubber, now */
struct orphans;
struct orphans *repair_orphans(struct repair *r);
/* The scrubber's (scrub_status()): a new reference. */
json_t *repair_status(struct repair *r);

#endif
