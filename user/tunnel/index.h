/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.h -- a hash table from bytes (names, addresses, serial numbers) to pointers.
 *
 * A key may stand for several values (a hostname that moves from one tunnel to another is both's
 * for an instant); the caller chooses. Keys are copied, values are the caller's. Pure.
 */
#ifndef WEIR_TUNNEL_INDEX_H
#define WEIR_TUNNEL_INDEX_H

#include <stddef.h>
#include <stdint.h>

struct index_node {
	struct index_node *next;
	void *value;
	uint64_t hash;
	size_t len;
	char key[]; /* with a terminator after it */
};

struct index {
	struct index_node **buckets;
	size_t n, size; /* size: a power of two, or 0 */
};

int index_add(struct index *ix, const void *key, size_t len, void *value); /* 0 or -ENOMEM */
void index_remove(struct index *ix, const void *key, size_t len, const void *value);
/* The first node of a key, and the next one of the same key; NULL: none. */
struct index_node *index_find(const struct index *ix, const void *key, size_t len);
struct index_node *index_again(const struct index_node *node);
/* All nodes, in no order: begin with NULL. The node may be removed after it was passed. */
struct index_node *index_next(const struct index *ix, const struct index_node *node);
void index_free(struct index *ix); /* the nodes, not the values */

#endif
