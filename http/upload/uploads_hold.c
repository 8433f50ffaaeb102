/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_hold.c -- a client that sends faster than its file is checked is held: its body is not read further than
 * gateway.uploads.ahead bytes beyond what the running worker has checked, so that a finding is told while the rest
 * still arrives.
 *
 * A body function that took less than it was handed is called again by http_resume(): each of the worker's words,
 * its end, and each change of the upload's state lets go whom they concern. All is under the upload's lock, so that
 * a word between "took less" and the wait is kept by the server for that wait (httpd_wait.c).
 *
 * The first finding is a reason to stop: when somebody listens, nothing more is taken for FINDING_MS, so that it is read
 * before the rest has come, and who wants can stop. A mover looks often enough to let go then.
 *
 * An upload that waits for its turn among the workers, or is a part of a concatenation, holds nobody.
 *
 * A worker that is far behind (one that begins anew) or stands still may hold a client for long: every HOLD_MS it may
 * send HOLD_CREDIT bytes, less than which no TCP window opens, so that no time-out of its own ends it, and one that
 * went away is noticed.
 */
#include "http/upload/uploads_int.h"

#define HOLD_MS	    5000 /* half of what httpc.h calls a stall */
#define HOLD_CREDIT (512u << 10)
#define FINDING_MS  300

/* Under the lock: bytes that may be taken now. */
static uint64_t room(const struct call *c)
{
	const struct upload *up = c->up;
	uint64_t ahead = up->u->conf.ahead, lead;

	/* Also one that lost its place, or whose upload ended: it is to hear that. */
	if (!ahead || up->writer != c || up->state != UP_RECEIVING)
		return UINT64_MAX;
	if (up->stop_until_ms > now_ms())
		return c->credit;
	if ((!up->worker && !up->starting) || up->check_over || up->aside)
		return UINT64_MAX;
	lead = up->received > up->checked ? up->received - up->checked : 0;
	if (lead >= ahead)
		return c->credit;
	/* What is not verified yet is not shown to the worker: it would wait for the rest as we for it. */
	if (c->digest)
		return UINT64_MAX;
	return ahead - lead > c->credit ? ahead - lead : c->credit;
}

size_t hold_room(struct call *c, size_t len)
{
	struct upload *up = c->up;
	uint64_t max;

	pthread_mutex_lock(&up->lock);
	if (c->held_ms && now_ms() - c->held_ms >= HOLD_MS) {
		c->credit = HOLD_CREDIT;
		c->held_ms = 0;
	}
	max = room(c);
	if (max && max == c->credit) /* it stays behind */
		c->credit -= len < max ? len : max;
	else if (max)
		c->held_ms = 0;
	if (!max && !c->held_ms)
		c->held_ms = now_ms();
	if (max < len) {
		len = (size_t)max;
		if (!c->held) {
			c->held = true;
			c->next_held = up->held;
			up->held = c;
		}
	}
	pthread_mutex_unlock(&up->lock);
	return len;
}

void hold_finding(struct upload *up)
{
	if (!up->topic || !http_topic_listeners(up->topic))
		return;
	up->stop_until_ms = now_ms() + FINDING_MS;
	up->progress_ms = 0; /* beside it stands how far it was */
	upload_tell_progress(up);
}

void hold_release(struct upload *up)
{
	struct call **at = &up->held, *c;

	while ((c = *at)) {
		if (!room(c) && !(c->held_ms && now_ms() - c->held_ms >= HOLD_MS)) {
			at = &c->next_held;
			continue;
		}
		*at = c->next_held;
		c->held = false;
		http_resume(c->req);
	}
}

void hold_drop(struct call *c)
{
	struct call **at = &c->up->held;

	while (*at && *at != c)
		at = &(*at)->next_held;
	if (*at)
		*at = c->next_held;
	c->held = false;
}
