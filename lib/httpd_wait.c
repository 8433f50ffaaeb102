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
	return http_reply_error(req, 503, "busy",
				"too much work is waiting; try again in a moment");
}

/* Wakes one worker, unless one is on its way already: it wakes the next when there is more. Waking
 * one for each request costs more than most requests do. Under work_lock; true: signal after the
 * unlock, so that the woken one does not wait for the lock. */
static bool wants_wake(struct httpd *server)
{
	if (server->workers_waking || !server->workers_idle || !server->work_head)
		return false;
	server->workers_waking = true;
	return true;
}

static bool enqueue(struct httpd *server, struct http_req *req)
{
	bool quit, wake;

	pthread_mutex_lock(&server->work_lock);
	quit = server->workers_quit;
	if (!quit) {
		*server->work_tail = req;
		server->work_tail = &req->next_work;
	}
	wake = wants_wake(server);
	pthread_mutex_unlock(&server->work_lock);
	if (wake)
		pthread_cond_signal(&server->work_cond);
	return !quit;
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

enum http_next http_work(struct http_req *req, http_work_fn *fn, void *arg)
{
	struct httpd *server = req->server;

	req->work_fn = fn;
	req->work_arg = arg;
	req->next_work = NULL;
	if (atomic_fetch_add(&server->work_queued, 1) >= HTTP_QUEUE_MAX) {
		atomic_fetch_sub(&server->work_queued, 1);
		return refuse_work(req);
	}
	set_in_work(req, true);
	if (!enqueue(server, req)) { /* the server stops */
		refuse_work(req);
		set_in_work(req, false);
		return HTTP_ANSWERED;
	}
	req->working = true;
	return HTTP_LATER;
}

static struct http_req *next_work(struct httpd *server)
{
	struct http_req *req;
	bool wake;

	pthread_mutex_lock(&server->work_lock);
	while (!server->work_head && !server->workers_quit) {
		server->workers_idle++;
		pthread_cond_wait(&server->work_cond, &server->work_lock);
		server->workers_idle--;
		server->workers_waking = false;
	}
	req = server->work_head;
	if (req) {
		server->work_head = req->next_work;
		if (!server->work_head)
			server->work_tail = &server->work_head;
		atomic_fetch_sub(&server->work_queued, 1);
	}
	wake = wants_wake(server);
	pthread_mutex_unlock(&server->work_lock);
	if (wake)
		pthread_cond_signal(&server->work_cond);
	return req;
}

static void *worker_run(void *arg)
{
	struct httpd *server = arg;
	struct http_req *req;

	while ((req = next_work(server))) {
		req->work_fn(req, req->work_arg);
		set_in_work(req, false);
	}
	return NULL;
}

int http_workers_start(struct httpd *server)
{
	server->work_tail = &server->work_head;
	server->workers = calloc(server->opt.workers, sizeof(*server->workers));
	if (!server->workers)
		return -ENOMEM;
	for (; server->nworkers < server->opt.workers; server->nworkers++) {
		int err = pthread_create(&server->workers[server->nworkers], NULL, worker_run,
					 server);

		if (err)
			return -err;
	}
	return 0;
}

void http_workers_stop(struct httpd *server)
{
	pthread_mutex_lock(&server->work_lock);
	server->workers_quit = true;
	pthread_cond_broadcast(&server->work_cond);
	pthread_mutex_unlock(&server->work_lock);
	for (unsigned int i = 0; i < server->nworkers; i++)
		pthread_join(server->workers[i], NULL);
	server->nworkers = 0;
	free(server->workers);
	server->workers = NULL;
}
