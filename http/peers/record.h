/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h -- the coordinator's inside, shared by coordinator*, record*, tracker* and instruct*: who watches what, from
 * which homes, in which swarms, linked with whom. Everything here is under the coordinator's lock; times are the now_ms
 * that coordinator_up() and coordinator_tick() are given.
 *
 * Ownership: the coordinator owns assets and viewers (tables by name and id); an asset owns its swarms, prefixes and the
 * plan of its members; a viewer owns its presences (one per swarm), a presence its kept offers and links. A link is
 * known to both its presences. Members who leave stay as NULL in the plan until the next grouping takes them out.
 */
#ifndef WEIR_RECORD_H
#define WEIR_RECORD_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "http/peers/coordinator.h"
#include "http/peers/message.h"

#define RECORD_HOMES	  64 /* gateways that one owner hears: a bit each */
#define RECORD_SWARMS	  8  /* of a viewer: main and audio streams, now and just left */
#define RECORD_HOLD	  16 /* ranges of an instruction */
#define RECORD_KEPT	  5  /* offers kept of a viewer in a swarm; it makes five with each announce */
#define RECORD_LINKS	  64 /* of a viewer in a swarm */
#define RECORD_RENDITIONS 16
#define RECORD_CREDITS	  6 /* prefixes whose words of one sender are told apart in a window */

#define OFFER_KEPT_MS	  40000	 /* clients forget an offer after 50 s */
#define OFFER_WAIT_MS	  12000	 /* for an answer, before another offer may be tried */
#define LINK_WAIT_MS	  15000	 /* from the answer until a report must show the link */
#define LINK_BLIND_MS	  120000 /* a link of which nobody reports is believed in */
#define SETTLE_MS	  3000	 /* from an instruction until its links are open, by far the most */
#define SILENT_MS	  65000	 /* without a word, of one that reports: out of its grouping; a page in the background says one a minute */
#define SILENT_BLIND_MS	  180000 /* … of one that never did: its announces are a minute apart */
#define FORGOTTEN_MS	  3600000
#define EPOCH_AHEAD_MS	  86400000 /* an epoch that somebody claims is at most so much later than now */

/* A hash table of nodes inside other structures. */
struct node {
	struct node *next;
	uint64_t hash;
};
struct table {
	struct node **slots;
	size_t mask, n; /* slots - 1, nodes */
};
int table_add(struct table *t, struct node *n, uint64_t hash); /* 0 or -ENOMEM */
void table_remove(struct table *t, struct node *n);
struct node *table_first(const struct table *t, uint64_t hash); /* of those in its slot: go on by ->next, compare ->hash */

struct prefix { /* witnesses of one network count as one */
	struct node node;
	uint32_t prefix, viewers;
	uint32_t at; /* in the asset's prefix_list */
	int64_t failing_ms, slow_ms, starving_ms; /* the last time that one of its viewers said so */
	int64_t asked_ms;			  /* … that one reported who is to ask the server */
	float demand, egress;			  /* of the last tick's sum */
};

struct swarm {
	struct node node; /* in asset->swarms */
	uint8_t info_hash[TRACKER_ID_LEN];
	uint32_t presents;
	uint32_t votes[RECORD_RENDITIONS]; /* which rendition those who are here and report played when they announced last */
};

struct kept_offer {
	TAILQ_ENTRY(kept_offer) all; /* coordinator's, the oldest first */
	struct present *of;
	int64_t at_ms;
	uint32_t bytes;
	uint8_t home;
	uint8_t id[TRACKER_ID_LEN];
	char *text;
};
TAILQ_HEAD(kept_list, kept_offer);

struct link {
	struct present *other;
	int64_t at_ms;	    /* offered, then answered */
	int64_t checked_ms; /* the last report of this side's viewer since; 0: none */
	double from_bytes;  /* that this side says it had from the other, since its session began; below 0: it did not say yet */
	bool mine;	    /* this side's offer */
	bool answered, connected, reached; /* reached: it was seen to work once */
	uint8_t fails;			   /* in a row: the next try waits longer */
	uint8_t home;			   /* where the offer came in: its answer goes there */
	uint8_t id[TRACKER_ID_LEN];
};

struct present { /* a viewer in a swarm */
	struct node node; /* in asset->presents, by peer_id: no two viewers have the same */
	struct viewer *viewer;
	struct swarm *swarm;
	struct present *next; /* of the viewer */
	uint8_t peer_id[TRACKER_ID_LEN];
	uint8_t home, nkept;
	uint8_t voted; /* 1 + the rendition of its vote in the swarm; 0: none */
	int64_t heard_ms, asked_ms; /* announced; asked to announce at once */
	struct kept_offer *kept[RECORD_KEPT];
	struct link *links;
	uint32_t nlinks, links_room;
};

struct viewer_range {
	uint16_t r;
	uint32_t first, last;
};

struct viewer {
	struct node node; /* in coordinator->viewers */
	struct asset *asset;
	char id[PEERS_VIEWER_LEN + 1];
	uint64_t number; /* hash of id: rendezvous */
	uint32_t at;	 /* in the asset's members, or GROUP_NONE */
	uint32_t all_at; /* in the asset's viewers */
	uint64_t homes;	 /* bits */
	uint64_t leaving; /* … of those that are gone, until it was taken out there */
	uint8_t home;	 /* the one to which instructions go */
	struct prefix *prefix;
	uint32_t as;
	bool consent, receive, metered, cellular, battery_low, excluded, unreachable;
	bool said;   /* its consent by its own word, which a token's does not change */
	bool barred; /* its home knows others of its address who did harm: it gives nothing */
	int64_t joined_ms, heard_ms, reported_ms;
	struct present *presents;
	unsigned int npresents;
	/* floods */
	float tokens, answers;
	int64_t tokens_ms;
	/* the last report */
	uint16_t rendition;
	uint32_t segment;
	double position_s;
	uint32_t buffer_ms, stalls, stall_ms, failed;
	double down_server, down_peers, up;
	float rate_server, rate_peers, rate_up; /* bytes/s, EWMA */
	float last_server;			/* bytes/s between the last two reports */
	float rtt_ms, stability;
	struct viewer_range *have;
	uint16_t nhave;
	bool told_server; /* when it reported last it was to ask the server too */
	bool played; /* had a buffer once: an empty one now says something */
	/* uplink as its receivers confirm it */
	struct {
		uint32_t prefix;
		float bytes;
	} credit[RECORD_CREDITS];
	unsigned int ncredit;
	int64_t credit_ms; /* the window's start */
	float uplink;	   /* bytes/s; 0: not known */
	bool measured;
	/* voices on poison */
	uint64_t accused[2]; /* whom it accused: each voice counts twice in its life */
	uint8_t naccused;
	uint32_t accusers[4]; /* prefixes of those who accused it */
	uint8_t naccusers;
	uint16_t tried, reached; /* links that were answered, and that were seen to work */
	/* instructions */
	bool stale, resync;
	bool orphan; /* whom it received from are gone, all or all but one: it is told first */
	int64_t orphan_ms; /* the last time that it was so */
	uint8_t told_role;
	uint64_t told; /* digest of what was said last */
	int64_t told_until;
	int64_t quiet_until; /* another owner instructed it: its last word holds until all are here */
	int64_t epoch;
	uint32_t seq;
	struct group_range hold[RECORD_HOLD];
	uint8_t nhold;
	uint32_t hold_version; /* grows when it is to hold what it was not to hold before */
	int64_t matched_ms;    /* 0: at the next tick */
};

struct grouping { /* of the last grouping's result: members order[first…first + n - 1] */
	uint32_t number, first, n, nfirst;
	uint32_t window; /* mark of the places of its viewers when portions were made; GROUP_NONE: not yet */
	int64_t dealt_ms; /* it was looked at for that */
	int64_t supplied_ms; /* its members' sources were chosen */
};

struct asset {
	struct node node; /* in coordinator->assets */
	char name[PEERS_ASSET_MAX];
	const struct media_asset *media;
	int64_t media_ms;   /* asked for */
	int64_t swept_ms;   /* silence was looked for */
	int64_t empty_ms;   /* since when nobody watches; 0: somebody does */
	uint32_t report_ms; /* between reports: longer when there are many viewers */
	struct table swarms, presents, prefixes;
	struct prefix **prefix_list;
	uint32_t nprefixes, prefixes_room;
	struct viewer **viewers; /* all who joined */
	uint32_t nviewers, viewers_room;
	/* the plan: those who are in a swarm and may receive */
	struct viewer **members;
	struct group_viewer *plan;
	uint32_t nmembers, members_room;
	struct groups *groups;
	struct group_result result;
	bool dirty; /* membership or a key changed since the last grouping */
	bool passing;	    /* a new plan is being made */
	bool other_options; /* than those with which its groups were made */
	int64_t grouped_ms;
	double grouped_s; /* of a core, that it took */
	/* who is to be linked with whom: partners of member i are edges[edge_at[i]…edge_at[i + 1] - 1], best first */
	uint32_t *edge_at, *edges, nedged;
	uint32_t *order; /* members by grouping */
	struct grouping *groupings;
	uint32_t ngroupings, next_supply;
	uint32_t deal_from; /* the grouping's number from which on portions are dealt out next */
	uint32_t told_next, matched_next; /* where the next slice of a tick goes on; told_next counts everybody twice: orphans first */
	/* sensing */
	struct sense sense;
	bool own_mode; /* set by the operator for this asset */
	double demand, egress, p2p, slope;
	double server_share; /* of what is played, taken from the server while it is calm */
	int64_t sensed_ms;
	uint64_t stalls;
};

struct switched { /* the operator's switch for an asset that may not be here yet */
	struct switched *next;
	enum sense_mode mode;
	char asset[PEERS_ASSET_MAX];
};

struct outgoing {
	STAILQ_ENTRY(outgoing) list;
	enum peers_down kind;
	uint8_t home;
	char viewer[PEERS_VIEWER_LEN + 1];
	char *text;
};

STAILQ_HEAD(outgoing_list, outgoing);

struct coordinator {
	pthread_mutex_t lock;
	struct coordinator_options opt;
	struct table assets, viewers;
	uint64_t seed; /* of tables by what strangers choose */
	int64_t now_ms, back_ms; /* the latest time; by how much the clock was set back since the start */
	char homes[RECORD_HOMES][64];
	unsigned int nhomes;
	struct kept_list kept;
	size_t kept_bytes;
	enum sense_mode mode; /* of all that have none of their own */
	struct switched *switches;
	/* What ups say, by one of their threads at a time; and what a tick says, by its own: thousands of instructions at once
	 * hold up no announce. */
	struct outgoing_list out, out_tick;
	bool draining, ticking;
	atomic_uint waiting; /* threads, for the lock */
	struct coordinator_counts counts;
};

/* ---- record.c: who is there ---- */
struct asset *record_asset(struct coordinator *c, const char *name, bool make, int64_t now);
struct viewer *record_viewer(const struct coordinator *c, const char *id);
int record_home(struct coordinator *c, const char *home); /* its number; -1: too many */
/* UP_JOIN; a viewer that is known already gets the new facts. NULL: refused. */
struct viewer *record_join(struct coordinator *c, int64_t now, int home, const char *id, const char *asset, const char *facts);
void record_at(struct viewer *v, int home); /* it is heard by that one */
void record_leave(struct coordinator *c, struct viewer *v); /* frees it */
void record_tell_consent(struct coordinator *c, const struct viewer *v, int but); /* its homes; but: that one knows, or -1 */
void record_silence(struct coordinator *c, struct asset *a, int64_t now);
void record_asset_free(struct coordinator *c, struct asset *a);
/* Into the plan, out of it, as what is known says; sets dirty. */
void record_place(struct coordinator *c, struct viewer *v);
void record_unplace(struct viewer *v);
bool record_may_upload(const struct coordinator *c, const struct viewer *v);
void record_fill(struct coordinator *c, const struct viewer *v, struct group_viewer *g); /* the plan's inputs */
const struct media_rendition *record_rendition(const struct viewer *v);
float record_demand(const struct viewer *v); /* bytes/s that its rendition needs */

/* ---- record_report.c ---- */
/* 0; -EINVAL: refused (shape or impossible), nothing of it counts but its word on consent. */
int record_report(struct coordinator *c, struct viewer *v, int home, int64_t now, const json_t *report);

/* ---- record_trust.c: what others say of one ---- */
void record_credit(struct viewer *sender, const struct viewer *receiver, double bytes, int64_t now);
void record_accuse(struct coordinator *c, struct viewer *by, struct viewer *of);
void record_exclude(struct coordinator *c, struct viewer *v, const char *why);
void record_shut_out(struct coordinator *c, struct viewer *v, const char *why); /* the same, of one that was excluded before */

/* ---- tracker.c ---- */
void tracker_take(struct coordinator *c, struct viewer *v, int home, int64_t now, struct tracker_message *m);
void tracker_drop(struct coordinator *c, struct present *p); /* ends a presence with its links and offers */
/* Offers between those who shall be linked and are not. ask: where there is none, asks for a new announce. */
void tracker_match(struct coordinator *c, struct viewer *v, int64_t now, bool ask);
struct link *tracker_link(const struct present *p, const struct present *other);
struct link *tracker_link_by_id(const struct viewer *v, const uint8_t peer_id[TRACKER_ID_LEN]);
void tracker_connected(struct viewer *v, struct link *l); /* v reports that it works */
struct present *tracker_present(const struct viewer *v, const struct swarm *s);
bool tracker_may_meet(const struct coordinator *c, const struct viewer *a, const struct viewer *b);
void tracker_expire(struct coordinator *c, struct viewer *v, int64_t now); /* swarms that it left without a word */

/* ---- tracker_offers.c ---- */
void offers_keep(struct coordinator *c, struct present *p, struct tracker_offer *o, int home, int64_t now); /* takes o's text */
void offers_free(struct coordinator *c, struct kept_offer *o);
void offers_expire(struct coordinator *c, int64_t now);
void offers_clear(struct coordinator *c, struct present *p);

/* ---- coordinator_group.c ---- */
struct pass_old { /* of a member, in the old plan; helpers are places in asset->members */
	uint32_t helper[GROUP_HELPERS_MAX];
	uint8_t role, sure;
	bool settles; /* it was told a moment ago whom to receive from, having lost others */
};
/* A new plan, made while others have the lock: places in it are not yet those in asset->members, which stay where they are
 * (who leaves is NULL there) until both change places. */
struct pass {
	bool open, made; /* open: the lock is given up in between */
	uint32_t n;	 /* who are in it */
	uint32_t members; /* places when it began */
	uint32_t *who;	  /* of each its place in asset->members … */
	uint32_t *place;  /* … and back: GROUP_NONE, has left */
	struct pass_old *old;
	struct group_viewer *plan;
	struct group_result result;
	uint32_t *edge_at, *edges, *order;
	struct grouping *groupings;
	uint32_t ngroupings;
};
/* A new plan. open: by the tick's thread alone, gives up the lock in between. Not when one is being made already. */
void coordinator_group(struct coordinator *c, struct asset *a, int64_t now, bool open);
void pass_let_in(struct coordinator *c, const struct pass *p);
void pass_go_on(struct coordinator *c, const struct pass *p);
/* Without the lock when p->open. After group_run(): helpers who hold what each will play, before those whom it chose without
 * knowing. True: a budget is used up, some groupings wait for the next pass (coordinator_supply.c). */
bool supply_pass(struct coordinator *c, struct asset *a, struct pass *p, int64_t now);
bool coordinator_group_cheap(const struct asset *a); /* enough so to be done at once */
void coordinator_sense(struct coordinator *c, struct asset *a, int64_t now);

/* ---- instruct.c, instruct_hold.c, instruct_settings.c ---- */
/* Portions of those groupings of which somebody came, left or plays on, for at most so many seconds; true: there are more. */
bool instruct_holds(struct coordinator *c, struct asset *a, int64_t now, double budget_s);
/* Those who must hear something, who lost whom they received from before all others; for at most so many seconds; true: there
 * are more. */
bool instruct_asset(struct coordinator *c, struct asset *a, int64_t now, double budget_s);
enum instruct_source { SOURCE_BOTH, SOURCE_SERVER, SOURCE_PEERS };
enum group_role instruct_role(const struct viewer *v);
enum instruct_source instruct_source(const struct viewer *v);
#define SETTINGS_HOWS 5
struct settings_cache { /* texts that were made, for one pass over viewers; zero to begin with */
	uint32_t segment_ms;
	char *text[SETTINGS_HOWS][2][2];
};
/* For p2p-media-loader: a JSON object's text, the cache's. */
const char *instruct_settings(const struct coordinator *c, const struct viewer *v, struct settings_cache *cache);
void instruct_settings_done(struct settings_cache *cache);

/* ---- coordinator.c ---- */
void coordinator_let_in(struct coordinator *c); /* others, in the middle of a tick; … */
void coordinator_go_on(struct coordinator *c);	/* … and has the lock again */
double coordinator_cpu(void);			/* this thread's time, s */
double coordinator_clock(void); /* monotonic, s: for budgets and what things took */
/* Queues; takes text (NULL: nothing is said). */
void coordinator_say(struct coordinator *c, int home, enum peers_down kind, const char *viewer, char *text);

#endif
