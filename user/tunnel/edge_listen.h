/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edge_listen.h -- the sockets on which an edge listens: bound while privileged, or taken from the
 * service manager (LISTEN_FDS), which keeps them over a restart so that connections wait meanwhile.
 */
#ifndef WEIR_TUNNEL_EDGE_LISTEN_H
#define WEIR_TUNNEL_EDGE_LISTEN_H

#include <stddef.h>

#include "lib/conf.h"

struct edge_sockets {
	int *plain, *tls, *attach; /* as conf's listen, listen_tls, attach */
	size_t nplain, ntls, nattach;
	int tunnel[2]; /* v4, v6: loopback, any port; sk_lookup feeds them; -1: none */
};

/* 0, or -errno said in the log. */
int edge_sockets_open(struct edge_sockets *s, const struct conf *conf);
/* Gives copies to the service manager for the next process; no effect without one. */
void edge_sockets_store(const struct edge_sockets *s);
void edge_sockets_forget(struct edge_sockets *s); /* frees the lists, not the sockets */

#endif
