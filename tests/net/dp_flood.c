/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dp_flood.c -- a SYN flood by live frames (BPF_F_TEST_XDP_LIVE_FRAMES) into a veth.
 *
 *	dp_flood send IF MAC ADDRESS PORT RATE SECONDS NETWORKS	SYNs a second from NETWORKS /24s of 10/8
 *				into IF (its peer's end has an XDP program), to MAC; RATE 0: as many as can be;
 *				prints "sent N pps P"
 *	dp_flood drop IF	puts a program on IF that drops all, until killed; prints "ready"
 *
 * The receiver's work is done on the CPU that sends: pin it.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "skel/dp_flood.skel.h"

#define STEP_NS 100000000 /* the rate is kept in steps: a call takes 20 ms to end, whatever it sends */
#define THREADS 8         /* which take turns */

struct headers {
	struct ether_header eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static uint32_t sum16(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static bool make(struct headers *h, const char *mac, const char *address, const char *port)
{
	const struct ether_addr *to = ether_aton(mac);

	memset(h, 0, sizeof(*h));
	if (!to)
		return false;
	memcpy(h->eth.ether_dhost, to, 6);
	h->eth.ether_shost[0] = 2;
	h->eth.ether_shost[5] = 0x99;
	h->eth.ether_type = htons(ETHERTYPE_IP);
	h->ip.version = 4;
	h->ip.ihl = 5;
	h->ip.ttl = 60;
	h->ip.protocol = IPPROTO_TCP;
	h->ip.tot_len = htons(sizeof(h->ip) + sizeof(h->tcp));
	h->tcp.dest = htons((uint16_t)atoi(port));
	h->tcp.doff = 5;
	h->tcp.syn = 1;
	h->tcp.window = htons(64240);
	return inet_pton(AF_INET, address, &h->ip.daddr) == 1;
}

static int run(int program, const struct headers *h, uint32_t times)
{
	uint8_t data[64] = { 0 };
	struct xdp_md ctx = { .data_end = sizeof(data) };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data, .data_size_in = sizeof(data), .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = (int)times, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = 64);

	memcpy(data, h, sizeof(*h));
	return bpf_prog_test_run_opts(program, &opts) ? -errno : 0;
}

struct sender {
	pthread_t thread;
	int program;
	const struct headers *h;
	uint64_t step;                  /* frames; 0: as many as can be */
	int64_t begin, end;
	uint64_t sent;
	int rc;
};

static void *send_steps(void *arg)
{
	struct sender *s = arg;

	for (int64_t due = s->begin; !s->rc && now_ns() < s->end; due += STEP_NS) {
		int64_t rest = due - now_ns();
		uint32_t n = s->step ? (uint32_t)s->step : 16384;

		if (s->step && rest > 0)
			nanosleep(&(struct timespec){ .tv_nsec = rest }, NULL);
		s->rc = run(s->program, s->h, n);
		s->sent += n;
	}
	return NULL;
}

static int send_all(int program, const struct headers *h, uint64_t rate, int seconds)
{
	int64_t begun = now_ns(), end = begun + seconds * 1000000000LL;
	struct sender sender[THREADS];
	uint64_t sent = 0;
	int rc = 0;

	for (int i = 0; i < THREADS; i++) {
		sender[i] = (struct sender){ .program = program, .h = h, .begin = begun + i * STEP_NS / THREADS, .end = end,
					     .step = rate * STEP_NS / 1000000000 / THREADS };
		if (pthread_create(&sender[i].thread, NULL, send_steps, &sender[i]))
			return 1;
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(sender[i].thread, NULL);
		sent += sender[i].sent;
		rc = sender[i].rc ? sender[i].rc : rc;
	}
	if (rc)
		fprintf(stderr, "dp_flood: %s\n", strerror(-rc));
	else
		printf("sent %llu pps %.0f\n", (unsigned long long)sent, (double)sent * 1e9 / (double)(now_ns() - begun));
	return rc != 0;
}

static int do_send(char **arg)
{
	struct dp_flood *skel = dp_flood__open();
	struct headers h;
	uint16_t pseudo[2] = { htons(IPPROTO_TCP), htons(sizeof(h.tcp)) };

	if (!skel || !make(&h, arg[1], arg[2], arg[3]))
		return 2;
	skel->rodata->ifindex = if_nametoindex(arg[0]);
	skel->rodata->networks = (uint32_t)atoi(arg[6]);
	skel->rodata->ip_sum = sum16(0, &h.ip, sizeof(h.ip));
	skel->rodata->tcp_sum = sum16(sum16(sum16(0, &h.tcp, sizeof(h.tcp)), &h.ip.daddr, 4), pseudo, 4);
	if (!skel->rodata->ifindex || dp_flood__load(skel)) {
		fprintf(stderr, "dp_flood: %s: %s\n", arg[0], strerror(errno));
		return 1;
	}
	memcpy(skel->bss->frame, &h, sizeof(h));
	return send_all(bpf_program__fd(skel->progs.flood), &h, strtoull(arg[4], NULL, 10), atoi(arg[5]));
}

static int do_drop(const char *name)
{
	struct dp_flood *skel = dp_flood__open_and_load();
	uint32_t ifindex = if_nametoindex(name);

	if (!skel || !ifindex ||
	    bpf_xdp_attach((int)ifindex, bpf_program__fd(skel->progs.drop), XDP_FLAGS_DRV_MODE, NULL)) {
		fprintf(stderr, "dp_flood: %s: %s\n", name, strerror(errno));
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	if (argc == 9 && !strcmp(argv[1], "send"))
		return do_send(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "drop"))
		return do_drop(argv[2]);
	return 2;
}
