/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_egress.c -- the tc program under BPF_PROG_TEST_RUN: which announced MSS is lowered, wherever the option
 * lies, with the checksum right afterwards, and what is left as it is; what probes are wrapped in. That they arrive
 * is tested with real sockets (tests/net/dp_probe.sh).
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "bpf/abi/egress.h"
#include "bpf/abi/gue.h"
#include "bpf/abi/maps.h"
#include "skel/egress.skel.h"
#include "tests/bpf/frame.h"

#define IP4   14
#define TCP4  (14 + 20)
#define TCP6  (14 + 40)
#define VIP   "198.18.100.1"
#define VIP6  "2001:db8:100::1"
#define OWN   "198.18.0.11"
#define PEER  "198.18.0.9"
#define PEER6 "2001:db8::9"

static struct egress *skel;
static unsigned int device; /* one that is not the loopback interface */

static void put_address(const char *text)
{
	struct weir_target t = { 0 };
	uint32_t one = 1;
	uint8_t a[16];

	address_bytes(a, text);
	if (strchr(text, ':')) {
		memcpy(t.addr, a, sizeof(a));
	} else {
		t.addr[2] = htonl(0xffff);
		memcpy(&t.addr[3], a, 4);
	}
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.egress_addrs), &t, &one, BPF_ANY), 0);
}

static void put_limits(uint16_t mss4, uint16_t mss6, uint32_t mark)
{
	struct weir_egress set = { .mark = mark, .mss4 = mss4, .mss6 = mss6 };
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.egress), &zero, &set, BPF_ANY), 0);
}

static int load(void **state)
{
	(void)state;
	if (!if_nametoindex("tc0") &&
	    system("ip link add tc0 type veth peer name tc1 && ip link set tc0 up && ip link set tc1 up"))
		return -1;
	device = if_nametoindex("tc0");
	skel = egress__open_and_load();
	if (!skel || !device)
		return -1;
	put_address(VIP);
	put_address(VIP6);
	return 0;
}

static int unload(void **state)
{
	(void)state;
	egress__destroy(skel);
	return 0;
}

static uint64_t counted(enum weir_egress_count what)
{
	uint64_t per_cpu[1024], n = 0;
	uint32_t key = what;
	int cpus = libbpf_num_possible_cpus();

	assert_true(cpus > 0 && cpus <= 1024);
	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(skel->maps.egress_counts), &key, per_cpu), 0);
	for (int i = 0; i < cpus; i++)
		n += per_cpu[i];
	return n;
}

/* Runs the frame, which is replaced by what comes out; the program's verdict. */
static int run(struct frame *f, unsigned int ifindex, uint32_t mark)
{
	struct __sk_buff ctx = { .ifindex = ifindex, .mark = mark };
	uint8_t out[FRAME_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->len, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.weir_egress), &opts), 0);
	assert_int_equal(opts.data_size_out, f->len);
	memcpy(f->data, out, f->len);
	return (int)opts.retval;
}

/* A SYN or the like with these options (a multiple of four bytes). */
static void segment(struct frame *f, const char *source, uint8_t flags, const uint8_t *options, uint32_t len)
{
	bool six = strchr(source, ':');
	uint8_t *tcp;

	frame_eth(f);
	if (six)
		frame_ip6(f, source, PEER6);
	else
		frame_ip4(f, source, PEER);
	tcp = frame_tcp(f, 80, 40000, flags);
	tcp[12] = (uint8_t)((20 + len) / 4 << 4);
	frame_bytes(f, options, len);
	frame_end(f);
}

static void expect(const char *source, uint8_t flags, const uint8_t *options, uint32_t len, int at, uint16_t mss)
{
	uint64_t before = counted(WEIR_EGRESS_CLAMPED);
	bool six = strchr(source, ':');
	struct frame f = { 0 }, had;
	uint32_t offset = (six ? TCP6 : TCP4) + 20 + (uint32_t)at;

	segment(&f, source, flags, options, len);
	had = f;
	assert_int_equal(run(&f, device, 0), TC_ACT_UNSPEC);
	assert_true(transport_checksum_ok(f.data + IP4));
	assert_int_equal(counted(WEIR_EGRESS_CLAMPED) - before, mss != 0);
	if (mss) {
		assert_int_equal(f.data[offset] << 8 | f.data[offset + 1], mss);
		/* Nothing else but the sum changed. */
		memcpy(f.data + offset, had.data + offset, 2);
		memcpy(f.data + (six ? TCP6 : TCP4) + 16, had.data + (six ? TCP6 : TCP4) + 16, 2);
	}
	assert_memory_equal(f.data, had.data, f.len);
}

static const uint8_t first[] = { 2, 4, 0x05, 0xb4 };                    /* 1460 */
static const uint8_t usual[] = { 2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7 };

static void what_is_announced_is_lowered(void **state)
{
	static const uint8_t odd[] = { 1, 2, 4, 0x05, 0xb4, 1, 0, 0 };  /* at an odd offset */
	static const uint8_t late[] = { 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 4, 2, 3, 3, 7, 1, 1, 2, 4, 0x23, 0x00, 1, 1, 1 };
	static const uint8_t last[40] = { [0 ... 35] = 1, 2, 4, 0x05, 0xb4 };
	static const uint8_t last_odd[40] = { [0 ... 34] = 1, 2, 4, 0xff, 0xff, 0 };

	(void)state;
	put_limits(1356, 1336, 0);
	expect(VIP, TCP_SYN | TCP_ACK, first, sizeof(first), 2, 1356);
	expect(VIP, TCP_SYN, first, sizeof(first), 2, 1356);
	expect(VIP, TCP_SYN | TCP_ACK, usual, sizeof(usual), 2, 1356);
	expect(VIP, TCP_SYN | TCP_ACK, odd, sizeof(odd), 3, 1356);
	expect(VIP, TCP_SYN | TCP_ACK, late, sizeof(late), 19, 1356);
	expect(VIP, TCP_SYN | TCP_ACK, last, sizeof(last), 38, 1356);
	expect(VIP, TCP_SYN | TCP_ACK, last_odd, sizeof(last_odd), 37, 1356);
	expect(VIP6, TCP_SYN | TCP_ACK, usual, sizeof(usual), 2, 1336);
	expect(VIP6, TCP_SYN, odd, sizeof(odd), 3, 1336);
}

static void what_is_none_of_it_is_left(void **state)
{
	static const uint8_t none[] = { 4, 2, 1, 1 }, ends[] = { 0, 0, 0, 0, 2, 4, 0x05, 0xb4 };
	static const uint8_t zero[] = { 8, 0, 2, 4, 0x05, 0xb4, 1, 1 }, one[] = { 8, 1, 2, 4, 0x05, 0xb4, 1, 1 };
	static const uint8_t longer[] = { 2, 6, 0x05, 0xb4, 0, 0, 1, 1 }, cut[] = { 1, 1, 2, 4 };
	static const uint8_t beyond[] = { 8, 200, 2, 4 }, small[] = { 2, 4, 0x02, 0x18 };

	(void)state;
	put_limits(1356, 1336, 0);
	expect(OWN, TCP_SYN | TCP_ACK, first, sizeof(first), 2, 0);     /* not a service's */
	expect(VIP, TCP_ACK, first, sizeof(first), 2, 0);               /* no SYN */
	expect(VIP, TCP_SYN | TCP_ACK, small, sizeof(small), 2, 0);     /* never raised */
	expect(VIP, TCP_SYN | TCP_ACK, none, sizeof(none), 0, 0);
	expect(VIP, TCP_SYN | TCP_ACK, NULL, 0, 0, 0);
	expect(VIP, TCP_SYN | TCP_ACK, ends, sizeof(ends), 0, 0);
	expect(VIP, TCP_SYN | TCP_ACK, zero, sizeof(zero), 0, 0);
	expect(VIP, TCP_SYN | TCP_ACK, one, sizeof(one), 0, 0);
	expect(VIP, TCP_SYN | TCP_ACK, longer, sizeof(longer), 0, 0);
	expect(VIP, TCP_SYN | TCP_ACK, cut, sizeof(cut), 0, 0);
	expect(VIP, TCP_SYN | TCP_ACK, beyond, sizeof(beyond), 0, 0);
	put_limits(0, 1336, 0);                                         /* off for one family */
	expect(VIP, TCP_SYN | TCP_ACK, first, sizeof(first), 2, 0);
	expect(VIP6, TCP_SYN | TCP_ACK, first, sizeof(first), 2, 1336);
}

/* On the loopback interface: what is marked and for a service, but of no check that runs, ends there. */
static void strays_end_and_others_pass(void **state)
{
	struct weir_service_key key = { .port = htons(40000), .proto = IPPROTO_TCP, .family = WEIR_FAMILY_4 };
	struct weir_service service = { .slots = 1 };
	uint64_t before = counted(WEIR_EGRESS_STRAY);
	struct frame f = { 0 };
	uint8_t a[16];

	(void)state;
	put_limits(1356, 1336, 0x77);
	segment(&f, VIP, TCP_SYN, first, sizeof(first));
	assert_int_equal(run(&f, 1, 0x77), TC_ACT_UNSPEC);      /* no service */
	address_bytes(a, PEER);
	memcpy(key.addr, a, sizeof(a));
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.services), &key, &service, BPF_ANY), 0);
	assert_int_equal(run(&f, 1, 0), TC_ACT_UNSPEC);         /* not marked */
	assert_int_equal(run(&f, 1, 0x78), TC_ACT_UNSPEC);
	assert_int_equal(counted(WEIR_EGRESS_STRAY), before);
	assert_int_equal(run(&f, 1, 0x77), TC_ACT_SHOT);
	assert_int_equal(counted(WEIR_EGRESS_STRAY), before + 1);
	put_limits(1356, 1336, 0);                              /* no checks are led */
	assert_int_equal(run(&f, 1, 0), TC_ACT_UNSPEC);
}

/* By any port, and by a prefix. */
static void strays_of_all_kinds_of_services(void **state)
{
	struct weir_service_key key = { .proto = IPPROTO_TCP, .family = WEIR_FAMILY_4 };
	struct weir_prefix_key prefix = { .bits = WEIR_PREFIX_HEAD + 64, .proto = IPPROTO_TCP,
					  .family = WEIR_FAMILY_6, .port = htons(40000) };
	struct weir_settings set = { .on = WEIR_ON_PREFIXES };
	struct weir_service service = { .slots = 1 };
	struct frame f = { 0 };
	uint32_t zero = 0;
	uint8_t a[16];

	(void)state;
	put_limits(1356, 1336, 0x77);
	address_bytes(a, PEER);
	memcpy(key.addr, a, sizeof(a));
	key.port = htons(40000);
	bpf_map_delete_elem(bpf_map__fd(skel->maps.services), &key);
	key.port = 0;
	segment(&f, VIP, TCP_SYN, first, sizeof(first));
	assert_int_equal(run(&f, 1, 0x77), TC_ACT_UNSPEC);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.services), &key, &service, BPF_ANY), 0);
	assert_int_equal(run(&f, 1, 0x77), TC_ACT_SHOT);
	memset(&f, 0, sizeof(f));
	segment(&f, VIP6, TCP_SYN, first, sizeof(first));
	address_bytes((uint8_t *)prefix.addr, PEER6);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.service_prefixes), &prefix, &service, BPF_ANY), 0);
	assert_int_equal(run(&f, 1, 0x77), TC_ACT_UNSPEC);      /* off */
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.settings), &zero, &set, BPF_ANY), 0);
	assert_int_equal(run(&f, 1, 0x77), TC_ACT_SHOT);
	bpf_map_delete_elem(bpf_map__fd(skel->maps.service_prefixes), &prefix);
	prefix.port = 0;
	prefix.bits = WEIR_PREFIX_HEAD + 32;
	assert_int_equal(run(&f, 1, 0x77), TC_ACT_UNSPEC);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.service_prefixes), &prefix, &service, BPF_ANY), 0);
	assert_int_equal(run(&f, 1, 0x77), TC_ACT_SHOT);
}

/* ---- probes ---- */

#define BACK  "198.18.0.12"
#define BACK6 "2001:db8::12"
#define SELF  "198.18.0.1"
#define SELF6 "2001:db8::1"

static void put_probed(const char *backend, uint32_t on, uint8_t flags)
{
	struct weir_backend b = { .ifindex = device, .mac = { 6, 0, 0, 0, 0, 1 }, .source_mac = { 4, 0, 0, 0, 0, 1 },
				  .family = strchr(backend, ':') ? WEIR_FAMILY_6 : WEIR_FAMILY_4, .flags = flags, .vlan = 5 };
	struct weir_settings set = { .on = on };
	uint32_t zero = 0, one = 1;

	address_bytes((uint8_t *)b.addr, backend);
	address_bytes((uint8_t *)b.source, strchr(backend, ':') ? SELF6 : SELF);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.settings), &zero, &set, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.backends), &one, &b, BPF_ANY), 0);
}

/* The test run's socket has the next cookie of this processor, or, when others take some, one soon after. */
static void put_cookies(uint8_t encap)
{
	struct weir_probe probe = { .backend = 1, .encap = encap };
	uint64_t cookie;
	socklen_t len = sizeof(cookie);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len), 0);
	close(fd);
	for (int i = 0; i < 256; i++) {
		cookie++;
		assert_int_equal(bpf_map_update_elem(bpf_map__fd(skel->maps.probes), &cookie, &probe, BPF_ANY), 0);
	}
}

static uint8_t out[FRAME_MAX];

/* Runs the frame as a probe's; the length of what comes out. */
static uint32_t probed(const struct frame *f, uint8_t encap)
{
	struct __sk_buff ctx = { .ifindex = 1, .mark = 0x77 };
	uint64_t before = counted(WEIR_EGRESS_PROBED);
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	/* Cookies are taken in batches of 4,096: at the end of one the next is another. */
	for (int i = 0; i < 5 && opts.retval != TC_ACT_REDIRECT; i++) {
		put_cookies(encap);
		opts = (struct bpf_test_run_opts){ .sz = sizeof(opts), .data_in = f->data, .data_size_in = f->len,
						   .data_out = out, .data_size_out = sizeof(out), .ctx_in = &ctx,
						   .ctx_size_in = sizeof(ctx) };
		assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.weir_egress), &opts), 0);
	}
	assert_int_equal(opts.retval, TC_ACT_REDIRECT);
	assert_int_equal(counted(WEIR_EGRESS_PROBED) - before, 1);
	return opts.data_size_out;
}

static void request(struct frame *f, bool six, uint32_t payload)
{
	memset(f, 0, sizeof(*f));
	frame_eth(f);
	if (six)
		frame_ip6(f, SELF6, VIP6);
	else
		frame_ip4(f, SELF, VIP);
	frame_tcp(f, 40000, 80, TCP_ACK);
	frame_bytes(f, NULL, payload);
	frame_end(f);
}

/* Link and outer header, and the packet inside untouched; `added` bytes. */
static void expect_wrapped(const struct frame *f, bool outer6, uint32_t len, uint32_t added, uint8_t proto)
{
	static const uint8_t link[12] = { 6, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 1 };
	uint8_t from[16], to[16];
	uint32_t at = outer6 ? 14 + 8 : 14 + 12, size = outer6 ? 16 : 4;

	address_bytes(from, outer6 ? SELF6 : SELF);
	address_bytes(to, outer6 ? BACK6 : BACK);
	assert_int_equal(len, f->len + added);
	assert_memory_equal(out, link, sizeof(link));
	assert_int_equal(out[12] << 8 | out[13], outer6 ? 0x86dd : 0x0800);
	assert_int_equal(out[outer6 ? 20 : 23], proto);
	assert_memory_equal(out + at, from, size);
	assert_memory_equal(out + at + size, to, size);
	if (!outer6)
		assert_true(ip4_checksum_ok(out + 14));
	assert_memory_equal(out + 14 + added, f->data + 14, f->len - 14);
}

static void probes_are_wrapped_as_packets_are(void **state)
{
	struct frame f;

	(void)state;
	put_limits(0, 0, 0x77);
	for (int six = 0; six < 2; six++) {
		request(&f, six, 7);
		for (uint8_t flags = 0; flags <= WEIR_BACKEND_VLAN; flags = (uint8_t)(flags + WEIR_BACKEND_VLAN)) {
			/* The tag is beside the packet, for the device: tests/kernel61/vlan.sh sees it arrive. */
			put_probed(BACK, 0, flags);
			expect_wrapped(&f, false, probed(&f, WEIR_ENCAP_GUE), WEIR_ADDED_GUE4, IPPROTO_UDP);
			assert_memory_equal(out + 34 + 6, "\0\0", 2);
			expect_wrapped(&f, false, probed(&f, WEIR_ENCAP_IPIP), WEIR_ADDED_IPIP4, six ? IPPROTO_IPV6 : IPPROTO_IPIP);
			put_probed(BACK6, 0, flags);
			expect_wrapped(&f, true, probed(&f, WEIR_ENCAP_GUE), WEIR_ADDED_GUE6, IPPROTO_UDP);
			assert_memory_equal(out + 54 + 6, "\0\0", 2);
			expect_wrapped(&f, true, probed(&f, WEIR_ENCAP_IPIP), WEIR_ADDED_IPIP6, six ? IPPROTO_IPV6 : IPPROTO_IPIP);
		}
	}
}

/* agent.gue_checksum: over IPv6 alone, summed from headers; right for whatever the segment carries. */
static void probes_have_a_checksum(void **state)
{
	struct frame f;

	(void)state;
	put_limits(0, 0, 0x77);
	for (int six = 0; six < 2; six++)
		for (uint32_t payload = 0; payload < 300; payload += payload < 20 ? 1 : 37) {
			request(&f, six, payload);
			put_probed(BACK6, WEIR_ON_CHECKSUM, 0);
			expect_wrapped(&f, true, probed(&f, WEIR_ENCAP_GUE), WEIR_ADDED_GUE6, IPPROTO_UDP);
			assert_true(out[54 + 6] | out[54 + 7]);
			assert_true(transport_checksum_ok(out + 14));
		}
	put_probed(BACK, WEIR_ON_CHECKSUM, 0);
	expect_wrapped(&f, false, probed(&f, WEIR_ENCAP_GUE), WEIR_ADDED_GUE4, IPPROTO_UDP);
	assert_memory_equal(out + 34 + 6, "\0\0", 2);
}

int main(void)
{
	cpu_set_t one;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_announced_is_lowered),
		cmocka_unit_test(what_is_none_of_it_is_left),
		cmocka_unit_test(strays_end_and_others_pass),
		cmocka_unit_test(strays_of_all_kinds_of_services),
		cmocka_unit_test(probes_are_wrapped_as_packets_are),
		cmocka_unit_test(probes_have_a_checksum),
	};

	CPU_ZERO(&one); /* a socket's cookie tells the next one of the same processor */
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	return cmocka_run_group_tests_name("egress", tests, load, unload);
}
