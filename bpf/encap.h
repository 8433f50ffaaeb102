/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * encap.h -- the outer header: IPIP (RFC 2003, 2473, 4213) or GUE over UDP (abi/gue.h).
 *
 * DF is set and the id zero (RFC 6864: an atomic datagram); ToS is copied, ECN included (RFC 6040,
 * normal mode). GUE's source port, and with IPv6 the flow label, come from the flow's hash, so that
 * routers spread flows over equal paths. UDP's checksum is zero, also over IPv6 (RFC 6935, 6936):
 * the inner packet carries its own. With WEIR_ON_CHECKSUM it is computed over IPv6.
 */
#ifndef WEIR_BPF_ENCAP_H
#define WEIR_BPF_ENCAP_H

#define FIRST_EPHEMERAL_PORT 49152 /* RFC 6335 section 6 */

/* GUE's private data with addresses of one family: what stage_owners4() and _6() fill in. */
struct owners4 {
	struct weir_gue_private head;
	__be32 addr[WEIR_OWNERS];
} __attribute__((aligned(8)));

struct owners6 {
	struct weir_gue_private head;
	__be32 addr[WEIR_OWNERS][4];
};

/* Of the packet's slot: its owner number i, the present one first. NULL: it is the backend that the packet
 * goes to, or one that this cannot or need not ask: down, of another family, the node that asked. */
static __always_inline const struct weir_backend *owner_get(const struct packet *p,
							    const struct weir_slot *slot, int i,
							    __u8 family)
{
	__u32 index = i ? slot->owners[i - 1] : slot->current;
	const struct weir_backend *backend = bpf_map_lookup_elem(&backends, &index);

	if (!index || index == p->backend || !backend || backend->family != family ||
	    (backend->flags & WEIR_BACKEND_DOWN))
		return NULL;
	return p->asked && (backend->flags & WEIR_BACKEND_LOCAL) ? NULL : backend;
}

/* The last place is the second candidate's: with it a flow that went there is found without its note. It
 * may be among the earlier owners, too: named() keeps it from being asked twice. */
static __always_inline __u32 owners_room(const struct packet *p)
{
	return p->other ? WEIR_OWNERS - 1 : WEIR_OWNERS;
}

static __always_inline const struct weir_backend *owner_other(const struct packet *p,
							      const struct weir_slot *own, __u8 family)
{
	__u32 index = p->other - 1;
	const struct weir_slot *slot = p->other ? bpf_map_lookup_elem(&slots, &index) : NULL;

	if (!slot || !own || slot->current == own->current)
		return NULL;
	return owner_get(p, slot, 0, family);
}

static __always_inline bool named4(const struct owners4 *o, const struct weir_backend *backend)
{
	for (int i = 0; i < WEIR_OWNERS; i++)
		if (o->addr[i] == backend->addr[0])
			return true;
	return false;
}

static __always_inline bool named6(const struct owners6 *o, const struct weir_backend *backend)
{
	const __be32 *own = backend->addr;

	for (int i = 0; i < WEIR_OWNERS; i++)
		if (!((o->addr[i][0] ^ own[0]) | (o->addr[i][1] ^ own[1]) | (o->addr[i][2] ^ own[2]) |
		      (o->addr[i][3] ^ own[3])))
			return true;
	return false;
}

/* The owners of the packet's slot but the one that it goes to, for the relay at the backend. */
__weak __noinline int stage_owners4(const struct packet *p, struct owners4 *o)
{
	const struct weir_backend *backend;
	const struct weir_slot *slot;
	__u32 index, used = 0;

	if (!p || !o)
		return 0;
	index = p->slot - 1;
	slot = bpf_map_lookup_elem(&slots, &index);
	for (int i = 0; slot && i <= WEIR_OWNERS && used < owners_room(p); i++) {
		backend = owner_get(p, slot, i, WEIR_FAMILY_4);
		if (backend)
			o->addr[used++] = backend->addr[0];
	}
	backend = owner_other(p, slot, WEIR_FAMILY_4);
	if (backend && used < WEIR_OWNERS && !named4(o, backend))
		o->addr[used++] = backend->addr[0];
	o->head.count = used;
	return used;
}

__weak __noinline int stage_owners6(const struct packet *p, struct owners6 *o)
{
	const struct weir_backend *backend;
	const struct weir_slot *slot;
	__u32 index, used = 0;

	if (!p || !o)
		return 0;
	index = p->slot - 1;
	slot = bpf_map_lookup_elem(&slots, &index);
	for (int i = 0; slot && i <= WEIR_OWNERS && used < owners_room(p); i++) {
		backend = owner_get(p, slot, i, WEIR_FAMILY_6);
		if (backend)
			copy_address(o->addr[used++], backend->addr);
	}
	backend = owner_other(p, slot, WEIR_FAMILY_6);
	if (backend && used < WEIR_OWNERS && !named6(o, backend))
		copy_address(o->addr[used++], backend->addr);
	o->head.count = used;
	return used;
}

/* Only a TCP packet that may belong to a connection of an earlier owner needs them. */
static __always_inline bool wants_owners(const struct packet *p)
{
	return p->owned && p->flow.proto == IPPROTO_TCP && !p->quoted && !is_new_connection(p);
}

/* Feedback comes to an address of this node's own, which a service's is not. */
static __always_inline __u8 asks(const struct weir_settings *set, const struct weir_backend *to)
{
	return set->on & WEIR_ON_FEEDBACK && !address_is_zero(to->source) ? WEIR_GUE_ASKS : 0;
}

/* What stands behind the outer IP header. */
static __always_inline __u8 outer_protocol(const struct packet *p, const bool gue)
{
	if (gue)
		return IPPROTO_UDP;
	return p->flow.family == WEIR_FAMILY_4 ? IPPROTO_IPIP : IPPROTO_IPV6;
}

static __always_inline __u16 outer_bytes(const struct packet *p, __u8 family)
{
	if (family == WEIR_FAMILY_4)
		return p->encap == WEIR_ENCAP_GUE ? WEIR_ADDED_GUE4 : WEIR_ADDED_IPIP4;
	return p->encap == WEIR_ENCAP_GUE ? WEIR_ADDED_GUE6 : WEIR_ADDED_IPIP6;
}

static __always_inline __u8 outer_ttl(const struct weir_settings *set)
{
	return set->ttl ? set->ttl : DEFAULT_TTL;
}

/* UDP and GUE headers up to the private data. bytes: UDP header and all behind. */
static __always_inline void write_gue(__be32 *word, const struct weir_settings *set,
				      const struct packet *p, __u16 bytes, const __u8 hlen)
{
	const __u32 port = set->gue_port ? set->gue_port : WEIR_GUE_PORT;
	const __u32 source = FIRST_EPHEMERAL_PORT | (p->hash & 0x3fff);

	word[0] = bpf_htonl(source << 16 | port);
	word[1] = bpf_htonl((__u32)bytes << 16);
	word[2] = bpf_htonl((__u32)hlen << 24 | (__u32)outer_protocol(p, false) << 16);
}

/* Link addresses: both lie side by side in the entry, as in the frame. */
static __always_inline void write_link(void *data, const struct weir_backend *to, __be16 proto)
{
	const __u32 *from = (const void *)to->mac;
	__u32 *word = data;

	_Static_assert(__builtin_offsetof(struct weir_backend, source_mac) ==
			       __builtin_offsetof(struct weir_backend, mac) + 6,
		       "link addresses side by side");
	word[0] = from[0];
	word[1] = from[1];
	word[2] = from[2];
	((struct ethhdr *)data)->h_proto = proto;
}

/* Grows the frame at its head and writes link, IPv4 and, with `gue`, UDP and GUE headers. */
static __always_inline int encap4(struct xdp_md *ctx, struct packet *p,
				  const struct weir_settings *set, const struct weir_backend *to,
				  const bool gue)
{
	const int added = gue ? WEIR_ADDED_GUE4 : WEIR_ADDED_IPIP4;
	struct owners4 owners = { .head.magic = WEIR_GUE_MAGIC };
	__be32 source = to->source[0];
	__be32 *word;
	void *data;

	if (!source) {
		if (p->flow.family != WEIR_FAMILY_4)
			return leave(p, XDP_DROP, WEIR_REASON_NO_ROUTE);
		source = p->flow.dest[0];
	}
	if (gue && wants_owners(p)) {
		stage_owners4(p, &owners);
		owners.head.flags = asks(set, to);
	}
	if (bpf_xdp_adjust_head(ctx, -added))
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROOM);
	data = packet_data(ctx);
	if (data + ETH_HLEN + added > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROOM);
	write_link(data, to, bpf_htons(ETH_P_IP));
	word = data + ETH_HLEN;
	write_ip4(word, p->tos, p->ip_bytes + added, outer_ttl(set), outer_protocol(p, gue), source,
		  to->addr[0]);
	if (gue) {
		write_gue(word + 5, set, p, p->ip_bytes + added - sizeof(struct iphdr),
			  WEIR_GUE_WORDS4);
		*(struct owners4 *)(word + 8) = owners;
	}
	return CONTINUE;
}

/* The same with IPv6 outside. */
static __always_inline int encap6(struct xdp_md *ctx, struct packet *p,
				  const struct weir_settings *set, const struct weir_backend *to,
				  const bool gue)
{
	const int added = gue ? WEIR_ADDED_GUE6 : WEIR_ADDED_IPIP6;
	struct owners6 owners = { .head.magic = WEIR_GUE_MAGIC };
	const __be32 *source = to->source;
	__u16 payload = p->ip_bytes + added - sizeof(struct ipv6hdr);
	__be32 *word;
	void *data;

	if (address_is_zero(source)) {
		if (p->flow.family != WEIR_FAMILY_6)
			return leave(p, XDP_DROP, WEIR_REASON_NO_ROUTE);
		source = p->flow.dest;
	}
	if (gue && wants_owners(p)) {
		stage_owners6(p, &owners);
		owners.head.flags = asks(set, to);
	}
	if (bpf_xdp_adjust_head(ctx, -added))
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROOM);
	data = packet_data(ctx);
	if (data + ETH_HLEN + added > packet_end(ctx))
		return leave(p, XDP_DROP, WEIR_REASON_NO_ROOM);
	write_link(data, to, bpf_htons(ETH_P_IPV6));
	word = data + ETH_HLEN;
	write_ip6(word, p->tos, p->hash, payload, outer_ttl(set), outer_protocol(p, gue), source,
		  to->addr);
	if (gue) {
		write_gue(word + 10, set, p, payload, WEIR_GUE_WORDS6);
		*(struct owners6 *)(word + 13) = owners;
	}
	return CONTINUE;
}

#define CHECKSUM_STEP 16
#define CHECKSUM_MAX  9216 /* bytes of UDP: a jumbo frame */

/* The sum of the last bytes of the frame from `at` on, fewer than a step, or -1: beyond the end. In a
 * function of its own, which is verified once and not for each length of what comes before. */
__weak __noinline int stage_checksum_tail(struct xdp_md *ctx, int at, int len)
{
	const void *pos = packet_data(ctx), *end = packet_end(ctx);
	int sum = 0;

	pos += bounded(at, 16383);
	for (int i = 0; i < CHECKSUM_STEP / 2 && len > 1; i++, len -= 2, pos += 2) {
		if (pos + 2 > end)
			return -1;
		sum += *(const __u16 *)pos;
	}
	if (len < 1)
		return sum;
	asm volatile("" : "+r"(pos)); /* one way each: 6.1's verifier loses a check that is merged */
	if (pos + 1 > end || len > 1)
		return -1;
	return sum + *(const __u8 *)pos;
}

/* The sum of `len` bytes of the frame from `at` on, or -1: more than CHECKSUM_MAX, or beyond the end. */
static __always_inline __s64 checksum_long(struct xdp_md *ctx, __u32 at, __u32 len, __u64 sum)
{
	const void *end = packet_end(ctx);
	const __u32 *word = packet_data(ctx) + at;
	int tail;

	for (int i = 0; i < CHECKSUM_MAX / CHECKSUM_STEP; i++) {
		if (len < CHECKSUM_STEP)
			break;
		if ((const void *)(word + 4) > end)
			return -1;
		sum += (__u64)word[0] + word[1] + word[2] + word[3];
		word += 4;
		len -= CHECKSUM_STEP;
		at += CHECKSUM_STEP;
	}
	tail = stage_checksum_tail(ctx, at, len);
	return tail < 0 ? -1 : (__s64)(sum + tail);
}

/* UDP's checksum in the outer header that was just written (RFC 768, RFC 8200 section 8.1), over all of
 * the packet: the inner checksums would tell the rest of the sum, but not every packet has one, and
 * some are not right. Too long: it stays zero. */
__weak __noinline int stage_checksum6(struct xdp_md *ctx)
{
	void *data = packet_data(ctx), *end = packet_end(ctx);
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct udphdr *udp = (void *)(ip + 1);
	__s64 sum;
	__u16 check;

	if ((void *)(udp + 1) > end)
		return 0;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip->saddr, 32,
			    (__u32)ip->payload_len + bpf_htons(IPPROTO_UDP));
	sum = checksum_long(ctx, ETH_HLEN + sizeof(*ip), bpf_ntohs(ip->payload_len), sum);
	if (sum < 0)
		return 0;
	check = checksum_fold(sum);
	udp->check = check ? check : 0xffff;
	return 1;
}

/* Whatever is not IPv4 outside by a known next hop: IPv6 outside; and entries without a next hop, whose
 * way is asked for afterwards. The frame may then go to the host, which takes what bears its own link
 * address. */
__weak __noinline int stage_encap(struct xdp_md *ctx, struct packet *p)
{
	const struct weir_settings *set = settings_get();
	const struct weir_backend *to;
	void *data = packet_data(ctx);
	__u8 own[6];
	__u32 index;
	int rc;

	if (!p || !set || data + ETH_HLEN > packet_end(ctx))
		return WEIR_REASON_NO_ROUTE;
	index = p->backend;
	to = bpf_map_lookup_elem(&backends, &index);
	if (!to)
		return leave(p, XDP_DROP, WEIR_REASON_NO_BACKEND);
	__builtin_memcpy(own, data, sizeof(own));
	if (to->family == WEIR_FAMILY_4)
		rc = p->encap == WEIR_ENCAP_GUE ? encap4(ctx, p, set, to, true)
						: encap4(ctx, p, set, to, false);
	else
		rc = p->encap == WEIR_ENCAP_GUE ? encap6(ctx, p, set, to, true)
						: encap6(ctx, p, set, to, false);
	if (rc != CONTINUE)
		return rc;
	if (set->on & WEIR_ON_CHECKSUM && to->family == WEIR_FAMILY_6 && p->encap == WEIR_ENCAP_GUE)
		stage_checksum6(ctx);
	if (to->ifindex)
		return CONTINUE;
	data = packet_data(ctx);
	if (data + sizeof(own) <= packet_end(ctx))
		__builtin_memcpy(data, own, sizeof(own));
	return CONTINUE;
}

static __always_inline bool may_ask(__u32 index)
{
	const struct weir_backend *backend = bpf_map_lookup_elem(&backends, &index);

	return index && backend && backend->family &&
	       !(backend->flags & (WEIR_BACKEND_DOWN | WEIR_BACKEND_LOCAL));
}

/* The slot is this node's now, but had earlier owners or has a second candidate: a TCP packet of a
 * connection that this node does not know belongs to one of them. Returns the newest owner that is up,
 * else the candidate, or 0: it is this node's. */
__weak __noinline int stage_earlier(struct xdp_md *ctx, const struct packet *p)
{
	const struct weir_settings *set = settings_get();
	const struct weir_slot *slot;
	__u32 index;

	if (!p || (set && (set->off & WEIR_OFF_RELAY)) || stage_known(ctx, ETH_HLEN))
		return 0;
	index = p->slot - 1;
	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return 0;
	for (int i = 0; i < WEIR_OWNERS; i++)
		if (may_ask(slot->owners[i]))
			return slot->owners[i];
	if (!p->other)
		return 0;
	index = p->other - 1;
	slot = bpf_map_lookup_elem(&slots, &index);
	return slot && may_ask(slot->current) ? slot->current : 0;
}

/* To p->backend, encapsulated. */
static __always_inline int forward(struct xdp_md *ctx, struct packet *p,
				   const struct weir_settings *set, const struct weir_backend *to,
				   enum weir_reason reason)
{
	__u16 mtu, added;
	__u32 index;
	int rc;

	if (unlikely(p->encap == WEIR_ENCAP_NAT))
		return stage_nat(ctx, p, reason);
	if (unlikely(to->flags & WEIR_BACKEND_LOCAL)) {
		index = wants_owners(p) ? stage_earlier(ctx, p) & 0xffff : 0;
		if (!index)
			return leave(p, XDP_PASS, WEIR_REASON_LOCAL);
		p->asked = 1;
		p->backend = index;
		reason = WEIR_REASON_RELAYED;
		to = bpf_map_lookup_elem(&backends, &index);
		if (!to || !to->family)
			return leave(p, XDP_DROP, WEIR_REASON_NO_BACKEND);
	}
	if (unlikely(to->flags))
		way_tag(p, to);
	mtu = way_mtu(set, to);
	added = outer_bytes(p, to->family);
	if (unlikely(p->ip_bytes + added > mtu))
		return stage_too_big(ctx, p, mtu - added);
	if (unlikely(to->family != WEIR_FAMILY_4 || !to->ifindex))
		rc = stage_encap(ctx, p);
	else if (p->encap == WEIR_ENCAP_GUE)
		rc = encap4(ctx, p, set, to, true);
	else
		rc = encap4(ctx, p, set, to, false);
	if (rc != CONTINUE)
		return rc;
	if (unlikely(!to->ifindex))
		return stage_route(ctx, p, reason);
	return leave(p, output_by(ctx, set, to->ifindex), reason);
}

#endif
