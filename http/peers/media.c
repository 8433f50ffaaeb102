/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media.c -- assets that are known (media.h), and the thread that reads them.
 *
 * What was read is one set, never changed: readers hold it by reference, a newer one takes its place. Names that are no
 * asset are remembered for seconds only, and among themselves: a flood of them pushes no asset out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/peers/media_int.h"
#include "lib/log.h"

#define TABLE_MAX (MEDIA_KNOWN_MAX + MEDIA_MISSES_MAX)

int64_t media_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void media_set_put(struct media_set *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	for (size_t i = 0; i < s->ncopies; i++)
		free(s->copies[i].data);
	media_asset_free(s->asset);
	free(s);
}

/* ---- the table; its lock is held ---- */

static struct media_known *find(struct media *m, const char *asset)
{
	for (size_t i = 0; i < m->nknown; i++)
		if (!strcmp(m->known[i]->name, asset))
			return m->known[i];
	return NULL;
}

static struct media_known *leave(struct media *m, size_t i)
{
	struct media_known *k = m->known[i];

	m->known[i] = m->known[--m->nknown];
	return k;
}

static void known_free(struct media_known *k)
{
	media_set_put(k->set);
	free(k);
}

/* Until those with a set (or those without) are at most so many, and have not too many bytes: the one asked for least lately
 * goes, to *gone. `stay` does not. */
static void make_room(struct media *m, bool sets, size_t most, const struct media_known *stay, struct media_known **gone)
{
	for (;;) {
		size_t count = 0, oldest = SIZE_MAX, bytes = 0;
		struct media_known *k;

		for (size_t i = 0; i < m->nknown; i++) {
			k = m->known[i];
			bytes += k->set ? k->set->bytes : 0;
			if (!k->set == sets)
				continue;
			count++;
			if (k != stay && (oldest == SIZE_MAX || k->asked_ms < m->known[oldest]->asked_ms))
				oldest = i;
		}
		if (oldest == SIZE_MAX || (count <= most && !(sets && bytes > MEDIA_KEPT_MAX)))
			return;
		k = leave(m, oldest);
		k->next = *gone;
		*gone = k;
	}
}

static struct media_known *add(struct media *m, const char *asset)
{
	struct media_known *k, *gone = NULL;

	make_room(m, false, MEDIA_MISSES_MAX - 1, NULL, &gone);
	while ((k = gone)) { /* these are names alone */
		gone = k->next;
		known_free(k);
	}
	k = m->nknown < TABLE_MAX ? calloc(1, sizeof(*k)) : NULL;
	if (!k)
		return NULL;
	snprintf(k->name, sizeof(k->name), "%s", asset);
	k->added_ms = media_now_ms();
	m->known[m->nknown++] = k;
	return k;
}

/* Is it to be read now? */
static bool is_due(const struct media_known *k, int64_t now)
{
	return k->wanted && (!k->read_ms || now - k->read_ms >= (k->set ? MEDIA_FRESH_MS : MEDIA_MISS_MS));
}

/* ---- asking ---- */

struct media_set *media_set_get(struct media *m, const char *asset)
{
	struct media_known *k;
	struct media_set *set = NULL;

	if (!media_name_valid(asset))
		return NULL;
	pthread_mutex_lock(&m->lock);
	k = find(m, asset);
	if (!k)
		k = add(m, asset);
	if (k) {
		k->asked_ms = media_now_ms();
		k->wanted = true;
		set = k->set;
		if (set)
			atomic_fetch_add(&set->refs, 1);
		if (is_due(k, k->asked_ms))
			pthread_cond_signal(&m->cond);
	}
	pthread_mutex_unlock(&m->lock);
	return set;
}

/* The set's copy of that object, when the key is one of the asset's. */
static const struct media_copy *copy_at(const struct media_known *k, const char *bucket, const char *key)
{
	size_t len = strlen(bucket), n;

	if (!k->set || strncmp(k->name, bucket, len) || k->name[len] != '/')
		return NULL;
	n = strlen(k->name + len + 1);
	if (strncmp(key, k->name + len + 1, n) || key[n] != '/')
		return NULL;
	for (size_t i = 0; i < k->set->ncopies; i++)
		if (!strcmp(k->set->copies[i].name, key + n + 1))
			return &k->set->copies[i];
	return NULL;
}

struct media_set *media_set_find(struct media *m, const char *bucket, const char *key, const struct media_copy **copy)
{
	struct media_set *set = NULL;

	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->nknown && !set; i++) {
		struct media_known *k = m->known[i];

		*copy = copy_at(k, bucket, key);
		if (!*copy)
			continue;
		set = k->set;
		k->asked_ms = media_now_ms();
		atomic_fetch_add(&set->refs, 1);
	}
	pthread_mutex_unlock(&m->lock);
	return set;
}

/* An asset that is given out is its set's: found again by the address of the pointer's owner. */
struct given {
	struct media_asset asset; /* a copy of the set's: what it points to is the set's */
	struct media_set *set;
};

const struct media_asset *media_get(struct media *m, const char *asset)
{
	struct media_set *set = m ? media_set_get(m, asset) : NULL;
	struct given *g = set ? malloc(sizeof(*g)) : NULL;

	if (!g) {
		media_set_put(set);
		return NULL;
	}
	g->asset = *set->asset;
	g->set = set;
	return &g->asset;
}

void media_put(struct media *m, const struct media_asset *a)
{
	struct given *g = (struct given *)a; /* its first member */

	(void)m;
	if (!g)
		return;
	media_set_put(g->set);
	free(g);
}

void media_take(struct media *m, const char *asset, struct media_set *set)
{
	struct media_known *k, *gone = NULL;

	pthread_mutex_lock(&m->lock);
	k = find(m, asset);
	if (!k && set)
		k = add(m, asset);
	if (k) {
		media_set_put(k->set);
		k->set = set;
		set = NULL;
		k->read_ms = media_now_ms();
		k->wanted = false;
		make_room(m, true, MEDIA_KNOWN_MAX, k, &gone);
	}
	pthread_mutex_unlock(&m->lock);
	media_set_put(set);
	while ((k = gone)) {
		gone = k->next;
		media_disk_forget(m, k->name);
		known_free(k);
	}
}

void media_keep(struct media *m, const char *asset, struct media_set *set)
{
	atomic_fetch_add(&set->refs, 1);
	media_take(m, asset, set);
	media_disk_save(m, asset, set);
	media_set_put(set);
}

bool media_has(struct media *m, const char *asset, const struct media_set *set)
{
	const struct media_known *k;
	bool has;

	pthread_mutex_lock(&m->lock);
	k = find(m, asset);
	has = k && k->set && (!set || k->set == set);
	pthread_mutex_unlock(&m->lock);
	return has;
}

/* ---- the thread ---- */

static int64_t waits_since(const struct media_known *k)
{
	return k->read_ms ? k->read_ms : k->added_ms;
}

bool media_next_due(struct media *m, char name[MEDIA_ASSET_MAX], struct media_set **last)
{
	struct media_known *of[2] = { NULL, NULL }, *due; /* names alone, assets */
	int64_t now = media_now_ms();

	for (size_t i = 0; m->keyed && i < m->nknown; i++) {
		struct media_known *k = m->known[i], **first = &of[k->set != NULL];

		if (is_due(k, now) && (!*first || waits_since(k) < waits_since(*first)))
			*first = k;
	}
	due = m->names_next && of[0] ? of[0] : of[1] ? of[1] : of[0];
	if (!due)
		return false;
	m->names_next = due->set;
	snprintf(name, MEDIA_ASSET_MAX, "%s", due->name);
	*last = due->set;
	if (due->set)
		atomic_fetch_add(&due->set->refs, 1);
	due->read_ms = now; /* whatever comes: not again at once */
	return true;
}

/* No lock is held. */
static void read_one(struct media *m, const char *name, struct media_set *last)
{
	struct media_set *set = NULL;
	int rc = media_fetch(m, name, last, &set);

	if (!rc && set != last) {
		media_keep(m, name, set);
	} else if (!rc) {
		media_take(m, name, set);
	} else if (rc == -ENOENT) {
		media_take(m, name, NULL);
		if (last) {
			media_disk_forget(m, name);
			log_info("media: %s is gone", name);
		}
	} /* else what was known stays, and is read again after a while */
	media_set_put(last);
}

static void *run(void *arg)
{
	struct media *m = arg;
	bool loaded = false;

	pthread_mutex_lock(&m->lock);
	while (!m->quit) {
		char name[MEDIA_ASSET_MAX];
		struct media_set *last = NULL;
		struct timespec until;
		bool load = m->keyed && !loaded, due = !load && media_next_due(m, name, &last);

		if (load || due) {
			pthread_mutex_unlock(&m->lock);
			if (load)
				media_disk_load(m);
			else
				read_one(m, name, last);
			loaded |= load;
			pthread_mutex_lock(&m->lock);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += 1;
		pthread_cond_timedwait(&m->cond, &m->lock, &until);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

/* ---- begin and end ---- */

int media_open(struct media **out, const struct peers_options *opt)
{
	struct media *m = calloc(1, sizeof(*m));
	pthread_condattr_t attr;

	if (!m)
		return -ENOMEM;
	m->opt = *opt;
	snprintf(m->folder, sizeof(m->folder), "%s", opt->folder ? opt->folder : "");
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->scan_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->cond, &attr);
	pthread_condattr_destroy(&attr);
	m->has_thread = !pthread_create(&m->thread, NULL, run, m);
	if (!m->has_thread) {
		media_close(m);
		return -EAGAIN;
	}
	*out = m;
	return 0;
}

void media_close(struct media *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->quit = m->stop = true;
	pthread_cond_signal(&m->cond);
	pthread_mutex_unlock(&m->lock);
	if (m->has_thread)
		pthread_join(m->thread, NULL);
	while (m->nknown)
		known_free(leave(m, m->nknown - 1));
	pthread_cond_destroy(&m->cond);
	pthread_mutex_destroy(&m->scan_lock);
	pthread_mutex_destroy(&m->lock);
	explicit_bzero(m->seed, sizeof(m->seed));
	free(m);
}

int media_set_key(struct media *m, const uint8_t seed[32])
{
	char key[45];
	int rc = media_key_public(seed, key);

	if (rc)
		return rc;
	pthread_mutex_lock(&m->lock);
	memcpy(m->seed, seed, sizeof(m->seed));
	memcpy(m->public_key, key, sizeof(key));
	m->keyed = true;
	pthread_cond_signal(&m->cond);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

void media_public_key(struct media *m, char out[45])
{
	pthread_mutex_lock(&m->lock);
	memcpy(out, m->public_key, sizeof(m->public_key));
	pthread_mutex_unlock(&m->lock);
}
