/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h -- the slot table of a service as a value that travels between balancers: current and previous
 * owner and the last three of every slot, by backends' names instead of a machine's own indexes.
 *
 * Weights alone give each slot's present owner only; a balancer that starts without the rest breaks the
 * connections of slots that moved (DESIGN 7, rule 7). Pure; nothing here logs.
 */
#ifndef WEIR_TABLE_H
#define WEIR_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi/maps.h"
#include "lib/addr.h"

struct table_backend {
	char name[WEIR_NAME_MAX]; /* "": no configuration names it any more */
	uint64_t id;		  /* ring_id() of its name */
	struct addr address;
	bool up;
};

struct table {
	uint64_t generation; /* of the rates in force */
	uint32_t slots;
	struct table_backend *backends;
	size_t n;
	/* [slots]. Owners are places in backends, from 1; `since` and `elsewhere` seconds ago, 0 where
	 * the slot is steady. */
	struct weir_slot *slot;
};

/* Empty, with room for so many slots; NULL without memory. */
struct table *table_alloc(uint32_t slots);
void table_free(struct table *t); /* accepts NULL */
/* {"service","slots","generation","backends":[{"name","id":HEX,"address","up"}],"table":TEXT}. TEXT has a slot after
 * another, separated by ';': current,previous,owner,owner,owner,since,elsewhere without zeros at the end. NULL
 * without memory. */
char *table_to_json(const struct table *t, const char *service);
/* 0, -ENOMEM, or -EINVAL: not such an object; *out is untouched then. The caller frees with table_free(). */
int table_from_json(struct table **out, const char *text, size_t len);

/* The other way round: the node's indexes become places, 0 where there is no such backend. describe() fills *b by
 * index: 0, or below 0: there is none. t->backends must be empty. 0 or -ENOMEM. */
int table_name(struct table *t, int (*describe)(void *arg, uint16_t index, struct table_backend *b), void *arg);

/* Former owners that this node's configuration does not know, of one table. */
#define TABLE_STRANGERS_MAX 1024

/* How a node knows its backends. Both return an index above 0, 0: not known, or -errno. */
struct table_names {
	int (*known)(void *arg, const struct table_backend *b);
	int (*add)(void *arg, const struct table_backend *b); /* one that is not known */
	void *arg;
};
/* Places become the node's indexes, 0 where it has none. Only backends that a slot names are asked for, and none is added once one could
 * not be: *failed is that -errno, else 0. -E2BIG: more than TABLE_STRANGERS_MAX are not known; none was added and t is as it
 * was. 0 or -ENOMEM else. */
int table_localize(struct table *t, const struct table_names *names, int *failed);

#endif
