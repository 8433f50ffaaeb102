/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * reasons.h -- why a packet left the edge program the way it did.
 *
 * One list gives the program its numbers and user space its labels, so that "where did my packet
 * go?" has one answer. Every packet is counted under exactly one reason: the sum of all reasons is
 * the number of packets seen. Add new ones at the end: the numbers index a pinned map.
 *
 * X(NAME, what becomes of the packet, meaning)
 */
#ifndef WEIR_ABI_REASONS_H
#define WEIR_ABI_REASONS_H

#define WEIR_REASONS(X)                                                                            \
	X(FORWARDED, "sent", "encapsulated and sent to a backend")                                 \
	X(LOCAL, "passed", "the backend is this node: left to the host")                           \
	X(DECAPSULATED, "passed", "outer header removed, left to the host")                        \
	X(RELAYED, "sent", "not a connection of this node: sent on to an earlier owner")           \
	X(ICMP_ERROR, "sent", "ICMP error sent to the backend of the flow it quotes")              \
	X(FRAGMENT, "sent", "later fragment sent after its first one")                             \
	X(ECHO, "sent", "ICMP echo to a service address answered")                                 \
	X(TOO_BIG, "sent", "would not fit when encapsulated: sender told")                         \
	X(NOT_OURS, "passed", "not for a service: left to the host")                               \
	X(NOT_IP, "passed", "neither IPv4 nor IPv6: left to the host")                             \
	X(NO_NEIGHBOUR, "passed", "next hop's link address unknown: left to the host to resolve")  \
	X(TRUNCATED, "dropped", "headers run past the end of the packet")                          \
	X(MALFORMED, "dropped", "an IP header that contradicts itself")                            \
	X(FRAGMENT_LOST, "dropped", "later fragment whose first one was not seen")                 \
	X(NO_BACKEND, "dropped", "the service's slot has no backend")                              \
	X(BACKEND_DOWN, "dropped", "the slot's backend is down and no other is known")             \
	X(NO_ROUTE, "dropped", "no route to the backend, or forwarding is off")                    \
	X(NO_ROOM, "dropped", "no room in the buffer for the outer header")                        \
	X(DECAP_SOURCE, "dropped", "encapsulated packet from a source that is not allowed")        \
	X(DECAP_UNKNOWN, "dropped", "encapsulation with a version, type or content not known")     \
	X(TOO_BIG_QUIET, "dropped", "would not fit when encapsulated, telling is switched off")    \
	X(DECAP_INNER, "dropped", "encapsulated by an edge, but not for an address of tunnels")    \
	X(BLOCKED, "dropped", "the source is on the block list")                                   \
	X(LIMITED_SYN, "dropped", "the source's network opens connections too fast")               \
	X(LIMITED_UDP, "dropped", "the source's network sends UDP too fast")                       \
	X(LIMITED_DNS, "dropped", "the source's network asks DNS too fast")                        \
	X(ROUTED, "sent", "not for a service: forwarded by the kernel's routes")                   \
	X(TTL_EXPIRED, "passed", "to be forwarded, but its time to live ends: left to the host")   \
	X(TRANSLATED, "sent", "addresses rewritten, sent to a backend behind NAT")                 \
	X(RETURNED, "sent", "a backend's reply, addresses restored, sent to the client")           \
	X(NAT_FULL, "dropped", "no port left to translate the flow to")                            \
	X(EXTENSIONS, "dropped", "more IPv6 extension headers than are walked")                    \
	X(ECN_INVALID, "dropped", "congestion marked outside on a packet that cannot carry it")    \
	X(FEEDBACK, "taken", "a backend's word that a flow is its own")                            \
	X(NAT_UNKNOWN, "dropped", "for a backend behind NAT, of no flow that is known")            \
	X(NO_DEVICE, "passed", "routes lead to a device that XDP cannot send by: left to the host") \
	X(FEEDBACK_REFUSED, "dropped", "a word about a flow by nobody who had its slot")

enum weir_reason {
#define WEIR_REASON_NUMBER(name, fate, meaning) WEIR_REASON_##name,
	WEIR_REASONS(WEIR_REASON_NUMBER)
#undef WEIR_REASON_NUMBER
	WEIR_REASON_COUNT
};

/* The map has room for reasons to come, so that an upgraded program can adopt it. */
#define WEIR_REASONS_MAX 64

#endif
