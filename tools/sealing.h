/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealing.h -- what the files of `weir sealing` share: asking all endpoints, and waiting until they have told.
 */
#ifndef WEIR_TOOLS_SEALING_H
#define WEIR_TOOLS_SEALING_H

#include "lib/reseal_ask.h"
#include "tools/cmd.h"

struct sealing_ask {
	const char *what; /* RESEAL_… */
	bool all;	  /* an endpoint that is registered and away is a failure; else it is only said */
	bool quiet;	  /* no progress, also on a terminal */
};
/* Posts the wish and waits until every endpoint has told that it is done: *nodes is as of reseal_told(), a new reference. CMD_OK, or
 * CMD_FAILED after saying what is missing. */
int sealing_ask(struct registry *reg, const struct sealing_ask *ask, json_t **nodes);

/* All nodes' "keys" and "busy" together: {KID:
 * {"objects","parts","lost","full","where","busy","node"}}; a new reference. */
json_t *sealing_sum(const json_t *nodes);

#endif
