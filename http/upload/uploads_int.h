/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_int.h -- what the files of the upload service share; nobody else includes it.
 *
 * uploads.c      start and stop, the table, the movers (threads that do what blocks)
 * uploads_state.c one upload: made, saved, loaded, told (events), shown
 * uploads_take.c bytes that come in, by whatever way: limits, the spool file, checksums
 * uploads_hold.c clients that send faster than their files are checked
 * uploads_check.c its worker
 * uploads_tus.c  tus; uploads_join.c its concatenation; uploads_put.c PUT and forms; uploads_show.c lists, events, cancelling;
 * uploads_file.c files that come by another protocol; uploads_replace.c a part replaced; uploads_forward.c uploads of other gateways
 * commit.c, objects.c what was accepted becomes objects; datasets*.c datasets, their files, the catalogue
 *
 * Locks, in this order: uploads.lock (table), upload.lock, uploads.kick_lock. An upload lives as long as somebody
 * holds a reference (uploads_find() gives one, upload_drop() takes it back).
 */
#ifndef WEIR_UPLOADS_INT_H
#define WEIR_UPLOADS_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/upload/rules.h"
#include "http/upload/spool.h"
#include "http/upload/tus.h"
#include "http/upload/uploads.h"
#include "http/upload/worker.h"
#include "lib/access.h"

/* A file's name: with ".weir/", "/versions/N/" and itself again it is a key, which may have 512 bytes. */
#define FILE_NAME_MAX  240
#define MOVERS	       4
#define FINDINGS_SHOWN 1000
#define TAKE_OVER_MS   2000  /* a writer from whom no byte came for so long gives way to another */
#define STORE_WAIT_MS  20000 /* a PUT waits so long for endpoints, then it is told that they are asked on */
#define ENDED_MAX      1000   /* ended ones that are remembered … */
#define ENDED_FINDINGS 100000 /* … and findings of them, some 200 MiB: the oldest go first */
#define GONE_MAX       1024  /* ids that are remembered as gone (410) */

enum upload_state {
	UP_RECEIVING,
	UP_CHECKING,
	UP_STORING,
	UP_ACCEPTED,
	UP_REJECTED,
	UP_FAILED,
	UP_CANCELLED,
	UP_STATES
};
extern const char *const upload_state_names[UP_STATES];

struct call; /* one request that brings bytes */

struct upload {
	struct uploads *u;
	struct upload *next; /* uploads.lock */
	unsigned int refs;   /* uploads.lock */
	char id[SPOOL_ID_LEN + 1];
	/* said at its beginning */
	char dataset[64], file[FILE_NAME_MAX + 1], by[64], from[64], how[16], request[20];
	char *metadata; /* tus: as sent; "" */
	enum tus_concat concat;
	char *if_match, *if_none_match; /* of a PUT, or NULL */
	json_t *replaced;		/* {"version","bytes":[a,b]}, or NULL */
	int64_t begun;
	int fd; /* the data */

	pthread_mutex_t save_lock; /* before `lock`: saves in order */
	bool removed;		   /* save_lock: its files are gone, and no state comes after them */
	pthread_mutex_t lock;	   /* all that follows */
	enum upload_state state;
	char why[256];
	uint64_t size; /* UINT64_MAX: not said yet */
	uint64_t max_size;
	uint64_t received, reserved;
	uint64_t hold; /* bytes behind this are not verified yet (checksum); UINT64_MAX: none */
	int64_t changed, expires, active_ms;
	struct call *writer;

	/* the check (uploads_check.c) */
	struct worker *worker;
	bool wants_worker, starting, aside, check_over;
	int64_t worker_ms;	  /* since when it has its worker, and how many bytes there were then */
	uint64_t worker_received;
	unsigned int lost; /* its workers that were taken away */
	json_t *over_result; /* what the worker said at its end */
	char over_why[256];
	uint64_t checked, rows;
	size_t told; /* findings that this worker told; those that an earlier one told are passed over */
	uint64_t nfindings;
	json_t *findings, *type, *columns, *result, *outputs; /* outputs: [{"name","n"}] */
	json_t *rules;					      /* as they were when it was checked */
	int64_t rules_generation;
	json_t *keys;					      /* columns, in the order of ID.key.N */
	int64_t progress_ms;

	/* storing */
	bool moving; /* a mover has it */
	int64_t due_ms, store_began_ms;
	unsigned int tries;
	uint64_t version;
	bool replaced_earlier; /* 200 instead of 201 */

	struct call *waiters;
	struct call *held; /* those that are not read just now */
	int64_t stop_until_ms;
	struct http_topic *topic;
};

/* One request that brings bytes, or waits for an upload's end. Its request's state. */
struct call {
	struct uploads *u;
	struct http_req *req; /* NULL after uploads_file_leave() */
	struct upload *up;
	struct token_scope who;
	struct tus_checksum checksum;
	struct tus_digest *digest; /* NULL: none */
	uint64_t base, offset;	   /* where its bytes began; where the next one goes */
	int rc;			   /* the first failure of a body */
	bool created, ended;
	bool made;		   /* by this request, whose end cancels it */
	struct call *next_waiter;
	int64_t waits_since_ms;
	/* uploads_hold.c */
	bool held;
	struct call *next_held;
	int64_t held_ms; /* since when no byte was taken; 0: one was */
	uint64_t credit; /* bytes that it may send all the same */
	/* of a struct uploads_file: who answers */
	void (*answer)(void *arg, struct http_req *req, const struct uploads_outcome *outcome);
	void *answer_arg;
	struct form *form;
	bool in_file, had_file, form_ok;
	char csrf[80];
	size_t ncsrf;
	struct forward *forward;
	void *own; /* of the route's own, freed with the call */
	void (*own_free)(void *own); /* NULL: free() */
};

struct uploads {
	struct uploads_options opt;
	struct conf_uploads conf;
	uint64_t object_max;
	char node[CONF_NAME_MAX];
	struct nursery *nursery;
	struct spool *spool;
	struct httpd *server;

	pthread_mutex_t lock;
	struct upload *list;
	size_t count;
	char gone[GONE_MAX][SPOOL_ID_LEN + 1];
	size_t ngone;
	unsigned int workers_max;

	atomic_uint workers; /* that run */
	atomic_uint forwards; /* exchanges that are led to other gateways */
	_Atomic uint64_t used; /* bytes reserved in the spool */

	pthread_mutex_t kick_lock;
	pthread_cond_t kick;
	bool kicked, quit;
	pthread_t movers[MOVERS];
	unsigned int nmovers;

	json_t *references; /* dataset → [columns that others refer to], kick_lock */
	atomic_ullong bytes_in;
	struct metric_series *m_state[UP_STATES], *m_bytes, *m_findings, *m_spool, *m_live, *m_workers,
		*m_store_retries;
};

/* ---- uploads.c ---- */
int64_t now_ms(void); /* monotonic */
void uploads_kick(struct uploads *u);
bool uploads_quitting(struct uploads *u);
/* A reference, or NULL. *gone: it was here. */
struct upload *uploads_find(struct uploads *u, const char *id, bool *gone);
void upload_drop(struct upload *up); /* accepts NULL */
void uploads_enter(struct uploads *u, struct upload *up); /* into the table, which has a reference */
void uploads_remove(struct uploads *u, struct upload *up); /* out of it, with its files */
size_t uploads_of_user(struct uploads *u, const char *user); /* unfinished ones */
void uploads_audit(struct uploads *u, const struct http_req *req, const struct token_scope *who, const char *what,
		   const char *on, const char *result, const char *why, uint64_t bytes);
void uploads_audit_upload(struct upload *up, const char *what, const char *result, const char *why);

/* ---- uploads_state.c ---- */
/* What a new one needs; texts are copied. */
struct upload_begin {
	const char *dataset, *file, *by, *from, *how, *request, *metadata;
	uint64_t size, max_size;
	enum tus_concat concat;
	const char *if_match, *if_none_match;
	json_t *replaced; /* borrowed */
};
/* Makes its files, saves it, enters it. Blocks. A reference for the caller. 0, -EDQUOT (the user's), -ENOSPC, -errno. */
int upload_new(struct upload **out, struct uploads *u, const struct upload_begin *begin);
void upload_free(struct upload *up);
int upload_save(struct upload *up); /* blocks; not under its lock */
void upload_loaded(void *arg, const char *id, json_t *state);
/* Under its lock: */
void upload_tell(struct upload *up, const char *event, const json_t *value);
void upload_tell_state(struct upload *up);
void upload_tell_progress(struct upload *up); /* a few times a second at most */
void upload_become(struct upload *up, enum upload_state state, const char *why);
void upload_say_why(struct upload *up, const char *why); /* NULL: none; made UTF-8: JSON takes nothing else */
bool upload_over(const struct upload *up); /* accepted, rejected, failed, cancelled */
int upload_reserve(struct upload *up, uint64_t bytes);
json_t *upload_json(struct upload *up, bool full); /* new reference */
char *upload_replay(struct upload *up, size_t *len); /* what was told so far, as events */

/* ---- names ---- */
bool file_name_valid(const char *name);
bool upload_visible(struct uploads *u, const struct token_scope *who, const struct upload *up);

/* ---- uploads_take.c ---- */
/* May the caller write this file? Else answers (401 came before) 403, or 404 when the dataset is none of hers; *rules: the
 * dataset's max_size. */
bool take_allowed(struct uploads *u, struct http_req *req, const struct token_scope *who, const char *dataset,
		  const char *file, uint64_t *max_size);
/* Answers for a failure of upload_new() or take_bytes(). */
enum http_next take_refuse(struct http_req *req, int rc, const struct upload *up);
/* Becomes the writer at an offset. 0, -EBUSY (another writes), -ESTALE (offset), -EPERM (takes no bytes). */
int take_begin(struct upload *up, struct call *c, uint64_t offset);
/* Bytes in order. 0, -EBUSY (another took over), -EPERM, -EMSGSIZE (more than announced), -EFBIG (max_size), -ENOSPC, -EIO … */
int take_bytes(struct call *c, const void *data, size_t len);
/* The same of a body function: as many as may come now (hold_room). */
int take_some(struct call *c, const void *data, size_t len, size_t *taken);
/* The request's bytes are complete: checks, syncs (when `sync`), says that all are there. Blocks when sync. 0, -EBADMSG (checksum). */
int take_end(struct call *c, bool sync, bool whole);
/* The request is over, whatever its end. */
void take_drop(struct call *c);
struct call *call_new(struct uploads *u, struct http_req *req);
/* The same of somebody who is known; NULL: it is answered (401, 503). */
struct call *call_signed(struct uploads *u, struct http_req *req);
void call_free(struct call *c); /* in done */
/* All bytes are there: size is what was received. Under the lock. */
void upload_whole(struct upload *up);
/* Waits (HTTP_LATER) for the upload's end; waiters are answered by upload_answer. */
enum http_next call_wait(struct call *c);
void waiters_answer(struct upload *up); /* under the lock: those that may be */
void put_answer(struct call *c);	/* uploads_put.c; under the lock */
void file_answer(struct call *c);	/* uploads_file.c: the same for one with `answer` */

/* ---- uploads_hold.c ---- */
/* How many of len bytes may be taken now. Fewer: the caller takes those and says so by *taken; the request is resumed when
 * more may come. */
size_t hold_room(struct call *c, size_t len);
/* Under the lock: */
void hold_release(struct upload *up); /* lets go who may send again */
void hold_finding(struct upload *up); /* the first one was told */
void hold_drop(struct call *c);	      /* its request ends */

/* ---- uploads_check.c ---- */
void check_start(struct upload *up); /* a mover's */
void check_finish(struct upload *up);
void check_cancel(struct upload *up); /* under the lock */
/* An upload that is not over and not being stored is cancelled: its worker ends, a mover removes its files. Who has given
 * it bytes ends it this way alone, as a worker may have begun. Takes the lock. False: it is being stored. */
bool upload_cancel(struct upload *up, const char *why);
/* Rules of a dataset's record as a structure; NULL: none or malformed. */
struct rules *record_rules(const json_t *record);

/* ---- commit.c ---- */
/* A mover's: what was accepted becomes objects. 0, -EAGAIN (later), else it failed for good (why is set). */
int commit_upload(struct upload *up, char why[256]);

/* ---- routes' functions ---- */
enum http_next uploads_tus_begin(struct http_req *req, struct uploads *u);
enum http_next uploads_tus_one_begin(struct http_req *req, struct uploads *u);
enum http_next uploads_tus_body(struct http_req *req, struct uploads *u, const void *data, size_t len, size_t *taken);
enum http_next uploads_tus_end(struct http_req *req, struct uploads *u);
void uploads_call_done(struct http_req *req, struct uploads *u);
enum http_next uploads_cancel(struct call *c);
enum http_next uploads_form_begin(struct http_req *req, struct uploads *u);
enum http_next uploads_form_body(struct http_req *req, struct uploads *u, const void *data, size_t len, size_t *taken);
enum http_next uploads_form_end(struct http_req *req, struct uploads *u);
/* The upload of the path's :id that the caller may see into *out, with a call; else *out is NULL: it was answered, or is
 * another gateway's. */
enum http_next upload_of_path(struct http_req *req, struct uploads *u, struct call **out);
/* uploads_replace.c */
enum http_next replace_upload_begin(struct http_req *req, struct uploads *u);
enum http_next replace_file_begin(struct http_req *req, struct uploads *u);
enum http_next replace_body(struct http_req *req, struct uploads *u, const void *data, size_t len, size_t *taken);
enum http_next replace_end(struct http_req *req, struct uploads *u);

/* ---- uploads_tus.c, uploads_join.c ---- */
/* What the headers of a tus POST say. */
struct tus_wish {
	char dataset[64], file[FILE_NAME_MAX + 1];
	uint64_t size, max_size;
	enum tus_concat concat;
	struct tus_parts parts;
};
int tus_make(struct call *c, const struct tus_wish *w, uint64_t size); /* c->up, as upload_new() */
/* The final upload of parts, here and at other gateways: c->created, or answered. Blocks. */
void tus_join(struct call *c, const struct tus_wish *w);

/* ---- uploads_forward.c ---- */
/* Of a part at another gateway: its length when it is a complete part of the caller's. 0, -ENOENT, -EINVAL (no part),
 * -EAGAIN (not complete), -EHOSTUNREACH. Blocks. */
int forward_part_size(struct call *c, const char *id, uint64_t *size);
/* Its bytes, into a file. */
int forward_part_copy(struct call *c, const char *id, uint64_t size, int fd, uint64_t at);
/* Adds the uploads that other gateways have to the list, for the caller. Blocks. */
void forward_lists(struct call *c, json_t *list);
/* The bytes of an upload, for another gateway (inside). */
enum http_next forward_data(struct http_req *req, struct uploads *u);
/* The upload is another gateway's: the whole exchange is led there. True: *next is what the handler returns. */
bool forward_begin(struct uploads *u, struct http_req *req, const char *id, enum http_next *next);
enum http_next forward_body(struct call *c, const void *data, size_t len, size_t *taken);
enum http_next forward_end(struct call *c);
void forward_done(struct call *c);
/* Is it forwarded? */
#define FORWARDED(c) ((c) && (c)->forward)

#endif
