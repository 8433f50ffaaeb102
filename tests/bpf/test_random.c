/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random and mutated packets under random settings, services, backends and slots (world.h): none is aborted, each is
 * counted under one reason, and what comes out is well formed and made of what came in (check.h).
 *
 * RANDOM_PACKETS (1,000,000), RANDOM_SEED (of the clock). A packet that fails is written in hexadecimal, with seed,
 * number and settings, to build/random-SEED-NUMBER.txt. The same seed gives the same packets and worlds. Every 30 s
 * standard error hears how far it is. How many packets of which kind there were, and what became of them, is told at the
 * end; of 500,000 or more every reason must have been met but NO_ROOM (the test run always has room) and
 * what balancers and backends tell each other.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bpf/check.h"
#include "tests/bpf/world.h"

#define WORLD	  8192		/* packets between two worlds */
#define SETTINGS  64		/* packets between two settings */
#define LONGEST	  3200		/* bytes: what the kernel's test run takes in one buffer */
#define FAULTS	  10		/* are told */
#define PROGRESS  30		/* seconds between two lines of it */
#define MANY	  500000	/* so many packets must meet every reason */

#define KINDS(X)                                                                                                        \
	X(TCP4) X(TCP6) X(UDP4) X(UDP6) X(ICMP4) X(ICMP6) X(IPIP) X(GUE) X(ERROR4) X(ERROR6) X(FRAGMENT4) X(FRAGMENT6)   \
	X(REPLY) X(RETURNED_OUTER) X(OPTIONS) X(EXTENSIONS) X(VLAN) X(MUTATED) X(CUT)

enum kind {
#define NUMBER(name) KIND_##name,
	KINDS(NUMBER)
#undef NUMBER
	KIND_COUNT
};

static struct frame f;
static struct outcome o;
static unsigned long faults, kinds[KIND_COUNT], met[WEIR_REASONS_MAX];

static void saw(enum kind kind, int six)
{
	kinds[kind + (enum kind)six]++;
}

/* ---- packets ---- */

static const char *pick(int family)
{
	uint32_t what = below(10);

	if (chance(5))
		return world_nat[family];
	if (what < 7)
		return world_vip[family][below(4)];
	return what < 8 ? world_self[family] : what < 9 ? world_way[family] : world_client[family];
}

static void add_ip(struct frame *p, int family, const char *from, const char *to)
{
	uint8_t *ip = family ? frame_ip6(p, from, to) : frame_ip4(p, from, to);

	if (chance(20))
		ip[1] ^= (uint8_t)draw();
	if (chance(5))
		ip[family ? 7 : 8] = (uint8_t)below(3);
}

static uint16_t port(void)
{
	if (chance(8))
		return (uint16_t)(WORLD_NAT_PORT + below(80));
	return chance(80) ? world_ports[1 + below(3)] : (uint16_t)draw();
}

/* A client's, one of few, so that flows come again; or a service's, as in replies. */
static uint16_t source_port(void)
{
	return chance(40) ? (uint16_t)(40000 + below(50)) : chance(30) ? port() : (uint16_t)draw();
}

/* Returns KIND_TCP4, _UDP4 or _ICMP4. */
static enum kind add_transport(struct frame *p)
{
	static const uint8_t flags[] = { TCP_SYN, TCP_ACK, TCP_SYN | TCP_ACK, TCP_RST, 0x11, 0x18 };
	uint8_t *at;

	switch (below(10)) {
	case 0:
		at = frame_icmp(p, (uint8_t)(chance(40) ? 8 : chance(50) ? 128 : below(20)), (uint8_t)below(5));
		at[6] = (uint8_t)draw();
		return KIND_ICMP4;
	case 1:
	case 2:
	case 3:
		frame_udp(p, source_port(), port());
		return KIND_UDP4;
	default:
		frame_tcp(p, source_port(), port(), flags[below(6)]);
		return KIND_TCP4;
	}
}

static uint32_t payload(void)
{
	return chance(60) ? below(64) : chance(80) ? below(1500) : below(2600);
}

/* An error that quotes a packet of a service. */
static void add_error(struct frame *p, int family, const char *service)
{
	static const uint8_t types4[] = { 3, 11, 12 };
	struct frame quoted;

	frame_eth(&quoted);
	add_ip(&quoted, family, service, pick(family));
	add_transport(&quoted);
	frame_bytes(&quoted, NULL, below(100));
	frame_end(&quoted);
	frame_icmp(p, family ? (uint8_t)(1 + below(4)) : types4[below(3)], (uint8_t)below(5));
	frame_bytes(p, quoted.data + 14, chance(80) ? quoted.len - 14 : below(quoted.len - 14));
}

/* IPIP or GUE to this node, with private data of ours or not. */
static void add_outer(struct frame *p, int family, int inside)
{
	uint8_t gue[64] = { 0, inside ? IPPROTO_IPV6 : IPPROTO_IPIP };
	uint32_t words = chance(80) ? (family ? WEIR_GUE_WORDS6 : WEIR_GUE_WORDS4) : below(14);

	add_ip(p, family, chance(90) ? world_way[family] : pick(family), chance(95) ? world_self[family] : pick(family));
	if (chance(40)) {
		saw(KIND_IPIP, 0);
		return;
	}
	saw(KIND_GUE, 0);
	frame_udp(p, (uint16_t)draw(), world_settings.gue_port ? world_settings.gue_port : WEIR_GUE_PORT);
	gue[0] = (uint8_t)words;
	gue[4] = chance(90) ? WEIR_GUE_MAGIC : (uint8_t)draw();
	gue[5] = (uint8_t)below(5);
	gue[6] = (uint8_t)below(5);
	for (int i = 0; i < WEIR_OWNERS; i++)
		address_bytes(gue + 8 + (family ? 16 : 4) * i, world_way[family]);
	frame_bytes(p, gue, 4 + words * 4);
}

static void make_fragment(struct frame *p, int family)
{
	uint32_t at = p->layer[p->layers - 1].at;
	uint8_t head[8] = { IPPROTO_UDP, 0, (uint8_t)(chance(50) ? 0 : draw()), (uint8_t)draw(), 0, 0, 0, (uint8_t)below(8) };

	if (family) {
		frame_bytes(p, head, 8);
		p->data[at + 6] = 44;
	} else {
		p->data[at + 5] = (uint8_t)below(8);
		p->data[at + 6] = (uint8_t)(0x20 | (chance(50) ? 0 : below(32)));
	}
	if (family)
		frame_bytes(p, NULL, 8 + below(200));
}

/* What a backend behind NAT answers to the packet that was just sent to it. */
static void make_reply(struct frame *p)
{
	const uint8_t *ip = o.data + 14;
	bool six = ip[0] >> 4 == 6;
	const uint8_t *at = ip + (six ? 40 : 20);
	uint8_t proto = six ? ip[6] : ip[9];
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
	uint16_t port[2];
	struct tcphdr *tcp;

	inet_ntop(six ? AF_INET6 : AF_INET, ip + (six ? 24 : 16), from, sizeof(from));
	inet_ntop(six ? AF_INET6 : AF_INET, ip + (six ? 8 : 12), to, sizeof(to));
	memcpy(port, at, sizeof(port));
	saw(KIND_REPLY, 0);
	frame_eth(p);
	if (six)
		frame_ip6(p, from, to);
	else
		frame_ip4(p, from, to);
	if (proto == IPPROTO_UDP) {
		frame_udp(p, ntohs(port[1]), ntohs(port[0]));
	} else if (proto == IPPROTO_TCP) {
		bool syn = ((const struct tcphdr *)at)->syn;

		tcp = frame_tcp(p, ntohs(port[1]), ntohs(port[0]), syn ? TCP_SYN | TCP_ACK : chance(90) ? TCP_ACK : 0x11);
		tcp->seq = syn ? (uint32_t)draw() : ((const struct tcphdr *)at)->ack_seq;
		tcp->ack_seq = htonl(ntohl(((const struct tcphdr *)at)->seq) + syn);
	}
	frame_bytes(p, NULL, payload());
	frame_end(p);
}

/* What was just encapsulated comes back to this node: its outer addresses change places. */
static void make_returned(struct frame *p)
{
	uint8_t *ip = p->data + 14, swap[16];
	uint32_t at, len;

	memcpy(p->data, o.data, o.len);
	p->len = o.len;
	at = ip[0] >> 4 == 6 ? 8 : 12;
	len = ip[0] >> 4 == 6 ? 16 : 4;
	memcpy(swap, ip + at, len);
	memcpy(ip + at, ip + at + len, len);
	memcpy(ip + at + len, swap, len);
	saw(KIND_RETURNED_OUTER, 0);
}

static bool was_sent(int reason)
{
	return o.reason == reason && (o.action == XDP_TX || o.action == XDP_REDIRECT) && o.len >= 74 && o.len < LONGEST &&
	       (o.data[12] == 0x08 || o.data[12] == 0x86) && o.data[13] != 0xa8;
}

static void make_new(struct frame *p)
{
	int family = (int)below(2), inside = (int)below(2);
	const char *to = pick(family);

	frame_eth(p);
	switch (below(12)) {
	case 0:
	case 1:
		add_outer(p, family, inside);
		add_ip(p, inside, pick(inside), pick(inside));
		add_transport(p);
		break;
	case 2:
		add_ip(p, family, pick(family), to);
		add_error(p, family, to);
		saw(KIND_ERROR4, family);
		break;
	case 3:
		add_ip(p, family, pick(family), to);
		make_fragment(p, family);
		saw(KIND_FRAGMENT4, family);
		if (family)
			break;
		add_transport(p);
		break;
	default:
		add_ip(p, family, pick(family), to);
		saw(add_transport(p), family);
	}
	frame_bytes(p, NULL, payload());
	frame_end(p);
}

static void make_packet(struct frame *p)
{
	if (was_sent(WEIR_REASON_TRANSLATED) && chance(60))
		make_reply(p);
	else if (was_sent(WEIR_REASON_FORWARDED) && chance(40))
		make_returned(p);
	else
		make_new(p);
}

/* Puts n bytes in at an offset: a tag, options, an extension header; IPv4's header or IPv6's length knows of them or not. */
static void insert(struct frame *p, uint32_t at, const uint8_t *bytes, uint32_t n)
{
	if (p->len < at || p->len + n > LONGEST)
		return;
	memmove(p->data + at + n, p->data + at, p->len - at);
	memcpy(p->data + at, bytes, n);
	p->len += n;
}

static void longer(struct frame *p, uint32_t n)
{
	uint32_t at = p->data[14] >> 4 == 4 ? 16 : 18, len = (uint32_t)(p->data[at] << 8 | p->data[at + 1]) + n;

	p->data[at] = (uint8_t)(len >> 8);
	p->data[at + 1] = (uint8_t)len;
}

static void add_options(struct frame *p)
{
	uint8_t bytes[40] = { 0 };
	uint32_t words = 1 + below(10);

	saw(KIND_OPTIONS, p->data[14] >> 4 != 4);
	if (p->data[14] >> 4 == 4) {
		memset(bytes, 1, sizeof(bytes));
		p->data[14] = (uint8_t)(0x40 | (5 + words));
		longer(p, words * 4);
		insert(p, 34, bytes, words * 4);
		return;
	}
	for (uint32_t n = 1 + below(4); n--;) {
		static const uint8_t headers[] = { 0, 43, 60, 51, 44, 135 };

		bytes[0] = p->data[20];
		bytes[1] = (uint8_t)below(3);
		p->data[20] = headers[below(6)];
		longer(p, 8 + bytes[1] * 8u);
		insert(p, 54, bytes, 8 + bytes[1] * 8u);
	}
}

static void mutate(struct frame *p)
{
	static const uint8_t edge_values[] = { 0, 1, 4, 5, 6, 17, 41, 44, 58, 0x45, 0x46, 0x60, 0x7f, 0x80, 0xff };
	uint8_t tag[4] = { 0x81, 0, 0, 7 };

	if (chance(8))
		add_options(p);
	if (chance(8)) {
		tag[0] = chance(90) ? 0x81 : 0x88;
		tag[1] = chance(90) ? 0 : 0xa8;
		insert(p, 12, tag, 4);
		saw(KIND_VLAN, 0);
	}
	if (chance(50))
		return;
	saw(KIND_MUTATED, 0);
	for (uint32_t n = 1 + below(4); n--;) {
		uint32_t reach = chance(70) ? 64 : 160, at = below(p->len < reach ? p->len : reach);

		switch (below(4)) {
		case 0:
			p->data[at] ^= (uint8_t)(1 << below(8));
			break;
		case 1:
			p->data[at] = edge_values[below(sizeof(edge_values))];
			break;
		default:
			p->data[at] = (uint8_t)draw();
		}
	}
	if (chance(15)) {
		p->len = 14 + below(p->len - 13);
		saw(KIND_CUT, 0);
	}
	if (chance(10) && p->len + 64 < LONGEST)
		p->len += below(64);
}

/* ---- the run ---- */

static void tell(const char *what, uint64_t seed, unsigned long number)
{
	char path[128];
	FILE *out;

	printf("# packet %lu of seed %llu: %s (action %u, reason %d)\n", number, (unsigned long long)seed, what, o.action, o.reason);
	snprintf(path, sizeof(path), "build/random-%llu-%lu.txt", (unsigned long long)seed, number);
	out = fopen(path, "w");
	if (!out)
		return;
	fprintf(out, "# %s; seed %llu, packet %lu, action %u, reason %d\nsettings ", what, (unsigned long long)seed, number,
		o.action, o.reason);
	for (size_t i = 0; i < sizeof(world_settings); i++)
		fprintf(out, "%02x", ((uint8_t *)&world_settings)[i]);
	fprintf(out, "\nin ");
	for (uint32_t i = 0; i < f.len; i++)
		fprintf(out, "%02x", f.data[i]);
	fprintf(out, "\nout ");
	for (uint32_t i = 0; i < o.len; i++)
		fprintf(out, "%02x", o.data[i]);
	fprintf(out, "\n");
	fclose(out);
}

static void progress(unsigned long at, unsigned long n)
{
	static struct timespec said;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!said.tv_sec)
		said = now;
	if (now.tv_sec - said.tv_sec < PROGRESS)
		return;
	said = now;
	fprintf(stderr, "# %lu of %lu packets\n", at, n);
}

static void run(uint64_t seed, unsigned long n)
{
	for (unsigned long i = 0; i < n && faults < FAULTS; i++) {
		const char *fault;

		if (i % WORLD == 0) {
			progress(i, n);
			world_random();
		}
		if (i % SETTINGS == 0) {
			world_drain();
			world_random_settings();
		}
		make_packet(&f);
		mutate(&f);
		if (f.len > LONGEST)
			f.len = LONGEST;
		edge_run_next(&f, &o);
		if (o.reason >= 0)
			met[o.reason]++;
		fault = check_outcome(&f, &o);
		if (fault) {
			faults++;
			tell(fault, seed, i);
		}
	}
}

static unsigned long number_of(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : otherwise;
}

/* Lines that random.sh adds up. Returns how many reasons should have been met, but were not. */
static unsigned int tell_all(void)
{
	static const char *const reasons[] = {
#define NAME(name, fate, meaning) #name,
		WEIR_REASONS(NAME)
#undef NAME
	};
	static const char *const names[] = {
#define NAME(name) #name,
		KINDS(NAME)
#undef NAME
	};
	unsigned int missing = 0;

	printf("# kinds:");
	for (int i = 0; i < KIND_COUNT; i++)
		printf(" %s=%lu", names[i], kinds[i]);
	printf("\n# reasons:");
	for (int i = 0; i < WEIR_REASON_COUNT; i++) {
		printf(" %s=%lu", reasons[i], met[i]);
		missing += !met[i] && i != WEIR_REASON_NO_ROOM && strncmp(reasons[i], "FEEDBACK", 8) != 0;
	}
	puts("");
	return missing;
}

int main(void)
{
	unsigned long n = number_of("RANDOM_PACKETS", 1000000);
	uint64_t seed = number_of("RANDOM_SEED", (unsigned long)time(NULL));
	struct timespec a, b;
	unsigned int missing;
	bool fine;

	setvbuf(stdout, NULL, _IOLBF, 0);
	world_seed(seed);
	edge_load(NULL);
	world_open();
	clock_gettime(CLOCK_MONOTONIC, &a);
	run(seed, n);
	clock_gettime(CLOCK_MONOTONIC, &b);
	missing = tell_all();
	fine = n < MANY ? missing <= WEIR_REASON_COUNT / 2 : !missing;
	printf("# %.0f packets a second\n", (double)n / ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9));
	printf("%s 1 - %lu random packets of seed %llu: none aborted, all that came out well formed\n", faults ? "not ok" : "ok", n,
	       (unsigned long long)seed);
	printf("%s 2 - %u reasons were not met\n1..2\n", fine ? "ok" : "not ok", missing);
	edge_unload(NULL);
	return faults || !fine;
}
