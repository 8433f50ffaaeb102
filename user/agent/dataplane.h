/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataplane.h -- how the agent drives the packet path without holding any power itself.
 *
 * dataplane_open() forks the loader while the agent is still privileged. The loader loads or adopts
 * what is pinned, attaches, fills the maps, follows routes and neighbours, ends transitions, and
 * keeps CAP_BPF and CAP_NET_ADMIN alone; the agent speaks to it over a socket pair. Every call here
 * is one question and one answer (microseconds; a whole ring a millisecond), from the main thread
 * only. Return values are 0 (or a number) or -errno; -EPIPE means that the loader died: traffic goes
 * on as it was, the agent should say so and exit, to be started again by whoever runs it.
 *
 * Names are the identity: numbers and indexes are given out by the loader, found again after a
 * restart, and stay the same as long as name, service and address do. Stopping, killing or upgrading the
 * agent changes nothing in the packet path; dataplane_detach() takes it down.
 */
#ifndef WEIR_DATAPLANE_H
#define WEIR_DATAPLANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi/egress.h"
#include "bpf/abi/maps.h"
#include "bpf/abi/sample.h"
#include "lib/addr.h"
#include "lib/conf.h"
#include "lib/priv.h"
#include "user/agent/maps.h"
#include "user/agent/natset.h"

struct dataplane;

/* Privileged (call in daemon prepare). Loads, attaches to conf->interfaces, sets settings and
 * decapsulation; logs what it did and why it failed. user is what the loader drops to (with its two
 * capabilities). With no interfaces the maps are still made. tunnels may be NULL; when it is enabled
 * connections to its prefixes are led to the edge's listener. */
int dataplane_open(struct dataplane **out, const struct conf_agent *conf,
		   const struct conf_tunnels *tunnels, const struct priv_user *user);
/* Ends the loader; the packet path stays. Accepts NULL. */
void dataplane_close(struct dataplane *dp);
/* Becomes readable (with end of file) when the loader died; for loop_fd_add(). */
int dataplane_fd(const struct dataplane *dp);
/* The last failure as a sentence. */
const char *dataplane_error(const struct dataplane *dp);

/* Keys of connection IDs that a reload names: before anything is changed, so that there is nothing to go back from. */
int dataplane_try_keys(struct dataplane *dp, const struct conf_agent *conf);
/* A reload: decapsulation sources, prefixes of tunnels, drain time and mark change at once; interfaces, attach,
 * mode, pin, and whether there are tunnels need a restart (-EBUSY, dataplane_error() names which). */
int dataplane_reconfigure(struct dataplane *dp, const struct conf_agent *conf,
			  const struct conf_tunnels *tunnels);

/* ---- services and backends ------------------------------------------------------------------ */
/* Makes or changes the service of that name (addresses, slots, encap, udp). Returns its number, or
 * -errno: -ENOSPC (no slots, numbers or addresses left), -EADDRINUSE (an address belongs to another
 * service). A changed number of slots starts with empty ones that replace the old when they are
 * first set with dataplane_slots_set(). A service without addresses gets a number and slots all the same. */
int dataplane_service_set(struct dataplane *dp, const struct conf_service *service);

/* Makes or changes the backend of that name in a service. Returns its index (1..) or -errno. A
 * changed address is a new index. The node's own addresses are recognised: such a backend is served
 * by the host itself. up false: its slots' packets go to other owners of the slot, or are dropped. */
int dataplane_backend_set(struct dataplane *dp, int service, const char *name,
			  const struct addr *address, bool up);

/* The server ID in the connection IDs that the backend of that index makes (QUIC-LB), for a service
 * with udp: quic; len 0: none. */
int dataplane_backend_quic(struct dataplane *dp, int service, int index, const uint8_t *id, size_t len);

/* Removes every service and backend of that kind that was not set since the last sweep (or open): call
 * after all were set, at start and after a reload. A backend that still owns or owned slots of a live
 * service is kept until none refers to it. Services whose names begin with WEIR_TUNNEL_NAME are of the
 * other kind: an agent that knows nothing of tunnels yet leaves them as they are. */
int dataplane_sweep(struct dataplane *dp, enum maps_scope scope);

/* ---- slots ------------------------------------------------------------------------------------ */
/* What each slot's current owner is (0: none): after a restart, what was adopted. n must be the
 * service's number of slots. */
int dataplane_slots_get(struct dataplane *dp, int service, uint16_t *owner, size_t n);
/* Gives each slot to owner[i] (an index, 0: none). Slots that change enter transition by the rules
 * 1-3: established flows stay, new ones go to the new owner; a slot whose old owner is down, or that had none,
 * changes at once. *moved (may be NULL): how many changed. generation is kept for people and adoption. */
int dataplane_slots_set(struct dataplane *dp, int service, const uint16_t *owner, size_t n,
			uint32_t generation, uint32_t *moved);

/* Whole slots, to copy them to another balancer: `since` and `elsewhere` are seconds ago (0: steady slots),
 * owners are indexes of this node. n must be the service's number of slots. */
int dataplane_table_get(struct dataplane *dp, int service, struct weir_slot *out, size_t n);
/* Takes over what a sister knows (slot_copy() in maps.h), owners as indexes of this node. *changed may be NULL. */
int dataplane_table_put(struct dataplane *dp, int service, const struct weir_slot *in, size_t n,
			bool serving, uint32_t *changed);
/* A backend by its index: its name's ring_id(), address, state. -ENOENT: there is none. */
int dataplane_owner_get(struct dataplane *dp, uint16_t index, uint64_t *id, struct addr *address,
			bool *up);
/* A former owner of slots, which this configuration does not name: its index or -errno. */
int dataplane_owner_set(struct dataplane *dp, int service, uint64_t id, const struct addr *address,
			bool up);

struct dataplane_service_state {
	uint32_t slots, transition;     /* transition: how many slots are in it */
	uint32_t generation;            /* of the last dataplane_slots_set(), also of an earlier process */
	struct weir_count count;
};
int dataplane_service_state(struct dataplane *dp, int service,
			    struct dataplane_service_state *out);

/* ---- counters ---------------------------------------------------------------------------------- */
int dataplane_reasons(struct dataplane *dp, struct weir_count out[WEIR_REASON_COUNT]);
const char *dataplane_reason_name(enum weir_reason reason);      /* "FORWARDED" */
const char *dataplane_reason_fate(enum weir_reason reason);      /* "sent", "passed", "dropped", "taken" */
/* Counts of backends[0..n-1] (indexes), n at most 1024 a call. */
int dataplane_backend_counts(struct dataplane *dp, const uint16_t *backends, size_t n,
			     struct weir_count *out);

int dataplane_flag_counts(struct dataplane *dp, const uint32_t *services, size_t n,
			  struct weir_flag_count *out);
struct dataplane_cpu {
	uint64_t sent, passed, dropped; /* packets */
};
/* Of each CPU that there may be; returns how many were written. */
int dataplane_cpu_counts(struct dataplane *dp, struct dataplane_cpu *out, size_t max);

/* ---- samples (trace.c) ------------------------------------------------------------------------ */
/* The filter of that number; without reasons: none. */
int dataplane_sample_filter(struct dataplane *dp, uint32_t index, const struct weir_sample_filter *f);
/* A descriptor of the ring (samples.h), the caller's. */
int dataplane_sample_ring(struct dataplane *dp);
int dataplane_sample_counts(struct dataplane *dp, uint64_t out[WEIR_SAMPLE_COUNTS]);
/* What is remembered of flows. Some milliseconds when it is much. */
struct dataplane_notes {
	uint32_t notes, room;           /* of transitions that go on; of these the oldest are forgotten when full */
	uint32_t half_open, half_open_room;
	uint32_t kept;                  /* flows that chose another backend than their slot's, also ended ones */
};
int dataplane_notes(struct dataplane *dp, struct dataplane_notes *out);

/* How loaded backends are, for services with `choice: two`; n at most 1024 a call. */
struct dataplane_load {
	uint32_t backend;               /* index */
	uint32_t load;                  /* WEIR_LOAD_FULL: full; 0: not known */
};
int dataplane_loads(struct dataplane *dp, const struct dataplane_load *load, size_t n);

/* How full NAT is; some milliseconds when agent.nat has addresses. */
int dataplane_nat(struct dataplane *dp, struct natset_state *out);

/* ---- tunnels ---------------------------------------------------------------------------------- */
/* A service whose name begins with WEIR_TUNNEL_NAME is a tunnel: its TCP ports are also open to
 * connections that reach this node, and it can be removed by itself. */
int dataplane_service_remove(struct dataplane *dp, int service);
/* n at most 1024 a call. */
int dataplane_service_counts(struct dataplane *dp, const uint32_t *services, size_t n,
			     struct weir_count *out);
/* The addresses from which other edges encapsulate, in place of those told before: packets for
 * tunnels' addresses are accepted from them. self: this node's own (IPv4, IPv6; AF_UNSPEC: none), the
 * outer source of what is sent to the others. */
int dataplane_edges(struct dataplane *dp, const struct addr self[2], const struct addr *others,
		    size_t n);
/* The edge's listening socket of a family; fd stays the caller's. */
int dataplane_listener(struct dataplane *dp, int family, int fd);
int dataplane_listen_counts(struct dataplane *dp, uint64_t out[WEIR_LISTEN_COUNT]);

/* ---- the filter (filterset.h says what these do) ------------------------------------------------ */
enum dataplane_filter {
	DATAPLANE_FILTER_BEGIN,
	DATAPLANE_FILTER_PUT,           /* body: struct filterset_entry[] */
	DATAPLANE_FILTER_COMMIT,
	DATAPLANE_FILTER_CHANGE,        /* body: struct filterset_entry[] */
	DATAPLANE_FILTER_LOOKUP,        /* body: struct filterset_entry; returns enum weir_verdict */
	DATAPLANE_FILTER_LIMITS,        /* body: struct weir_limits, or nothing: no limits */
	DATAPLANE_FILTER_TOP,           /* answer: struct filterset_top[] */
	DATAPLANE_FILTER_STATE,         /* answer: struct filterset_state */
};
#define DATAPLANE_FILTER_ENTRIES 2400u  /* a call */
/* body and out may be NULL with length 0; *max is the room of out and becomes the answer's length. */
int dataplane_filter(struct dataplane *dp, enum dataplane_filter what, const void *body, size_t len, void *out,
		     size_t *max);

/* ---- the rest ----------------------------------------------------------------------------------- */
/* A non-blocking, close-on-exec TCP socket of AF_INET or AF_INET6 with the configured mark, for health
 * checks. Returns the fd or -errno. */
int dataplane_socket(struct dataplane *dp, int family);

/* A socket like that, to be connected to a service's address: its packets go to this backend alone, by the
 * encapsulation and the way of clients' packets. Returns the fd, or -errno. -EOPNOTSUPP: such a check
 * cannot be made, dataplane_error() says why (the backend or the address is this node's own). */
int dataplane_probe(struct dataplane *dp, uint16_t backend, const struct addr *service,
		    enum weir_encap encap);
/* What became of packets that this host sent itself; -EOPNOTSUPP: this kernel cannot. */
int dataplane_egress_counts(struct dataplane *dp, uint64_t out[WEIR_EGRESS_COUNT]);
/* The table (agent.announce) holds these addresses and no others; 0: none does. */
int dataplane_announce(struct dataplane *dp, uint32_t table, const struct addr_prefix *prefix, size_t n);

struct dataplane_interface {
	char name[16];
	char mode[8];                   /* "native", "generic" */
	char attach[12];                /* "link", "dispatcher" */
};
/* Returns how many were written. */
int dataplane_interfaces(struct dataplane *dp, struct dataplane_interface *out, size_t max);

/* Takes the packet path down: unpins links, program and maps under conf->pin, and tells each step on
 * standard output. For `weir-agent --detach`; needs root. Returns the exit code. */
int dataplane_detach(const struct conf_agent *conf);

#endif
