/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrub.c -- the scrubber (scrub.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "http/store/orphans.h"
#include "http/store/pace.h"
#include "http/store/repair.h"
#include "http/store/scrub.h"
#include "lib/bucket.h"
#include "lib/log.h"
#include "lib/token.h"

#define SCRUB_FIRST_S 20	  /* after the start: what was missed while away */
#define SCRUB_PAUSE_S 3600	  /* between rounds */
#define SCRUB_RATE    (16u << 20) /* bytes a second: 1.4 TB a day, a small part of a disk */
#define NAMELESS_S    3600	  /* younger ones may belong to an upload under way: not looked at */
#define CLOCKS_S      300	  /* how far the clocks of two endpoints may be apart */

struct scrub {
	struct endpoint *ep;
	pthread_t thread;
	pthread_mutex_t lock;
	struct pace pace;
	atomic_bool running;
	struct orphans *orphans;
	uint64_t rounds, versions, bytes, missing; /* of all rounds */
	uint64_t round_total, round_done, round_bytes; /* of this round or the last one */
};

struct version_list {
	struct version *v;
	size_t n, room;
};

static int collect(void *arg, const struct version *v)
{
	struct version_list *list = arg;

	if (list->n == list->room) {
		size_t room = list->room ? 2 * list->room : 1024;
		struct version *more = realloc(list->v, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		list->v = more;
		list->room = room;
	}
	list->v[list->n++] = *v;
	return 0;
}

bool scrub_replaced(const struct manifest *m, int64_t stored, const struct name_entry *entry)
{
	char hex[VERSION_STRLEN];

	version_format(&m->version, hex);
	return strcmp(entry->version, hex) && entry->null_version &&
	       m->created + CLOCKS_S < entry->modified && stored + CLOCKS_S < entry->modified;
}

static bool keeps_versions(struct endpoint *ep, const char *name)
{
	const struct bucket *b = users_bucket(ep->users, name);
	bool keeps = b && b->versioning != VERSIONING_OFF;

	bucket_put(b);
	return keeps;
}

/* Is the version another one than its name's, and not just being written? */
static void check_name(struct scrub *s, const struct manifest *m, int64_t stored)
{
	char hex[VERSION_STRLEN];
	struct name_entry *entry;
	int rc;

	if (stored + orphans_young(s->orphans, NAMELESS_S) > time(NULL))
		return;
	entry = malloc(sizeof(*entry));
	if (!entry)
		return;
	version_format(&m->version, hex);
	/* An older version or a part of an upload is needed as well. */
	rc = names_find(s->ep->names, m->bucket, hex, entry);
	if (rc == -ENOENT || rc == -ENOSYS)
		rc = names_get(s->ep->names, m->bucket, m->key, entry);
	if (!rc && scrub_replaced(m, stored, entry) && !keeps_versions(s->ep, m->bucket)) {
		log_info("scrub: version %s was replaced; removing it", hex);
		chunks_forget(s->ep->chunks, &m->version);
		held_drop(s->ep->held, &m->version);
		atomic_fetch_add(&s->ep->counts.orphans, 1);
	} else if (rc == -ENOENT || (!rc && strcmp(entry->version, hex))) {
		/* Neither a name that is not there nor an older one is a proof: the index may have been lost, or be a
		 * backup of before this version was written. */
		orphans_found(s->orphans, m, stored);
	}
	free(entry);
}

/* False: it cannot be said when it came to this disk. */
static bool check_version(struct scrub *s, const struct version *v)
{
	struct held_cursor *cur = NULL;
	struct held *held = NULL;
	uint64_t pos = 0, paid = 0;
	int64_t stored = 0;
	int dated = chunks_stored(s->ep->chunks, v, &stored);
	ssize_t n = 0;
	char byte;
	int rc;

	rc = held_get(s->ep->held, v, &held);
	if (!rc)
		cur = held_cursor_new(held);
	if (rc == -EBADMSG || rc == -EIO)
		n = rc;
	for (; cur && pos < held_manifest(held)->size; pos += BLOCK_SIZE) {
		n = held_read(cur, pos, &byte, 1);
		if (n < 0)
			break;
		if (pos - paid >= SCRUB_RATE / 8) {
			paid = pos;
			if (!pace_wait(&s->pace, 125))
				break;
		}
	}
	held_cursor_free(cur);
	if (n < 0) {
		atomic_fetch_add(&s->ep->counts.damaged, 1);
		repair_queue(s->ep->repair, v);
	} else if (!rc && !dated) {
		check_name(s, held_manifest(held), stored);
	}
	held_put(held);
	pthread_mutex_lock(&s->lock);
	s->versions++;
	s->round_done++;
	s->bytes += pos;
	s->round_bytes += pos;
	pthread_mutex_unlock(&s->lock);
	orphans_saw(s->orphans, stored);
	return !dated || dated == -ENOENT; /* forgotten meanwhile */
}

/* A name says that this node holds it: does it? */
static int check_entry(void *arg, const char *bucket, const struct name_entry *entry)
{
	struct scrub *s = arg;
	struct version v;

	/* An object of parts has no data but theirs, which are told on their own. */
	if (entry->deleted || entry->marker || entry->nparts ||
	    version_parse(&v, entry->version) || chunks_has(s->ep->chunks, &v))
		return s->pace.stop;
	for (unsigned int i = 0; i < entry->nholders; i++) {
		if (strcmp(entry->holders[i], s->ep->node))
			continue;
		repair_missing_now(s->ep, bucket, entry);
		pthread_mutex_lock(&s->lock);
		s->missing++;
		pthread_mutex_unlock(&s->lock);
	}
	return s->pace.stop;
}

static void scrub_round(struct scrub *s)
{
	struct version_list list = { 0 };
	bool whole;

	names_each(s->ep->names, check_entry, s);
	orphans_begin(s->orphans);
	whole = !chunks_each(s->ep->chunks, collect, &list);
	pthread_mutex_lock(&s->lock);
	s->round_total = list.n;
	s->round_done = s->round_bytes = 0;
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < list.n && !s->pace.stop; i++) {
		whole = check_version(s, &list.v[i]) && whole;
		/* Small ones are paid for together. */
		if (i % 64 == 63 && !pace_wait(&s->pace, 50))
			break;
	}
	free(list.v);
	orphans_end(s->orphans, whole && !s->pace.stop);
	pthread_mutex_lock(&s->lock);
	s->rounds++;
	pthread_mutex_unlock(&s->lock);
}

static void *scrub_main(void *arg)
{
	struct scrub *s = arg;
	int64_t pause = SCRUB_FIRST_S;

	while (pace_wait_early(&s->pace, pause * 1000)) {
		s->running = true;
		scrub_round(s);
		s->running = false;
		inbound_expire(s->ep->inbound, 3600);
		pause = SCRUB_PAUSE_S;
	}
	return NULL;
}

int scrub_new(struct scrub **out, struct endpoint *ep)
{
	struct scrub *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->ep = ep;
	rc = orphans_new(&s->orphans, ep);
	if (rc) {
		free(s);
		return rc;
	}
	pthread_mutex_init(&s->lock, NULL);
	pace_init(&s->pace);
	rc = pthread_create(&s->thread, NULL, scrub_main, s);
	if (rc) {
		orphans_free(s->orphans);
		free(s);
		return -rc;
	}
	pthread_setname_np(s->thread, "scrub");
	*out = s;
	return 0;
}

void scrub_free(struct scrub *s)
{
	if (!s)
		return;
	pace_stop(&s->pace);
	pthread_join(s->thread, NULL);
	pthread_mutex_destroy(&s->lock);
	pace_destroy(&s->pace);
	orphans_free(s->orphans);
	free(s);
}

void scrub_now(struct scrub *s)
{
	pace_now(&s->pace);
}

json_t *scrub_status(struct scrub *s)
{
	json_t *root;

	pthread_mutex_lock(&s->lock);
	root = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "running", (int)s->running, "rounds",
			 (json_int_t)s->rounds, "versions", (json_int_t)s->versions, "bytes",
			 (json_int_t)s->bytes, "missing", (json_int_t)s->missing, "round_total", (json_int_t)s->round_total,
			 "round_done", (json_int_t)s->round_done, "round_bytes",
			 (json_int_t)s->round_bytes);
	pthread_mutex_unlock(&s->lock);
	orphans_status(s->orphans, root);
	return root;
}

struct orphans *scrub_orphans(struct scrub *s)
{
	return s->orphans;
}
