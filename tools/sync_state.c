/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_state.c -- see sync_state.h.
 */
#include "tools/sync_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "lib/hash.h"
#include "tools/upload.h"

#define BUCKETS 65536

struct sync_state {
	struct entry *table[BUCKETS];
	size_t count;
	char folder[4200];
	int lock;
	FILE *journal;
	time_t synced;
};

static const char *const names[] = { "none", "equal", "rejected", "dropped" };

static size_t bucket_of(const char *path)
{
	return hash64(path, strlen(path), 0) % BUCKETS;
}

struct entry *sync_state_find(struct sync_state *s, const char *path)
{
	struct entry *e = s->table[bucket_of(path)];

	while (e && strcmp(e->path, path))
		e = e->next;
	return e;
}

struct entry *sync_state_entry(struct sync_state *s, const char *path)
{
	struct entry *e = sync_state_find(s, path), **at = &s->table[bucket_of(path)];

	if (e)
		return e;
	e = calloc(1, sizeof(*e));
	if (e)
		e->path = strdup(path);
	if (!e || !e->path) {
		free(e);
		return NULL;
	}
	e->next = *at;
	*at = e;
	s->count++;
	return e;
}

static struct entry *from_bucket(struct sync_state *s, size_t i)
{
	while (i < BUCKETS && !s->table[i])
		i++;
	return i < BUCKETS ? s->table[i] : NULL;
}

struct entry *sync_state_first(struct sync_state *s)
{
	return from_bucket(s, 0);
}

struct entry *sync_state_next(struct sync_state *s, const struct entry *e)
{
	return e->next ? e->next : from_bucket(s, bucket_of(e->path) + 1);
}

size_t sync_state_count(const struct sync_state *s)
{
	return s->count;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static bool write_line(FILE *out, const struct entry *e)
{
	json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "p", e->path, "k", names[e->known], "s",
			      (json_int_t)e->size, "m", (json_int_t)e->mtime_ns, "i", (json_int_t)e->inode, "v",
			      (json_int_t)e->version, "h", e->sha256);
	bool good;

	if (o && *e->why)
		json_object_set_new(o, "w", json_string(e->why));
	if (o && *e->key)
		json_object_set_new(o, "u", json_string(e->key));
	if (o && *e->id)
		json_object_set_new(o, "id", json_string(e->id));
	good = o && !json_dumpf(o, out, JSON_COMPACT) && putc('\n', out) != EOF;
	json_decref(o);
	return good;
}

static void read_line(struct sync_state *s, const char *line, size_t len)
{
	json_t *o = json_loadb(line, len, 0, NULL);
	const char *path = js_text(o, "p", ""), *known = js_text(o, "k", "");
	struct entry *e = *path ? sync_state_entry(s, path) : NULL;

	if (e) {
		e->known = KNOWN_NONE;
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
			if (!strcmp(names[i], known))
				e->known = (enum known)i;
		e->size = (uint64_t)json_integer_value(json_object_get(o, "s"));
		e->mtime_ns = json_integer_value(json_object_get(o, "m"));
		e->inode = (uint64_t)json_integer_value(json_object_get(o, "i"));
		e->version = (uint64_t)json_integer_value(json_object_get(o, "v"));
		snprintf(e->sha256, sizeof(e->sha256), "%s", js_text(o, "h", ""));
		snprintf(e->why, sizeof(e->why), "%s", js_text(o, "w", ""));
		snprintf(e->key, sizeof(e->key), "%s", js_text(o, "u", ""));
		snprintf(e->id, sizeof(e->id), "%s", js_text(o, "id", ""));
	}
	json_decref(o);
}

void sync_state_save(struct sync_state *s, const struct entry *e)
{
	/* one write: a process that is killed leaves whole lines, or half of the last one */
	write_line(s->journal, e);
	fflush(s->journal);
}

void sync_state_sync(struct sync_state *s)
{
	if (time(NULL) == s->synced)
		return;
	s->synced = time(NULL);
	fdatasync(fileno(s->journal));
}

/* ---- opening --------------------------------------------------------------------------------- */

static void load(struct sync_state *s, const char *path)
{
	FILE *in = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	while (in && (n = getline(&line, &size, in)) > 0)
		if (line[n - 1] == '\n')
			read_line(s, line, (size_t)n);
	if (in)
		fclose(in);
	free(line);
}

/* Written anew, whole, before it takes the place of the old one. */
static int rewrite(struct sync_state *s, const char *path)
{
	char part[4300];
	bool good = true;

	snprintf(part, sizeof(part), "%s.new", path);
	s->journal = fopen(part, "we");
	if (!s->journal)
		return -errno;
	setvbuf(s->journal, NULL, _IOFBF, 1 << 16);
	for (struct entry *e = sync_state_first(s); e && good; e = sync_state_next(s, e))
		if (e->known != KNOWN_NONE || *e->key)
			good = write_line(s->journal, e);
	if (!good || fflush(s->journal) || fdatasync(fileno(s->journal)) || rename(part, path))
		return -errno;
	return 0;
}

int sync_state_open(struct sync_state **out, const char *name)
{
	struct sync_state *s = calloc(1, sizeof(*s));
	char path[4250], sub[128];
	int rc = 0;

	if (!s)
		return -ENOMEM;
	s->lock = -1;
	snprintf(sub, sizeof(sub), "sync/%.100s", name);
	if (!upload_state_folder(s->folder, sub))
		rc = -errno;
	snprintf(path, sizeof(path), "%s/lock", s->folder);
	if (!rc)
		s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (!rc && s->lock < 0)
		rc = -errno;
	if (!rc && flock(s->lock, LOCK_EX | LOCK_NB))
		rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
	snprintf(path, sizeof(path), "%s/journal", s->folder);
	if (!rc) {
		load(s, path);
		rc = rewrite(s, path);
	}
	if (rc)
		sync_state_close(s);
	else
		*out = s;
	return rc;
}

void sync_state_close(struct sync_state *s)
{
	if (!s)
		return;
	if (s->journal) {
		fdatasync(fileno(s->journal));
		fclose(s->journal);
	}
	if (s->lock >= 0)
		close(s->lock);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct entry *e = s->table[i], *next; e; e = next) {
			next = e->next;
			free(e->path);
			free(e);
		}
	free(s);
}

/* ---- files ----------------------------------------------------------------------------------- */

int64_t stat_mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

bool entry_same(const struct entry *e, const struct stat *st)
{
	return e->size == (uint64_t)st->st_size && e->inode == (uint64_t)st->st_ino && e->mtime_ns == stat_mtime_ns(st);
}

void entry_note(struct entry *e, const struct stat *st)
{
	e->size = (uint64_t)st->st_size;
	e->inode = (uint64_t)st->st_ino;
	e->mtime_ns = stat_mtime_ns(st);
}
