/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c -- fetch-through with failover (relay.h).
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "http/store/relay.h"
#include "http/store/transfer.h"
#include "lib/log.h"

#define RELAY_BUFFER (1u << 20)
#define RELAYS_MAX   256
#define RELAY_ROUNDS 2 /* over all holders without one byte: given up */

struct relays {
	struct httpc *httpc;
	struct peers *peers;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	unsigned int count;
	atomic_ulong failovers;
};

struct relay {
	struct relays *all;
	struct version version;
	char holders[NAMES_HOLDERS_MAX][CONF_NAME_MAX];
	unsigned int nholders;
	uint64_t first, len;
	void (*wake)(void *arg);
	void *wake_arg;
	pthread_mutex_t lock; /* what follows */
	pthread_cond_t changed;
	unsigned int refs;    /* the thread's and the owner's */
	bool stopped, wanted; /* the owner left; a read got LATER */
	bool over;
	int rc;		  /* when over */
	const char *from; /* who sent the first bytes */
	uint64_t in, out; /* bytes put into and taken out of the ring */
	char *ring;
};

int relays_new(struct relays **out, struct httpc *httpc, struct peers *peers)
{
	struct relays *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	all->httpc = httpc;
	all->peers = peers;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->ended, NULL);
	*out = all;
	return 0;
}

void relays_free(struct relays *all)
{
	if (!all)
		return;
	pthread_mutex_lock(&all->lock);
	while (all->count)
		pthread_cond_wait(&all->ended, &all->lock);
	pthread_mutex_unlock(&all->lock);
	pthread_mutex_destroy(&all->lock);
	pthread_cond_destroy(&all->ended);
	free(all);
}

unsigned long relays_failovers(struct relays *all)
{
	return atomic_load(&all->failovers);
}

static void relay_put(struct relay *r)
{
	bool last;

	pthread_mutex_lock(&r->lock);
	last = !--r->refs;
	pthread_mutex_unlock(&r->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->changed);
	free(r->ring);
	free(r);
}

/* With the lock held: the owner cannot leave, so its wake function may be called. */
static void tell(struct relay *r)
{
	pthread_cond_broadcast(&r->changed);
	if (r->wanted && !r->stopped) {
		r->wanted = false;
		r->wake(r->wake_arg);
	}
}

static int put_data(void *arg, const void *data, size_t n)
{
	struct relay *r = arg;
	const char *p = data;

	pthread_mutex_lock(&r->lock);
	while (n && !r->stopped) {
		uint64_t room = RELAY_BUFFER - (r->in - r->out);
		size_t at = r->in % RELAY_BUFFER, part = n;

		if (!room) {
			pthread_cond_wait(&r->changed, &r->lock);
			continue;
		}
		if (part > room)
			part = room;
		if (part > RELAY_BUFFER - at)
			part = RELAY_BUFFER - at;
		memcpy(r->ring + at, p, part);
		r->in += part;
		p += part;
		n -= part;
		tell(r);
	}
	n = r->stopped;
	pthread_mutex_unlock(&r->lock);
	return n ? -ECANCELED : 0;
}

/* Pulls from one holder what is still missing. Returns the outcome; *progress: bytes came. */
static int pull(struct relay *r, const char *node, bool *progress)
{
	struct peer peer;
	uint64_t got = 0, at;
	int rc;

	if (peers_find(r->all->peers, node, &peer) || !peer.base[0])
		return -ENOENT;
	pthread_mutex_lock(&r->lock);
	if (!r->from || !r->in)
		r->from = node;
	at = r->in;
	pthread_mutex_unlock(&r->lock);
	rc = transfer_data(r->all->httpc, &peer, &r->version, r->first + at, r->len - at, put_data,
			   r, &got);
	*progress = got > 0;
	if (rc && rc != -ECANCELED) {
		atomic_fetch_add(&r->all->failovers, 1);
		log_limited(LOG_LEVEL_WARN, 30, "fetch-through: %s; asking the next holder",
			    transfer_error());
	}
	return rc;
}

static void *relay_main(void *arg)
{
	struct relay *r = arg;
	struct relays *all = r->all;
	unsigned int without = 0;
	int rc = -ENOENT;

	for (unsigned int i = 0; without < RELAY_ROUNDS * r->nholders; i++) {
		bool progress = false;

		rc = pull(r, r->holders[i % r->nholders], &progress);
		if (!rc || rc == -ECANCELED)
			break;
		without = progress ? 0 : without + 1;
	}
	pthread_mutex_lock(&r->lock);
	r->over = true;
	r->rc = rc;
	tell(r);
	pthread_mutex_unlock(&r->lock);
	relay_put(r);
	pthread_mutex_lock(&all->lock);
	all->count--;
	pthread_cond_signal(&all->ended);
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

/* Live holders first: one that is away costs a time-out. */
static void sort_holders(struct relay *r, const char (*holders)[CONF_NAME_MAX], unsigned int n)
{
	for (int live = 1; live >= 0; live--)
		for (unsigned int i = 0; i < n && r->nholders < NAMES_HOLDERS_MAX; i++) {
			struct peer peer;

			if (peers_find(r->all->peers, holders[i], &peer) || peer.self ||
			    peer.live != (bool)live)
				continue;
			strcpy(r->holders[r->nholders++], holders[i]);
		}
}

static int relay_spawn(struct relay *r)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc = 0;

	pthread_mutex_lock(&r->all->lock);
	if (r->all->count >= RELAYS_MAX)
		rc = -EAGAIN;
	else
		r->all->count++;
	pthread_mutex_unlock(&r->all->lock);
	if (rc)
		return rc;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = -pthread_create(&thread, &attr, relay_main, r);
	pthread_attr_destroy(&attr);
	if (rc) {
		pthread_mutex_lock(&r->all->lock);
		r->all->count--;
		pthread_mutex_unlock(&r->all->lock);
	}
	return rc;
}

int relay_start(struct relay **out, struct relays *all, const struct version *v,
		const char (*holders)[CONF_NAME_MAX], unsigned int nholders, uint64_t first,
		uint64_t len, void (*wake)(void *arg), void *arg)
{
	struct relay *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	*r = (struct relay){ .all = all,
			     .version = *v,
			     .first = first,
			     .len = len,
			     .wake = wake,
			     .wake_arg = arg,
			     .refs = 2 };
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	sort_holders(r, holders, nholders);
	r->ring = malloc(RELAY_BUFFER);
	rc = !r->nholders ? -ENOENT : !r->ring ? -ENOMEM : relay_spawn(r);
	if (rc) {
		r->refs = 1;
		relay_put(r);
		return rc;
	}
	*out = r;
	return 0;
}

int relay_wait(struct relay *r, char from[CONF_NAME_MAX])
{
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	while (!r->in && !r->over)
		pthread_cond_wait(&r->changed, &r->lock);
	if (!r->in && r->len)
		rc = r->rc ? r->rc : -EIO;
	else if (r->from)
		strcpy(from, r->from);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

ssize_t relay_read(struct relay *r, char *buf, size_t max)
{
	ssize_t n;

	pthread_mutex_lock(&r->lock);
	if (r->in > r->out) {
		size_t at = r->out % RELAY_BUFFER, part = r->in - r->out;

		if (part > RELAY_BUFFER - at)
			part = RELAY_BUFFER - at;
		n = (ssize_t)(part < max ? part : max);
		memcpy(buf, r->ring + at, (size_t)n);
		r->out += (uint64_t)n;
		pthread_cond_broadcast(&r->changed);
	} else if (r->out == r->len) {
		n = HTTP_READ_END;
	} else if (r->over) {
		n = HTTP_READ_FAIL;
	} else {
		r->wanted = true;
		n = HTTP_READ_LATER;
	}
	pthread_mutex_unlock(&r->lock);
	return n;
}

void relay_stop(struct relay *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopped = true;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	relay_put(r);
}
