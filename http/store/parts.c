/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.c -- see parts.h.
 *
 * The pieces that the range touches are known when it is opened; each is opened when its first byte is wanted, so that a
 * large object costs one descriptor or one relay at a time.
 */
#include "http/store/parts.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>

#include "http/s3/meta.h"
#include "http/store/repair.h"
#include "http/store/sealed.h"
#include "http/store/version.h"
#include "lib/log.h"
#include "lib/sealing.h"

struct piece {
	struct version version;
	uint64_t first, len; /* of the version's bytes, as they are stored */
	struct opener *opener; /* NULL: they are plain */
	unsigned int nholders;
	char (*holders)[CONF_NAME_MAX];
};

struct parts {
	struct endpoint *ep;
	struct piece *pieces;
	size_t npieces, room, at;
	uint64_t pos; /* in pieces[at] */
	struct held_cursor *cursor;
	struct relay *relay;
	void (*wake)(void *arg);
	void *arg;
	/* reads that block */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool woken;
};

/* ---- the pieces ---- */

struct wanted {
	struct parts *s;
	uint64_t first, end; /* of the object's bytes */
	uint64_t at;	     /* where the next part begins */
	unsigned int last;
};

bool parts_sealed(const struct name_entry *entry)
{
	json_t *meta;
	bool sealed;

	if (!entry->meta_len || !strstr(entry->meta, "\"" S3_META_KEY "\":"))
		return false;
	meta = s3_meta_read(entry->meta); /* user metadata may look like it */
	sealed = s3_meta_text(meta, S3_META_KEY) != NULL;
	json_decref(meta);
	return sealed;
}

/* The piece's bytes are opened when they are read: first and len become those of what is stored. */
static int open_sealed(struct parts *s, struct piece *p, const struct name_entry *entry)
{
	json_t *meta = s3_meta_read(entry->meta_len ? entry->meta : "");
	const char *text = s3_meta_text(meta, S3_META_KEY);
	char about[SEALED_ABOUT], kid[SEALING_KID_MAX] = "?";
	uint8_t key[SEALED_KEY];
	long n;

	n = users_unseal(s->ep->users, sealed_about(&p->version, about), text, key, sizeof(key));
	if (n == -ENOKEY && !users_sealing_lost(s->ep->users, text))
		n = -EAGAIN; /* it is on its way here, or nobody can say */
	sealing_kid(text, kid);
	json_decref(meta);
	if (n == SEALED_KEY)
		p->opener = opener_new(key, &p->version, entry->size, p->first, p->len, &p->first, &p->len);
	OPENSSL_cleanse(key, sizeof(key));
	if (n != SEALED_KEY)
		log_limited(LOG_LEVEL_ERROR, 10, "the key of an encrypted object (sealed by %s) cannot be opened: %s", kid,
			    n < 0 ? strerror((int)-n) : "its length is wrong");
	return n == -EAGAIN ? -EAGAIN : n != SEALED_KEY ? -EKEYREJECTED : p->opener ? 0 : -ENOMEM;
}

static int add_piece(struct parts *s, const struct name_entry *entry, uint64_t first, uint64_t len)
{
	struct piece *p;

	if (s->npieces == s->room) {
		size_t room = s->room ? s->room * 2 : 4;
		struct piece *more = realloc(s->pieces, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->pieces = more;
		s->room = room;
	}
	p = &s->pieces[s->npieces];
	*p = (struct piece){ .first = first, .len = len, .nholders = entry->nholders };
	if (version_parse(&p->version, entry->version))
		return -EBADMSG;
	p->holders = calloc(entry->nholders + 1, sizeof(*p->holders));
	if (!p->holders)
		return -ENOMEM;
	memcpy(p->holders, entry->holders, entry->nholders * sizeof(*p->holders));
	s->npieces++;
	/* Whatever the object's meta says of its parts: older programs sealed some of an upload
	 * that was begun plain. */
	return parts_sealed(entry) ? open_sealed(s, p, entry) : 0;
}

static int take_part(void *arg, const char *bucket, const struct name_entry *part)
{
	struct wanted *w = arg;
	uint64_t begin = w->at, end = w->at + part->size;

	(void)bucket;
	w->at = end;
	w->last = part->part;
	if (end <= w->first || begin >= w->end)
		return 0;
	if (begin < w->first)
		begin = w->first;
	if (end > w->end)
		end = w->end;
	return add_piece(w->s, part, begin - (w->at - part->size), end - begin);
}

static int find_parts(struct parts *s, const char *bucket, const struct name_entry *entry, uint64_t first, uint64_t len)
{
	struct wanted w = { .s = s, .first = first, .end = first + len };
	bool more = true;
	int rc = 0;

	while (!rc && more && w.at < w.end) {
		unsigned int before = w.last;

		rc = names_parts(s->ep->names, bucket, entry->version, w.last, 0, true, take_part,
				 &w, &more);
		if (!rc && w.last == before)
			break; /* nothing came */
	}
	return rc ? rc : w.at < w.end ? -ENOENT : 0;
}

/* ---- reading ---- */

static void on_wake(void *arg)
{
	struct parts *s = arg;

	if (s->wake) {
		s->wake(s->arg);
		return;
	}
	pthread_mutex_lock(&s->lock);
	s->woken = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static int begin_relay(struct parts *s)
{
	const struct piece *p = &s->pieces[s->at];

	return relay_start(&s->relay, s->ep->relays, &p->version, (const char(*)[CONF_NAME_MAX])p->holders, p->nholders,
			   p->first + s->pos, p->len - s->pos, on_wake, s);
}

static int begin_piece(struct parts *s)
{
	struct held *held = NULL;
	int rc = held_get(s->ep->held, &s->pieces[s->at].version, &held);

	if (rc)
		return begin_relay(s);
	s->cursor = held_cursor_new(held);
	held_put(held);
	return s->cursor ? 0 : -ENOMEM;
}

static void end_piece(struct parts *s)
{
	held_cursor_free(s->cursor);
	relay_stop(s->relay);
	s->cursor = NULL;
	s->relay = NULL;
}

/* A block is damaged: another copy takes over at this byte, and the file is repaired behind it. */
static int fail_over(struct parts *s)
{
	int rc;

	atomic_fetch_add(&s->ep->counts.damaged, 1);
	repair_queue(s->ep->repair, &s->pieces[s->at].version);
	end_piece(s);
	rc = begin_relay(s);
	if (rc)
		log_limited(LOG_LEVEL_ERROR, 30, "a stored block is damaged and no other copy can be had: a read is cut");
	return rc;
}

static void wait_for_wake(struct parts *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->woken)
		pthread_cond_wait(&s->changed, &s->lock);
	s->woken = false;
	pthread_mutex_unlock(&s->lock);
}

static ssize_t read_piece(struct parts *s, char *buf, size_t max)
{
	const struct piece *p = &s->pieces[s->at];
	ssize_t n;

	if (s->cursor) {
		n = held_read(s->cursor, p->first + s->pos, buf, max);
		if (n > 0)
			return n;
		if (fail_over(s))
			return HTTP_READ_FAIL;
	}
	n = relay_read(s->relay, buf, max);
	while (n == HTTP_READ_LATER && !s->wake) {
		wait_for_wake(s);
		n = relay_read(s->relay, buf, max);
	}
	return n == HTTP_READ_END ? HTTP_READ_FAIL : n; /* too short */
}

/* Stored bytes; 0 at the piece's end. */
static ssize_t read_stored(void *arg, char *buf, size_t max)
{
	struct parts *s = arg;
	uint64_t left = s->pieces[s->at].len - s->pos;
	ssize_t n;

	if (!left)
		return 0;
	n = read_piece(s, buf, max < left ? max : (size_t)left);
	if (n > 0)
		s->pos += (uint64_t)n;
	return n;
}

static ssize_t read_next(struct parts *s, char *buf, size_t max)
{
	struct opener *opener = s->pieces[s->at].opener;
	ssize_t n;

	if (!opener)
		return read_stored(s, buf, max);
	n = opener_read(opener, buf, max, read_stored, s);
	if (n == OPENER_BAD) {
		log_limited(LOG_LEVEL_ERROR, 30, "an encrypted block is not what was stored: a read is cut");
		return HTTP_READ_FAIL;
	}
	return n;
}

ssize_t parts_read(struct parts *s, char *buf, size_t max)
{
	while (s->at < s->npieces) {
		ssize_t n;

		if (!s->cursor && !s->relay && begin_piece(s))
			return HTTP_READ_FAIL;
		n = read_next(s, buf, max);
		if (n)
			return n;
		end_piece(s);
		opener_free(s->pieces[s->at].opener);
		s->pieces[s->at].opener = NULL;
		s->at++;
		s->pos = 0;
	}
	return HTTP_READ_END;
}

/* ---- open, close ---- */

int parts_open(struct parts **out, struct endpoint *ep, const char *bucket, const struct name_entry *entry, uint64_t first,
		uint64_t len, void (*wake)(void *arg), void *arg)
{
	struct parts *s;
	int rc = 0;

	if (len > entry->size || first > entry->size - len)
		return -ERANGE;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	s->ep = ep;
	s->wake = wake;
	s->arg = arg;
	if (len && entry->nparts)
		rc = find_parts(s, bucket, entry, first, len);
	else if (len)
		rc = add_piece(s, entry, first, len);
	if (!rc && len)
		rc = begin_piece(s);
	if (rc) {
		parts_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void parts_stop(struct parts *s)
{
	if (!s)
		return;
	end_piece(s);
	s->at = s->npieces;
}

void parts_free(struct parts *s)
{
	if (!s)
		return;
	end_piece(s);
	for (size_t i = 0; i < s->npieces; i++) {
		opener_free(s->pieces[i].opener);
		free(s->pieces[i].holders);
	}
	free(s->pieces);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s);
}

struct part_at {
	unsigned int number;
	uint64_t first, len;
	unsigned int last;
	bool found;
};

static int look_for_part(void *arg, const char *bucket, const struct name_entry *part)
{
	struct part_at *p = arg;

	(void)bucket;
	p->last = part->part;
	if (part->part == p->number) {
		p->len = part->size;
		p->found = true;
		return 1;
	}
	p->first += part->size;
	return 0;
}

int parts_find(struct endpoint *ep, const char *bucket, const struct name_entry *entry, unsigned int number, uint64_t *first,
		uint64_t *len)
{
	struct part_at p = { .number = number };
	bool more = true;
	int rc = 0;

	while (!rc && !p.found && more) {
		unsigned int before = p.last;

		rc = names_parts(ep->names, bucket, entry->version, p.last, 0, false, look_for_part, &p, &more);
		if (!rc && p.last == before)
			break;
	}
	if (rc < 0)
		return rc;
	if (!p.found)
		return -ENOENT;
	*first = p.first;
	*len = p.len;
	return 0;
}

/* ---- answers ---- */

struct parts_answer {
	struct http_req *req;
	struct parts *parts;
	struct parts_answer **kept;
};

static void resume(void *arg)
{
	http_resume(((struct parts_answer *)arg)->req);
}

static ssize_t read_answer(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct parts_answer *a = arg;

	(void)pos;
	return a->parts ? parts_read(a->parts, buf, max) : HTTP_READ_END;
}

static void free_answer(void *arg)
{
	struct parts_answer *a = arg;

	if (a->kept)
		*a->kept = NULL;
	parts_free(a->parts);
	free(a);
}

void parts_detach(struct parts_answer *a)
{
	if (!a)
		return;
	parts_stop(a->parts);
	a->kept = NULL;
}

/* A range inside one part, which this disk has: its file may be sent as it is. */
static bool reply_file(struct endpoint *ep, struct http_req *req, const struct parts *s, const struct reader_job *job)
{
	const struct piece *p = &s->pieces[0];
	struct reader_job one = *job;
	struct held *held = NULL;
	bool sent = false;

	if (s->npieces != 1 || p->opener || !s->cursor || held_get(ep->held, &p->version, &held))
		return false;
	if (held_ready(held, p->first, p->len)) {
		one.version = p->version;
		one.first = p->first;
		one.len = p->len;
		one.nholders = 0;
		one.kept = NULL;
		reader_reply_local(ep, req, held, &one);
		sent = true;
	}
	held_put(held);
	return sent;
}

static enum http_next no_part(struct http_req *req, const struct reader_job *job, int rc)
{
	if (rc == -EKEYREJECTED)
		return reader_refuse(req, job, rc, PARTS_KEY_LOST);
	return reader_refuse(req, job, -EAGAIN, rc == -ENOMEM ? "Out of memory; try again."
						    : "A part of this object cannot be had now; try again.");
}

enum http_next parts_reply(struct endpoint *ep, struct http_req *req, const char *bucket, const struct name_entry *entry,
			    const struct reader_job *job, struct parts_answer **kept)
{
	struct parts_answer *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return no_part(req, job, -ENOMEM);
	a->req = req;
	if (!job->head && job->len) {
		rc = parts_open(&a->parts, ep, bucket, entry, job->first, job->len, resume, a);
		if (rc) {
			free(a);
			return no_part(req, job, rc);
		}
		if (reply_file(ep, req, a->parts, job)) {
			free_answer(a);
			return HTTP_ANSWERED;
		}
	}
	a->kept = kept;
	if (kept)
		*kept = a;
	return http_reply_stream(req, job->status, job->type ? job->type : READER_TYPE, job->len, read_answer, free_answer, a);
}
