/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_address.c -- how many connections each client address has, of servers whose connections are not libmicrohttpd's
 * alone: its own limit knows only those that it was given.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/hash.h"
#include "lib/httpd_impl.h"

#define PLACES 1024

struct entry {
	struct entry *next;
	struct addr addr;
	unsigned int n;
};

struct http_addresses {
	pthread_mutex_t lock;
	uint64_t seed; /* clients cannot choose addresses that meet in one place */
	struct entry *places[PLACES];
};

int http_addresses_new(struct httpd *server)
{
	struct http_addresses *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	pthread_mutex_init(&a->lock, NULL);
	random_bytes(&a->seed, sizeof(a->seed));
	server->addresses = a;
	return 0;
}

void http_addresses_free(struct httpd *server)
{
	struct http_addresses *a = server->addresses;

	for (size_t i = 0; a && i < PLACES; i++)
		for (struct entry *e = a->places[i], *next; e; e = next) {
			next = e->next;
			free(e);
		}
	if (a)
		pthread_mutex_destroy(&a->lock);
	free(a);
	server->addresses = NULL;
}

/* Locked: where the address's entry is, or would be. */
static struct entry **find(struct http_addresses *a, const struct addr *addr)
{
	struct entry **at = &a->places[hash64(addr->bytes, sizeof(addr->bytes), a->seed) % PLACES];

	while (*at && !addr_equal(&(*at)->addr, addr))
		at = &(*at)->next;
	return at;
}

void http_address_count(struct httpd *server, const struct addr_port *peer, int change)
{
	struct http_addresses *a = server->addresses;
	struct entry **at, *e;

	if (!a || peer->addr.family == AF_UNSPEC)
		return;
	pthread_mutex_lock(&a->lock);
	at = find(a, &peer->addr);
	if (!*at && change > 0 && (*at = calloc(1, sizeof(**at))))
		(*at)->addr = peer->addr;
	e = *at;
	if (e && (e->n += (unsigned int)change) == 0) {
		*at = e->next;
		free(e);
	}
	pthread_mutex_unlock(&a->lock);
}

bool http_address_full(struct httpd *server, const struct addr_port *peer)
{
	struct http_addresses *a = server->addresses;
	const struct entry *e;
	bool full;

	if (!a || peer->addr.family == AF_UNSPEC)
		return false;
	pthread_mutex_lock(&a->lock);
	e = *find(a, &peer->addr);
	full = e && e->n >= server->opt.per_address_max;
	pthread_mutex_unlock(&a->lock);
	return full;
}
