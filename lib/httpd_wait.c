/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_wait.c -- requests that wait, and the threads that work for them.
 *
 * libmicrohttpd neither reads, times out nor frees a suspended connection; so a request that is
 * with a worker cannot vanish, and a client that went away is noticed when the connection goes on.
 * A resume may come from any thread before the suspension that it is meant for: req->lock orders
 * the two, and a resume that finds nobody suspended is kept for the next wait.
 *
 * A request that awaits its answer listens only to the thread that answered: a late call by
 * another thread would let the pool send the answer and free the request before the answering
 * thread calls.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "lib/httpd_impl.h"
#include "lib/log.h"

void http_arm(struct http_req *req)
{
	pthread_mutex_lock(&req->lock);
	req->resume_pending = false;
	pthread_mutex_unlock(&req->lock);
}

enum http_waited http_wait(struct http_req *req, bool for_answer)
{
	enum http_waited waited = HTTP_WAIT_SUSPENDED;

	pthread_mutex_lock(&req->lock);
	if (for_answer ? req->answer_pending : req->resume_pending) {
		req->resume_pending = req->answer_pending = false;
		waited = HTTP_WAIT_GO;
	} else if (req->server->stopping) {
		waited = HTTP_WAIT_STOP;
	} else {
		req->awaits_answer = for_answer;
		req->suspended = true;
		MHD_suspend_connection(req->mhd);
	}
	pthread_mutex_unlock(&req->lock);
	return waited;
}

/* Lets the connection go on; force: for the server's stop. Nothing of req is touched after the
 * unlock but its connection, which stays until this very resume. */
static void resume(struct http_req *req, bool force)
{
	struct MHD_Connection *mhd = NULL;
	bool answers;

	pthread_mutex_lock(&req->lock);
	answers = req->answered && pthread_equal(req->answered_by, pthread_self());
	if (req->suspended && !req->in_work && (force || answers || !req->awaits_answer)) {
		req->suspended = false;
		mhd = req->mhd;
	} else if (!req->suspended) {
		req->resume_pending = true;
		req->answer_pending |= answers;
	}
	pthread_mutex_unlock(&req->lock);
	if (mhd)
		MHD_resume_connection(mhd);
}

void http_resume(struct http_req *req)
{
	resume(req, false);
}

void http_resume_all(struct httpd *server)
{
	pthread_mutex_lock(&server->reqs_lock);
	for (struct http_req *req = server->reqs; req; req = req->all_next)
		resume(req, true);
	pthread_mutex_unlock(&server->reqs_lock);
}

static enum http_next refuse_work(struct http_req *req)
{
	http_add_header(req, "Retry-After", "1");
	return http_refuse(req, 503, "busy", "too much work is waiting; try again in a moment");
}

/* Wakes one worker, unless one is on its way already: it wakes the next when there is more. Waking
 * one for each request costs more than most requests do. Under the lock; true: signal after the
 * unlock, so that the woken one does not wait for the lock. */
static bool wants_wake(struct http_workers *w)
{
	if (w->waking || !w->idle || !w->head)
		return false;
	w->waking = true;
	return true;
}

static bool has_room(struct http_workers *w, unsigned int queue_max)
{
	if (atomic_fetch_add(&w->queued, 1) < queue_max)
		return true;
	atomic_fetch_sub(&w->queued, 1);
	return false;
}

static bool enqueue(struct http_workers *w, struct http_job *job)
{
	bool quit, wake;

	job->next = NULL;
	pthread_mutex_lock(&w->lock);
	quit = w->quit;
	if (!quit) {
		*w->tail = job;
		w->tail = &job->next;
	}
	wake = wants_wake(w);
	pthread_mutex_unlock(&w->lock);
	if (wake)
		pthread_cond_signal(&w->cond);
	return !quit;
}

bool http_workers_add(struct http_workers *w, struct http_job *job, unsigned int queue_max)
{
	return has_room(w, queue_max) && enqueue(w, job);
}

/* Sets or clears that a worker has the request; suspended with it. */
static void set_in_work(struct http_req *req, bool on)
{
	struct MHD_Connection *mhd = req->mhd;

	pthread_mutex_lock(&req->lock);
	req->in_work = req->suspended = on;
	if (on)
		MHD_suspend_connection(mhd);
	pthread_mutex_unlock(&req->lock);
	if (!on)
		MHD_resume_connection(mhd);
}

bool http_hold(struct http_req *req)
{
	struct httpd *server = req->server;
	bool stopping;

	/* Nobody waits for who would be held after http_wait_held(). */
	pthread_mutex_lock(&server->reqs_lock);
	stopping = server->stopping;
	server->held += !stopping;
	pthread_mutex_unlock(&server->reqs_lock);
	if (stopping)
		return false;
	set_in_work(req, true);
	req->working = true;
	return true;
}

void http_release(struct http_req *req, http_then_fn *fn, void *arg)
{
	struct httpd *server = req->server;

	req->then_fn = fn;
	req->then_arg = arg;
	set_in_work(req, false);
	/* The server may be freed as soon as none is held. */
	pthread_mutex_lock(&server->reqs_lock);
	if (!--server->held)
		pthread_cond_broadcast(&server->held_none);
	pthread_mutex_unlock(&server->reqs_lock);
}

/* Every request that is held is released within the time of what it waits for. */
void http_wait_held(struct httpd *server)
{
	pthread_mutex_lock(&server->reqs_lock);
	while (server->held)
		pthread_cond_wait(&server->held_none, &server->reqs_lock);
	pthread_mutex_unlock(&server->reqs_lock);
}

/* What this worker works for has left it. */
static __thread bool went_on;

static void run_request(struct http_job *job, bool drop)
{
	struct http_req *req = (struct http_req *)(void *)((char *)job - offsetof(struct http_req, job));

	went_on = false;
	if (drop)
		refuse_work(req);
	else
		req->work_fn(req, req->work_arg);
	if (!went_on)
		set_in_work(req, false);
}

static enum http_next work(struct http_workers *w, struct http_req *req, http_work_fn *fn, void *arg)
{
	req->work_fn = fn;
	req->work_arg = arg;
	req->job.run = run_request;
	if (!has_room(w, req->server->opt.queue_max))
		return refuse_work(req);
	set_in_work(req, true);
	if (!enqueue(w, &req->job)) { /* the server stops */
		refuse_work(req);
		set_in_work(req, false);
		return HTTP_ANSWERED;
	}
	req->working = true;
	return HTTP_LATER;
}

enum http_next http_work(struct http_req *req, http_work_fn *fn, void *arg)
{
	return work(&req->server->workers, req, fn, arg);
}

enum http_next http_work_slow(struct http_req *req, http_work_fn *fn, void *arg)
{
	struct httpd *server = req->server;

	return work(server->opt.slow_workers ? &server->slow : &server->workers, req, fn, arg);
}

/* *drop: it is to be refused. */
static struct http_job *next_job(struct http_workers *w, bool *drop)
{
	struct http_job *job;
	bool wake;

	pthread_mutex_lock(&w->lock);
	while (!w->head && !w->quit) {
		w->idle++;
		pthread_cond_wait(&w->cond, &w->lock);
		w->idle--;
		w->waking = false;
	}
	job = w->head;
	if (job) {
		w->head = job->next;
		if (!w->head)
			w->tail = &w->head;
		atomic_fetch_sub(&w->queued, 1);
	}
	*drop = w->drops && w->quit;
	wake = wants_wake(w);
	pthread_mutex_unlock(&w->lock);
	if (wake)
		pthread_cond_signal(&w->cond);
	return job;
}

void http_work_go_on(struct http_req *req)
{
	went_on = true;
	set_in_work(req, false);
}

static void *worker_run(void *arg)
{
	struct http_workers *w = arg;
	struct http_job *job;
	bool drop;

	while ((job = next_job(w, &drop)))
		job->run(job, drop);
	return NULL;
}

void http_workers_init(struct http_workers *w, bool drops)
{
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	w->tail = &w->head;
	w->drops = drops;
}

void http_workers_destroy(struct http_workers *w)
{
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->cond);
}

/* The threads that are there already stay. */
int http_workers_start(struct http_workers *w, unsigned int threads)
{
	if (w->n || !threads)
		return 0;
	w->threads = calloc(threads, sizeof(*w->threads));
	if (!w->threads)
		return -ENOMEM;
	for (; w->n < threads; w->n++) {
		int err = pthread_create(&w->threads[w->n], NULL, worker_run, w);

		if (err)
			return -err;
	}
	return 0;
}

void http_workers_stop(struct http_workers *w)
{
	pthread_mutex_lock(&w->lock);
	w->quit = true;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
	for (unsigned int i = 0; i < w->n; i++)
		pthread_join(w->threads[i], NULL);
	w->n = 0;
	free(w->threads);
	w->threads = NULL;
}
