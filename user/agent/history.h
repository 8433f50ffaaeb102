/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h -- which generations of a service's rates the registry keeps (rates-history/SERVICE/GENERATION): the
 * last ones all, older ones ever more thinly, HISTORY_MAX in all.
 */
#ifndef WEIR_HISTORY_H
#define WEIR_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_MAX   16
#define HISTORY_FRESH 5         /* the last ones that are always kept */

#define HISTORY_OLDEST_S (30 * 86400)   /* the oldest goes first then */

struct history {
	uint64_t generation[HISTORY_MAX + 1];
	int64_t at[HISTORY_MAX + 1];    /* Unix seconds, ascending */
	size_t n;
};

/* Adds one at the end (an older or present generation is ignored). Returns true when *drop shall go: it is
 * taken out. Pure. */
bool history_add(struct history *h, uint64_t generation, int64_t at, uint64_t *drop);

#endif
