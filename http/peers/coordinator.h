/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coordinator.h -- the owner's half: the record of an asset's viewers, the tracker that chooses who meets whom, the
 * sensing, the grouping, and the instructions that follow. One lock; a tick four times a second. No socket: what it
 * says goes out by `down`, what it hears comes in by coordinator_up(), the time (unix ms: instructions' `until` and epoch
 * are made of it; when it is set back it goes on as if it were not) is an argument, so that tests and fuzzers drive it. Record: record.h.
 */
#ifndef WEIR_COORDINATOR_H
#define WEIR_COORDINATOR_H

#include <jansson.h>

#include "http/peers/exchange.h"
#include "http/peers/group.h"
#include "http/peers/sense.h"

/* Of a player's report; homes refuse more, so that who sends them hears it. */
#define REPORT_RANGES 64 /* of segments that it holds */
#define REPORT_PEERS  64 /* that it is connected to, accuses, had bytes from */

struct media_asset; /* media.h */
struct coordinator;
struct coordinator_options {
	struct group_options group;
	struct sense_options sense;
	uint32_t ahead_ms;	/* of media beyond the slowest position that a grouping holds together */
	uint32_t copies;	/* of each segment in a grouping */
	uint32_t report_ms;	/* between a player's reports, at least */
	uint32_t viewers_max;	/* of all assets */
	uint32_t offers_bytes;	/* kept offers, all together */
	double capacity;	/* bytes/s of the endpoints; 0: not known */
	/* What the asset is made of: a new reference, which media_put gives back; NULL: not known (yet). Both may be NULL. */
	const struct media_asset *(*media)(void *arg, const char *asset);
	void (*media_put)(void *arg, const struct media_asset *a);
	void (*endpoints)(void *arg, unsigned int *alive, unsigned int *known);
	/* Called without the coordinator's lock, by a caller of up (one of them at a time, in order) or of tick (in order);
	 * may call up. */
	void (*down)(void *arg, const char *home, enum peers_down kind, const char *viewer, const char *text);
	void *arg;
};
int coordinator_new(struct coordinator **out, const struct coordinator_options *opt);
void coordinator_free(struct coordinator *c); /* accepts NULL */
void coordinator_configure(struct coordinator *c, const struct coordinator_options *opt);
void coordinator_up(struct coordinator *c, int64_t now_ms, enum peers_up kind, const char *home, const char *viewer,
		    const char *asset, const char *text);
void coordinator_home_gone(struct coordinator *c, const char *home);
void coordinator_tick(struct coordinator *c, int64_t now_ms); /* by one thread */
/* The operator's switch; asset "*": all that have none of their own. */
void coordinator_switch(struct coordinator *c, const char *asset, enum sense_mode mode);

/* The record, for people: new references. Viewers bear their ids; addresses are not known here.
 * {"assets":[{"asset","state","mode","why","since_ms","viewers","first","second","alone","groupings","demand","egress","p2p","stalls"}]} */
json_t *coordinator_assets(struct coordinator *c);
/* [{"grouping","asset","rendition","viewers":[{"viewer","role","home","position","buffer_ms","up","down_server","down_peers",
 *   "stalls","uplink","cap","as","helpers":[…],"hold":[[a,b]…],"have":n,"flags":[…],"age_ms"}]}] */
json_t *coordinator_groups(struct coordinator *c, const char *asset);
/* Counters since the start, for metrics. */
struct coordinator_counts {
	uint64_t viewers, first, second, alone, groupings;
	uint64_t announces, relayed, answers, dropped, reports, refused_reports, instructions, excluded, regroups;
	uint64_t bytes_server, bytes_peers, stalls, stall_ms;
	uint64_t state[3]; /* assets in each */
	double regroup_s;  /* the last one's time */
};
void coordinator_counts(struct coordinator *c, struct coordinator_counts *out);

#endif
