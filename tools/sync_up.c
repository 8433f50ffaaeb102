/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_up.c -- folder → dataset: which files are new or changed (sync.h).
 *
 * Each folder is watched before it is read, so nothing falls between. A file counts when it was closed after writing or
 * renamed into place; when the kernel lost events, or a folder was moved away, all is read anew.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "tools/sync.h"

#define WATCHED                                                                                                     \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ONLYDIR | IN_DONT_FOLLOW |       \
	 IN_EXCL_UNLINK)
#define RESCAN_MS  600000 /* also when nothing was lost: network file systems tell nothing */
#define DEPTH_MAX  64

/* ---- watching -------------------------------------------------------------------------------- */

static void watch(struct sync *s, const char *path)
{
	char whole[PATH_MAX];
	char **more;
	int wd;

	if (s->inotify < 0)
		return;
	snprintf(whole, sizeof(whole), "%s/%s", s->o.folder, path);
	wd = inotify_add_watch(s->inotify, *path ? whole : s->o.folder, WATCHED);
	if (wd < 0) {
		if (errno == ENOSPC)
			sync_say(s, "warning", path, NULL,
				 "%s cannot be watched: raise fs.inotify.max_user_watches; it is read every 10 minutes",
				 web_safe(path));
		return;
	}
	if ((size_t)wd >= s->nwatches) {
		size_t n = (size_t)wd + 256;

		more = realloc(s->watches, n * sizeof(*more));
		if (!more)
			return;
		memset(more + s->nwatches, 0, (n - s->nwatches) * sizeof(*more));
		s->watches = more;
		s->nwatches = n;
	}
	free(s->watches[wd]);
	s->watches[wd] = strdup(path);
}

static void forget_watches(struct sync *s)
{
	for (size_t i = 0; i < s->nwatches; i++) {
		if (s->watches[i])
			inotify_rm_watch(s->inotify, (int)i);
		free(s->watches[i]);
		s->watches[i] = NULL;
	}
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Under the lock. hint: it was just written, whatever its times say. */
static void touch(struct sync *s, const char *path, const struct stat *st, bool hint)
{
	struct entry *e;

	if (!sync_name_ok(path)) {
		pthread_mutex_unlock(&s->lock);
		sync_say(s, "warning", "?", NULL, "%s: no name for a dataset's file (1 to 240 bytes of UTF-8): left alone",
			 web_safe(path));
		pthread_mutex_lock(&s->lock);
		return;
	}
	e = sync_state_entry(s->state, path);
	if (!e)
		return;
	e->seen = true;
	e->gone = false;
	if (e->busy) {
		e->again |= hint;
		return;
	}
	if (e->known != KNOWN_NONE && !*e->key && entry_same(e, st))
		return;
	e->due_ms = 0;
	sync_queue(s, e);
}

static void read_folder(struct sync *s, const char *path, int depth)
{
	int fd = openat(s->root, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	watch(s, path);
	while ((d = readdir(dir)) && !s->stop) {
		char below[PATH_MAX];
		struct stat st;

		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") ||
		    snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", d->d_name) >= (int)sizeof(below) ||
		    fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		if (ignore_one(s->ignore, below, S_ISDIR(st.st_mode)))
			continue;
		if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
			read_folder(s, below, depth + 1);
		} else if (S_ISREG(st.st_mode)) {
			pthread_mutex_lock(&s->lock);
			touch(s, below, &st, false);
			pthread_mutex_unlock(&s->lock);
		}
	}
	closedir(dir);
}

/* Under the lock: it is no longer there. One that was begun is ended by a worker. */
static void gone(struct sync *s, struct entry *e)
{
	e->gone = true;
	if (*e->key && !e->busy)
		sync_queue(s, e);
}

static void read_all(struct sync *s)
{
	struct entry *e;

	if (s->reload) {
		struct ignore *ig = ignore_read(s->root);

		if (ig) {
			ignore_free(s->ignore);
			s->ignore = ig;
		}
		s->reload = false;
	}
	s->rescan = false;
	pthread_mutex_lock(&s->lock);
	for (e = sync_state_first(s->state); e; e = sync_state_next(s->state, e))
		e->seen = false;
	pthread_mutex_unlock(&s->lock);
	forget_watches(s);
	read_folder(s, "", 0);
	pthread_mutex_lock(&s->lock);
	for (e = sync_state_first(s->state); e && !s->stop; e = sync_state_next(s->state, e))
		if (!e->seen)
			gone(s, e);
	pthread_mutex_unlock(&s->lock);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void take_folder_event(struct sync *s, const char *path, uint32_t mask)
{
	if (mask & (IN_MOVED_FROM | IN_DELETE))
		s->rescan = true; /* what was below it has other names, or none */
	else if ((mask & (IN_CREATE | IN_MOVED_TO)) && !ignore_one(s->ignore, path, true))
		read_folder(s, path, 0);
}

static void take_event(struct sync *s, const char *folder, const struct inotify_event *ev)
{
	char path[PATH_MAX];
	struct stat st;
	struct entry *e;

	if (!ev->len || snprintf(path, sizeof(path), "%s%s%s", folder, *folder ? "/" : "", ev->name) >= (int)sizeof(path))
		return;
	if (!strcmp(path, IGNORE_FILE) && !(ev->mask & IN_CREATE))
		s->reload = s->rescan = true;
	if (ev->mask & IN_ISDIR) {
		take_folder_event(s, path, ev->mask);
		return;
	}
	if (ignore_one(s->ignore, path, false))
		return;
	pthread_mutex_lock(&s->lock);
	if (ev->mask & (IN_MOVED_FROM | IN_DELETE)) {
		e = sync_state_find(s->state, path);
		if (e && fstatat(s->root, path, &st, AT_SYMLINK_NOFOLLOW))
			gone(s, e);
	} else if (!fstatat(s->root, path, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
		   (!(ev->mask & IN_CREATE) || st.st_nlink > 1)) { /* a second link is written by nobody */
		touch(s, path, &st, true);
	}
	pthread_mutex_unlock(&s->lock);
}

static void take_events(struct sync *s)
{
	char buf[65536] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	while ((n = read(s->inotify, buf, sizeof(buf))) > 0) {
		for (char *at = buf; at < buf + n;) {
			const struct inotify_event *ev = (const struct inotify_event *)at;

			at += sizeof(*ev) + ev->len;
			if (ev->mask & IN_Q_OVERFLOW)
				s->rescan = true;
			else if (ev->wd >= 0 && (size_t)ev->wd < s->nwatches && s->watches[ev->wd] && !(ev->mask & IN_IGNORED))
				take_event(s, s->watches[ev->wd], ev);
		}
	}
}

/* ---- deletions ------------------------------------------------------------------------------- */

/* Has a file that the dataset does not take the same content? Then what the dataset has is all that it has of it. */
static bool is_last(struct sync *s, const struct entry *gone_one)
{
	for (struct entry *e = sync_state_first(s->state); e; e = sync_state_next(s->state, e))
		if (e != gone_one && !e->gone && e->known != KNOWN_EQUAL && !strcmp(e->sha256, gone_one->sha256))
			return true;
	return false;
}

/* When nothing is under way: a file that was renamed is there by its new name before the old one goes. Only what this
 * command put there, and as it put it. */
static void delete_gone(struct sync *s)
{
	struct tus_why why;
	struct stat st;

	pthread_mutex_lock(&s->lock);
	for (struct entry *e = sync_state_first(s->state); e && s->o.delete && !s->stop; e = sync_state_next(s->state, e)) {
		if (!e->gone || e->known != KNOWN_EQUAL || e->queued || e->busy || ignore_path(s->ignore, e->path) ||
		    e->due_ms > sync_now_ms() || is_last(s, e) || !fstatat(s->root, e->path, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		e->busy = true;
		pthread_mutex_unlock(&s->lock);
		sync_delete(s, e->path, e->sha256, &why);
		if (!why.rc)
			sync_say(s, "deleted", e->path, NULL, "deleted   %s", web_safe(e->path));
		else if (why.status && why.rc != -EAGAIN)
			sync_say(s, "kept", e->path, NULL, "kept      %s: %s", web_safe(e->path),
				 why.status == 412 ? "somebody else replaced it" : why.text);
		pthread_mutex_lock(&s->lock);
		e->busy = false;
		e->due_ms = sync_now_ms() + 5000;
		if (!why.rc || (why.status && why.rc != -EAGAIN)) {
			s->deleted += !why.rc;
			e->known = KNOWN_NONE;
			sync_state_save(s->state, e);
			if (s->remote)
				json_object_del(s->remote, e->path);
		}
	}
	pthread_mutex_unlock(&s->lock);
}

/* ---- the loop -------------------------------------------------------------------------------- */

int sync_up_run(struct sync *s)
{
	int64_t read_ms = sync_now_ms();
	bool events = false, idle, ready = false;

	s->inotify = s->o.once ? -1 : inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (!s->o.once && s->inotify < 0)
		return cmd_fail("cannot watch: %s (fs.inotify.max_user_instances)", strerror(errno));
	read_all(s);
	do {
		if (!ready && !s->o.once)
			sd_notify(0, "READY=1\nSTATUS=watching");
		ready = true;
		if (events)
			take_events(s);
		if (!s->o.once && (s->rescan || sync_now_ms() - read_ms > RESCAN_MS)) {
			read_all(s);
			read_ms = sync_now_ms();
		}
		pthread_mutex_lock(&s->lock);
		idle = sync_idle(s);
		sync_state_sync(s->state);
		pthread_mutex_unlock(&s->lock);
		if (idle)
			delete_gone(s);
		if (idle && s->o.once)
			break;
	} while (sync_rest(s, 1000, &events));
	if (s->inotify >= 0)
		close(s->inotify);
	for (size_t i = 0; i < s->nwatches; i++)
		free(s->watches[i]);
	free(s->watches);
	return CMD_OK;
}
