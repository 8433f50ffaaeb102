/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_join.c -- the concatenation of tus: a final upload is made of partial ones, of this gateway by the kernel, of
 * others over their inside listeners (a client's connections may have come to several).
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/uploads_int.h"

#define PART_KEPT_S 300 /* a part that was put into a final upload: the answer may have been lost */

struct source {
	struct upload *up; /* held; NULL: it is at another gateway */
	uint64_t size;
};

/* 0, -ENOENT (not there or not hers), -EAGAIN (not complete), -EINVAL (no part), -EHOSTUNREACH. */
static int find_one(struct call *c, const char *id, struct source *s)
{
	char ours[9];
	bool gone;
	int rc = 0;

	spool_node_digits(c->u->node, ours);
	if (spool_id_valid(id) && strncmp(id, ours, 8))
		return forward_part_size(c, id, &s->size);
	s->up = uploads_find(c->u, id, &gone);
	if (!s->up || !upload_visible(c->u, &c->who, s->up))
		return -ENOENT;
	pthread_mutex_lock(&s->up->lock);
	if (s->up->concat != TUS_PARTIAL)
		rc = -EINVAL;
	else if (s->up->received != s->up->size)
		rc = -EAGAIN;
	s->size = s->up->received;
	pthread_mutex_unlock(&s->up->lock);
	return rc;
}

static int copy_parts(struct call *c, const struct tus_wish *w, const struct source *sources)
{
	struct upload *up = c->up;
	uint64_t at = 0;
	int rc = 0;

	for (size_t i = 0; i < w->parts.n && !rc; i++) {
		const struct source *s = &sources[i];

		rc = s->up ? spool_copy(s->up->fd, 0, s->size, up->fd, at)
			   : forward_part_copy(c, w->parts.id[i], s->size, up->fd, at);
		at += s->size;
	}
	if (!rc && fdatasync(up->fd))
		rc = -errno;
	if (rc)
		return rc;
	for (size_t i = 0; i < w->parts.n; i++) {
		if (!sources[i].up)
			continue; /* expires there */
		pthread_mutex_lock(&sources[i].up->lock);
		sources[i].up->expires = time(NULL) + PART_KEPT_S;
		pthread_mutex_unlock(&sources[i].up->lock);
	}
	pthread_mutex_lock(&up->lock);
	up->received = at;
	upload_whole(up);
	pthread_mutex_unlock(&up->lock);
	rc = upload_save(up);
	uploads_kick(up->u);
	return rc;
}

static void refuse(struct call *c, const struct tus_wish *w, int rc)
{
	switch (rc) {
	case -ENOENT:
		http_reply_error(c->req, 404, "no_part", "a part of this upload is not here");
		break;
	case -EINVAL:
		http_reply_error(c->req, 400, "no_part", "an upload is made of partial ones alone");
		break;
	case -EAGAIN:
		http_reply_error(c->req, 409, "incomplete", "a part of this upload is not complete");
		break;
	case -EHOSTUNREACH:
		http_add_header(c->req, "Retry-After", "2");
		http_reply_error(c->req, 503, "gateway", "the gateway that has a part does not answer; try again");
		break;
	case -EFBIG:
		http_reply_error(c->req, 413, "too_large", "the dataset takes files of at most %llu bytes",
				 (unsigned long long)w->max_size);
		break;
	default:
		take_refuse(c->req, rc, c->up);
	}
}

void tus_join(struct call *c, const struct tus_wish *w)
{
	struct source sources[TUS_PARTS_MAX] = { { 0 } };
	uint64_t size = 0;
	int rc = 0;

	for (size_t i = 0; i < w->parts.n && !rc; i++) {
		rc = find_one(c, w->parts.id[i], &sources[i]);
		size += sources[i].size;
	}
	if (!rc && size > w->max_size)
		rc = -EFBIG;
	if (!rc)
		rc = tus_make(c, w, size);
	if (!rc)
		rc = copy_parts(c, w, sources);
	if (rc) {
		refuse(c, w, rc);
		if (c->up)
			upload_cancel(c->up, "its parts could not be joined");
	}
	for (size_t i = 0; i < w->parts.n; i++)
		upload_drop(sources[i].up);
	c->created = !rc;
}
