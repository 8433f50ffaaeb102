/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.c -- see index.h: chains of nodes, twice as many buckets when there are more nodes than
 * that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "user/tunnel/index.h"

#define SIZE_MIN 64

static int grow(struct index *ix)
{
	size_t size = ix->size ? ix->size * 2 : SIZE_MIN;
	struct index_node **buckets = calloc(size, sizeof(struct index_node *));

	if (!buckets)
		return -ENOMEM;
	for (size_t i = 0; i < ix->size; i++) {
		struct index_node *node = ix->buckets[i], *next;

		for (; node; node = next) {
			struct index_node **at = &buckets[node->hash & (size - 1)];

			next = node->next;
			node->next = *at;
			*at = node;
		}
	}
	free(ix->buckets);
	ix->buckets = buckets;
	ix->size = size;
	return 0;
}

int index_add(struct index *ix, const void *key, size_t len, void *value)
{
	struct index_node *node = malloc(sizeof(*node) + len + 1), **at;

	if (!node)
		return -ENOMEM;
	if (ix->n >= ix->size && grow(ix) && !ix->size) {
		free(node);
		return -ENOMEM;
	}
	*node = (struct index_node){ .value = value, .hash = hash64(key, len, 0), .len = len };
	memcpy(node->key, key, len);
	node->key[len] = '\0';
	at = &ix->buckets[node->hash & (ix->size - 1)];
	node->next = *at;
	*at = node;
	ix->n++;
	return 0;
}

void index_remove(struct index *ix, const void *key, size_t len, const void *value)
{
	uint64_t hash = hash64(key, len, 0);
	struct index_node **at, *node;

	if (!ix->size)
		return;
	for (at = &ix->buckets[hash & (ix->size - 1)]; (node = *at); at = &node->next) {
		if (node->hash != hash || node->len != len || node->value != value ||
		    memcmp(node->key, key, len))
			continue;
		*at = node->next;
		free(node);
		ix->n--;
		return;
	}
}

static struct index_node *same_from(struct index_node *node, uint64_t hash, const void *key,
				    size_t len)
{
	while (node && (node->hash != hash || node->len != len || memcmp(node->key, key, len)))
		node = node->next;
	return node;
}

struct index_node *index_find(const struct index *ix, const void *key, size_t len)
{
	uint64_t hash;

	if (!ix->size)
		return NULL;
	hash = hash64(key, len, 0);
	return same_from(ix->buckets[hash & (ix->size - 1)], hash, key, len);
}

struct index_node *index_again(const struct index_node *node)
{
	return same_from(node->next, node->hash, node->key, node->len);
}

struct index_node *index_next(const struct index *ix, const struct index_node *node)
{
	size_t bucket = 0;

	if (node && node->next)
		return node->next;
	if (node)
		bucket = (node->hash & (ix->size - 1)) + 1;
	while (bucket < ix->size && !ix->buckets[bucket])
		bucket++;
	return bucket < ix->size ? ix->buckets[bucket] : NULL;
}

void index_free(struct index *ix)
{
	for (size_t i = 0; i < ix->size; i++) {
		struct index_node *node = ix->buckets[i], *next;

		for (; node; node = next) {
			next = node->next;
			free(node);
		}
	}
	free(ix->buckets);
	*ix = (struct index){ 0 };
}
