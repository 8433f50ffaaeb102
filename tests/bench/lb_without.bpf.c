/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * lb_without.bpf.c -- the edge program with one feature compiled out, -DWITHOUT_NAME (WITHOUT_all: every
 * one of these): what lb_bench compares with the same program in which the feature is there, but off.
 *
 * The headers come as edge.bpf.c has them, which then finds them there. A switch that is never set makes
 * the compiler leave out what it switches.
 */
#include "bpf/kernel.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/abi/gue.h"
#include "bpf/abi/hash.h"
#include "bpf/abi/maps.h"
#include "bpf/abi/nat.h"
#include "bpf/abi/quic.h"
#include "bpf/abi/two.h"

#if defined(WITHOUT_block) || defined(WITHOUT_all)
#define WEIR_ON_BLOCK 0
#endif
#if defined(WITHOUT_limit) || defined(WITHOUT_all)
#define WEIR_ON_LIMIT 0
#endif
#if defined(WITHOUT_route) || defined(WITHOUT_all)
#define WEIR_ON_ROUTE 0
#endif
#if defined(WITHOUT_sample) || defined(WITHOUT_all)
#define WEIR_ON_SAMPLE 0
#endif
#if defined(WITHOUT_prefixes) || defined(WITHOUT_all)
#define WEIR_ON_PREFIXES 0
#endif
#if defined(WITHOUT_nat) || defined(WITHOUT_all)
#pragma clang diagnostic ignored "-Wtautological-constant-out-of-range-compare"
#define WEIR_ON_NAT    0
#define WEIR_ENCAP_NAT 256 /* of no service */
#endif
#if defined(WITHOUT_checksum) || defined(WITHOUT_all)
#define WEIR_ON_CHECKSUM 0
#endif
#if defined(WITHOUT_flags) || defined(WITHOUT_all)
#define WEIR_ON_FLAGS 0
#endif
#if defined(WITHOUT_quic) || defined(WITHOUT_all)
#define WEIR_SERVICE_QUIC 0
#endif
#if defined(WITHOUT_two) || defined(WITHOUT_all)
#define WEIR_SERVICE_TWO 0
#endif
#if defined(WITHOUT_affinity) || defined(WITHOUT_all)
#define WEIR_SERVICE_ADDRESSES 0
#endif

#ifndef NULL
#define NULL ((void *)0)
#endif

#include "bpf/maps.h"
#include "bpf/packet.h"
#if defined(WITHOUT_vlan) || defined(WITHOUT_all)
#undef ETH_P_8021Q
#undef ETH_P_8021AD
#define ETH_P_8021Q  ETH_P_IP /* what was asked for before */
#define ETH_P_8021AD ETH_P_IP
#endif
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

#if defined(WITHOUT_decap) || defined(WITHOUT_all)
#define may_be_encapsulated(p, set) false
#endif
#if defined(WITHOUT_vlan) || defined(WITHOUT_all)
#define stage_retag(ctx, p, reason) reason
#endif

#include "bpf/edge.bpf.c"
