/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.h -- the loader process and the messages by which the agent speaks to it.
 *
 * A SOCK_SEQPACKET pair; one struct loader_message asked, one answered. Both ends are of one build and one
 * machine, so the structs travel as they are; the loader all the same checks every length and
 * number, because the agent reads what strangers send and the loader holds power.
 */
#ifndef WEIR_LOADER_H
#define WEIR_LOADER_H

#include <stdint.h>

#include "lib/conf.h"
#include "lib/priv.h"
#include "user/agent/dataplane.h"
#include "user/agent/maps.h"
#include "user/agent/natset.h"

#define LOADER_BODY_MAX  49152
#define LOADER_PATH_MAX  4096
#define LOADER_SLOTS_MAX (LOADER_BODY_MAX / sizeof(uint16_t))   /* a message */

enum loader_op {
	LOADER_SERVICE_SET,     /* body: struct maps_service, struct maps_address[] */
	LOADER_BACKEND_SET,     /* number: service; body: struct loader_backend */
	LOADER_SWEEP,           /* number: enum maps_scope */
	LOADER_SLOTS_GET,       /* number: service, offset; answer: uint16_t[] */
	LOADER_SLOTS_PUT,       /* number: service, offset; body: uint16_t[]; kept until SET */
	LOADER_SLOTS_SET,       /* number: service, offset: slots; body: uint32_t generation; result: moved */
	LOADER_STATE,           /* number: service; answer: struct dataplane_service_state */
	LOADER_REASONS,         /* answer: struct weir_count[] */
	LOADER_BACKEND_COUNTS,  /* body: uint16_t[]; answer: struct weir_count[] */
	LOADER_SOCKET,          /* number: family; the answer carries the socket */
	LOADER_INTERFACES,      /* answer: struct dataplane_interface[] */
	LOADER_CHANGE,          /* body: struct loader_change, struct addr_prefix[], char[16][] */
	LOADER_SERVICE_REMOVE,  /* number: a tunnel's service */
	LOADER_SERVICE_COUNTS,  /* body: uint32_t[]; answer: struct weir_count[] */
	LOADER_EDGES,           /* body: struct loader_edges, struct addr[] */
	LOADER_LISTENER,        /* number: family; the question carries the socket */
	LOADER_TABLE_GET,       /* number: service, offset; answer: struct weir_slot[]; result: slots in all */
	LOADER_TABLE_PUT,       /* number: service, offset; body: uint64_t serving, struct weir_slot[] */
	LOADER_OWNER_GET,       /* number: index; answer: struct loader_owner */
	LOADER_OWNER_SET,       /* number: service; body: struct loader_owner; result: index */
	LOADER_LISTEN_COUNTS,   /* answer: uint64_t[WEIR_LISTEN_COUNT] */
	LOADER_SAMPLE_FILTER,   /* number: which; body: struct weir_sample_filter */
	LOADER_SAMPLE_RING,     /* the answer carries the ring's descriptor */
	LOADER_SAMPLE_COUNTS,   /* answer: uint64_t[WEIR_SAMPLE_COUNTS] */
	LOADER_FLAG_COUNTS,     /* body: uint32_t[], services; answer: struct weir_flag_count[] */
	LOADER_BACKEND_QUIC,    /* number: service, offset: index; body: the server ID */
	LOADER_CPU_COUNTS,      /* answer: struct dataplane_cpu[] */
	LOADER_PROBE,           /* number: backend; body: struct loader_probe; the answer carries the socket;
				   result 1: none, it cannot be (the body says why) */
	LOADER_EGRESS_COUNTS,   /* answer: uint64_t[WEIR_EGRESS_COUNT] */
	LOADER_ANNOUNCE,        /* number: table; body: struct addr_prefix[] */
	LOADER_FILTER,          /* number: enum dataplane_filter */
	LOADER_NAT,             /* answer: struct natset_state */
	LOADER_NOTES,           /* answer: struct dataplane_notes */
	LOADER_LOADS,           /* body: struct dataplane_load[] */
	LOADER_QUIC_KEY,        /* number: service, body: path of its key; offset 1: only whether it would work */
};

struct loader_message {
	uint32_t op;
	int32_t result;         /* of an answer; below 0 the body is a sentence */
	uint32_t number, offset;
	uint32_t len;           /* of the body */
	uint32_t zero;
	_Alignas(8) uint8_t body[LOADER_BODY_MAX];
};
#define LOADER_HEAD offsetof(struct loader_message, body)

struct loader_backend {
	char name[WEIR_NAME_MAX];
	struct addr address;
	bool up;
};

struct loader_owner {
	uint64_t id;            /* ring_id() of its name */
	struct addr address;
	bool up;
};

struct loader_probe {
	struct addr service;            /* to be connected to */
	uint8_t encap;                  /* enum weir_encap */
};

/* The switches that the configuration has by themselves. */
#define LOADER_SWITCHES (WEIR_ON_ROUTE | WEIR_ON_CHECKSUM | WEIR_ON_FEEDBACK)

struct loader_change {
	uint64_t drain_us;
	uint32_t mark, mss;
	uint32_t on;                    /* of enum weir_on: LOADER_SWITCHES */
	uint32_t nfrom, nprefixes, ninterfaces; /* what follows, in this order */
	struct natset_want nat;
};

struct loader_edges {
	struct addr self[2];            /* this node's edge: IPv4, IPv6; AF_UNSPEC: none */
	uint32_t n;
};

/* Runs until the other end of sock is closed; does not return. The first message it sends says how
 * the start went. tunnels may be NULL. */
_Noreturn void loader_run(int sock, const struct conf_agent *conf,
			  const struct conf_tunnels *tunnels, const struct priv_user *user);

/* agent.nat as the loader takes it. */
struct natset_want loader_nat_want(const struct conf_agent *conf);

/* Which of LOADER_SWITCHES are on. */
uint32_t loader_switches(const struct conf_agent *conf);
/* Where encapsulated packets are taken: agent.decap.interfaces, or with tunnels and none said,
 * agent.interfaces. Returns how many. */
size_t loader_decap_interfaces(const struct conf_agent *conf, const struct conf_tunnels *tunnels,
			       char ***names);

#endif
