/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_send.c -- one file goes to the dataset (sync.h).
 *
 * A file is digested before it is sent: what the dataset has already is not sent, and an upload that was begun is gone
 * on with only when it was of the same content. Before an upload is made its key is written to the journal, so that
 * one whose answer was lost is found again (tus_find) instead of being made twice. What the gateway received is
 * compared with the digest at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/hash.h"
#include "tools/sync.h"

#define WAIT_S	       30 /* one question how an upload ended */
#define FINDINGS_SHOWN 3
#define SETTLE_NS      2000000000ll /* where it cannot be asked who writes: unchanged for so long */
#define COPY_LEAST     1024 /* bytes: smaller ones are sent as fast */
#define LOST_MAX       5	    /* pieces of one file that arrive damaged */

struct job {
	struct sync *s;
	struct entry *e;
	int fd;
	struct stat st;
	char sha256[65];
	char *buf;
	uint64_t offset;
	bool have; /* the dataset has it */
	struct tus_why why;
};

/* ---- is it whole ----------------------------------------------------------------------------- */

/* A read lease is refused while somebody has the file open for writing (fcntl(2)). */
static bool is_written(const struct job *j)
{
	struct timespec now;

	if (!fcntl(j->fd, F_SETLEASE, F_RDLCK)) {
		fcntl(j->fd, F_SETLEASE, F_UNLCK);
		return false;
	}
	if (errno == EAGAIN)
		return true;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - stat_mtime_ns(&j->st) < SETTLE_NS;
}

static bool is_changed(const struct job *j)
{
	struct stat now;

	return fstat(j->fd, &now) || now.st_size != j->st.st_size || stat_mtime_ns(&now) != stat_mtime_ns(&j->st);
}

static enum outcome outcome_of(struct job *j)
{
	switch (j->why.rc) {
	case 0:
		return OUT_DONE;
	case -EAGAIN:
		return OUT_AWAY;
	case -ECANCELED:
		return j->s->stop ? OUT_STOPPED : OUT_AWAY;
	case -EACCES:
		return OUT_REFUSED;
	default:
		return OUT_LATER;
	}
}

/* ---- what is known of it becomes known ------------------------------------------------------- */

static void forget_upload(struct job *j)
{
	j->e->key[0] = j->e->id[0] = '\0';
	sync_save(j->s, j->e);
}

static enum outcome equal(struct job *j, uint64_t version)
{
	struct entry *e = j->e;

	entry_note(e, &j->st);
	e->known = KNOWN_EQUAL;
	memcpy(e->sha256, j->sha256, sizeof(e->sha256));
	e->version = version ? version : e->version;
	e->why[0] = '\0';
	forget_upload(j);
	return OUT_DONE;
}

static enum outcome rejected(struct job *j, const char *why)
{
	struct entry *e = j->e;

	entry_note(e, &j->st);
	e->known = KNOWN_REJECTED;
	memcpy(e->sha256, j->sha256, sizeof(e->sha256));
	snprintf(e->why, sizeof(e->why), "%.199s", why);
	for (size_t n = strlen(e->why); n == sizeof(e->why) - 1; e->why[n] = '\0') { /* no half character */
		while (n && (e->why[n - 1] & 0xc0) == 0x80)
			n--;
		n -= n && (e->why[n - 1] & 0x80);
	}
	forget_upload(j);
	sync_say(j->s, "rejected", e->path, json_pack("{s:s}", "why", e->why), "rejected  %s: %s", web_safe(e->path),
		 web_safe(e->why));
	return OUT_DONE;
}

static void say_findings(struct job *j, const json_t *shown)
{
	const json_t *list = json_object_get(shown, "findings"), *f;
	size_t i;

	json_array_foreach (list, i, f) {
		if (i == FINDINGS_SHOWN && !j->s->o.json) {
			sync_say(j->s, "finding", j->e->path, NULL, "          … %zu more", json_array_size(list) - i);
			break;
		}
		sync_say(j->s, "finding", j->e->path, json_copy((json_t *)f), "%-9s %s: row %s, column %s: %s (found: %s); to mend: %s",
			 web_safe(js_text(f, "level", "?")), web_safe(j->e->path), js_show(f, "row", 0),
			 web_safe(js_text(f, "column", "-")), web_safe(js_text(f, "message", "")),
			 web_safe(js_text(f, "value", "")), web_safe(js_text(f, "mend", "")));
	}
}

/* The upload is not known (any more): it was never made, or it is long over. OUT_DONE: have, or anew. */
static enum outcome lost(struct job *j)
{
	int has = sync_has(j->s, j->e->path, j->sha256, &j->why);

	if (has < 0)
		return outcome_of(j);
	j->have = has;
	if (has)
		return equal(j, 0);
	forget_upload(j);
	return OUT_DONE;
}

/* The upload is over: what became of it. */
static enum outcome conclude(struct job *j, const json_t *shown)
{
	const char *state = js_text(shown, "state", ""),
		   *sum = js_text(json_object_get(shown, "result"), "sha256", "");
	char size[16];

	if (!strcmp(state, "accepted")) {
		if (*sum && strcmp(sum, j->sha256)) { /* it was changed so that nobody saw it */
			forget_upload(j);
			return OUT_CHANGED;
		}
		say_findings(j, shown);
		pthread_mutex_lock(&j->s->lock);
		j->s->files++;
		pthread_mutex_unlock(&j->s->lock);
		equal(j, (uint64_t)js_num(shown, "version"));
		sync_say(j->s, "sent", j->e->path,
			 json_pack("{s:I, s:I}", "version", (json_int_t)j->e->version, "size", (json_int_t)j->st.st_size),
			 "sent      %s  %s, version %llu", web_safe(j->e->path), cmd_bytes((uint64_t)j->st.st_size, size),
			 (unsigned long long)j->e->version);
		return OUT_DONE;
	}
	if (!strcmp(state, "rejected")) {
		char why[200];

		say_findings(j, shown);
		snprintf(why, sizeof(why), "%s findings; first: row %s, column %.60s: %.100s",
			 js_show(json_object_get(shown, "counts"), "findings", 0),
			 js_show(json_array_get(json_object_get(shown, "findings"), 0), "row", 0),
			 js_text(json_array_get(json_object_get(shown, "findings"), 0), "column", "-"),
			 js_text(json_array_get(json_object_get(shown, "findings"), 0), "message", "-"));
		return rejected(j, why);
	}
	snprintf(j->why.text, sizeof(j->why.text), "%s: %.200s", state, js_text(shown, "why", ""));
	forget_upload(j);
	return OUT_LATER;
}

static enum outcome wait_end(struct job *j)
{
	json_t *shown = NULL;
	enum outcome out;

	for (;;) {
		if (tus_show(j->s->o.web, j->e->id, WAIT_S, &j->s->stop, &shown, &j->why)) {
			if (j->why.rc != -ENOENT)
				return outcome_of(j);
			out = lost(j);
			return out == OUT_DONE && !j->have ? OUT_CHANGED : out;
		}
		if (tus_over(js_text(shown, "state", "")))
			break;
		json_decref(shown);
		if (j->s->stop)
			return OUT_STOPPED;
	}
	out = conclude(j, shown);
	json_decref(shown);
	return out;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void on_sent(void *arg, size_t bytes)
{
	struct job *j = arg;

	pthread_mutex_lock(&j->s->lock);
	j->s->bytes += bytes;
	pthread_mutex_unlock(&j->s->lock);
}

/* At most TUS_PIECE bytes at the offset; false: they are not what was digested. */
static bool read_piece(struct job *j, struct tus_piece *p)
{
	uint64_t rest = (uint64_t)j->st.st_size - j->offset;
	size_t want = rest < TUS_PIECE ? (size_t)rest : TUS_PIECE, have = 0;
	ssize_t n = 1;

	while (have < want && (n = pread(j->fd, j->buf + have, want - have, (off_t)(j->offset + have))) > 0)
		have += (size_t)n;
	*p = (struct tus_piece){
		.data = j->buf, .len = have, .rate = j->s->rate, .stop = &j->s->stop, .sent = on_sent, .arg = j
	};
	return have == want && !is_changed(j);
}

static enum outcome drop_changed(struct job *j)
{
	if (*j->e->id) /* find_upload() ends what cannot be now */
		tus_cancel(j->s->o.web, j->e->id, &j->why);
	return OUT_CHANGED;
}

/* A file of the dataset with the same content: what was renamed, or copied, is copied there. False: there is none. */
static bool find_same(struct job *j, char path[256])
{
	struct sync *s = j->s;
	bool found = false;

	if (j->e->tries || j->st.st_size < COPY_LEAST) /* it was not so */
		return false;
	pthread_mutex_lock(&s->lock);
	for (struct entry *e = sync_state_first(s->state); e && !found; e = sync_state_next(s->state, e)) {
		found = e != j->e && !e->busy && e->known == KNOWN_EQUAL && !memcmp(e->sha256, j->sha256, 64);
		if (found)
			snprintf(path, 256, "%s", e->path);
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* A new upload; its key is known before it is. Small files go along. */
static enum outcome make_upload(struct job *j)
{
	struct entry *e = j->e;
	struct tus_piece piece;
	struct tus_new n = { .dataset = j->s->o.dataset, .file = e->path, .size = (uint64_t)j->st.st_size, .piece = &piece };
	uint8_t salt[8];
	char hex[17], same[256];

	j->offset = 0;
	if (!read_piece(j, &piece))
		return OUT_CHANGED;
	random_bytes(salt, sizeof(salt));
	snprintf(e->key, sizeof(e->key), "%s-%s", j->sha256, hex_encode(salt, sizeof(salt), hex));
	e->id[0] = '\0';
	sync_save(j->s, e);
	n.key = e->key;
	if (find_same(j, same)) {
		sync_copy(j->s, same, e->path, e->key, e->id, &j->why);
		if (j->why.rc == -EAGAIN || j->why.rc == -ECANCELED)
			return outcome_of(j);
		if (!j->why.rc && *e->id) {
			j->offset = (uint64_t)j->st.st_size;
			sync_save(j->s, e);
			return OUT_DONE;
		}
	}
	tus_create(j->s->o.web, &n, e->id, &j->offset, &j->why);
	if (!j->why.rc) {
		sync_save(j->s, e);
		return OUT_DONE;
	}
	if (j->why.status && j->why.rc != -EAGAIN && j->why.rc != -EBADMSG)
		forget_upload(j); /* it was refused: there is none */
	if (j->why.rc == -EFBIG || j->why.rc == -EINVAL)
		return rejected(j, j->why.text);
	return j->why.rc == -ENOENT ? OUT_REFUSED : outcome_of(j);
}

/* Ends an upload of content that is no longer wanted; it must be over before another one of the file begins, so that the
 * newest content is the newest version. *accepted: it was before. OUT_DONE: it is over. */
static enum outcome end_upload(struct job *j, bool *accepted)
{
	json_t *shown = NULL;
	char state[16];

	if (tus_show(j->s->o.web, j->e->id, 0, &j->s->stop, &shown, &j->why) && j->why.rc != -ENOENT)
		return outcome_of(j);
	snprintf(state, sizeof(state), "%.15s", j->why.rc ? "cancelled" : js_text(shown, "state", ""));
	json_decref(shown);
	if (accepted)
		*accepted = !strcmp(state, "accepted");
	if (!tus_over(state) && tus_cancel(j->s->o.web, j->e->id, &j->why))
		return j->why.rc == -EAGAIN ? OUT_AWAY : OUT_CHANGED; /* it is being stored just now */
	return OUT_DONE;
}

/* An upload that an earlier try or process began: OUT_DONE with e->id when there is one. */
static enum outcome find_upload(struct job *j)
{
	struct entry *e = j->e;
	uint64_t size;

	if (!*e->id && tus_find(j->s->o.web, j->s->o.dataset, e->path, e->key, e->id, &j->why)) {
		return j->why.rc == -ENOENT ? lost(j) : outcome_of(j);
	}
	if (strncmp(e->key, j->sha256, 64)) { /* of what the file was before */
		enum outcome out = end_upload(j, NULL);

		if (out == OUT_DONE)
			forget_upload(j);
		return out;
	}
	if (tus_offset(j->s->o.web, e->id, &j->offset, &size, &j->why) == -ENOENT)
		return lost(j);
	if (!j->why.rc)
		sync_save(j->s, e);
	return outcome_of(j);
}

static enum outcome send_rest(struct job *j)
{
	struct tus_piece piece;
	uint64_t size;
	int lost = 0;

	while (j->offset < (uint64_t)j->st.st_size) {
		if (!read_piece(j, &piece))
			return drop_changed(j);
		tus_send(j->s->o.web, j->e->id, &j->offset, &piece, UINT64_MAX, &j->why);
		if (j->why.rc == -EPERM) /* it is over: rejected */
			return OUT_DONE;
		if (j->why.rc == -ENOENT) {
			forget_upload(j);
			return OUT_LATER;
		}
		if (j->why.rc == -ESTALE || (j->why.rc == -EBADMSG && lost++ < LOST_MAX))
			tus_offset(j->s->o.web, j->e->id, &j->offset, &size, &j->why);
		if (j->why.rc)
			return outcome_of(j);
	}
	return OUT_DONE;
}

static enum outcome send_it(struct job *j)
{
	struct entry *e = j->e;
	enum outcome out = OUT_DONE;

	while (sem_wait(&j->s->senders))
		;
	if (j->s->stop)
		out = OUT_STOPPED;
	if (out == OUT_DONE && *e->key)
		out = find_upload(j);
	if (out == OUT_DONE && !*e->id && !j->have)
		out = make_upload(j);
	if (out == OUT_DONE && *e->id)
		out = send_rest(j);
	sem_post(&j->s->senders);
	return out == OUT_DONE && *e->id ? wait_end(j) : out;
}

/* What the dataset has already, by its listing: asked once. Who may write but not list sends. */
static enum outcome ask_remote(struct job *j, bool *has)
{
	struct sync *s = j->s;
	const json_t *o;
	json_t *list = NULL;
	enum outcome out = OUT_DONE;

	pthread_mutex_lock(&s->listing);
	pthread_mutex_lock(&s->lock);
	o = s->remote;
	pthread_mutex_unlock(&s->lock);
	if (!o) {
		if (sync_list(s, &list, &j->why) == -EAGAIN || j->why.rc == -ECANCELED)
			out = outcome_of(j);
		else if (j->why.rc)
			list = json_object();
		if (out == OUT_DONE) {
			pthread_mutex_lock(&s->lock);
			s->remote = list;
			pthread_mutex_unlock(&s->lock);
		}
	}
	pthread_mutex_unlock(&s->listing);
	pthread_mutex_lock(&s->lock);
	*has = out == OUT_DONE && !strcmp(js_text(json_object_get(s->remote, j->e->path), "sha256", ""), j->sha256);
	pthread_mutex_unlock(&s->lock);
	return out;
}

static enum outcome work(struct job *j)
{
	struct entry *e = j->e;
	enum outcome out;
	bool has = false;
	int rc;

	if (is_written(j))
		return OUT_WRITING;
	rc = sync_digest(j->s, j->fd, j->sha256);
	if (rc)
		return rc == -ECANCELED ? OUT_STOPPED : OUT_LATER;
	if (is_changed(j))
		return OUT_CHANGED;
	if (e->known != KNOWN_NONE && !strcmp(e->sha256, j->sha256) && !*e->key) { /* touched, or written the same */
		entry_note(e, &j->st);
		sync_save(j->s, e);
		return OUT_DONE;
	}
	if (e->known == KNOWN_NONE && !*e->key) {
		out = ask_remote(j, &has);
		if (out != OUT_DONE)
			return out;
		if (has) {
			pthread_mutex_lock(&j->s->lock);
			j->s->equal++;
			pthread_mutex_unlock(&j->s->lock);
			return equal(j, 0);
		}
	}
	j->buf = malloc(j->st.st_size < TUS_PIECE ? (size_t)j->st.st_size + 1 : TUS_PIECE);
	out = j->buf ? send_it(j) : OUT_LATER;
	free(j->buf);
	return out;
}

/* The file is gone, an upload of it was begun. What the dataset took is known, so that it may be deleted. */
static enum outcome vanished(struct job *j)
{
	struct entry *e = j->e;
	bool accepted = false;
	enum outcome out;
	int rc = 0;

	if (!*e->key)
		return OUT_VANISHED;
	memcpy(j->sha256, e->key, 64);
	memset(&j->st, 0, sizeof(j->st));
	if (!*e->id)
		rc = tus_find(j->s->o.web, j->s->o.dataset, e->path, e->key, e->id, &j->why);
	if (rc && rc != -ENOENT)
		return outcome_of(j);
	out = rc ? OUT_DONE : end_upload(j, &accepted);
	if (out == OUT_DONE && accepted)
		equal(j, 0);
	else if (out == OUT_DONE) /* a gateway forgets what was accepted long ago */
		out = lost(j);
	return out == OUT_DONE ? OUT_VANISHED : out;
}

enum outcome sync_send(struct sync *s, struct entry *e)
{
	struct job j = { .s = s, .e = e };
	enum outcome out;

	j.fd = openat(s->root, e->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (j.fd < 0 || fstat(j.fd, &j.st) || !S_ISREG(j.st.st_mode)) {
		out = j.fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP ? OUT_LATER : OUT_VANISHED;
		snprintf(j.why.text, sizeof(j.why.text), "%s", strerror(errno));
		if (out == OUT_VANISHED)
			out = vanished(&j);
	} else {
		out = work(&j);
	}
	if (j.fd >= 0)
		close(j.fd);
	if (out == OUT_AWAY || out == OUT_LATER || out == OUT_REFUSED) {
		pthread_mutex_lock(&s->lock);
		snprintf(s->left_why, sizeof(s->left_why), "%.150s", j.why.text);
		pthread_mutex_unlock(&s->lock);
	}
	return out;
}
