/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.c -- the edge program with its filter, for tests (see filter.h).
 */
#include "tests/bpf/filter.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "skel/edge.skel.h"

struct filterset *fs;

void filter_on(uint32_t bits)
{
	struct weir_settings s = { .on = bits };

	put_settings(&s);
}

struct filterset_entry filter_entry(const char *address, uint8_t len, enum weir_verdict verdict)
{
	struct filterset_entry e = { .family = strchr(address, ':') ? WEIR_FAMILY_6 : WEIR_FAMILY_4,
				     .len = len, .verdict = (uint8_t)verdict };

	address_bytes(e.addr, address);
	return e;
}

void filter_list(const struct filterset_entry *e, size_t n)
{
	assert_int_equal(filterset_begin(fs), 0);
	assert_int_equal(filterset_put(fs, e, n), 0);
	assert_int_equal(filterset_commit(fs), 0);
}

int filter_load(void **state)
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

int filter_unload(void **state)
{
	filterset_close(fs);
	return edge_unload(state);
}

int filter_reset(void **state)
{
	const struct weir_shared shared = { 0 };
	uint32_t zero = 0;

	edge_reset(state);
	filter_list(NULL, 0);
	bpf_map_update_elem(bpf_map__fd(edge_skeleton()->maps.filter_shared), &zero, &shared, BPF_ANY);
	put_service(VIP, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service(VIP, 80, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service(VIP, 53, IPPROTO_UDP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_service(VIP6, 80, IPPROTO_TCP, 1, 0, 1, WEIR_ENCAP_IPIP, 0);
	put_backend(1, BACK, SELF, 0);
	slot(0)->current = 1;
	return 0;
}

void packet_from(const char *source, const char *dest)
{
	frame_eth(&f);
	if (strchr(source, ':'))
		frame_ip6(&f, source, dest);
	else
		frame_ip4(&f, source, dest);
}

/* Runs a packet from there to the service and tells its reason. */
int tcp_from(const char *source, uint8_t flags)
{
	packet_from(source, strchr(source, ':') ? VIP6 : VIP);
	frame_tcp(&f, 40000, 80, flags);
	frame_end(&f);
	edge_run(&f, &o);
	return o.reason;
}

int udp_from(const char *source, uint16_t port)
{
	packet_from(source, VIP);
	frame_udp(&f, 40000, port);
	frame_bytes(&f, NULL, 20);
	frame_end(&f);
	edge_run(&f, &o);
	return o.reason;
}
