/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * edge.bpf.c -- the packet path: one XDP program for edges and backends.
 *
 * parse once → filter → decapsulate → fragments → ICMP → balance → encapsulate or translate, and send; or
 * pass. What is switched on depends on the maps alone (abi/maps.h): with empty maps all but broken
 * packets are passed. Stages that are rare or long are global functions, which the kernel verifies on
 * their own. There is one way out, finish(), which counts the packet under a named reason (abi/reasons.h).
 */
#include "bpf/kernel.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/gue.h"
#include "bpf/abi/hash.h"
#include "bpf/abi/maps.h"
#include "bpf/abi/two.h"
#include "bpf/abi/quic.h"

#ifndef NULL
#define NULL ((void *)0)
#endif

#include "bpf/maps.h"
#include "bpf/packet.h"
#include "bpf/checksum.h"
#include "bpf/parse.h"
#include "bpf/vlan.h"
#include "bpf/filter.h"
#include "bpf/prefix.h"
#include "bpf/balance.h"
#include "bpf/two.h"
#include "bpf/fragment.h"
#include "bpf/cipher.h"
#include "bpf/quic.h"
#include "bpf/extensions.h"
#include "bpf/forward.h"
#include "bpf/icmp.h"
#include "bpf/nat.h"
#include "bpf/connection.h"
#include "bpf/encap.h"
#include "bpf/feedback.h"
#include "bpf/decap.h"
#include "bpf/route.h"
#include "bpf/sample.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void count(void *map, __u32 index, __u32 bytes)
{
	struct weir_count *c = bpf_map_lookup_elem(map, &index);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	}
}

static __always_inline int finish(struct xdp_md *ctx, const struct packet *p,
				  const struct weir_settings *set, enum weir_reason reason)
{
	count(&reasons, reason, p->bytes);
	if (p->service)
		count(&service_counts, p->service - 1, p->bytes);
	if (p->backend)
		count(&backend_counts, p->backend, p->bytes);
	seen(ctx, p, set, reason);
	return p->action;
}

static __always_inline int stages(struct xdp_md *ctx, struct packet *p,
				  const struct weir_settings *set)
{
	enum weir_reason sent = WEIR_REASON_FORWARDED;
	const struct weir_backend *to = NULL;
	int rc = parse(ctx, p, false);
	__u32 index;

	if (rc != CONTINUE)
		return rc;
	if (filter_blocks(p, set))
		return leave(p, XDP_DROP, WEIR_REASON_BLOCKED);
	if (p->flow.proto != IPPROTO_TCP && may_be_encapsulated(p, set)) {
		rc = stage_decap(ctx, p);
		if (unlikely(rc < CONTINUE))
			return stage_control(ctx, p, CONTROL(rc));
		if (rc != CONTINUE)
			return rc;
	}
	if (unlikely(p->fragment == FRAGMENT_LATER)) {
		rc = stage_fragment(p);
		if (rc == CONTINUE)
			rc = filter_limit(p, set);
		if (rc != CONTINUE)
			return returned(ctx, p, set, rc);
		index = p->backend;
		to = bpf_map_lookup_elem(&backends, &index);
		if (!to || !to->family)
			return leave(p, XDP_DROP, WEIR_REASON_NO_BACKEND);
		return forward(ctx, p, set, to, WEIR_REASON_FRAGMENT);
	}
	if (likely(p->flow.proto == IPPROTO_TCP)) {
		/* Most packets: they need none of the questions below, which cost 0.4 ns. */
	} else if (p->flow.proto == IPPROTO_ICMP || p->flow.proto == IPPROTO_ICMPV6) {
		rc = stage_icmp(ctx, p);
		if (rc != CONTINUE)
			return rc;
		sent = WEIR_REASON_ICMP_ERROR;
	} else if (p->flow.proto != IPPROTO_UDP) {
		return leave(p, XDP_PASS, WEIR_REASON_NOT_OURS);
	}
	rc = balance(p, set, &to);
	if (unlikely(p->service_flags & WEIR_SERVICE_QUIC))
		rc = quic_lead(ctx, p, &to, rc);
	if (rc != CONTINUE || !to) /* the latter never: for 6.1's verifier */
		return returned(ctx, p, set, rc);
	if (unlikely(p->fragment))
		fragment_note(p);
	return forward(ctx, p, set, to, sent);
}

SEC("xdp")
int edge(struct xdp_md *ctx)
{
	const struct weir_settings *set = settings_get();
	struct packet p = {};
	int reason;

	if (!set) /* never: for the verifier */
		return XDP_PASS;
	reason = stages(ctx, &p, set);
	if (reason == WEIR_REASON_NOT_OURS && set->on & WEIR_ON_ROUTE)
		reason = stage_transit(ctx, &p);
	if (unlikely(p.tagged))
		reason = stage_retag(ctx, &p, reason);
	return finish(ctx, &p, set, reason);
}
