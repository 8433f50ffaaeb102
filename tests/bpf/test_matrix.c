/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kind of packet in every encapsulation and every pair of families, each with all bytes of the frame that must come
 * out, which this test builds from abi/gue.h and the RFCs.
 */
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

enum kind { SYN, ACK, OWNED, UDP, FIRST_FRAGMENT, MARKED, ICMP_ERROR, FITS, TOO_LARGE, KINDS };

struct row {
	uint8_t encap;
	bool in6, out6;
	enum kind kind;
};

static const char *const kinds[] = {
	"syn", "ack", "ack_with_owners", "udp", "first_fragment", "ecn_and_dscp", "icmp_error", "fits_exactly", "one_byte_too_large",
};
/* By family: client, service, this node, the backend, two earlier owners. */
static const char *const client[] = { "192.0.2.1", "2001:db8:c::1" };
static const char *const vip[] = { "198.18.1.100", "2001:db8:1::100" };
static const char *const self[] = { "198.18.1.1", "2001:db8:1::1" };
static const char *const back[] = { "198.18.1.11", "2001:db8:1::11" };
static const char *const owner[2][2] = { { "198.18.1.12", "198.18.1.13" }, { "2001:db8:1::12", "2001:db8:1::13" } };

static struct frame f, want;
static struct outcome o;

static uint32_t added(const struct row *r)
{
	if (r->encap == WEIR_ENCAP_GUE)
		return r->out6 ? WEIR_ADDED_GUE6 : WEIR_ADDED_GUE4;
	return r->out6 ? WEIR_ADDED_IPIP6 : WEIR_ADDED_IPIP4;
}

static uint8_t *add_ip(struct frame *p, bool v6, const char *from, const char *to)
{
	return v6 ? frame_ip6(p, from, to) : frame_ip4(p, from, to);
}

/* ---- what goes in ---- */

static void put_fragment(const struct row *r)
{
	static const uint8_t head[8] = { IPPROTO_UDP, 0, 0, 1, 1, 2, 3, 4 };
	static const uint8_t udp[40] = { 0x9c, 0x40, 0, 80, 0x02, 0 };
	uint8_t *ip = add_ip(&f, r->in6, client[r->in6], vip[r->in6]);

	if (r->in6) {
		frame_bytes(&f, head, sizeof(head));
		ip[6] = 44;
	} else {
		ip[6] = 0x20;
		ip[5] = 7;
		ip[9] = IPPROTO_UDP;
	}
	frame_bytes(&f, udp, sizeof(udp));
	frame_end(&f);
}

/* From a router to the service, about an answer of the service to the client. */
static void put_error(const struct row *r)
{
	struct frame quoted;

	frame_eth(&quoted);
	add_ip(&quoted, r->in6, vip[r->in6], client[r->in6]);
	frame_tcp(&quoted, 80, 40000, TCP_ACK);
	frame_bytes(&quoted, NULL, 60);
	frame_end(&quoted);
	add_ip(&f, r->in6, r->in6 ? "2001:db8:f::1" : "203.0.113.1", vip[r->in6]);
	frame_icmp(&f, r->in6 ? 2 : 3, r->in6 ? 0 : 4);
	frame_bytes(&f, quoted.data + 14, 60);
	frame_end(&f);
}

static void put_plain(const struct row *r)
{
	uint32_t headers = r->in6 ? 60 : 40, payload = 30;
	uint8_t *ip = add_ip(&f, r->in6, client[r->in6], vip[r->in6]);

	if (r->kind == MARKED && r->in6) {
		ip[0] = 0x6b;
		ip[1] = 0xb0;
	} else if (r->kind == MARKED) {
		ip[1] = 0xbb;
	}
	if (r->kind == FITS || r->kind == TOO_LARGE)
		payload = 1500 - added(r) - headers + (r->kind == TOO_LARGE);
	if (r->kind == UDP)
		frame_udp(&f, 40000, 80);
	else
		frame_tcp(&f, 40000, 80, r->kind == SYN ? TCP_SYN : TCP_ACK);
	frame_bytes(&f, NULL, payload);
	frame_end(&f);
}

static void put_in(const struct row *r)
{
	frame_eth(&f);
	if (r->kind == FIRST_FRAGMENT)
		put_fragment(r);
	else if (r->kind == ICMP_ERROR)
		put_error(r);
	else
		put_plain(r);
}

/* ---- what must come out ---- */

/* Of the client's packets, also where an error quotes the answer to them. */
static uint32_t flow_hash(const struct row *r)
{
	struct weir_flow flow = {
		.source_port = htons(40000),
		.dest_port = htons(80),
		.proto = r->kind == UDP || r->kind == FIRST_FRAGMENT ? IPPROTO_UDP : IPPROTO_TCP,
		.family = r->in6 ? WEIR_FAMILY_6 : WEIR_FAMILY_4,
	};

	address_bytes((uint8_t *)flow.source, client[r->in6]);
	address_bytes((uint8_t *)flow.dest, vip[r->in6]);
	return weir_flow_hash(&flow);
}

static void want_gue(const struct row *r, uint8_t proto)
{
	uint32_t words = r->out6 ? WEIR_GUE_WORDS6 : WEIR_GUE_WORDS4, size = r->out6 ? 16 : 4;
	uint8_t gue[4 + 4 * WEIR_GUE_WORDS6] = { (uint8_t)words, proto, 0, 0, WEIR_GUE_MAGIC };

	frame_udp(&want, (uint16_t)(49152 + (flow_hash(r) & 0x3fff)), WEIR_GUE_PORT);
	for (uint32_t i = 0; r->kind == OWNED && i < 2; i++) {
		uint8_t address[16];

		address_bytes(address, owner[r->out6][i]);
		memcpy(gue + 8 + size * i, address, size);
		gue[5]++;
	}
	frame_bytes(&want, gue, 4 + 4 * words);
}

static void want_encapsulated(const struct row *r)
{
	static const uint8_t link[12] = { 6, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 1 };
	uint8_t proto = r->in6 ? IPPROTO_IPV6 : IPPROTO_IPIP, tos = r->kind == MARKED ? 0xbb : 0;
	uint8_t *ip;

	frame_eth(&want);
	memcpy(want.data, link, sizeof(link));
	ip = add_ip(&want, r->out6, self[r->out6], back[r->out6]);
	if (r->out6) {
		uint32_t word = htonl(6u << 28 | (uint32_t)tos << 20 | (flow_hash(r) & 0xfffff));

		memcpy(ip, &word, 4);
		ip[6] = proto;
		ip[7] = 64;
	} else {
		ip[1] = tos;
		ip[8] = 64;
		ip[9] = proto;
	}
	if (r->encap == WEIR_ENCAP_GUE)
		want_gue(r, proto);
	frame_bytes(&want, f.data + 14, f.len - 14);
	frame_end(&want);
	if (r->encap == WEIR_ENCAP_GUE) /* UDP's checksum is off */
		memset(ip + (r->out6 ? 40 : 20) + 6, 0, 2);
}

/* "Too big" from the service to the client, quoting the packet's first bytes. */
static void want_too_big(const struct row *r)
{
	uint32_t mtu = htonl(1500 - added(r)), quote = r->in6 ? 256 : 128;
	uint8_t *ip, *icmp;

	frame_eth(&want);
	memcpy(want.data, f.data + 6, 6);
	memcpy(want.data + 6, f.data, 6);
	ip = add_ip(&want, r->in6, vip[r->in6], client[r->in6]);
	ip[r->in6 ? 7 : 8] = 64;
	icmp = frame_icmp(&want, r->in6 ? 2 : 3, r->in6 ? 0 : 4);
	memcpy(icmp + 4, &mtu, 4);
	frame_bytes(&want, f.data + 14, quote);
	frame_end(&want);
}

static void put_world(const struct row *r)
{
	put_service(vip[r->in6], 80, IPPROTO_TCP, 1, 0, 1, r->encap, 0);
	put_service(vip[r->in6], 80, IPPROTO_UDP, 1, 0, 1, r->encap, 0);
	put_backend(1, back[r->out6], self[r->out6], 0);
	put_backend(2, owner[r->out6][0], self[r->out6], 0);
	put_backend(3, owner[r->out6][1], self[r->out6], 0);
	slot(0)->current = 1;
	if (r->kind == OWNED) {
		slot(0)->owners[0] = 2;
		slot(0)->owners[1] = 3;
	}
}

static void row_runs(void **state)
{
	const struct row *r = *state;

	put_world(r);
	put_in(r);
	if (r->kind == TOO_LARGE)
		want_too_big(r);
	else
		want_encapsulated(r);
	edge_run(&f, &o);
	assert_int_equal(o.reason, r->kind == TOO_LARGE	   ? WEIR_REASON_TOO_BIG
				   : r->kind == ICMP_ERROR ? WEIR_REASON_ICMP_ERROR
							   : WEIR_REASON_FORWARDED);
	assert_int_equal(o.action, XDP_TX);
	assert_int_equal(o.len, want.len);
	assert_memory_equal(o.data, want.data, want.len);
}

int main(void)
{
	static struct CMUnitTest tests[KINDS * 8];
	static struct row rows[KINDS * 8];
	static char names[KINDS * 8][64];

	for (int i = 0; i < KINDS * 8; i++) {
		struct row *r = &rows[i];

		*r = (struct row){ i & 1 ? WEIR_ENCAP_GUE : WEIR_ENCAP_IPIP, i & 2, i & 4, (enum kind)(i / 8) };
		snprintf(names[i], sizeof(names[i]), "%s_%c_in_%c_%s", i & 1 ? "gue" : "ipip", i & 2 ? '6' : '4', i & 4 ? '6' : '4',
			 kinds[r->kind]);
		tests[i] = (struct CMUnitTest){ names[i], row_runs, edge_reset, NULL, r };
	}
	return cmocka_run_group_tests_name("matrix", tests, edge_load, edge_unload);
}
