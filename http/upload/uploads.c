/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads.c -- the upload service (uploads.h): start and stop, the table of uploads, and the movers, threads that do
 * what blocks: they start and end workers, make objects of what was accepted, and remove what expired.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/uploads_int.h"
#include "lib/log.h"

#define LOOK_EVERY_MS 250
#define ASIDE_MS      5000  /* a worker without bytes for so long gives way when others wait */
#define SLOW_MS	      2000  /* one whose bytes come slowly gives way after so long when whole files wait */
#define SLOW_PER_MS   1000u /* bytes: slowly is less than 1 MB/s */
#define RETRY_MAX_MS  60000 /* between two tries to store */

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the table ---- */

void upload_drop(struct upload *up)
{
	bool last;

	if (!up)
		return;
	pthread_mutex_lock(&up->u->lock);
	last = --up->refs == 0;
	pthread_mutex_unlock(&up->u->lock);
	if (last)
		upload_free(up);
}

void uploads_enter(struct uploads *u, struct upload *up)
{
	pthread_mutex_lock(&u->lock);
	up->refs++;
	up->next = u->list;
	u->list = up;
	u->count++;
	pthread_mutex_unlock(&u->lock);
}

void uploads_remove(struct uploads *u, struct upload *up)
{
	struct upload **at;
	bool here;

	pthread_mutex_lock(&u->lock);
	for (at = &u->list; *at && *at != up; at = &(*at)->next)
		;
	here = *at != NULL;
	if (here) {
		*at = up->next;
		u->count--;
		memcpy(u->gone[u->ngone++ % GONE_MAX], up->id, sizeof(up->id));
	}
	pthread_mutex_unlock(&u->lock);
	if (!here)
		return;
	pthread_mutex_lock(&up->save_lock); /* nobody saves it again */
	up->removed = true;
	spool_remove(u->spool, up->id, true);
	pthread_mutex_unlock(&up->save_lock);
	upload_drop(up);
}

struct upload *uploads_find(struct uploads *u, const char *id, bool *gone)
{
	struct upload *up;

	*gone = false;
	pthread_mutex_lock(&u->lock);
	for (up = u->list; up && strcmp(up->id, id); up = up->next)
		;
	if (up)
		up->refs++;
	for (size_t i = 0; !up && i < GONE_MAX && i < u->ngone; i++)
		*gone |= !strcmp(u->gone[i], id);
	pthread_mutex_unlock(&u->lock);
	return up;
}

size_t uploads_of_user(struct uploads *u, const char *user)
{
	size_t n = 0;

	pthread_mutex_lock(&u->lock);
	for (const struct upload *up = u->list; up; up = up->next)
		n += up->state < UP_ACCEPTED && !strcmp(up->by, user);
	pthread_mutex_unlock(&u->lock);
	return n;
}

bool uploads_owns(struct uploads *u, const char *bucket)
{
	return u && u->opt.users && users_dataset(u->opt.users, bucket);
}

/* ---- audit ---- */

void uploads_audit(struct uploads *u, const struct http_req *req, const struct token_scope *who, const char *what,
		   const char *on, const char *result, const char *why, uint64_t bytes)
{
	char from[ADDR_PORT_STRLEN];
	struct audit_entry e = { .who = who->user,
				 .what = what,
				 .on = on,
				 .result = result,
				 .why = why,
				 .from = access_client(req, from),
				 .request = http_id(req),
				 .bytes = bytes };

	audit_write(u->opt.audit, &e);
}

void uploads_audit_upload(struct upload *up, const char *what, const char *result, const char *why)
{
	char on[320];
	struct audit_entry e = { .who = up->by,
				 .what = what,
				 .on = on,
				 .result = result,
				 .why = why,
				 .from = up->from,
				 .request = up->request,
				 .bytes = up->received };

	snprintf(on, sizeof(on), "%s/%s", up->dataset, up->file);
	audit_write(up->u->opt.audit, &e);
}

/* ---- movers ---- */

void uploads_kick(struct uploads *u)
{
	pthread_mutex_lock(&u->kick_lock);
	u->kicked = true;
	pthread_cond_broadcast(&u->kick);
	pthread_mutex_unlock(&u->kick_lock);
}

bool uploads_quitting(struct uploads *u)
{
	bool quit;

	pthread_mutex_lock(&u->kick_lock);
	quit = u->quit;
	pthread_mutex_unlock(&u->kick_lock);
	return quit;
}

enum job { JOB_NONE, JOB_START, JOB_FINISH, JOB_STORE, JOB_EXPIRE };

/* Another upload of the same file is being stored. Under u->lock. */
static bool file_busy(const struct uploads *u, const struct upload *up)
{
	for (const struct upload *o = u->list; o; o = o->next)
		if (o != up && o->moving && o->state == UP_STORING && !strcmp(o->file, up->file) &&
		    !strcmp(o->dataset, up->dataset))
			return true;
	return false;
}

static bool expired(const struct upload *up)
{
	return up->expires && up->expires <= time(NULL);
}

/* Under both locks. */
static enum job job_of(struct uploads *u, struct upload *up, int64_t now, bool *waits)
{
	if (up->moving)
		return JOB_NONE;
	if (up->check_over && (up->worker || (up->state == UP_CHECKING && up->result)))
		return JOB_FINISH;
	if (up->wants_worker && !up->starting && !upload_over(up) && up->due_ms <= now) {
		if (atomic_load(&u->workers) < u->workers_max)
			return JOB_START;
		*waits = true;
	}
	if (up->state == UP_STORING && up->due_ms <= now && !file_busy(u, up))
		return JOB_STORE;
	/* Not while somebody writes, nor (checking, storing) while it is worked on; its worker, which waits for bytes, ends
	 * first. From here on nobody may write: a PATCH whose bytes go with the file must not be told that they are kept. */
	if (expired(up) && !up->waiters && !up->writer && up->state != UP_STORING &&
	    up->state != UP_CHECKING && up->state != UP_CANCELLED) {
		check_cancel(up);
		if (!upload_over(up))
			upload_become(up, UP_CANCELLED, "it expired");
		if (!up->worker && !up->starting)
			return JOB_EXPIRE;
	}
	if (up->state == UP_CANCELLED && !up->worker && !up->starting)
		return JOB_EXPIRE;
	waiters_answer(up);
	hold_release(up);
	return JOB_NONE;
}

/* May its worker be had by others? Whose client trickles, or only holds its connection, must not keep all workers from
 * files that are there. Checking begins anew then, which costs little: what came slowly is not much. Under both locks. */
static bool gives_way(const struct upload *up, int64_t now, bool whole_waits)
{
	if (!up->worker || up->aside || up->check_over || up->state != UP_RECEIVING)
		return false;
	if (now - up->active_ms > ASIDE_MS)
		return true;
	return whole_waits && now - up->worker_ms > SLOW_MS &&
	       up->received - up->worker_received < (uint64_t)(now - up->worker_ms) * SLOW_PER_MS;
}

/* One worker of an upload that gives way is ended. Under u->lock. */
static void make_room(struct uploads *u, int64_t now, bool whole_waits)
{
	bool found = false;

	for (struct upload *up = u->list; up && !found; up = up->next) {
		pthread_mutex_lock(&up->lock);
		found = gives_way(up, now, whole_waits);
		if (found) {
			up->aside = true;
			worker_cancel(up->worker);
		}
		pthread_mutex_unlock(&up->lock);
	}
}

/* Under both locks. */
static void take_job(struct uploads *u, struct upload *up, enum job job)
{
	up->moving = true;
	up->refs++;
	if (job == JOB_START) {
		up->wants_worker = false;
		up->starting = true;
		atomic_fetch_add(&u->workers, 1);
	}
}

/* The upload with something to do and what; it has a reference and is `moving`. Whole files get a worker before those
 * that still arrive. Locks of the table, then of each. */
static struct upload *next_job(struct uploads *u, enum job *job)
{
	int64_t now = now_ms();
	struct upload *found = NULL, *arriving = NULL, *ended = NULL; /* the oldest that has ended: the last in the list */
	size_t nended = 0, nfindings = 0;
	bool waits = false, whole_waits = false;

	pthread_mutex_lock(&u->lock);
	for (struct upload *up = u->list; up && !found; up = up->next) {
		bool this = false;

		pthread_mutex_lock(&up->lock);
		*job = job_of(u, up, now, &this);
		waits |= this;
		whole_waits |= this && up->state == UP_CHECKING;
		if (*job == JOB_START && up->state == UP_RECEIVING) {
			arriving = arriving ? arriving : up;
		} else if (*job != JOB_NONE) {
			take_job(u, up, *job);
			found = up;
		}
		if (upload_over(up) && !up->moving && up->expires != 1) {
			ended = up;
			nended++;
			nfindings += json_array_size(up->findings);
		}
		pthread_mutex_unlock(&up->lock);
	}
	if (ended && (nended > ENDED_MAX || (nended > 1 && nfindings > ENDED_FINDINGS))) {
		pthread_mutex_lock(&ended->lock);
		ended->expires = 1;
		pthread_mutex_unlock(&ended->lock);
	}
	if (!found && arriving) { /* it may have changed meanwhile */
		pthread_mutex_lock(&arriving->lock);
		*job = job_of(u, arriving, now, &waits);
		if (*job != JOB_NONE) {
			take_job(u, arriving, *job);
			found = arriving;
		}
		pthread_mutex_unlock(&arriving->lock);
	}
	if (waits)
		make_room(u, now, whole_waits);
	pthread_mutex_unlock(&u->lock);
	return found;
}

static void store(struct upload *up)
{
	char why[256] = "";
	int rc = commit_upload(up, why);
	const char *what = up->replaced ? "replace" : "upload";
	int64_t pause;

	pthread_mutex_lock(&up->lock);
	if (up->state != UP_STORING) {
		pthread_mutex_unlock(&up->lock);
		return;
	}
	if (rc == -EAGAIN) {
		pause = up->tries < 8 ? 250 << up->tries : RETRY_MAX_MS;
		up->tries++;
		up->due_ms = now_ms() + (pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS);
		if (strcmp(up->why, why)) {
			upload_say_why(up, why);
			upload_tell_state(up);
		}
		metric_inc(up->u->m_store_retries, 1);
		waiters_answer(up);
	} else {
		upload_become(up, rc ? UP_FAILED : UP_ACCEPTED, rc ? why : NULL);
	}
	pthread_mutex_unlock(&up->lock);
	if (rc == -EAGAIN)
		return;
	uploads_audit_upload(up, what, rc ? "failed" : "ok", rc ? why : NULL);
	upload_save(up);
	if (!rc) {
		spool_remove(up->u->spool, up->id, false);
		pthread_mutex_lock(&up->lock);
		atomic_fetch_sub(&up->u->used, up->reserved);
		up->reserved = 0;
		close(up->fd);
		up->fd = -1;
		pthread_mutex_unlock(&up->lock);
	}
}

static void do_job(struct uploads *u, struct upload *up, enum job job)
{
	switch (job) {
	case JOB_START:
		check_start(up);
		break;
	case JOB_FINISH:
		check_finish(up);
		break;
	case JOB_STORE:
		store(up);
		break;
	case JOB_EXPIRE:
		uploads_remove(u, up);
		break;
	default:
		break;
	}
	pthread_mutex_lock(&up->lock);
	up->moving = false;
	pthread_mutex_unlock(&up->lock);
	upload_drop(up);
}

static void *move(void *arg)
{
	struct uploads *u = arg;

	pthread_mutex_lock(&u->kick_lock);
	while (!u->quit) {
		struct upload *up;
		enum job job = JOB_NONE;

		u->kicked = false;
		pthread_mutex_unlock(&u->kick_lock);
		up = next_job(u, &job);
		if (up)
			do_job(u, up, job);
		pthread_mutex_lock(&u->kick_lock);
		if (!up && !u->quit && nursery_gone(u->nursery)) {
			log_error("the process that starts workers is gone, no file can be checked: the gateway ends, to be started "
				  "anew; uploads go on then");
			_exit(1);
		}
		if (!up && !u->kicked && !u->quit) {
			struct timespec until;

			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_nsec += LOOK_EVERY_MS * 1000000l;
			until.tv_sec += until.tv_nsec / 1000000000;
			until.tv_nsec %= 1000000000;
			pthread_cond_timedwait(&u->kick, &u->kick_lock, &until);
		}
	}
	pthread_mutex_unlock(&u->kick_lock);
	return NULL;
}

/* ---- start and stop ---- */

static void collect(void *arg)
{
	struct uploads *u = arg;
	size_t live = 0;

	pthread_mutex_lock(&u->lock);
	for (const struct upload *up = u->list; up; up = up->next)
		live += up->state < UP_ACCEPTED;
	pthread_mutex_unlock(&u->lock);
	metric_set(u->m_live, (double)live);
	metric_set(u->m_spool, (double)atomic_load(&u->used));
	metric_set(u->m_workers, (double)atomic_load(&u->workers));
}

static struct metric_series *one(struct metrics *m, enum metric_type type, const char *name, const char *help)
{
	struct metric *metric = metric_add(m, type, name, help, NULL);

	return metric ? metric_series(metric, NULL) : NULL;
}

static int add_metrics(struct uploads *u)
{
	struct metrics *m = u->opt.metrics;
	struct metric *ended = metric_add(m, METRIC_COUNTER, "uploads_ended_total",
					  "Uploads that came to their end: accepted, rejected, failed, cancelled.", "state");

	for (int i = UP_ACCEPTED; ended && i < UP_STATES; i++)
		u->m_state[i] = metric_series(ended, upload_state_names[i], NULL);
	u->m_bytes = one(m, METRIC_COUNTER, "uploads_received_bytes_total", "Bytes of uploads that came in.");
	u->m_findings = one(m, METRIC_COUNTER, "uploads_findings_total",
			    "Findings that were told, one by one, of files that do not keep their rules.");
	u->m_store_retries = one(m, METRIC_COUNTER, "uploads_store_retries_total",
				 "Tries to store an accepted file that failed and are done again.");
	u->m_spool = one(m, METRIC_GAUGE, "uploads_spool_bytes", "Bytes that unfinished uploads may fill on this disk.");
	u->m_live = one(m, METRIC_GAUGE, "uploads_unfinished", "Uploads that are received, checked or stored just now.");
	u->m_workers = one(m, METRIC_GAUGE, "uploads_workers", "Processes that check files just now.");
	if (!ended || !u->m_workers)
		return -ENOMEM;
	return metrics_on_collect(m, collect, u);
}

int uploads_modes(int argc, char **argv)
{
	return worker_modes(argc, argv);
}

int uploads_prepare(struct uploads **out, const struct conf *conf, const struct priv_user *user)
{
	struct uploads *u = calloc(1, sizeof(*u));
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct nursery_limits limits = { 0 };
	int rc;

	if (!u)
		return -ENOMEM;
	u->conf = conf->gateway.uploads;
	u->object_max = conf->gateway.limits.object;
	snprintf(u->node, sizeof(u->node), "%s", conf->node);
	pthread_mutex_init(&u->lock, NULL);
	pthread_mutex_init(&u->kick_lock, NULL);
	pthread_cond_init(&u->kick, NULL);
	u->workers_max = u->conf.workers ? u->conf.workers : 2 * (unsigned int)(cpus > 0 ? cpus : 1);
	limits.memory = u->conf.memory;
	limits.cpu_s = (unsigned int)(u->conf.cpu_us / 1000000);
	limits.workers = u->workers_max + 4; /* previews and searches for rows beside */
	rc = nursery_start(&u->nursery, &limits, user);
	if (rc) {
		uploads_free(u);
		return rc;
	}
	*out = u;
	return 0;
}

void uploads_configure(struct uploads *u, const struct conf *conf)
{
	/* each a word that other threads read as it is just now */
	u->conf.per_user = conf->gateway.uploads.per_user;
	u->conf.spool = conf->gateway.uploads.spool;
	u->conf.expire_us = conf->gateway.uploads.expire_us;
	u->object_max = conf->gateway.limits.object;
}

int uploads_start(struct uploads *u, const struct uploads_options *opt)
{
	int rc;

	u->opt = *opt;
	rc = spool_open(&u->spool, opt->folder, u->node);
	if (!rc)
		rc = add_metrics(u);
	return rc ? rc : spool_each(u->spool, upload_loaded, u);
}

int uploads_serve(struct uploads *u, struct httpd *server)
{
	int rc = 0;

	u->server = server;
	for (; !rc && u->nmovers < MOVERS; u->nmovers++)
		rc = -pthread_create(&u->movers[u->nmovers], NULL, move, u);
	return rc;
}

void uploads_stop(struct uploads *u)
{
	if (!u || !u->spool)
		return;
	pthread_mutex_lock(&u->kick_lock);
	u->quit = true;
	pthread_cond_broadcast(&u->kick);
	pthread_mutex_unlock(&u->kick_lock);
	for (; u->nmovers; u->nmovers--)
		pthread_join(u->movers[u->nmovers - 1], NULL);
	pthread_mutex_lock(&u->lock);
	for (struct upload *up = u->list; up; up = up->next) {
		pthread_mutex_lock(&up->lock);
		waiters_answer(up);
		check_cancel(up);
		pthread_mutex_unlock(&up->lock);
	}
	pthread_mutex_unlock(&u->lock);
}

void uploads_free(struct uploads *u)
{
	struct upload *up;

	if (!u)
		return;
	while (atomic_load(&u->forwards)) { /* an owner that is silent is given up after some seconds */
		struct timespec pause = { 0, 5000000 };

		nanosleep(&pause, NULL);
	}
	if (u->spool)
		metrics_off_collect(u->opt.metrics, collect, u);
	nursery_stop(u->nursery);
	while ((up = u->list)) {
		u->list = up->next;
		worker_free(up->worker);
		up->worker = NULL;
		upload_drop(up);
	}
	spool_close(u->spool);
	json_decref(u->references);
	pthread_mutex_destroy(&u->lock);
	pthread_mutex_destroy(&u->kick_lock);
	pthread_cond_destroy(&u->kick);
	free(u);
}

json_t *uploads_status(struct uploads *u)
{
	json_int_t n[UP_STATES] = { 0 };
	json_t *o = json_object();

	pthread_mutex_lock(&u->lock);
	for (const struct upload *up = u->list; up; up = up->next)
		n[up->state]++;
	pthread_mutex_unlock(&u->lock);
	for (int i = 0; i < UP_STATES; i++)
		json_object_set_new(o, upload_state_names[i], json_integer(n[i]));
	json_object_set_new(o, "workers", json_integer((json_int_t)atomic_load(&u->workers)));
	json_object_set_new(o, "spool", json_integer((json_int_t)atomic_load(&u->used)));
	json_object_set_new(o, "spool_max", json_integer((json_int_t)u->conf.spool));
	json_object_set_new(o, "bytes", json_integer((json_int_t)atomic_load(&u->bytes_in)));
	return o;
}
