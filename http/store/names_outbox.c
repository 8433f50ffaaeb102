/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_outbox.c -- tasks for other nodes: forget a version, fetch a version. The primary tells
 * them, oldest first, until they are confirmed; a confirmation is an operation like any other, so
 * the secondary knows it too. After a change of primary some tasks are told twice: both kinds may
 * be.
 *
 * A node does what it is told: forgetting at once, fetching one version at a time on a thread of
 * its own, of which the primary asks again how far it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"

#define REST_MS	   1000 /* everything is looked through again so often */
#define POLL_MS	   200	/* … while a fetch is under way */
#define GATHER_MS  20	/* … and no sooner after the last time than this */
#define FETCH_MAX  4	/* fetches that one node is told of at a time */
#define INBOX_MAX  1000
#define FAILED_MAX 16

/* ---- doing ---- */

enum fetch_state { FETCH_WAITS, FETCH_RUNS, FETCH_DONE, FETCH_GONE, FETCH_FAILED };

struct fetching {
	struct fetching *next;
	enum fetch_state state;
	bool brought; /* by this, in one of its tries; the inbox thread's */
	char bucket[NAMES_BUCKET_MAX + 1];
	struct name_entry entry;
};

static struct fetching **fetching_find(struct names *n, const char *version)
{
	struct fetching **p = &n->fetching;

	while (*p && strcmp((*p)->entry.version, version))
		p = &(*p)->next;
	return p;
}

static void fetching_drop(struct fetching **p)
{
	struct fetching *f = *p;

	*p = f->next;
	free(f);
}

/* Gets the data, and asks whether they are needed still: the message may have waited (in a stopped
 * program, of a primary that was replaced) until all had forgotten the version, and nobody would
 * say so again. One that comes meanwhile is refused while this runs, and comes again. */
static int fetch_run(struct names *n, struct fetching *f)
{
	struct name_entry *e = malloc(sizeof(*e));
	int rc = e ? n->fetch(n->arg, f->bucket, &f->entry) : -ENOMEM;

	f->brought |= !rc;
	if (rc >= 0) {
		rc = names_find(n, f->bucket, f->entry.version, e);
		/* What was here before may be all there is, should names be gone or old. */
		if (rc == -ENOENT && f->brought && n->forget(n->arg, f->entry.version))
			rc = -EAGAIN;
	}
	free(e);
	return rc;
}

static void *inbox_run(void *arg)
{
	struct names *n = arg;

	pthread_mutex_lock(&n->lock);
	while (!n->stopping) {
		struct fetching *f = n->fetching;
		int rc;

		while (f && f->state != FETCH_WAITS)
			f = f->next;
		if (!f) {
			pthread_cond_wait(&n->inbox_wake, &n->lock);
			continue;
		}
		f->state = FETCH_RUNS;
		pthread_mutex_unlock(&n->lock);
		rc = fetch_run(n, f);
		pthread_mutex_lock(&n->lock);
		f->state = !rc ? FETCH_DONE : rc == -ENOENT ? FETCH_GONE : FETCH_FAILED;
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* 0 this node has it, -ENOENT given up, -EAGAIN ask again. */
static int do_fetch(struct names *n, const char *bucket, const struct name_entry *entry)
{
	struct fetching **p, *f;
	unsigned int waiting = 0;
	int rc = -EAGAIN;

	pthread_mutex_lock(&n->lock);
	p = fetching_find(n, entry->version);
	for (f = n->fetching; f; f = f->next)
		waiting++;
	f = *p;
	if (f && (f->state == FETCH_DONE || f->state == FETCH_GONE)) {
		rc = f->state == FETCH_DONE ? 0 : -ENOENT;
		fetching_drop(p);
	} else if (f && f->state == FETCH_FAILED) {
		f->entry = *entry; /* others may hold it by now */
		f->state = FETCH_WAITS;
	} else if (!f && waiting < INBOX_MAX) {
		f = calloc(1, sizeof(*f));
		if (f) {
			strcpy(f->bucket, bucket);
			f->entry = *entry;
			*p = f; /* fetching_find() stopped at the end */
		}
	}
	pthread_cond_signal(&n->inbox_wake);
	pthread_mutex_unlock(&n->lock);
	return rc;
}

/* What was to be fetched and waits is not. True: one is being fetched right now. */
static bool fetches_drop(struct names *n, const char *version)
{
	size_t same = names_is_group(version) ? 24 : 32;
	struct fetching **p = &n->fetching;
	bool runs = false;

	pthread_mutex_lock(&n->lock);
	while (*p) {
		bool meant = !strncmp((*p)->entry.version, version, same);

		runs |= meant && (*p)->state == FETCH_RUNS;
		if (meant && (*p)->state != FETCH_RUNS)
			fetching_drop(p);
		else
			p = &(*p)->next;
	}
	pthread_mutex_unlock(&n->lock);
	return runs;
}

/* ok[i]: versions[i] is forgotten. NAMES_DONE_MAX at most. */
static void do_forget(struct names *n, const char *const *versions, size_t count, bool *ok)
{
	const char *free_ones[NAMES_DONE_MAX];
	size_t at[NAMES_DONE_MAX], nfree = 0;
	int rc[NAMES_DONE_MAX];

	for (size_t i = 0; i < count; i++) {
		ok[i] = false;
		if (fetches_drop(n, versions[i]))
			continue;
		at[nfree] = i;
		free_ones[nfree++] = versions[i];
	}
	if (n->forget_many)
		n->forget_many(n->arg, free_ones, nfree, rc);
	for (size_t i = 0; i < nfree; i++)
		ok[at[i]] = !(n->forget_many ? rc[i] : n->forget(n->arg, free_ones[i]));
}

static const char *fetch_word(int rc)
{
	return !rc ? "done" : rc == -ENOENT ? "gone" : "later";
}

/* A primary tells: {"forget":[versions]} → {"forgot":[bool]}, {"fetch":{"bucket","entry"}} →
 * {"fetch":word}. */
void outbox_tasks(struct names *n, struct http_req *req, const json_t *body)
{
	const json_t *forget = json_object_get(body, "forget"),
		     *fetch = json_object_get(body, "fetch"), *value;
	json_t *answer = json_object(), *forgot;
	char bucket[NAMES_BUCKET_MAX + 1];
	struct name_entry e;
	uint8_t version[16];
	size_t i;

	if (json_is_array(forget)) {
		forgot = json_array();
		json_array_foreach (forget, i, value) {
			const char *text = json_string_value(value);
			bool ok = false;

			if (text && !names_version_pack(version, text) && i < NAMES_DONE_MAX)
				do_forget(n, &text, 1, &ok);
			json_array_append_new(forgot, json_boolean(ok));
		}
		json_object_set_new(answer, "forgot", forgot);
	}
	if (!names_json_text(fetch, "bucket", bucket, sizeof(bucket)) &&
	    names_bucket_valid(bucket) && !names_entry_decode(&e, json_object_get(fetch, "entry")))
		json_object_set_new(answer, "fetch",
				    json_string(fetch_word(do_fetch(n, bucket, &e))));
	http_reply_json(req, 200, answer);
}

/* ---- telling ---- */
struct pass {
	struct names *n;
	char failed[FAILED_MAX][CONF_NAME_MAX]; /* did not answer in this pass */
	unsigned int nfailed;
	bool again; /* a fetch is under way */
};

struct tasks {
	const char *bucket;
	enum names_task_kind kind;
	char nodes[NAMES_TARGETS_MAX][CONF_NAME_MAX];
	int nnodes;
	const char *node;
	struct names_task list[NAMES_DONE_MAX];
	struct name_entry rows[FETCH_MAX]; /* fetch: what has the version */
	bool current[FETCH_MAX];
	int count;
};

static int nodes_txn(struct names_txn *t, void *arg)
{
	struct tasks *s = arg;
	struct names_meta meta;
	int rc = names_meta_get(t, s->bucket, &meta);

	s->nnodes = rc ? 0 : names_tasks_nodes(t, meta.id, s->kind, s->nodes, NAMES_TARGETS_MAX);
	return rc;
}

static int list_txn(struct names_txn *t, void *arg)
{
	struct tasks *s = arg;
	enum names_space space;
	struct names_meta meta;
	int rc = names_meta_get(t, s->bucket, &meta);

	if (rc)
		return rc;
	s->count = names_tasks_of(t, meta.id, s->kind, s->node, s->list,
				  s->kind == NAMES_TASK_FETCH ? FETCH_MAX : NAMES_DONE_MAX);
	for (int i = 0; s->kind == NAMES_TASK_FETCH && i < s->count; i++)
		s->current[i] =
			!names_row_data(t, meta.id, s->list[i].version, &space, &s->rows[i]);
	return s->count < 0 ? s->count : 0;
}

static bool pass_skips(struct pass *p, const char *node)
{
	for (unsigned int i = 0; i < p->nfailed; i++)
		if (!strcmp(p->failed[i], node))
			return true;
	return strcmp(node, p->n->node) && node_gone(p->n, node);
}

static void pass_failed(struct pass *p, const char *node)
{
	if (p->nfailed < FAILED_MAX)
		strcpy(p->failed[p->nfailed++], node);
}

/* Taken off the list of endpoints: nobody is left to tell. */
static bool dismissed(struct names *n, const char *name)
{
	struct node node;
	bool synced;

	pthread_mutex_lock(&n->lock);
	synced = n->endpoints_synced;
	pthread_mutex_unlock(&n->lock);
	return synced && strcmp(name, n->node) && (!node_find(n, name, &node) || !node.registered);
}

/* Logs what was done; 0 or why not. */
static int confirm(struct names *n, struct bucket *b, enum write_kind kind,
		   const struct names_op *done)
{
	struct write *w = write_new(kind);
	int rc = w ? 0 : -ENOMEM;

	if (!rc) {
		w->done = done;
		rc = write_here(n, b, w);
	}
	write_free(w);
	return rc;
}

static int tell_forget(struct pass *p, const struct tasks *s, bool *ok)
{
	json_t *answer, *list;
	const json_t *forgot;
	int rc;

	if (!strcmp(s->node, p->n->node)) {
		const char *versions[NAMES_DONE_MAX];

		for (int i = 0; i < s->count; i++)
			versions[i] = s->list[i].version;
		do_forget(p->n, versions, (size_t)s->count, ok);
		return 0;
	}
	if (dismissed(p->n, s->node)) {
		memset(ok, true, (size_t)s->count * sizeof(*ok));
		return 0;
	}
	list = json_array();
	for (int i = 0; i < s->count; i++)
		json_array_append_new(list, json_string(s->list[i].version));
	rc = node_post(p->n, s->node, "tasks", json_pack("{s:o}", "forget", list), &answer,
		       NAMES_APPEND_MS);
	forgot = json_object_get(answer, "forgot");
	for (int i = 0; i < s->count; i++)
		ok[i] = !rc && json_is_true(json_array_get(forgot, (size_t)i));
	json_decref(answer);
	return rc;
}

/* All that one node has to forget of a bucket, as far as it does. */
static void forget_node(struct pass *p, struct bucket *b, struct tasks *s)
{
	for (;;) {
		struct names_op done = { .kind = NAMES_OP_FORGOTTEN };
		bool ok[NAMES_DONE_MAX];

		if (names_db_read(p->n->db, list_txn, s) || !s->count)
			return;
		if (tell_forget(p, s, ok)) {
			pass_failed(p, s->node);
			return;
		}
		strcpy(done.node, s->node);
		for (int i = 0; i < s->count; i++)
			if (ok[i])
				done.seqs[done.nseqs++] = s->list[i].seq;
		if (!done.nseqs || confirm(p->n, b, WRITE_FORGOTTEN, &done))
			return;
	}
}

static int tell_fetch(struct pass *p, const struct tasks *s, int i)
{
	const char *word;
	json_t *answer;
	int rc;

	if (!s->current[i] || dismissed(p->n, s->node))
		return -ENOENT;
	if (!strcmp(s->node, p->n->node))
		return do_fetch(p->n, s->bucket, &s->rows[i]);
	rc = node_post(p->n, s->node, "tasks",
		       json_pack("{s:{s:s s:o}}", "fetch", "bucket", s->bucket, "entry",
				 names_entry_encode(&s->rows[i])),
		       &answer, NAMES_APPEND_MS);
	if (rc)
		pass_failed(p, s->node);
	word = json_string_value(json_object_get(answer, "fetch"));
	rc = rc || !word	     ? -EAGAIN
	     : !strcmp(word, "done") ? 0
	     : !strcmp(word, "gone") ? -ENOENT
				     : -EAGAIN;
	json_decref(answer);
	return rc;
}

static void fetch_node(struct pass *p, struct bucket *b, struct tasks *s)
{
	if (names_db_read(p->n->db, list_txn, s))
		return;
	for (int i = 0; i < s->count && !pass_skips(p, s->node); i++) {
		struct names_op done = { .kind = NAMES_OP_FETCHED,
					 .nseqs = 1,
					 .seqs = { s->list[i].seq } };
		int rc = tell_fetch(p, s, i);

		if (rc && rc != -ENOENT) {
			p->again = true;
			continue;
		}
		done.holds = !rc;
		strcpy(done.node, s->node);
		strcpy(done.entry.version, s->list[i].version);
		if (!confirm(p->n, b, WRITE_FETCHED, &done))
			p->again = true; /* there may be more behind it */
	}
}

/* Makes tasks of the parts that objects left out, as far as it can be done now. */
static void drop_parts(struct names *n, struct bucket *b)
{
	const struct names_op none = { .nseqs = 0 };
	uint32_t before = UINT32_MAX;
	struct bucket_view v;

	for (bucket_view(n, b, &v); v.meta.dropped; bucket_view(n, b, &v)) {
		if (v.meta.dropped >= before || confirm(n, b, WRITE_DROP, &none))
			return;
		before = v.meta.dropped;
	}
}

static void bucket_tell(struct names *n, struct bucket *b, void *arg)
{
	struct pass *p = arg;
	struct bucket_view v;
	struct tasks *s;
	bool stopping;

	bucket_view(n, b, &v);
	pthread_mutex_lock(&n->lock);
	stopping = n->stopping;
	pthread_mutex_unlock(&n->lock);
	if (stopping || !v.known || strcmp(v.record.primary, n->node) || !v.ready ||
	    (!v.meta.tasks && !v.meta.dropped))
		return;
	drop_parts(n, b);
	s = malloc(sizeof(*s));
	for (int kind = NAMES_TASK_FORGET; s && kind <= NAMES_TASK_FETCH; kind++) {
		s->bucket = b->name;
		s->kind = (enum names_task_kind)kind;
		if (names_db_read(n->db, nodes_txn, s))
			break;
		for (int i = 0; i < s->nnodes; i++) {
			s->node = s->nodes[i];
			if (pass_skips(p, s->node) && !dismissed(n, s->node))
				continue;
			if (kind == NAMES_TASK_FORGET)
				forget_node(p, b, s);
			else
				fetch_node(p, b, s);
		}
	}
	free(s);
}

/* Waits until then, or until something is wanted. Lock held. */
static void outbox_wait(struct names *n, const struct timespec *from, long ms, const bool *wanted)
{
	struct timespec until = *from;

	until.tv_nsec += ms * 1000000l;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (!n->stopping && !(wanted && *wanted) &&
	       !pthread_cond_timedwait(&n->outbox_wake, &n->lock, &until))
		;
}

static void *outbox_run(void *arg)
{
	struct names *n = arg;

	pthread_mutex_lock(&n->lock);
	while (!n->stopping) {
		struct pass p = { .n = n };
		struct timespec begun, now;

		n->outbox_wanted = false;
		clock_gettime(CLOCK_MONOTONIC, &begun);
		pthread_mutex_unlock(&n->lock);
		buckets_each(n, bucket_tell, &p);
		pthread_mutex_lock(&n->lock);
		/* What comes meanwhile goes together. */
		outbox_wait(n, &begun, GATHER_MS, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		outbox_wait(n, &now, p.again ? POLL_MS : REST_MS, &n->outbox_wanted);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

void outbox_wake(struct names *n)
{
	pthread_mutex_lock(&n->lock);
	if (!n->outbox_wanted)
		pthread_cond_signal(&n->outbox_wake);
	n->outbox_wanted = true;
	pthread_mutex_unlock(&n->lock);
}

int outbox_open(struct names *n)
{
	int rc = -pthread_create(&n->inbox, NULL, inbox_run, n);

	n->inbox_runs = !rc;
	if (!rc) {
		rc = -pthread_create(&n->outbox, NULL, outbox_run, n);
		n->outbox_runs = !rc;
	}
	return rc;
}

/* After names.stopping was set. */
void outbox_close(struct names *n)
{
	pthread_mutex_lock(&n->lock);
	pthread_cond_broadcast(&n->outbox_wake);
	pthread_cond_broadcast(&n->inbox_wake);
	pthread_mutex_unlock(&n->lock);
	if (n->outbox_runs)
		pthread_join(n->outbox, NULL);
	if (n->inbox_runs)
		pthread_join(n->inbox, NULL);
	n->outbox_runs = n->inbox_runs = false;
	while (n->fetching)
		fetching_drop(&n->fetching);
}
