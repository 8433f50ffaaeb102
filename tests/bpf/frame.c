/* SPDX-License-Identifier: Apache-2.0 */
/* frame.c -- see frame.h. */
#include "tests/bpf/frame.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

enum { KIND_ETH, KIND_IP4, KIND_IP6, KIND_TCP, KIND_UDP, KIND_ICMP, KIND_ICMP6 };

static void *add(struct frame *f, uint8_t kind, uint32_t len)
{
	void *at = f->data + f->len;

	if (f->layers == FRAME_LAYERS || f->len + len > FRAME_MAX)
		abort();
	f->layer[f->layers].kind = kind;
	f->layer[f->layers++].at = f->len;
	memset(at, 0, len);
	f->len += len;
	return at;
}

/* Tells the layer before what follows. */
static void announce(struct frame *f, uint8_t proto, uint16_t ether)
{
	unsigned int last = f->layers - 1;
	uint8_t *at = f->data + f->layer[last].at;

	if (f->layer[last].kind == KIND_ETH)
		((struct ether_header *)at)->ether_type = htons(ether);
	else if (f->layer[last].kind == KIND_IP4)
		((struct iphdr *)at)->protocol = proto;
	else if (f->layer[last].kind == KIND_IP6)
		((struct ip6_hdr *)at)->ip6_nxt = proto;
}

void frame_eth(struct frame *f)
{
	static const uint8_t addresses[12] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 };

	memset(f, 0, sizeof(*f));
	memcpy(add(f, KIND_ETH, sizeof(struct ether_header)), addresses, sizeof(addresses));
}

void address_bytes(uint8_t out[16], const char *text)
{
	memset(out, 0, 16);
	if (inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, out) != 1)
		abort();
}

void *frame_ip4(struct frame *f, const char *source, const char *dest)
{
	struct iphdr *ip;

	announce(f, IPPROTO_IPIP, ETHERTYPE_IP);
	ip = add(f, KIND_IP4, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 61;
	ip->frag_off = htons(IP_DF);
	if (inet_pton(AF_INET, source, &ip->saddr) != 1 ||
	    inet_pton(AF_INET, dest, &ip->daddr) != 1)
		abort();
	return ip;
}

void *frame_ip6(struct frame *f, const char *source, const char *dest)
{
	struct ip6_hdr *ip;

	announce(f, IPPROTO_IPV6, ETHERTYPE_IPV6);
	ip = add(f, KIND_IP6, sizeof(*ip));
	ip->ip6_flow = htonl(6u << 28);
	ip->ip6_hlim = 61;
	if (inet_pton(AF_INET6, source, &ip->ip6_src) != 1 ||
	    inet_pton(AF_INET6, dest, &ip->ip6_dst) != 1)
		abort();
	return ip;
}

void *frame_tcp(struct frame *f, uint16_t source, uint16_t dest, uint8_t flags)
{
	struct tcphdr *tcp;

	announce(f, IPPROTO_TCP, 0);
	tcp = add(f, KIND_TCP, sizeof(*tcp));
	tcp->source = htons(source);
	tcp->dest = htons(dest);
	tcp->doff = 5;
	tcp->window = htons(1000);
	((uint8_t *)tcp)[13] = flags;
	return tcp;
}

void *frame_udp(struct frame *f, uint16_t source, uint16_t dest)
{
	struct udphdr *udp;

	announce(f, IPPROTO_UDP, 0);
	udp = add(f, KIND_UDP, sizeof(*udp));
	udp->source = htons(source);
	udp->dest = htons(dest);
	return udp;
}

void *frame_icmp(struct frame *f, uint8_t type, uint8_t code)
{
	bool is6 = f->layer[f->layers - 1].kind == KIND_IP6;
	struct icmphdr *icmp;

	announce(f, is6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 0);
	icmp = add(f, is6 ? KIND_ICMP6 : KIND_ICMP, sizeof(*icmp));
	icmp->type = type;
	icmp->code = code;
	return icmp;
}

void *frame_bytes(struct frame *f, const void *data, uint32_t len)
{
	uint8_t *at = f->data + f->len;

	if (f->len + len > FRAME_MAX)
		abort();
	for (uint32_t i = 0; i < len; i++)
		at[i] = data ? ((const uint8_t *)data)[i] : (uint8_t)(i * 7 + 1);
	f->len += len;
	return at;
}

static uint32_t sum16(uint32_t sum, const void *data, uint32_t len)
{
	const uint8_t *p = data;

	for (uint32_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The sum over pseudo-header and payload, 0xffff when a checksum inside is right. */
static uint16_t transport_sum(const uint8_t *ip)
{
	uint32_t header = ip[0] >> 4 == 4 ? (ip[0] & 15) * 4u : 40, total, sum;
	uint8_t proto = ip[0] >> 4 == 4 ? ip[9] : ip[6];

	if (ip[0] >> 4 == 4) {
		total = (uint32_t)(ip[2] << 8 | ip[3]);
		sum = sum16(0, ip + 12, 8);
	} else {
		total = (uint32_t)(ip[4] << 8 | ip[5]) + 40;
		sum = sum16(0, ip + 8, 32);
	}
	if (proto != IPPROTO_ICMP)
		sum += proto + total - header;
	else
		sum = 0;
	return fold(sum16(sum, ip + header, total - header));
}

bool ip4_checksum_ok(const void *ip)
{
	return fold(sum16(0, ip, sizeof(struct iphdr))) == 0xffff;
}

bool transport_checksum_ok(const void *ip)
{
	return transport_sum(ip) == 0xffff;
}

static void set_length(struct frame *f, unsigned int i)
{
	uint8_t *at = f->data + f->layer[i].at;
	uint32_t len = f->len - f->layer[i].at;

	if (f->layer[i].kind == KIND_IP4) {
		((struct iphdr *)at)->tot_len = htons((uint16_t)len);
		((struct iphdr *)at)->check = 0;
		((struct iphdr *)at)->check =
			htons((uint16_t)~fold(sum16(0, at, sizeof(struct iphdr))));
	} else if (f->layer[i].kind == KIND_IP6) {
		((struct ip6_hdr *)at)->ip6_plen = htons((uint16_t)(len - 40));
	} else if (f->layer[i].kind == KIND_UDP) {
		((struct udphdr *)at)->len = htons((uint16_t)len);
	}
}

static void set_checksum(struct frame *f, unsigned int i)
{
	static const uint8_t where[] = {
		[KIND_TCP] = 16, [KIND_UDP] = 6, [KIND_ICMP] = 2, [KIND_ICMP6] = 2
	};
	uint8_t *at = f->data + f->layer[i].at;
	uint16_t sum;

	if (f->layer[i].kind < KIND_TCP || i == 0 || f->layer[i - 1].kind > KIND_IP6)
		return;
	memset(at + where[f->layer[i].kind], 0, 2);
	sum = (uint16_t)~transport_sum(f->data + f->layer[i - 1].at);
	at[where[f->layer[i].kind]] = (uint8_t)(sum >> 8);
	at[where[f->layer[i].kind] + 1] = (uint8_t)sum;
}

void frame_end(struct frame *f)
{
	for (unsigned int i = 0; i < f->layers; i++)
		set_length(f, i);
	for (unsigned int i = f->layers; i-- > 0;)
		set_checksum(f, i);
}
