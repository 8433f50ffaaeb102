/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch.h -- the parts of `weir media watch`, a viewer without a screen, among themselves.
 *
 * media_watch.c         the command, the clock that plays, what is printed
 * media_watch_session.c a session at a gateway, the signed list of segments, reports
 * media_watch_events.c  the stream of instructions: checked, and what they say
 * media_watch_track.c   the tracker: offers, answers, whom we know
 * media_watch_ws.c      its WebSocket
 * media_watch_hold.c    segments in memory, and which one is fetched next, and from whom
 * media_watch_fetch.c   the threads that fetch them
 * media_watch_serve.c   the server that gives them to other viewers
 *
 * Viewers of this kind meet over plain TCP and not by WebRTC: an offer's "sdp" is the text "weir-tcp ADDRESS:PORT KEY",
 * or "weir-tcp - -" of one who gives nothing and so tells no address. Who has the KEY, and is named by the last
 * instruction's `share`, may ask GET /weir/have and GET /weir/segment/RENDITION/NUMBER. Browsers are in swarms of their
 * own: the info_hash is derived from "weir-tcp", the asset and the rendition.
 */
#ifndef WEIR_TOOLS_MEDIA_WATCH_H
#define WEIR_TOOLS_MEDIA_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/httpc.h"
#include "tools/cmd.h"
#include "tools/web.h"

#define VIEWER_ID	20  /* of a peer, an offer, a swarm: printable characters, without terminator */
#define VIEWER_KEY	32  /* hex digits by which a peer asks */
#define VIEWER_GATEWAYS 8
#define VIEWER_PEERS	48
#define VIEWER_RANGES	64  /* of an instruction's hold, of a report's have */
#define VIEWER_BAD	16
#define VIEWER_MEMORY	(256u << 20) /* bytes of segments; what was played goes first when there are more */

/* Bytes of one segment: checked, never changed, kept while anybody sends them. */
struct viewer_bytes {
	int refs; /* atomic */
	size_t len;
	uint8_t data[];
};

struct viewer_segment {
	char *uri; /* below the asset */
	uint32_t n, duration_ms, bytes;
	int64_t start_ms;
	uint8_t sha256[32];
	/* under the lock */
	struct viewer_bytes *have;
	bool by_server;		 /* on its way */
	uint8_t by_peers;	 /* … from so many of them, the last of whom */
	struct viewer_peer *asked;
	int64_t asked_at; /* was asked then */
	int64_t server_again;	 /* not before; it failed */
};
struct viewer_rendition {
	char name[32];
	uint32_t bandwidth, nsegments;
	struct viewer_segment *segments; /* by n, without gaps */
};

enum viewer_state { VIEWER_CALM, VIEWER_STRAINED, VIEWER_OUTAGE };
enum viewer_role { VIEWER_ALONE, VIEWER_FIRST, VIEWER_SECOND };
enum viewer_source { VIEWER_BOTH, VIEWER_SERVER, VIEWER_PEERS_ALONE };
extern const char *const viewer_states[4], *const viewer_roles[4], *const viewer_sources[4];

struct viewer_range {
	uint32_t rendition, first, last; /* segment numbers, both ends among them */
};
struct viewer_ids {
	size_t n;
	char id[VIEWER_PEERS][VIEWER_ID + 1];
};
/* The last one, complete in itself. */
struct viewer_instruction {
	bool given;
	int64_t seq, epoch, until; /* unix ms */
	enum viewer_state state;
	enum viewer_role role;
	enum viewer_source source;
	int64_t group;
	size_t nhold;
	struct viewer_range hold[VIEWER_RANGES];
	struct viewer_ids share, from;
	double cap; /* bytes/s */
};

struct viewer_peer {
	char id[VIEWER_ID + 1];
	char address[128];	     /* ADDRESS:PORT; "" : it cannot be asked */
	char key_out[VIEWER_KEY + 1]; /* by which we ask it */
	char key_in[2][VIEWER_KEY + 1]; /* by which it asks us; it may have had two offers */
	uint8_t *have;		     /* of our rendition, a byte for each segment */
	bool bad;		     /* sent what was not the segment */
	unsigned int busy, fails;
	double rate;		 /* bytes/s of its last segments; 0: none yet */
	int64_t asked_at, again; /* what it has was asked for; not to be asked before */
	uint64_t received, sent;
};

struct viewer_options {
	char asset[192];       /* BUCKET/ASSET */
	const char *rendition; /* NULL: the first */
	const char *bind;      /* NULL: the address by which the gateway is reached */
	const char *ca;	       /* a file, or NULL */
	bool consent, receive, json, quiet;
	uint64_t uplink;       /* bytes/s at most; 0: as much as the cap allows */
	int64_t seconds;       /* 0: until its end */
	int64_t start_ms, buffer_ms;
	double max_stall;      /* seconds; negative: any */
};

struct viewer_counts {
	uint64_t server, peers, up, stalls, failed, refused, forged;
	int64_t stall_ms, startup_ms;
};

struct viewer {
	struct viewer_options opt;
	struct web *web;
	struct httpc *media; /* for segments: gives up sooner */
	FILE *trace;	     /* NULL: none */
	volatile bool quit;

	/* said by the session, not changed after */
	char name[24], peer_id[VIEWER_ID + 1], swarm[VIEWER_ID + 1];
	char *token;
	uint8_t key[64];
	size_t key_len, ngateways;
	char *gateways[VIEWER_GATEWAYS];
	char *list_path, *list_key; /* of the signed list; base64 */
	struct viewer_rendition *renditions;
	size_t nrenditions, mine; /* the one that is played */
	int64_t duration_ms;
	struct viewer_serve *serve; /* NULL: gives nothing */
	char at[128];		    /* where it serves, "" */
	bool local;		    /* the gateway is on this machine */

	pthread_mutex_t lock; /* all that follows */
	pthread_cond_t changed;
	size_t gateway; /* the one in use */
	struct viewer_instruction told;
	bool resync;
	int64_t report_ms, reported_at;
	struct viewer_peer peers[VIEWER_PEERS];
	size_t npeers;
	struct viewer_ids bad, bad_told;
	int64_t pos_ms; /* playing here */
	uint64_t stored;
	double slow, rtt_ms;
	struct viewer_counts count;
	int wake; /* eventfd of the tracker's thread */
	bool announce;
};

/* The command; argc and argv are what follows its name. */
int media_watch(int argc, char **argv);

int64_t viewer_now(void); /* monotonic ms */
int64_t viewer_unix(void); /* unix ms */
/* A line of the trace: {"at","what","way":"in"|"out","text"}. what: tracker, instruction, report, segment, say. */
void viewer_trace(struct viewer *v, const char *what, const char *way, const char *text, size_t len);
/* A random identifier of printable characters that begins with `prefix`. */
void viewer_random_id(char out[VIEWER_ID + 1], const char *prefix);
bool viewer_ids_have(const struct viewer_ids *ids, const char *id);
void viewer_ids_add(struct viewer_ids *ids, const char *id);
/* An identifier out of JSON, where it may be of bytes that no text has: -EINVAL when it is not one of ours. */
int viewer_id_of(const json_t *value, char out[VIEWER_ID + 1]);

/* ---- session ---- CMD_OK, or CMD_FAILED after a message */
int viewer_session(struct viewer *v);
int viewer_list(struct viewer *v); /* waits for it while the endpoints are away */
void *viewer_report_thread(void *v);
/* base of the gateway in use: rotating buffer; its index. */
const char *viewer_gateway(struct viewer *v, size_t *at);
void viewer_gateway_failed(struct viewer *v, size_t at); /* the next one, unless somebody said so before */
char *viewer_route(const char *base, const char *path, const char *token); /* "…?token=…", malloc'ed */

/* ---- events ---- */
void *viewer_events_thread(void *v);
/* Pure: the event's data, {"p","m"}, by the session's key into *out. 0, -EBADMSG: the MAC is wrong, -EINVAL. */
int viewer_instruction_take(struct viewer_instruction *out, int64_t *report_ms, const char *data, const uint8_t *key,
			    size_t key_len);
/* Under the lock: what holds now (alone when nothing was said, or not lately). */
const struct viewer_instruction *viewer_told(const struct viewer *v);

/* ---- tracker ---- */
void *viewer_track_thread(void *v);
void viewer_track_again(struct viewer *v); /* asks for more peers; under the lock */
/* Pure: where another says it can be asked, out of its "weir-tcp ADDRESS:PORT KEY": false when it says nothing of use. local:
 * addresses of this machine are (else nobody makes us ask services of our own). */
bool viewer_sdp_take(const char *sdp, bool local, char address[128], char key[VIEWER_KEY + 1]);
/* All under the lock. */
struct viewer_peer *viewer_peer_by_key(struct viewer *v, const char *key);
struct viewer_peer *viewer_peer_by_id(struct viewer *v, const char *id);
void viewer_peer_drop(struct viewer *v, struct viewer_peer *p);

/* ---- segments; all under the lock ---- */
struct viewer_segment *viewer_segment(struct viewer *v, uint32_t rendition, uint32_t n);
size_t viewer_at(const struct viewer *v, int64_t ms);	/* index in our rendition; nsegments: after its end */
int64_t viewer_buffered(const struct viewer *v);	/* ms from pos on without a gap */
size_t viewer_have(const struct viewer *v, struct viewer_range *out, size_t max);
/* Takes the bytes when their SHA-256 is right: 0, or -EBADMSG. */
int viewer_store(struct viewer *v, struct viewer_segment *s, struct viewer_bytes *b);
struct viewer_segment *viewer_pick_server(struct viewer *v, int64_t now);
struct viewer_segment *viewer_pick_peer(struct viewer *v, int64_t now, struct viewer_peer **from);
struct viewer_bytes *viewer_bytes_new(size_t len); /* NULL without memory */
struct viewer_bytes *viewer_bytes_get(struct viewer_bytes *b);
void viewer_bytes_put(struct viewer_bytes *b); /* accepts NULL */

/* ---- fetching ---- */
void *viewer_server_thread(void *v);
void *viewer_peer_thread(void *v);
/* What a peer says it has (JSON, by a stranger); under the lock. */
void viewer_have_take(struct viewer *v, struct viewer_peer *p, const char *text, size_t len);
/* GET, over redirects; path: of the gateway in use. The status, or -errno; *out has at most max bytes. */
int viewer_get(struct viewer *v, const char *path, size_t max, struct viewer_bytes **out);

/* ---- serving ---- CMD_OK, or CMD_FAILED after a message; v->at is where */
int viewer_serve_start(struct viewer *v);
void viewer_serve_stop(struct viewer *v);
bool viewer_is_local(const struct viewer *v); /* is the gateway reached over loopback? */

#endif
