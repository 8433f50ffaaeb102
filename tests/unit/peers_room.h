/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers_room.h -- a coordinator with a clock that the test moves, one asset of 4 s segments in two renditions, and
 * viewers who do what bittorrent-tracker's clients and the shim do: announce with offers, answer offers, report. All
 * that the coordinator says is kept.
 */
#ifndef WEIR_TESTS_PEERS_ROOM_H
#define WEIR_TESTS_PEERS_ROOM_H

#include "tests/unit/unit.h"

#include "http/peers/coordinator.h"
#include "http/peers/media.h"
#include "http/peers/message.h"

#define ROOM_ASSET    "films/one"
#define ROOM_SEGMENTS 150
#define ROOM_SAID_MAX 200000

struct said {
	char home[64], viewer[PEERS_VIEWER_LEN + 1];
	enum peers_down kind;
	json_t *json; /* NULL for DOWN_CLOSE */
	char *text;
};

struct room {
	struct coordinator *c;
	int64_t now;
	struct said *said;
	size_t nsaid, read; /* read: seen by room_react() */
	unsigned int alive, known;
	struct media_segment segments[ROOM_SEGMENTS];
	struct media_rendition renditions[2];
	struct media_asset asset;
	unsigned int offers; /* numbers of offer ids */
	bool no_media;
};

static inline const struct media_asset *room_media(void *arg, const char *asset)
{
	struct room *r = arg;

	return r->no_media || strcmp(asset, ROOM_ASSET) ? NULL : &r->asset;
}

static inline void room_endpoints(void *arg, unsigned int *alive, unsigned int *known)
{
	struct room *r = arg;

	*alive = r->alive;
	*known = r->known;
}

static inline void room_down(void *arg, const char *home, enum peers_down kind, const char *viewer, const char *text)
{
	struct room *r = arg;
	struct said *s = &r->said[r->nsaid++];

	assert_true(r->nsaid < ROOM_SAID_MAX);
	snprintf(s->home, sizeof(s->home), "%s", home);
	snprintf(s->viewer, sizeof(s->viewer), "%s", viewer);
	s->kind = kind;
	s->text = strdup(text);
	s->json = kind == DOWN_CLOSE ? NULL : json_loads(text, JSON_ALLOW_NUL, NULL);
	if (kind != DOWN_CLOSE)
		assert_non_null(s->json);
}

static inline void room_open(struct room *r, const struct coordinator_options *also)
{
	struct coordinator_options opt = also ? *also : (struct coordinator_options){ 0 };

	memset(r, 0, sizeof(*r));
	r->now = 1800000000000;
	r->said = calloc(ROOM_SAID_MAX, sizeof(*r->said));
	for (uint32_t i = 0; i < ROOM_SEGMENTS; i++)
		r->segments[i] = (struct media_segment){ .n = i, .duration_ms = 4000, .bytes = 500000 };
	for (int i = 0; i < 2; i++)
		r->renditions[i] = (struct media_rendition){ .name = "r", .bandwidth = 1000000, .nsegments = ROOM_SEGMENTS,
							     .segments = r->segments };
	r->asset = (struct media_asset){ .name = ROOM_ASSET, .duration_ms = ROOM_SEGMENTS * 4000, .nrenditions = 2,
					 .renditions = r->renditions };
	opt.media = room_media;
	opt.endpoints = room_endpoints;
	opt.down = room_down;
	opt.arg = r;
	opt.report_ms = 1000;
	assert_int_equal(coordinator_new(&r->c, &opt), 0);
}

static inline void room_forget(struct room *r)
{
	for (size_t i = 0; i < r->nsaid; i++) {
		json_decref(r->said[i].json);
		free(r->said[i].text);
	}
	r->nsaid = r->read = 0;
}

static inline void room_close(struct room *r)
{
	coordinator_free(r->c);
	room_forget(r);
	free(r->said);
}

static inline const char *room_id(char buf[17], unsigned int viewer)
{
	snprintf(buf, 17, "%016x", viewer);
	return buf;
}

/* peer_id of a viewer: 20 characters, its number at the end. */
static inline const char *room_peer(char buf[21], unsigned int viewer)
{
	snprintf(buf, 21, "-PM0203-%012u", viewer);
	return buf;
}

static inline void room_up(struct room *r, enum peers_up kind, const char *home, unsigned int viewer, const char *text)
{
	char id[17];

	coordinator_up(r->c, r->now, kind, home, room_id(id, viewer), ROOM_ASSET, text);
}

static inline void room_join_as(struct room *r, unsigned int viewer, unsigned int prefix, const char *more)
{
	char facts[256];

	snprintf(facts, sizeof(facts), "{\"prefix\":%u,\"as\":%u,\"home\":\"g1\",%s}", prefix, prefix / 4 + 1, more);
	room_up(r, UP_JOIN, "g1", viewer, facts);
}

static inline void room_join(struct room *r, unsigned int viewer, unsigned int prefix)
{
	room_join_as(r, viewer, prefix, "\"consent\":true");
}

static inline void room_announce_in(struct room *r, unsigned int viewer, const char *swarm, const char *event, unsigned int offers)
{
	char peer[21], text[4096], *p = text;

	p += sprintf(p, "{\"action\":\"announce\",\"info_hash\":\"%s\",\"peer_id\":\"%s\",\"numwant\":%u%s%s%s,\"offers\":[", swarm,
		     room_peer(peer, viewer), offers, event ? ",\"event\":\"" : "", event ? event : "", event ? "\"" : "");
	for (unsigned int i = 0; i < offers; i++)
		p += sprintf(p, "%s{\"offer_id\":\"%020u\",\"offer\":{\"type\":\"offer\",\"sdp\":\"of %u\"}}", i ? "," : "", r->offers++, viewer);
	sprintf(p, "]}");
	room_up(r, UP_TRACK, "g1", viewer, text);
}

#define ROOM_SWARM "swarm-of-rendition-0"

static inline void room_announce(struct room *r, unsigned int viewer)
{
	room_announce_in(r, viewer, ROOM_SWARM, NULL, 5);
}

static inline unsigned int room_viewer_of(const char *hex_or_peer)
{
	return strlen(hex_or_peer) == 20 ? (unsigned int)strtoul(hex_or_peer + 8, NULL, 10) : (unsigned int)strtoul(hex_or_peer, NULL, 16);
}

static inline const char *text_of(const json_t *o, const char *key)
{
	const char *v = json_string_value(json_object_get(o, key));

	return v ? v : "";
}

/* What a client does with what it hears: answers offers, and announces when it is asked to in a second. */
static inline void room_react(struct room *r)
{
	for (; r->read < r->nsaid; r->read++) {
		const struct said *s = &r->said[r->read];
		unsigned int viewer = room_viewer_of(s->viewer);
		char text[1024], peer[21];

		if (s->kind != DOWN_TRACK)
			continue;
		if (json_object_get(s->json, "offer")) {
			snprintf(text, sizeof(text),
				 "{\"action\":\"announce\",\"info_hash\":\"%s\",\"peer_id\":\"%s\",\"to_peer_id\":\"%s\",\"offer_id\":\"%s\","
				 "\"answer\":{\"type\":\"answer\",\"sdp\":\"by %u\"}}",
				 text_of(s->json, "info_hash"), room_peer(peer, viewer), text_of(s->json, "peer_id"),
				 text_of(s->json, "offer_id"), viewer);
			room_up(r, UP_TRACK, s->home, viewer, text);
		} else if (json_integer_value(json_object_get(s->json, "interval")) == 1) {
			room_announce_in(r, viewer, text_of(s->json, "info_hash"), NULL, 5);
		}
	}
}

static inline void room_tick(struct room *r, int64_t ms)
{
	for (int64_t end = r->now + ms; r->now < end;) {
		r->now += 250;
		coordinator_tick(r->c, r->now);
		room_react(r);
	}
}

/* more: further members, "" or beginning with a comma */
static inline void room_report(struct room *r, unsigned int viewer, unsigned int segment, unsigned int buffer_ms, const char *more)
{
	char text[4096];

	snprintf(text, sizeof(text), "{\"r\":0,\"n\":%u,\"pos\":%u,\"buffer\":%u%s}", segment, segment * 4, buffer_ms, more);
	room_up(r, UP_REPORT, "g1", viewer, text);
}

/* Viewers 1…n in networks of their own, all in the swarm. */
static inline void room_fill(struct room *r, unsigned int n)
{
	for (unsigned int i = 1; i <= n; i++) {
		room_join(r, i, 100 + i);
		room_announce(r, i);
	}
}

static inline struct coordinator_counts room_counts(struct room *r)
{
	struct coordinator_counts n;

	coordinator_counts(r->c, &n);
	return n;
}

/* The last instruction to a viewer; NULL: none. */
static inline const json_t *room_told(const struct room *r, unsigned int viewer)
{
	char id[17];

	room_id(id, viewer);
	for (size_t i = r->nsaid; i-- > 0;)
		if (r->said[i].kind == DOWN_INSTRUCT && !strcmp(r->said[i].viewer, id))
			return r->said[i].json;
	return NULL;
}

/* Messages to a viewer that have this member ("offer", "answer"), from that one (or anybody: -1). */
static inline unsigned int room_heard(const struct room *r, unsigned int viewer, const char *member, long from)
{
	char id[17];
	unsigned int n = 0;

	room_id(id, viewer);
	for (size_t i = 0; i < r->nsaid; i++)
		n += r->said[i].kind == DOWN_TRACK && !strcmp(r->said[i].viewer, id) && json_object_get(r->said[i].json, member) &&
		     (from < 0 || room_viewer_of(text_of(r->said[i].json, "peer_id")) == from);
	return n;
}

/* n viewers from `first` on, who announce; same: of one network, else each of its own. */
static inline void room_join_all(struct room *r, unsigned int first, unsigned int n, unsigned int prefix, bool same)
{
	for (unsigned int i = 0; i < n; i++) {
		room_join(r, first + i, same ? prefix : prefix + i);
		room_announce(r, first + i);
	}
}

/* Is b in a's list of helpers or the other way round? */
static inline bool room_linked(struct room *r, unsigned int a, unsigned int b)
{
	return room_heard(r, a, "answer", b) || room_heard(r, b, "answer", a);
}

/* What is told of a viewer; the caller frees it. */
static inline json_t *room_viewer_json(struct room *r, unsigned int viewer)
{
	json_t *groups = coordinator_groups(r->c, ROOM_ASSET), *g, *v, *found = NULL;
	char id[17];
	size_t i, k;

	room_id(id, viewer);
	json_array_foreach (groups, i, g)
		json_array_foreach (json_object_get(g, "viewers"), k, v)
			if (!strcmp(text_of(v, "viewer"), id))
				found = json_incref(v);
	json_decref(groups);
	assert_non_null(found);
	return found;
}

static inline bool room_flagged(struct room *r, unsigned int viewer, const char *flag)
{
	json_t *v = room_viewer_json(r, viewer), *f;
	bool is = false;
	size_t i;

	json_array_foreach (json_object_get(v, "flags"), i, f)
		is |= !strcmp(json_string_value(f), flag);
	json_decref(v);
	return is;
}

#endif
