// SPDX-License-Identifier: Apache-2.0
/*
 * limits.c -- a table of client addresses with their connections and token buckets (see limits.h).
 *
 * The hash is seeded, so that nobody can choose addresses that fall into one chain.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "user/tunnel/limits.h"

#define FIRST_SIZE 256 /* chains; grows with the addresses */

struct limits_address {
	struct limits_address *next;
	struct addr addr;
	unsigned int connections;
	/* Of requests, in thousandths: what may still be used, as it was at that time. */
	uint64_t tokens, at_ms;
	bool metered; /* tokens and at_ms count */
};

struct limits {
	struct limits_address **chains;
	size_t size, n; /* size: a power of two */
	uint64_t seed;
};

int limits_new(struct limits **out)
{
	struct limits *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->size = FIRST_SIZE;
	l->chains = calloc(l->size, sizeof(*l->chains));
	if (!l->chains) {
		free(l);
		return -ENOMEM;
	}
	random_bytes(&l->seed, sizeof(l->seed));
	*out = l;
	return 0;
}

void limits_free(struct limits *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->size; i++) {
		struct limits_address *a, *next;

		for (a = l->chains[i]; a; a = next) {
			next = a->next;
			free(a);
		}
	}
	free(l->chains);
	free(l);
}

/* What is counted as one client. */
static struct addr client_of(const struct addr *from)
{
	struct addr a = { .family = from->family };

	memcpy(a.bytes, from->bytes, from->family == AF_INET ? 4 : 8);
	return a;
}

static struct limits_address **chain_of(struct limits *l, const struct addr *a)
{
	return &l->chains[hash64(a, sizeof(*a), l->seed) & (l->size - 1)];
}

/* Twice the chains; when there is no memory for them they only become longer. */
static void grow(struct limits *l)
{
	struct limits bigger = { .size = l->size * 2, .seed = l->seed };

	bigger.chains = calloc(bigger.size, sizeof(*bigger.chains));
	if (!bigger.chains)
		return;
	for (size_t i = 0; i < l->size; i++) {
		while (l->chains[i]) {
			struct limits_address *a = l->chains[i], **to = chain_of(&bigger, &a->addr);

			l->chains[i] = a->next;
			a->next = *to;
			*to = a;
		}
	}
	free(l->chains);
	l->chains = bigger.chains;
	l->size = bigger.size;
}

int limits_enter(struct limits *l, const struct addr *client, unsigned int max,
		 struct limits_address **out)
{
	struct addr who = client_of(client);
	struct limits_address **chain = chain_of(l, &who), *a = *chain;

	while (a && memcmp(&a->addr, &who, sizeof(who)))
		a = a->next;
	if (a && a->connections >= max)
		return -EUSERS;
	if (!a) {
		a = calloc(1, sizeof(*a));
		if (!a)
			return -ENOMEM;
		a->addr = who;
		a->next = *chain;
		*chain = a;
		if (++l->n > l->size)
			grow(l);
	}
	a->connections++;
	*out = a;
	return 0;
}

/* Brings the bucket to now; at most one second's worth. */
static void refill(struct limits_address *a, unsigned int rate, uint64_t now_ms)
{
	uint64_t full = (uint64_t)rate * 1000, since = now_ms - a->at_ms;

	if (!a->metered || since >= 1000)
		a->tokens = full;
	else
		a->tokens += since * rate;
	if (a->tokens > full)
		a->tokens = full;
	a->at_ms = now_ms;
	a->metered = true;
}

bool limits_request(struct limits_address *a, unsigned int rate, uint64_t now_ms)
{
	if (!rate || !a)
		return true;
	refill(a, rate, now_ms);
	if (a->tokens < 1000)
		return false;
	a->tokens -= 1000;
	return true;
}

static void forget(struct limits *l, struct limits_address **at)
{
	struct limits_address *a = *at;

	*at = a->next;
	l->n--;
	free(a);
}

void limits_leave(struct limits *l, struct limits_address *a)
{
	struct limits_address **at;

	if (!a || --a->connections || a->metered)
		return;
	for (at = chain_of(l, &a->addr); *at != a; at = &(*at)->next)
		;
	forget(l, at);
}

void limits_sweep(struct limits *l, unsigned int rate, uint64_t now_ms)
{
	for (size_t i = 0; i < l->size; i++) {
		struct limits_address **at = &l->chains[i];

		while (*at) {
			struct limits_address *a = *at;
			/* A second without a request fills any bucket. */
			bool full = !a->metered || !rate || now_ms - a->at_ms >= 1000;

			if (!a->connections && full) {
				forget(l, at);
				continue;
			}
			at = &a->next;
		}
	}
}

size_t limits_count(const struct limits *l)
{
	return l->n;
}
