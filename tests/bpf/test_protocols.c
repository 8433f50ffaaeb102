/* SPDX-License-Identifier: Apache-2.0 */
/* VLAN tags, IPv4 options, IPv6 extension headers, fragments, services by prefix and by addresses. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/abi/hash.h"
#include "tests/bpf/edge.h"

#define CLIENT	"192.0.2.1"
#define CLIENT6 "2001:db8:c::1"
#define ROUTER	"192.0.2.254"
#define ROUTER6 "2001:db8:c::fe"
#define VIP	"198.18.1.100"
#define VIP6	"2001:db8:1::100"
#define SELF	"198.18.1.1"
#define SLOTS	4

#define HOP	 0
#define ROUTING	 43
#define FRAGMENT 44
#define AUTH	 51
#define DEST	 60

static struct frame f;
static struct outcome o;

static void expect(uint32_t action, int reason)
{
	edge_run(&f, &o);
	assert_int_equal(o.reason, reason);
	assert_int_equal(o.action, action);
}

static void expect_untouched(int reason)
{
	expect(XDP_PASS, reason);
	assert_int_equal(o.len, f.len);
	assert_memory_equal(o.data, f.data, f.len);
}

/* Encapsulated by IPIP, the inner packet as it was; the backend by its outer address. */
static unsigned int sent_to(int reason)
{
	expect(XDP_TX, reason);
	assert_int_equal(o.len, f.len + 20);
	assert_memory_equal(o.data + 34, f.data + 14, f.len - 14);
	assert_true(ip4_checksum_ok(o.data + 14));
	return o.data[33] - 10u;
}

static int start(void **state)
{
	edge_reset(state);
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, SLOTS, WEIR_ENCAP_IPIP, 0);
	put_service(VIP6, 80, IPPROTO_TCP, 1, 0, SLOTS, WEIR_ENCAP_IPIP, 0);
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, SLOTS, WEIR_ENCAP_IPIP, 0);
	put_service(VIP6, 80, IPPROTO_UDP, 1, 0, SLOTS, WEIR_ENCAP_IPIP, 0);
	for (uint16_t i = 0; i < SLOTS; i++) {
		char address[] = "198.18.1.11";

		address[10] = (char)('1' + i);
		put_backend((uint16_t)(i + 1), address, SELF, 0);
		slot(i)->current = (uint16_t)(i + 1);
	}
	return 0;
}

static struct weir_flow flow_of(bool is6, uint8_t proto, uint16_t port)
{
	struct weir_flow flow = { .proto = proto,
				  .family = is6 ? WEIR_FAMILY_6 : WEIR_FAMILY_4,
				  .source_port = htons(port),
				  .dest_port = htons(80) };

	address_bytes((uint8_t *)flow.source, is6 ? CLIENT6 : CLIENT);
	address_bytes((uint8_t *)flow.dest, is6 ? VIP6 : VIP);
	return flow;
}

/* The backend of the client's flow from that port. */
static unsigned int owner(bool is6, uint8_t proto, uint16_t port)
{
	struct weir_flow flow = flow_of(is6, proto, port);

	return weir_flow_slot(weir_flow_hash(&flow), SLOTS) + 1;
}

static void ip(bool is6, const char *dest)
{
	frame_eth(&f);
	if (is6)
		frame_ip6(&f, CLIENT6, dest ? dest : VIP6);
	else
		frame_ip4(&f, CLIENT, dest ? dest : VIP);
}

static void tcp(bool is6, const char *dest, uint16_t source, uint16_t port)
{
	ip(is6, dest);
	frame_tcp(&f, source, port, TCP_ACK);
	frame_bytes(&f, NULL, 20);
	frame_end(&f);
}

/* ---- VLAN ---- */

static void tag(uint16_t proto, uint16_t tci)
{
	const uint8_t t[4] = { (uint8_t)(proto >> 8), (uint8_t)proto, (uint8_t)(tci >> 8),
			       (uint8_t)tci };

	memmove(f.data + 16, f.data + 12, f.len - 12);
	memcpy(f.data + 12, t, 4);
	f.len += 4;
}

static void expect_tagged_sent(bool is6, uint16_t proto)
{
	static const uint8_t link[12] = { 6, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 1 };
	unsigned int to = owner(is6, IPPROTO_TCP, 40000);
	uint64_t bytes = f.len;

	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, bytes + 20);
	assert_memory_equal(o.data, link, 5);
	assert_int_equal(o.data[5], to);
	assert_memory_equal(o.data + 6, link + 6, 6);
	assert_int_equal(o.data[12] << 8 | o.data[13], proto);
	assert_memory_equal(o.data + 14, f.data + 14, 2);
	assert_int_equal(o.data[16] << 8 | o.data[17], 0x0800);
	assert_int_equal(o.data[18], 0x45);
	assert_int_equal(o.data[37], 10 + to);
	assert_memory_equal(o.data + 38, f.data + 18, f.len - 18);
}

static void tag_is_put_back(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		tcp(is6, NULL, 40000, 80);
		tag(0x8100, 0x6064);
		expect_tagged_sent(is6, 0x8100);
		tcp(is6, NULL, 40000, 80);
		tag(0x88a8, 100);
		expect_tagged_sent(is6, 0x88a8);
	}
}

static void tagged_stranger_passes_with_its_tag(void **state)
{
	(void)state;
	tcp(false, "198.18.1.101", 40000, 80);
	tag(0x8100, 100);
	expect_untouched(WEIR_REASON_NOT_OURS);
	tcp(true, "2001:db8:1::101", 40000, 80);
	tag(0x8100, 100);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void two_tags_are_the_hosts(void **state)
{
	(void)state;
	tcp(false, NULL, 40000, 80);
	tag(0x8100, 100);
	tag(0x88a8, 200);
	expect_untouched(WEIR_REASON_NOT_IP);
}

static void tagged_arp_passes(void **state)
{
	(void)state;
	tcp(false, NULL, 40000, 80);
	f.data[13] = 6;
	tag(0x8100, 100);
	expect_untouched(WEIR_REASON_NOT_IP);
}

static void truncated_tag(void **state)
{
	(void)state;
	tcp(false, NULL, 40000, 80);
	tag(0x8100, 100);
	f.len = 17;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void truncated_behind_a_tag(void **state)
{
	(void)state;
	tcp(false, NULL, 40000, 80);
	tag(0x8100, 100);
	f.len = 18 + 30;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void tagged_echo_is_answered_with_its_tag(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++) {
		ip(is6, NULL);
		frame_icmp(&f, is6 ? 128 : 8, 0);
		frame_bytes(&f, NULL, 40);
		frame_end(&f);
		tag(0x8100, 7);
		expect(XDP_TX, WEIR_REASON_ECHO);
		assert_int_equal(o.len, f.len);
		assert_memory_equal(o.data, f.data + 6, 6);
		assert_memory_equal(o.data + 6, f.data, 6);
		assert_memory_equal(o.data + 12, f.data + 12, 6);
		assert_int_equal(o.data[is6 ? 58 : 38], is6 ? 129 : 0);
		assert_true(transport_checksum_ok(o.data + 18));
	}
}

static void tagged_too_big_is_told_with_its_tag(void **state)
{
	(void)state;
	ip(false, NULL);
	frame_tcp(&f, 40000, 80, TCP_ACK);
	frame_bytes(&f, NULL, 1460);
	frame_end(&f);
	tag(0x8100, 7);
	expect(XDP_TX, WEIR_REASON_TOO_BIG);
	assert_int_equal(o.len, 18 + 28 + 128);
	assert_memory_equal(o.data, f.data + 6, 6);
	assert_memory_equal(o.data + 12, f.data + 12, 6);
	assert_memory_equal(o.data + 46, f.data + 18, 128);
	assert_int_equal(o.data[44] << 8 | o.data[45], 1480);
	assert_true(transport_checksum_ok(o.data + 18));
}

static void tag_stays_when_the_frame_is_redirected_back(void **state)
{
	const struct weir_settings s = { .off = WEIR_OFF_TX };

	(void)state;
	put_settings(&s);
	tcp(false, NULL, 40000, 80);
	tag(0x8100, 100);
	expect(XDP_REDIRECT, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, f.len + 20);
	assert_memory_equal(o.data + 12, f.data + 12, 4);
}

static void tag_goes_with_another_interface(void **state)
{
	(void)state;
	for (uint16_t i = 1; i <= SLOTS; i++)
		put_backend_way(i, OTHER, 0);
	tcp(false, NULL, 40000, 80);
	tag(0x8100, 100);
	expect(XDP_REDIRECT, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, f.len - 4 + 20);
	assert_int_equal(o.data[12] << 8 | o.data[13], 0x0800);
	assert_memory_equal(o.data + 34, f.data + 18, f.len - 18);
}

static void tagged_decapsulation(void **state)
{
	(void)state;
	put_decap("198.18.0.0", 16, SELF, true);
	frame_eth(&f);
	frame_ip4(&f, "198.18.1.2", SELF);
	frame_ip4(&f, CLIENT, VIP);
	frame_tcp(&f, 40000, 80, TCP_ACK);
	frame_end(&f);
	tag(0x8100, 100);
	expect(XDP_PASS, WEIR_REASON_DECAPSULATED);
	assert_int_equal(o.len, f.len - 20);
	assert_memory_equal(o.data, f.data, 18);
	assert_memory_equal(o.data + 18, f.data + 38, f.len - 38);
}

static void tagged_bytes_are_counted_as_received(void **state)
{
	struct weir_count before, after;

	(void)state;
	before = service_count(1);
	tcp(false, NULL, 40000, 80);
	tag(0x8100, 100);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	after = service_count(1);
	assert_int_equal(after.bytes - before.bytes, f.len);
}

/* ---- IPv4 options ---- */

/* n bytes of no-operation options behind the IPv4 header at 14. */
static void options4(uint32_t n)
{
	memmove(f.data + 34 + n, f.data + 34, f.len - 34);
	memset(f.data + 34, 1, n);
	f.len += n;
	f.data[14] = (uint8_t)(0x45 + n / 4);
	f.data[16] = (uint8_t)((f.len - 14) >> 8);
	f.data[17] = (uint8_t)(f.len - 14);
}

static void options_are_stepped_over(void **state)
{
	(void)state;
	for (uint32_t n = 4; n <= 40; n += 4) {
		tcp(false, NULL, 40001, 80);
		options4(n);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(false, IPPROTO_TCP, 40001));
		assert_int_equal(o.data[16] << 8 | o.data[17], f.len - 14 + 20);
	}
}

static void options_beyond_the_frame(void **state)
{
	(void)state;
	tcp(false, NULL, 40001, 80);
	f.len = 14 + 20 + 8;
	f.data[17] = 28;
	f.data[14] = 0x48;
	expect(XDP_DROP, WEIR_REASON_MALFORMED);
}

static void ports_in_the_padding_are_none(void **state)
{
	(void)state;
	tcp(false, NULL, 40001, 80);
	f.data[17] = 20 + 19;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
	tcp(true, NULL, 40001, 80);
	f.data[19] = 19;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void echo_with_options_is_the_hosts(void **state)
{
	(void)state;
	ip(false, NULL);
	frame_icmp(&f, 8, 0);
	frame_end(&f);
	options4(4);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

/* ---- IPv6 extension headers ---- */

/* Puts a header of `bytes` before what the packet carries at 54; FRAGMENT: offset and flags. */
static void extension(uint8_t type, uint32_t bytes, uint16_t offset)
{
	uint8_t *at = f.data + 54;

	memmove(at + bytes, at, f.len - 54);
	memset(at, 0, bytes);
	f.len += bytes;
	at[0] = f.data[20];
	f.data[20] = type;
	if (type == FRAGMENT) {
		at[2] = (uint8_t)(offset >> 8);
		at[3] = (uint8_t)offset;
		memcpy(at + 4, "\x12\x34\x56\x78", 4);
	} else {
		at[1] = (uint8_t)(type == AUTH ? bytes / 4 - 2 : bytes / 8 - 1);
	}
	f.data[18] = (uint8_t)((f.len - 54) >> 8);
	f.data[19] = (uint8_t)(f.len - 54);
}

static void each_extension_is_walked(void **state)
{
	static const struct { uint8_t type; uint32_t bytes; } one[] = {
		{ HOP, 8 }, { HOP, 192 }, { ROUTING, 24 }, { DEST, 8 }, { DEST, 64 },
		{ AUTH, 24 }, { AUTH, 12 }, { FRAGMENT, 8 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(one) / sizeof(*one); i++) {
		tcp(true, NULL, 40002, 80);
		extension(one[i].type, one[i].bytes, 0);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(true, IPPROTO_TCP, 40002));
	}
}

static void extensions_with_udp(void **state)
{
	(void)state;
	ip(true, NULL);
	frame_udp(&f, 40002, 80);
	frame_bytes(&f, NULL, 10);
	frame_end(&f);
	extension(DEST, 16, 0);
	extension(HOP, 8, 0);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(true, IPPROTO_UDP, 40002));
}

static void six_headers(const char *dest, int more)
{
	tcp(true, dest, 40002, 80);
	for (int i = 0; i < more; i++)
		extension(DEST, 8, 0);
	extension(AUTH, 24, 0);
	extension(FRAGMENT, 8, 0);
	extension(ROUTING, 24, 0);
	extension(DEST, 8, 0);
	extension(HOP, 8, 0);
}

static void six_extensions_are_walked(void **state)
{
	(void)state;
	six_headers(NULL, 1);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(true, IPPROTO_TCP, 40002));
}

static void seven_extensions_are_too_many(void **state)
{
	(void)state;
	six_headers(NULL, 2);
	expect(XDP_DROP, WEIR_REASON_EXTENSIONS);
}

static void seven_extensions_of_a_stranger_pass(void **state)
{
	(void)state;
	six_headers("2001:db8:1::101", 2);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void long_extensions_are_too_many(void **state)
{
	(void)state;
	tcp(true, NULL, 40002, 80);
	extension(HOP, 200, 0);
	expect(XDP_DROP, WEIR_REASON_EXTENSIONS);
	tcp(true, NULL, 40002, 80);
	extension(DEST, 104, 0);
	extension(HOP, 96, 0);
	expect(XDP_DROP, WEIR_REASON_EXTENSIONS);
}

static void truncated_extension(void **state)
{
	(void)state;
	tcp(true, NULL, 40002, 80);
	extension(HOP, 16, 0);
	f.len = 54 + 6;
	f.data[19] = 6;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
	tcp(true, NULL, 40002, 80);
	extension(HOP, 16, 0);
	f.len = 54 + 12;
	f.data[19] = 12;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void extension_in_the_padding(void **state)
{
	(void)state;
	tcp(true, NULL, 40002, 80);
	extension(HOP, 16, 0);
	f.data[19] = 8;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void unknown_headers_pass(void **state)
{
	static const uint8_t other[] = { 50, 59, 135, 139, 253 };

	(void)state;
	for (size_t i = 0; i < sizeof(other); i++) {
		tcp(true, NULL, 40002, 80);
		f.data[20] = other[i];
		expect_untouched(WEIR_REASON_NOT_OURS);
	}
	tcp(true, NULL, 40002, 80);
	f.data[20] = 50;
	extension(HOP, 8, 0);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void multicast_listener_report_passes(void **state)
{
	(void)state;
	ip(true, "ff02::16");
	frame_icmp(&f, 143, 0);
	frame_end(&f);
	extension(HOP, 8, 0);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void extensions_travel_by_gue(void **state)
{
	(void)state;
	put_service(VIP6, 80, IPPROTO_TCP, 1, 0, SLOTS, WEIR_ENCAP_GUE, 0);
	tcp(true, NULL, 40002, 80);
	extension(DEST, 24, 0);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	assert_int_equal(o.len, f.len + WEIR_ADDED_GUE4);
	assert_memory_equal(o.data + 14 + WEIR_ADDED_GUE4, f.data + 14, f.len - 14);
}

/* ---- fragments ---- */

/* IPv4: a fragment of a UDP datagram; only the first has ports. */
static void fragment4(uint16_t source, uint16_t id, uint32_t offset, bool more, uint32_t bytes)
{
	ip(false, NULL);
	if (!offset) {
		frame_udp(&f, source, 80);
		bytes -= 8;
	}
	frame_bytes(&f, NULL, bytes);
	frame_end(&f);
	f.data[18] = (uint8_t)(id >> 8);
	f.data[19] = (uint8_t)id;
	f.data[20] = (uint8_t)((more ? 0x20 : 0) | offset / 8 >> 8);
	f.data[21] = (uint8_t)(offset / 8);
	f.data[23] = IPPROTO_UDP;
}

static void fragment6(uint16_t source, uint32_t offset, bool more, uint32_t bytes, uint8_t next)
{
	ip(true, NULL);
	if (!offset) {
		frame_udp(&f, source, 80);
		bytes -= 8;
	}
	frame_bytes(&f, NULL, bytes);
	frame_end(&f);
	if (offset)
		f.data[20] = next;
	extension(FRAGMENT, 8, (uint16_t)(offset | more));
}

static void fragments_follow_their_first(void **state)
{
	(void)state;
	for (uint16_t port = 50000; port < 50008; port++) {
		unsigned int to = owner(false, IPPROTO_UDP, port);

		fragment4(port, port, 0, true, 64);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
		fragment4(port, port, 128, false, 10);          /* the last before the second */
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
		fragment4(port, port, 64, true, 64);
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
		fragment4(port, port, 96, true, 64);            /* overlaps: the host's to judge */
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
	}
}

static void fragments6_follow_their_first(void **state)
{
	(void)state;
	for (uint16_t port = 50000; port < 50008; port++) {
		unsigned int to = owner(true, IPPROTO_UDP, port);

		edge_reset(state);
		start(state);
		fragment6(port, 0, true, 64, IPPROTO_UDP);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
		fragment6(port, 128, false, 10, IPPROTO_UDP);
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
		fragment6(port, 64, true, 64, DEST);            /* its next header says nothing */
		assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
	}
}

static void fragments_behind_extensions(void **state)
{
	unsigned int to = owner(true, IPPROTO_UDP, 50001);

	(void)state;
	fragment6(50001, 0, true, 64, IPPROTO_UDP);
	extension(HOP, 8, 0);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
	fragment6(50001, 64, false, 10, IPPROTO_UDP);
	extension(HOP, 8, 0);
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
}

static void last_fragment_first_is_lost(void **state)
{
	(void)state;
	fragment4(50000, 77, 64, false, 10);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
	fragment6(50000, 64, false, 10, IPPROTO_UDP);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

static void fragment_of_another_datagram_is_lost(void **state)
{
	(void)state;
	fragment4(50000, 77, 0, true, 64);
	expect(XDP_TX, WEIR_REASON_FORWARDED);
	fragment4(50000, 78, 64, false, 10);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

static void strangers_fragment_passes(void **state)
{
	(void)state;
	fragment4(50000, 77, 64, false, 10);
	f.data[33] = 101;
	expect_untouched(WEIR_REASON_NOT_OURS);
}

/* RFC 1858, RFC 7112: a first fragment must reach as far as the transport header. */
static void tiny_first_fragments(void **state)
{
	(void)state;
	tcp(false, NULL, 40000, 80);
	f.data[17] = 20 + 8;
	f.data[20] = 0x20;
	f.data[21] = 0;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
	tcp(true, NULL, 40000, 80);
	extension(FRAGMENT, 8, 1);
	f.data[19] = 8 + 8;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
	tcp(true, NULL, 40000, 80);
	extension(DEST, 16, 0);
	extension(FRAGMENT, 8, 1);
	f.data[19] = 8 + 8;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

/* RFC 6946: offset 0 and no more to come is a whole packet. */
static void atomic_fragment_is_none(void **state)
{
	(void)state;
	fragment6(50002, 0, false, 40, IPPROTO_UDP);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(true, IPPROTO_UDP, 50002));
	fragment6(50002, 64, false, 10, IPPROTO_UDP);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

/* ---- affinity: addresses ---- */

static unsigned int owner_by_addresses(bool is6)
{
	struct weir_flow flow = flow_of(is6, 0, 0);

	return weir_flow_slot(weir_address_hash(&flow), SLOTS) + 1;
}

static void by_addresses(void)
{
	const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };

	for (int i = 0; i < 2; i++) {
		put_service(VIP, 80, protos[i], 1, 0, SLOTS, WEIR_ENCAP_IPIP, WEIR_SERVICE_ADDRESSES);
		put_service(VIP6, 80, protos[i], 1, 0, SLOTS, WEIR_ENCAP_IPIP,
			    WEIR_SERVICE_ADDRESSES);
	}
}

static void a_client_has_one_backend(void **state)
{
	(void)state;
	by_addresses();
	for (int is6 = 0; is6 < 2; is6++)
		for (uint16_t port = 50000; port < 50010; port++) {
			tcp(is6, NULL, port, 80);
			assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_by_addresses(is6));
			if (is6)
				fragment6(port, 0, false, 40, 0);
			else
				fragment4(port, 1, 0, false, 40);
			assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_by_addresses(is6));
		}
}

static void by_addresses_fragments_come_in_any_order(void **state)
{
	(void)state;
	by_addresses();
	fragment4(50000, 9, 64, false, 10);
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), owner_by_addresses(false));
	fragment4(50000, 9, 0, true, 64);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_by_addresses(false));
	fragment6(50000, 64, false, 10, DEST);
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), owner_by_addresses(true));
	fragment6(50000, 0, true, 64, 0);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner_by_addresses(true));
}

static void by_addresses_a_moving_slot_needs_the_first(void **state)
{
	unsigned int at = owner_by_addresses(false) - 1;

	(void)state;
	by_addresses();
	slot(at)->previous = (uint16_t)((at + 1) % SLOTS + 1);
	fragment4(50000, 9, 64, false, 10);
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
	fragment4(50000, 9, 0, true, 64);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), at + 1);
	fragment4(50000, 9, 64, false, 10);
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), at + 1);
}

static void by_addresses_down(void **state)
{
	unsigned int at = owner_by_addresses(false) - 1, other = (at + 1) % SLOTS + 1;
	char address[] = "198.18.1.11";

	(void)state;
	by_addresses();
	address[10] = (char)('1' + at);
	put_backend((uint16_t)(at + 1), address, SELF, WEIR_BACKEND_DOWN);
	fragment4(50000, 9, 64, false, 10);
	expect(XDP_DROP, WEIR_REASON_BACKEND_DOWN);
	slot(at)->owners[0] = (uint16_t)other;
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), other);
}

/* ---- services by prefix ---- */

static struct weir_service prefix_service(uint32_t number)
{
	return (struct weir_service){ .number = number, .first = 16 * number, .slots = 1,
				      .encap = WEIR_ENCAP_IPIP };
}

/* Service n has one slot, whose backend is n. */
static void put_prefix_service(const char *address, uint8_t bits, uint16_t port, uint32_t number)
{
	struct weir_service s = prefix_service(number);

	slot(s.first)->current = (uint16_t)number;
	put_service_prefix(address, bits, port, IPPROTO_TCP, &s);
}

static void put_single_service(const char *address, uint16_t port, uint32_t number)
{
	put_service(address, port, IPPROTO_TCP, number, 16 * number, 1, WEIR_ENCAP_IPIP, 0);
	slot(16 * number)->current = (uint16_t)number;
}

static void prefixes_on(void)
{
	const struct weir_settings s = { .on = WEIR_ON_PREFIXES };

	put_settings(&s);
}

static void prefix_covers_its_addresses(void **state)
{
	static const char *const in4[] = { "198.18.64.0", "198.18.64.1", "198.18.79.255" },
				 *const out4[] = { "198.18.80.0", "198.18.63.255" };

	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 2);
	put_prefix_service("2001:db8:64::", 64, 0, 3);
	for (int i = 0; i < 3; i++) {
		tcp(false, in4[i], 40000, 443);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
	}
	for (int i = 0; i < 2; i++) {
		tcp(false, out4[i], 40000, 443);
		expect_untouched(WEIR_REASON_NOT_OURS);
	}
	tcp(false, in4[1], 40000, 444);
	expect_untouched(WEIR_REASON_NOT_OURS);
	tcp(true, "2001:db8:64::abcd", 40000, 12345);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 3);
	tcp(true, "2001:db8:64:0:ffff:ffff:ffff:ffff", 40000, 1);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 3);
	tcp(true, "2001:db8:64:1::", 40000, 1);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void prefix_off_is_off(void **state)
{
	const struct weir_settings none = { 0 };

	(void)state;
	put_prefix_service("198.18.64.0", 20, 443, 2);
	tcp(false, "198.18.64.1", 40000, 443);
	expect_untouched(WEIR_REASON_NOT_OURS);
	prefixes_on();
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
	put_settings(&none);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

/* Exact port, any port, prefix with port, prefix with any port; of two prefixes the longer. */
static void precedence(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 24, 0, 1);
	tcp(false, "198.18.64.1", 40000, 443);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 1);
	put_prefix_service("198.18.64.0", 20, 443, 2);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
	put_single_service("198.18.64.1", 0, 3);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 3);
	put_single_service("198.18.64.1", 443, 4);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 4);
}

static void longer_prefix_wins(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 1);
	put_prefix_service("198.18.64.0", 30, 443, 2);
	tcp(false, "198.18.64.3", 40000, 443);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
	tcp(false, "198.18.64.4", 40000, 443);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 1);
}

static void prefix_is_of_one_family_and_protocol(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 2);
	tcp(true, "c612:4001::", 40000, 443);   /* the same first bits */
	expect_untouched(WEIR_REASON_NOT_OURS);
	ip(false, "198.18.64.1");
	frame_udp(&f, 40000, 443);
	frame_end(&f);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void prefix_answers_echo(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 2);
	put_prefix_service("2001:db8:64::", 64, 443, 3);
	for (int is6 = 0; is6 < 2; is6++) {
		ip(is6, is6 ? "2001:db8:64::77" : "198.18.70.7");
		frame_icmp(&f, is6 ? 128 : 8, 0);
		frame_end(&f);
		expect(XDP_TX, WEIR_REASON_ECHO);
		assert_true(transport_checksum_ok(o.data + 14));
	}
	ip(false, "198.18.80.7");
	frame_icmp(&f, 8, 0);
	frame_end(&f);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void prefix_fragment_is_lost_not_passed(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.0.0", 16, 443, 2);
	fragment4(50000, 9, 64, false, 10);
	f.data[32] = 77;
	expect(XDP_DROP, WEIR_REASON_FRAGMENT_LOST);
}

/* ---- ICMP errors ---- */

/* An error about a packet that the service sent to the client; what is quoted follows. */
static void error(bool is6, uint8_t type)
{
	frame_eth(&f);
	if (is6)
		frame_ip6(&f, ROUTER6, VIP6);
	else
		frame_ip4(&f, ROUTER, VIP);
	frame_icmp(&f, type, 0);
	if (is6)
		frame_ip6(&f, VIP6, CLIENT6);
	else
		frame_ip4(&f, VIP, CLIENT);
}

static void quoted_udp(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++)
		for (uint16_t port = 50000; port < 50008; port++) {
			error(is6, is6 ? 2 : 3);
			frame_udp(&f, 80, port);
			frame_bytes(&f, NULL, 20);
			frame_end(&f);
			assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR),
					 owner(is6, IPPROTO_UDP, port));
		}
}

/* Ports behind the quoted packet's options; the outer lengths as they were set. */
static void quoted_options(void **state)
{
	(void)state;
	for (uint32_t n = 4; n <= 40; n += 4) {
		uint8_t options[40], ports[8] = { 0, 80, 50001 >> 8, 50001 & 255 };

		memset(options, 1, sizeof(options));
		error(false, 3);
		f.data[14 + 28] = (uint8_t)(0x45 + n / 4);
		frame_bytes(&f, options, n);
		frame_bytes(&f, ports, sizeof(ports));
		frame_end(&f);
		f.data[14 + 28 + 9] = IPPROTO_UDP;
		assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), owner(false, IPPROTO_UDP, 50001));
	}
}

static void quoted_chain(const uint8_t *types, int n, uint8_t last)
{
	const uint8_t ports[8] = { 0, 80, 50002 >> 8, 50002 & 255 };

	error(true, 2);
	f.data[14 + 48 + 6] = n ? types[0] : last;
	for (int i = 0; i < n; i++) {
		const uint8_t header[8] = { i + 1 < n ? types[i + 1] : last };

		frame_bytes(&f, header, sizeof(header));
	}
	frame_bytes(&f, ports, sizeof(ports));
	frame_end(&f);
}

static void quoted_extensions(void **state)
{
	static const uint8_t chain[] = { HOP, DEST, ROUTING, FRAGMENT, AUTH, DEST, DEST };

	(void)state;
	for (int n = 0; n <= 6; n++) {
		quoted_chain(chain, n, IPPROTO_UDP);
		assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), owner(true, IPPROTO_UDP, 50002));
	}
	quoted_chain(chain, 7, IPPROTO_UDP);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void quoted_later_fragment_passes(void **state)
{
	static const uint8_t chain[] = { FRAGMENT };

	(void)state;
	quoted_chain(chain, 1, IPPROTO_UDP);
	f.data[14 + 48 + 40 + 3] = 64;
	expect_untouched(WEIR_REASON_NOT_OURS);
}

static void quoted_truncated_options(void **state)
{
	(void)state;
	error(false, 3);
	frame_bytes(&f, NULL, 8);
	frame_end(&f);
	f.data[14 + 28] = 0x4f;
	expect(XDP_DROP, WEIR_REASON_TRUNCATED);
}

static void quoted_by_addresses(void **state)
{
	(void)state;
	by_addresses();
	for (int is6 = 0; is6 < 2; is6++)
		for (uint16_t port = 50000; port < 50004; port++) {
			error(is6, is6 ? 2 : 3);
			frame_udp(&f, 80, port);
			frame_end(&f);
			assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), owner_by_addresses(is6));
		}
}

static void quoted_of_a_prefix(void **state)
{
	(void)state;
	prefixes_on();
	put_prefix_service("198.18.64.0", 20, 443, 2);
	put_prefix_service("2001:db8:64::", 64, 0, 3);
	frame_eth(&f);
	frame_ip4(&f, ROUTER, "198.18.70.7");
	frame_icmp(&f, 3, 4);
	frame_ip4(&f, "198.18.70.7", CLIENT);
	frame_tcp(&f, 443, 40000, TCP_ACK);
	frame_end(&f);
	assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), 2);
	frame_eth(&f);
	frame_ip6(&f, ROUTER6, "2001:db8:64::9");
	frame_icmp(&f, 2, 0);
	frame_ip6(&f, "2001:db8:64::9", CLIENT6);
	frame_tcp(&f, 7777, 40000, TCP_ACK);
	frame_end(&f);
	assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), 3);
}

static void error_behind_extensions(void **state)
{
	(void)state;
	error(true, 2);
	frame_tcp(&f, 80, 40000, TCP_ACK);
	frame_end(&f);
	extension(DEST, 192, 0);
	assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), owner(true, IPPROTO_TCP, 40000));
}

static void echo_with_extensions_is_the_hosts(void **state)
{
	(void)state;
	ip(true, NULL);
	frame_icmp(&f, 128, 0);
	frame_end(&f);
	extension(DEST, 8, 0);
	expect_untouched(WEIR_REASON_NOT_OURS);
}

#define CASE(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(tag_is_put_back),
		CASE(tagged_stranger_passes_with_its_tag),
		CASE(two_tags_are_the_hosts),
		CASE(tagged_arp_passes),
		CASE(truncated_tag),
		CASE(truncated_behind_a_tag),
		CASE(tagged_echo_is_answered_with_its_tag),
		CASE(tagged_too_big_is_told_with_its_tag),
		CASE(tag_stays_when_the_frame_is_redirected_back),
		CASE(tag_goes_with_another_interface),
		CASE(tagged_decapsulation),
		CASE(tagged_bytes_are_counted_as_received),
		CASE(options_are_stepped_over),
		CASE(options_beyond_the_frame),
		CASE(ports_in_the_padding_are_none),
		CASE(echo_with_options_is_the_hosts),
		CASE(each_extension_is_walked),
		CASE(extensions_with_udp),
		CASE(six_extensions_are_walked),
		CASE(seven_extensions_are_too_many),
		CASE(seven_extensions_of_a_stranger_pass),
		CASE(long_extensions_are_too_many),
		CASE(truncated_extension),
		CASE(extension_in_the_padding),
		CASE(unknown_headers_pass),
		CASE(multicast_listener_report_passes),
		CASE(extensions_travel_by_gue),
		CASE(fragments_follow_their_first),
		CASE(fragments6_follow_their_first),
		CASE(fragments_behind_extensions),
		CASE(last_fragment_first_is_lost),
		CASE(fragment_of_another_datagram_is_lost),
		CASE(strangers_fragment_passes),
		CASE(tiny_first_fragments),
		CASE(atomic_fragment_is_none),
		CASE(a_client_has_one_backend),
		CASE(by_addresses_fragments_come_in_any_order),
		CASE(by_addresses_a_moving_slot_needs_the_first),
		CASE(by_addresses_down),
		CASE(prefix_covers_its_addresses),
		CASE(prefix_off_is_off),
		CASE(precedence),
		CASE(longer_prefix_wins),
		CASE(prefix_is_of_one_family_and_protocol),
		CASE(prefix_answers_echo),
		CASE(prefix_fragment_is_lost_not_passed),
		CASE(quoted_udp),
		CASE(quoted_options),
		CASE(quoted_extensions),
		CASE(quoted_later_fragment_passes),
		CASE(quoted_truncated_options),
		CASE(quoted_by_addresses),
		CASE(quoted_of_a_prefix),
		CASE(error_behind_extensions),
		CASE(echo_with_extensions_is_the_hosts),
	};

	return cmocka_run_group_tests_name("protocols", tests, edge_load, edge_unload);
}
