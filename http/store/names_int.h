/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_int.h -- what the files of the ordered names share.
 *
 * How it fits together:
 *   names_call.c      what callers ask to be written, here or at the bucket's primary
 *   names_later.c     … by callers who do not wait, where this node orders alone
 *   names_ask.c       … as a message to the primary
 *   names_read.c      what callers ask to know
 *   names_hash.c      retrieval by the hash of the data
 *   names_bucket.c    a primary's work on one bucket: batches of writes, one at a time
 *   names_plan.c      what each of them does to the bucket as it is
 *   names_second.c    a primary's talk with its secondary: agree, send operations, copy
 *   names_record.c    names/BUCKET in the registry: created, taken over, changed by CAS
 *   names_replica.c   the other side: answers to a primary, checked against the epoch
 *   names_outbox.c    tasks for other nodes (forget, fetch), and doing one's own
 *   names_nodes.c     who the endpoints are
 *   names_number.c    which number this one has
 *   names_http.c      the messages' way in
 *   names.c           opening, closing, time, status
 * Below them are the tables (names_db.h: names_db.c, names_apply.c, names_copy.c, names_index.c, names_row.c,
 * names_scan.c, names_upgrade.c) and values and messages (names_op.h: names_op.c, names_wire.c).
 *
 * What makes it safe:
 *
 * 1. names_meta in the local database says which configuration (epoch, primary) the copy belongs
 *    to. Every operation checks it in the transaction that applies it: an old primary's message
 *    changes nothing.
 * 2. The secondary writes first, so it has everything that the primary has. Who takes over is the
 *    recorded secondary, by a compare-and-swap that holds only while the primary's membership is
 *    gone.
 * 3. A primary answers reads alone only while its own membership is certain (nobody can have
 *    taken over); else it asks the secondary whether it took over.
 * 4. A compare-and-swap whose outcome is unknown is repeated until it is known; until then nothing
 *    relies on either outcome.
 *
 * Locks: names.lock guards the memory (buckets, queues, nodes) and is never held across a
 * transaction or a message. bucket.change is held while the copy's right to be primary is decided
 * (taking over, or being overwritten by a copy).
 */
#ifndef WEIR_STORE_NAMES_INT_H
#define WEIR_STORE_NAMES_INT_H

#include <pthread.h>

#include "http/store/jobs.h"
#include "http/store/names_db_internal.h"
#include "lib/log.h"

#define NAMES_TICK_MS	  100	      /* waiting work is looked at again so often */
#define NAMES_SECOND_MS	  2000	      /* a secondary may fail so long before another is chosen */
#define NAMES_APPEND_MS	  3000	      /* a message with operations may take so long */
#define NAMES_COPY_MS	  10000	      /* a page of a copy */
#define NAMES_ROOM_MIN	  (16u << 20) /* bytes; with less room on the disk nothing is begun */
#define NAMES_QUEUE_MAX	  4096	      /* writes that wait for one bucket */
#define NAMES_BUCKETS_MAX 100000

/* ---- a write on its way ---- */
enum write_kind {
	WRITE_PUT,
	WRITE_DELETE,
	WRITE_META,
	WRITE_UPLOAD,
	WRITE_PART,
	WRITE_COMPLETE,
	WRITE_ABORT,
	WRITE_OPEN, /* from here also while the bucket is closed */
	WRITE_CLOSE,
	WRITE_ASKED = WRITE_CLOSE, /* the last that others may ask for */
	WRITE_FORGOTTEN,
	WRITE_FETCHED,
	WRITE_DROP, /* has forgotten what objects left out; as many as fit into a batch */
	WRITE_META_HERE, /* of a version or a part, by its version */
};

struct write {
	enum write_kind kind;
	/* What is written. Delete, meta, complete, …: version is the operation's
	 * own id; part, meta here: key is the object's. When it is done: what is there now. */
	struct name_entry entry;
	enum names_mode mode;
	char target[33]; /* delete, meta: a version or ""; meta here: a version; part, complete, abort: the upload */
	uint64_t if_seq, part_min;
	struct names_part *list; /* complete; freed with the write */
	size_t nlist;
	unsigned int nideal;
	char ideal[NAMES_HOLDERS_MAX][CONF_NAME_MAX];
	char *if_match, *if_none_match; /* NULL: no condition; freed with the write */
	const struct names_op *done;	/* forgotten, fetched: node, seqs, holds; the caller's */
	int64_t deadline;		/* now_ms() */

	int rc;
	bool replaced;
	struct names_deleted deleted;
	unsigned int op; /* of its batch: whose entry is what is there when it is done */
	bool maybe; /* a secondary may have it: a failure is not certain any more */
	char why[256], refusal[256];
	/* Called once, on any thread, without locks; owns the write from then on. */
	void (*complete)(struct write *w);
	void *arg;
	struct write *next;
};
struct write *write_new(enum write_kind kind);
void write_free(struct write *w);
/* names_call.c: a put of what names_put_with() is given; *out is the caller's, also after a failure
 * (NULL without memory). 0 or -errno. */
int write_put(struct write **out, const struct name_entry *entry, const struct names_how *how);

/* ---- names_plan.c ---- */
struct plan {
	struct names_txn *t;
	const struct names_meta *meta;
	struct write *w;
	uint64_t epoch, seq; /* seq: of ops[0] */
	int64_t now_s;
	struct names_op *ops;
	unsigned int n, room;
	struct name_entry row; /* scratch */
};
/* Adds w's operations, of which w->op is the last; none: nothing is to be done, and w->entry is what
 * there is. Else what was asked for stays as it was. 0, or why it is refused; names_error() may say
 * more, or is "". */
int write_plan(struct plan *p);
/* Is it evaluated by what other writes of the same batch would change? */
bool write_alone(const struct write *w);

/* ---- buckets ---- */
struct bucket {
	struct bucket *next;
	char name[NAMES_BUCKET_MAX + 1];
	/* from the registry */
	bool known;  /* record is set */
	bool absent; /* the registry said that there is none */
	struct names_record record;
	int64_t mod_revision; /* 0: the record is from the local copy or another node's word */
	/* the local copy's configuration as last written; the database decides */
	struct names_meta meta;
	bool has_meta;
	/* being primary */
	bool ready;	       /* agreed with the secondary since this program became primary */
	int64_t failing_since; /* the secondary does not answer since; 0: it does */
	bool taking;	       /* a take-over was sent to the registry, outcome not known */
	bool unsure;	       /* a change of secondary was sent, outcome not known */
	struct names_record proposed;
	uint64_t verified_term; /* of the lease for which the record was read; 0: never */
	char why[256];		/* writes do not work because … */
	int64_t not_before;	/* the next try of what failed */
	/* work */
	bool running, again;
	struct write *queue, **queue_tail;
	unsigned int nqueue;
	pthread_mutex_t change;
	uint64_t session; /* of the copy being received; 0: none */
};

/* ---- endpoints ---- */
struct node {
	char name[CONF_NAME_MAX], site[CONF_NAME_MAX], domain[CONF_NAME_MAX];
	char inside[160]; /* "host:port" */
	bool tls, registered, alive;
	bool told; /* by the registry, since this program started */
};

#define BUCKET_HASH 4096

struct names {
	char *node, *site, *domain;
	struct registry *registry;
	struct httpc *httpc;
	int (*forget)(void *arg, const char *version);
	void (*forget_many)(void *arg, const char *const *versions, size_t n, int *rc);
	int (*fetch)(void *arg, const char *bucket, const struct name_entry *entry);
	void *arg;
	struct names_db *db;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* a bucket's state or a write's end; CLOCK_MONOTONIC */
	struct reg_lease *lease;
	bool stopping;
	struct bucket *buckets[BUCKET_HASH];
	unsigned int nbuckets;
	struct node *nodes;
	unsigned int nnodes;
	int number; /* this endpoint's in the installation, -1: not known yet */
	bool members_synced, endpoints_synced;

	struct jobs *writers, *readers;
	struct reg_watch *watch_names, *watch_members, *watch_endpoints;
	pthread_t tick, outbox, inbox;
	bool tick_runs, outbox_runs, inbox_runs;
	bool outbox_wanted;
	unsigned int visitors; /* threads of others that work here, names_visit() */
	_Atomic uint64_t came; /* grows when a bucket becomes this node's to order */
	_Atomic int64_t here_us; /* the last batch of bucket_run_here() took so long */
	pthread_cond_t outbox_wake, inbox_wake;
	struct fetching *fetching; /* data being fetched for others' tasks, see names_outbox.c */
};

/* names.c */
int64_t now_ms(void); /* CLOCK_BOOTTIME: also through suspend */
int64_t now_us(void); /* for durations */
void names_fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2))); /* sets names_error() */
struct bucket *bucket_find(struct names *n,
			   const char *name); /* takes the lock; makes it; NULL: too many */
/* Takes the lock; NULL: nobody has made it here. What strangers ask for must not fill the memory.
 */
struct bucket *bucket_look(struct names *n, const char *name);
int bucket_meta_load(struct names *n, struct bucket *b); /* database → b->meta; 0 or -errno */
/* The fields that others change, copied under the lock. */
struct bucket_view {
	bool known, absent, has_meta, ready, unsure, taking;
	struct names_record record;
	struct names_meta meta;
	int64_t mod_revision;
};
void bucket_view(struct names *n, struct bucket *b, struct bucket_view *v);
void bucket_why(struct names *n, struct bucket *b, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void bucket_meta_set(struct names *n, struct bucket *b, const struct names_meta *meta);
void buckets_each(struct names *n, void (*fn)(struct names *n, struct bucket *b, void *arg),
		  void *arg);
void names_wait(struct names *n, int64_t until_ms); /* on n->changed, lock held */

/* +1, -1: this thread, which is nobody's here, begins or ends to work on buckets: names_stop() waits for it. */
void names_visit(struct names *n, int by);

/* names_nodes.c */
int nodes_open(struct names *n); /* from the database, then by watches */
void nodes_close(struct names *n);
bool node_find(struct names *n, const char *name, struct node *out);
unsigned int nodes_others(struct names *n);	   /* registered endpoints besides this one */
bool node_gone(struct names *n, const char *name); /* the registry said that it has no lease */
unsigned int nodes_copy(struct names *n, struct node **out); /* malloc'ed */
/* Posts a message to another node's inside listener; body's reference is taken. Answers 0 and
 * *answer (may be NULL to drop it), the node's refusal (-EINVAL -ENOENT -ESTALE -ECANCELED -EAGAIN
 * -ETIMEDOUT -ENOSPC -EPROTO), -ENOTCONN: it was not reached and nothing happened, -ETIMEDOUT:
 * unknown. names_error() says more. */
int node_post(struct names *n, const char *node, const char *what, json_t *body, json_t **answer,
	      unsigned int timeout_ms);

/* The HTTP status of a result, as node_post() understands it. */
int status_of(int rc);

/* names_record.c */
int record_refresh(struct names *n,
		   struct bucket *b); /* reads the registry; -ENOENT none (b->absent) */
/* Does the registry have a record of that bucket? 0, -ENOENT, -EAGAIN. Makes no bucket. */
int record_exists(struct names *n, const char *bucket);
void record_learn(struct names *n, struct bucket *b, const struct names_record *r,
		  int64_t mod_revision);
/* Another node's refusal may say who the primary is. */
void record_hear(struct names *n, struct bucket *b, const json_t *answer);
int record_create(struct names *n, struct bucket *b);
/* {epoch + 1, this node, second}: 0 done and the local copy follows, -ESTALE somebody else changed
 * it, else unsure. */
int record_change_second(struct names *n, struct bucket *b, const char *second);
int record_resolve(struct names *n,
		   struct bucket *b); /* makes an unsure change certain; same results */
int record_take_over(struct names *n, struct bucket *b);
int record_abdicate(struct names *n, struct bucket *b);
/* The registry says that this node is primary: the local copy becomes the primary's. -ESTALE: it is
 * not fit. */
int record_become(struct names *n, struct bucket *b);

/* names_bucket.c */
void bucket_schedule(struct names *n, struct bucket *b); /* takes the lock */
void bucket_schedule_locked(struct names *n, struct bucket *b);
void bucket_enqueue(struct names *n, struct bucket *b,
		    struct write *w);				 /* completes it when it cannot */
/* The same, but it runs with the next bucket_run_here() or bucket_schedule(). */
void bucket_enqueue_quiet(struct names *n, struct bucket *b, struct write *w);
/* Is this node certainly its primary, without a secondary and without need of one? */
bool bucket_is_mine_alone(struct names *n, struct bucket *b);
/* What waits, in one batch on this thread, when it is mine alone and nobody else's turn; else it is scheduled. */
void bucket_run_here(struct names *n, struct bucket *b);
void bucket_expire(struct names *n, struct bucket *b, bool all); /* fails what waits too long */

/* names_second.c */
int second_agree(struct names *n, struct bucket *b); /* with the recorded secondary */
int second_find(struct names *n, struct bucket *b,
		const char *except); /* a new one, copied and recorded */
/* 0 it has them on disk; -ENOSPC, -ESTALE: it has not; else unknown. */
int second_append(struct names *n, struct bucket *b, const struct names_batch *batch);
void second_newest(struct names *n, struct bucket *b, char best[CONF_NAME_MAX], uint64_t *epoch);
int second_confirm(struct names *n, struct bucket *b, const char *second, uint64_t epoch);

/* names_replica.c: each answers req. Those marked * do not block. */
enum http_next replica_confirm(struct names *n, struct http_req *req, const json_t *body); /* * */
void replica_append(struct names *n, struct http_req *req, const json_t *body);
void replica_position(struct names *n, struct http_req *req, const json_t *body);
void replica_begin(struct names *n, struct http_req *req, const json_t *body);
void replica_page(struct names *n, struct http_req *req, const json_t *body);
void replica_end(struct names *n, struct http_req *req, const json_t *body);
void replica_pull(struct names *n, struct http_req *req, const json_t *body);

/* names_outbox.c */
int outbox_open(struct names *n);
void outbox_close(struct names *n);
void outbox_wake(struct names *n);
void outbox_tasks(struct names *n, struct http_req *req, const json_t *body);

/* names_call.c */
void version_random(char out[33]); /* never a group's */
/* Queues the write here and waits for its end; the write stays the caller's. */
int write_here(struct names *n, struct bucket *b, struct write *w);
struct pause {
	int64_t deadline, ms;
};
struct pause pause_begin(void);
/* Waits a little before the next try; false: the time is over. */
bool pause_next(struct names *n, struct pause *p);
#define TRY_MS 4000 /* one try at another node; a stopped one must not use up all the time */
/* The bucket and its record; with create it is made when there is none. */
int route(struct names *n, const char *name, bool create, struct bucket **b, struct bucket_view *v);
/* After a refusal: it may tell who the primary is; the registry knows better. */
void route_again(struct names *n, struct bucket *b, const json_t *answer);

/* names_read.c */
/* Is this node's word on the bucket current? 0; -ESTALE it is not the primary; -EAGAIN cannot say.
 */
int read_certain(struct names *n, struct bucket *b);
enum query_kind {
	QUERY_GET,
	QUERY_FIND,
	QUERY_USED,
	QUERY_UPLOAD,
	QUERY_LIST,
	QUERY_VERSIONS,
	QUERY_UPLOADS,
	QUERY_PARTS,
	QUERY_USAGE,
	QUERY_KINDS
};
struct query {
	enum query_kind kind;
	char bucket[NAMES_BUCKET_MAX + 1];
	char key[NAMES_KEY_MAX + 1]; /* get, upload; listings: after */
	char version[NAMES_MARKER_MAX +
		     1]; /* get ("": current), find, used, upload, parts; after_version */
	char prefix[NAMES_KEY_MAX + 1], delimiter[NAMES_KEY_MAX + 1];
	unsigned int limit, part; /* part: after it */
	bool meta;
	names_entry_fn *fn;
	names_prefix_fn *prefix_fn;
	void *arg;
	/* answers */
	struct name_entry entry;
	struct names_page page;
	struct names_usage usage;
};
int query_local(struct names *n, struct query *q);
/* A query as a message: strict, 0 or -EINVAL. */
json_t *query_encode(const struct query *q);
int query_decode(struct query *q, const json_t *body);

/* names_ask.c: a write as a message; *w is NULL after a failure (-EINVAL). */
json_t *names_write_encode(const char *bucket, const struct write *w, int64_t wait_ms);
int names_write_decode(const json_t *body, char bucket[NAMES_BUCKET_MAX + 1], struct write **w);
json_t *names_answer_encode(const struct write *w);
int names_answer_decode(struct write *w, const json_t *answer);

/* names_http.c */
/* The answer for a failed call: the status of rc, the sentence of names_error(). */
enum http_next reply_failure(struct names *n, struct http_req *req, const char *bucket, int rc);

#endif
