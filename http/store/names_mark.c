/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_mark.c -- see names_mark.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/store/names_db_internal.h"
#include "http/store/names_mark.h"
#include "lib/hash.h"
#include "lib/log.h"

#define MARK_BYTES 16
#define MARK_HEX   (2 * MARK_BYTES + 1)
#define MARK_KEY   "mark" /* in the table "format" */
#define FILE_NAME  "names.seen"

struct names_mark {
	int dir;
	struct names_db *db;
	pthread_mutex_t lock;
	char mark[MARK_HEX], next[MARK_HEX]; /* "": none */
	struct names_seen seen;
	int64_t since;
	bool others, others_saved;
};

/* ---- in the names ---- */

struct found {
	uint8_t mark[MARK_BYTES];
	uint64_t transactions;
};

static int found_read(struct names_txn *t, void *arg)
{
	MDB_val k = { sizeof(MARK_KEY) - 1, (void *)MARK_KEY }, v;
	struct found *f = arg;
	int rc = names_errno(mdb_get(t->txn, names_table(t->db, T_FORMAT), &k, &v));

	f->transactions = mdb_txn_id(t->txn);
	memset(f->mark, 0, MARK_BYTES);
	if (!rc && v.mv_size == MARK_BYTES)
		memcpy(f->mark, v.mv_data, MARK_BYTES);
	return rc == -ENOENT ? 0 : rc;
}

static int mark_write(struct names_txn *t, void *arg)
{
	MDB_val k = { sizeof(MARK_KEY) - 1, (void *)MARK_KEY }, v = { MARK_BYTES, arg };

	return names_errno(mdb_put(t->txn, names_table(t->db, T_FORMAT), &k, &v, 0));
}

/* ---- beside them ---- */

static int text_write(int dir, const char *text)
{
	int fd = openat(dir, FILE_NAME ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		rc = -EIO;
	else if (fsync(fd))
		rc = -errno;
	close(fd);
	if (!rc && (renameat(dir, FILE_NAME ".new", dir, FILE_NAME) || fsync(dir)))
		rc = -errno;
	return rc;
}

/* since -1: all. closed 0: they are open. */
static int save(const struct names_mark *m, bool closed)
{
	json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "mark", m->mark, "next", m->next, "transactions",
			      (json_int_t)m->seen.transactions, "inode", (json_int_t)m->seen.inode, "closed",
			      closed ? (json_int_t)m->seen.ctime_ns : 0, "since",
			      m->since == NAMES_MARK_ALL ? (json_int_t)-1 : (json_int_t)m->since);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	int rc = text ? text_write(m->dir, text) : -ENOMEM;

	free(text);
	json_decref(o);
	return rc;
}

/* False: there is none that can be understood. */
static bool load(struct names_mark *m)
{
	int fd = openat(m->dir, FILE_NAME, O_RDONLY | O_CLOEXEC);
	json_t *o = fd < 0 ? NULL : json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
	json_int_t transactions, inode, closed, since;
	const char *mark, *next;
	bool good = o && !json_unpack(o, "{s:s, s:s, s:I, s:I, s:I, s:I}", "mark", &mark, "next", &next, "transactions",
				      &transactions, "inode", &inode, "closed", &closed, "since", &since) &&
		    strlen(mark) < MARK_HEX && strlen(next) < MARK_HEX && transactions >= 0 && since >= -1;

	if (good) {
		strcpy(m->mark, mark);
		strcpy(m->next, next);
		m->seen = (struct names_seen){ (uint64_t)transactions, (uint64_t)inode, closed };
		m->since = since < 0 ? NAMES_MARK_ALL : since;
	}
	json_decref(o);
	if (fd >= 0)
		close(fd);
	return good;
}

/* ---- both ---- */

/* What is there now, which only grows. */
static int count(struct names_mark *m)
{
	struct found f;
	int rc = names_db_read(m->db, found_read, &f);

	if (!rc) {
		m->seen.transactions = f.transactions;
		names_seen_file(m->db->dir, &m->seen);
	}
	return rc;
}

/* First it is said which mark will be next, so that a kill between the two leaves nothing unknown. */
static int mark_anew(struct names_mark *m, const char *now)
{
	uint8_t mark[MARK_BYTES];
	int rc;

	random_bytes(mark, sizeof(mark));
	snprintf(m->mark, sizeof(m->mark), "%s", now);
	hex_encode(mark, MARK_BYTES, m->next);
	rc = count(m);
	if (!rc)
		rc = save(m, false);
	if (!rc)
		rc = names_db_write(m->db, mark_write, mark);
	if (rc)
		return rc;
	strcpy(m->mark, m->next);
	m->next[0] = '\0';
	rc = count(m);
	return rc ? rc : save(m, false);
}

/* The files as they were opened, and as they were left. Who closed them knows when they were changed last; after a kill they
 * have seen what was counted, or more. */
static bool same_files(const struct names_seen *now, const struct names_seen *left)
{
	return now->inode == left->inode && now->transactions >= left->transactions &&
	       (!left->ctime_ns || now->ctime_ns == left->ctime_ns);
}

static int compare(struct names_mark *m)
{
	char now[MARK_HEX];
	struct found f;
	int rc = names_db_read(m->db, found_read, &f);
	bool known, same;

	if (rc)
		return rc;
	hex_encode(f.mark, MARK_BYTES, now);
	known = load(m);
	same = known && (!strcmp(now, m->mark) || !strcmp(now, m->next)) && same_files(&m->db->found, &m->seen);
	if (!same)
		m->since = NAMES_MARK_ALL;
	if (known && !same)
		log_warn("the names are not the ones that were here last (a backup, or another copy): data that have no name "
			 "in them are kept until weir scrub --orphans says that they may go");
	return mark_anew(m, now);
}

int names_mark_open(struct names_mark **out, const char *dir, struct names_db *db)
{
	struct names_mark *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return -ENOMEM;
	pthread_mutex_init(&m->lock, NULL);
	m->db = db;
	m->since = NAMES_MARK_ALL;
	m->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = m->dir < 0 ? -errno : compare(m);
	if (rc) {
		if (m->dir >= 0)
			close(m->dir);
		pthread_mutex_destroy(&m->lock);
		free(m);
		return rc;
	}
	*out = m;
	return 0;
}

void names_mark_close(struct names_mark *m)
{
	if (!m)
		return;
	/* Without it the next start has what the last round knew. */
	if (!count(m))
		save(m, true);
	close(m->dir);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

int64_t names_mark_since(struct names_mark *m)
{
	int64_t since;

	pthread_mutex_lock(&m->lock);
	since = m->since;
	pthread_mutex_unlock(&m->lock);
	return since;
}

/* Durable first where it covers more; what covers less counts at once. */
static int since_set(struct names_mark *m, int64_t since)
{
	int64_t before = m->since;
	int rc = count(m);

	m->since = since;
	if (!rc)
		rc = save(m, false);
	if (rc && before > since)
		m->since = before;
	return rc;
}

int names_mark_others(struct names_mark *m)
{
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	m->others = true;
	if (!m->others_saved)
		rc = since_set(m, NAMES_MARK_ALL);
	m->others_saved = !rc;
	pthread_mutex_unlock(&m->lock);
	return rc;
}

int names_mark_begin(struct names_mark *m, bool others)
{
	char now[MARK_HEX];
	int rc;

	pthread_mutex_lock(&m->lock);
	m->others |= others;
	if (m->others)
		m->since = NAMES_MARK_ALL;
	strcpy(now, m->mark);
	rc = mark_anew(m, now);
	pthread_mutex_unlock(&m->lock);
	return rc;
}

int names_mark_end(struct names_mark *m, int64_t newest, int64_t now)
{
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	if (m->since == NAMES_MARK_ALL && !m->others)
		rc = since_set(m, newest > now ? newest : now);
	pthread_mutex_unlock(&m->lock);
	return rc;
}

int names_mark_allow(struct names_mark *m)
{
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = m->others ? -EBUSY : since_set(m, 0);
	pthread_mutex_unlock(&m->lock);
	return rc;
}
