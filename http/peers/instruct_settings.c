/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instruct_settings.c -- what p2p-media-loader (2.x) is set to, by the asset's state and the viewer's role. All are keys
 * of its dynamic stream configuration; the shim hands them to applyDynamicConfig() as they are.
 *
 * How it decides (hybrid-loader.ts): a segment within highDemandTimeWindow of the playhead is fetched over HTTP at once
 * when a slot of simultaneousHttpDownloads is free, and a transfer from a peer is broken off for it; beyond that it comes
 * from peers (p2pDownloadTimeWindow), and now and then a segment within httpDownloadTimeWindow that no linked peer has is
 * fetched over HTTP: so that window is what makes a first group hold media in advance, each segment about once.
 *
 * Zero slots for HTTP is what "not from the server" means. httpErrorRetries 0 would be wrong for it: a transfer from a
 * peer that fails would then be reported to the player as the segment's failure (attempts >= retries), as would attempts
 * over HTTP of before; with many retries and no slot it is tried at the next peer instead.
 */
#include <stdlib.h>

#include "http/peers/media.h"
#include "http/peers/record.h"

enum unit { UNIT_PLAIN, UNIT_SEGMENTS /* of a segment's duration, in s */, UNIT_AHEAD /* of options.ahead_ms, in s */ };

enum how { HOW_CALM_FIRST, HOW_CALM_SECOND, HOW_STRAINED_FIRST, HOW_PEERS_ONLY, HOW_SERVER };
#define HOWS SETTINGS_HOWS

struct setting {
	const char *key;
	enum unit unit;
	double value[HOWS];
};

static const struct setting settings[] = {
	/*                                               first  second  strained  peers  server
	 *                                               calm   calm    first     only   alone */
	/* The last moment for the server. In calm two segments ahead of need are enough to fetch one; the first group of a
	 * strained server asks its fellows until one segment is left. Peers only: it gives the nearest the right of way. */
	{ "highDemandTimeWindow", UNIT_SEGMENTS, { 3, 2, 1.5, 3, 4 } },
	/* What nobody linked holds, a first group fetches for all; the second never fetches in advance. */
	{ "httpDownloadTimeWindow", UNIT_AHEAD, { 1, 0, 1, 0, 0 } },
	/* As far as the first group holds, and when nothing else comes all that there is. */
	{ "p2pDownloadTimeWindow", UNIT_AHEAD, { 1, 1, 1.5, 3, 1 } },
	{ "simultaneousHttpDownloads", UNIT_PLAIN, { 2, 2, 1, 0, 2 } },
	/* One of each helper at once, and in need of more: a slow peer must not hold up the others. */
	{ "simultaneousP2PDownloads", UNIT_PLAIN, { 3, 3, 4, 6, 3 } },
	{ "httpErrorRetries", UNIT_PLAIN, { 3, 3, 2, 1000, 3 } },
	/* A dead server is found out within one segment; the player's default is 3000. */
	{ "httpNotReceivingBytesTimeoutMs", UNIT_PLAIN, { 2500, 2500, 2000, 1000, 3000 } },
	/* A peer that says nothing so long has more to carry than it can: another is asked. Default 2000. */
	{ "p2pNotReceivingBytesTimeoutMs", UNIT_PLAIN, { 2000, 2000, 2000, 3000, 2000 } },
	/* A peer is given up after so many timeouts: in an outage there may be no other. */
	{ "p2pErrorRetries", UNIT_PLAIN, { 3, 3, 5, 10, 3 } },
};

static enum how how_of(const struct viewer *v)
{
	enum group_role role = instruct_role(v);

	if (role == GROUP_ALONE)
		return HOW_SERVER;
	if (instruct_source(v) == SOURCE_PEERS)
		return HOW_PEERS_ONLY;
	if (v->asset->sense.state == SENSE_CALM)
		return role == GROUP_FIRST ? HOW_CALM_FIRST : HOW_CALM_SECOND;
	return HOW_STRAINED_FIRST;
}

static char *settings_text(const struct coordinator *c, enum how how, uint32_t segment_ms, bool upload, bool off)
{
	json_t *out = json_object();
	char *text;

	for (size_t i = 0; out && i < sizeof(settings) / sizeof(settings[0]); i++) {
		const struct setting *s = &settings[i];
		double value = s->value[how];

		if (s->unit == UNIT_SEGMENTS)
			value *= segment_ms / 1000.0;
		else if (s->unit == UNIT_AHEAD)
			value *= c->opt.ahead_ms / 1000.0;
		json_object_set_new(out, s->key, json_integer((json_int_t)(value + 0.5)));
	}
	json_object_set_new(out, "isP2PUploadDisabled", json_boolean(!upload));
	json_object_set_new(out, "isP2PDisabled", json_boolean(off));
	text = out ? json_dumps(out, JSON_COMPACT) : NULL;
	json_decref(out);
	return text;
}

const char *instruct_settings(const struct coordinator *c, const struct viewer *v, struct settings_cache *cache)
{
	const struct media_rendition *r = record_rendition(v);
	uint32_t segment_ms = r && r->nsegments && r->segments[0].duration_ms ? r->segments[0].duration_ms : 4000;
	bool upload = record_may_upload(c, v), off = v->excluded || !v->receive || v->asset->sense.mode == SENSE_OFF;
	enum how how = how_of(v);
	char **text = &cache->text[how][upload][off];

	if (cache->segment_ms != segment_ms) {
		instruct_settings_done(cache);
		cache->segment_ms = segment_ms;
	}
	if (!*text)
		*text = settings_text(c, how, segment_ms, upload, off);
	return *text ? *text : "{}";
}

void instruct_settings_done(struct settings_cache *cache)
{
	for (int h = 0; h < HOWS; h++) {
		for (int i = 0; i < 4; i++) {
			free(cache->text[h][i / 2][i % 2]);
			cache->text[h][i / 2][i % 2] = NULL;
		}
	}
}
