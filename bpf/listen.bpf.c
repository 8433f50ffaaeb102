/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * listen.bpf.c -- who answers for the addresses of tunnels: the kernel asks when a packet belongs
 * to no connection and it looks for a listener (BPF_SK_LOOKUP).
 *
 * A TCP connection to a port that a tunnel opened goes to the edge's one listener of that family.
 * Everything else for an address of tunnel_prefixes finds no socket at all: the client is refused
 * at once (RST, "port unreachable") instead of waiting for its time-out, and no server of this
 * machine that listens on every address (sshd on 0.0.0.0:22) is reachable by an address that
 * belongs to a tenant. Other addresses are looked up as ever.
 */
#include "vmlinux.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/maps.h"
#include "bpf/prefixes.h"

#define AF_INET 2

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_port_key);
	__type(value, __u32);
	__uint(max_entries, WEIR_KEYS_MAX);
} tunnel_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, WEIR_LISTENERS);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 8);
} listen_counts SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int leave(enum sk_action action, __u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&listen_counts, &what);

	if (n)
		++*n;
	return action;
}

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	struct weir_prefix prefix = { .bits = 128 };
	struct weir_port_key key = {};
	__u32 which = WEIR_LISTENER_6;
	struct bpf_sock *sk;
	long rc;

	if (ctx->family == AF_INET) {
		key.family = WEIR_FAMILY_4;
		key.addr[0] = ctx->local_ip4;
		prefix.addr[2] = bpf_htonl(0xffff);
		prefix.addr[3] = key.addr[0];
		which = WEIR_LISTENER_4;
	} else {
		key.family = WEIR_FAMILY_6;
		key.addr[0] = ctx->local_ip6[0];
		key.addr[1] = ctx->local_ip6[1];
		key.addr[2] = ctx->local_ip6[2];
		key.addr[3] = ctx->local_ip6[3];
		__builtin_memcpy(prefix.addr, key.addr, sizeof(prefix.addr));
	}
	if (!bpf_map_lookup_elem(&tunnel_prefixes, &prefix))
		return SK_PASS;
	key.port = bpf_htons(ctx->local_port);
	if (ctx->protocol != IPPROTO_TCP || !bpf_map_lookup_elem(&tunnel_ports, &key))
		return leave(SK_DROP, WEIR_LISTEN_CLOSED);
	sk = bpf_map_lookup_elem(&listeners, &which);
	if (!sk)
		return leave(SK_DROP, WEIR_LISTEN_ABSENT);
	rc = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return rc ? leave(SK_DROP, WEIR_LISTEN_ABSENT) : leave(SK_PASS, WEIR_LISTEN_STEERED);
}
