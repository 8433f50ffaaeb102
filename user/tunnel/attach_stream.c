/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_stream.c -- a request on its way to an origin: an end around the stream's own, which
 * counts it as open and learns how long the origin took for its answer.
 *
 * The time runs from the whole request being sent to the head of the answer: what bodies take is
 * the client's line as well.
 */
#include <errno.h>
#include <stdlib.h>

#include "user/tunnel/attach.h"
#include "user/tunnel/spare.h"

struct stream {
	struct end end; /* what the exchange has */
	struct end *inner;
	struct oconn *oc; /* lives as long as streams of it are open */
	struct origin *origin;
	struct edge_tunnel *t;
	uint64_t sent_us; /* the whole request; 0: not yet */
	bool answered;
};

static struct stream *stream_of(struct end *e)
{
	return (struct stream *)e;
}

static void learn(struct stream *s, bool good)
{
	if (s->answered)
		return;
	s->answered = true;
	s->origin->failed += !good;
	if (s->sent_us)
		pick_answered(&s->origin->pick, (double)(reactor_now_us() - s->sent_us) / 1e6,
			      good);
}

/* It is over: counted out before anybody hears of it. A client that gave up tells nothing of the
 * origin but that it was waited for. */
static void count_out(struct stream *s, enum end_why why)
{
	if (why == END_LOST || why == END_TIMEOUT || why == END_PROTOCOL)
		learn(s, false);
	else if (!s->answered && s->sent_us && why != END_REFUSED)
		pick_waited(&s->origin->pick, (double)(reactor_now_us() - s->sent_us) / 1e6);
	s->origin->pick.open--;
	origin_release(s->origin);
	s->t->users--;
	s->oc->pick.open--;
	oconn_release(s->oc);
}

static void sent(struct stream *s, bool last)
{
	if (last && !s->sent_us)
		s->sent_us = reactor_now_us();
}

/* ---- ops: from the exchange to the origin ---- */

static int stream_head(struct end *e, const struct head *h, bool last)
{
	struct stream *s = stream_of(e);
	int rc = s->inner->ops->head(s->inner, h, last);

	if (!rc)
		/* the rest of a CONNECT is bytes that may never end: its answer comes before */
		sent(s, last || (h->method && h->method[0] == 'C'));
	return rc;
}

static size_t stream_data(struct end *e, const void *data, size_t len, bool last)
{
	struct stream *s = stream_of(e);
	size_t took = s->inner->ops->data(s->inner, data, len, last);

	sent(s, last && took == len);
	return took;
}

static int stream_trailers(struct end *e, const struct head *h)
{
	struct stream *s = stream_of(e);
	int rc = s->inner->ops->trailers(s->inner, h);

	sent(s, !rc);
	return rc;
}

static void stream_taken(struct end *e, size_t len)
{
	struct end *inner = stream_of(e)->inner;

	inner->ops->taken(inner, len);
}

static void stream_abort(struct end *e, enum end_why why)
{
	struct stream *s = stream_of(e);

	s->inner->ops->abort(s->inner, why);
	count_out(s, why);
	spare_put(s);
}

static const struct end_ops stream_ops = {
	stream_head, stream_data, stream_trailers, stream_taken, stream_abort,
};

/* ---- events: from the origin to the exchange ---- */

static void on_head(struct end *e, void *arg, const struct head *h, bool last)
{
	struct stream *s = arg;

	(void)e;
	if (h->status >= 200)
		learn(s, h->status < 500);
	s->end.on->head(&s->end, s->end.arg, h, last);
}

static void on_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	struct stream *s = arg;

	(void)e;
	s->end.on->data(&s->end, s->end.arg, data, len, last);
}

static void on_trailers(struct end *e, void *arg, const struct head *h)
{
	struct stream *s = arg;

	(void)e;
	s->end.on->trailers(&s->end, s->end.arg, h);
}

static void on_room(struct end *e, void *arg)
{
	struct stream *s = arg;

	(void)e;
	s->end.on->room(&s->end, s->end.arg);
}

static void on_gone(struct end *e, void *arg, enum end_why why)
{
	struct stream *s = arg;
	struct attached *to = s->t->origins;

	(void)e;
	if (why == END_REFUSED && to)
		to->refused = &s->oc->pick;
	count_out(s, why);
	s->end.on->gone(&s->end, s->end.arg, why);
	spare_put(s);
}

static const struct end_events stream_events = {
	on_head, on_data, on_trailers, on_room, on_gone,
};

int attach_stream_wrap(struct oconn *oc, struct end *inner, struct end **out)
{
	struct stream *s = spare_zero(sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct stream){ .end = { .ops = &stream_ops }, .inner = inner, .oc = oc };
	s->origin = oc->origin;
	s->t = oc->t;
	oc->pick.open++;
	oc->holders++;
	oc->origin->pick.open++;
	oc->origin->requests++;
	oc->t->users++;
	end_listen(inner, &stream_events, s);
	*out = &s->end;
	return 0;
}
