/* SPDX-License-Identifier: Apache-2.0 */
/* QUIC by the server ID in the connection ID (draft-ietf-quic-load-balancers), and by slots without. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/abi/hash.h"
#include "bpf/abi/quic.h"
#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"

#define CLIENT	"192.0.2.1"
#define CLIENT6 "2001:db8:c::1"
#define VIP	"198.18.1.100"
#define VIP6	"2001:db8:1::100"
#define SELF	"198.18.1.1"
#define SLOTS	4
#define NUMBER	1

static struct frame f;
static struct outcome o;

static void put(const struct bpf_map *map, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY), 0);
}

static void put_config(uint8_t config, uint8_t server_id, uint8_t nonce)
{
	const struct weir_quic quic = { .config = config, .server_id = server_id, .nonce = nonce };
	uint32_t number = NUMBER;

	put(edge_skeleton()->maps.quic_configs, &number, &quic);
}

static void put_server(const void *id, uint8_t len, uint32_t index)
{
	struct weir_quic_key key = { .service = NUMBER, .len = len };

	memcpy(key.id, id, len);
	put(edge_skeleton()->maps.quic_servers, &key, &index);
}

static void clear(const struct bpf_map *map)
{
	char key[64];

	while (!bpf_map_get_next_key(bpf_map__fd(map), NULL, key))
		bpf_map_delete_elem(bpf_map__fd(map), key);
}

/* Backends 1 to 4 have the server IDs c1 01 to c1 04. */
static int start(void **state)
{
	edge_reset(state);
	clear(edge_skeleton()->maps.quic_servers);
	clear(edge_skeleton()->maps.quic_flows);
	put_service(VIP, 443, IPPROTO_UDP, NUMBER, 0, SLOTS, WEIR_ENCAP_IPIP, WEIR_SERVICE_QUIC);
	put_service(VIP6, 443, IPPROTO_UDP, NUMBER, 0, SLOTS, WEIR_ENCAP_IPIP, WEIR_SERVICE_QUIC);
	put_service(VIP, 443, IPPROTO_TCP, NUMBER, 0, SLOTS, WEIR_ENCAP_IPIP, WEIR_SERVICE_QUIC);
	for (uint16_t i = 0; i < SLOTS; i++) {
		char address[] = "198.18.1.11";

		address[10] = (char)('1' + i);
		put_backend((uint16_t)(i + 1), address, SELF, 0);
		slot(i)->current = (uint16_t)(i + 1);
		put_server((uint8_t[]){ 0xc1, (uint8_t)(i + 1) }, 2, i + 1u);
	}
	put_config(3, 2, 5);
	return 0;
}

/* The backend of the slot. */
static unsigned int owner(bool is6, uint16_t port)
{
	struct weir_flow flow = { .proto = IPPROTO_UDP,
				  .family = is6 ? WEIR_FAMILY_6 : WEIR_FAMILY_4,
				  .source_port = htons(port),
				  .dest_port = htons(443) };

	address_bytes((uint8_t *)flow.source, is6 ? CLIENT6 : CLIENT);
	address_bytes((uint8_t *)flow.dest, is6 ? VIP6 : VIP);
	return weir_flow_slot(weir_flow_hash(&flow), SLOTS) + 1;
}

static void datagram(bool is6, uint16_t port, const void *data, uint32_t len)
{
	frame_eth(&f);
	if (is6)
		frame_ip6(&f, CLIENT6, VIP6);
	else
		frame_ip4(&f, CLIENT, VIP);
	frame_udp(&f, port, 443);
	frame_bytes(&f, data, len);
	frame_end(&f);
}

/* A short header whose connection ID is `first`, c1, `server` and a nonce. */
static void short_header(bool is6, uint16_t port, uint8_t first, uint8_t server)
{
	const uint8_t packet[40] = { 0x40, first, 0xc1, server, 0xaa, 0xbb, 0xcc, 0xdd, 0xee };

	datagram(is6, port, packet, sizeof(packet));
}

static void long_header(uint16_t port, uint8_t type, uint8_t cid_len, uint8_t first, uint8_t server)
{
	const uint8_t packet[60] = { (uint8_t)(0xc0 | type << 4), 0, 0, 0, 1, cid_len, first, 0xc1,
				     server, 1, 2, 3, 4, 5 };

	datagram(false, port, packet, sizeof(packet));
}

static unsigned int sent_to(int reason)
{
	edge_run(&f, &o);
	assert_int_equal(o.reason, reason);
	assert_int_equal(o.action, XDP_TX);
	assert_int_equal(o.len, f.len + 20);
	assert_memory_equal(o.data + 34, f.data + 14, f.len - 14);
	return o.data[33] - 10u;
}

static void short_header_goes_by_its_server(void **state)
{
	(void)state;
	for (int is6 = 0; is6 < 2; is6++)
		for (uint16_t port = 50000; port < 50010; port++)
			for (uint8_t server = 1; server <= SLOTS; server++) {
				short_header(is6, port, 0x60 | (port & 31), server);
				assert_int_equal(sent_to(WEIR_REASON_FORWARDED), server);
			}
}

static void long_headers_of_every_type(void **state)
{
	(void)state;
	for (uint8_t type = 0; type < 4; type++)
		for (uint8_t server = 1; server <= SLOTS; server++) {
			long_header(50000, type, 8, 0x67, server);
			assert_int_equal(sent_to(WEIR_REASON_FORWARDED), server);
		}
}

static void other_versions_too(void **state)
{
	(void)state;
	long_header(50000, 0, 20, 0x67, 2);
	memcpy(f.data + 43, "\x6b\x33\x43\xcf", 4);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
}

/* A client's own ID: of another configuration, too short, or with a server that is not known. */
static void clients_ids_go_by_the_slot(void **state)
{
	(void)state;
	for (uint16_t port = 50000; port < 50010; port++) {
		unsigned int to = owner(false, port);

		long_header(port, 0, 8, 0x87, 1);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
		long_header(port, 0, 7, 0x67, 1);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
		long_header(port, 0, 0, 0x67, 1);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
		long_header(port, 0, 8, 0x67, 9);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
	}
}

/* Seven says: not by this. */
static void configuration_7_goes_by_the_slot(void **state)
{
	(void)state;
	for (uint16_t port = 50000; port < 50010; port++) {
		short_header(false, port, 0xe7, 1);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(false, port));
	}
}

static void every_configuration_has_its_bits(void **state)
{
	(void)state;
	for (uint8_t config = 0; config <= WEIR_QUIC_CONFIG_MAX; config++) {
		put_config(config, 2, 5);
		for (uint8_t bits = 0; bits < 8; bits++) {
			short_header(false, 50001, (uint8_t)(bits << 5 | 7), 3);
			assert_int_equal(sent_to(WEIR_REASON_FORWARDED),
					 bits == config ? 3 : owner(false, 50001));
		}
	}
}

static void lengths_of_every_kind(void **state)
{
	uint8_t packet[1 + WEIR_QUIC_CID_MAX] = { 0x40, 0x60 };

	(void)state;
	for (uint8_t len = 1; len <= WEIR_QUIC_ID_MAX; len++) {
		put_config(3, len, (uint8_t)(WEIR_QUIC_CID_MAX - 1 - len));
		for (uint8_t i = 0; i < len; i++)
			packet[2 + i] = (uint8_t)(0x50 + len + i);
		put_server(packet + 2, len, 2);
		datagram(false, 50002, packet, sizeof(packet));
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 2);
		packet[1 + len] ^= 1;
		datagram(false, 50002, packet, sizeof(packet));
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(false, 50002));
	}
}

/* A datagram too short for the ID that the configuration says, byte by byte. */
static void short_datagrams_go_by_the_slot(void **state)
{
	const uint8_t packet[9] = { 0x40, 0x67, 0xc1, 1, 1, 2, 3, 4, 5 };

	(void)state;
	for (uint16_t port = 50000; port < 50004; port++) {
		for (uint32_t len = 0; len < sizeof(packet); len++) {
			datagram(false, port, packet, len);
			assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(false, port));
		}
		datagram(false, port, packet, sizeof(packet));
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 1);
	}
}

static void a_server_that_is_down_goes_by_the_slot(void **state)
{
	unsigned int to = owner(false, 50003), down = to % SLOTS + 1;
	char address[] = "198.18.1.11";

	(void)state;
	address[10] = (char)('0' + down);
	put_backend((uint16_t)down, address, SELF, WEIR_BACKEND_DOWN);
	short_header(false, 50003, 0x67, (uint8_t)down);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
}

static void a_slot_that_is_down_does_not_matter(void **state)
{
	unsigned int down = owner(false, 50003), to = down % SLOTS + 1;
	char address[] = "198.18.1.11";

	(void)state;
	address[10] = (char)('0' + down);
	put_backend((uint16_t)down, address, SELF, WEIR_BACKEND_DOWN);
	short_header(false, 50003, 0x67, (uint8_t)to);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
	slot(down - 1)->current = 0;
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
	short_header(false, 50003, 0xe7, (uint8_t)to);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_NO_BACKEND);
}

static void without_a_configuration_all_go_by_slots(void **state)
{
	(void)state;
	put_config(0, 0, 0);
	for (uint16_t port = 50000; port < 50010; port++) {
		short_header(false, port, 0x07, 1);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(false, port));
	}
}

static void without_the_flag_nothing_is_read(void **state)
{
	(void)state;
	put_service(VIP, 443, IPPROTO_UDP, NUMBER, 0, SLOTS, WEIR_ENCAP_IPIP, 0);
	for (uint16_t port = 50000; port < 50010; port++) {
		short_header(false, port, 0x67, 1);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), owner(false, port));
	}
}

static void tcp_is_no_quic(void **state)
{
	struct weir_flow flow = { .proto = IPPROTO_TCP,
				  .family = WEIR_FAMILY_4,
				  .source_port = htons(50000),
				  .dest_port = htons(443) };

	(void)state;
	address_bytes((uint8_t *)flow.source, CLIENT);
	address_bytes((uint8_t *)flow.dest, VIP);
	frame_eth(&f);
	frame_ip4(&f, CLIENT, VIP);
	frame_tcp(&f, 50000, 443, TCP_ACK);
	frame_bytes(&f, NULL, 40);
	frame_end(&f);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED),
			 weir_flow_slot(weir_flow_hash(&flow), SLOTS) + 1);
}

/* From another address and port (RFC 9000 section 9), while the slot moves. */
static void migrated_connection_stays(void **state)
{
	(void)state;
	short_header(false, 50000, 0x67, 4);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 4);
	for (uint16_t i = 0; i < SLOTS; i++) {
		slot(i)->previous = slot(i)->current;
		slot(i)->current = 1;
	}
	short_header(false, 61234, 0x78, 4);
	memcpy(f.data + 26, "\xcb\x00\x71\x09", 4);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 4);
	short_header(true, 61234, 0x78, 4);
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), 4);
}

static void quoted(uint16_t port)
{
	frame_eth(&f);
	frame_ip4(&f, "192.0.2.254", VIP);
	frame_icmp(&f, 3, 4);
	frame_ip4(&f, VIP, CLIENT);
	frame_udp(&f, 443, port);
	frame_bytes(&f, NULL, 30);
	frame_end(&f);
}

/* What a router says about the server's packets goes to that server, though it quotes no ID of its. */
static void errors_go_where_the_connection_is(void **state)
{
	unsigned int own = owner(false, 50005);
	struct weir_flow flow = { .proto = IPPROTO_UDP,
				  .family = WEIR_FAMILY_4,
				  .source_port = htons(50005),
				  .dest_port = htons(443) };
	struct weir_quic_flow had;
	int map = bpf_map__fd(edge_skeleton()->maps.quic_flows);

	(void)state;
	address_bytes((uint8_t *)flow.source, CLIENT);
	address_bytes((uint8_t *)flow.dest, VIP);
	quoted(50005);
	assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), own);
	for (uint8_t server = 1; server <= SLOTS; server++) {
		if (server == own)
			continue;
		short_header(false, 50005, 0x67, server);
		assert_int_equal(sent_to(WEIR_REASON_FORWARDED), server);
		quoted(50005);
		assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), server);
	}
	/* Long after its last packet it may be another connection. */
	assert_int_equal(bpf_map_lookup_elem(map, &flow, &had), 0);
	had.last -= 12;
	assert_int_equal(bpf_map_update_elem(map, &flow, &had, BPF_ANY), 0);
	quoted(50005);
	assert_int_equal(sent_to(WEIR_REASON_ICMP_ERROR), own);
}

static void fragments_follow_the_connection(void **state)
{
	unsigned int to = owner(false, 50006) % SLOTS + 1;

	(void)state;
	short_header(false, 50006, 0x67, (uint8_t)to);
	f.data[20] = 0x20;
	f.data[21] = 0;
	assert_int_equal(sent_to(WEIR_REASON_FORWARDED), to);
	f.data[20] = 0;
	f.data[21] = 6;
	assert_int_equal(sent_to(WEIR_REASON_FRAGMENT), to);
}

#define CASE(name) cmocka_unit_test_setup(name, start)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(short_header_goes_by_its_server),
		CASE(long_headers_of_every_type),
		CASE(other_versions_too),
		CASE(clients_ids_go_by_the_slot),
		CASE(configuration_7_goes_by_the_slot),
		CASE(every_configuration_has_its_bits),
		CASE(lengths_of_every_kind),
		CASE(short_datagrams_go_by_the_slot),
		CASE(a_server_that_is_down_goes_by_the_slot),
		CASE(a_slot_that_is_down_does_not_matter),
		CASE(without_a_configuration_all_go_by_slots),
		CASE(without_the_flag_nothing_is_read),
		CASE(tcp_is_no_quic),
		CASE(migrated_connection_stays),
		CASE(errors_go_where_the_connection_is),
		CASE(fragments_follow_the_connection),
	};

	return cmocka_run_group_tests_name("quic", tests, edge_load, edge_unload);
}
