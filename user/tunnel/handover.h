/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover.h -- the listeners of tunnels' addresses go to weir-agent, whose sk_lookup program
 * steers connections to them.
 *
 * The agent listens on RUN/agent-listener.sock (SOCK_SEQPACKET). The edge sends {"do":"listen"}
 * with the sockets (SCM_RIGHTS, v4 then v6, when there are such), is answered {"ok":true}, and
 * keeps the connection: when it breaks, the agent has ended, and the edge tries again each second.
 */
#ifndef WEIR_TUNNEL_HANDOVER_H
#define WEIR_TUNNEL_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "user/tunnel/reactor.h"

struct handover;

/* fds are copied. path: the agent's socket. 0 or -errno; without an agent it goes on asking. */
int handover_start(struct handover **out, struct reactor *r, const char *path, const int *fds,
		   size_t nfds);
void handover_stop(struct handover *h);	      /* accepts NULL */
bool handover_done(const struct handover *h); /* does the agent steer to us? */

#endif
