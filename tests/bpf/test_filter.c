/* SPDX-License-Identifier: Apache-2.0 */
/* The filter: lists of both families, whose word counts, fragments and what is encapsulated; buckets of
 * networks, how they fill again, and what a flood of strangers gets. */
#include <linux/bpf.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "skel/edge.skel.h"
#include "tests/bpf/edge.h"
#include "user/agent/filterset.h"

#define VIP	"198.18.1.100"
#define VIP6	"2001:db8:1::100"
#define BACKEND "198.18.1.11"
#define TOKEN	100000000000ull /* a token costs 100 s: no test takes so long */

static struct frame f;
static struct outcome o;
static struct filterset *fs;

static void on(uint32_t bits)
{
	struct weir_settings s = { .on = bits };

	put_settings(&s);
}

static struct filterset_entry entry(const char *address, uint8_t len, enum weir_verdict verdict)
{
	struct filterset_entry e = { .family = strchr(address, ':') ? WEIR_FAMILY_6 : WEIR_FAMILY_4,
				     .len = len, .verdict = (uint8_t)verdict };

	address_bytes(e.addr, address);
	return e;
}

static void list(const struct filterset_entry *e, size_t n)
{
	assert_int_equal(filterset_begin(fs), 0);
	assert_int_equal(filterset_put(fs, e, n), 0);
	assert_int_equal(filterset_commit(fs), 0);
}

static int group_setup(void **state)
{
	struct filterset_fds fds;
	struct edge *s;

	edge_load(state);
	s = edge_skeleton();
	fds = (struct filterset_fds){
		.settings = bpf_map__fd(s->maps.settings),
		.filter4 = bpf_map__fd(s->maps.filter4),
		.filter6 = bpf_map__fd(s->maps.filter6),
		.hints = bpf_map__fd(s->maps.filter_hints),
		.limits = bpf_map__fd(s->maps.filter_limits),
		.buckets = bpf_map__fd(s->maps.filter_buckets),
		.shared = bpf_map__fd(s->maps.filter_shared),
	};
	return filterset_open(&fs, &fds);
}

static int group_teardown(void **state)
{
	filterset_close(fs);
	return edge_unload(state);
}

static int setup(void **state)
{
	const struct weir_shared shared = { 0 };
	uint32_t zero = 0;

	edge_reset(state);
	list(NULL, 0);
	bpf_map_update_elem(bpf_map__fd(edge_skeleton()->maps.filter_shared), &zero, &shared, BPF_ANY);
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service(VIP, 53, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service(VIP6, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, BACKEND, "198.18.1.1", 0);
	slot(0)->current = 1;
	return 0;
}

static void ip(const char *source, const char *dest)
{
	frame_eth(&f);
	if (strchr(source, ':'))
		frame_ip6(&f, source, dest);
	else
		frame_ip4(&f, source, dest);
}

/* Runs a packet from there to the service and tells its reason. */
static int tcp(const char *source, uint8_t flags)
{
	ip(source, strchr(source, ':') ? VIP6 : VIP);
	frame_tcp(&f, 40000, 80, flags);
	frame_end(&f);
	edge_run(&f, &o);
	return o.reason;
}

static int udp(const char *source, uint16_t port)
{
	ip(source, VIP);
	frame_udp(&f, 40000, port);
	frame_bytes(&f, NULL, 20);
	frame_end(&f);
	edge_run(&f, &o);
	return o.reason;
}

/* ---- lists --------------------------------------------------------------------------------------- */

static void blocks(void **state)
{
	const struct filterset_entry e[] = {
		entry("203.0.113.0", 24, WEIR_VERDICT_BLOCK),
		entry("198.51.100.7", 32, WEIR_VERDICT_BLOCK),
		entry("10.0.0.0", 8, WEIR_VERDICT_BLOCK),
	};

	(void)state;
	list(e, 3);
	assert_int_equal(tcp("203.0.113.9", TCP_ACK), WEIR_REASON_BLOCKED);
	assert_int_equal(o.action, XDP_DROP);
	assert_int_equal(tcp("203.0.114.9", TCP_ACK), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("198.51.100.7", TCP_SYN), WEIR_REASON_BLOCKED);
	assert_int_equal(tcp("198.51.100.8", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("10.255.255.255", TCP_ACK), WEIR_REASON_BLOCKED);
	assert_int_equal(tcp("11.0.0.0", TCP_ACK), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("9.255.255.255", TCP_ACK), WEIR_REASON_FORWARDED);
	on(0);
	assert_int_equal(tcp("203.0.113.9", TCP_ACK), WEIR_REASON_FORWARDED);
}

/* Every length of IPv6: what is inside is blocked, what lies one bit beside it is not. */
static void blocks_six(void **state)
{
	static const uint8_t lens[] = { 0, 3, 19, 20, 29, 31, 32, 33, 40, 47, 48, 49, 56, 64, 65, 127, 128 };

	(void)state;
	for (size_t i = 0; i < sizeof(lens); i++) {
		struct filterset_entry e = entry("2001:db8:5:6:7:8:9:a", lens[i], WEIR_VERDICT_BLOCK);
		char text[INET6_ADDRSTRLEN];
		uint8_t beside[16];

		memcpy(beside, e.addr, 16);
		if (lens[i])
			beside[(lens[i] - 1) / 8] ^= (uint8_t)(0x80 >> (lens[i] - 1) % 8);
		for (unsigned int bit = lens[i]; bit < 128; bit++)
			e.addr[bit / 8] &= (uint8_t)~(0x80 >> bit % 8);
		list(&e, 1);
		assert_int_equal(tcp("2001:db8:5:6:7:8:9:a", TCP_ACK), WEIR_REASON_BLOCKED);
		inet_ntop(AF_INET6, beside, text, sizeof(text));
		if (lens[i])
			assert_int_equal(tcp(text, TCP_ACK), WEIR_REASON_FORWARDED);
	}
}

static void blocks_four(void **state)
{
	(void)state;
	for (unsigned int len = 0; len <= 32; len++) {
		struct filterset_entry e = entry("172.20.77.129", (uint8_t)len, WEIR_VERDICT_BLOCK);
		uint32_t address = (172u << 24 | 20 << 16 | 77 << 8 | 129), beside;
		struct in_addr in;

		beside = address ^ (len ? 1u << (32 - len) : 0);
		in.s_addr = htonl(len ? address & ~0u << (32 - len) : 0);
		memcpy(e.addr, &in, 4);
		list(&e, 1);
		assert_int_equal(tcp("172.20.77.129", TCP_ACK), WEIR_REASON_BLOCKED);
		in.s_addr = htonl(beside);
		if (len)
			assert_int_equal(tcp(inet_ntoa(in), TCP_ACK), WEIR_REASON_FORWARDED);
	}
}

static void longest_decides(void **state)
{
	const struct filterset_entry e[] = {
		entry("0.0.0.0", 0, WEIR_VERDICT_BLOCK),
		entry("192.0.2.0", 24, WEIR_VERDICT_ALLOW),
		entry("::", 0, WEIR_VERDICT_BLOCK),
		entry("2001:db8::", 32, WEIR_VERDICT_ALLOW),
	};

	(void)state;
	list(e, 4);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("192.0.3.1", TCP_SYN), WEIR_REASON_BLOCKED);
	assert_int_equal(tcp("2001:db8:9::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("2001:db9::1", TCP_SYN), WEIR_REASON_BLOCKED);
}

/* With more extension headers than are walked, to an address of no service: such end while they are parsed. */
static void blocks_many_extensions(void **state)
{
	const struct filterset_entry e = entry("2001:db8:bad::", 48, WEIR_VERDICT_BLOCK);
	static const char *const source[] = { "2001:db8:bad::1", "2001:db8:900d::1" };
	static const uint8_t options[8] = { 60, 0, 1, 4, 0, 0, 0, 0 }; /* RFC 8200 section 4.6 */

	(void)state;
	list(&e, 1);
	for (int i = 0; i < 2; i++) {
		ip(source[i], "2001:db8:2::2");
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
	const struct filterset_entry e = entry("203.0.113.0", 24, WEIR_VERDICT_BLOCK);
	struct iphdr *header;

	(void)state;
	list(&e, 1);
	ip("203.0.113.9", "198.18.77.77");
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
	ip("203.0.113.9", VIP);
	frame_icmp(&f, 8, 0);
	frame_end(&f);
	edge_run(&f, &o);
	assert_int_equal(o.reason, WEIR_REASON_BLOCKED);
}

static void encapsulated(const char *outer)
{
	frame_eth(&f);
	frame_ip4(&f, outer, BACKEND);
	frame_ip4(&f, "203.0.113.9", VIP);
	frame_tcp(&f, 40000, 80, TCP_SYN);
	frame_end(&f);
	edge_run(&f, &o);
}

/* A balancer's packets are judged by the balancer's address: it has filtered the client itself. */
static void encapsulated_by_outer_source(void **state)
{
	const struct filterset_entry inner = entry("203.0.113.0", 24, WEIR_VERDICT_BLOCK);
	const struct filterset_entry outer = entry("198.18.1.0", 24, WEIR_VERDICT_BLOCK);
	struct weir_limits limits = { .of = { { TOKEN, 0 }, { TOKEN, 0 }, { TOKEN, 0 } },
				      .bits4 = 24, .bits6 = 56 };

	(void)state;
	put_decap("198.18.1.0", 24, BACKEND, true);
	list(&inner, 1);
	assert_int_equal(filterset_limits(fs, &limits), 0);
	for (int i = 0; i < 5; i++) {
		encapsulated("198.18.1.1");
		assert_int_equal(o.reason, WEIR_REASON_DECAPSULATED);
	}
	list(&outer, 1);
	encapsulated("198.18.1.1");
	assert_int_equal(o.reason, WEIR_REASON_BLOCKED);
}

static void changes_in_place(void **state)
{
	struct filterset_entry e = entry("203.0.113.0", 24, WEIR_VERDICT_BLOCK);
	struct filterset_entry allow = entry("203.0.113.9", 32, WEIR_VERDICT_ALLOW);
	struct filterset_state seen;

	(void)state;
	assert_int_equal(filterset_change(fs, &e, 1), 0);
	assert_int_equal(tcp("203.0.113.9", TCP_SYN), WEIR_REASON_BLOCKED);
	assert_int_equal(filterset_change(fs, &allow, 1), 0);
	assert_int_equal(tcp("203.0.113.9", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(filterset_lookup(fs, &allow), WEIR_VERDICT_ALLOW);
	assert_int_equal(filterset_state(fs, &seen), 0);
	assert_int_equal(seen.entries4, 2);
	e.verdict = allow.verdict = WEIR_VERDICT_NONE;
	assert_int_equal(filterset_change(fs, &allow, 1), 0);
	assert_int_equal(tcp("203.0.113.9", TCP_SYN), WEIR_REASON_BLOCKED);
	assert_int_equal(filterset_change(fs, &e, 1), 0);
	assert_int_equal(tcp("203.0.113.9", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(filterset_state(fs, &seen), 0);
	assert_int_equal(seen.list_on, 0);
}

static void refuses_nonsense(void **state)
{
	struct filterset_entry e = entry("10.0.0.0", 33, WEIR_VERDICT_BLOCK);

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
	e = entry("255.255.255.255", 0, WEIR_VERDICT_BLOCK);
	assert_int_equal(filterset_put(fs, &e, 1), -EBADMSG);
	assert_int_equal(filterset_change(fs, &e, 1), -EBADMSG);
	e = entry("2001:db8::1", 127, WEIR_VERDICT_BLOCK);
	assert_int_equal(filterset_put(fs, &e, 1), -EBADMSG);
	e = entry("203.0.113.129", 31, WEIR_VERDICT_BLOCK);
	assert_int_equal(filterset_put(fs, &e, 1), -EBADMSG);
	e = entry("255.255.255.254", 31, WEIR_VERDICT_BLOCK);
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
		entry("203.0.113.9", 32, WEIR_VERDICT_BLOCK), entry("2001:db8:bad::", 48, WEIR_VERDICT_BLOCK),
		entry("192.0.2.0", 24, WEIR_VERDICT_ALLOW),
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

/* ---- limits --------------------------------------------------------------------------------------- */

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
		assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("192.0.2.77", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	assert_int_equal(o.action, XDP_DROP);
	/* What is open, and what answers, goes on. */
	assert_int_equal(tcp("192.0.2.1", TCP_ACK), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN | TCP_ACK), WEIR_REASON_FORWARDED);
	assert_int_equal(udp("192.0.2.1", 80), WEIR_REASON_FORWARDED);
	/* Another network has its own. */
	assert_int_equal(tcp("192.0.3.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(bucket("192.0.2.0", &key).dropped[WEIR_CLASS_SYN], 1);
	assert_int_equal(bucket("192.0.3.0", &key).dropped[WEIR_CLASS_SYN], 0);
	on(0);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
}

static void refills(void **state)
{
	(void)state;
	limit(3, 0, 0);
	for (int i = 0; i < 3; i++)
		tcp("192.0.2.1", TCP_SYN);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	pass_time("192.0.2.0", TOKEN - 1000000000ull); /* a second too few */
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	pass_time("192.0.2.0", TOKEN + 1000000000ull);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	pass_time("192.0.2.0", 1000 * TOKEN); /* full, and never fuller */
	for (int i = 0; i < 3; i++)
		assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
}

static void refills_by_the_clock(void **state)
{
	/* 20 a second, one at once. */
	struct weir_limits limits = { .of = { { 50000000, 0 } }, .bits4 = 24, .bits6 = 56 };
	struct timespec start, now;
	int passed = 0;
	double s;

	(void)state;
	assert_int_equal(filterset_limits(fs, &limits), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		passed += tcp("192.0.2.1", TCP_SYN) == WEIR_REASON_FORWARDED;
		clock_gettime(CLOCK_MONOTONIC, &now);
		s = (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9;
	} while (s < 0.5);
	/* The clock goes in steps of up to 10 ms; the first packet has the whole bucket. */
	assert_true(passed >= (int)(s / 0.06));
	assert_true(passed <= (int)(s / 0.05) + 1);
}

static void limits_udp_and_dns(void **state)
{
	(void)state;
	limit(0, 2, 1);
	assert_int_equal(udp("192.0.2.1", 80), WEIR_REASON_FORWARDED);
	assert_int_equal(udp("192.0.2.1", 53), WEIR_REASON_FORWARDED);
	assert_int_equal(udp("192.0.2.1", 53), WEIR_REASON_LIMITED_DNS);
	assert_int_equal(udp("192.0.2.1", 80), WEIR_REASON_FORWARDED);
	assert_int_equal(udp("192.0.2.1", 80), WEIR_REASON_LIMITED_UDP);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	/* Without a limit of its own DNS is UDP like other. */
	limit(0, 2, 0);
	assert_int_equal(udp("192.0.4.1", 53), WEIR_REASON_FORWARDED);
	assert_int_equal(udp("192.0.4.1", 80), WEIR_REASON_FORWARDED);
	assert_int_equal(udp("192.0.4.1", 53), WEIR_REASON_LIMITED_UDP);
	/* What is not for a service is the host's own affair. */
	ip("192.0.4.1", "198.18.77.77");
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
	const struct filterset_entry e = entry("192.0.2.1", 32, WEIR_VERDICT_ALLOW);

	(void)state;
	list(&e, 1);
	limit(1, 0, 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	/* Nor does it use up what its neighbours have. */
	assert_int_equal(tcp("192.0.2.2", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("192.0.2.2", TCP_SYN), WEIR_REASON_LIMITED_SYN);
}

static void limits_six(void **state)
{
	struct weir_limits limits = { .of = { { TOKEN, 0 } }, .bits4 = 32, .bits6 = 64 };
	struct weir_bucket_key key;

	(void)state;
	limit(1, 0, 0);
	assert_int_equal(tcp("2001:db8:1:1ff::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("2001:db8:1:100:7::1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	assert_int_equal(tcp("2001:db8:1:200::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(bucket("2001:db8:1:100::", &key).dropped[WEIR_CLASS_SYN], 1);
	/* Other prefix lengths: a /64 and a single address. */
	filterset_limits(fs, &limits);
	assert_int_equal(tcp("2001:db8:7:1ff::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("2001:db8:7:1fe::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("2001:db8:7:1fe:1::", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	assert_int_equal(tcp("192.0.7.1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("192.0.7.2", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("192.0.7.2", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	limits.bits4 = limits.bits6 = 0; /* all the world in one */
	filterset_limits(fs, &limits);
	assert_int_equal(tcp("8.8.8.8", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("9.9.9.9", TCP_SYN), WEIR_REASON_LIMITED_SYN);
	assert_int_equal(tcp("2001:db8:9::1", TCP_SYN), WEIR_REASON_FORWARDED);
	assert_int_equal(tcp("2a00::1", TCP_SYN), WEIR_REASON_LIMITED_SYN);
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
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
	for (int i = 0; i < 2000; i++) {
		char source[32];

		snprintf(source, sizeof(source), "10.%d.%d.1", i / 256, i % 256);
		passed += tcp(source, TCP_SYN) == WEIR_REASON_FORWARDED;
		dropped += o.reason == WEIR_REASON_LIMITED_SYN;
	}
	assert_int_equal(passed, 99 + 5);
	assert_int_equal(dropped, 2000 - 104);
	assert_int_equal(tcp("192.0.2.1", TCP_SYN), WEIR_REASON_FORWARDED);
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
			tcp(source, TCP_SYN);
		}
	}
	assert_int_equal(filterset_top(fs, top, 3), 3);
	assert_int_equal(top[0].addr[2], 3); /* 9 dropped */
	assert_int_equal(top[0].len, 24);
	assert_int_equal(top[0].dropped[WEIR_CLASS_SYN], 9);
	assert_int_equal(top[1].addr[2], 6); /* 8 */
	assert_int_equal(top[2].addr[2], 9); /* 7 */
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(blocks), T(blocks_six), T(blocks_four), T(longest_decides), T(blocks_all_kinds),
		T(blocks_many_extensions),
		T(encapsulated_by_outer_source), T(changes_in_place), T(refuses_nonsense), T(a_million_without_a_gap),
		T(limits_syn), T(refills), T(refills_by_the_clock), T(limits_udp_and_dns),
		T(later_fragments_pay), T(allowed_is_not_limited), T(limits_six),
		T(many_networks_open_no_gate), T(tells_the_worst),
	};

	return cmocka_run_group_tests_name("filter", tests, group_setup, group_teardown);
}
