/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.h -- who helps whom: pure, the same for the daemon, the simulator, the tests and the bench.
 *
 * Viewers of one asset and rendition are divided into groupings of at most `size` members, neighbours in the network
 * first (same prefix, then same AS, then the rest). In each grouping the **first group** receives from the server, holds
 * portions and shares; it is made just large enough that its uplink, capped and scaled by what is known of its members'
 * stability, carries the whole grouping with `margin`. The **second group** is fed by at least two helpers of different
 * prefixes. Portions: which segments a first-group member holds follows from weighted rendezvous hashing of
 * (segment, member) alone, so that a departure moves only what the departed held (Thaler and Ravishankar, 1998;
 * weights by the logarithm method: w / -ln u).
 *
 * No socket, clock or global. Rates are bytes per second, times milliseconds, indices are into the caller's array.
 */
#ifndef WEIR_GROUP_H
#define WEIR_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GROUP_HELPERS_MAX 4
#define GROUP_NONE	  UINT32_MAX

enum group_role {
	GROUP_ALONE,  /* nobody to meet yet: the server alone, as without us */
	GROUP_FIRST,  /* receives from the server, holds its portions, shares */
	GROUP_SECOND, /* is fed by helpers */
};

/* What is known of a viewer, as flags. */
#define GROUP_CONSENT	  (1u << 0) /* may upload at all */
#define GROUP_METERED	  (1u << 1) /* never uploads */
#define GROUP_CELLULAR	  (1u << 2) /* never uploads, unless options say so */
#define GROUP_BATTERY_LOW (1u << 3) /* uploads only when nobody else can */
#define GROUP_UNREACHABLE (1u << 4) /* others tried in vain to connect */
#define GROUP_EXCLUDED	  (1u << 5) /* sent what was not what it claimed: in no grouping */
#define GROUP_MEASURED	  (1u << 6) /* uplink was confirmed by those who received it, not only claimed */

struct group_viewer {
	/* in */
	uint64_t id;	    /* stable: rendezvous hashes it */
	uint64_t asset;	    /* hash of asset and rendition: never grouped across */
	uint32_t prefix;    /* hash of the /24 or /48 */
	uint32_t as;	    /* AS number; 0: not known */
	uint32_t flags;
	float uplink;	    /* bytes/s; 0: not known. Without GROUP_MEASURED it counts for unknown_uplink at most */
	float demand;	    /* bytes/s of the rendition */
	float rtt_ms;	    /* to the gateway; 0: not known */
	float stability;    /* 0…1: share of reports that came when due, EWMA */
	uint32_t position;  /* segment number that it plays */
	uint32_t buffer_ms;
	/* out */
	uint32_t grouping;  /* number of its grouping, stable while it lives; GROUP_NONE */
	uint8_t role;	    /* enum group_role */
	uint8_t nhelpers;
	uint8_t standing;   /* 1: was in this grouping in the last run too */
	uint8_t sure;	    /* the caller's, who may put others before helpers: how many; group_run() leaves it */
	uint32_t helper[GROUP_HELPERS_MAX]; /* of the second group; for the first: its fellows to ask first */
	float cap;	    /* bytes/s that it may upload, the share of its uplink that is used; 0: may not */
	float load;	    /* bytes/s that the plan asks of it, at most cap, less when it is not stable */
};

struct group_options {
	unsigned int size;    /* members of a grouping at most; 0: 48 */
	unsigned int helpers; /* of a second-group member, at least 2; 0: 3 */
	float margin;	      /* uplink of those who may upload over a grouping's demand, which neighbours lend each other; 0: 1.3 */
	float first_margin;   /* … of its first group, as far as there is: who has what is wanted is not the same as who has
				 uplink, so it is larger; 0: twice the margin */
	float uplink_share;   /* of a measured uplink that may be used; 0: 0.8 */
	float unknown_uplink; /* assumed of one that was never measured, bytes/s; 0: 64 KiB/s */
	bool cellular;	      /* may upload by consent */
	unsigned int copies;  /* of each segment in a grouping, for what first-group members need of each other; 0: 2 */
	unsigned int least;   /* members of one AS that get a grouping of their own in an asset of several; 0: size / 3 */
};

/* The state between runs: groupings and their free room. */
struct groups;
struct groups *groups_new(const struct group_options *opt); /* NULL without memory */
void groups_free(struct groups *g);			     /* accepts NULL */

struct group_result {
	uint32_t groupings, first, second, alone;
	uint32_t moved;	    /* members whose grouping, role or helpers changed */
	float cross_share;  /* of planned bytes that cross an AS (where both are known) */
	float capacity;	    /* planned uplink over what peers must carry, of the worst grouping; 0: nobody needs any */
};
/*
 * Groups all of them, keeping what can be kept. What was planned the last time is remembered by id: the array may be
 * sorted, shortened and extended as the caller likes (unchanged order is fastest), members who left are simply not in it
 * any more, and what `out` fields hold is not read. Whose asset changed is as new. A departure gives its dependents new
 * helpers and changes nothing else, but for a grouping of which hardly anybody is left while others have room: its
 * members then join those. GROUP_EXCLUDED have GROUP_NONE; a grouping of one, or in which nobody may upload, has its
 * number but all in it are GROUP_ALONE. Linear in n. 0 or -ENOMEM (then v is as it was).
 */
int group_run(struct groups *g, struct group_viewer *v, size_t n, struct group_result *result);

/* ---- portions ---- */
struct group_holder {
	uint64_t id;
	float weight; /* its cap, bytes/s */
};
/* The `copies` members of the first group who hold that segment, best first, into out; how many (fewer when there are
 * fewer holders). The score is a function of (segment, id, weight) alone. */
size_t group_holders(const struct group_holder *h, size_t n, uint64_t asset, uint32_t segment, unsigned int copies,
		     uint32_t *out);
struct group_range {
	uint32_t first, last; /* segments, both included */
};
/* What member `who` holds of segments first…last, each in `copies` places (a segment that fewer than `copies` have now,
 * by have[segment - first], gets one place more: the rarest first), as ranges in the order in which to fetch them:
 * rarest, then earliest. have may be NULL. How many ranges, at most max: the last of them then is cut. */
size_t group_portion(const struct group_holder *h, size_t n, uint32_t who, uint64_t asset, uint32_t first, uint32_t last,
		     unsigned int copies, const uint16_t *have, struct group_range *out, size_t max);

#endif
