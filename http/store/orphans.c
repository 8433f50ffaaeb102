/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orphans.c -- see orphans.h.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "http/store/endpoint.h"
#include "http/store/names_mark.h"
#include "http/store/orphans.h"
#include "lib/log.h"

static const char *const texts[ORPHAN_VERDICT_COUNT] = {
#define X(name, text) [ORPHAN_##name] = text,
	ORPHAN_VERDICTS(X)
#undef X
};

/* What a round finds. */
struct tally {
	uint64_t versions, bytes; /* that stay */
	unsigned int removed;
	unsigned int kept[ORPHAN_VERDICT_COUNT];
};

struct versions {
	struct version v[ORPHANS_MAX];
	size_t n;
};

struct orphans {
	struct endpoint *ep;
	struct names_mark *mark; /* NULL: nothing may go */
	int64_t began, began_monotonic, age;
	/* the scrubber's thread */
	struct versions *before, *now; /* before: sorted */
	struct tally round;
	int64_t newest;
	bool alone, marked;
	/* what others see */
	pthread_mutex_t lock;
	struct tally last;
	unsigned long removed;
};

enum orphan_verdict orphan_judge(const struct orphan_facts *f)
{
	int64_t newer = f->stored > f->created ? f->stored : f->created;

	if (!f->alone)
		return ORPHAN_OTHERS;
	if (newer >= f->began || newer + f->age > f->now)
		return ORPHAN_YOUNG;
	if (newer <= f->since)
		return ORPHAN_RESTORED;
	if (f->needed && f->needed != -ENOENT)
		return ORPHAN_UNSURE;
	if (!f->needed)
		return ORPHAN_NAMED;
	return f->before ? ORPHAN_GO : ORPHAN_FIRST;
}

static int64_t monotonic_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* A clock that was set meanwhile shows an earlier start, never a later one. */
static int64_t began(const struct orphans *o, int64_t now)
{
	int64_t by_now = now - (monotonic_s() - o->began_monotonic);

	return by_now < o->began ? by_now : o->began;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct version));
}

static bool meant_for_others(const struct orphans *o, const struct manifest *m)
{
	for (unsigned int i = 0; i < m->nholders; i++)
		if (strcmp(m->holders[i], o->ep->node))
			return true;
	return false;
}

/* An endpoint that joins may write, order buckets and be taken off the list again between two rounds. */
static void not_alone(void *arg)
{
	struct orphans *o = arg;
	int rc = o->mark && peers_others(o->ep->peers) ? names_mark_others(o->mark) : 0;

	if (rc)
		log_limited(LOG_LEVEL_WARN, 10, "there is another endpoint, which the mark beside the names cannot say: %s", strerror(-rc));
}

static enum orphan_verdict look(struct orphans *o, const struct manifest *m, int64_t stored)
{
	struct orphan_facts f = { .now = time(NULL),
				  .stored = stored,
				  .created = m->created,
				  .since = o->marked ? names_mark_since(o->mark) : NAMES_MARK_ALL,
				  .age = o->age,
				  .alone = o->alone && peers_alone(o->ep->peers) && !meant_for_others(o, m),
				  .needed = -EAGAIN };
	char hex[VERSION_STRLEN];

	f.began = began(o, f.now);
	f.before = bsearch(&m->version, o->before->v, o->before->n, sizeof(m->version), by_id);
	if (orphan_judge(&f) != ORPHAN_UNSURE)
		return orphan_judge(&f);
	f.needed = names_needed(o->ep->names, m->bucket, version_format(&m->version, hex));
	return orphan_judge(&f);
}

static bool drop(struct orphans *o, const struct version *v)
{
	char hex[VERSION_STRLEN];
	int rc = chunks_forget(o->ep->chunks, v);

	held_drop(o->ep->held, v);
	if (rc)
		log_limited(LOG_LEVEL_WARN, 10, "scrub: version %s, which nothing needs, cannot be removed: %s",
			    version_format(v, hex), strerror(-rc));
	return !rc;
}

void orphans_found(struct orphans *o, const struct manifest *m, int64_t stored)
{
	enum orphan_verdict verdict = look(o, m, stored);

	if (verdict == ORPHAN_GO && !peers_alone(o->ep->peers)) /* meanwhile */
		verdict = ORPHAN_OTHERS;
	if (verdict == ORPHAN_GO && atomic_load(&o->ep->orphans_remove) && drop(o, &m->version)) {
		o->round.removed++;
		pthread_mutex_lock(&o->lock);
		o->removed++;
		pthread_mutex_unlock(&o->lock);
		return;
	}
	o->round.kept[verdict]++;
	if (verdict == ORPHAN_NAMED)
		return;
	o->round.versions++;
	o->round.bytes += m->size;
	if (verdict >= ORPHAN_FIRST && o->now->n < ORPHANS_MAX)
		o->now->v[o->now->n++] = m->version;
}

void orphans_saw(struct orphans *o, int64_t stored)
{
	if (stored > o->newest)
		o->newest = stored;
}

void orphans_begin(struct orphans *o)
{
	int rc;

	memset(&o->round, 0, sizeof(o->round));
	o->now->n = 0;
	o->newest = 0;
	/* A registry that was not heard says neither. */
	o->alone = peers_alone(o->ep->peers);
	rc = o->mark ? names_mark_begin(o->mark, peers_others(o->ep->peers)) : -ENOENT;
	o->marked = !rc;
	if (rc && o->mark)
		log_limited(LOG_LEVEL_WARN, 1, "scrub: the mark beside the names cannot be written: %s; data without a name are kept",
			    strerror(-rc));
}

/* "…, 3 young, 2 …" */
static void say_kept(const struct tally *t, char *out, size_t room)
{
	size_t at = 0;

	out[0] = '\0';
	for (int i = 0; i < ORPHAN_VERDICT_COUNT && at < room; i++)
		if (t->kept[i] && i != ORPHAN_NAMED)
			at += (size_t)snprintf(out + at, room - at, "%s%u %s", at ? ", " : "", t->kept[i], texts[i]);
}

void orphans_end(struct orphans *o, bool whole)
{
	struct versions *seen = o->now;
	char why[400];

	not_alone(o); /* when it could not be written as it was heard */
	if (!whole)
		return; /* what the round before saw stays */
	qsort(seen->v, seen->n, sizeof(*seen->v), by_id);
	o->now = o->before;
	o->before = seen;
	if (o->marked && o->alone && peers_alone(o->ep->peers))
		names_mark_end(o->mark, o->newest, time(NULL));
	if (memcmp(&o->round, &o->last, sizeof(o->round)) && (o->round.versions || o->round.removed)) {
		say_kept(&o->round, why, sizeof(why));
		log_info("scrub: removed %u versions without a name; %llu (%llu bytes) are kept%s%s", o->round.removed,
			 (unsigned long long)o->round.versions, (unsigned long long)o->round.bytes, *why ? ": " : "", why);
	}
	pthread_mutex_lock(&o->lock);
	o->last = o->round;
	pthread_mutex_unlock(&o->lock);
}

int orphans_allow(struct orphans *o)
{
	if (!o->mark)
		return -EIO;
	return peers_alone(o->ep->peers) ? names_mark_allow(o->mark) : -EBUSY;
}

void orphans_count(struct orphans *o, struct orphans_counts *out)
{
	pthread_mutex_lock(&o->lock);
	*out = (struct orphans_counts){ o->last.versions, o->last.bytes, o->removed };
	pthread_mutex_unlock(&o->lock);
}

void orphans_status(struct orphans *o, json_t *status)
{
	int64_t since = o->mark ? names_mark_since(o->mark) : NAMES_MARK_ALL;
	json_t *kept = json_object();
	struct tally t;

	pthread_mutex_lock(&o->lock);
	t = o->last;
	json_object_set_new(status, "orphans_removed", json_integer((json_int_t)o->removed));
	pthread_mutex_unlock(&o->lock);
	json_object_set_new(status, "orphans", json_integer((json_int_t)t.versions));
	json_object_set_new(status, "orphan_bytes", json_integer((json_int_t)t.bytes));
	for (int i = 0; i < ORPHAN_VERDICT_COUNT; i++)
		if (t.kept[i] && i != ORPHAN_NAMED)
			json_object_set_new(kept, texts[i], json_integer(t.kept[i]));
	json_object_set_new(status, "orphans_kept", kept);
	json_object_set_new(status, "orphans_mode", json_string(atomic_load(&o->ep->orphans_remove) ? "remove" : "keep"));
	json_object_set_new(status, "orphans_since", json_integer(since == NAMES_MARK_ALL ? -1 : (json_int_t)since));
}

int64_t orphans_young(const struct orphans *o, int64_t usual)
{
	return o->age < usual ? o->age : usual;
}

/* Tests shorten it. */
static int64_t age(void)
{
	const char *text = getenv("WEIR_ORPHANS_AGE_S");

	return text ? atoll(text) : ORPHANS_AGE_S;
}

int orphans_new(struct orphans **out, struct endpoint *ep)
{
	struct orphans *o = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return -ENOMEM;
	o->ep = ep;
	o->began = time(NULL);
	o->began_monotonic = monotonic_s();
	o->age = age();
	pthread_mutex_init(&o->lock, NULL);
	o->before = calloc(1, sizeof(*o->before));
	o->now = calloc(1, sizeof(*o->now));
	if (!o->before || !o->now) {
		orphans_free(o);
		return -ENOMEM;
	}
	rc = names_mark_open(&o->mark, ep->dir, names_files(ep->names));
	if (rc)
		log_warn("%s/names.seen: %s; data without a name are kept", ep->dir, strerror(-rc));
	peers_on_others(ep->peers, not_alone, o);
	*out = o;
	return 0;
}

void orphans_free(struct orphans *o)
{
	if (!o)
		return;
	peers_on_others(o->ep->peers, NULL, NULL);
	names_mark_close(o->mark);
	free(o->before);
	free(o->now);
	pthread_mutex_destroy(&o->lock);
	free(o);
}
