/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * maps.h -- keys and values of the pinned maps: the one copy for the kernel and for user space.
 *
 * These layouts are wire formats: other versions of the agent adopt the maps, and people read and
 * write them with bpftool. Fixed widths, named padding, sizes asserted. Fields marked (be) are in
 * network order, all others in host order. Zero always means "not given": an all-zero settings
 * entry, or a backend with nothing but an address, works.
 *
 * An address takes 16 bytes: IPv6 as it is, IPv4 in the first four, zeros behind; the family tells.
 */
#ifndef WEIR_ABI_MAPS_H
#define WEIR_ABI_MAPS_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#include "bpf/abi/reasons.h"

/* The program reads several narrow fields as one wide word (the head of a slot, ports, the end of a
 * service's key), and user space fills them so: on a big-endian processor they would lie the other way round. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weir runs on little-endian processors alone (amd64, arm64)");

#define WEIR_SERVICES_MAX   8192u       /* numbers of services; a service may have many addresses */
#define WEIR_KEYS_MAX       65536u      /* service addresses */
#define WEIR_BACKENDS_MAX   16384u      /* indexes; 0 is "none" */
#define WEIR_SLOTS_MAX      (1u << 19)  /* of all services together */
#define WEIR_NOTES_MAX      131072u     /* flows of moving slots that are remembered */
#define WEIR_HALF_OPEN_MAX  8192u       /* the same before the handshake ends: a SYN flood stays here */
#define WEIR_FRAGMENTS_MAX  4096u
#define WEIR_PORTS_MAX      64u         /* interfaces to forward to */
#define WEIR_DEVICES_MAX    4096u
#define WEIR_OWNERS         3           /* earlier owners of a slot that are kept for good */
#define WEIR_NAME_MAX       64
#define WEIR_TUNNEL_NAME    "t:"        /* begins the names of services that are tunnels */

#define WEIR_FAMILY_4 4
#define WEIR_FAMILY_6 6

/* ---- settings: array of one ---------------------------------------------------------------- */
enum weir_off {                         /* features that can be switched off */
	WEIR_OFF_ECHO    = 1 << 0,      /* answers to ICMP echo */
	WEIR_OFF_TOO_BIG = 1 << 1,      /* "fragmentation needed", "packet too big" */
	WEIR_OFF_RELAY   = 1 << 2,      /* passing strangers' connections on to earlier owners */
	WEIR_OFF_ERRORS  = 1 << 3,      /* ICMP errors to the backend of the flow they quote */
	WEIR_OFF_TX      = 1 << 4,      /* XDP_TX: redirect to the same interface instead (veth wakes a
					   peer without an XDP program by the latter alone) */
};

enum weir_on {                          /* features that must be switched on: each costs every packet something */
	WEIR_ON_BLOCK    = 1 << 0,      /* block and allow lists (abi/filter.h) */
	WEIR_ON_LIMIT    = 1 << 1,      /* token buckets a source prefix (abi/filter.h) */
	WEIR_ON_ROUTE    = 1 << 2,      /* what is not ours is forwarded by the kernel's routes */
	WEIR_ON_SAMPLE   = 1 << 3,      /* packets are copied to the ring of samples (abi/sample.h) */
	WEIR_ON_PREFIXES = 1 << 4,      /* services whose addresses are prefixes (service_prefixes) */
	WEIR_ON_NAT      = 1 << 5,      /* replies of backends behind NAT are looked for (abi/nat.h) */
	WEIR_ON_CHECKSUM = 1 << 6,      /* GUE over IPv6 carries a checksum of UDP */
	WEIR_ON_FLAGS    = 1 << 7,      /* SYN, FIN and RST are counted by service */
	WEIR_ON_FEEDBACK = 1 << 8,      /* who has a relayed connection tells the balancer (abi/gue.h) */
};

struct weir_settings {
	__u32 off;                      /* enum weir_off */
	__u16 gue_port;                 /* 0: 6080 (IANA: gue) */
	__u16 mtu;                      /* of the way to backends that have none; 0: 1500 */
	__u16 udp_learn_s;              /* sticky UDP: how long unknown flows of a slot that moved count as
					   old ones; 0: 60 */
	__u8  ttl;                      /* of outer headers; 0: 64 */
	__u8  zero1;
	__u32 on;                       /* enum weir_on */
	__u32 sample;                   /* one of so many packets is sampled; 0, 1: each that passes the filter */
	__u32 services_version;         /* 0: services are looked up for every packet. Else a CPU remembers
					   what it found for a second or two, or until this changes: who
					   changes services or service_prefixes adds one afterwards */
	__u32 zero2[2];
};
_Static_assert(sizeof(struct weir_settings) == 32, "settings");

/* ---- services: hash ------------------------------------------------------------------------ */
/* Port 0 is any port. {address, port 0, ICMP (1) or ICMPv6 (58)} makes the address answer echo and
 * tells that it is a service address at all. */
struct weir_service_key {
	__be32 addr[4];
	__be16 port;                    /* (be) */
	__u8   proto;                   /* IPPROTO_TCP, _UDP, _ICMP, _ICMPV6 */
	__u8   family;                  /* WEIR_FAMILY_4, _6 */
};
_Static_assert(sizeof(struct weir_service_key) == 20, "service key");

enum weir_encap { WEIR_ENCAP_GUE, WEIR_ENCAP_IPIP, WEIR_ENCAP_NAT };

enum weir_service_flag {
	WEIR_SERVICE_UDP_STICKY = 1 << 0,       /* UDP flows keep their backend while slots move */
	WEIR_SERVICE_QUIC       = 1 << 1,       /* UDP is QUIC: by connection ID (abi/quic.h) */
	WEIR_SERVICE_TWO        = 1 << 2,       /* a SYN takes the less loaded of two candidates */
	WEIR_SERVICE_ADDRESSES  = 1 << 3,       /* slots by addresses alone, not ports: a client keeps its
						   backend, fragments may come in any order */
};

struct weir_service {
	__u32 number;                   /* its counters and information, < WEIR_SERVICES_MAX */
	__u32 first;                    /* its slots are slots[first .. first + slots - 1] */
	__u32 slots;
	__u8  encap;                    /* enum weir_encap */
	__u8  flags;                    /* enum weir_service_flag */
	__be16 port;                    /* (be) of backends behind NAT; 0: the service's own */
};
_Static_assert(sizeof(struct weir_service) == 16, "service");

/* service_prefixes: LPM trie, consulted with WEIR_ON_PREFIXES after the hash has no entry, exact port
 * before any; value struct weir_service. bits: 32 (protocol, family and port are exact) + those of
 * the address. Echo as above: {port 0, ICMP or ICMPv6}. */
struct weir_prefix_key {
	__u32  bits;
	__u8   proto;
	__u8   family;
	__be16 port;                    /* (be) */
	__be32 addr[4];
};
_Static_assert(sizeof(struct weir_prefix_key) == 24, "prefix key");
#define WEIR_PREFIX_HEAD     32u        /* bits before the address */
#define WEIR_PREFIXES_MAX    4096u

/* service_recent: per-CPU array by a hash of the key, the program's own (settings.services_version).
 * Also remembers that there is no service. */
#define WEIR_RECENT_MAX 256u            /* 16 KiB a CPU: stays in the first-level cache */

struct weir_recent {
	struct weir_service_key key;    /* as asked for */
	__u32 version;                  /* of settings; 0: nothing is remembered here */
	struct weir_service service;
	__u32 found;
	__u32 since;                    /* the program's clock: what is old is looked up again */
	__u32 zero[4];                  /* to a cache line */
};
_Static_assert(sizeof(struct weir_recent) == 64, "recent");

/* service_info: array by number; for people and for adoption, the program does not read it. */
struct weir_service_info {
	char  name[WEIR_NAME_MAX];      /* "": the number is free */
	__u32 first, slots;
	__u32 generation;               /* of the ring, as the agent counts */
	__u32 zero;
};
_Static_assert(sizeof(struct weir_service_info) == 80, "service info");

/* ---- slots: array, mapped by the agent ------------------------------------------------------ */
/* The first eight bytes are written as one 64-bit word by the agent and only read by the program;
 * `elsewhere` is written by both. */
struct weir_slot {
	__u16 current;                  /* backend of new flows; 0: none */
	__u16 previous;                 /* the slot is in transition: backend of flows without a note; 0: steady;
					   may be current: some flows were reported by others (reported) */
	__u16 owners[WEIR_OWNERS];      /* the last ones before current, newest first, no two alike */
	__u16 since;                    /* monotonic seconds, low bits, when the transition began */
	__u32 elsewhere;                /* monotonic seconds when a packet last went to another than current */
};
_Static_assert(sizeof(struct weir_slot) == 16, "slot");

/* ---- backends: array by index ---------------------------------------------------------------- */
enum weir_backend_flag {
	WEIR_BACKEND_DOWN  = 1 << 0,
	WEIR_BACKEND_LOCAL = 1 << 1,    /* this node: packets are left to the host as they are */
	WEIR_BACKEND_VLAN  = 1 << 2,    /* its packets leave with a tag of the VLAN `vlan`, others without one */
	WEIR_BACKEND_VLAN_AD = 1 << 3,  /* beside it: a tag of 802.1ad, not 802.1Q */
};

struct weir_backend {
	__be32 addr[4];                 /* of the tunnel's end */
	__be32 source[4];               /* outer source, same family; zero: the service's address if of that
					   family, else the packet is dropped as NO_ROUTE */
	__u64  id;                      /* of its name, for adoption */
	__u32  ifindex;                 /* 0: ask the kernel's routes (needs forwarding switched on) */
	__u8   mac[6];                  /* next hop */
	__u8   source_mac[6];
	__u16  mtu;                     /* of the way there; 0: the settings' */
	__u16  service;                 /* number */
	__u8   family;                  /* of addr and source; 0: there is no such backend */
	__u8   flags;                   /* enum weir_backend_flag */
	__u16  vlan;                    /* with WEIR_BACKEND_VLAN: the VLAN's id on the interface `ifindex` */
};
_Static_assert(sizeof(struct weir_backend) == 64, "backend");

/* ---- devices: hash, key __u32 ifindex -------------------------------------------------------- */
/* What the kernel's routes may name and XDP cannot send by as it is; and this node's own link addresses. A
 * device that is not in it is sent by as routes say. */
enum weir_device_flag {
	WEIR_DEVICE_HOST = 1 << 0,      /* XDP cannot send there: what goes there is left to the host */
	WEIR_DEVICE_MAC  = 1 << 1,      /* `mac` is given */
	WEIR_DEVICE_VLAN = WEIR_BACKEND_VLAN,           /* a VLAN device: sent by the device `below`, with a tag */
	WEIR_DEVICE_VLAN_AD = WEIR_BACKEND_VLAN_AD,     /* beside it, as above */
};

struct weir_device {
	__u32 below;                    /* ifindex */
	__u16 vlan;
	__u8  flags;                    /* enum weir_device_flag */
	__u8  zero1;
	__u8  mac[6];                   /* of an interface in tx_ports: what is forwarded was sent to it */
	__u16 zero2;
};
_Static_assert(sizeof(struct weir_device) == 16, "device");

/* ---- flows: notes, half_open, fragments (all LRU hashes) -------------------------------------- */
struct weir_flow {                      /* as the client's packets have it */
	__be32 source[4];
	__be32 dest[4];
	__be16 source_port;             /* (be) */
	__be16 dest_port;               /* (be) */
	__u8   proto;
	__u8   family;
	__u16  zero;
};
_Static_assert(sizeof(struct weir_flow) == 40, "flow");

struct weir_note {
	__u16 backend;
	__u16 since;                    /* the slot's, a note of an earlier transition does not count */
};
_Static_assert(sizeof(struct weir_note) == 4, "note");

/* reported: LRU hash like the notes, by what owners of the slot said (abi/gue.h). A steady slot consults
 * nothing; the first report of a flow of one sets its `previous` to `current`: a transition in which whatever
 * has no note goes to the same backend, and which ends like all. */
#define WEIR_REPORTED_MAX   16384u

/* told: LRU hash by flow, __u64: the program's clock when it was last reported, at most once a second. */
#define WEIR_TOLD_MAX       4096u

/* reports: ring of what the loader is to send. */
#define WEIR_REPORTS_RING   65536u

struct weir_report {
	struct weir_flow flow;
	__be32 own[4];                  /* this node's tunnel address: the report's source */
	__be32 balancer[4];             /* its destination */
	__u8   family;                  /* of both */
	__u8   zero[7];
};
_Static_assert(sizeof(struct weir_report) == 80, "report");

struct weir_fragment_key {
	__be32 source[4];
	__be32 dest[4];
	__be32 id;                      /* (be) */
	__u8   proto;
	__u8   family;
	__u16  zero;
};
_Static_assert(sizeof(struct weir_fragment_key) == 40, "fragment key");

struct weir_fragment {
	__u16 backend;
	__u8  encap;
	__u8  zero;
	__u32 service;
};
_Static_assert(sizeof(struct weir_fragment) == 8, "fragment");

/* tx_ports: DEVMAP_HASH, key and value __u32 ifindex: where WEIR_ON_ROUTE may forward to. */

/* ---- decapsulation ---------------------------------------------------------------------------- */
/* decap_sources: LPM trie; an IPv4 prefix is ::ffff:a.b.c.d with 96 bits more. */
struct weir_prefix {
	__u32  bits;
	__be32 addr[4];
};
_Static_assert(sizeof(struct weir_prefix) == 20, "prefix");

/* Its value, __u32: what may be inside. */
enum weir_decap {
	WEIR_DECAP_ANY     = 1,         /* anything: agent.decap.from */
	WEIR_DECAP_TUNNELS = 2,         /* packets for tunnel_prefixes alone: another edge */
};

/* tunnel_prefixes: LPM trie of the same keys, value __u32 1: from where tunnels have addresses. */

/* decap_ifaces: hash, key __u32 ifindex, value __u32 1. decap_targets: hash of this node's own
 * addresses (IPv4 as ::ffff:a.b.c.d), value __u32 1. All three must agree to a packet. */
struct weir_target {
	__be32 addr[4];
};

/* ---- the listener of tunnels: listen.bpf.c ----------------------------------------------------- */
/* tunnel_ports: hash, value __u32: the service's number. */
struct weir_port_key {
	__be32 addr[4];
	__be16 port;                    /* (be) */
	__u8   family;
	__u8   zero;
};
_Static_assert(sizeof(struct weir_port_key) == 20, "port key");

/* listeners: sockmap. */
enum { WEIR_LISTENER_4, WEIR_LISTENER_6, WEIR_LISTENERS };

/* listen_counts: per-CPU array of __u64. X(NAME, meaning) */
#define WEIR_LISTEN_COUNTS(X)                                                                      \
	X(STEERED, "connections to an open port, led to the edge's listener")                      \
	X(CLOSED, "to a port that no tunnel opened, or not TCP: refused")                          \
	X(ABSENT, "to an open port, but the edge has handed over no listener: refused")

enum weir_listen_count {
#define WEIR_LISTEN_NUMBER(name, meaning) WEIR_LISTEN_##name,
	WEIR_LISTEN_COUNTS(WEIR_LISTEN_NUMBER)
#undef WEIR_LISTEN_NUMBER
	WEIR_LISTEN_COUNT
};

/* ---- counters: per-CPU arrays ------------------------------------------------------------------ */
/* reasons (by enum weir_reason), service_counts (by number), backend_counts (by index). */
struct weir_count {
	__u64 packets;
	__u64 bytes;                    /* frame as received */
};
_Static_assert(sizeof(struct weir_count) == 16, "count");

#endif
