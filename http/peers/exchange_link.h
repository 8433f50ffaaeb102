/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange_link.h -- one gateway's way to another: a queue for each direction of the talk, and a thread that sends what
 * waits as one request; what comes meanwhile is the next one's, so that batches grow with the load by themselves.
 */
#ifndef WEIR_EXCHANGE_LINK_H
#define WEIR_EXCHANGE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/httpc.h"

struct link;
/* What all links of one process share. */
struct link_shared {
	int64_t run; /* a number of this process: batches say it */
	_Atomic int64_t number; /* of the last batch */
	_Atomic uint64_t lost; /* messages that the other never had: it did not answer, or memory lacked */
};
struct link_options {
	struct httpc *client;
	const char *from; /* this node */
	const char *node; /* the other */
	struct link_shared *shared; /* outlives the link */
	/* The other did not answer, or memory lacked: what was under way and waited is lost. Then, once, that it answers again. On the
	 * link's thread. */
	void (*lost)(void *arg, const char *node);
	void (*found)(void *arg, const char *node);
	/* What a request's body bears as X-Weir-Peers; way: "up", "down". NULL: nothing. */
	void (*sign)(void *arg, const char *way, const char *text, char mac[45]);
	void *arg;
};
struct link *link_start(const struct link_options *opt); /* NULL: no memory, or no thread */
void link_stop(struct link *l); /* sends nothing more, joins; what others still say is kept for nobody. Accepts NULL */
void link_free(struct link *l); /* after all links were stopped: each one's thread may speak to the others. Accepts NULL */
/* From now on it leads to another gateway, nowhere for now; what waits is lost. Of one that is long gone. */
void link_set_node(struct link *l, const char *node);
void link_set_url(struct link *l, const char *url);	 /* "http(s)://HOST:PORT"; "": nowhere for now */

enum link_queue { LINK_UP, LINK_DOWN, LINK_QUEUES };
/* Takes a copy. Never blocks for the network. What no longer fits, or has no memory, is lost, as if the other did not answer. */
void link_send(struct link *l, enum link_queue queue, int kind, const char *viewer, const char *asset, const char *text);

#endif
