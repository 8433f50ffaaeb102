/* SPDX-License-Identifier: Apache-2.0 */
/* nat.c -- see nat.h. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "bpf/abi/nat.h"
#include "skel/edge.skel.h"
#include "tests/bpf/nat.h"

struct frame f, want;
struct outcome o;
struct weir_nat_entry *ports;
struct weir_nat nat;

int fd(struct bpf_map *map)
{
	return bpf_map__fd(map);
}

void nat_write(void)
{
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.nat_conf), &zero, &nat, 0), 0);
}

void place(uint32_t at, const char *address)
{
	struct weir_nat_place *p = &nat.place[at];
	int family = strchr(address, ':') ? 1 : 0;

	address_bytes((uint8_t *)p->addr, address);
	p->family = family ? WEIR_FAMILY_6 : WEIR_FAMILY_4;
	nat.list[family][nat.count[family]++] = (uint8_t)at;
	assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.nat_addresses), p, &at, 0), 0);
	nat_write();
}

void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

static void clear(struct bpf_map *map)
{
	char key[64];

	while (!bpf_map_get_next_key(fd(map), NULL, key))
		assert_int_equal(bpf_map_delete_elem(fd(map), key), 0);
}

/* Every CPU looks for its next port at the beginning of its range. */
void rewind_cursors(void)
{
	void *zeros = calloc((size_t)libbpf_num_possible_cpus(), 8);

	for (uint32_t family = 0; family < 2; family++)
		assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.nat_cursors), &family,
						     zeros, 0), 0);
	free(zeros);
}

int start(void **state)
{
	const struct weir_settings set = { .on = WEIR_ON_NAT };

	edge_reset(state);
	put_settings(&set);
	clear(edge_skeleton()->maps.nat_flows);
	clear(edge_skeleton()->maps.nat_addresses);
	clear(edge_skeleton()->maps.nat_fragments);
	memset(ports, 0, WEIR_NAT_PORTS_MAX * sizeof(*ports));
	nat = (struct weir_nat){ .first = FIRST, .ports = PORTS, .cpus = 2, .tcp_s = 3600,
				 .half_open_s = 15, .closing_s = 5, .reuse_s = 60, .udp_s = 60 };
	rewind_cursors();
	place(0, NAT);
	place(1, NAT6);
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_NAT, 0);
	put_service(VIP, 53, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_NAT, 0);
	put_service(VIP6, 80, IPPROTO_TCP, 2, 1, 1, WEIR_ENCAP_NAT, 0);
	put_service(VIP6, 53, IPPROTO_UDP, 2, 1, 1, WEIR_ENCAP_NAT, 0);
	put_backend(1, B1, NULL, 0);
	put_backend(2, B2, NULL, 0);
	put_backend(3, B6, NULL, 0);
	put_backend_service(3, 2);
	slot(0)->current = 1;
	slot(1)->current = 3;
	on_cpu(0);
	return 0;
}

/* Routes and neighbours for the way back, in a network namespace of the test's own. */
int open_net(void **state)
{
	static const char commands[] =
		"exec >/dev/null 2>&1; set -e; ip link set lo up;"
		"ip link add w0 address 02:00:00:00:00:0a type veth peer name w1;"
		"ip link set w0 up; ip link set w1 up;"
		"sysctl -w net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1;"
		"ip addr add 192.0.2.254/24 dev w0; ip addr add 2001:db8:c::fe/64 dev w0 nodad;"
		"for a in 192.0.2.1 192.0.2.2 2001:db8:c::1; do"
		" ip neigh add $a lladdr 02:00:00:00:00:0b dev w0; done";

	if (unshare(CLONE_NEWNET) || system(commands))
		return -1;
	edge_load(state);
	ports = mmap(NULL, WEIR_NAT_PORTS_MAX * sizeof(*ports), PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd(edge_skeleton()->maps.nat_ports), 0);
	return ports == MAP_FAILED ? -1 : 0;
}
/* ---- frames ---- */

void link_to(struct frame *w, uint8_t to, uint8_t from0, uint8_t from)
{
	const uint8_t dest[6] = { to < 10 ? 6 : 2, 0, 0, 0, 0, to },
		      source[6] = { from0, 0, 0, 0, 0, from };

	memcpy(w->data, dest, 6);
	memcpy(w->data + 6, source, 6);
}

void ip(struct frame *w, const char *source, const char *dest, uint8_t ttl)
{
	uint8_t *at = strchr(source, ':') ? frame_ip6(w, source, dest) : frame_ip4(w, source, dest);

	at[*at >> 4 == 4 ? 8 : 7] = ttl;
}

void tcp(struct frame *w, const char *source, uint16_t sport, const char *dest,
		uint16_t dport, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t payload,
		uint8_t ttl)
{
	struct tcphdr *t;

	frame_eth(w);
	ip(w, source, dest, ttl);
	t = frame_tcp(w, sport, dport, flags);
	t->seq = htonl(seq);
	t->ack_seq = htonl(ack);
	frame_bytes(w, NULL, payload);
	frame_end(w);
}

void udp(struct frame *w, const char *source, uint16_t sport, const char *dest,
		uint16_t dport, uint32_t payload, uint8_t ttl)
{
	frame_eth(w);
	ip(w, source, dest, ttl);
	frame_udp(w, sport, dport);
	frame_bytes(w, NULL, payload);
	frame_end(w);
}

void expect(uint32_t action, int reason)
{
	edge_run(&f, &o);
	assert_int_equal(o.reason, reason);
	assert_int_equal(o.action, action);
}

void expect_frame(void)
{
	assert_int_equal(o.len, want.len);
	assert_memory_equal(o.data, want.data, want.len);
}

/* f, unchanged, left to the host. */
void expect_untouched(void)
{
	expect(XDP_PASS, WEIR_REASON_NOT_OURS);
	want = f;
	expect_frame();
}

/* The source port and backend's last byte of what was just sent. */
uint16_t nat_port(void)
{
	const uint8_t *at = o.data + 14;

	at += *at >> 4 == 4 ? 20 : 40;
	return (uint16_t)(at[0] << 8 | at[1]);
}

uint8_t backend(void)
{
	return o.data[14 + (o.data[14] >> 4 == 4 ? 19 : 39)];
}

uint16_t syn_from(const char *client, uint16_t port)
{
	tcp(&f, client, port, strchr(client, ':') ? VIP6 : VIP, 80, TCP_SYN, 1000, 0, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	return nat_port();
}

uint16_t syn(uint16_t port)
{
	return syn_from(CLIENT, port);
}

void answer_from(const char *from, uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack,
			uint32_t payload)
{
	tcp(&f, from, 80, strchr(from, ':') ? NAT6 : NAT, port, flags, seq, ack, payload, 61);
}

void answer(uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t payload)
{
	answer_from(B1, port, flags, seq, ack, payload);
}

/* A whole handshake; returns the NAT port. */
uint16_t connect_from(const char *client, uint16_t port)
{
	const char *to = strchr(client, ':') ? B6 : B1;
	uint16_t mapped = syn_from(client, port);

	answer_from(to, mapped, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&f, client, port, strchr(client, ':') ? VIP6 : VIP, 80, TCP_ACK, 1001, 5001, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(nat_port(), mapped);
	return mapped;
}

struct weir_nat_entry *entry(uint16_t port)
{
	return &ports[port];
}

void idle(uint16_t port, uint32_t seconds)
{
	struct weir_nat_entry *e = entry(port);
	uint32_t seen = (uint32_t)(e->head >> 8) & 0xffffff;

	e->head = (e->head & ~0xffffff00ULL) | (uint64_t)((seen - seconds) & 0xffffff) << 8;
}

uint64_t counted(enum weir_nat_count which)
{
	int cpus = libbpf_num_possible_cpus();
	struct weir_count *c = calloc((size_t)cpus, sizeof(*c));
	uint32_t key = which;
	uint64_t sum = 0;

	assert_int_equal(bpf_map_lookup_elem(fd(edge_skeleton()->maps.nat_counts), &key, c), 0);
	for (int i = 0; i < cpus; i++)
		sum += c[i].packets;
	free(c);
	return sum;
}
