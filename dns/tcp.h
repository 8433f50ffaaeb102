/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp.h -- DNS over TCP (RFC 7766): one thread, pipelined questions answered in order, limits on
 * connections (in all, and of one client network) and on silence.
 *
 * Used by server.c alone.
 */
#ifndef WEIR_DNS_TCP_H
#define WEIR_DNS_TCP_H

#include "dns/server.h"

struct tcp;

struct tcp_counts {
	struct server_counts answers;
	_Atomic uint64_t refused; /* closed at once: too many of one network */
	_Atomic uint64_t evicted; /* the longest silent one made room */
	_Atomic uint64_t idle;	  /* silent, or not reading, for too long */
	_Atomic uint64_t open;
};

/* fds: listening sockets, non-blocking; they stay the caller's. 0 or -errno. */
int tcp_start(struct tcp **out, const int *fds, size_t nfds, struct views *views,
	      struct view_reader *reader);
void tcp_limits(struct tcp *tcp, unsigned int connections, uint64_t idle_us);
const struct tcp_counts *tcp_counts(const struct tcp *tcp);
void tcp_stop(struct tcp *tcp); /* joins, closes connections; accepts NULL */

#endif
