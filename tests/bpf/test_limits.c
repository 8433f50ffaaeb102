/* SPDX-License-Identifier: Apache-2.0 */
/* The filter's limits: buckets of networks, how they fill again, and what a flood of strangers gets. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "skel/edge.skel.h"
#include "tests/bpf/filter.h"

/* So many packets at once, for each class. */
static void limit(unsigned int syn, unsigned int udp_, unsigned int dns)
{
	struct weir_limits limits = {
		.of = { { syn ? TOKEN : 0, syn ? (syn - 1) * TOKEN : 0 },
			{ udp_ ? TOKEN : 0, udp_ ? (udp_ - 1) * TOKEN : 0 },
			{ dns ? TOKEN : 0, dns ? (dns - 1) * TOKEN : 0 } },
		.bits4 = 24,
		.bits6 = 56,
	};

	assert_int_equal(filterset_limits(fs, &limits), 0);
}

static struct weir_bucket bucket(const char *prefix, struct weir_bucket_key *key)
{
	struct weir_bucket b;
	uint8_t bytes[16];

	address_bytes(bytes, prefix);
	memset(key, 0, sizeof(*key));
	memcpy(key->addr, bytes, 8);
	key->family = strchr(prefix, ':') ? WEIR_FAMILY_6 : WEIR_FAMILY_4;
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(edge_skeleton()->maps.filter_buckets), key, &b), 0);
	return b;
}

/* As if that much time had passed. */
static void pass_time(const char *prefix, uint64_t ns)
{
	struct weir_bucket_key key;
	struct weir_bucket b = bucket(prefix, &key);

	for (int c = 0; c < WEIR_CLASSES; c++)
		b.paid[c] = b.paid[c] > ns ? b.paid[c] - ns : 0;
	bpf_map_update_elem(bpf_map__fd(edge_skeleton()->maps.filter_buckets), &key, &b, BPF_ANY);
}

static void limits_syn(void **state)
{
	struct weir_bucket_key key;

	(void)state;
	limit(3, 0, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("192.0.2.77", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	assert_int_equal(o.action, XDP_DROP);
	/* What is open, and what answers, goes on. */
	assert_int_equal(tcp_from("192.0.2.1", TCP_ACK), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN | TCP_ACK), WEIR_REASON_FORWARDED);
	assert_int_equal(udp_from("192.0.2.1", 80), WEIR_REASON_FORWARDED);
	/* Another network has its own. */
	assert_int_equal(tcp_from("192.0.3.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(bucket("192.0.2.0", &key).dropped[WEIR_CLASS_SYN], 1);
	assert_int_equal(bucket("192.0.3.0", &key).dropped[WEIR_CLASS_SYN], 0);
	filter_on(0);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
}

static void refills(void **state)
{
	(void)state;
	limit(3, 0, 0);
	for (int i = 0; i < 3; i++)
		tcp_from("192.0.2.1", TCP_SYN);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	pass_time("192.0.2.0", TOKEN - 1000000000ull); /* a second too few */
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	pass_time("192.0.2.0", TOKEN + 1000000000ull);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	pass_time("192.0.2.0", 1000 * TOKEN); /* full, and never fuller */
	for (int i = 0; i < 3; i++)
		assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
}

static void refills_by_the_clock(void **state)
{
	/* 20 a second, one at once. */
	struct weir_limits limits = { .of = { { 50000000, 0 } }, .bits4 = 24, .bits6 = 56 };
	struct timespec start, now;
	double s = 0, last, away = 0;
	int passed = 0;

	(void)state;
	assert_int_equal(filterset_limits(fs, &limits), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		last = s;
		passed += tcp_from("192.0.2.1", TCP_SYN) == WEIR_REASON_FORWARDED;
		clock_gettime(CLOCK_MONOTONIC, &now);
		s = (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9;
		if (s - last > 0.01) /* others had the processor: nobody asked for the tokens of that time */
			away += s - last + 0.06;
	} while (s < 0.5 || (s - away < 0.3 && s < 5));
	/* The clock goes in steps of up to 10 ms; the first packet has the whole bucket. */
	assert_true(passed >= (int)((s - away) / 0.06));
	assert_true(passed <= (int)(s / 0.05) + 1);
}

static void limits_udp_and_dns(void **state)
{
	(void)state;
	limit(0, 2, 1);
	assert_int_equal(udp_from("192.0.2.1", 80), WEIR_REASON_FORWARDED);
	assert_int_equal(udp_from("192.0.2.1", 53), WEIR_REASON_FORWARDED);
	assert_int_equal(udp_from("192.0.2.1", 53), WEIR_REASON_LIMITED_DNS);
	assert_int_equal(udp_from("192.0.2.1", 80), WEIR_REASON_FORWARDED);
	assert_int_equal(udp_from("192.0.2.1", 80), WEIR_REASON_LIMITED_UDP);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	/* Without a limit of its own DNS is UDP like other. */
	limit(0, 2, 0);
	assert_int_equal(udp_from("192.0.4.1", 53), WEIR_REASON_FORWARDED);
	assert_int_equal(udp_from("192.0.4.1", 80), WEIR_REASON_FORWARDED);
	assert_int_equal(udp_from("192.0.4.1", 53), WEIR_REASON_LIMITED_UDP);
	/* What is not for a service is the host's own affair. */
	packet_from("192.0.4.1", "198.18.77.77");
	frame_udp(&f, 40000, 80);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_NOT_OURS);
}

static void fragment(uint16_t offset)
{
	struct iphdr *header;

	frame_eth(&f);
	header = frame_ip4(&f, "192.0.2.1", VIP);
	header->frag_off = htons(offset);
	header->id = htons(77);
	if (offset & 0x1fff) {
		header->protocol = IPPROTO_UDP;
		frame_bytes(&f, NULL, 64);
	} else {
		frame_udp(&f, 40000, 80);
		frame_bytes(&f, NULL, 56);
	}
	frame_end(&f);
	edge_run(&f, &o);
}

/* One first fragment must not open the way for any number of later ones. */
static void later_fragments_pay(void **state)
{
	(void)state;
	limit(0, 3, 0);
	fragment(0x2000);
	assert_int_equal(o.reason, WEIR_REASON_FORWARDED);
	fragment(0x2008);
	assert_int_equal(o.reason, WEIR_REASON_FRAGMENT);
	fragment(0x2010);
	assert_int_equal(o.reason, WEIR_REASON_FRAGMENT);
	fragment(0x2018);
	assert_int_equal(o.reason, WEIR_REASON_LIMITED_UDP);
	/* A first one that is limited is not remembered. */
	fragment(0x2000);
	assert_int_equal(o.reason, WEIR_REASON_LIMITED_UDP);
}

static void allowed_is_not_limited(void **state)
{
	const struct filterset_entry e = filter_entry("192.0.2.1", 32, WEIR_VERDICT_ALLOW);

	(void)state;
	filter_list(&e, 1);
	limit(1, 0, 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	/* Nor does it use up what its neighbours have. */
	assert_int_equal(tcp_from("192.0.2.2", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("192.0.2.2", TCP_SYN), WEIR_REASON_LIMITED_SYN);
}

static void limits_six(void **state)
{
	struct weir_limits limits = { .of = { { TOKEN, 0 } }, .bits4 = 32, .bits6 = 64 };
	struct weir_bucket_key key;

	(void)state;
	limit(1, 0, 0);
	assert_int_equal(tcp_from("2001:db8:1:1ff::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("2001:db8:1:100:7::1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	assert_int_equal(tcp_from("2001:db8:1:200::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(bucket("2001:db8:1:100::", &key).dropped[WEIR_CLASS_SYN], 1);
	/* Other prefix lengths: a /64 and a single address. */
	filterset_limits(fs, &limits);
	assert_int_equal(tcp_from("2001:db8:7:1ff::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("2001:db8:7:1fe::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("2001:db8:7:1fe:1::", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	assert_int_equal(tcp_from("192.0.7.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("192.0.7.2", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("192.0.7.2", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	limits.bits4 = limits.bits6 = 0; /* all the world in one */
	filterset_limits(fs, &limits);
	assert_int_equal(tcp_from("8.8.8.8", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("9.9.9.9", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	assert_int_equal(tcp_from("2001:db8:9::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("2a00::1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	limits.bits6 = 65;
	assert_int_equal(filterset_limits(fs, &limits), -EINVAL);
}

/* 2,000 networks at once, each with one SYN: as many as may be new pass, and one bucket's worth of the others.
 * Who is known keeps what he has. */
static void many_networks_open_no_gate(void **state)
{
	struct weir_limits limits = { .of = { { TOKEN, 4 * TOKEN } },
				      .fresh = { TOKEN, 99 * TOKEN }, /* 100 */
				      .bits4 = 24, .bits6 = 56 };
	struct filterset_state seen;
	struct filterset_top top[4];
	int passed = 0, dropped = 0;

	(void)state;
	assert_int_equal(filterset_limits(fs, &limits), 0);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	for (int i = 0; i < 2000; i++) {
		char source[32];

		snprintf(source, sizeof(source), "10.%d.%d.1", i / 256, i % 256);
		passed += tcp_from(source, TCP_SYN) == WEIR_REASON_FORWARDED;
		dropped += o.reason == WEIR_REASON_LIMITED_SYN;
	}
	assert_int_equal(passed, 99 + 5);
	assert_int_equal(dropped, 2000 - 104);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(filterset_state(fs, &seen), 0);
	assert_int_equal(seen.made, 100);
	assert_int_equal(seen.strangers[WEIR_CLASS_SYN], 2000 - 104);
	assert_int_equal(filterset_top(fs, top, 4), 1);
	assert_int_equal(top[0].family, 0);
	assert_int_equal(top[0].dropped[WEIR_CLASS_SYN], 2000 - 104);
}

static void tells_the_worst(void **state)
{
	struct filterset_top top[3];

	(void)state;
	limit(1, 0, 0);
	for (int network = 1; network <= 9; network++) {
		for (int i = 0; i < network * 3 % 10 + 1; i++) {
			char source[32];

			snprintf(source, sizeof(source), "192.0.%d.1", network);
			tcp_from(source, TCP_SYN);
		}
	}
	assert_int_equal(filterset_top(fs, top, 3), 3);
	assert_int_equal(top[0].addr[2], 3); /* 9 dropped */
	assert_int_equal(top[0].len, 24);
	assert_int_equal(top[0].dropped[WEIR_CLASS_SYN], 9);
	assert_int_equal(top[1].addr[2], 6); /* 8 */
	assert_int_equal(top[2].addr[2], 9); /* 7 */
}

#define T(name) cmocka_unit_test_setup(name, filter_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(limits_syn),
		T(refills),
		T(refills_by_the_clock),
		T(limits_udp_and_dns),
		T(later_fragments_pay),
		T(allowed_is_not_limited),
		T(limits_six),
		T(many_networks_open_no_gate),
		T(tells_the_worst),
	};

	return cmocka_run_group_tests_name("limits", tests, filter_load, filter_unload);
}
