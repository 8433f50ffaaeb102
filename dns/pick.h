/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pick.h -- which site a steered name answers with.
 *
 * Pure. pick_weigh() turns what is known of a name's sites into weights and words; a struct
 * steering is the immutable table that the workers draw from. The capacity is fed forward: the
 * share of a site is proportional to what it published, nothing is integrated here.
 */
#ifndef WEIR_DNS_PICK_H
#define WEIR_DNS_PICK_H

#include "dns/wire.h"
#include "lib/addr.h"

#define PICK_SITES_MAX	   32 /* services of one steered name */
#define PICK_ADDRESSES_MAX 8  /* of one site and family */

enum pick_probe { PICK_PROBE_UNKNOWN, PICK_PROBE_UP, PICK_PROBE_DOWN };

/* What is known of one service (a site's) of a steered name. */
struct pick_site {
	bool own;	/* this node's own site: its own witness would be itself */
	bool published; /* the publisher said capacity and healthy */
	double capacity;
	unsigned int healthy, total;
	bool registry_known;   /* the list of members was received whole at least once */
	bool leased;	       /* a live agent's member key names the service */
	enum pick_probe probe; /* of its virtual address, from here */
	struct addr v4[PICK_ADDRESSES_MAX], v6[PICK_ADDRESSES_MAX];
	unsigned int n4, n6;
	/* Results. */
	double weight; /* share of the answers, 0 to 1 over the name's sites */
	bool up;
	const char *why; /* a constant sentence */
};

/* Who is in, and with which share. A site is out when two witnesses agree that it is dead (no agent
 * holds a lease for it, and the probe from here fails) or when it says itself that nothing of it is
 * healthy; its own site is never judged by the probe. When none would remain, all stay. */
void pick_weigh(struct pick_site *sites, size_t n);

/* One choice: the addresses as ready rdata. A draw u chooses the first with u <= upto. */
struct pick_choice {
	uint32_t upto;
	uint16_t n;
	uint8_t rdata[PICK_ADDRESSES_MAX][16];
};

struct steer_family {
	unsigned int n;
	struct pick_choice choice[PICK_SITES_MAX];
};

struct steering {
	unsigned int n;
	struct steer_name {
		uint32_t ttl; /* seconds */
		struct steer_family v4,
			v6; /* n 0: nothing is known, the zone's own records answer */
	} name[];
};

/* Fills one name of the table from weighed sites. */
void steer_name_fill(struct steer_name *out, uint32_t ttl, const struct pick_site *sites, size_t n);

/* A low-discrepancy sequence over 2^32 (multiples of the golden ratio): any run of draws follows
 * the weights far closer than random draws would. *sequence is the caller's own (one a worker). */
static inline uint32_t pick_draw(uint32_t *sequence)
{
	return *sequence += 0x9e3779b9u;
}

/* NULL when the family has none. */
static inline const struct pick_choice *pick_choose(const struct steer_family *f, uint32_t draw)
{
	for (unsigned int i = 0; i < f->n; i++)
		if (draw <= f->choice[i].upto)
			return &f->choice[i];
	return NULL;
}

#endif
