/* SPDX-License-Identifier: Apache-2.0 */
/* Translation: both ways with the exact bytes, whose port is whose, and for how long. */
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
#include <time.h>

#include <cmocka.h>

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

static struct frame f, want;
static struct outcome o;
static struct weir_nat_entry *ports;
static struct weir_nat nat;

static int fd(struct bpf_map *map)
{
	return bpf_map__fd(map);
}

static void nat_write(void)
{
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.nat_conf), &zero, &nat, 0), 0);
}

static void place(uint32_t at, const char *address)
{
	struct weir_nat_place *p = &nat.place[at];
	int family = strchr(address, ':') ? 1 : 0;

	address_bytes((uint8_t *)p->addr, address);
	p->family = family ? WEIR_FAMILY_6 : WEIR_FAMILY_4;
	nat.list[family][nat.count[family]++] = (uint8_t)at;
	assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.nat_addresses), p, &at, 0), 0);
	nat_write();
}

static void on_cpu(int cpu)
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
static void rewind_cursors(void)
{
	void *zeros = calloc((size_t)libbpf_num_possible_cpus(), 8);

	for (uint32_t family = 0; family < 2; family++)
		assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.nat_cursors), &family,
						     zeros, 0), 0);
	free(zeros);
}

static int start(void **state)
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
static int open_net(void **state)
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

static void link_to(struct frame *w, uint8_t to, uint8_t from0, uint8_t from)
{
	const uint8_t dest[6] = { to < 10 ? 6 : 2, 0, 0, 0, 0, to },
		      source[6] = { from0, 0, 0, 0, 0, from };

	memcpy(w->data, dest, 6);
	memcpy(w->data + 6, source, 6);
}

static void ip(struct frame *w, const char *source, const char *dest, uint8_t ttl)
{
	uint8_t *at = strchr(source, ':') ? frame_ip6(w, source, dest) : frame_ip4(w, source, dest);

	at[*at >> 4 == 4 ? 8 : 7] = ttl;
}

static void tcp(struct frame *w, const char *source, uint16_t sport, const char *dest,
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

static void udp(struct frame *w, const char *source, uint16_t sport, const char *dest,
		uint16_t dport, uint32_t payload, uint8_t ttl)
{
	frame_eth(w);
	ip(w, source, dest, ttl);
	frame_udp(w, sport, dport);
	frame_bytes(w, NULL, payload);
	frame_end(w);
}

static void expect(uint32_t action, int reason)
{
	edge_run(&f, &o);
	assert_int_equal(o.reason, reason);
	assert_int_equal(o.action, action);
}

static void expect_frame(void)
{
	assert_int_equal(o.len, want.len);
	assert_memory_equal(o.data, want.data, want.len);
}

/* f, unchanged, left to the host. */
static void expect_untouched(void)
{
	expect(XDP_PASS, WEIR_REASON_NOT_OURS);
	want = f;
	expect_frame();
}

/* The source port and backend's last byte of what was just sent. */
static uint16_t nat_port(void)
{
	const uint8_t *at = o.data + 14;

	at += *at >> 4 == 4 ? 20 : 40;
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint8_t backend(void)
{
	return o.data[14 + (o.data[14] >> 4 == 4 ? 19 : 39)];
}

static uint16_t syn_from(const char *client, uint16_t port)
{
	tcp(&f, client, port, strchr(client, ':') ? VIP6 : VIP, 80, TCP_SYN, 1000, 0, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	return nat_port();
}

static uint16_t syn(uint16_t port)
{
	return syn_from(CLIENT, port);
}

static void answer_from(const char *from, uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack,
			uint32_t payload)
{
	tcp(&f, from, 80, strchr(from, ':') ? NAT6 : NAT, port, flags, seq, ack, payload, 61);
}

static void answer(uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t payload)
{
	answer_from(B1, port, flags, seq, ack, payload);
}

/* A whole handshake; returns the NAT port. */
static uint16_t connect_from(const char *client, uint16_t port)
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

static struct weir_nat_entry *entry(uint16_t port)
{
	return &ports[port];
}

static void idle(uint16_t port, uint32_t seconds)
{
	struct weir_nat_entry *e = entry(port);
	uint32_t seen = (uint32_t)(e->head >> 8) & 0xffffff;

	e->head = (e->head & ~0xffffff00ULL) | (uint64_t)((seen - seconds) & 0xffffff) << 8;
}

static uint64_t counted(enum weir_nat_count which)
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

/* ---- the bytes, both ways ---- */

static void tcp_both_ways(const char *client, const char *vip, const char *address, const char *b,
			  uint8_t index)
{
	uint16_t port;

	tcp(&f, client, 40000, vip, 80, TCP_SYN, 1000, 0, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	port = nat_port();
	assert_in_range(port, FIRST, FIRST + PORTS - 1);
	tcp(&want, address, port, b, 80, TCP_SYN, 1000, 0, 0, 60);
	link_to(&want, index, 4, 1);
	expect_frame();

	tcp(&f, b, 80, address, port, TCP_SYN | TCP_ACK, 5000, 1001, 0, 33);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&want, vip, 80, client, 40000, TCP_SYN | TCP_ACK, 5000, 1001, 0, 32);
	link_to(&want, 0x0b, 2, 0x0a);
	expect_frame();

	for (uint32_t payload = 0; payload < 5; payload++) {
		tcp(&f, client, 40000, vip, 80, TCP_ACK, 1001, 5001, payload, 61);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
		tcp(&want, address, port, b, 80, TCP_ACK, 1001, 5001, payload, 60);
		link_to(&want, index, 4, 1);
		expect_frame();
	}
	tcp(&f, b, 80, address, port, TCP_ACK, 5001, 1001, 1001, 33);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&want, vip, 80, client, 40000, TCP_ACK, 5001, 1001, 1001, 32);
	link_to(&want, 0x0b, 2, 0x0a);
	expect_frame();
}

static void tcp4(void **state)
{
	uint64_t to_backend = backend_packets(1), to_service = service_packets(1);

	(void)state;
	tcp_both_ways(CLIENT, VIP, NAT, B1, 1);
	assert_int_equal(backend_packets(1) - to_backend, 6);
	assert_int_equal(service_packets(1) - to_service, 6);
}

static void tcp6(void **state)
{
	(void)state;
	tcp_both_ways(CLIENT6, VIP6, NAT6, B6, 3);
}

static void udp_both_ways(const char *client, const char *vip, const char *address, const char *b,
			  uint8_t index)
{
	uint16_t port = 0;

	for (uint32_t payload = 0; payload < 5; payload++) {
		udp(&f, client, 40000, vip, 53, payload, 61);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
		if (!payload)
			port = nat_port();
		udp(&want, address, port, b, 53, payload, 60);
		link_to(&want, index, 4, 1);
		expect_frame();
		udp(&f, b, 53, address, port, payload, 61);
		expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
		udp(&want, vip, 53, client, 40000, payload, 60);
		link_to(&want, 0x0b, 2, 0x0a);
		expect_frame();
	}
}

static void udp4(void **state)
{
	(void)state;
	udp_both_ways(CLIENT, VIP, NAT, B1, 1);
}

static void udp6(void **state)
{
	(void)state;
	udp_both_ways(CLIENT6, VIP6, NAT6, B6, 3);
}

static void udp_without_checksum_stays_without(void **state)
{
	struct udphdr *u = (void *)(o.data + 34);

	(void)state;
	udp(&f, CLIENT, 40000, VIP, 53, 20, 61);
	memset(f.data + 40, 0, 2);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(u->check, 0);
	udp(&f, B1, 53, NAT, nat_port(), 20, 61);
	memset(f.data + 40, 0, 2);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	assert_int_equal(u->check, 0);
}

/* A sum of zero would mean "none": it is written as 0xffff (RFC 768). */
static void udp_checksum_that_comes_out_as_zero(void **state)
{
	const struct udphdr *u = (const void *)(o.data + 34);

	(void)state;
	udp(&f, CLIENT, 40000, VIP, 53, 2, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	for (uint32_t last = 0; last < 0x10000; last++) {
		uint8_t two[2] = { (uint8_t)(last >> 8), (uint8_t)last };

		frame_eth(&f);
		ip(&f, CLIENT, VIP, 61);
		frame_udp(&f, 40000, 53);
		frame_bytes(&f, two, 2);
		frame_end(&f);
		udp(&want, NAT, nat_port(), B1, 53, 2, 60);
		memcpy(want.data + 42, two, 2);
		memset(want.data + 40, 0xff, 2);
		if (!transport_checksum_ok(want.data + 14))
			continue;
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
		assert_int_equal(u->check, 0xffff);
		assert_true(transport_checksum_ok(o.data + 14));
		return;
	}
	fail();
}

static void wrong_checksum_stays_wrong(void **state)
{
	(void)state;
	udp(&f, CLIENT, 40000, VIP, 53, 20, 61);
	f.data[60] ^= 1;
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_false(transport_checksum_ok(o.data + 14));
}

static void options_are_stepped_over(void **state)
{
	struct iphdr *header;

	(void)state;
	frame_eth(&f);
	header = frame_ip4(&f, CLIENT, VIP);
	frame_bytes(&f, "\1\1\1\1\1\1\1\0", 8);
	frame_tcp(&f, 40000, 80, TCP_SYN);
	frame_end(&f);
	header->ihl = 7;
	header->check = 0;
	for (uint32_t sum = 0, i = 0; i <= 28; i += 2) {
		if (i == 28) {
			sum = (sum & 0xffff) + (sum >> 16);
			header->check = htons((uint16_t)~((sum & 0xffff) + (sum >> 16)));
		} else {
			sum += (uint32_t)f.data[14 + i] << 8 | f.data[15 + i];
		}
	}
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_memory_equal(o.data + 34, "\1\1\1\1\1\1\1\0", 8);
	assert_in_range(o.data[42] << 8 | o.data[43], FIRST, FIRST + PORTS - 1);
	for (uint32_t sum = 0, i = 0; i < 28; i += 2) {
		sum += (uint32_t)o.data[14 + i] << 8 | o.data[15 + i];
		if (i == 26)
			assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);
	}
}

static void other_port_at_the_backend(void **state)
{
	struct weir_service_key key = { .port = htons(80), .proto = IPPROTO_TCP,
					.family = WEIR_FAMILY_4 };
	struct weir_service value = { .number = 1, .slots = 1, .encap = WEIR_ENCAP_NAT,
				      .port = htons(8080) };
	uint16_t port;

	(void)state;
	address_bytes((uint8_t *)key.addr, VIP);
	assert_int_equal(bpf_map_update_elem(fd(edge_skeleton()->maps.services), &key, &value, 0), 0);
	port = syn(40000);
	tcp(&want, NAT, port, B1, 8080, TCP_SYN, 1000, 0, 0, 60);
	link_to(&want, 1, 4, 1);
	expect_frame();
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0); /* from port 80 */
	expect_untouched();
	tcp(&f, B1, 8080, NAT, port, TCP_SYN | TCP_ACK, 5000, 1001, 0, 61);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&want, VIP, 80, CLIENT, 40000, TCP_SYN | TCP_ACK, 5000, 1001, 0, 60);
	link_to(&want, 0x0b, 2, 0x0a);
	expect_frame();
}

static void last_hop_is_left_to_the_host(void **state)
{
	(void)state;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_SYN, 1000, 0, 0, 1);
	expect(XDP_PASS, WEIR_REASON_TTL_EXPIRED);
	want = f;
	expect_frame();
	tcp(&f, CLIENT6, 40000, VIP6, 80, TCP_SYN, 1000, 0, 0, 1);
	expect(XDP_PASS, WEIR_REASON_TTL_EXPIRED);
	want = f;
	expect_frame();
}

static void too_big_for_the_way(void **state)
{
	(void)state;
	put_backend_way(1, INGRESS, 1000);
	connect_from(CLIENT, 40000);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 1000 - 40, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 1000 - 39, 61);
	expect(XDP_TX, WEIR_REASON_TOO_BIG);
	assert_int_equal(o.data[34], 3);
	assert_int_equal(o.data[40] << 8 | o.data[41], 1000);
}

static void no_route_back(void **state)
{
	uint16_t port = syn_from("203.0.113.1", 40000);

	(void)state;
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_DROP, WEIR_REASON_NO_ROUTE);
}

static void this_node_is_left_to_the_host(void **state)
{
	(void)state;
	put_backend(1, B1, NULL, WEIR_BACKEND_LOCAL);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_SYN, 1000, 0, 0, 61);
	expect(XDP_PASS, WEIR_REASON_LOCAL);
	want = f;
	expect_frame();
}

static void backend_of_the_other_family(void **state)
{
	(void)state;
	slot(0)->current = 3;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_SYN, 1000, 0, 0, 61);
	expect(XDP_DROP, WEIR_REASON_NO_ROUTE);
}

static void no_address_of_the_family(void **state)
{
	uint64_t full = counted(WEIR_NAT_COUNT_FULL);

	(void)state;
	nat.count[0] = 0;
	nat_write();
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_SYN, 1000, 0, 0, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_FULL);
	assert_int_equal(counted(WEIR_NAT_COUNT_FULL) - full, 1);
}

static void switched_off(void **state)
{
	const struct weir_settings none = { 0 };
	uint16_t port = syn(40000);

	(void)state;
	put_settings(&none);
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect_untouched();
}

/* ---- ICMP errors ---- */

/* An error from `from` to `to` that quotes a TCP or UDP packet `source` → `dest`. */
static void error(struct frame *w, const char *from, const char *to, uint8_t type, uint8_t code,
		  bool is_tcp, const char *source, uint16_t sport, const char *dest, uint16_t dport,
		  uint8_t ttl)
{
	frame_eth(w);
	ip(w, from, to, ttl);
	*(uint32_t *)((uint8_t *)frame_icmp(w, type, code) + 4) = htonl(1280);
	ip(w, source, dest, 50);
	if (is_tcp) {
		((struct tcphdr *)frame_tcp(w, sport, dport, TCP_ACK))->seq = htonl(77);
		frame_bytes(w, NULL, 31);
	} else {
		frame_udp(w, sport, dport);
		frame_bytes(w, NULL, 31);
	}
	frame_end(w);
}

static void errors(bool is_tcp, bool is6)
{
	const char *vip = is6 ? VIP6 : VIP, *client = is6 ? CLIENT6 : CLIENT, *b = is6 ? B6 : B1,
		   *self = is6 ? NAT6 : NAT, *router = is6 ? ROUTER6 : ROUTER;
	uint8_t type = is6 ? 2 : 3, code = is6 ? 0 : 4;
	uint16_t service = is_tcp ? 80 : 53, port;

	if (is_tcp) {
		port = connect_from(client, 40000);
	} else {
		udp(&f, client, 40000, vip, 53, 20, 61);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
		port = nat_port();
	}
	/* A router on the way to the backend. */
	error(&f, router, self, type, code, is_tcp, self, port, b, service, 61);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	error(&want, vip, client, type, code, is_tcp, client, 40000, vip, service, 60);
	link_to(&want, 0x0b, 2, 0x0a);
	expect_frame();
	/* A router on the way to the client. */
	error(&f, router, vip, type, code, is_tcp, vip, service, client, 40000, 61);
	expect(XDP_TX, WEIR_REASON_ICMP_ERROR);
	error(&want, self, b, type, code, is_tcp, b, service, self, port, 60);
	link_to(&want, is6 ? 3 : 1, 4, 1);
	expect_frame();
}

static void errors_tcp4(void **state)
{
	(void)state;
	errors(true, false);
}

static void errors_tcp6(void **state)
{
	(void)state;
	errors(true, true);
}

static void errors_udp4(void **state)
{
	(void)state;
	errors(false, false);
}

static void errors_udp6(void **state)
{
	(void)state;
	errors(false, true);
}

/* RFC 792 asks for eight bytes alone: the TCP checksum is not among them. */
static void error_with_a_short_quote(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);
	uint8_t inner[28];

	(void)state;
	tcp(&f, NAT, port, B1, 80, TCP_ACK, 1, 1, 0, 50);
	memcpy(inner, f.data + 14, 28);
	frame_eth(&f);
	ip(&f, ROUTER, NAT, 61);
	frame_icmp(&f, 3, 1);
	frame_bytes(&f, inner, 28);
	frame_end(&f);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	assert_true(transport_checksum_ok(o.data + 14));
	assert_true(ip4_checksum_ok(o.data + 14));
	assert_true(ip4_checksum_ok(o.data + 42));
	assert_int_equal(o.data[62] << 8 | o.data[63], 40000);
}

/* The ports lie behind options: nothing is written where they would be without, and the sum is right. */
static void error_that_quotes_extensions(void **state)
{
	static const uint8_t options[8] = { IPPROTO_TCP, 0, 1, 4, 0, 0, 0, 0 };
	struct frame quoted;

	(void)state;
	connect_from(CLIENT6, 40000);
	frame_eth(&quoted);
	ip(&quoted, VIP6, CLIENT6, 50);
	frame_bytes(&quoted, options, 8);
	frame_tcp(&quoted, 80, 40000, TCP_ACK);
	frame_end(&quoted);
	quoted.data[20] = IPPROTO_DSTOPTS;
	frame_eth(&f);
	ip(&f, ROUTER6, VIP6, 61);
	frame_icmp(&f, 2, 0);
	frame_bytes(&f, quoted.data + 14, quoted.len - 14);
	frame_end(&f);
	expect(XDP_TX, WEIR_REASON_ICMP_ERROR);
	assert_memory_equal(o.data + 62, quoted.data + 14, quoted.len - 14);
	assert_true(transport_checksum_ok(o.data + 14));
}

static void error_about_no_flow(void **state)
{
	(void)state;
	error(&f, ROUTER, NAT, 3, 4, true, NAT, FIRST, B1, 80, 61);
	expect_untouched();
	error(&f, ROUTER, VIP, 3, 4, true, VIP, 80, CLIENT, 40000, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
}

/* An error must not hold a flow alive, nor end it. */
static void error_changes_no_state(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);
	uint64_t head;

	(void)state;
	idle(port, 100);
	head = entry(port)->head;
	error(&f, ROUTER, NAT, 3, 4, true, NAT, port, B1, 80, 61);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	error(&f, ROUTER, VIP, 3, 4, true, VIP, 80, CLIENT, 40000, 61);
	expect(XDP_TX, WEIR_REASON_ICMP_ERROR);
	assert_int_equal(entry(port)->head, head);
}

/* ---- fragments ---- */

static void fragment(struct frame *w, const char *source, const char *dest, const void *data,
		     uint32_t len, uint16_t offset, bool more, uint8_t ttl)
{
	const uint8_t header[8] = { IPPROTO_UDP, 0, (uint8_t)(offset >> 5),
				    (uint8_t)(offset << 3 | (more ? 1 : 0)), 1, 2, 3, 4 };
	bool is6 = strchr(source, ':');
	uint8_t *at;

	frame_eth(w);
	ip(w, source, dest, ttl);
	at = w->data + 14;
	if (is6)
		frame_bytes(w, header, 8);
	frame_bytes(w, data, len);
	if (is6) {
		frame_end(w);
		at[6] = 44;
		return;
	}
	at[9] = IPPROTO_UDP;
	((struct iphdr *)at)->id = htons(99);
	((struct iphdr *)at)->frag_off = htons((uint16_t)(offset | (more ? 0x2000 : 0)));
	frame_end(w);
}

/* The datagram as a whole has a right checksum before and after: its parts are as of it. */
static void fragments_one_way(const char *source, uint16_t sport, const char *dest, uint16_t dport,
			      const char *to_source, const char *to_dest, bool back)
{
	uint32_t header = strchr(source, ':') ? 54 : 34;
	struct frame whole, after;
	uint16_t first_port;

	udp(&whole, source, sport, dest, dport, 56, 61);
	fragment(&f, source, dest, whole.data + header, 40, 0, true, 61);
	expect(back ? XDP_REDIRECT : XDP_TX,
	       back ? WEIR_REASON_RETURNED : WEIR_REASON_TRANSLATED);
	header += strchr(source, ':') ? 8 : 0;
	first_port = (uint16_t)(o.data[header] << 8 | o.data[header + 1]);
	udp(&after, to_source, back ? 53 : first_port, to_dest, back ? 40000 : 53, 56, 60);
	fragment(&want, to_source, to_dest, after.data + (strchr(source, ':') ? 54 : 34), 40, 0, true,
		 60);
	if (back)
		link_to(&want, 0x0b, 2, 0x0a);
	else
		link_to(&want, strchr(source, ':') ? 3 : 1, 4, 1);
	expect_frame();
	fragment(&f, source, dest, whole.data + (strchr(source, ':') ? 54 : 34) + 40, 24, 5, false, 61);
	expect(back ? XDP_REDIRECT : XDP_TX, back ? WEIR_REASON_RETURNED : WEIR_REASON_FRAGMENT);
	fragment(&want, to_source, to_dest, after.data + (strchr(source, ':') ? 54 : 34) + 40, 24, 5,
		 false, 60);
	if (back)
		link_to(&want, 0x0b, 2, 0x0a);
	else
		link_to(&want, strchr(source, ':') ? 3 : 1, 4, 1);
	expect_frame();
}

static void fragments4(void **state)
{
	uint16_t port;

	(void)state;
	fragments_one_way(CLIENT, 40000, VIP, 53, NAT, B1, false);
	udp(&f, CLIENT, 40000, VIP, 53, 5, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	port = nat_port();
	fragments_one_way(B1, 53, NAT, port, VIP, CLIENT, true);
}

static void fragments6(void **state)
{
	uint16_t port;

	(void)state;
	fragments_one_way(CLIENT6, 40000, VIP6, 53, NAT6, B6, false);
	udp(&f, CLIENT6, 40000, VIP6, 53, 5, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	port = nat_port();
	fragments_one_way(B6, 53, NAT6, port, VIP6, CLIENT6, true);
}

/* RFC 8200 section 4.5: the next header of a later fragment may differ from the first one's. */
static void later_fragment_names_another_header(void **state)
{
	uint8_t data[40] = { 40000 >> 8, 40000 & 0xff, 0, 53, 0, 64 };
	uint16_t port;

	(void)state;
	fragment(&f, CLIENT6, VIP6, data, 40, 0, true, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	port = (uint16_t)(o.data[62] << 8 | o.data[63]);
	fragment(&f, CLIENT6, VIP6, data, 24, 5, false, 61);
	f.data[54] = IPPROTO_DSTOPTS;
	expect(XDP_TX, WEIR_REASON_FRAGMENT);
	address_bytes(data, NAT6);
	assert_memory_equal(o.data + 22, data, 16);
	memcpy(data, (uint8_t[]){ 0, 53, (uint8_t)(port >> 8), (uint8_t)port }, 4);
	fragment(&f, B6, NAT6, data, 40, 0, true, 61);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	fragment(&f, B6, NAT6, data, 24, 5, false, 61);
	f.data[54] = IPPROTO_DSTOPTS;
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	address_bytes(data, CLIENT6);
	assert_memory_equal(o.data + 38, data, 16);
}

static void later_fragment_alone(void **state)
{
	(void)state;
	fragment(&f, CLIENT, VIP, "abcdefgh", 8, 5, false, 61);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
	fragment(&f, B1, NAT, "abcdefgh", 8, 5, false, 61);
	expect_untouched();
}

/* ---- whose port is whose ---- */

static void flows_have_ports_of_their_own(void **state)
{
	uint16_t a = syn(40000), b = syn(40001), c = syn_from(OTHER4, 40000);

	(void)state;
	assert_int_not_equal(a, b);
	assert_int_not_equal(a, c);
	assert_int_not_equal(b, c);
	assert_int_equal(syn(40001), b);
}

static void each_cpu_has_ports_of_its_own(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < PORTS; i++)
		assert_in_range(syn((uint16_t)(40000 + i)), FIRST, FIRST + PORTS - 1);
	on_cpu(1);
	for (uint16_t i = 0; i < PORTS; i++)
		assert_in_range(syn((uint16_t)(41000 + i)), FIRST + PORTS, FIRST + 2 * PORTS - 1);
	/* A flow that comes by another CPU keeps its port. */
	assert_in_range(syn(40000), FIRST, FIRST + PORTS - 1);
}

static void second_address_when_the_first_is_full(void **state)
{
	(void)state;
	nat.count[0] = nat.count[1] = 0;
	place(0, NAT);
	place(1, NATB);
	for (uint16_t i = 0; i < 2 * PORTS; i++) {
		uint16_t port = syn((uint16_t)(40000 + i));

		assert_int_equal(o.data[14 + 15], i < PORTS ? 1 : 2);
		assert_in_range(port, FIRST, FIRST + PORTS - 1);
	}
	/* And a reply to the second finds its flow. */
	tcp(&f, B1, 80, NATB, FIRST, TCP_SYN | TCP_ACK, 5000, 1001, 0, 61);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&want, VIP, 80, CLIENT, 40000 + PORTS, TCP_SYN | TCP_ACK, 5000, 1001, 0, 60);
	link_to(&want, 0x0b, 2, 0x0a);
	expect_frame();
}

static void slot_that_moves_takes_no_flow_along(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	slot(0)->owners[0] = slot(0)->previous = 1;
	slot(0)->current = 2;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(backend(), 11);
	assert_int_equal(nat_port(), port);
	syn(40001);
	assert_int_equal(backend(), 12);
	slot(0)->previous = 0;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(backend(), 11);
}

static void backend_down(void **state)
{
	(void)state;
	connect_from(CLIENT, 40000);
	put_backend(1, B1, NULL, WEIR_BACKEND_DOWN);
	slot(0)->current = 2;
	/* The check may err: what is open goes on trying. */
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(backend(), 11);
	/* New ones go elsewhere, also from the same port. */
	syn(40001);
	assert_int_equal(backend(), 12);
	syn(40000);
	assert_int_equal(backend(), 12);
}

static void udp_leaves_a_backend_that_is_down(void **state)
{
	uint16_t port;

	(void)state;
	udp(&f, CLIENT, 40000, VIP, 53, 5, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	port = nat_port();
	put_backend(1, B1, NULL, WEIR_BACKEND_DOWN);
	slot(0)->current = 2;
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(backend(), 12);
	assert_int_not_equal(nat_port(), port);
}

static void index_with_another_backend(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);
	struct weir_backend b = { .family = WEIR_FAMILY_4, .ifindex = INGRESS, .id = 5 };
	uint32_t one = 1;

	(void)state;
	address_bytes((uint8_t *)b.addr, B1);
	bpf_map_update_elem(fd(edge_skeleton()->maps.backends), &one, &b, 0);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect_untouched();
}

static void segment_of_no_flow(void **state)
{
	(void)state;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
}

static void reply_of_another_backend(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	answer_from(B2, port, TCP_ACK, 5001, 1001, 10);
	expect_untouched();
	udp(&f, B1, 80, NAT, port, 10, 61); /* the other protocol */
	expect_untouched();
	answer((uint16_t)(port + 1), TCP_ACK, 5001, 1001, 10);
	expect_untouched();
}

/* ---- generations ---- */

static void flow_with_an_older_generation(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	entry(port)->head += 1ULL << 32;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
}

static void entry_of_another_flow(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	entry(port)->flow.source_port = htons(40001);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
}

static void entry_that_is_being_written(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	entry(port)->head |= WEIR_NAT_BUSY;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect_untouched();
}

static void fragment_of_an_older_generation(void **state)
{
	uint16_t port;

	(void)state;
	udp(&f, CLIENT, 40000, VIP, 53, 5, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	port = nat_port();
	fragments_one_way(B1, 53, NAT, port, VIP, CLIENT, true);
	entry(port)->head += 1ULL << 32;
	fragment(&f, B1, NAT, "abcdefgh", 8, 5, false, 61);
	expect_untouched();
}

/* ---- the handshake decides what passes ---- */

static void answer_to_another_syn(void **state)
{
	uint64_t strange = counted(WEIR_NAT_COUNT_STRANGE);
	uint16_t port = syn(40000);

	(void)state;
	answer(port, TCP_SYN | TCP_ACK, 5000, 999, 0);
	expect_untouched();
	answer(port, TCP_ACK, 5000, 999, 10); /* data of the connection before */
	expect_untouched();
	answer(port, TCP_ACK | 1, 5000, 999, 0);
	expect_untouched();
	answer(port, TCP_RST | TCP_ACK, 0, 999, 0);
	expect_untouched();
	assert_int_equal(counted(WEIR_NAT_COUNT_STRANGE) - strange, 4);
	/* What a backend in TIME-WAIT says to the SYN: the client's reset then clears the way. */
	answer(port, TCP_ACK, 5000, 999, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	answer(port, TCP_RST | TCP_ACK, 0, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
}

static void established_by_the_clients_acknowledgement(void **state)
{
	uint16_t port = syn(40000);

	(void)state;
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 4999, 0, 61); /* a guess */
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
}

/* Who did not get the SYN-ACK knows nothing of its number: a few guesses must not do. */
static void established_by_no_guess(void **state)
{
	uint16_t port = syn(40000);

	(void)state;
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	for (uint32_t i = 0; i < 16; i++) {
		tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001 + 0x10000 + (i << 28), 0, 61);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
		assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
	}
	/* Of one who got data already, the first acknowledgement was lost. */
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001 + 0xffff, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
}

/* A SYN that comes once more after the SYN-ACK passed takes nothing back. */
static void repeated_syn(void **state)
{
	uint16_t port = syn(40000);

	(void)state;
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	assert_int_equal(syn(40000), port);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
}

/* What the backend says first passes also when the client's acknowledgement was not seen here. */
static void data_before_the_acknowledgement(void **state)
{
	uint16_t port = syn(40000);

	(void)state;
	answer(port, TCP_SYN | TCP_ACK, 5000, 1001, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	answer(port, TCP_ACK, 5001, 1001 + 5000, 10); /* of another connection */
	expect_untouched();
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 15);
}

static void both_fins_shorten_the_life(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK | 1, 1001, 5001, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
	answer(port, TCP_ACK | 1, 5001, 1002, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 5);
	/* The last acknowledgement, and then a new connection from the same port. */
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1002, 5002, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 5);
	assert_int_equal(connect_from(CLIENT, 40000), port);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
}

static void reset_shortens_the_life(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_RST, 1001, 0, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 5);
	/* It was a forgery: the backend goes on. */
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
	answer(port, TCP_RST, 5001, 0, 0);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_ACK, 1001, 5001, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 5);
}

static void syn_in_an_open_connection_changes_nothing(void **state)
{
	uint16_t port = connect_from(CLIENT, 40000);

	(void)state;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_SYN, 777, 0, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(nat_port(), port);
	answer(port, TCP_ACK, 5001, 1001, 10);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	assert_int_equal(weir_nat_life(&nat, IPPROTO_TCP, entry(port)->head), 3600);
}

/* ---- full ---- */

static void fill_open(uint16_t first[PORTS])
{
	for (uint16_t i = 0; i < PORTS; i++) {
		first[i] = connect_from(CLIENT, (uint16_t)(40000 + i));
		idle(first[i], (uint32_t)(100 - i));
	}
}

static void oldest_is_evicted(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	idle(had[5], 500);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
	assert_int_equal(syn(50000), had[5]);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED) - evicted, 1);
	/* Whose it was finds nothing, and gets nothing. */
	tcp(&f, CLIENT, 40005, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_UNKNOWN);
	answer(had[5], TCP_ACK, 5001, 1001, 10); /* the old connection's data: not for the new client */
	expect_untouched();
}

static void half_open_ones_go_first(void **state)
{
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	entry(had[3])->head &= ~0xffULL; /* idle for 97 s: now for 7 */
	idle(had[3], (uint32_t)-90);
	idle(had[1], 1000);
	assert_int_equal(syn(50000), had[3]);
}

static void closing_ones_go_before_them(void **state)
{
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	entry(had[3])->head &= ~0xffULL;
	idle(had[3], (uint32_t)-90);
	tcp(&f, CLIENT, 40006, VIP, 80, TCP_RST, 1001, 0, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(syn(50000), had[6]);
}

static void expired_one_is_no_eviction(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	idle(had[4], 3600);
	assert_int_equal(syn(50000), had[4]);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
}

/* Stamped by a CPU whose clock is ahead: it is the one used last, not one of last year. */
static void stamped_in_the_future(void **state)
{
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	idle(had[4], (uint32_t)-(100 - 4 + 2));
	assert_int_not_equal(weir_nat_idle(entry(had[3])->head, 0), 0);
	assert_int_equal(syn(50000), had[0]);
	assert_int_equal(weir_nat_idle(101ULL << 8, 100), 0);
	assert_int_equal(weir_nat_idle(0xffffffULL << 8, 0), 1);
}

/* After a reset the port is free for another backend soon, for the same one when TIME-WAIT is over. */
static void port_of_a_closed_connection(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	for (uint16_t i = 2; i < 4; i++) {
		answer(had[i], TCP_RST, 5001, 0, 0);
		expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
		idle(had[i], 10);
	}
	idle(had[2], 60);
	assert_int_equal(syn(50000), had[2]); /* the same backend */
	slot(0)->current = 2;
	assert_int_equal(syn(50001), had[3]); /* another */
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
}

/* Nothing in a datagram tells whose it is: a late reply would reach the new client. */
static void udp_port_is_not_taken_for_the_same_backend(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED), full = counted(WEIR_NAT_COUNT_FULL);

	(void)state;
	for (uint16_t i = 0; i < PORTS; i++) {
		udp(&f, CLIENT, (uint16_t)(40000 + i), VIP, 53, 5, 61);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
	}
	udp(&f, CLIENT, 50000, VIP, 53, 5, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_FULL);
	assert_int_equal(counted(WEIR_NAT_COUNT_FULL) - full, 1);
	slot(0)->current = 2; /* for another it is */
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED) - evicted, 1);
	/* And what the first backend still sends does not reach the new client. */
	udp(&f, B1, 53, NAT, nat_port(), 5, 61);
	expect_untouched();
}

/* Whoever sends datagrams names any sender: connections that are complete are not for them. */
static void udp_ends_no_connection(void **state)
{
	uint64_t full = counted(WEIR_NAT_COUNT_FULL);
	uint16_t had[PORTS];

	(void)state;
	fill_open(had);
	idle(had[5], 500);
	udp(&f, CLIENT, 50000, VIP, 53, 5, 61);
	expect(XDP_DROP, WEIR_REASON_NAT_FULL);
	assert_int_equal(counted(WEIR_NAT_COUNT_FULL) - full, 1);
	tcp(&f, CLIENT, 40005, VIP, 80, TCP_ACK, 1001, 5001, 10, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	/* A half-open one is. */
	entry(had[3])->head &= ~0xffULL;
	idle(had[3], (uint32_t)-90);
	udp(&f, CLIENT, 50000, VIP, 53, 5, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(nat_port(), had[3]);
}

static void udp_expires(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);

	(void)state;
	for (uint16_t i = 0; i < PORTS; i++) {
		udp(&f, CLIENT, (uint16_t)(40000 + i), VIP, 53, 5, 61);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
	}
	idle(FIRST + 2, 60);
	udp(&f, CLIENT, 50000, VIP, 53, 5, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	assert_int_equal(nat_port(), FIRST + 2);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
}

/* Those in use lie in a row, longer than what is looked at in turn: none ends while any is free. */
static void row_of_busy_ones(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);

	(void)state;
	nat.ports = 600;
	nat_write();
	for (uint16_t i = 0; i < 300; i++)
		assert_int_equal(connect_from(CLIENT, (uint16_t)(40000 + i)), FIRST + i);
	for (uint16_t i = 0; i < 20; i++) {
		rewind_cursors();
		assert_in_range(connect_from(CLIENT, (uint16_t)(50000 + i)), FIRST + 300, FIRST + 599);
	}
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED), evicted);
}

/* Not all are looked at each time, but the only one that is free is found soon. */
static void not_all_are_looked_at(void **state)
{
	uint64_t evicted = counted(WEIR_NAT_COUNT_EVICTED);
	uint32_t tries = 0;

	(void)state;
	nat.ports = 400;
	nat_write();
	for (uint16_t i = 0; i < 400; i++)
		assert_int_equal(connect_from(CLIENT, (uint16_t)(40000 + i)), FIRST + i);
	idle(FIRST + 300, 3600);
	while (connect_from(CLIENT, (uint16_t)(50000 + tries)) != FIRST + 300)
		assert_true(++tries < 60);
	assert_int_equal(counted(WEIR_NAT_COUNT_EVICTED) - evicted, tries);
}

static void flows_map_holds_what_the_ports_hold(void **state)
{
	struct weir_flow key, *from = NULL;
	uint32_t n = 0;

	(void)state;
	for (uint16_t i = 0; i < 5 * PORTS; i++)
		connect_from(CLIENT, (uint16_t)(40000 + i));
	while (!bpf_map_get_next_key(fd(edge_skeleton()->maps.nat_flows), from, &key)) {
		from = &key;
		n++;
	}
	assert_int_equal(n, PORTS);
}

#define T(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(tcp4), T(tcp6), T(udp4), T(udp6), T(udp_without_checksum_stays_without),
		T(udp_checksum_that_comes_out_as_zero), T(wrong_checksum_stays_wrong),
		T(options_are_stepped_over), T(other_port_at_the_backend),
		T(last_hop_is_left_to_the_host), T(too_big_for_the_way), T(no_route_back),
		T(this_node_is_left_to_the_host), T(backend_of_the_other_family),
		T(no_address_of_the_family), T(switched_off),
		T(errors_tcp4), T(errors_tcp6), T(errors_udp4), T(errors_udp6),
		T(error_with_a_short_quote), T(error_about_no_flow),
		T(error_that_quotes_extensions), T(error_changes_no_state),
		T(fragments4), T(fragments6), T(later_fragment_alone),
		T(later_fragment_names_another_header),
		T(flows_have_ports_of_their_own), T(each_cpu_has_ports_of_its_own),
		T(second_address_when_the_first_is_full), T(slot_that_moves_takes_no_flow_along),
		T(backend_down), T(udp_leaves_a_backend_that_is_down),
		T(index_with_another_backend), T(segment_of_no_flow), T(reply_of_another_backend),
		T(flow_with_an_older_generation), T(entry_of_another_flow),
		T(entry_that_is_being_written), T(fragment_of_an_older_generation),
		T(answer_to_another_syn), T(established_by_the_clients_acknowledgement),
		T(established_by_no_guess), T(repeated_syn),
		T(data_before_the_acknowledgement),
		T(both_fins_shorten_the_life), T(reset_shortens_the_life),
		T(syn_in_an_open_connection_changes_nothing),
		T(oldest_is_evicted), T(half_open_ones_go_first), T(closing_ones_go_before_them),
		T(expired_one_is_no_eviction), T(stamped_in_the_future),
		T(port_of_a_closed_connection),
		T(udp_port_is_not_taken_for_the_same_backend), T(udp_ends_no_connection),
		T(udp_expires),
		T(row_of_busy_ones), T(not_all_are_looked_at), T(flows_map_holds_what_the_ports_hold),
	};

	return cmocka_run_group_tests_name("nat", tests, open_net, edge_unload);
}
