/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lb_live.h -- live frames through veth: millions of packets a second that one core generates, carries through
 * the program under test and takes at the end, beside an empty program (drop) and a reflector (send).
 */
#ifndef WEIR_BENCH_LB_LIVE_H
#define WEIR_BENCH_LB_LIVE_H

#include <jansson.h>
#include <stdint.h>

struct edge;

/* Appends live.drop, live.balance and live.forward to `all`. The network namespace is the bench's own. on()
 * sets the edge's switches. */
void live_measure(json_t *all, struct edge *e, void (*on)(uint32_t bits));

#endif
