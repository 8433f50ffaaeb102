/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h -- the sockets: UDP workers (one thread a socket, SO_REUSEPORT, whole batches a system
 * call) and one TCP thread, all answering from the current view.
 *
 * Sockets are bound while privileged, threads start afterwards. Each thread counts in its own
 * memory; server_count() adds up.
 */
#ifndef WEIR_DNS_SERVER_H
#define WEIR_DNS_SERVER_H

#include "dns/view.h"
#include "lib/conf.h"
#include "lib/metrics.h"

/* The types that are counted by name; the rest is "other". */
#define SERVER_TYPES(X) X(A) X(AAAA) X(NS) X(SOA) X(TXT) X(CNAME) X(MX) X(SRV) X(CAA) X(DS) X(ANY)

enum server_type_index {
#define X(name) SERVER_TYPE_##name,
	SERVER_TYPES(X)
#undef X
		SERVER_TYPE_OTHER,
	SERVER_TYPES_N,
};

struct server_counts {
	_Atomic uint64_t queries[SERVER_TYPES_N], rcodes[DNS_RCODES];
	_Atomic uint64_t truncated, ignored, send_failed;
};

struct server_totals {
	uint64_t queries[DNS_TRANSPORTS][SERVER_TYPES_N], rcodes[DNS_TRANSPORTS][DNS_RCODES];
	uint64_t truncated, ignored, send_failed;
	uint64_t tcp_refused, tcp_evicted, tcp_idle, tcp_open;
};

struct server;

/* Binds UDP and TCP on every listen address; logs its failures. 0 or -errno. */
int server_bind(struct server **out, const struct conf_ns *conf);
/* The first view must be there. latency (may be NULL) observes seconds from a batch read to its
 * answers sent. */
int server_start(struct server *server, struct metric_series *latency);
struct views *server_views(struct server *server);
void server_count(const struct server *server, struct server_totals *out);
const char *server_type_name(unsigned int index);
/* May be called from the main thread at any time, for connections to come. */
void server_limits(struct server *server, unsigned int connections, uint64_t idle_us);
void server_stop(struct server *server); /* joins; accepts NULL */

/* Counts one message; for the threads. */
void server_count_answer(struct server_counts *counts, const struct dns_answered *what);

#endif
