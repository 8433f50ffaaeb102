/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nat.h -- what the tests of translation share: services and backends behind NAT, a route back to the
 * clients, and whole handshakes.
 *
 * Clients' packets leave by XDP_TX to a backend, the backends' by a redirect to the clients' network.
 */
#ifndef WEIR_TESTS_NAT_H
#define WEIR_TESTS_NAT_H

#include <linux/bpf.h>

#include "bpf/abi/nat.h"
#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"

#define CLIENT	"192.0.2.1"
#define OTHER4	"192.0.2.2"
#define CLIENT6 "2001:db8:c::1"
#define VIP	"198.18.1.100"
#define VIP6	"2001:db8:1::100"
#define NAT	"198.18.2.1"
#define NAT6	"2001:db8:2::1"
#define NATB	"198.18.2.2"
#define B1	"198.18.1.11"
#define B2	"198.18.1.12"
#define B6	"2001:db8:1::11"
#define ROUTER	"198.18.1.254"
#define ROUTER6 "2001:db8:1::254"
#define FIRST	2000 /* ports of CPU 0 begin here */
#define PORTS	8    /* of each CPU */

#define TCP_FIN 0x01

extern struct frame f, want;            /* what is sent, and what must come out */
extern struct outcome o;                /* what came out */
extern struct weir_nat_entry *ports;    /* the map itself: NAT is place 0, entry() */
extern struct weir_nat nat;             /* in force after nat_write() */

/* For cmocka's group and for each test: a network namespace with routes, empty tables. */
int open_net(void **state);
int start(void **state);
#define T(name) cmocka_unit_test_setup(name, start)

int fd(struct bpf_map *map);
void nat_write(void);
void place(uint32_t at, const char *address);
void on_cpu(int cpu);
/* Every CPU looks for its next port at the beginning of its range. */
void rewind_cursors(void);

void link_to(struct frame *w, uint8_t to, uint8_t from0, uint8_t from);
void ip(struct frame *w, const char *source, const char *dest, uint8_t ttl);
void tcp(struct frame *w, const char *source, uint16_t sport, const char *dest, uint16_t dport, uint8_t flags,
	 uint32_t seq, uint32_t ack, uint32_t payload, uint8_t ttl);
void udp(struct frame *w, const char *source, uint16_t sport, const char *dest, uint16_t dport, uint32_t payload,
	 uint8_t ttl);

/* Runs f. */
void expect(uint32_t action, int reason);
void expect_frame(void);
void expect_untouched(void);    /* f, left to the host */
/* Of what was just sent: the source port, the backend's last byte. */
uint16_t nat_port(void);
uint8_t backend(void);

/* A SYN with number 1000 passes: its NAT port. */
uint16_t syn_from(const char *client, uint16_t port);
uint16_t syn(uint16_t port);
/* Makes f the backend's to a NAT port. */
void answer_from(const char *from, uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t payload);
void answer(uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t payload);
/* A whole handshake: next numbers are 1001 and 5001. The NAT port. */
uint16_t connect_from(const char *client, uint16_t port);

struct weir_nat_entry *entry(uint16_t port);
void idle(uint16_t port, uint32_t seconds);     /* nothing passed for so long */
uint64_t counted(enum weir_nat_count which);

#endif
