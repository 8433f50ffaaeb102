/* SPDX-License-Identifier: Apache-2.0 */
/* loader_int.h -- what loader.c and loader_*.c share of the loader process. */
#ifndef WEIR_LOADER_INT_H
#define WEIR_LOADER_INT_H

#include "user/agent/attach.h"
#include "user/agent/loader.h"
#include "user/agent/netlink.h"
#include "user/agent/steer.h"

#define LOADER_FROM_MAX	    1024
#define LOADER_PREFIXES_MAX 256
#define LOADER_EDGES_MAX    1024

struct loader {
	int sock;
	struct packet_path *path;
	struct steer *steer; /* NULL: no tunnels here */
	struct maps_fds fds;
	struct maps *maps;
	struct netlink *nl;
	uint32_t drain_s, mark;
	struct addr_prefix from[LOADER_FROM_MAX]; /* agent.decap.from */
	size_t nfrom;
	struct addr_prefix edges[LOADER_EDGES_MAX]; /* other edges' addresses */
	size_t nedges;
	bool edges_known;	      /* were told in this process's life */
	struct addr self[2];	      /* this node's edge, as others know it: IPv4, IPv6 */
	bool unresolved;	      /* some next hop is not known yet */
	bool stale;		      /* the kernel's tables changed since they were read */
	uint32_t confirmed;	      /* when neighbours were last confirmed */
	uint16_t put[WEIR_SLOTS_MAX]; /* LOADER_SLOTS_PUT */
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
/* Prefixes of tunnels: the map and the local routes. */
int loader_prefixes(struct loader *l, const struct addr_prefix *prefix, size_t n);
/* While privileged. */
int loader_start_tunnels(struct loader *l, const struct conf_agent *conf,
			 const struct conf_tunnels *tunnels);
/* A tunnel's packets bear the address by which other edges know this one. */
void loader_tunnel_source(struct loader *l, const struct weir_backend *b, struct netlink_way *way);

struct addr loader_backend_address(const struct weir_backend *b);
int loader_do_table_get(struct loader *l);
int loader_do_table_put(struct loader *l);
int loader_do_owner_get(struct loader *l);
int loader_do_owner_set(struct loader *l);

/* Nothing is sampled any more. */
int loader_samples_clear(struct loader *l);
/* Clears what an earlier loader left, counts SYN, FIN and RST. */
int loader_start_seeing(struct loader *l);
int loader_do_sample_filter(struct loader *l);
int loader_do_sample_ring(struct loader *l);
int loader_do_sample_counts(struct loader *l);
int loader_do_flag_counts(struct loader *l);
int loader_do_cpu_counts(struct loader *l);

int loader_do_edges(struct loader *l);
int loader_do_listener(struct loader *l);
int loader_do_listen_counts(struct loader *l);
int loader_do_service_remove(struct loader *l);
int loader_do_service_counts(struct loader *l);

#endif
