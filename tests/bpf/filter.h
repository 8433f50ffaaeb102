/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h -- the edge program with its filter: lists and limits as the agent sets them, and one service behind it.
 */
#ifndef WEIR_TESTS_FILTER_H
#define WEIR_TESTS_FILTER_H

#include "tests/bpf/packets.h"
#include "user/agent/filterset.h"

#define TOKEN	100000000000ull /* a token costs 100 s: no test takes so long */

extern struct filterset *fs;

/* For cmocka's group, and for each test: no list, no limits, TCP and UDP 80 and UDP 53 of VIP, TCP 80 of VIP6. */
int filter_load(void **state);
int filter_unload(void **state);
int filter_reset(void **state);

void filter_on(uint32_t bits);          /* enum weir_on */
struct filterset_entry filter_entry(const char *address, uint8_t len, enum weir_verdict verdict);
void filter_list(const struct filterset_entry *e, size_t n);     /* n rising entries in place of what is there */

/* Ethernet and IP of the source's family into f. */
void packet_from(const char *source, const char *dest);
/* Run a packet from there to the service and tell its reason. */
int tcp_from(const char *source, uint8_t flags);
int udp_from(const char *source, uint16_t port);

#endif
