/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * quic.h -- QUIC by the server ID in the connection ID (abi/quic.h), so that a connection stays at
 * its backend when the client's address or port changes (RFC 9000 section 9).
 *
 * A client's first packets have an ID of its own making and go by the slot; from the server's answer
 * on they carry one of the server's. Where none can be read (another configuration, too short, an
 * unknown or dead server) the slot decides, so servers that know nothing of this are served too.
 * Only what RFC 8999 holds for every version is read.
 */
#ifndef WEIR_BPF_QUIC_H
#define WEIR_BPF_QUIC_H

#define QUIC_LONG	 0x80 /* first byte of a long header (RFC 8999 section 5.1) */
#define QUIC_CONFIG_SHIFT 5
#define QUIC_QUOTED_SECONDS 10 /* errors come about one round trip after what they quote */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_quic);
	__uint(max_entries, WEIR_SERVICES_MAX);
} quic_configs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct weir_quic_key);
	__type(value, __u32);
	__uint(max_entries, WEIR_QUIC_SERVERS_MAX);
} quic_servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct weir_flow);
	__type(value, struct weir_quic_flow);
	__uint(max_entries, WEIR_QUIC_FLOWS_MAX);
} quic_flows SEC(".maps");

/* Moves to the destination connection ID, when it may have that many bytes. */
static __always_inline bool quic_id(struct cursor *c, __u32 bytes)
{
	const __u8 *first = cursor_pull(c, 1), *len;

	if (!first)
		return false;
	if (!(*first & QUIC_LONG))
		return true;
	len = cursor_pull(c, sizeof(__be32) + 1); /* version, length */
	return len && len[sizeof(__be32)] >= bytes;
}

/* The server ID at the cursor, behind the first byte, as it is. */
static __always_inline bool quic_id_plain(struct cursor *c, const struct weir_quic *quic,
					  struct weir_quic_key *key)
{
	const __u8 *at;

	for (__u32 i = 0; i < WEIR_QUIC_ID_MAX && i < quic->server_id; i++) {
		at = cursor_pull(c, 1);
		if (!at)
			return false;
		key->id[i] = *at;
	}
	return cursor_pull(c, bounded(quic->nonce, 31));
}

/* The same of an encrypted one. */
static __always_inline bool quic_id_encrypted(struct cursor *c, const struct weir_quic *quic,
					      struct weir_quic_key *key)
{
	__u32 zero = 0, n = quic->server_id + quic->nonce;
	struct quic_block *block = bpf_map_lookup_elem(&quic_block, &zero);
	const __u8 *at;

	if (!block)
		return false;
	for (__u32 i = 0; i < WEIR_QUIC_CID_MAX - 1 && i < n; i++) {
		at = cursor_pull(c, 1);
		if (!at)
			return false;
		block->id[i] = *at;
	}
	if (stage_quic_decrypt(key->service, quic->server_id, quic->nonce))
		return false;
	for (__u32 i = 0; i < WEIR_QUIC_ID_MAX && i < quic->server_id; i++)
		key->id[i] = block->id[i];
	return true;
}

/* The backend that the datagram's connection ID names, or 0. */
static __always_inline __u32 quic_server(struct cursor *c, __u32 service)
{
	const struct weir_quic *quic = bpf_map_lookup_elem(&quic_configs, &service);
	struct weir_quic_key key = { .service = service };
	const __u32 *index;
	const __u8 *at;

	if (!quic || !quic->server_id || quic->server_id > WEIR_QUIC_ID_MAX ||
	    !quic_id(c, 1 + quic->server_id + quic->nonce))
		return 0;
	at = cursor_pull(c, 1);
	if (!at || *at >> QUIC_CONFIG_SHIFT != quic->config)
		return 0;
	if (quic->encrypted ? !quic_id_encrypted(c, quic, &key) : !quic_id_plain(c, quic, &key))
		return 0;
	key.len = quic->server_id;
	index = bpf_map_lookup_elem(&quic_servers, &key);
	return index && backend_is_up(*index) ? *index : 0;
}

static __always_inline __u16 quic_now(void)
{
	return bpf_ktime_get_coarse_ns() / NANOSECONDS;
}

/* An error about a packet of the server: where the client's packets go, when that is not by the slot. */
static __always_inline __u32 quic_quoted(const struct weir_flow *flow)
{
	const struct weir_quic_flow *had = bpf_map_lookup_elem(&quic_flows, flow);

	if (!had || (__u16)(quic_now() - had->last) > QUIC_QUOTED_SECONDS)
		return 0;
	return backend_is_up(had->backend) ? had->backend : 0;
}

static __always_inline void quic_note(const struct weir_flow *flow, __u32 index)
{
	const struct weir_quic_flow now = { .backend = index, .last = quic_now() };
	const struct weir_quic_flow *had = bpf_map_lookup_elem(&quic_flows, flow);

	if (!had || had->backend != now.backend || had->last != now.last)
		bpf_map_update_elem(&quic_flows, flow, &now, BPF_ANY);
}

/* For a datagram of a QUIC service, and for what quotes one. p->backend is the slot's. */
__weak __noinline int stage_quic(struct xdp_md *ctx, const struct packet *p)
{
	struct cursor c = { packet_data(ctx), packet_end(ctx) };
	struct weir_flow flow;
	__u32 index;

	if (!p || !p->service)
		return 0;
	flow = p->flow;
	if (p->quoted)
		return quic_quoted(&flow);
	if (!cursor_pull(&c, bounded(p->transport, 255) + sizeof(struct udphdr)))
		return 0;
	index = quic_server(&c, p->service - 1);
	if (index && index != p->backend)
		quic_note(&flow, index);
	return index;
}

/* What the slot said (rc, *to) gives way to the connection ID, also when the slot has nobody. */
static __always_inline int quic_lead(struct xdp_md *ctx, struct packet *p,
				     const struct weir_backend **to, int rc)
{
	const struct weir_backend *backend;
	__u32 index;

	if (p->flow.proto != IPPROTO_UDP ||
	    (rc != CONTINUE && rc != WEIR_REASON_NO_BACKEND && rc != WEIR_REASON_BACKEND_DOWN))
		return rc;
	index = stage_quic(ctx, p) & 0xffff;
	backend = bpf_map_lookup_elem(&backends, &index);
	if (!index || !backend)
		return rc;
	p->backend = index;
	*to = backend;
	return CONTINUE;
}

#endif
