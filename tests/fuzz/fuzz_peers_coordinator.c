/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequences of what homes tell an owner: each byte chooses who does what (joins, announces, answers, reports with odd
 * numbers, leaves, time that passes, gateways that die, the operator's switch); texts are made of the bytes that follow.
 * Nothing crashes, nothing is said to whom must hear nothing, and no offer goes from or to one who refused.
 */
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/coordinator.h"
#include "http/peers/media.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VIEWERS 12

struct world {
	struct coordinator *c;
	const uint8_t *at, *end;
	int64_t now;
	char offer[21], from[21];	/* the last that was relayed */
	unsigned int to, answers;
	bool refuses[VIEWERS];		/* neither gives nor takes */
};

static struct media_segment segments[40];
static const struct media_rendition renditions[1] = { { .name = "r", .bandwidth = 800000, .nsegments = 40, .segments = segments } };
static const struct media_asset asset = { .name = "a/b", .duration_ms = 160000, .nrenditions = 1, .renditions = renditions };

static void require(int truth)
{
	if (!truth)
		abort();
}

static unsigned int byte(struct world *w)
{
	return w->at < w->end ? *w->at++ : 0;
}

static const struct media_asset *media(void *arg, const char *name)
{
	(void)arg;
	return strcmp(name, "a/b") ? NULL : &asset;
}

static void down(void *arg, const char *home, enum peers_down kind, const char *viewer, const char *text)
{
	struct world *w = arg;
	unsigned int to = (unsigned int)strtoul(viewer, NULL, 16);
	json_t *root, *peer;

	require(home[0] == 'g' && to < VIEWERS);
	if (kind == DOWN_CLOSE)
		return;
	root = json_loads(text, JSON_ALLOW_NUL, NULL);
	require(json_is_object(root));
	if (kind == DOWN_TRACK && (json_object_get(root, "offer") || json_object_get(root, "answer"))) {
		peer = json_object_get(root, "peer_id");
		require(!w->refuses[to] && json_string_length(peer) == 20);
		require(!w->refuses[strtoul(json_string_value(peer), NULL, 10) % VIEWERS]);
	}
	if (kind == DOWN_TRACK && json_object_get(root, "offer")) {
		snprintf(w->offer, sizeof(w->offer), "%s", json_string_value(json_object_get(root, "offer_id")));
		snprintf(w->from, sizeof(w->from), "%s", json_string_value(json_object_get(root, "peer_id")));
		w->to = to;
	}
	json_decref(root);
}

static void up(struct world *w, enum peers_up kind, unsigned int who, const char *text)
{
	char id[17], home[3];

	snprintf(id, sizeof(id), "%016x", who % VIEWERS);
	snprintf(home, sizeof(home), "g%u", who / VIEWERS % 3);
	coordinator_up(w->c, w->now, kind, home, id, byte(w) % 16 ? "a/b" : "c/d", text);
}

static void join(struct world *w, unsigned int who)
{
	unsigned int f = byte(w);
	char text[160];

	/* what one once refused it does not take back in this world, so that what may be said stays plain */
	if (w->refuses[who % VIEWERS])
		f &= ~3u;
	w->refuses[who % VIEWERS] |= !(f & 3);
	snprintf(text, sizeof(text), "{\"prefix\":%u,\"as\":%u,\"consent\":%s,\"receive\":%s,\"metered\":%s}", f >> 3, f >> 5,
		 f & 1 ? "true" : "false", f & 2 ? "true" : "false", f & 4 ? "true" : "false");
	up(w, UP_JOIN, who, text);
}

static void announce(struct world *w, unsigned int who)
{
	unsigned int f = byte(w), n = f & 7;
	char text[2048], *p = text;

	p += sprintf(p, "{\"action\":\"announce\",\"info_hash\":\"swarm-------------%02u\",\"peer_id\":\"%020u\",\"event\":\"%s\",\"offers\":[",
		     f >> 3 & 3, who % VIEWERS + VIEWERS * (f >> 7), f >> 5 & 3 ? "" : f & 1 ? "stopped" : "started");
	for (unsigned int i = 0; i < n; i++)
		p += sprintf(p, "%s{\"offer_id\":\"%012lu%08u\",\"offer\":{\"type\":\"offer\",\"sdp\":\"x\"}}", i ? "," : "",
			     (unsigned long)(w->now % 1000000000), byte(w));
	sprintf(p, "]}");
	up(w, UP_TRACK, who, text);
}

static void answer(struct world *w, unsigned int who)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"action\":\"announce\",\"info_hash\":\"swarm-------------%02u\",\"peer_id\":\"%020u\",\"to_peer_id\":\"%s\",\"offer_id\":\"%s\","
		 "\"answer\":{\"type\":\"answer\",\"sdp\":\"y\"}}",
		 byte(w) & 3, byte(w) & 1 ? who % VIEWERS : w->to, w->from, w->offer);
	up(w, UP_TRACK, byte(w) & 3 ? w->to : who, text);
}

static void report(struct world *w, unsigned int who)
{
	unsigned int a = byte(w), b = byte(w), f = byte(w);
	char text[768];

	snprintf(text, sizeof(text),
		 "{\"r\":%u,\"n\":%u,\"pos\":%u,\"buffer\":%u,\"have\":[[0,%u,%u]],\"down_server\":%lu,\"down_peers\":%lu,\"up\":%lu,\"failed\":%u,"
		 "\"slow\":%u,\"peers\":[\"%020u\"],\"%s\":[\"%020u\"],\"from\":{\"%020u\":%u},\"resync\":%s}",
		 f & 1 ? 0 : a & 3, a & 63, a * 4, b * 100, a & 31, b & 63, (unsigned long)(w->now % 100000000) * (f & 7),
		 (unsigned long)(w->now % 100000000), (unsigned long)b, f, f >> 4, a % VIEWERS, f & 8 ? "bad" : "good", b % VIEWERS, a % VIEWERS,
		 b * 1000, f & 16 ? "true" : "false");
	up(w, UP_REPORT, who, text);
}

/* Texts of the stranger's own. */
static void raw(struct world *w, unsigned int who)
{
	static const enum peers_up kinds[] = { UP_TRACK, UP_REPORT, UP_TRACK, UP_REPORT };
	size_t n = byte(w);
	char text[256];

	n = n < (size_t)(w->end - w->at) ? n : (size_t)(w->end - w->at);
	memcpy(text, w->at, n);
	text[n] = '\0';
	w->at += n;
	up(w, kinds[byte(w) & 3], who, text);
}

static void others(struct world *w, unsigned int who)
{
	char home[3];

	switch (byte(w) & 7) {
	case 0:
		snprintf(home, sizeof(home), "g%u", byte(w) % 3);
		coordinator_home_gone(w->c, home);
		break;
	case 1:
		coordinator_switch(w->c, byte(w) & 1 ? "*" : "a/b", (enum sense_mode)(byte(w) % 3));
		break;
	case 2:
		json_decref(coordinator_groups(w->c, "a/b"));
		json_decref(coordinator_assets(w->c));
		break;
	default:
		up(w, UP_LEAVE, who, "");
	}
}

static void step(struct world *w)
{
	unsigned int what = byte(w), who = byte(w);

	switch (what & 7) {
	case 0:
		join(w, who);
		break;
	case 1:
	case 2:
		announce(w, who);
		break;
	case 3:
		answer(w, who);
		break;
	case 4:
		report(w, who);
		break;
	case 5:
		w->now += (int64_t)(what >> 3) * (what >> 3) * 50 + 1;
		coordinator_tick(w->c, w->now);
		break;
	case 6:
		raw(w, who);
		break;
	default:
		others(w, who);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = { .at = data, .end = data + size, .now = 1800000000000 };
	struct coordinator_options opt = { .group = { .size = 5 }, .report_ms = 1000, .viewers_max = VIEWERS - 1, .offers_bytes = 4000,
					   .media = media, .down = down, .arg = &w, .capacity = 1e6 };
	struct coordinator_counts n;

	for (uint32_t i = 0; i < 40; i++)
		segments[i] = (struct media_segment){ .n = i, .duration_ms = 4000, .bytes = 1000 };
	strcpy(w.offer, "xxxxxxxxxxxxxxxxxxxx");
	strcpy(w.from, "xxxxxxxxxxxxxxxxxxxx");
	require(!coordinator_new(&w.c, &opt));
	for (unsigned int steps = 0; w.at < w.end && steps < 400; steps++)
		step(&w);
	coordinator_tick(w.c, w.now + 250);
	coordinator_counts(w.c, &n);
	require(n.viewers <= VIEWERS - 1 && n.first + n.second + n.alone == n.viewers);
	coordinator_free(w.c);
	return 0;
}
