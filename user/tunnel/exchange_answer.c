// SPDX-License-Identifier: Apache-2.0
/* exchange_answer.c -- an answer of our own to a request for which there is no exchange. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/exchange.h"

#define ANSWER_MS 30000 /* for all of it */

struct answer {
	struct reactor *reactor;
	struct reactor_timer timer;
	struct end *front;
	size_t len, at;
	char body[];
};

static void answer_free(struct answer *a)
{
	reactor_timer_stop(a->reactor, &a->timer);
	free(a);
}

/* Lets go of the front when all was taken. */
static void answer_move(struct answer *a)
{
	struct end *front = a->front;

	if (a->at < a->len)
		a->at += front->ops->data(front, a->body + a->at, a->len - a->at, true);
	if (a->at < a->len)
		return;
	front->ops->abort(front, END_DONE);
	answer_free(a);
}

static void answer_late(struct reactor_timer *t)
{
	struct answer *a = (struct answer *)((char *)t - offsetof(struct answer, timer));

	a->front->ops->abort(a->front, END_TIMEOUT);
	answer_free(a);
}

static void answer_data(struct end *front, void *arg, const void *data, size_t len, bool last)
{
	(void)arg, (void)data, (void)last;
	front->ops->taken(front, len);
}

static void answer_trailers(struct end *front, void *arg, const struct head *h)
{
	(void)front, (void)arg, (void)h;
}

static void answer_room(struct end *front, void *arg)
{
	(void)front;
	answer_move(arg);
}

static void answer_gone(struct end *front, void *arg, enum end_why why)
{
	(void)front, (void)why;
	answer_free(arg);
}

static const struct end_events answer_events = {
	.data = answer_data,
	.trailers = answer_trailers,
	.room = answer_room,
	.gone = answer_gone,
};

static struct head *answer_head(unsigned int status, const char *type, size_t len,
				const char *const *fields)
{
	struct head *h = head_new();

	if (!h)
		return NULL;
	if (head_set_status(h, status) || head_addf(h, "content-length", "%zu", len) ||
	    (type && head_addf(h, "content-type", "%s", type)))
		goto fail;
	for (; fields && fields[0]; fields += 2)
		if (head_addf(h, fields[0], "%s", fields[1]))
			goto fail;
	return h;
fail:
	head_free(h);
	return NULL;
}

int exchange_answer(struct reactor *r, struct end *front, unsigned int status, const char *type,
		    const char *body, const char *const *fields)
{
	size_t len = body ? strlen(body) : 0;
	struct answer *a = malloc(sizeof(*a) + len);
	struct head *h = answer_head(status, type, len, fields);
	int err = a && h ? 0 : -ENOMEM;

	if (!err) {
		*a = (struct answer){
			.reactor = r, .timer.fn = answer_late, .front = front, .len = len
		};
		memcpy(a->body, body ? body : "", len);
		end_listen(front, &answer_events, a);
		err = front->ops->head(front, h, !len);
	}
	head_free(h);
	if (err) {
		free(a);
		front->ops->abort(front, END_ERROR);
		return err;
	}
	reactor_timer_set(r, &a->timer, ANSWER_MS);
	answer_move(a);
	return 0;
}
