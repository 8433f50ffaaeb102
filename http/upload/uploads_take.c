/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_take.c -- bytes that come in, by tus, PUT, form or replacing: one writer an upload, limits before each
 * byte, checksums, and what is told when all are there.
 *
 * A writer whose connection hangs does not keep others out: after TAKE_OVER_MS without a byte of its own the next one
 * that knows the offset takes its place, and what the old one still brings is refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/uploads_int.h"
#include "lib/form.h"

struct call *call_new(struct uploads *u, struct http_req *req)
{
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->u = u;
	c->req = req;
	http_set_state(req, c);
	return c;
}

struct call *call_signed(struct uploads *u, struct http_req *req)
{
	struct call *c = call_new(u, req);

	if (!c)
		http_reply_error(req, 503, "memory", "out of memory");
	else if (!access_who(req, u->opt.users, &c->who))
		c = NULL; /* freed in done */
	return c;
}

void call_free(struct call *c)
{
	if (!c)
		return;
	if (c->forward)
		forward_done(c);
	if (c->up) {
		struct call **at;

		pthread_mutex_lock(&c->up->lock);
		for (at = &c->up->waiters; *at && *at != c; at = &(*at)->next_waiter)
			;
		if (*at)
			*at = c->next_waiter;
		hold_drop(c);
		pthread_mutex_unlock(&c->up->lock);
		take_drop(c);
	}
	tus_digest_free(c->digest);
	form_free(c->form);
	if (c->own && c->own_free)
		c->own_free(c->own);
	else
		free(c->own);
	upload_drop(c->up);
	free(c);
}

bool take_allowed(struct uploads *u, struct http_req *req, const struct token_scope *who, const char *dataset,
		  const char *file, uint64_t *max_size)
{
	json_t *record;
	struct rules *rules;
	char on[320];

	if (strlen(dataset) < sizeof(who->bucket) && users_dataset(u->opt.users, dataset) &&
	    users_allow(u->opt.users, who, RIGHT_WRITE, dataset, file)) {
		record = users_dataset_record(u->opt.users, dataset);
		rules = record_rules(record);
		*max_size = rules && rules->max_size ? rules->max_size : u->object_max;
		if (*max_size > u->object_max)
			*max_size = u->object_max;
		rules_free(rules);
		json_decref(record);
		return true;
	}
	snprintf(on, sizeof(on), "%.63s/%.240s", dataset, file);
	uploads_audit(u, req, who, "upload", on, "denied", NULL, 0);
	if (strlen(dataset) < sizeof(who->bucket) && users_dataset(u->opt.users, dataset) &&
	    users_allow(u->opt.users, who, RIGHT_READ, dataset, file))
		http_reply_error(req, 403, "forbidden", "%s may read the dataset %s, not write it", who->user, dataset);
	else
		http_reply_error(req, 404, "no_dataset", "there is no dataset %.63s that you may write", dataset);
	return false;
}

enum http_next take_refuse(struct http_req *req, int rc, const struct upload *up)
{
	switch (rc) {
	case -EBUSY:
		http_add_header(req, "Retry-After", "2");
		return http_reply_error(req, 423, "locked", "another request brings this upload's bytes just now");
	case -ESTALE:
		return http_reply_error(req, 409, "offset", "that is not where the next byte goes; ask by HEAD");
	case -EPERM:
		return http_reply_error(req, 403, "closed", "this upload takes no more bytes");
	case -EMSGSIZE:
		return http_reply_error(req, 413, "too_large", "there are more bytes than were announced");
	case -EFBIG:
		return http_reply_error(req, 413, "too_large", "the dataset takes files of at most %llu bytes",
					up ? (unsigned long long)up->max_size : 0ull);
	case -EDQUOT:
		return http_reply_error(req, 429, "too_many", "you have too many unfinished uploads; end or cancel some");
	case -ENOSPC:
		return http_reply_error(req, 507, "full", "there is no room for so many bytes of unfinished uploads");
	case -EBADMSG:
		return http_reply_error(req, 460, "checksum", "the bytes are not those of Upload-Checksum; they were dropped");
	default:
		return http_reply_error(req, 500, "spool", "the bytes could not be kept: %s", strerror(-rc));
	}
}

int take_begin(struct upload *up, struct call *c, uint64_t offset)
{
	bool held;
	int rc = 0;

	pthread_mutex_lock(&up->lock);
	held = up->hold != UINT64_MAX;
	if (up->state != UP_RECEIVING || up->concat == TUS_FINAL)
		rc = up->state == UP_RECEIVING || offset != up->received ? -EPERM : -EALREADY;
	else if (up->writer && up->writer != c && now_ms() - up->active_ms < TAKE_OVER_MS)
		rc = -EBUSY;
	else if (offset != up->received)
		rc = -ESTALE;
	/* What an earlier writer brought and did not verify. */
	else if (ftruncate(up->fd, (off_t)up->received))
		rc = -errno;
	if (!rc) {
		up->writer = c;
		up->active_ms = now_ms();
		up->hold = c->digest ? offset : UINT64_MAX;
		c->base = c->offset = offset;
	}
	pthread_mutex_unlock(&up->lock);
	/* The saved state says where bytes begin that count only when verified: it must not say so of what follows now. */
	if (!rc && (c->digest || held))
		rc = upload_save(up);
	return rc;
}

static int write_at(int fd, const char *data, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Under the lock: the worker may read up to here. True: a worker should be started. */
static bool bytes_there(struct upload *up)
{
	bool whole = up->received == up->size;

	if (up->worker) {
		worker_available(up->worker, up->received, whole);
		return false;
	}
	if (up->concat == TUS_PARTIAL || up->check_over || up->wants_worker || up->starting || (!up->received && !whole))
		return false;
	up->wants_worker = true;
	return true;
}

int take_bytes(struct call *c, const void *data, size_t len)
{
	struct upload *up = c->up;
	bool start = false;
	int rc = 0;

	pthread_mutex_lock(&up->lock);
	if (up->writer != c)
		rc = -EBUSY;
	else if (up->state != UP_RECEIVING)
		rc = -EPERM;
	else if (up->size != UINT64_MAX && c->offset + len > up->size)
		rc = -EMSGSIZE;
	else if (up->max_size && c->offset + len > up->max_size)
		rc = -EFBIG;
	else
		rc = upload_reserve(up, c->offset + len);
	if (!rc)
		rc = write_at(up->fd, data, len, c->offset);
	if (!rc) {
		if (c->digest)
			tus_digest_add(c->digest, data, len);
		c->offset += len;
		up->active_ms = now_ms();
		up->expires = time(NULL) + (int64_t)(up->u->conf.expire_us / 1000000);
		if (!c->digest) {
			up->received = c->offset;
			start = bytes_there(up);
			upload_tell_progress(up);
		}
	}
	pthread_mutex_unlock(&up->lock);
	if (!rc) {
		atomic_fetch_add(&up->u->bytes_in, len);
		metric_inc(up->u->m_bytes, len);
	}
	if (start)
		uploads_kick(up->u);
	return rc;
}

int take_some(struct call *c, const void *data, size_t len, size_t *taken)
{
	*taken = hold_room(c, len);
	return *taken ? take_bytes(c, data, *taken) : 0;
}

void upload_whole(struct upload *up)
{
	up->size = up->received;
	if (up->state != UP_RECEIVING || up->concat == TUS_PARTIAL)
		return;
	upload_become(up, UP_CHECKING, NULL);
	bytes_there(up);
}

/* Its descriptor is open until the writer is gone. */
static int may_write(struct call *c)
{
	struct upload *up = c->up;
	int rc;

	pthread_mutex_lock(&up->lock);
	rc = up->writer != c ? -EBUSY : up->state != UP_RECEIVING ? -EPERM : 0;
	pthread_mutex_unlock(&up->lock);
	return rc;
}

int take_end(struct call *c, bool sync, bool whole)
{
	struct upload *up = c->up;
	bool good = true, ends = false;
	int rc = may_write(c);

	if (!rc && sync && fdatasync(up->fd))
		rc = -errno;
	pthread_mutex_lock(&up->lock);
	/* The kernel says it once and forgets the bytes: no later sync would tell. */
	if (rc && rc != -EBUSY && up->state == UP_RECEIVING) {
		check_cancel(up);
		upload_become(up, UP_FAILED, "the gateway's disk did not keep the bytes");
	}
	if (!rc && (up->writer != c || up->state != UP_RECEIVING))
		rc = up->writer != c ? -EBUSY : -EPERM;
	if (!rc && c->digest) {
		good = tus_digest_is(c->digest, &c->checksum);
		up->hold = UINT64_MAX;
		if (good)
			up->received = c->offset;
		else if (ftruncate(up->fd, (off_t)c->base))
			rc = -errno;
	}
	if (up->writer == c)
		up->writer = NULL;
	if (!rc && good) {
		ends = whole || up->received == up->size;
		if (ends)
			upload_whole(up);
		else
			bytes_there(up);
	}
	pthread_mutex_unlock(&up->lock);
	if (!rc && !good)
		rc = -EBADMSG;
	if (sync && (ends || c->digest) && upload_save(up) && !rc)
		rc = -EIO;
	uploads_kick(up->u);
	return rc;
}

void take_drop(struct call *c)
{
	struct upload *up = c->up;

	pthread_mutex_lock(&up->lock);
	if (up->writer == c) {
		up->writer = NULL;
		/* Not verified, never will be; the next writer cuts it off, too. */
		if (c->digest && up->fd >= 0 && ftruncate(up->fd, (off_t)up->received))
			up->hold = up->received;
	}
	pthread_mutex_unlock(&up->lock);
}

/* ---- waiting for an upload's end ---- */

enum http_next call_wait(struct call *c)
{
	struct upload *up = c->up;

	pthread_mutex_lock(&up->lock);
	c->waits_since_ms = now_ms();
	c->next_waiter = up->waiters;
	up->waiters = c;
	waiters_answer(up);
	pthread_mutex_unlock(&up->lock);
	return HTTP_LATER;
}

void waiters_answer(struct upload *up)
{
	struct call **at = &up->waiters, *c;
	bool slow = up->state == UP_STORING && up->store_began_ms && now_ms() - up->store_began_ms > STORE_WAIT_MS;

	if (!upload_over(up) && !slow && !uploads_quitting(up->u))
		return;
	while ((c = *at)) {
		*at = c->next_waiter;
		put_answer(c);
		if (c->req) /* uploads_file_leave() */
			http_resume(c->req);
	}
}
