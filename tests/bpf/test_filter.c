/* SPDX-License-Identifier: Apache-2.0 */
/* The filter's lists of both families: whose word counts, fragments, what is encapsulated, and a million entries
 * replaced without a gap. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "skel/edge.skel.h"
#include "tests/bpf/filter.h"

/* ---- lists --------------------------------------------------------------------------------------- */

static void blocks(void **state)
{
	const struct filterset_entry e[] = {
		filter_entry("203.0.113.0", 24, WEIR_VERDICT_BLOCK),
		filter_entry("198.51.100.7", 32, WEIR_VERDICT_BLOCK),
		filter_entry("10.0.0.0", 8, WEIR_VERDICT_BLOCK),
	};

	(void)state;
	filter_list(e, 3);
	assert_int_equal(tcp_from("203.0.113.9", TCP_ACK), WEIR_REASON_BLOCKED);
	assert_int_equal(o.action, XDP_DROP);
	assert_int_equal(tcp_from("203.0.114.9", TCP_ACK), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("198.51.100.7", TCP_SYN), WEIR_REASON_BLOCKED);
	assert_int_equal(tcp_from("198.51.100.8", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("10.255.255.255", TCP_ACK), WEIR_REASON_BLOCKED);
	assert_int_equal(tcp_from("11.0.0.0", TCP_ACK), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("9.255.255.255", TCP_ACK), WEIR_REASON_FORWARDED);
	filter_on(0);
	assert_int_equal(tcp_from("203.0.113.9", TCP_ACK), WEIR_REASON_FORWARDED);
}

/* Every length of IPv6: what is inside is blocked, what lies one bit beside it is not. */
static void blocks_six(void **state)
{
	static const uint8_t lens[] = { 0, 3, 19, 20, 29, 31, 32, 33, 40, 47, 48, 49, 56, 64, 65, 127, 128 };

	(void)state;
	for (size_t i = 0; i < sizeof(lens); i++) {
		struct filterset_entry e = filter_entry("2001:db8:5:6:7:8:9:a", lens[i], WEIR_VERDICT_BLOCK);
		char text[INET6_ADDRSTRLEN];
		uint8_t beside[16];

		memcpy(beside, e.addr, 16);
		if (lens[i])
			beside[(lens[i] - 1) / 8] ^= (uint8_t)(0x80 >> (lens[i] - 1) % 8);
		for (unsigned int bit = lens[i]; bit < 128; bit++)
			e.addr[bit / 8] &= (uint8_t)~(0x80 >> bit % 8);
		filter_list(&e, 1);
		assert_int_equal(tcp_from("2001:db8:5:6:7:8:9:a", TCP_ACK), WEIR_REASON_BLOCKED);
		inet_ntop(AF_INET6, beside, text, sizeof(text));
		if (lens[i])
			assert_int_equal(tcp_from(text, TCP_ACK), WEIR_REASON_FORWARDED);
	}
}

static void blocks_four(void **state)
{
	(void)state;
	for (unsigned int len = 0; len <= 32; len++) {
		struct filterset_entry e = filter_entry("172.20.77.129", (uint8_t)len, WEIR_VERDICT_BLOCK);
		uint32_t address = (172u << 24 | 20 << 16 | 77 << 8 | 129), beside;
		struct in_addr in;

		beside = address ^ (len ? 1u << (32 - len) : 0);
		in.s_addr = htonl(len ? address & ~0u << (32 - len) : 0);
		memcpy(e.addr, &in, 4);
		filter_list(&e, 1);
		assert_int_equal(tcp_from("172.20.77.129", TCP_ACK), WEIR_REASON_BLOCKED);
		in.s_addr = htonl(beside);
		if (len)
			assert_int_equal(tcp_from(inet_ntoa(in), TCP_ACK), WEIR_REASON_FORWARDED);
	}
}

static void longest_decides(void **state)
{
	const struct filterset_entry e[] = {
		filter_entry("0.0.0.0", 0, WEIR_VERDICT_BLOCK),
		filter_entry("192.0.2.0", 24, WEIR_VERDICT_ALLOW),
		filter_entry("::", 0, WEIR_VERDICT_BLOCK),
		filter_entry("2001:db8::", 32, WEIR_VERDICT_ALLOW),
	};

	(void)state;
	filter_list(e, 4);
	assert_int_equal(tcp_from("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("192.0.3.1", TCP_SYN), WEIR_REASON_BLOCKED);
	assert_int_equal(tcp_from("2001:db8:9::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp_from("2001:db9::1", TCP_SYN), WEIR_REASON_BLOCKED);
}

/* With more extension headers than are walked, to an address of no service: such end while they are parsed. */
static void blocks_many_extensions(void **state)
{
	const struct filterset_entry e = filter_entry("2001:db8:bad::", 48, WEIR_VERDICT_BLOCK);
	static const char *const source[] = { "2001:db8:bad::1", "2001:db8:900d::1" };
	static const uint8_t options[8] = { 60, 0, 1, 4, 0, 0, 0, 0 }; /* RFC 8200 section 4.6 */

	(void)state;
	filter_list(&e, 1);
	for (int i = 0; i < 2; i++) {
		packet_from(source[i], "2001:db8:2::2");
		for (int n = 0; n < 7; n++)
			frame_bytes(&f, options, sizeof(options));
		frame_bytes(&f, NULL, 40);
		frame_end(&f);
		f.data[14 + offsetof(struct ip6_hdr, ip6_nxt)] = 60;
		edge_run(&f, &o);
		assert_int_equal(o.reason, i ? WEIR_REASON_NOT_OURS : WEIR_REASON_BLOCKED);
		assert_int_equal(o.action, i ? XDP_PASS : XDP_DROP);
	}
}

/* Not for a service, of no known protocol, a later fragment, an ICMP error: all are looked at. */
static void blocks_all_kinds(void **state)
{
	const struct filterset_entry e = filter_entry("203.0.113.0", 24, WEIR_VERDICT_BLOCK);
	struct iphdr *header;

	(void)state;
	filter_list(&e, 1);
	packet_from("203.0.113.9", "198.18.77.77");
	frame_tcp(&f, 1, 2, TCP_ACK);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_BLOCKED);
	frame_eth(&f);
	header = frame_ip4(&f, "203.0.113.9", VIP);
	header->protocol = 47;
	frame_bytes(&f, NULL, 20);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_BLOCKED);
	frame_eth(&f);
	header = frame_ip4(&f, "203.0.113.9", VIP);
	header->protocol = IPPROTO_UDP;
	header->frag_off = htons(100);
	frame_bytes(&f, NULL, 20);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_BLOCKED);
	packet_from("203.0.113.9", VIP);
	frame_icmp(&f, 8, 0);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_BLOCKED);
}

static void encapsulated(const char *outer)
{
	frame_eth(&f);
	frame_ip4(&f, outer, BACK);
	frame_ip4(&f, "203.0.113.9", VIP);
	frame_tcp(&f, 40000, 80, TCP_SYN);
	frame_end(&f);
	edge_run(&f, &o);
}

/* A balancer's packets are judged by the balancer's address: it has filtered the client itself. */
static void encapsulated_by_outer_source(void **state)
{
	const struct filterset_entry inner = filter_entry("203.0.113.0", 24, WEIR_VERDICT_BLOCK);
	const struct filterset_entry outer = filter_entry("198.18.1.0", 24, WEIR_VERDICT_BLOCK);
	struct weir_limits limits = { .of = { { TOKEN, 0 }, { TOKEN, 0 }, { TOKEN, 0 } },
				      .bits4 = 24, .bits6 = 56 };

	(void)state;
	put_decap("198.18.1.0", 24, BACK, true);
	filter_list(&inner, 1);
	assert_int_equal(filterset_limits(fs, &limits), 0);
	for (int i = 0; i < 5; i++) {
		encapsulated("198.18.1.1");
		assert_int_equal(o.reason, WEIR_REASON_DECAPSULATED);
	}
	filter_list(&outer, 1);
	encapsulated("198.18.1.1");
	assert_int_equal(o.reason, WEIR_REASON_BLOCKED);
}

static void changes_in_place(void **state)
{
	struct filterset_entry e = filter_entry("203.0.113.0", 24, WEIR_VERDICT_BLOCK);
	struct filterset_entry allow = filter_entry("203.0.113.9", 32, WEIR_VERDICT_ALLOW);
	struct filterset_state seen;

	(void)state;
	assert_int_equal(filterset_change(fs, &e, 1), 0);
	assert_int_equal(tcp_from("203.0.113.9", TCP_SYN), WEIR_REASON_BLOCKED);
	assert_int_equal(filterset_change(fs, &allow, 1), 0);
	assert_int_equal(tcp_from("203.0.113.9", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(filterset_lookup(fs, &allow), WEIR_VERDICT_ALLOW);
	assert_int_equal(filterset_state(fs, &seen), 0);
	assert_int_equal(seen.entries4, 2);
	e.verdict = allow.verdict = WEIR_VERDICT_NONE;
	assert_int_equal(filterset_change(fs, &allow, 1), 0);
	assert_int_equal(tcp_from("203.0.113.9", TCP_SYN), WEIR_REASON_BLOCKED);
	assert_int_equal(filterset_change(fs, &e, 1), 0);
	assert_int_equal(tcp_from("203.0.113.9", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(filterset_state(fs, &seen), 0);
	assert_int_equal(seen.list_on, 0);
}

static void refuses_nonsense(void **state)
{
	struct filterset_entry e = filter_entry("10.0.0.0", 33, WEIR_VERDICT_BLOCK);

	(void)state;
	filterset_begin(fs);
	assert_int_equal(filterset_put(fs, &e, 1), -EBADMSG);
	e.len = 8;
	e.verdict = 3;
	assert_int_equal(filterset_put(fs, &e, 1), -EBADMSG);
	e.verdict = WEIR_VERDICT_NONE;
	assert_int_equal(filterset_put(fs, &e, 1), -EBADMSG);
	e.family = 5;
	assert_int_equal(filterset_change(fs, &e, 1), -EBADMSG);
	e = filter_entry("255.255.255.255", 0, WEIR_VERDICT_BLOCK);
	assert_int_equal(filterset_put(fs, &e, 1), -EBADMSG);
	assert_int_equal(filterset_change(fs, &e, 1), -EBADMSG);
	e = filter_entry("2001:db8::1", 127, WEIR_VERDICT_BLOCK);
	assert_int_equal(filterset_put(fs, &e, 1), -EBADMSG);
	e = filter_entry("203.0.113.129", 31, WEIR_VERDICT_BLOCK);
	assert_int_equal(filterset_put(fs, &e, 1), -EBADMSG);
	e = filter_entry("255.255.255.254", 31, WEIR_VERDICT_BLOCK);
	assert_int_equal(filterset_put(fs, &e, 1), 0);
}

/* ---- a million ------------------------------------------------------------------------------------ */

#define MILLION 1000000u

struct watcher {
	const char *source;
	uint32_t expected;              /* XDP_* */
	volatile bool end;
	unsigned long runs, wrong;
};

/* Sends the same packet again and again. */
static void *watch(void *arg)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .repeat = 1);
	struct watcher *w = arg;
	struct frame own;

	frame_eth(&own);
	if (strchr(w->source, ':'))
		frame_ip6(&own, w->source, VIP6);
	else
		frame_ip4(&own, w->source, VIP);
	frame_tcp(&own, 40000, 80, TCP_ACK);
	frame_end(&own);
	while (!w->end) {
		opts.data_in = own.data;
		opts.data_size_in = own.len;
		if (bpf_prog_test_run_opts(bpf_program__fd(edge_skeleton()->progs.edge), &opts))
			w->wrong++;
		w->wrong += opts.retval != w->expected;
		w->runs++;
	}
	return NULL;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long available_kb(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128];
	long kb = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %ld kB", &kb) == 1)
			break;
	if (file)
		fclose(file);
	return kb;
}

/* So many single addresses in rising order, as the agent sends them, others for each seed; three quarters
 * IPv4. */
static void many(unsigned int total, uint32_t seed)
{
	static struct filterset_entry e[2048];
	const struct filterset_entry always[] = {
		filter_entry("203.0.113.9", 32, WEIR_VERDICT_BLOCK), filter_entry("2001:db8:bad::", 48, WEIR_VERDICT_BLOCK),
		filter_entry("192.0.2.0", 24, WEIR_VERDICT_ALLOW),
	};
	unsigned int done = 0;

	assert_int_equal(filterset_put(fs, always, 3), 0);
	while (done < total) {
		size_t n = 0;

		for (; n < 2048 && done < total; n++, done++) {
			uint32_t address = htonl(0x01000000 + done * 150 + seed);

			memset(&e[n], 0, sizeof(e[n]));
			e[n].verdict = WEIR_VERDICT_BLOCK;
			e[n].family = done % 4 ? WEIR_FAMILY_4 : WEIR_FAMILY_6;
			e[n].len = done % 4 ? 32 : 64;
			e[n].addr[0] = 0x2a;
			memcpy(e[n].addr + (done % 4 ? 0 : 1), &address, sizeof(address));
		}
		assert_int_equal(filterset_put(fs, e, n), 0);
	}
}

static void a_million_without_a_gap(void **state)
{
	struct watcher watchers[] = { { .source = "203.0.113.9", .expected = XDP_DROP },
				      { .source = "2001:db8:bad::1", .expected = XDP_DROP },
				      { .source = "192.0.2.1", .expected = XDP_TX } };
	unsigned int most = MILLION;
	pthread_t thread[3];
	double first = seconds();

	(void)state;
	assert_int_equal(filterset_begin(fs), 0);
	many(20000, 1);
	assert_int_equal(filterset_commit(fs), 0);
	if (seconds() - first > 0.4) /* an emulated machine */
		most /= 20;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, watch, &watchers[i]), 0);
	for (uint32_t round = 2; round < 4; round++) {
		long before = available_kb();
		double start = seconds(), built, end;

		assert_int_equal(filterset_begin(fs), 0);
		many(round == 2 ? most : most / 10, round);
		built = seconds();
		assert_int_equal(filterset_commit(fs), 0);
		end = seconds();
		print_message("# %u entries: built in %.2f s, in force in %.1f ms, %ld MiB\n",
			      round == 2 ? most : most / 10, built - start, (end - built) * 1e3, (before - available_kb()) / 1024);
	}
	watchers[0].end = watchers[1].end = watchers[2].end = true;
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		print_message("# %lu packets from %s\n", watchers[i].runs, watchers[i].source);
		assert_true(watchers[i].runs > 100);
		assert_int_equal(watchers[i].wrong, 0);
	}
}

#define T(name) cmocka_unit_test_setup(name, filter_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(blocks),
		T(blocks_six),
		T(blocks_four),
		T(longest_decides),
		T(blocks_many_extensions),
		T(blocks_all_kinds),
		T(encapsulated_by_outer_source),
		T(changes_in_place),
		T(refuses_nonsense),
		T(a_million_without_a_gap),
	};

	return cmocka_run_group_tests_name("filter", tests, filter_load, filter_unload);
}
