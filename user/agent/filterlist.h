/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filterlist.h -- lists of networks to block and to allow, as text and as what the packet path wants.
 *
 * Pure: no file, clock or log. A list is gathered (from texts and by single entries), then resolved:
 * sorted, and without what another entry decides anyway, so that the longest prefix alone tells the
 * verdict and an allowed network wins over a blocked one of any length. Functions return 0 or -errno.
 */
#ifndef WEIR_FILTERLIST_H
#define WEIR_FILTERLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/abi/filter.h"
#include "lib/addr.h"

struct filterlist_entry {
	uint8_t addr[16];               /* network order, IPv4 in the first four; host bits zero */
	uint8_t family;                 /* WEIR_FAMILY_4, _6 */
	uint8_t len;
	uint8_t verdict;                /* enum weir_verdict */
	uint8_t source;                 /* whose, as the caller counts */
	uint32_t line;                  /* in it, from 1; 0: not a file */
};
_Static_assert(sizeof(struct filterlist_entry) == 24, "filterlist entry");

struct filterlist {
	struct filterlist_entry *entry;
	size_t n, room;
};

void filterlist_free(struct filterlist *list);  /* empty afterwards */
void filterlist_make(struct filterlist_entry *e, const struct addr_prefix *prefix, enum weir_verdict verdict,
		     unsigned int source, uint32_t line);
int filterlist_add(struct filterlist *list, const struct filterlist_entry *e);

/* A text of one network a line. Wrong lines are told to fault() (may be NULL) with the line's number and
 * a sentence, and left out. Returns how many were wrong, or -ENOMEM. */
typedef void filterlist_fault_fn(void *arg, uint32_t line, const char *sentence);
int filterlist_parse(struct filterlist *list, const char *text, size_t len, enum weir_verdict verdict,
		     unsigned int source, filterlist_fault_fn *fault, void *arg);

/* *list stays; *out is what the packet path gets. */
int filterlist_resolve(const struct filterlist *list, struct filterlist *out);
/* In a resolved list: the entry that decides about an address, or NULL. */
const struct filterlist_entry *filterlist_find(const struct filterlist *list, const struct addr *a);

/* From one resolved list to another: calls changed() for each entry that is new or has another verdict
 * (had: the old one, or NULL), and gone() for each that is not there any more. Either may be NULL. Returns
 * how many there were of both. */
typedef void filterlist_diff_fn(void *arg, const struct filterlist_entry *e, const struct filterlist_entry *had);
size_t filterlist_diff(const struct filterlist *from, const struct filterlist *to, filterlist_diff_fn *changed,
		       filterlist_diff_fn *gone, void *arg);

/* "203.0.113.0/24" into buf (ADDR_STRLEN + 4), which is returned. */
char *filterlist_format(const struct filterlist_entry *e, char *buf, size_t len);

#endif
