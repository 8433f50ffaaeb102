/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Samples: who is copied, what is in a copy, what it costs to be off; SYN, FIN and RST by service. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "bpf/abi/sample.h"
#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"

#define CLIENT "192.0.2.1"
#define CLIENT6 "2001:db8:c::1"
#define VIP    "198.18.1.100"
#define VIP6   "2001:db8:1::100"
#define BACK   "198.18.1.11"
#define SELF   "198.18.1.1"
#define ALL    (~0ull)
#define RST    TCP_RST
#define FIN    0x01

static struct frame f;
static struct outcome o;
static struct ring_buffer *ring;
static struct weir_sample_record got[8];
static int ngot;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static int on_sample(void *arg, void *data, size_t len)
{
	(void)arg;
	assert_true(len >= sizeof(struct weir_sample_record));
	if (ngot < 8)
		memcpy(&got[ngot], data, sizeof(got[0]));
	ngot++;
	return 0;
}

/* How many records came since the last look. */
static int look(void)
{
	ngot = 0;
	assert_true(ring_buffer__consume(ring) >= 0);
	return ngot;
}

static void put_filter(uint32_t index, const struct weir_sample_filter *filter)
{
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(edge_skeleton()->maps.sample_filters), &index,
					     filter, BPF_ANY), 0);
}

static void set_on(uint32_t on, uint32_t one_of)
{
	const struct weir_settings s = { .on = on, .sample = one_of };

	put_settings(&s);
}

static struct weir_sample_filter any(void)
{
	struct weir_sample_filter filter = { .reasons = ALL, .until = now_ns() + 60000000000ull };

	return filter;
}

static void want_prefix(struct weir_sample_filter *filter, const char *address, unsigned int bits)
{
	uint8_t *mask = (uint8_t *)filter->mask, bytes[16];

	address_bytes(bytes, address);
	memset(filter->addr, 0, sizeof(filter->addr));
	if (strchr(address, ':')) {
		memcpy(filter->addr, bytes, 16);
	} else {
		filter->addr[2] = htonl(0xffff);
		memcpy(&filter->addr[3], bytes, 4);
		bits += 96;
	}
	memset(mask, 0, 16);
	for (unsigned int i = 0; i < bits; i++)
		mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
}

static int reset(void **state)
{
	const struct weir_sample_filter off = { 0 };

	edge_reset(state);
	for (uint32_t i = 0; i < WEIR_SAMPLE_FILTERS; i++)
		put_filter(i, &off);
	if (!ring)
		ring = ring_buffer__new(bpf_map__fd(edge_skeleton()->maps.samples), on_sample, NULL, NULL);
	look();
	set_on(WEIR_ON_SAMPLE, 0);
	put_service(VIP, 80, IPPROTO_TCP, 5, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service(VIP6, 80, IPPROTO_TCP, 6, 0, 1, WEIR_ENCAP_GUE, 0);
	put_backend(1, BACK, SELF, 0);
	slot(0)->current = 1;
	return 0;
}

static void tcp(uint8_t flags, uint32_t payload)
{
	frame_eth(&f);
	frame_ip4(&f, CLIENT, VIP);
	frame_tcp(&f, 40000, 80, flags);
	frame_bytes(&f, NULL, payload);
	frame_end(&f);
}

static void tcp6(uint8_t flags, uint32_t payload)
{
	frame_eth(&f);
	frame_ip6(&f, CLIENT6, VIP6);
	frame_tcp(&f, 40000, 80, flags);
	frame_bytes(&f, NULL, payload);
	frame_end(&f);
}

static uint64_t counted(enum weir_sample_count what)
{
	uint32_t index = what;
	uint64_t per_cpu[256], sum = 0;
	int cpus = libbpf_num_possible_cpus();

	assert_in_range(cpus, 1, 256);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(edge_skeleton()->maps.sample_counts), &index,
					     per_cpu), 0);
	for (int i = 0; i < cpus; i++)
		sum += per_cpu[i];
	return sum;
}

/* Runs the frame that is made, and says whether it was copied. */
static int copied(void)
{
	edge_run(&f, &o);
	return look();
}

static void off_takes_nothing(void **state)
{
	struct weir_sample_filter filter = any();

	(void)state;
	put_filter(0, &filter);
	set_on(0, 0);
	tcp(TCP_ACK, 10);
	assert_int_equal(copied(), 0);
	set_on(WEIR_ON_SAMPLE, 0);
	assert_int_equal(copied(), 1);
}

static void on_without_a_filter(void **state)
{
	(void)state;
	tcp(TCP_ACK, 10);
	assert_int_equal(copied(), 0);
}

static void what_a_copy_holds(void **state)
{
	struct weir_sample_filter filter = any();
	uint64_t before = now_ns(), taken = counted(WEIR_SAMPLES_TAKEN);
	const struct weir_sample *h = &got[0].head;

	(void)state;
	put_filter(2, &filter);
	tcp(TCP_SYN, 10);
	assert_int_equal(copied(), 1);
	assert_int_equal(counted(WEIR_SAMPLES_TAKEN), taken + 1);
	assert_int_equal(o.action, XDP_TX);
	assert_true(h->time >= before && h->time <= now_ns());
	assert_int_equal(h->reason, WEIR_REASON_FORWARDED);
	assert_int_equal(h->action, XDP_TX);
	assert_int_equal(h->filters, 1 << 2);
	assert_int_equal(h->tcp_flags, TCP_SYN);
	assert_int_equal(h->service, 5 + 1);
	assert_int_equal(h->slot, 0 + 1);
	assert_int_equal(h->backend, 1);
	assert_int_equal(h->ifindex, INGRESS);
	assert_true(h->cpu < 256);
	assert_int_not_equal(h->hash, 0);
	assert_int_equal(h->came, f.len);
	assert_int_equal(h->length, o.len);
	assert_int_equal(h->captured, o.len);
	assert_int_equal(h->flow.family, WEIR_FAMILY_4);
	assert_int_equal(h->flow.proto, IPPROTO_TCP);
	assert_int_equal(h->flow.source_port, htons(40000));
	assert_int_equal(h->flow.dest_port, htons(80));
	assert_memory_equal(h->flow.source, f.data + 26, 4);
	assert_memory_equal(h->flow.dest, f.data + 30, 4);
	assert_memory_equal(got[0].data, o.data, o.len);
}

static void no_more_than_the_snap(void **state)
{
	struct weir_sample_filter filter = any();

	(void)state;
	put_filter(0, &filter);
	tcp(TCP_ACK, 1200);
	assert_int_equal(copied(), 1);
	assert_int_equal(got[0].head.length, o.len);
	assert_int_equal(got[0].head.captured, WEIR_SAMPLE_SNAP);
	assert_memory_equal(got[0].data, o.data, WEIR_SAMPLE_SNAP);
	for (uint16_t snap = 1; snap < 80; snap += 6) {
		filter.snap = snap;
		put_filter(0, &filter);
		assert_int_equal(copied(), 1);
		assert_int_equal(got[0].head.captured, snap);
		assert_memory_equal(got[0].data, o.data, snap);
	}
	filter.snap = 5000;
	put_filter(0, &filter);
	assert_int_equal(copied(), 1);
	assert_int_equal(got[0].head.captured, WEIR_SAMPLE_SNAP);
}

static void without_the_outer_header(void **state)
{
	struct weir_sample_filter filter = any();

	(void)state;
	filter.inner = 1;
	put_filter(0, &filter);
	tcp(TCP_ACK, 30);
	assert_int_equal(copied(), 1);
	assert_int_equal(got[0].head.length, f.len);
	assert_int_equal(got[0].head.captured, f.len);
	assert_memory_equal(got[0].data, o.data, 12);
	assert_memory_equal(got[0].data + 12, f.data + 12, f.len - 12);
	tcp6(TCP_ACK, 900);
	assert_int_equal(copied(), 1);
	assert_int_equal(o.data[12] << 8 | o.data[13], 0x0800);
	assert_int_equal(got[0].head.length, f.len);
	assert_memory_equal(got[0].data + 12, f.data + 12, WEIR_SAMPLE_SNAP - 12);
	/* Nothing was put on: as it is. */
	frame_eth(&f);
	frame_ip4(&f, CLIENT, SELF);
	frame_udp(&f, 1, 2);
	frame_end(&f);
	assert_int_equal(copied(), 1);
	assert_int_equal(got[0].head.captured, f.len);
	assert_memory_equal(got[0].data, f.data, f.len);
}

/* A VLAN tag, the client's or the backend's: there in what leaves, taken off with the outer header. */
static void tagged(void **state)
{
	const uint8_t tag[4] = { 0x81, 0x00, 0x00, 0x07 };
	struct weir_sample_filter filter = any();
	uint32_t plain;

	(void)state;
	tcp(TCP_ACK, 30);
	plain = f.len;
	memmove(f.data + 16, f.data + 12, f.len - 12);
	memcpy(f.data + 12, tag, sizeof(tag));
	f.len += 4;
	want_prefix(&filter, BACK, 32);
	put_filter(0, &filter);
	for (uint8_t vlan = 0; vlan < 2; vlan++) {
		put_backend_vlan(1, vlan ? WEIR_BACKEND_VLAN : 0, vlan);
		filter.inner = 0;
		put_filter(0, &filter);
		assert_int_equal(copied(), 1);
		assert_int_equal(o.action, XDP_TX);
		assert_int_equal(got[0].head.length, plain + 20 + (vlan ? 4 : 0));
		assert_int_equal(got[0].head.came, f.len);
		assert_memory_equal(got[0].data, o.data, o.len);
		filter.inner = 1;
		put_filter(0, &filter);
		assert_int_equal(copied(), 1);
		assert_int_equal(got[0].head.length, plain);
		assert_int_equal(got[0].head.captured, plain);
		assert_memory_equal(got[0].data + 12, f.data + 16, plain - 12);
	}
}

/* What is dropped has lost its tag: its addresses are found all the same. */
static void tagged_and_dropped(void **state)
{
	const uint8_t tag[4] = { 0x81, 0x00, 0x00, 0x07 };
	struct weir_sample_filter filter = any();

	(void)state;
	slot(0)->current = 0;
	tcp(TCP_ACK, 30);
	memmove(f.data + 16, f.data + 12, f.len - 12);
	memcpy(f.data + 12, tag, sizeof(tag));
	f.len += 4;
	filter.port = htons(80);
	put_filter(0, &filter);
	assert_int_equal(copied(), 1);
	assert_int_equal(o.action, XDP_DROP);
	assert_int_equal(got[0].head.reason, WEIR_REASON_NO_BACKEND);
}

static void by_address(void **state)
{
	static const struct {
		const char *address;
		unsigned int bits;
		int four, six;
	} cases[] = {
		{ CLIENT, 32, 1, 0 }, { "192.0.2.2", 32, 0, 0 }, { "192.0.2.0", 24, 1, 0 },
		{ "192.0.3.0", 24, 0, 0 }, { VIP, 32, 1, 0 }, { BACK, 32, 1, 1 }, { SELF, 32, 1, 1 },
		{ "0.0.0.0", 0, 1, 1 }, { CLIENT6, 128, 0, 1 }, { "2001:db8:c::", 48, 0, 1 },
		{ "2001:db8:d::", 48, 0, 0 }, { VIP6, 128, 0, 1 }, { "198.18.1.12", 32, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_sample_filter filter = any();

		want_prefix(&filter, cases[i].address, cases[i].bits);
		put_filter(0, &filter);
		tcp(TCP_ACK, 0);
		assert_int_equal(copied(), cases[i].four);
		tcp6(TCP_ACK, 0);
		assert_int_equal(copied(), cases[i].six);
	}
}

static void by_port_and_protocol(void **state)
{
	static const struct {
		uint16_t port;
		uint8_t proto;
		int want;
	} cases[] = {
		{ 80, 0, 1 }, { 40000, 0, 1 }, { 81, 0, 0 }, { 0, IPPROTO_TCP, 1 }, { 0, IPPROTO_UDP, 0 },
		{ 0, IPPROTO_IPIP, 1 }, { 80, IPPROTO_TCP, 1 }, { 80, IPPROTO_UDP, 0 }, { 80, IPPROTO_IPIP, 0 },
	};

	(void)state;
	tcp(TCP_ACK, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_sample_filter filter = any();

		filter.port = htons(cases[i].port);
		filter.proto = cases[i].proto;
		put_filter(0, &filter);
		assert_int_equal(copied(), cases[i].want);
	}
	/* GUE's outer UDP port, in front of the client's IPv6. */
	tcp6(TCP_ACK, 0);
	struct weir_sample_filter gue = any();

	gue.port = htons(WEIR_GUE_PORT);
	put_filter(0, &gue);
	assert_int_equal(copied(), 1);
}

static void by_reason(void **state)
{
	struct weir_sample_filter filter = any();

	(void)state;
	filter.reasons = 1ull << WEIR_REASON_TRUNCATED | 1ull << WEIR_REASON_NOT_OURS;
	put_filter(0, &filter);
	tcp(TCP_ACK, 0);
	assert_int_equal(copied(), 0);
	f.len = 40;
	assert_int_equal(copied(), 1);
	assert_int_equal(got[0].head.reason, WEIR_REASON_TRUNCATED);
	assert_int_equal(got[0].head.action, XDP_DROP);
	assert_int_equal(got[0].head.captured, 40);
	f.len = 14;
	assert_int_equal(copied(), 1);
	assert_int_equal(got[0].head.captured, 14);
	frame_eth(&f);
	frame_ip4(&f, CLIENT, SELF);
	frame_udp(&f, 1, 2);
	frame_end(&f);
	assert_int_equal(copied(), 1);
	assert_int_equal(got[0].head.reason, WEIR_REASON_NOT_OURS);
	assert_int_equal(got[0].head.service, 0);
}

static void by_service_and_backend(void **state)
{
	struct weir_sample_filter filter = any();

	(void)state;
	filter.service = 5 + 1;
	put_filter(0, &filter);
	tcp(TCP_ACK, 0);
	assert_int_equal(copied(), 1);
	tcp6(TCP_ACK, 0);
	assert_int_equal(copied(), 0);
	filter.service = 0;
	filter.backend = 2;
	put_filter(0, &filter);
	assert_int_equal(copied(), 0);
	filter.backend = 1;
	put_filter(0, &filter);
	assert_int_equal(copied(), 1);
}

static void several_at_once(void **state)
{
	struct weir_sample_filter filter = any();

	(void)state;
	filter.snap = 20;
	put_filter(0, &filter);
	filter.snap = 50;
	put_filter(1, &filter);
	filter.port = htons(81);
	put_filter(3, &filter);
	tcp(TCP_ACK, 100);
	assert_int_equal(copied(), 1);
	assert_int_equal(got[0].head.filters, 3);
	assert_int_equal(got[0].head.captured, 50);
}

static void it_ends_by_itself(void **state)
{
	struct weir_sample_filter filter = any();

	(void)state;
	filter.until = now_ns() - 1;
	put_filter(0, &filter);
	tcp(TCP_ACK, 0);
	assert_int_equal(copied(), 0);
}

static void one_of_many(void **state)
{
	struct weir_sample_filter filter = any();
	int n = 0;

	(void)state;
	tcp(TCP_ACK, 0);
	filter.one_of = 8;
	put_filter(0, &filter);
	for (int i = 0; i < 800; i++)
		n += copied();
	assert_in_range(n, 55, 155); /* 100 ± 5 standard deviations */
	filter.one_of = 0;
	put_filter(0, &filter);
	set_on(WEIR_ON_SAMPLE, 8);
	n = 0;
	for (int i = 0; i < 800; i++)
		n += copied();
	assert_in_range(n, 55, 155);
}

static void lost_is_counted(void **state)
{
	struct weir_sample_filter filter = any();
	uint64_t taken = counted(WEIR_SAMPLES_TAKEN), lost = counted(WEIR_SAMPLES_LOST);
	uint32_t room = WEIR_SAMPLE_RING / (sizeof(struct weir_sample_record) + 8);

	(void)state;
	put_filter(0, &filter);
	tcp(TCP_ACK, 0);
	for (uint32_t i = 0; i < room + 100; i++)
		edge_run(&f, &o);
	assert_int_equal(o.action, XDP_TX);
	taken = counted(WEIR_SAMPLES_TAKEN) - taken;
	lost = counted(WEIR_SAMPLES_LOST) - lost;
	assert_int_equal(taken + lost, room + 100);
	assert_in_range(lost, 90, 110);
	assert_int_equal(look(), (int)taken);
}

/* Where a tag came, and the frame leaves by another interface without one, it is found by what it leaves with. */
static void tag_stays_behind(void **state)
{
	const uint8_t tag[4] = { 0x81, 0x00, 0x00, 0x07 };
	struct weir_sample_filter filter = any();

	(void)state;
	put_backend_way(1, OTHER, 0);
	tcp(TCP_ACK, 30);
	memmove(f.data + 16, f.data + 12, f.len - 12);
	memcpy(f.data + 12, tag, sizeof(tag));
	f.len += 4;
	want_prefix(&filter, BACK, 32);
	put_filter(0, &filter);
	assert_int_equal(copied(), 1);
	assert_int_equal(o.action, XDP_REDIRECT);
	assert_int_equal(o.data[12] << 8 | o.data[13], 0x0800);
	assert_memory_equal(got[0].data, o.data, o.len);
}

static void what_was_decapsulated(void **state)
{
	struct weir_sample_filter filter = any();

	(void)state;
	put_decap("198.18.0.0", 16, SELF, true);
	want_prefix(&filter, CLIENT, 32);
	put_filter(0, &filter);
	frame_eth(&f);
	frame_ip4(&f, "198.18.0.7", SELF);
	frame_ip4(&f, CLIENT, "198.18.9.9");
	frame_tcp(&f, 40000, 80, TCP_SYN);
	frame_end(&f);
	assert_int_equal(copied(), 1);
	assert_int_equal(got[0].head.reason, WEIR_REASON_DECAPSULATED);
	assert_int_equal(got[0].head.came, f.len);
	assert_int_equal(got[0].head.length, f.len - 20);
	assert_memory_equal(got[0].data + 14, f.data + 34, f.len - 34);
	want_prefix(&filter, "198.18.0.7", 32);
	put_filter(0, &filter);
	assert_int_equal(copied(), 1);
}

static struct weir_flag_count flags_of(uint32_t service)
{
	struct weir_flag_count per_cpu[256], sum = { 0 };
	int cpus = libbpf_num_possible_cpus();

	assert_in_range(cpus, 1, 256);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(edge_skeleton()->maps.flag_counts), &service,
					     per_cpu), 0);
	for (int i = 0; i < cpus; i++) {
		sum.syn += per_cpu[i].syn;
		sum.fin += per_cpu[i].fin;
		sum.rst += per_cpu[i].rst;
	}
	return sum;
}

static void flags_are_counted(void **state)
{
	const uint8_t sent[] = { TCP_SYN, TCP_SYN | TCP_ACK, TCP_ACK, FIN | TCP_ACK, FIN | TCP_ACK, RST, RST | TCP_ACK,
				 RST };
	struct weir_flag_count before = flags_of(5), now;

	(void)state;
	set_on(0, 0);
	tcp(TCP_SYN, 0);
	edge_run(&f, &o);
	now = flags_of(5);
	assert_memory_equal(&now, &before, sizeof(now));
	set_on(WEIR_ON_FLAGS, 0);
	for (size_t i = 0; i < sizeof(sent); i++) {
		tcp(sent[i], 0);
		edge_run(&f, &o);
	}
	now = flags_of(5);
	assert_int_equal(now.syn - before.syn, 1);
	assert_int_equal(now.fin - before.fin, 2);
	assert_int_equal(now.rst - before.rst, 3);
	/* Nobody's service, nobody's count; dropped ones count. */
	slot(0)->current = 0;
	tcp(TCP_SYN, 0);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_NO_BACKEND);
	assert_int_equal(flags_of(5).syn - before.syn, 2);
}

#define T(name) cmocka_unit_test_setup(name, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(off_takes_nothing), T(on_without_a_filter), T(what_a_copy_holds), T(no_more_than_the_snap),
		T(without_the_outer_header), T(tagged), T(tagged_and_dropped), T(by_address), T(by_port_and_protocol), T(by_reason),
		T(by_service_and_backend), T(several_at_once), T(it_ends_by_itself), T(one_of_many),
		T(lost_is_counted), T(what_was_decapsulated), T(tag_stays_behind), T(flags_are_counted),
	};

	return cmocka_run_group_tests_name("sample", tests, edge_load, edge_unload);
}
