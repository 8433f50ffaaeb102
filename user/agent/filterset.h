/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filterset.h -- the loader's hold of the filter's maps (bpf/abi/filter.h).
 *
 * A list is replaced whole and without a gap: filterset_begin(), filterset_put() as often as needed,
 * filterset_commit(): at each moment a packet meets the old list or the new one. Single entries are
 * changed in place. The caller has resolved what overlaps: the longest prefix decides. Functions return
 * 0 (or a number) or -errno and take nothing on trust; nothing here logs.
 */
#ifndef WEIR_FILTERSET_H
#define WEIR_FILTERSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi/filter.h"

struct filterset;

struct filterset_fds {
	int settings, filter4, filter6, hints, limits, buckets, shared;
};

struct filterset_entry {
	uint8_t addr[16];               /* network order, IPv4 in the first four; host bits zero */
	uint8_t family;                 /* WEIR_FAMILY_4, _6 */
	uint8_t len;
	uint8_t verdict;                /* enum weir_verdict; NONE: remove the entry (only in a change) */
	uint8_t replaces;               /* in a change: there is an entry of this prefix already */
};
_Static_assert(sizeof(struct filterset_entry) == 20, "entry");

/* A network and what of it was dropped. */
struct filterset_top {
	uint8_t addr[16];
	uint8_t family, len;            /* family 0: all that have no bucket of their own */
	uint8_t zero[6];
	__u64 dropped[WEIR_CLASSES];
};

/* What there is to see. */
struct filterset_state {
	uint32_t entries4, entries6;    /* of the list in force, as this process put them */
	uint32_t list_on, limits_on;
	uint64_t made;                  /* prefixes that ever came into the table of buckets */
	__u64 strangers[WEIR_CLASSES]; /* dropped without a bucket of their own */
};

int filterset_open(struct filterset **out, const struct filterset_fds *fds);
void filterset_close(struct filterset *fs);     /* accepts NULL; what is in the maps stays */

int filterset_begin(struct filterset *fs);      /* drops what an earlier begin gathered */
int filterset_put(struct filterset *fs, const struct filterset_entry *e, size_t n);
/* Puts the new list into force; an empty one switches the stage off. */
int filterset_commit(struct filterset *fs);
/* In the list in force, in the order given: put those that are added before those that are removed. Needs
 * a commit before: -ENOENT. */
int filterset_change(struct filterset *fs, const struct filterset_entry *e, size_t n);
/* What the program would find: enum weir_verdict. len is that of the address. */
int filterset_lookup(struct filterset *fs, const struct filterset_entry *address);

/* NULL: no limits. */
int filterset_limits(struct filterset *fs, const struct weir_limits *limits);
/* The worst first, at most max; returns how many. */
int filterset_top(struct filterset *fs, struct filterset_top *out, size_t max);
int filterset_state(struct filterset *fs, struct filterset_state *out);

#endif
