/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home_int.h -- the table of this gateway's viewers, shared by home.c and home_clock.c.
 *
 * Two kinds of lock: h->lock guards the table and all in it and is never held while `up` runs; an order lock, chosen by the
 * viewer, is held around a change and the `up` that tells it, so that the owner hears of each viewer in order. The order
 * lock is taken first. What comes down from the owner takes h->lock alone.
 */
#ifndef WEIR_HOME_INT_H
#define WEIR_HOME_INT_H

#include <pthread.h>
#include <string.h>

#include "http/peers/home.h"
#include "lib/hash.h"

#define HOME_SWARMS 4 /* of which a viewer's last announce is kept */
#define BUCKETS	     8192 /* of viewers, and of addresses */
#define ORDERS	     64
#define SOCKETS_MAX  4

struct home_socket {
	struct home_socket *next;
	struct home *home;
	struct viewer *viewer;
	struct ws_conn *conn; /* NULL before it is opened */
	bool closing;
};

struct viewer {
	struct viewer *next;
	char id[PEERS_VIEWER_LEN + 1];
	bool excluded, over; /* by the owner; its session */
	bool had_socket;
	uint64_t hash, address;
	int64_t expires;	      /* unix seconds */
	int64_t seen_ms, reported_ms; /* 0: never */
	struct home_socket *sockets;  /* the newest first */
	struct home_socket *speaking; /* who said the last message */
	unsigned int nsockets;
	struct home_stream *stream;
	char *asset, *facts, *report, *event;
	char *announces[HOME_SWARMS]; /* the last of each swarm, in brief: for an owner who is told again */
	unsigned int nannounces;
	uint64_t owner; /* who was told of it */
	int64_t epoch;	/* of the last instruction */
	bool again;	/* its owner does not know it */
	int64_t retold_ms;
	size_t event_len;
};

struct address {
	struct address *next;
	uint64_t hash;
	unsigned int viewers;
};

struct home {
	struct home_options opt;
	pthread_mutex_t lock, order[ORDERS];
	struct viewer *viewers[BUCKETS];
	struct address *addresses[BUCKETS];
	unsigned int nviewers, viewers_max, per_address;
	int64_t signed_ms;
	unsigned int asked; /* viewers with `again`, at least one if there are any */
};

static inline void lock(struct home *h)
{
	pthread_mutex_lock(&h->lock);
}

static inline void unlock(struct home *h)
{
	pthread_mutex_unlock(&h->lock);
}

static inline pthread_mutex_t *order_of(struct home *h, const char *viewer)
{
	return &h->order[hash64(viewer, strlen(viewer), 1) % ORDERS];
}

/* home.c */
struct viewer **viewer_at(struct home *h, const char *id);
void viewer_free(struct viewer *v);		/* accepts NULL */
void address_remove(struct home *h, uint64_t hash);
void viewer_close(struct viewer *v, const char *why); /* its sockets and its stream */
/* home_clock.c */
void viewer_announced(struct viewer *v, struct home_announce *a); /* takes what is in it */

#endif
