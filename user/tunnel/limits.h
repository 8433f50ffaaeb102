/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h -- what one client address may use: connections at once, requests a second.
 *
 * An IPv6 client is its /64: a single host has as many addresses as it likes within one. Pure but
 * for memory: the time is the caller's. An address that holds no connection and whose bucket is
 * full is forgotten by limits_sweep().
 */
#ifndef WEIR_TUNNEL_LIMITS_H
#define WEIR_TUNNEL_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

struct limits;
struct limits_address;

int limits_new(struct limits **out); /* 0 or -ENOMEM */
void limits_free(struct limits *l);  /* accepts NULL */

/* One more connection of this address, at most max of them: 0, -EUSERS or -ENOMEM. The entry is
 * held until limits_leave(). */
int limits_enter(struct limits *l, const struct addr *client, unsigned int max,
		 struct limits_address **out);
void limits_leave(struct limits *l, struct limits_address *a); /* accepts NULL */

/* One more request: true when the address has made less than rate a second (a burst of one second's
 * worth is allowed). rate 0: always. */
bool limits_request(struct limits_address *a, unsigned int rate, uint64_t now_ms);

void limits_sweep(struct limits *l, unsigned int rate, uint64_t now_ms);
size_t limits_count(const struct limits *l); /* addresses known */

#endif
