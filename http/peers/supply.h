/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supply.h -- inside one grouping: which segments are too rare for what its members will play, and from whom each member
 * had better receive, by what the fellows are known to hold. Pure; sets of segments are bitmaps of 64-bit words.
 */
#ifndef WEIR_SUPPLY_H
#define WEIR_SUPPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUPPLY_MEMBERS_MAX 1024
#define SUPPLY_WORDS_MAX   64
#define SUPPLY_COPIES_MAX  8
#define SUPPLY_FIRM	   (1u << 31) /* of now: it was told a moment ago to connect with it, and does */

struct supply_member {
	const uint64_t *have; /* what it said that it holds */
	uint32_t as;	      /* 0: not known */
	float cap;	      /* bytes/s that it may send; 0: it shares nothing */
	float load;	      /* bytes/s that were planned of it so far; supply_sources() adds */
	float demand;	      /* bytes/s that it plays */
	bool near;	      /* more than two sources only from its own network: the server is there when these fail */
	uint32_t position;    /* segment that it plays */
	uint32_t last;	      /* … and the last that the grouping shall have for it */
};

/* Bits first…last, as far as there are words. */
void supply_range(uint64_t *set, size_t words, uint32_t first, uint32_t last);
/* It shares, and not so slowly that who asks it waits longer than the segment plays: a player does not change its mind
 * while bytes trickle. */
bool supply_shares(const struct supply_member *m);
/* Segments that some member will play (position…last) and fewer than `copies` who share hold, into rare; those that none
 * holds into none. */
void supply_rare(const struct supply_member *m, size_t n, size_t words, unsigned int copies, uint64_t *rare, uint64_t *none);

/*
 * From whom member `who` receives what it wants: at most `max` members, into out (indices). Greedy: each wanted segment
 * that can be had is had from one of them, then from a second, then from a third; of its own network first, who is
 * connected already (now) before others, and in proportion to what their uplinks have left, of which is taken; who is
 * marked with SUPPLY_FIRM in now stays as long as it has anything of it. Who has the fewest to choose from, the foremost, had
 * better choose first. lacking: what is wanted and cannot be had of anybody whose uplink has something left. How many are in
 * out.
 */
size_t supply_sources(struct supply_member *m, size_t n, size_t who, const uint64_t *want, size_t words, const uint32_t *now,
		      size_t nnow, uint32_t *out, size_t max, uint64_t *lacking);

#endif
