/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.c -- the stream behind a GET (reader.h).
 */
#include <errno.h>
#include <stdlib.h>

#include "http/store/reader.h"
#include "http/store/repair.h"
#include "lib/log.h"

struct reader {
	struct endpoint *ep;
	struct http_req *req;
	struct held_cursor *cursor; /* this disk; NULL: relay */
	struct relay *relay;
	struct version version;
	uint64_t first, len;
	char holders[NAMES_HOLDERS_MAX][CONF_NAME_MAX];
	unsigned int nholders;
	struct reader **kept;           /* where the request has it, until that is over */
};

static struct reader *reader_new(struct endpoint *ep, struct http_req *req,
				 const struct reader_job *job)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->ep = ep;
	r->req = req;
	r->version = job->version;
	r->first = job->first;
	r->len = job->len;
	for (; r->nholders < job->nholders && r->nholders < NAMES_HOLDERS_MAX; r->nholders++)
		strcpy(r->holders[r->nholders], job->holders[r->nholders]);
	r->kept = job->kept;
	if (r->kept)
		*r->kept = r;
	return r;
}

static void reader_free(void *arg)
{
	struct reader *r = arg;

	if (r->kept)
		*r->kept = NULL;
	held_cursor_free(r->cursor);
	relay_stop(r->relay);
	free(r);
}

void reader_detach(struct reader *r)
{
	if (!r)
		return;
	relay_stop(r->relay);
	r->relay = NULL;
	r->kept = NULL;
}

static void reader_wake(void *arg)
{
	http_resume(((struct reader *)arg)->req);
}

static int reader_relay(struct reader *r, uint64_t pos)
{
	return relay_start(&r->relay, r->ep->relays, &r->version,
			   (const char(*)[CONF_NAME_MAX])r->holders, r->nholders, r->first + pos,
			   r->len - pos, reader_wake, r);
}

/* A block is damaged: another copy takes over at this byte, and the file is repaired behind it. */
static bool reader_fail_over(struct reader *r, uint64_t pos)
{
	int rc;

	atomic_fetch_add(&r->ep->counts.damaged, 1);
	repair_queue(r->ep->repair, &r->version);
	held_cursor_free(r->cursor);
	r->cursor = NULL;
	rc = reader_relay(r, pos);
	if (rc)
		log_limited(LOG_LEVEL_ERROR, 30,
			    "a stored block is damaged and no other copy can be had: a download is "
			    "cut");
	return !rc;
}

static ssize_t reader_read(void *ctx, uint64_t pos, char *buf, size_t max)
{
	struct reader *r = ctx;
	ssize_t n;

	if (pos >= r->len)
		return HTTP_READ_END;
	if (max > r->len - pos)
		max = (size_t)(r->len - pos);
	if (r->cursor) {
		n = held_read(r->cursor, r->first + pos, buf, max);
		if (n > 0)
			return n;
		if (!reader_fail_over(r, pos))
			return HTTP_READ_FAIL;
	}
	return r->relay ? relay_read(r->relay, buf, max) : HTTP_READ_FAIL;
}

static const char *type_of(const struct reader_job *job)
{
	return job->type ? job->type : READER_TYPE;
}

/* HEAD, and ranges of no bytes. */
static enum http_next reply_length(struct http_req *req, const struct reader_job *job)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (!r)
		return http_reply_error(req, 503, "memory", "Out of memory; try again.");
	return http_reply_stream(req, job->status, type_of(job), job->len, reader_read, reader_free,
				 r);
}

enum http_next reader_reply_local(struct endpoint *ep, struct http_req *req, struct held *held,
				  const struct reader_job *job)
{
	struct reader *r;

	if (job->head || !job->len)
		return reply_length(req, job);
	if (held_ready(held, job->first, job->len)) {
		int fd = held_fd(held);

		if (fd >= 0)
			return http_reply_fd(req, job->status, type_of(job), fd,
					     held_base(held) + job->first, job->len);
	}
	r = reader_new(ep, req, job);
	if (r)
		r->cursor = held_cursor_new(held);
	if (!r || !r->cursor) {
		if (r)
			reader_free(r);
		return http_reply_error(req, 503, "memory", "Out of memory; try again.");
	}
	return http_reply_stream(req, job->status, type_of(job), job->len, reader_read, reader_free,
				 r);
}

enum http_next reader_refuse(struct http_req *req, const struct reader_job *job, int rc, const char *sentence)
{
	if (job->refuse)
		return job->refuse(job->refuse_arg, rc, sentence);
	if (rc != -EKEYREJECTED)
		return http_reply_error(req, 503, "unreachable", "%s", sentence);
	/* It may come back with the registry's backup. */
	http_add_header(req, "Cache-Control", "no-store");
	return http_reply_error(req, 410, "key", "%s", sentence);
}

enum http_next reader_reply_relay(struct endpoint *ep, struct http_req *req,
				  const struct reader_job *job)
{
	char from[CONF_NAME_MAX] = "";
	struct reader *r;
	int rc;

	if (job->head || !job->len)
		return reply_length(req, job);
	r = reader_new(ep, req, job);
	rc = r ? reader_relay(r, 0) : -ENOMEM;
	if (!rc)
		rc = relay_wait(r->relay, from);
	if (rc) {
		if (r)
			reader_free(r);
		return reader_refuse(req, job, -EAGAIN, "No endpoint that holds this object can be reached now; try again.");
	}
	atomic_fetch_add(&ep->counts.relayed, 1);
	http_add_header(req, "X-Weir-From", from);
	return http_reply_stream(req, job->status, type_of(job), job->len, reader_read, reader_free,
				 r);
}
