/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edge.h -- the edge program under BPF_PROG_TEST_RUN: fills its maps, runs a frame, tells what came
 * out and under which reason it was counted.
 *
 * The test run has the loopback interface (index 1) of the network namespace as its ingress.
 */
#ifndef WEIR_TESTS_EDGE_H
#define WEIR_TESTS_EDGE_H

#include "bpf/abi/gue.h"
#include "tests/bpf/frame.h"

#define INGRESS 1
#define OTHER   7               /* any other interface */

struct outcome {
	uint32_t action;        /* XDP_* */
	int reason;             /* the one that was counted; -1 none, -2 several */
	uint8_t data[FRAME_MAX];
	uint32_t len;
};

/* For cmocka's group: loads, unloads. */
int edge_load(void **state);
int edge_unload(void **state);
/* For each test: empty maps. */
int edge_reset(void **state);

struct edge;
struct edge *edge_skeleton(void);
void edge_run(const struct frame *f, struct outcome *o);
/* The same where nothing else runs the program between two calls: it saves reading the reasons before. */
void edge_run_next(const struct frame *f, struct outcome *o);
/* From now on through another program, which ends in ours; 0: no more. */
void edge_run_by(int prog);
/* From now on the frames come by that interface, on which an XDP program must be; 0: by INGRESS again. */
void edge_run_in(uint32_t ifindex);

void put_settings(const struct weir_settings *s);
/* A service with its slots from `first` on; port 0: any; also makes the address answer echo. */
void put_service(const char *address, uint16_t port, uint8_t proto, uint32_t number, uint32_t first,
		 uint32_t slots, uint8_t encap, uint8_t flags);
/* The same for a prefix; needs WEIR_ON_PREFIXES. */
void put_service_prefix(const char *address, uint8_t bits, uint16_t port, uint8_t proto,
			const struct weir_service *service);
/* Of service 1; ifindex INGRESS, link addresses 06:…:INDEX from 04:…:01. */
void put_backend(uint16_t index, const char *address, const char *source, uint8_t flags);
void put_backend_service(uint16_t index, uint16_t number);       /* the index has a new owner */
void put_backend_way(uint16_t index, uint32_t ifindex, uint16_t mtu);
void put_backend_vlan(uint16_t index, uint8_t flags, uint16_t vlan);
void put_device(uint32_t ifindex, const struct weir_device *device);
struct weir_slot *slot(uint32_t index);         /* the map itself */
void put_decap(const char *source, unsigned int bits, const char *target, bool interface);
/* A source that may send packets for tunnels alone; a prefix in which tunnels have addresses. */
void put_edge(const char *source);
void put_prefix(const char *prefix, unsigned int bits);
uint64_t service_packets(uint32_t number);
struct weir_count service_count(uint32_t number);
uint64_t backend_packets(uint32_t index);

#endif
