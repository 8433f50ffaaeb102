/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.c -- the data of one PUT (upload.h).
 *
 * The body goes to a temporary file here; whenever a chunk of 8 MiB is complete, a sender thread
 * reads it back from the page cache and sends it to the second endpoint. So the disk is the buffer:
 * memory does not grow with the object, nor with a slow second. When a second dies, another is
 * chosen and gets everything again from this disk.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "http/store/reseal.h"
#include "http/store/staged.h"
#include "http/store/transfer.h"
#include "http/store/upload.h"
#include "http/store/quota.h"
#include "lib/log.h"

#define COPIES_MAX UPLOAD_COPIES_MAX
#define FAILED_MAX 8 /* seconds that broke off in one upload: then it is given up */

struct target {
	struct peer peer;
	bool begun;    /* it may have something */
	uint64_t sent; /* chunks that it has */
	bool stored;   /* it said that all is on stable storage */
};

struct upload {
	struct endpoint *ep;
	char bucket[BUCKET_MAX], key[KEY_MAX];
	struct version version;
	struct staged *staged;
	int rc;		      /* the first failure of this disk */
	bool sealed, stored;
	char kid[SEALING_KID_MAX]; /* of the key that seals its own; "": it is plain */
	struct manifest manifest; /* of what is sealed */
	uint64_t kicked;      /* chunks that senders were told of */
	pthread_mutex_t lock; /* what follows */
	pthread_cond_t idle;
	bool sending, ended;
	unsigned int refs;
	/* used by the sender, and by finish once no sender runs */
	struct target targets[COPIES_MAX];
	unsigned int ntargets;
	struct target failed[FAILED_MAX]; /* may have some of it all the same */
	unsigned int nfailed;
	char why[QUOTA_WHY]; /* the last target's failure */
	void (*at_end)(void *arg);
	void *at_end_arg;
	struct {
		bool begun;
		bool settled; /* upload_named() or unstore() had the last word */
		int rc;	      /* of storing */
		struct segments_job forget;
		struct names_later *name;
		struct http_req *req;
		http_then_fn *then;
		void *arg;
	} late; /* upload_put_later() */
};

int upload_new(struct upload **out, struct endpoint *ep, const char *bucket, const char *key,
	       uint64_t announced, const struct version *version)
{
	struct upload *up;
	int rc;

	rc = chunks_room(ep->chunks, announced == UINT64_MAX ? 0 : announced);
	if (rc)
		return rc;
	up = calloc(1, sizeof(*up));
	if (!up)
		return -ENOMEM;
	up->ep = ep;
	up->refs = 1;
	up->version = version ? *version : peers_new_version(ep->peers);
	snprintf(up->bucket, sizeof(up->bucket), "%s", bucket);
	snprintf(up->key, sizeof(up->key), "%s", key);
	rc = staged_new(&up->staged, ep->chunks, &up->version);
	if (rc) {
		free(up);
		return rc;
	}
	if (announced != UINT64_MAX)
		staged_expect(up->staged, announced);
	pthread_mutex_init(&up->lock, NULL);
	pthread_cond_init(&up->idle, NULL);
	*out = up;
	return 0;
}

/* Tells the seconds to drop what they have. */
static void targets_forget(struct upload *up)
{
	for (unsigned int i = 0; i < up->ntargets; i++)
		if (up->targets[i].begun)
			transfer_forget(up->ep->httpc, &up->targets[i].peer, &up->version);
	up->ntargets = 0;
}

/* The same for those that failed, when this disk did, or the wire between: only of what has no name, for
 * else the version may come to them by other ways. They may be dead: a job's work. */
static void failed_forget(struct upload *up)
{
	for (unsigned int i = 0; i < up->nfailed; i++)
		if (up->failed[i].begun)
			transfer_forget(up->ep->httpc, &up->failed[i].peer, &up->version);
	up->nfailed = 0;
}

static void upload_put(struct upload *up)
{
	bool last;

	pthread_mutex_lock(&up->lock);
	last = !--up->refs;
	pthread_mutex_unlock(&up->lock);
	if (!last)
		return;
	staged_free(up->staged);
	names_later_free(up->late.name);
	if (*up->kid)
		reseal_end(up->ep->reseal, up->kid);
	if (up->at_end)
		up->at_end(up->at_end_arg);
	pthread_mutex_destroy(&up->lock);
	pthread_cond_destroy(&up->idle);
	free(up);
}

void upload_at_end(struct upload *up, void (*fn)(void *arg), void *arg)
{
	up->at_end = fn;
	up->at_end_arg = arg;
}

/* ---- the second copies ---- */

static unsigned int taken_nodes(const struct upload *up, char (*taken)[CONF_NAME_MAX])
{
	unsigned int n = 0;

	strcpy(taken[n++], up->ep->node);
	for (unsigned int i = 0; i < up->ntargets; i++)
		strcpy(taken[n++], up->targets[i].peer.node);
	for (unsigned int i = 0; i < up->nfailed; i++)
		strcpy(taken[n++], up->failed[i].peer.node);
	return n;
}

/* Fills up the list of targets with the best that live. */
static void targets_choose(struct upload *up)
{
	char taken[1 + COPIES_MAX + FAILED_MAX][CONF_NAME_MAX];
	struct peer peer;

	while (up->ntargets + 1 < up->ep->copies && up->ntargets < COPIES_MAX) {
		unsigned int n = taken_nodes(up, taken);

		if (!peers_choose(up->ep->peers, &up->version, (const char(*)[CONF_NAME_MAX])taken,
				  n, &peer, 1))
			break;
		up->targets[up->ntargets++] = (struct target){ .peer = peer };
	}
}

static void target_failed(struct upload *up, unsigned int i)
{
	snprintf(up->why, sizeof(up->why), "%s", transfer_error());
	log_limited(LOG_LEVEL_WARN, 30, "upload: second copy failed: %s", up->why);
	up->failed[up->nfailed++] = up->targets[i];
	up->targets[i] = up->targets[--up->ntargets];
}

/* Sends what is complete, or with `last` (the manifest) everything and the commit. */
static int target_push(struct upload *up, struct target *t, const char *last)
{
	uint64_t chunks = staged_chunks(up->staged);
	int rc = 0;

	while (!rc && !t->stored && (t->sent < chunks || last)) {
		/* The manifest goes with the last chunk; when that was sent before the end was
		 * known, once more. */
		uint64_t number = t->sent < chunks ? t->sent : chunks ? chunks - 1 : 0;
		bool end = last && number + 1 >= chunks;

		t->begun = true;
		rc = transfer_chunk(up->ep->httpc, &t->peer, up->ep->node, &up->version, up->staged,
				    number, end ? last : NULL);
		if (!rc) {
			t->sent = number + 1;
			t->stored = end;
		}
	}
	return rc;
}

/* All targets, replacing those that fail. */
static void targets_push(struct upload *up, const char *last)
{
	unsigned int i = 0;

	if (up->nfailed == FAILED_MAX)
		return;
	targets_choose(up);
	while (i < up->ntargets) {
		if (!target_push(up, &up->targets[i], last)) {
			i++;
			continue;
		}
		target_failed(up, i);
		if (up->nfailed == FAILED_MAX)
			return;
		targets_choose(up);
	}
}

static void send_job(void *arg)
{
	struct upload *up = arg;
	bool ended;

	pthread_mutex_lock(&up->lock);
	ended = up->ended;
	pthread_mutex_unlock(&up->lock);
	if (!ended)
		targets_push(up, NULL);
	pthread_mutex_lock(&up->lock);
	ended = up->ended;
	if (!ended) {
		up->sending = false;
		pthread_cond_broadcast(&up->idle);
	}
	pthread_mutex_unlock(&up->lock);
	if (ended) {
		targets_forget(up);
		failed_forget(up);
	}
	upload_put(up);
}

static void kick_sender(struct upload *up)
{
	bool start;

	pthread_mutex_lock(&up->lock);
	start = !up->sending;
	if (start) {
		up->sending = true;
		up->refs++;
	}
	pthread_mutex_unlock(&up->lock);
	if (start && jobs_add(up->ep->senders, send_job, up)) {
		/* Busy: the next chunk, or the end, sends this one too. */
		pthread_mutex_lock(&up->lock);
		up->sending = false;
		up->refs--;
		pthread_mutex_unlock(&up->lock);
	}
}

int upload_add(struct upload *up, const void *data, size_t len)
{
	up->rc = staged_append(up->staged, data, len);
	if (!up->rc && up->ep->copies > 1 && staged_chunks(up->staged) > up->kicked) {
		up->kicked = staged_chunks(up->staged);
		kick_sender(up);
	}
	return up->rc;
}

static int late_outcome(const struct upload *up, struct name_entry *entry, bool *replaced)
{
	return up->late.rc ? up->late.rc : names_later_end(up->late.name, entry, replaced);
}

/* Was it stored without a worker, and nobody saw to it that it has no name? The request may have ended without a word (the client
 * went, or no worker was free), so what came of it is looked at here. */
static bool late_is_left(const struct upload *up)
{
	int rc = up->late.begun && !up->late.settled ? late_outcome(up, NULL, NULL) : 0;

	return rc && rc != -ETIMEDOUT;
}

static void late_forgotten(struct segments_job *job)
{
	upload_put(job->arg);
}

/* With the next round, which takes any number of them, and nobody waits for it. Nobody else heard of that version. */
static void late_forget(struct upload *up)
{
	held_drop(up->ep->held, &up->version);
	up->late.forget = (struct segments_job){ .what = SEGMENTS_FORGET,
						 .version = up->version,
						 .complete = late_forgotten,
						 .arg = up };
	segments_begin(chunks_segments(up->ep->chunks), &up->late.forget);
}

void upload_end(struct upload *up)
{
	bool sending;

	if (!up)
		return;
	if (late_is_left(up)) {
		late_forget(up);
		return;
	}
	pthread_mutex_lock(&up->lock);
	up->ended = true;
	sending = up->sending;
	pthread_mutex_unlock(&up->lock);
	/* Cut in the middle: the sender forgets when one runs, else a job, for it may block. */
	if (!sending && (up->ntargets || up->nfailed)) {
		pthread_mutex_lock(&up->lock);
		up->refs++;
		pthread_mutex_unlock(&up->lock);
		if (jobs_add(up->ep->senders, send_job, up))
			upload_put(up); /* the other side drops it after an hour */
	}
	upload_put(up);
}

/* ---- the end ---- */

static void wait_for_sender(struct upload *up)
{
	pthread_mutex_lock(&up->lock);
	while (up->sending)
		pthread_cond_wait(&up->idle, &up->lock);
	pthread_mutex_unlock(&up->lock);
}

static unsigned int stored_copies(const struct upload *up)
{
	unsigned int n = 1;

	for (unsigned int i = 0; i < up->ntargets; i++)
		n += up->targets[i].stored;
	return n;
}

/* Two copies, or one on a lone machine, or where the configuration says so. */
static bool copies_suffice(const struct upload *up)
{
	return stored_copies(up) >= 2 || up->ep->copies == 1 ||
	       peers_registered(up->ep->peers) == 1;
}

static void compose(const struct upload *up, struct manifest *m)
{
	m->version = up->version;
	m->created = time(NULL);
	strcpy(m->bucket, up->bucket);
	strcpy(m->key, up->key);
	strcpy(m->holders[m->nholders++], up->ep->node);
	for (unsigned int i = 0; i < up->ntargets && m->nholders < HOLDERS_MAX; i++)
		strcpy(m->holders[m->nholders++], up->targets[i].peer.node);
}

int upload_seal(struct upload *up, uint64_t *size, uint8_t sha256[32])
{
	struct manifest *m = &up->manifest;
	int rc = up->rc;

	wait_for_sender(up); /* the targets are this thread's from here on */
	if (!rc && !up->sealed) {
		rc = staged_seal(up->staged, &m->size, m->sha256);
		up->sealed = !rc;
	}
	if (rc)
		return up->rc = rc; /* again: the same */
	*size = m->size;
	memcpy(sha256, m->sha256, 32);
	return 0;
}

/* Data and directory on stable storage here and on the seconds. */
static int store_all(struct upload *up)
{
	struct manifest *m = &up->manifest;
	char *head;
	int rc;

	targets_choose(up);
	compose(up, m);
	head = manifest_encode(m, NULL);
	if (!head)
		return -ENOMEM;
	rc = staged_finish(up->staged, m);
	if (!rc) {
		/* This disk and the others work at the same time. */
		staged_commit_begin(up->staged);
		targets_push(up, head);
		rc = staged_commit_wait(up->staged);
	}
	free(head);
	if (!rc && !copies_suffice(up))
		rc = -EAGAIN;
	return rc;
}

/* Nobody was told that it is stored: it goes. */
static void unstore(struct upload *up)
{
	chunks_forget(up->ep->chunks, &up->version);
	held_drop(up->ep->held, &up->version);
	targets_forget(up);
	up->late.settled = true;
}

int upload_store(struct upload *up)
{
	uint8_t sha256[32];
	uint64_t size;
	int rc;

	rc = up->late.begun ? up->late.rc : upload_seal(up, &size, sha256);
	if (!rc && up->late.begun) {
		up->stored = true;
		return 0;
	}
	if (!rc)
		rc = quota_check(up->ep, up->bucket, up->key, size, up->why);
	if (!rc)
		rc = store_all(up);
	if (rc)
		unstore(up);
	up->stored = !rc;
	return rc;
}

void upload_entry(const struct upload *up, struct name_entry *entry)
{
	snprintf(entry->key, sizeof(entry->key), "%s", up->key);
	version_format(&up->version, entry->version);
	entry->size = up->manifest.size;
	memcpy(entry->sha256, up->manifest.sha256, 32);
	entry->nholders = 0;
	strcpy(entry->holders[entry->nholders++], up->ep->node);
	for (unsigned int i = 0; i < up->ntargets; i++)
		if (up->targets[i].stored)
			strcpy(entry->holders[entry->nholders++], up->targets[i].peer.node);
}

int upload_sealer(struct upload *up, struct sealer **out, char key[UPLOAD_KEY_TEXT])
{
	char about[SEALED_ABOUT];
	uint8_t secret[SEALED_KEY];
	int rc;

	random_bytes(secret, sizeof(secret));
	rc = reseal_begin(up->ep->reseal, sealed_about(&up->version, about), secret, sizeof(secret), key, UPLOAD_KEY_TEXT, up->kid);
	if (!rc) {
		*out = sealer_new(secret, &up->version);
		rc = *out ? 0 : -ENOMEM;
	}
	explicit_bzero(secret, sizeof(secret));
	return rc;
}

size_t upload_ideal(const struct upload *up, struct upload_nodes *nodes)
{
	size_t n = peers_ideal(up->ep->peers, &up->version, nodes->text,
			       up->ep->copies < UPLOAD_COPIES_MAX ? up->ep->copies
								  : UPLOAD_COPIES_MAX);

	for (size_t i = 0; i < n; i++)
		nodes->names[i] = nodes->text[i];
	return n;
}

void upload_named(struct upload *up, int rc)
{
	/* Unknown outcome: the name may come to be, so its data stay. */
	if (up->stored && rc && rc != -ETIMEDOUT)
		unstore(up);
	else if (!rc || rc == -ETIMEDOUT)
		up->nfailed = 0;
	up->ntargets = 0; /* theirs now: nothing to forget */
	up->stored = false;
	up->late.settled = true;
}

/* ---- without a worker ---- */

static void late_end(void *upload)
{
	struct upload *up = upload;

	http_release(up->late.req, up->late.then, up->late.arg);
}

static void late_stored(void *upload, int rc)
{
	struct upload *up = upload;

	up->late.rc = rc;
	if (rc)
		late_end(up);
	else
		names_later_begin(up->late.name);
}

bool upload_put_later(struct upload *up, const struct name_entry *entry, const struct names_how *how, struct http_req *req,
		      http_then_fn *then, void *arg)
{
	struct users_limits limits;
	int rc;

	if (!up->sealed || up->ntargets || !staged_is_small(up->staged) ||
	    (up->ep->copies > 1 && !peers_alone(up->ep->peers)) || users_limits(up->ep->users, up->bucket, &limits))
		return false;
	up->late.name = names_later_new(up->ep->names, up->bucket, entry, how, late_end, up);
	if (!up->late.name || !http_hold(req))
		return false;
	up->late.begun = true;
	up->late.req = req;
	up->late.then = then;
	up->late.arg = arg;
	compose(up, &up->manifest);
	rc = staged_finish(up->staged, &up->manifest);
	if (rc)
		late_stored(up, rc);
	else
		staged_commit_later(up->staged, late_stored, up);
	return true;
}

int upload_put_end(struct upload *up, struct name_entry *entry, bool *replaced, bool *stored)
{
	int rc = late_outcome(up, entry, replaced);

	*stored = !up->late.rc;
	if (!rc)
		upload_named(up, 0);
	/* Somebody else orders the bucket now, or it is closed: that is not the last word. */
	return *stored && (rc == -ESTALE || rc == -ENOENT) ? -EAGAIN : rc;
}

const char *upload_why(const struct upload *up)
{
	return up->why[0] ? up->why : "none is there";
}

void upload_discard(struct upload *up)
{
	staged_discard(up->staged);
}
