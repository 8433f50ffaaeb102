/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunks.c -- the folder of an endpoint's versions (chunks.h).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "http/store/chunks.h"
#include "lib/log.h"

#define MEMORY_MAX (48u << 20) /* for small versions that are being received */

/* Where there is so much room, it is looked at so often. */
#define ROOM_PLENTY (1u << 30)
#define ROOM_MS	    50

struct chunks {
	int root;
	struct commit *commit;
	struct segments *segments;
	atomic_size_t memory;
	uint64_t reserve_bytes;
	double reserve_fraction;
	atomic_uint serial;
	/* Room beyond the reserve as chunks_room() saw it last, and until when that is believed. */
	_Atomic uint64_t room;
	_Atomic int64_t room_until_ms;
};

static int make_folder(int at, const char *path)
{
	return mkdirat(at, path, 0700) && errno != EEXIST ? -errno : 0;
}

/* All 4,096 folders are made once, so that no upload has to make and sync one. The last one
 * stands for all: it is made last. */
static int make_folders(int root)
{
	char path[COMMIT_PATH];
	int rc;

	rc = make_folder(root, "tmp");
	if (!rc)
		rc = make_folder(root, "d");
	if (rc || !faccessat(root, "d/f/ff", F_OK, 0))
		return rc;
	for (unsigned int a = 0; a < 16; a++) {
		snprintf(path, sizeof(path), "d/%x", a);
		rc = make_folder(root, path);
		for (unsigned int b = 0; !rc && b < 256; b++) {
			snprintf(path, sizeof(path), "d/%x/%02x", a, b);
			rc = make_folder(root, path);
		}
		if (rc)
			return rc;
	}
	return syncfs(root) ? -errno : 0;
}

/* What a killed endpoint was writing: nobody was told that it is stored. */
static int sweep(int root)
{
	unsigned int removed = 0;
	struct dirent *e;
	DIR *dir;
	int fd;

	fd = openat(root, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.' && !unlinkat(fd, e->d_name, 0))
			removed++;
	closedir(dir);
	if (removed)
		log_info("store: removed %u unfinished upload%s of the last run", removed,
			 removed == 1 ? "" : "s");
	return 0;
}

int chunks_open(struct chunks **out, const struct chunks_options *options)
{
	struct chunks *c = calloc(1, sizeof(*c));
	struct segments_options segments = { 0 };
	int rc;

	if (!c)
		return -ENOMEM;
	c->reserve_bytes = options->reserve_bytes;
	c->reserve_fraction = options->reserve_fraction;
	c->root = -1;
	rc = make_folder(AT_FDCWD, options->dir);
	if (rc)
		goto fail;
	c->root = open(options->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Two endpoints in one folder would sweep each other's uploads away. */
	if (c->root < 0 || flock(c->root, LOCK_EX | LOCK_NB)) {
		rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
		goto fail;
	}
	rc = make_folders(c->root);
	if (!rc)
		rc = sweep(c->root);
	if (!rc)
		rc = commit_new(&c->commit, c->root);
	if (options->segments)
		segments = *options->segments;
	segments.dir = options->dir;
	if (!rc)
		rc = segments_open(&c->segments, c->root, &segments);
	if (rc)
		goto fail;
	*out = c;
	return 0;
fail:
	chunks_close(c);
	return rc;
}

void chunks_close(struct chunks *c)
{
	if (!c)
		return;
	segments_close(c->segments);
	commit_free(c->commit);
	if (c->root >= 0)
		close(c->root);
	free(c);
}

void chunks_kill(struct chunks *c)
{
	segments_kill(c->segments);
	c->segments = NULL;
	chunks_close(c);
}

int chunks_root(const struct chunks *c)
{
	return c->root;
}

struct commit *chunks_commit(const struct chunks *c)
{
	return c->commit;
}

struct segments *chunks_segments(const struct chunks *c)
{
	return c->segments;
}

void chunks_counts(const struct chunks *c, unsigned long *rounds, unsigned long *jobs)
{
	struct segments_counts small;

	commit_counts(c->commit, rounds, jobs);
	segments_count(c->segments, &small);
	*rounds += small.rounds;
	*jobs += small.jobs;
}

bool chunks_memory_take(struct chunks *c, size_t bytes)
{
	if (atomic_fetch_add(&c->memory, bytes) + bytes <= MEMORY_MAX)
		return true;
	chunks_memory_give(c, bytes);
	return false;
}

void chunks_memory_give(struct chunks *c, size_t bytes)
{
	atomic_fetch_sub(&c->memory, bytes);
}

char *chunks_folder(const struct version *v, char path[COMMIT_PATH])
{
	snprintf(path, COMMIT_PATH, "d/%x/%x%x", v->id[0] >> 4, v->id[0] & 15, v->id[1] >> 4);
	return path;
}

char *chunks_path(const struct version *v, char path[COMMIT_PATH])
{
	char hex[VERSION_STRLEN], folder[COMMIT_PATH];

	snprintf(path, COMMIT_PATH, "%.16s/%s", chunks_folder(v, folder), version_format(v, hex));
	return path;
}

char *chunks_temporary(struct chunks *c, const struct version *v, char path[COMMIT_PATH])
{
	char hex[VERSION_STRLEN];

	snprintf(path, COMMIT_PATH, "tmp/%s.%u", version_format(v, hex),
		 atomic_fetch_add(&c->serial, 1));
	return path;
}

int chunks_space(const struct chunks *c, struct chunks_space *out)
{
	struct statvfs st;
	uint64_t part;

	if (fstatvfs(c->root, &st))
		return -errno;
	out->total = (uint64_t)st.f_blocks * st.f_frsize;
	out->free = (uint64_t)st.f_bavail * st.f_frsize;
	part = (uint64_t)(c->reserve_fraction * (double)out->total);
	out->reserve = part > c->reserve_bytes ? part : c->reserve_bytes;
	return 0;
}

int chunks_room(struct chunks *c, uint64_t bytes)
{
	struct chunks_space space = { 0 };
	struct timespec ts;
	int64_t now;
	int rc;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	if (now < c->room_until_ms && bytes < c->room && c->room - bytes >= ROOM_PLENTY)
		return 0;
	rc = chunks_space(c, &space);
	if (rc)
		return rc;
	c->room = space.free > space.reserve ? space.free - space.reserve : 0;
	c->room_until_ms = now + ROOM_MS;
	return space.free < space.reserve || space.free - space.reserve < bytes ? -ENOSPC : 0;
}

bool chunks_has(const struct chunks *c, const struct version *v)
{
	char path[COMMIT_PATH];

	return segments_has(c->segments, v) || !faccessat(c->root, chunks_path(v, path), F_OK, 0);
}

int chunks_stored(const struct chunks *c, const struct version *v, int64_t *when)
{
	struct segments_found found;
	struct segment_record head;
	char path[COMMIT_PATH];
	struct stat st;
	int rc = segments_find(c->segments, v, &found);

	if (!rc) {
		segment_file_put(found.file);
		rc = segments_head(c->segments, &found.place, &head);
		*when = rc ? *when : head.stored;
		return rc;
	}
	if (fstatat(c->root, chunks_path(v, path), &st, 0))
		return -errno;
	*when = st.st_ctim.tv_sec;
	return 0;
}

int chunks_forget_packed(struct chunks *c, const struct version *v)
{
	struct segments_job job = { .what = SEGMENTS_FORGET, .version = *v };
	int rc = segments_look(c->segments, v);

	/* "Not known" is not "gone": whoever asked will ask again. */
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	segments_begin(c->segments, &job);
	return segments_wait(c->segments, &job);
}

static int forget_file(struct chunks *c, const struct version *v)
{
	struct commit_job job = { .fd = -1 };
	char path[COMMIT_PATH];

	if (unlinkat(c->root, chunks_path(v, path), 0))
		return errno == ENOENT ? 0 : -errno;
	chunks_folder(v, job.folder);
	commit_begin(c->commit, &job);
	return commit_wait(c->commit, &job);
}

struct members {
	const struct version *group;
	struct version *v;
	size_t n, room;
};

static int member_add(void *arg, const struct version *v)
{
	struct members *m = arg;

	if (!version_same_group(v, m->group))
		return 0;
	if (m->n == m->room) {
		size_t room = m->room ? 2 * m->room : 64;
		struct version *more = realloc(m->v, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		m->v = more;
		m->room = room;
	}
	m->v[m->n++] = *v;
	return 0;
}

/* All at once, so that they share a round. */
static int forget_members(struct chunks *c, const struct members *m)
{
	struct segments_job *jobs = calloc(m->n + 1, sizeof(*jobs));
	int rc = jobs ? 0 : -ENOMEM, one;

	for (size_t i = 0; jobs && i < m->n; i++) {
		jobs[i].what = SEGMENTS_FORGET;
		jobs[i].version = m->v[i];
		segments_begin(c->segments, &jobs[i]);
	}
	for (size_t i = 0; jobs && i < m->n; i++) {
		one = segments_wait(c->segments, &jobs[i]);
		rc = rc ? rc : one;
	}
	free(jobs);
	return rc;
}

static int each_in_folder(const struct chunks *c, const char *path,
			  int (*fn)(void *arg, const struct version *v), void *arg);

static int forget_group(struct chunks *c, const struct version *v)
{
	struct commit_job job = { .fd = -1 };
	struct members m = { .group = v };
	char path[COMMIT_PATH];
	int rc;

	chunks_folder(v, job.folder);
	rc = segments_each(c->segments, v, VERSION_GROUP_BYTES, member_add, &m);
	if (!rc && m.n)
		rc = forget_members(c, &m);
	m.n = 0;
	if (!rc)
		rc = each_in_folder(c, job.folder, member_add, &m);
	for (size_t i = 0; !rc && i < m.n; i++)
		if (unlinkat(c->root, chunks_path(&m.v[i], path), 0) && errno != ENOENT)
			rc = -errno;
	if (!rc && m.n) {
		commit_begin(c->commit, &job);
		rc = commit_wait(c->commit, &job);
	}
	free(m.v);
	return rc;
}

int chunks_forget(struct chunks *c, const struct version *v)
{
	int rc;

	if (version_is_group(v))
		return forget_group(c, v);
	rc = chunks_forget_packed(c, v);
	return rc ? rc : forget_file(c, v);
}

void chunks_forget_many(struct chunks *c, const struct version *v, size_t n, int *rc)
{
	struct segments_job *jobs = calloc(n + 1, sizeof(*jobs));

	for (size_t i = 0; i < n; i++) {
		rc[i] = !jobs ? -ENOMEM : version_is_group(&v[i]) ? -ENOENT : segments_look(c->segments, &v[i]);
		if (rc[i])
			continue;
		jobs[i].what = SEGMENTS_FORGET;
		jobs[i].version = v[i];
		segments_begin(c->segments, &jobs[i]);
	}
	for (size_t i = 0; i < n; i++) {
		if (!rc[i])
			rc[i] = segments_wait(c->segments, &jobs[i]);
		else if (rc[i] == -ENOENT)
			rc[i] = version_is_group(&v[i]) ? forget_group(c, &v[i]) : 0;
		/* What is packed has a file, too, after a kill between staged_commit_wait()'s steps: nobody would ask for that again. */
		if (!rc[i] && !version_is_group(&v[i]))
			rc[i] = forget_file(c, &v[i]);
	}
	free(jobs);
}

static int each_in_folder(const struct chunks *c, const char *path,
			  int (*fn)(void *arg, const struct version *v), void *arg)
{
	struct version v;
	struct dirent *e;
	int fd, rc = 0;
	DIR *dir;

	fd = openat(c->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	while (!rc && (e = readdir(dir)))
		if (!version_parse(&v, e->d_name))
			rc = fn(arg, &v);
	closedir(dir);
	return rc;
}

int chunks_each(const struct chunks *c, int (*fn)(void *arg, const struct version *v), void *arg)
{
	char path[COMMIT_PATH];
	int rc = segments_each(c->segments, NULL, 0, fn, arg);

	for (unsigned int i = 0; !rc && i < 4096; i++) {
		snprintf(path, sizeof(path), "d/%x/%02x", i >> 8, i & 255);
		rc = each_in_folder(c, path, fn, arg);
	}
	return rc;
}
