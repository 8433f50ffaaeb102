/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish_model.h -- what the publisher has heard of tunnels, edges, agents and acknowledgements,
 * and what is to be written because of it. Pure: the registry's events and the time in,
 * transactions out.
 */
#ifndef WEIR_TUNNEL_PUBLISH_MODEL_H
#define WEIR_TUNNEL_PUBLISH_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "user/tunnel/index.h"

enum model_table {
	MODEL_TUNNELS,
	MODEL_ROUTED,
	MODEL_EDGES,
	MODEL_AGENTS,
	MODEL_PUBLISHED,
	MODEL_ADDRESSES,
	MODEL_ATTACHED,
	MODEL_RECORDS,
	MODEL_TABLES
};
extern const char *const model_prefixes[MODEL_TABLES]; /* keys are told without them */

struct model {
	const char *zone;   /* NULL: names are published by nobody */
	int64_t timeout_ms; /* for acknowledgements */
	/* the model's own: */
	struct index tables[MODEL_TABLES];
	uint64_t places; /* grows when edges or attachments change */
};

/* An older revision than the one that is known changes nothing. */
void model_put(struct model *m, enum model_table table, const char *key, const char *text,
	       int64_t revision, int64_t now_ms);
void model_delete(struct model *m, enum model_table table, const char *key);
void model_clear(struct model *m); /* knows nothing any more */

/* One transaction, on the condition that neither the tunnel nor its publication nor a record that it
 * touches changed. Only records whose value names a tunnel ("tunnel") are ever touched. */
struct model_action {
	char *key, *value; /* published/NAME; value NULL: deleted */
	char *guard;	   /* tunnels/NAME, and its revision (0: must not exist) */
	int64_t guard_revision, was_revision;
	json_t *puts;	 /* ZONE/NAME/TYPE → values; or NULL */
	json_t *deletes; /* ZONE/NAME/TYPE, …; or NULL */
	json_t *were;	 /* of both: → the record's revision, 0: must not exist */
	json_t *taken;	 /* records that are wanted, but somebody else's; or NULL */
	json_t *silent;	 /* nodes that had not acknowledged when the time was over; or NULL */
	const char *what; /* for the log; NULL: nothing to say */
};
struct model_plan {
	struct model_action *actions;
	size_t n, room;
};
/* What is to be done now. now_ms: the clock of model_put(); date: unix seconds. */
void model_plan(struct model *m, int64_t now_ms, int64_t date, struct model_plan *plan);
void model_plan_free(struct model_plan *plan);
/* A registry key of an address whose quarantine is over, and its revision; false: none. */
bool model_free_address(const struct model *m, int64_t date, char *key, size_t len,
			int64_t *revision);

#endif
