/* SPDX-License-Identifier: Apache-2.0 */
/* Translation: both ways with the exact bytes, errors, fragments. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/abi/nat.h"
#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"
#include "tests/bpf/nat.h"

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

/* ---- VLANs ---- */

static void tagged(struct frame *w, uint16_t vlan)
{
	const uint8_t tag[4] = { 0x81, 0, (uint8_t)(vlan >> 8), (uint8_t)vlan };

	memmove(w->data + 16, w->data + 12, w->len - 12);
	memcpy(w->data + 12, tag, sizeof(tag));
	w->len += 4;
}

/* The backend in one, the client in another or none: each gets what is for it in its own. */
static void vlans(void **state)
{
	const struct weir_device client_side = { .below = INGRESS, .vlan = 9, .flags = WEIR_DEVICE_VLAN };
	struct frame sent;

	(void)state;
	tcp(&f, CLIENT, 40000, VIP, 80, TCP_SYN, 1000, 0, 0, 61);
	expect(XDP_TX, WEIR_REASON_TRANSLATED);
	memcpy(sent.data, o.data, o.len);
	sent.len = o.len;
	put_backend_vlan(1, WEIR_BACKEND_VLAN, 5);
	for (uint16_t came = 0; came < 2; came++) {
		tcp(&f, CLIENT, 40000, VIP, 80, TCP_SYN, 1000, 0, 0, 61);
		if (came)
			tagged(&f, 9);
		expect(XDP_TX, WEIR_REASON_TRANSLATED);
		want = sent;
		tagged(&want, 5);
		expect_frame();
	}
	tcp(&f, B1, 80, NAT, FIRST, TCP_SYN | TCP_ACK, 5000, 1001, 0, 61);
	tagged(&f, 5);
	tcp(&want, VIP, 80, CLIENT, 40000, TCP_SYN | TCP_ACK, 5000, 1001, 0, 60);
	link_to(&want, 0x0b, 2, 0x0a);
	expect(XDP_REDIRECT, WEIR_REASON_RETURNED);
	expect_frame();
	put_device(if_nametoindex("w0"), &client_side);
	tagged(&want, 9);
	expect(XDP_TX, WEIR_REASON_RETURNED);
	expect_frame();
}

/* Translated, and given to the host, which forwards it. */
static void client_behind_an_incapable_device(void **state)
{
	const struct weir_device host = { .flags = WEIR_DEVICE_HOST };
	uint16_t port = syn_from(CLIENT, 40000);

	(void)state;
	put_device(if_nametoindex("w0"), &host);
	tcp(&f, B1, 80, NAT, port, TCP_SYN | TCP_ACK, 5000, 1001, 0, 61);
	tagged(&f, 5);
	expect(XDP_PASS, WEIR_REASON_NO_DEVICE);
	tcp(&want, VIP, 80, CLIENT, 40000, TCP_SYN | TCP_ACK, 5000, 1001, 0, 60);
	memcpy(want.data, f.data, 12);
	tagged(&want, 5);
	expect_frame();
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(tcp4), T(tcp6), T(udp4), T(udp6), T(udp_without_checksum_stays_without),
		T(udp_checksum_that_comes_out_as_zero), T(wrong_checksum_stays_wrong),
		T(options_are_stepped_over), T(other_port_at_the_backend),
		T(last_hop_is_left_to_the_host), T(too_big_for_the_way), T(no_route_back),
		T(this_node_is_left_to_the_host), T(backend_of_the_other_family),
		T(no_address_of_the_family), T(switched_off), T(errors_tcp4), T(errors_tcp6),
		T(errors_udp4), T(errors_udp6), T(error_with_a_short_quote),
		T(error_about_no_flow), T(error_that_quotes_extensions), T(error_changes_no_state),
		T(vlans), T(client_behind_an_incapable_device),
		T(fragments4), T(fragments6), T(later_fragment_alone),
		T(fragment_of_an_older_generation),
		T(later_fragment_names_another_header),
	};

	return cmocka_run_group_tests_name("nat", tests, open_net, edge_unload);
}
