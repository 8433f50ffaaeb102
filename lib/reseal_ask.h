/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reseal_ask.h -- what is asked of all endpoints about sealing keys (http/store/reseal.h), by way of the registry: the wish, what they
 * have told of it, and which buckets they order meanwhile.
 *
 * All block. 0, or the registry's error (registry_error() has the sentence). Nothing here logs.
 */
#ifndef WEIR_RESEAL_ASK_H
#define WEIR_RESEAL_ASK_H

#include <jansson.h>

#include "lib/registry.h"

#define REG_RESEAL_WISH REG_RESEAL "wish"
#define REG_RESEAL_TOLD REG_RESEAL "told/" /* NODE */

#define RESEAL_STILL  "still"
#define RESEAL_COUNT  "count"
#define RESEAL_RESEAL "reseal"

struct reseal_wish {
	char id[33]; /* hex, never the same again */
	char what[8];
	int64_t at; /* unix seconds, by the clock of who wished */
	/* The last "reseal", itself or one of before: what is left of that is done behind this one. "": there was none. */
	char reseal[33];
	int64_t reseal_at;
};
/* The value of reseal/wish; -EINVAL: it is none. */
int reseal_wish_parse(const char *text, size_t len, struct reseal_wish *out);
/* From now on all endpoints do this one; another one that was under way ends where it is, but for a reseal, which goes on behind it.
 * what: RESEAL_… */
int reseal_wish_post(struct registry *reg, const char *what, struct reseal_wish *out);
/* The last one; -ENOENT: there never was one. */
int reseal_wish_get(struct registry *reg, struct reseal_wish *out);

/* {NODE: {"alive": bool, "told": what it told of that wish, or null}} of every endpoint that is registered; a new reference. */
int reseal_told(struct registry *reg, const struct reseal_wish *wish, json_t **out);

/* Is the last wish a reseal that an endpoint which is alive has not told to be done? node: which. False also when nobody can say. */
bool reseal_unfinished(struct registry *reg, char *node, size_t size);

/* {"buckets": {NODE: of how many buckets it is primary}, "at": another number when any bucket was made or changed hands}. */
int reseal_orders(struct registry *reg, json_t **out);

/* Which access keys' secrets are sealed by which key: {KID: {"secrets": n, "user": one of them}}; a new reference, NULL on failure. */
json_t *reseal_secrets(struct registry *reg);

#endif
