/* SPDX-License-Identifier: Apache-2.0 */
/* edge.c -- see edge.h. */
#include "tests/bpf/edge.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "skel/edge.skel.h"
#include "tests/bpf/record.h"
#include "user/agent/maps.h"

static struct edge *skel;
static struct weir_slot *slots;
static uint64_t counted[WEIR_REASONS_MAX];

static _Noreturn void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, ap) : 0;
}

int edge_load(void **state)
{
	(void)state;
	libbpf_set_print(quiet);
	skel = edge__open_and_load();
	if (!skel)
		die("the program cannot be loaded");
	slots = mmap(NULL, WEIR_SLOTS_MAX * sizeof(*slots), PROT_READ | PROT_WRITE, MAP_SHARED,
		     bpf_map__fd(skel->maps.slots), 0);
	if (slots == MAP_FAILED)
		die("slots cannot be mapped");
	return 0;
}

int edge_unload(void **state)
{
	(void)state;
	munmap(slots, WEIR_SLOTS_MAX * sizeof(*slots));
	edge__destroy(skel);
	record_close();
	return 0;
}

struct edge *edge_skeleton(void)
{
	return skel;
}

static void clear(const struct bpf_map *map)
{
	int fd = bpf_map__fd(map);
	char key[64];

	while (!bpf_map_get_next_key(fd, NULL, key))
		if (bpf_map_delete_elem(fd, key) && errno != ENOENT)
			die("a map cannot be emptied");
}

static void put(const struct bpf_map *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY))
		die("a map cannot be written");
}

int edge_reset(void **state)
{
	const struct weir_settings none = { 0 };
	const struct weir_backend gone = { 0 };

	(void)state;
	put_settings(&none);
	clear(skel->maps.services);
	clear(skel->maps.service_prefixes);
	clear(skel->maps.notes);
	clear(skel->maps.half_open);
	clear(skel->maps.reported);
	clear(skel->maps.told);
	clear(skel->maps.kept);
	clear(skel->maps.kept_half);
	clear(skel->maps.fragments);
	clear(skel->maps.devices);
	clear(skel->maps.decap_sources);
	clear(skel->maps.decap_ifaces);
	clear(skel->maps.decap_targets);
	clear(skel->maps.tunnel_prefixes);
	clear(skel->maps.filter_buckets);
	for (uint32_t i = 0; i < 32; i++)
		put(skel->maps.backends, &i, &gone);
	memset(slots, 0, 4096 * sizeof(*slots));
	return 0;
}

static uint64_t packets(const struct bpf_map *map, uint32_t index)
{
	struct weir_count c;

	if (mapset_count(bpf_map__fd(map), index, &c))
		die("a counter cannot be read");
	return c.packets;
}

struct weir_count service_count(uint32_t number)
{
	struct weir_count c;

	if (mapset_count(bpf_map__fd(skel->maps.service_counts), number, &c))
		die("a counter cannot be read");
	return c;
}

uint64_t service_packets(uint32_t number)
{
	return packets(skel->maps.service_counts, number);
}

uint64_t backend_packets(uint32_t index)
{
	return packets(skel->maps.backend_counts, index);
}

/* All reasons at once: a look-up of each would take longer than the packet. */
static void reasons_read(uint64_t now[WEIR_REASONS_MAX])
{
	static struct weir_count *counts;
	static int cpus;
	uint32_t keys[WEIR_REASONS_MAX], next, n = WEIR_REASON_COUNT;

	if (!counts) {
		cpus = libbpf_num_possible_cpus();
		counts = calloc((size_t)cpus * WEIR_REASONS_MAX, sizeof(*counts));
	}
	if (!counts || (bpf_map_lookup_batch(bpf_map__fd(skel->maps.reasons), NULL, &next, keys, counts,
					     &n, NULL) && errno != ENOENT))
		die("the reasons cannot be read");
	for (uint32_t i = 0; i < n; i++) {
		now[keys[i]] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			now[keys[i]] += counts[i * (uint32_t)cpus + (uint32_t)cpu].packets;
	}
}

static int reason_since(void)
{
	uint64_t now[WEIR_REASONS_MAX] = { 0 };
	int found = -1;

	reasons_read(now);
	for (int i = 0; i < WEIR_REASON_COUNT; i++)
		if (now[i] != counted[i])
			found = found == -1 && now[i] == counted[i] + 1 ? i : -2;
	memcpy(counted, now, sizeof(counted));
	return found;
}

static int run_by;

void edge_run_by(int prog)
{
	run_by = prog;
}

static uint32_t comes_in;

void edge_run_in(uint32_t ifindex)
{
	comes_in = ifindex;
}

void edge_run_next(const struct frame *f, struct outcome *o)
{
	struct xdp_md ctx = { .data_end = f->len, .ingress_ifindex = comes_in };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->len,
		    .data_out = o->data, .data_size_out = sizeof(o->data), .repeat = 1);

	if (comes_in) {
		opts.ctx_in = &ctx;
		opts.ctx_size_in = sizeof(ctx);
	}
	if (bpf_prog_test_run_opts(run_by ? run_by : bpf_program__fd(skel->progs.edge), &opts))
		die("the program cannot be run");
	o->action = opts.retval;
	o->len = opts.data_size_out;
	o->reason = reason_since();
	record_run(f, o);
}

void edge_run(const struct frame *f, struct outcome *o)
{
	reasons_read(counted);
	edge_run_next(f, o);
}

void put_settings(const struct weir_settings *s)
{
	uint32_t zero = 0;

	put(skel->maps.settings, &zero, s);
}

void put_service(const char *address, uint16_t port, uint8_t proto, uint32_t number, uint32_t first,
		 uint32_t n, uint8_t encap, uint8_t flags)
{
	struct weir_service value = { .number = number, .first = first, .slots = n, .encap = encap,
				      .flags = flags };
	bool is6 = strchr(address, ':');
	struct weir_service_key key = { .port = htons(port), .proto = proto,
					.family = is6 ? WEIR_FAMILY_6 : WEIR_FAMILY_4 };

	address_bytes((uint8_t *)key.addr, address);
	put(skel->maps.services, &key, &value);
	key.port = 0;
	key.proto = is6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	put(skel->maps.services, &key, &value);
}

void put_service_prefix(const char *address, uint8_t bits, uint16_t port, uint8_t proto,
			const struct weir_service *service)
{
	bool is6 = strchr(address, ':');
	struct weir_prefix_key key = { .bits = WEIR_PREFIX_HEAD + bits, .proto = proto,
				       .family = is6 ? WEIR_FAMILY_6 : WEIR_FAMILY_4,
				       .port = htons(port) };

	address_bytes((uint8_t *)key.addr, address);
	put(skel->maps.service_prefixes, &key, service);
	key.port = 0;
	key.proto = is6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	put(skel->maps.service_prefixes, &key, service);
}

void put_backend(uint16_t index, const char *address, const char *source, uint8_t flags)
{
	struct weir_backend b = {
		.ifindex = INGRESS,
		.mac = { 6, 0, 0, 0, 0, (uint8_t)index },
		.source_mac = { 4, 0, 0, 0, 0, 1 },
		.family = strchr(address, ':') ? WEIR_FAMILY_6 : WEIR_FAMILY_4,
		.flags = flags,
		.service = 1,
	};
	uint32_t key = index;

	address_bytes((uint8_t *)b.addr, address);
	if (source)
		address_bytes((uint8_t *)b.source, source);
	put(skel->maps.backends, &key, &b);
}

void put_backend_service(uint16_t index, uint16_t number)
{
	struct weir_backend b;
	uint32_t key = index;

	if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.backends), &key, &b))
		die("a backend cannot be read");
	b.service = number;
	put(skel->maps.backends, &key, &b);
}

void put_backend_way(uint16_t index, uint32_t ifindex, uint16_t mtu)
{
	struct weir_backend b;
	uint32_t key = index;

	if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.backends), &key, &b))
		die("a backend cannot be read");
	b.ifindex = ifindex;
	b.mtu = mtu;
	put(skel->maps.backends, &key, &b);
}

void put_backend_vlan(uint16_t index, uint8_t flags, uint16_t vlan)
{
	struct weir_backend b;
	uint32_t key = index;

	if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.backends), &key, &b))
		die("a backend cannot be read");
	b.flags = flags;
	b.vlan = vlan;
	put(skel->maps.backends, &key, &b);
}

void put_device(uint32_t ifindex, const struct weir_device *device)
{
	put(skel->maps.devices, &ifindex, device);
}

struct weir_slot *slot(uint32_t index)
{
	return &slots[index];
}

static void mapped(__be32 out[4], const char *text)
{
	uint8_t bytes[16];

	address_bytes(bytes, text);
	if (strchr(text, ':')) {
		memcpy(out, bytes, 16);
		return;
	}
	out[0] = out[1] = 0;
	out[2] = htonl(0xffff);
	memcpy(&out[3], bytes, 4);
}

void put_decap(const char *source, unsigned int bits, const char *target, bool interface)
{
	struct weir_prefix from = { .bits = bits + (strchr(source, ':') ? 0 : 96) };
	uint32_t one = 1, ingress = INGRESS;
	struct weir_target to;

	mapped(from.addr, source);
	mapped(to.addr, target);
	put(skel->maps.decap_sources, &from, &one);
	put(skel->maps.decap_targets, &to, &one);
	if (interface)
		put(skel->maps.decap_ifaces, &ingress, &one);
}

static struct weir_prefix prefix_of(const char *address, unsigned int bits)
{
	struct weir_prefix p = { .bits = bits + (strchr(address, ':') ? 0 : 96) };

	mapped(p.addr, address);
	return p;
}

void put_edge(const char *source)
{
	struct weir_prefix from = prefix_of(source, strchr(source, ':') ? 128 : 32);
	uint32_t value = WEIR_DECAP_TUNNELS;

	put(skel->maps.decap_sources, &from, &value);
}

void put_prefix(const char *prefix, unsigned int bits)
{
	struct weir_prefix p = prefix_of(prefix, bits);
	uint32_t one = 1;

	put(skel->maps.tunnel_prefixes, &p, &one);
}
