/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_down.c -- dataset → folder: what is new there by its listing, asked for again and again (sync.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "tools/sync.h"

/* Under the lock: is there something to do for this one? */
static bool wanted(struct sync *s, const struct entry *e, const json_t *remote)
{
	struct stat st;

	if (e->known != KNOWN_EQUAL || strcmp(e->sha256, js_text(remote, "sha256", "")))
		return true;
	return fstatat(s->root, e->path, &st, AT_SYMLINK_NOFOLLOW) != 0; /* deleted here: it comes again */
}

static void compare(struct sync *s, json_t *list)
{
	const char *path;
	struct entry *e;
	json_t *o;

	pthread_mutex_lock(&s->lock);
	json_decref(s->remote);
	s->remote = list;
	for (e = sync_state_first(s->state); e; e = sync_state_next(s->state, e))
		e->seen = false;
	json_object_foreach (list, path, o) {
		e = sync_name_ok(path) && !ignore_path(s->ignore, path) ? sync_state_entry(s->state, path) : NULL;
		if (!e)
			continue;
		e->seen = true;
		e->gone = false;
		if (!e->busy && !e->queued && wanted(s, e, o))
			sync_queue(s, e);
	}
	for (e = sync_state_first(s->state); e; e = sync_state_next(s->state, e))
		e->gone |= !e->seen;
	pthread_mutex_unlock(&s->lock);
}

/* What came from the dataset and is gone there, unless it was changed here. */
static void delete_gone(struct sync *s)
{
	struct stat st;

	pthread_mutex_lock(&s->lock);
	for (struct entry *e = sync_state_first(s->state); e && s->o.delete; e = sync_state_next(s->state, e)) {
		bool same;

		if (!e->gone || e->known != KNOWN_EQUAL || e->busy || e->queued || ignore_path(s->ignore, e->path))
			continue;
		same = !fstatat(s->root, e->path, &st, AT_SYMLINK_NOFOLLOW) && entry_same(e, &st);
		if (same && !unlinkat(s->root, e->path, 0)) {
			s->deleted++;
			sync_say(s, "deleted", e->path, NULL, "deleted   %s", web_safe(e->path));
		}
		e->known = KNOWN_NONE;
		sync_state_save(s->state, e);
	}
	pthread_mutex_unlock(&s->lock);
}

int sync_down_run(struct sync *s)
{
	int64_t next_ms = 0, since_ms = 0;
	bool events, idle, listed = false;
	struct tus_why why = { 0 };

	do {
		int64_t now = sync_now_ms();
		json_t *list = NULL;

		if (now >= next_ms && !(listed && s->o.once)) {
			next_ms = now + s->o.interval_s * 1000;
			if (!sync_list(s, &list, &why)) {
				compare(s, list);
				if (!listed && !s->o.once)
					sd_notify(0, "READY=1\nSTATUS=fetching");
				listed = true;
				since_ms = 0;
			} else if (why.rc != -EAGAIN) {
				return cmd_fail("cannot list %s: %s", s->o.dataset, why.text);
			} else {
				next_ms = now + 1000;
				if (!since_ms)
					sync_say(s, "away", "", NULL, "waiting   %s: %s; trying on", web_base(s->o.web), why.text);
				since_ms = since_ms ? since_ms : now;
				if (s->o.once && now - since_ms > (int64_t)s->o.retry_s * 1000)
					return cmd_fail("%s did not come back", web_base(s->o.web));
			}
		}
		pthread_mutex_lock(&s->lock);
		idle = sync_idle(s);
		sync_state_sync(s->state);
		pthread_mutex_unlock(&s->lock);
		if (idle && listed && !s->fatal)
			delete_gone(s);
		if (idle && listed && s->o.once)
			break;
	} while (sync_rest(s, 500, &events));
	return CMD_OK;
}
