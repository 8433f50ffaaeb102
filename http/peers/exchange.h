/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.h -- between homes and owners (peers.h): who owns an asset, and messages there and back, in batches over
 * the inside listeners (POST /_/peers/up, /_/peers/down), in order for each pair of gateways.
 *
 * Nothing is kept for a gateway that is away: its viewers are somewhere else's by then. What a home must tell a new
 * owner it asks its own half for (options.owner_changed).
 */
#ifndef WEIR_EXCHANGE_H
#define WEIR_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "http/peers/peers.h"

#define PEERS_ASSET_MAX  192 /* "BUCKET/ASSET", with terminator */
#define PEERS_VIEWER_LEN 16  /* hex digits of a viewer's id, without terminator */

enum peers_up {
	UP_JOIN,   /* text: facts {"prefix","as","consent","receive","metered","cellular","battery"}; "epoch", the one that it knows, when it
		    * is told again; "said": its consent is its own word, later than its token; "barred": it helps nobody;
		    * "excluded" */
	UP_TRACK,  /* text: what came over the tracker's WebSocket, as it came */
	UP_REPORT, /* text: the player's report, checked for shape by the home */
	UP_LEAVE,  /* text: "" ; its last connection closed and did not come back within the grace */
	UP_KINDS
};
enum peers_down {
	DOWN_TRACK,    /* text: to the tracker's WebSocket */
	DOWN_INSTRUCT, /* text: an instruction's payload without its MAC, which the home adds */
	DOWN_CLOSE,    /* text: why, for people: the viewer is excluded */
	DOWN_AGAIN,    /* text: "{}"; the owner knows no such viewer: the home tells it again */
	DOWN_CONSENT,  /* text: {"consent":true} or false, what it said elsewhere: the home tells that from now on */
	DOWN_KINDS
};

struct exchange;
struct exchange_options {
	const struct peers_options *peers;
	/* Called for what arrived for this gateway as owner (home: the viewer's home node) and as home. Any thread. */
	void (*up)(void *arg, enum peers_up kind, const char *home, const char *viewer, const char *asset, const char *text);
	void (*down)(void *arg, enum peers_down kind, const char *viewer, const char *text);
	/* The owner of some assets changed: the home tells UP_JOIN and its last UP_REPORT again for its viewers of these. */
	void (*owner_changed)(void *arg);
	/* A home died, or began anew: the owner forgets its viewers, unless they came elsewhere meanwhile. */
	void (*home_gone)(void *arg, const char *home);
	/* Batches to other gateways bear this as X-Weir-Peers; way: "up", "down". NULL: nothing. Any thread. */
	void (*sign)(void *arg, const char *way, const char *text, char mac[45]);
	unsigned int forget_ms; /* a gateway that the registry has no longer and that says nothing. 0: 10 minutes */
	void *arg;
};
int exchange_start(struct exchange **out, const struct exchange_options *opt);
void exchange_stop(struct exchange *x); /* accepts NULL */
void exchange_tick(struct exchange *x); /* once or more a second: looks at who lives */
/* Never block. The owner is this gateway: `up` is called at once, by the caller's thread. */
void exchange_up(struct exchange *x, enum peers_up kind, const char *viewer, const char *asset, const char *text);
void exchange_down(struct exchange *x, const char *home, enum peers_down kind, const char *viewer, const char *text);
/* The gateways for an asset, the owner first: nodes into out; how many. */
size_t exchange_order(struct exchange *x, const char *asset, char (*out)[64], size_t max);
bool exchange_owns(struct exchange *x, const char *asset);
uint64_t exchange_owner(struct exchange *x, const char *asset); /* which one: a number of its own for each node */
/* Inside routes call these with the body; arg of the request is the peers. 0; -EINVAL: that is no batch; -ESTALE: it is one
 * for another gateway, of another time, of a process that is no more, or was taken before: nothing of it counts, and it
 * is logged. */
int exchange_take_up(struct exchange *x, const char *body, size_t len);
int exchange_take_down(struct exchange *x, const char *body, size_t len);

struct exchange_counts {
	uint64_t lost;	  /* messages to others: they did not answer, or memory lacked */
	uint64_t refused; /* others' batches: -ESTALE */
};
void exchange_counts(struct exchange *x, struct exchange_counts *out);

#endif
