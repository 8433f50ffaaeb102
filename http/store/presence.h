/* SPDX-License-Identifier: Apache-2.0 */
/*
 * presence.h -- this endpoint in the registry: endpoints/NODE for good, members/endpoint/NODE as
 * long as it lives, with its free room.
 */
#ifndef WEIR_STORE_PRESENCE_H
#define WEIR_STORE_PRESENCE_H

#include "http/store/endpoint.h"

/* Starts a thread that registers, however long the registry is silent, and keeps `free` up to date.
 * Waits at most wait_ms for the first success, so that a start is complete where it can be. */
int presence_new(struct presence **out, struct endpoint *ep, unsigned int wait_ms);
/* After a reload; the old configuration is not read any more when this returns. */
void presence_configure(struct presence *p, const struct conf *conf);
/* Leaves: the member key goes at once, endpoints/NODE stays. Accepts NULL. */
void presence_free(struct presence *p);

#endif
