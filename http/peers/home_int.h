/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home_int.h -- the table of this gateway's viewers, shared by home.c, home_clock.c and home_facts.c.
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
#define CULPRITS     512 /* addresses of excluded viewers; the eldest is forgotten for a new one */

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
	bool said;		/* its consent by its own word, which is later than its token's */
	int64_t barred_until;	/* it helps nobody; 0: it may */
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

struct culprit {
	uint64_t address;
	unsigned int excluded; /* its viewers, each within HOME_BARRED_MS of the one before */
	int64_t last_ms;
};

struct home {
	struct home_options opt;
	pthread_mutex_t lock, order[ORDERS];
	struct viewer *viewers[BUCKETS];
	struct address *addresses[BUCKETS];
	unsigned int nviewers, viewers_max, per_address;
	int64_t signed_ms;
	struct culprit culprits[CULPRITS];
	unsigned int nculprits;
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
/* home_facts.c: what is told of a viewer beside what it says */
char *viewer_facts(const struct viewer *v); /* UP_JOIN's text, malloc'ed */
void viewer_consents(struct viewer *v, bool consent);
void culprit_add(struct home *h, uint64_t address, int64_t now_ms);
int64_t culprit_until(struct home *h, uint64_t address, int64_t now_ms); /* 0: it is none, or no longer */
/* home_clock.c */
void viewer_announced(struct viewer *v, struct home_announce *a); /* takes what is in it */

#endif
