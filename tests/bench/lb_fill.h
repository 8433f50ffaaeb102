/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lb_fill.h -- what stands in the maps of the programs that lb_bench compares: services of every kind on
 * 16 backends, lists, limits, decapsulation; all of it idle until a packet or a switch asks for it.
 *
 * A mistake ends the program.
 */
#ifndef WEIR_BENCH_LB_FILL_H
#define WEIR_BENCH_LB_FILL_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stdint.h>

#define LB_LOOPBACK 1 /* ingress, and where all is sent */
#define LB_VIP	    "198.18.1.100"
#define LB_VIP6	    "2001:db8:1::100"
#define LB_SELF	    "198.18.1.1" /* the decapsulated destination */
#define LB_OTHER    "198.18.1.101" /* of nobody here */

/* Ports of the services. */
enum {
	LB_IPIP = 80, LB_GUE, LB_OWNERS, LB_TWO, LB_ADDRESSES, /* TCP */
	LB_UDP = 53, LB_NAT, LB_QUIC			       /* UDP */
};

/* Where the wire format of QUIC-LB has them: configuration 0, server ID of one byte, nonce of four. */
#define LB_QUIC_SERVER 7

struct lb_minimal;

_Noreturn void lb_die(const char *what);
void lb_put(const struct bpf_map *map, const void *key, const void *value);
void lb_edge_fill(const struct bpf_object *edge);
void lb_edge_switch(const struct bpf_object *edge, uint32_t on); /* enum weir_on */
void lb_edge_decap(const struct bpf_object *edge, bool open); /* it has no switch but its table of interfaces */
struct lb_minimal *lb_minimal_fill(void);

#endif
