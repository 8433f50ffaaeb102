/* SPDX-License-Identifier: Apache-2.0 */
/* record.c -- see record.h. */
#include "tests/bpf/record.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "skel/edge.skel.h"

#define PACKETS_LINKTYPE 1      /* Ethernet */
#define CASES_MAX	 256
#define ALIKE_MAX	 6      /* runs of one case under one reason that are kept */

static FILE *pcap, *lines;
static const char *name_of_case = "";
static unsigned int frames, alike[WEIR_REASONS_MAX];

/* ---- the name of the test that runs: each test's setup is preceded by ours ---- */

struct wrapped {
	const char *name;
	CMFixtureFunction setup;
	void *initial;
};

static int note_name(void **state)
{
	const struct wrapped *w = *state;

	name_of_case = w->name;
	memset(alike, 0, sizeof(alike));
	*state = w->initial;
	return w->setup ? w->setup(state) : 0;
}

int __real__cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n,
				   CMFixtureFunction setup, CMFixtureFunction teardown);
int __wrap__cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n,
				   CMFixtureFunction setup, CMFixtureFunction teardown);

int __wrap__cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n,
				   CMFixtureFunction setup, CMFixtureFunction teardown)
{
	static struct CMUnitTest copy[CASES_MAX];
	static struct wrapped wrapped[CASES_MAX];

	if (n > CASES_MAX)
		abort();
	for (size_t i = 0; i < n; i++) {
		copy[i] = tests[i];
		wrapped[i] = (struct wrapped){ tests[i].name, tests[i].setup_func, tests[i].initial_state };
		copy[i].setup_func = note_name;
		copy[i].initial_state = &wrapped[i];
	}
	return __real__cmocka_run_group_tests(group, copy, n, setup, teardown);
}

/* ---- frames ---- */

static bool record_open(void)
{
	const uint32_t head[] = { 0xa1b2c3d4, 4 << 16 | 2, 0, 0, 65535, PACKETS_LINKTYPE };
	const char *folder = getenv("EDGE_PCAP");
	char path[512];

	if (!folder || pcap)
		return pcap;
	snprintf(path, sizeof(path), "%s/%s.pcap", folder, program_invocation_short_name);
	pcap = fopen(path, "w");
	snprintf(path, sizeof(path), "%s/%s.jsonl", folder, program_invocation_short_name);
	lines = fopen(path, "w");
	if (!pcap || !lines) {
		printf("Bail out! %s: %s\n", path, strerror(errno));
		exit(1);
	}
	fwrite(head, sizeof(head), 1, pcap);
	return true;
}

static unsigned int write_frame(const uint8_t *data, uint32_t len)
{
	const uint32_t head[] = { frames, 0, len, len };

	fwrite(head, sizeof(head), 1, pcap);
	fwrite(data, len, 1, pcap);
	return ++frames;
}

/* ---- what was in the maps ---- */

static const char *text(const __be32 *addr, uint8_t family)
{
	static char out[4][INET6_ADDRSTRLEN];
	static int turn;

	turn = (turn + 1) % 4;
	inet_ntop(family == WEIR_FAMILY_4 ? AF_INET : AF_INET6, addr, out[turn], sizeof(out[0]));
	return out[turn];
}

static void write_services(int fd)
{
	struct weir_service_key key, next;
	const void *at = NULL;
	struct weir_service s;
	const char *comma = "";

	for (; !bpf_map_get_next_key(fd, at, &next); at = &key) {
		key = next;
		if (bpf_map_lookup_elem(fd, &key, &s))
			continue;
		fprintf(lines, "%s{\"address\":\"%s\",\"port\":%u,\"proto\":%u,\"encap\":%u,\"flags\":%u}", comma,
			text(key.addr, key.family), ntohs(key.port), key.proto, s.encap, s.flags);
		comma = ",";
	}
}

static void write_backends(int fd)
{
	const char *comma = "";

	for (uint32_t i = 1; i < 32; i++) {
		static const __be32 zero[4];
		struct weir_backend b;

		if (bpf_map_lookup_elem(fd, &i, &b) || !b.family)
			continue;
		fprintf(lines, "%s{\"index\":%u,\"address\":\"%s\",\"source\":\"%s\",\"flags\":%u,\"mtu\":%u,\"ifindex\":%u,\"vlan\":%u}", comma,
			i, text(b.addr, b.family), memcmp(b.source, zero, 16) ? text(b.source, b.family) : "", b.flags, b.mtu,
			b.ifindex, b.vlan);
		comma = ",";
	}
}

static void write_world(void)
{
	const struct edge *e = edge_skeleton();
	struct weir_settings s = { 0 };
	uint32_t zero = 0;

	bpf_map_lookup_elem(bpf_map__fd(e->maps.settings), &zero, &s);
	fprintf(lines, "\"settings\":{\"off\":%u,\"on\":%u,\"ttl\":%u,\"mtu\":%u,\"gue_port\":%u},\"services\":[", s.off, s.on,
		s.ttl ? s.ttl : 64, s.mtu ? s.mtu : 1500, s.gue_port ? s.gue_port : WEIR_GUE_PORT);
	write_services(bpf_map__fd(e->maps.services));
	fprintf(lines, "],\"backends\":[");
	write_backends(bpf_map__fd(e->maps.backends));
	fprintf(lines, "]}\n");
}

void record_run(const struct frame *in, const struct outcome *out)
{
	static const char *const actions[] = { "ABORTED", "DROP", "PASS", "TX", "REDIRECT" };
	static const char *const names[] = {
#define NAME(name, fate, meaning) #name,
		WEIR_REASONS(NAME)
	};

	if (!record_open() || (out->reason >= 0 && alike[out->reason]++ >= ALIKE_MAX))
		return;
	fprintf(lines, "{\"case\":\"%s\",\"in\":%u,", name_of_case, write_frame(in->data, in->len));
	fprintf(lines, "\"out\":%u,\"action\":\"%s\",\"reason\":\"%s\",",
		out->action > XDP_DROP ? write_frame(out->data, out->len) : 0, out->action < 5 ? actions[out->action] : "?",
		out->reason >= 0 ? names[out->reason] : "?");
	write_world();
}

void record_close(void)
{
	if (!pcap)
		return;
	fclose(pcap);
	fclose(lines);
	pcap = NULL;
}
