/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record_trust.c -- what others say of a viewer (record.h): the uplink that its receivers confirm, and poison.
 *
 * Bounds. A rate counts only as far as receivers of at least two prefixes confirm it, and the words of one prefix count
 * at most as much as those of all others together; never more than 1.25 of what the sender reports itself (a player
 * that makes no reports says nothing of it). A viewer's voice counts for two accusations in its life, and only
 * against those to whom the tracker linked it; two prefixes must agree. So k forged viewers exclude at most k others, and
 * none at all from one prefix (unless the asset has fewer than three: then it takes one who is itself known to give).
 */
#include <string.h>

#include "http/peers/record.h"

#define WINDOW_MS	 5000
#define RISE		 0.5f  /* of the way up, per window */
#define FALL		 0.02f /* of the way down: a quiet window says that nobody asked, not that it could not */
#define FULL		 0.8f  /* of its cap: it gives all that it may */
#define UNSEEN		 65536 /* bytes/s that one is taken for who was never measured (group.h) */
#define WITNESS_PREFIXES 3

/* What all prefixes of the window confirm together, bytes/s; 0: fewer than two. */
static float confirmed(const struct viewer *v, double seconds)
{
	float sum = 0, most = 0;

	for (unsigned int i = 0; i < v->ncredit; i++) {
		sum += v->credit[i].bytes;
		if (v->credit[i].bytes > most)
			most = v->credit[i].bytes;
	}
	if (v->ncredit < 2 || seconds <= 0)
		return 0;
	if (most > sum - most)
		sum = 2 * (sum - most);
	return sum / (float)seconds;
}

static void window_close(struct viewer *v, int64_t now)
{
	double seconds = (double)(now - v->credit_ms) / 1000;
	float rate = confirmed(v, seconds), claim = v->rate_up;
	float cap = v->at == GROUP_NONE ? 0 : v->asset->plan[v->at].cap;

	if (v->reported_ms && rate > 1.25f * claim) /* nobody gives more than it says itself */
		rate = 1.25f * claim;
	if (!v->measured && rate > UNSEEN) { /* less says nothing, and would end its try without a cap */
		v->uplink = UNSEEN;
		v->measured = true;
	}
	if (rate > 0 && v->measured) {
		if (rate > v->uplink)
			v->uplink += RISE * (rate - v->uplink);
		else if (rate < FULL * cap) /* else it is the cap that lets no more through */
			v->uplink += FALL * (rate - v->uplink);
		/* In the calm little is asked for: a low rate says nothing. In an outage a cap of it would be the end. */
		if (v->uplink < UNSEEN && v->asset->sense.state == SENSE_CALM)
			v->uplink = UNSEEN;
	}
	v->ncredit = 0;
	v->credit_ms = now;
}

void record_credit(struct viewer *sender, const struct viewer *receiver, double bytes, int64_t now)
{
	unsigned int i;

	if (now - sender->credit_ms >= WINDOW_MS)
		window_close(sender, now);
	if (!receiver->prefix || receiver->prefix == sender->prefix)
		return; /* neighbours of one's own network are not independent */
	for (i = 0; i < sender->ncredit; i++) {
		if (sender->credit[i].prefix == receiver->prefix->prefix) {
			sender->credit[i].bytes += (float)bytes;
			return;
		}
	}
	if (i == RECORD_CREDITS)
		return;
	sender->credit[i].prefix = receiver->prefix->prefix;
	sender->credit[i].bytes = (float)bytes;
	sender->ncredit++;
}

/* One whose own record is good: it gave, others say so, and nobody accused it. */
static bool good_record(const struct viewer *v)
{
	return v->measured && !v->naccusers && v->stability > 0.5f;
}

void record_accuse(struct coordinator *c, struct viewer *by, struct viewer *of)
{
	unsigned int i;

	if (by == of || of->excluded || by->excluded)
		return;
	for (i = 0; i < by->naccused; i++)
		if (by->accused[i] == of->number)
			return;
	if (by->naccused == 2)
		return;
	by->accused[by->naccused++] = of->number;
	for (i = 0; i < of->naccusers && of->accusers[i] != by->prefix->prefix; i++)
		;
	if (i == of->naccusers && i < 4)
		of->accusers[of->naccusers++] = by->prefix->prefix;
	if (of->naccusers >= 2)
		record_exclude(c, of, "receivers in two networks had segments from it whose hash was wrong");
	else if (by->asset->nprefixes < WITNESS_PREFIXES && good_record(by))
		record_exclude(c, of, "a receiver had a segment from it whose hash was wrong");
}

void record_exclude(struct coordinator *c, struct viewer *v, const char *why)
{
	c->counts.excluded++;
	record_shut_out(c, v, why);
}

void record_shut_out(struct coordinator *c, struct viewer *v, const char *why)
{
	v->excluded = true;
	while (v->presents)
		tracker_drop(c, v->presents);
	record_unplace(v);
	v->stale = true;
	for (int home = 0; home < RECORD_HOMES; home++)
		if (v->homes >> home & 1)
			coordinator_say(c, home, DOWN_CLOSE, v->id, strdup(why));
}
