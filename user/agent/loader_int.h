/* SPDX-License-Identifier: Apache-2.0 */
/* loader_int.h -- what loader.c and loader_*.c share of the loader process. */
#ifndef WEIR_LOADER_INT_H
#define WEIR_LOADER_INT_H

#include <linux/rtnetlink.h>

#include "user/agent/attach.h"
#include "user/agent/egress.h"
#include "user/agent/filterset.h"
#include "user/agent/loader.h"
#include "user/agent/netlink.h"
#include "user/agent/steer.h"

#define LOADER_FROM_MAX	    1024
#define LOADER_PREFIXES_MAX 256
#define LOADER_EDGES_MAX    1024
#define LOADER_CLAMPED_MAX  128
#define LOADER_LED_MAX	    256

struct loader {
	int sock;
	struct packet_path *path;
	struct steer *steer; /* NULL: no tunnels here */
	struct maps_fds fds;
	struct maps *maps;
	struct feedback *feedback; /* loader_feedback.c */
	struct filterset *filter;
	struct netlink *nl;
	struct natset_state nat; /* as counted at nat_at, monotonic seconds */
	uint32_t nat_at;
	uint32_t drain_s, mark;
	struct addr_prefix from[LOADER_FROM_MAX]; /* agent.decap.from */
	size_t nfrom;
	struct addr_prefix edges[LOADER_EDGES_MAX]; /* other edges' addresses */
	size_t nedges;
	bool edges_known;	      /* were told in this process's life */
	struct addr self[2];	      /* this node's edge, as others know it: IPv4, IPv6 */
	struct egress_path *egress;   /* NULL: this kernel cannot */
	struct weir_egress settings;  /* as written */
	uint32_t mss;		      /* agent.decap.mss */
	uint32_t serving[LOADER_CLAMPED_MAX / 2], taken[LOADER_CLAMPED_MAX / 2]; /* .interfaces, .decap.interfaces */
	size_t nserving, ntaken;
	uint32_t clamped[LOADER_CLAMPED_MAX]; /* where the program hangs */
	size_t nclamped;
	struct {
		struct addr to;
		uint32_t used;	      /* monotonic seconds */
	} led[LOADER_LED_MAX];	      /* service addresses that checks are led to */
	size_t nled;
	bool leads;		      /* the program hangs at the loopback interface */
	uint32_t lead_tried;	      /* when, monotonic seconds */
	int lead_failed;	      /* and what came of it */
	bool started;
	bool unresolved;	      /* some next hop is not known yet */
	bool stale;		      /* the kernel's tables changed since they were read */
	uint32_t confirmed;	      /* when neighbours were last confirmed */
	struct loader_key *keys;      /* loader_quic.c */
	struct ciphers *ciphers;
	uint16_t *put; /* [slots of the map] LOADER_SLOTS_PUT */
	struct loader_message in, out;
	struct weir_sample_filter filters[WEIR_SAMPLE_FILTERS]; /* as asked for */
	int came_fd; /* came with the question, or -1 */
	int send_fd; /* goes with the answer, or -1 */
};

int loader_answer_error(struct loader *l, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int loader_answer_maps(struct loader *l, int rc);

/* The dynamic sources of decapsulation, after either list changed. */
int loader_sources(struct loader *l);
/* What of this node's devices the packet path has to know. */
void loader_devices(struct loader *l);
/* Is XDP native on one of the interfaces? In generic mode the kernel sends by any device that has link headers. */
bool loader_native(const struct loader *l);
/* Prefixes of tunnels: the map and the local routes. */
int loader_prefixes(struct loader *l, const struct addr_prefix *prefix, size_t n);
/* While privileged. */
int loader_start_tunnels(struct loader *l, const struct conf_agent *conf,
			 const struct conf_tunnels *tunnels);
/* A tunnel's packets bear the address by which other edges know this one. */
void loader_tunnel_source(struct loader *l, const struct weir_backend *b, struct netlink_way *way);

struct addr loader_backend_address(const struct weir_backend *b);
/* The way to a backend, from the kernel's tables into the map (loader_ways.c). */
int loader_backend_resolve(struct loader *l, uint32_t index);
/* After the kernel's tables changed: this node's addresses, and the ways to all backends. */
void loader_refresh(struct loader *l);
/* Neighbours that only the packet path uses stay known to the kernel. */
void loader_confirm(struct loader *l, uint32_t now);
/* loader_services.c */
int loader_do_service_set(struct loader *l);
int loader_do_backend_set(struct loader *l);
int loader_do_backend_quic(struct loader *l);
int loader_do_slots_get(struct loader *l);
int loader_do_slots_put(struct loader *l);
int loader_do_slots_set(struct loader *l);
int loader_do_state(struct loader *l);

int loader_do_table_get(struct loader *l);
int loader_do_table_put(struct loader *l);
int loader_do_owner_get(struct loader *l);
int loader_do_owner_set(struct loader *l);
/* loader_filter.c */
int loader_start_filter(struct loader *l);
int loader_do_filter(struct loader *l);
/* loader_quic.c. The first while privileged and before anything is changed: reads all keys, and refuses a kernel that
 * cannot use them. */
int loader_start_quic(struct loader *l, const struct conf_agent *conf);
int loader_do_quic_key(struct loader *l);

/* Nothing is sampled any more. */
int loader_samples_clear(struct loader *l);
/* Clears what an earlier loader left, counts SYN, FIN and RST. */
int loader_start_seeing(struct loader *l);
int loader_do_sample_filter(struct loader *l);
int loader_do_sample_ring(struct loader *l);
int loader_do_sample_counts(struct loader *l);
int loader_do_flag_counts(struct loader *l);
int loader_do_cpu_counts(struct loader *l);

/* A non-blocking TCP socket with the mark, or -errno (answered). */
int loader_socket(struct loader *l, int family);
/* While privileged, after netlink and maps. */
int loader_start_egress(struct loader *l, const struct conf_agent *conf);
/* After the configuration, an MTU or an address changed. */
void loader_clamp(struct loader *l);
/* After tc's filters changed: puts the program back where somebody took it off. */
void loader_lead_again(struct loader *l);
/* Each second: addresses that no check asks for are led nowhere. */
void loader_probe_tick(struct loader *l, uint32_t now);
/* Nobody checks any more: what led checks goes. */
void loader_probes_clear(struct loader *l);
int loader_do_probe(struct loader *l);
int loader_do_egress_counts(struct loader *l);
int loader_do_announce(struct loader *l);
int loader_nat(struct loader *l, const struct natset_want *want);
int loader_do_nat(struct loader *l);
int loader_do_notes(struct loader *l);
int loader_do_loads(struct loader *l);

int loader_start_feedback(struct loader *l);
/* Readable when the packet path has reports to be sent; they are by loader_feedback(). */
int loader_feedback_fd(const struct loader *l);
void loader_feedback(struct loader *l, uint32_t now);

int loader_do_edges(struct loader *l);
int loader_do_listener(struct loader *l);
int loader_do_listen_counts(struct loader *l);
int loader_do_service_remove(struct loader *l);
int loader_do_service_counts(struct loader *l);

#endif
