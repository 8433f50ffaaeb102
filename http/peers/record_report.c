/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record_report.c -- what a player says of itself (record.h). A report that is malformed or impossible is refused as a
 * whole: more bytes than the time allows, counters that go back, positions and segments that the asset does not have. Its
 * word on consent alone counts always: the player says it once.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/media.h"
#include "http/peers/record.h"

#define RATE_MAX     125e6  /* bytes/s that a viewer may say it moved: 1 Gbit/s */
#define SLACK_MS     2000   /* reports are not sent at exact times */
#define BUFFER_MAX   600000 /* ms */
#define SEGMENTS_MAX 10000000
#define RATE_TAU_S   10.0   /* time constant of the rates */
#define FIRST_STALL_MS 3600000 /* a session may be older than this owner knows */
#define SLOW	     0.8    /* of a segment's duration, to fetch it */

struct report { /* checked, not yet applied */
	int64_t rendition, segment, buffer, stalls, stall_ms, failed;
	double pos, down_server, down_peers, up, slow, rtt;
	struct viewer_range have[REPORT_RANGES];
	uint16_t nhave;
	const json_t *peers, *bad, *from;
	bool resync;
	int64_t epoch; /* that it knows */
};

/* An integer (or nothing: otherwise) within 0…max. */
static bool whole(const json_t *o, const char *key, int64_t max, int64_t otherwise, int64_t *out)
{
	const json_t *v = json_object_get(o, key);
	double n;

	*out = otherwise;
	if (!v || json_is_null(v))
		return true;
	n = json_number_value(v);
	if (!json_is_number(v) || !isfinite(n) || n < 0 || n > (double)max)
		return false;
	*out = (int64_t)n;
	return true;
}

static bool real(const json_t *o, const char *key, double max, double otherwise, double *out)
{
	const json_t *v = json_object_get(o, key);

	*out = otherwise;
	if (!v || json_is_null(v))
		return true;
	*out = json_number_value(v);
	return json_is_number(v) && isfinite(*out) && *out >= 0 && *out <= max;
}

/* Are there segments first…last in that rendition? Without a list: as far as numbers make sense. */
static bool segments_exist(const struct media_asset *m, uint64_t r, uint64_t first, uint64_t last)
{
	const struct media_rendition *of;

	if (r >= RECORD_RENDITIONS || first > last || last > SEGMENTS_MAX)
		return false;
	if (!m)
		return true;
	if (r >= m->nrenditions)
		return false;
	of = &m->renditions[r];
	return of->nsegments && first >= of->segments[0].n && last <= of->segments[of->nsegments - 1].n;
}

static int by_range(const void *x, const void *y)
{
	const struct viewer_range *a = x, *b = y;

	if (a->r != b->r)
		return a->r < b->r ? -1 : 1;
	return a->first < b->first ? -1 : a->first > b->first;
}

/* Each segment once, however often it was said: who holds what is counted. */
static void have_merge(struct report *out)
{
	struct viewer_range *to = NULL;

	if (out->nhave)
		qsort(out->have, out->nhave, sizeof(out->have[0]), by_range);
	for (uint16_t i = 0, n = out->nhave; i < n; i++) {
		const struct viewer_range h = out->have[i];

		if (to && to->r == h.r && h.first <= to->last + 1) {
			to->last = h.last > to->last ? h.last : to->last;
			out->nhave--;
		} else {
			to = to ? to + 1 : out->have;
			*to = h;
		}
	}
}

static bool have_of(const struct media_asset *m, const json_t *list, struct report *out)
{
	size_t i;
	json_t *one;

	if (!list || json_is_null(list))
		return true;
	if (!json_is_array(list) || json_array_size(list) > REPORT_RANGES)
		return false;
	json_array_foreach (list, i, one) {
		const json_t *r = json_array_get(one, 0), *a = json_array_get(one, 1), *b = json_array_get(one, 2);

		if (json_array_size(one) != 3 || !json_is_integer(r) || !json_is_integer(a) || !json_is_integer(b) ||
		    !segments_exist(m, (uint64_t)json_integer_value(r), (uint64_t)json_integer_value(a), (uint64_t)json_integer_value(b)))
			return false;
		out->have[out->nhave++] = (struct viewer_range){ (uint16_t)json_integer_value(r), (uint32_t)json_integer_value(a),
								 (uint32_t)json_integer_value(b) };
	}
	have_merge(out);
	return true;
}

static bool shape(const struct viewer *v, const json_t *root, struct report *out)
{
	const struct media_asset *m = v->asset->media;

	memset(out, 0, sizeof(*out));
	if (!json_is_object(root) || !whole(root, "r", RECORD_RENDITIONS - 1, v->rendition, &out->rendition) ||
	    !whole(root, "n", SEGMENTS_MAX, v->segment, &out->segment) || !real(root, "pos", 1e7, v->position_s, &out->pos) ||
	    !whole(root, "buffer", BUFFER_MAX, 0, &out->buffer) || !whole(root, "stalls", 1e6, v->stalls, &out->stalls) ||
	    !whole(root, "stall_ms", UINT32_MAX, v->stall_ms, &out->stall_ms) || !whole(root, "failed", 1e9, v->failed, &out->failed) ||
	    !real(root, "down_server", 1e15, v->down_server, &out->down_server) ||
	    !real(root, "down_peers", 1e15, v->down_peers, &out->down_peers) || !real(root, "up", 1e15, v->up, &out->up) ||
	    !real(root, "slow", 1e6, 0, &out->slow) || !real(root, "rtt", 60000, v->rtt_ms, &out->rtt) ||
	    !whole(root, "epoch", INT64_MAX / 2, 0, &out->epoch) || !have_of(m, json_object_get(root, "have"), out))
		return false;
	if (m && ((uint64_t)out->rendition >= m->nrenditions || out->pos * 1000 > (double)m->duration_ms + BUFFER_MAX))
		return false;
	out->peers = json_object_get(root, "peers");
	out->bad = json_object_get(root, "bad");
	out->from = json_object_get(root, "from");
	if ((out->peers && (!json_is_array(out->peers) || json_array_size(out->peers) > REPORT_PEERS)) ||
	    (out->bad && (!json_is_array(out->bad) || json_array_size(out->bad) > REPORT_PEERS)) ||
	    (out->from && (!json_is_object(out->from) || json_object_size(out->from) > REPORT_PEERS)))
		return false;
	out->resync = json_is_true(json_object_get(root, "resync"));
	return true;
}

/* Segments are compared with the list as [first, last + 1]: a player at the end asks for the one after it. */
static bool playing_exists(const struct viewer *v, const struct report *r)
{
	const struct media_asset *m = v->asset->media;
	const struct media_rendition *of = m ? &m->renditions[r->rendition] : NULL;

	return !of || !of->nsegments || !r->segment ||
	       (r->segment >= of->segments[0].n && r->segment <= (int64_t)of->segments[of->nsegments - 1].n + 1);
}

/* A player that began anew in the same session counts from zero: all its counters went back, none stayed. That makes a
 * first report of it, of which nothing is credited. */
static bool restarted(const struct viewer *v, const struct report *r)
{
	return v->down_server + v->down_peers + v->up > 0 && (r->down_server < v->down_server || v->down_server <= 0) &&
	       (r->down_peers < v->down_peers || v->down_peers <= 0) && (r->up < v->up || v->up <= 0) && r->stalls <= v->stalls &&
	       r->failed <= v->failed;
}

/* Could that have happened since the last report? The first one sets what counters start from. */
static bool possible(const struct viewer *v, const struct report *r, int64_t now)
{
	double most = RATE_MAX * ((double)(now - v->reported_ms) + SLACK_MS) / 1000, sum = 0;
	const char *key;
	json_t *bytes;

	json_object_foreach ((json_t *)r->from, key, bytes) {
		if (!json_is_number(bytes) || !isfinite(json_number_value(bytes)) || json_number_value(bytes) < 0)
			return false;
		sum += json_number_value(bytes);
	}
	/* what single peers gave is no more than what all gave, and a segment or two that are not complete yet */
	if (sum > r->down_peers + 32e6 || !playing_exists(v, r))
		return false;
	/* a stall is told when it is over: it may be longer than the time between reports, not than the session */
	if (r->stall_ms > now - v->joined_ms + FIRST_STALL_MS)
		return false;
	if (!v->reported_ms || restarted(v, r))
		return true;
	return r->down_server >= v->down_server && r->down_server - v->down_server <= most && r->down_peers >= v->down_peers &&
	       r->down_peers - v->down_peers <= most && r->up >= v->up && r->up - v->up <= most && r->stalls >= v->stalls &&
	       r->stall_ms >= v->stall_ms && r->failed >= v->failed;
}

static void rate(float *ewma, double bytes, double seconds)
{
	double alpha = 1 - exp(-seconds / RATE_TAU_S);

	if (seconds > 0)
		*ewma += (float)(alpha * (bytes / seconds - *ewma));
}

static void apply_counters(struct coordinator *c, struct viewer *v, const struct report *r, int64_t now)
{
	double s = (double)(now - v->reported_ms) / 1000;

	if (v->reported_ms) {
		rate(&v->rate_server, r->down_server - v->down_server, s);
		v->last_server = s > 0 ? (float)((r->down_server - v->down_server) / s) : 0;
		rate(&v->rate_peers, r->down_peers - v->down_peers, s);
		rate(&v->rate_up, r->up - v->up, s);
		c->counts.bytes_server += (uint64_t)(r->down_server - v->down_server);
		c->counts.bytes_peers += (uint64_t)(r->down_peers - v->down_peers);
		c->counts.stalls += (uint64_t)(r->stalls - v->stalls);
		c->counts.stall_ms += (uint64_t)(r->stall_ms - v->stall_ms);
		v->asset->stalls += (uint64_t)(r->stalls - v->stalls);
		if (now - v->reported_ms <= 2 * (int64_t)v->asset->report_ms)
			v->stability += 0.1f * (1 - v->stability);
		else
			v->stability *= 0.9f;
		if (r->failed > v->failed && !v->excluded)
			v->prefix->failing_ms = now;
	}
	v->down_server = r->down_server;
	v->down_peers = r->down_peers;
	v->up = r->up;
	v->stalls = (uint32_t)r->stalls;
	v->stall_ms = (uint32_t)r->stall_ms;
	v->failed = (uint32_t)r->failed;
	if (r->rtt > 0)
		v->rtt_ms = (float)r->rtt;
}

/* Its buffer is below one segment, and it is neither just starting nor at the end. */
static bool starving(const struct viewer *v)
{
	const struct media_rendition *of = record_rendition(v);
	uint32_t segment_ms = of && of->nsegments ? of->segments[0].duration_ms : 4000;
	const struct media_asset *m = v->asset->media;

	if (!v->played || v->buffer_ms >= segment_ms)
		return false;
	return !m || v->position_s * 1000 + 2.0 * segment_ms < m->duration_ms;
}

static void apply_place(struct viewer *v, const struct report *r)
{
	struct viewer_range *have = NULL;

	if (r->nhave) {
		have = malloc(r->nhave * sizeof(*have));
		if (have)
			memcpy(have, r->have, r->nhave * sizeof(*have));
	}
	free(v->have);
	v->have = have;
	v->nhave = have ? r->nhave : 0;
	if (v->rendition != r->rendition)
		v->played = false;
	v->rendition = (uint16_t)r->rendition;
	v->segment = (uint32_t)r->segment;
	v->position_s = r->pos;
	v->buffer_ms = (uint32_t)r->buffer;
	if (v->buffer_ms >= 4000)
		v->played = true;
}

/* What it says of the server. Who was told to ask peers alone, now or when it reported last, can say nothing of it, nor can one
 * who asked it for nothing since. asked: its counters say so. */
static void apply_witness(struct viewer *v, const struct report *r, bool asked, int64_t now)
{
	bool told = instruct_source(v) != SOURCE_PEERS, may = told && v->told_server && !v->excluded;

	v->told_server = told;
	if (!may)
		return;
	v->prefix->asked_ms = now;
	if (r->slow >= SLOW)
		v->prefix->slow_ms = now;
	if ((asked || r->slow > 0) && starving(v))
		v->prefix->starving_ms = now;
}

/* What it had from each, in all. Of one that it did not speak of before nothing is credited: that may be of an earlier link. */
static void apply_from(struct viewer *v, const json_t *from, int64_t now)
{
	double most = RATE_MAX * (double)(now - v->reported_ms + SLACK_MS) / 1000;
	const char *key;
	json_t *one;

	json_object_foreach ((json_t *)from, key, one) {
		uint8_t id[TRACKER_ID_LEN];
		double bytes = json_number_value(one);
		struct link *l = tracker_id_parse(id, key, strlen(key)) ? tracker_link_by_id(v, id) : NULL;

		if (!l || !l->answered)
			continue;
		if (v->reported_ms && l->from_bytes >= 0 && bytes > l->from_bytes && bytes - l->from_bytes <= most)
			record_credit(l->other->viewer, v, bytes - l->from_bytes, now);
		l->from_bytes = bytes;
	}
	/* those of whom it says nothing gave nothing */
	for (struct present *p = v->presents; from && p; p = p->next)
		for (uint32_t i = 0; i < p->nlinks; i++)
			if (p->links[i].answered && p->links[i].from_bytes < 0)
				p->links[i].from_bytes = 0;
}

/* Which of its links work, what it had from whom, who sent what was not what it claimed. */
static void apply_peers(struct coordinator *c, struct viewer *v, const struct report *r, int64_t now)
{
	struct link *l;
	size_t i;
	json_t *one;

	for (struct present *p = v->presents; r->peers && p; p = p->next) {
		for (uint32_t k = 0; k < p->nlinks; k++) {
			if (p->links[k].answered) {
				p->links[k].checked_ms = now;
				p->links[k].connected = false;
			}
		}
	}
	json_array_foreach (r->peers, i, one) {
		uint8_t id[TRACKER_ID_LEN];

		if (!json_is_string(one) || !tracker_id_parse(id, json_string_value(one), json_string_length(one)))
			continue;
		l = tracker_link_by_id(v, id);
		if (l && l->answered)
			tracker_connected(v, l);
	}
	apply_from(v, r->from, now);
	json_array_foreach (r->bad, i, one) {
		uint8_t id[TRACKER_ID_LEN];

		if (!json_is_string(one) || !tracker_id_parse(id, json_string_value(one), json_string_length(one)))
			continue;
		l = tracker_link_by_id(v, id);
		if (l && l->answered)
			record_accuse(c, v, l->other->viewer);
	}
}

static void take_consent(struct coordinator *c, struct viewer *v, int home, const json_t *said)
{
	if (!json_is_boolean(said))
		return;
	v->said = true;
	if (v->consent == json_is_true(said))
		return;
	v->consent = json_is_true(said);
	v->receive = v->receive || v->consent;
	v->asset->dirty = v->stale = true;
	record_place(c, v);
	record_tell_consent(c, v, home);
}

int record_report(struct coordinator *c, struct viewer *v, int home, int64_t now, const json_t *root)
{
	struct report r;
	bool asked;

	v->heard_ms = now;
	take_consent(c, v, home, json_object_get(root, "consent"));
	if (!shape(v, root, &r) || !possible(v, &r, now))
		return -EINVAL;
	if (home >= 0) {
		/* what was said to its former home did not come to this one */
		v->resync |= v->home != home;
		v->stale |= v->home != home;
		record_at(v, home);
		v->home = (uint8_t)home;
	}
	if (r.resync && r.epoch > v->epoch && r.epoch < now + EPOCH_AHEAD_MS) { /* a former owner's clock was ahead of ours */
		v->epoch = r.epoch + 1;
		v->seq = 0;
	}
	if (r.resync)
		v->stale = v->resync = true;
	/* Faster than asked for: nothing is learned from such short times. */
	if (v->reported_ms && now - v->reported_ms < (int64_t)c->opt.report_ms / 4)
		return 0;
	if (v->reported_ms && restarted(v, &r))
		v->reported_ms = 0;
	asked = r.down_server > v->down_server || r.failed > v->failed;
	apply_peers(c, v, &r, now);
	apply_counters(c, v, &r, now);
	apply_place(v, &r);
	apply_witness(v, &r, asked, now);
	v->reported_ms = now;
	record_place(c, v);
	return 0;
}
