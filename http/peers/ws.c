/* SPDX-License-Identifier: Apache-2.0 */
/* ws.c -- WebSockets: start and stop. See ws_impl.h for who does what. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "http/peers/ws_impl.h"

int64_t ws_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int thread_start(struct ws_thread *t)
{
	struct epoll_event ev = { .events = EPOLLIN }; /* its pointer is NULL: the wake */
	int rc = ws_reader_init(&t->reader, t->server->opt.message_max);

	if (rc)
		return rc;
	t->buf = malloc(WS_READ_ONCE);
	if (!t->buf)
		return -ENOMEM;
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->epoll < 0 || t->wake < 0 || epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &ev))
		return -errno;
	rc = pthread_create(&t->id, NULL, ws_thread_run, t);
	t->runs = !rc;
	return -rc;
}

static void thread_end(struct ws_thread *t)
{
	if (t->runs)
		pthread_join(t->id, NULL);
	ws_reader_end(&t->reader);
	free(t->buf);
	if (t->epoll >= 0)
		close(t->epoll);
	if (t->wake >= 0)
		close(t->wake);
	pthread_mutex_destroy(&t->lock);
}

static void take_options(struct ws_options *opt)
{
	opt->max = opt->max ? opt->max : 18000;
	opt->message_max = opt->message_max ? opt->message_max : 64 << 10;
	opt->backlog_max = opt->backlog_max ? opt->backlog_max : 256 << 10;
	opt->rate = opt->rate ? opt->rate : 20;
	opt->burst = opt->burst ? opt->burst : 100;
	opt->ping_s = opt->ping_s ? opt->ping_s : 30;
}

int ws_start(struct ws_server **out, const struct ws_options *opt)
{
	unsigned int n = opt->threads ? opt->threads : 1;
	struct ws_server *s;
	sigset_t all, old;
	int rc = 0;

	/* sizes are kept in 32 bits, and tokens in thousandths of a fragment */
	if (opt->message_max > 64 << 20 || opt->backlog_max > 1 << 30 || opt->burst > 100000 || opt->rate > 100000)
		return -EINVAL;
	s = calloc(1, sizeof(*s) + n * sizeof(s->threads[0]));
	if (!s)
		return -ENOMEM;
	s->opt = *opt;
	take_options(&s->opt);
	s->refs = 1;
	s->nthreads = n;
	pthread_rwlock_init(&s->gate, NULL);
	for (unsigned int i = 0; i < n; i++) {
		s->threads[i].server = s;
		s->threads[i].epoll = s->threads[i].wake = -1;
		pthread_mutex_init(&s->threads[i].lock, NULL);
	}
	/* The main thread's signals are not for these. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned int i = 0; !rc && i < n; i++)
		rc = thread_start(&s->threads[i]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		ws_free(s);
	else
		*out = s;
	return rc;
}

void ws_server_put(struct ws_server *s)
{
	if (atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	pthread_rwlock_destroy(&s->gate);
	free(s);
}

void ws_stop(struct ws_server *s)
{
	if (!s || s->quit)
		return;
	pthread_rwlock_wrlock(&s->gate);
	s->stopping = true;
	pthread_rwlock_unlock(&s->gate);
	s->quit = true;
	for (unsigned int i = 0; i < s->nthreads; i++)
		if (s->threads[i].runs)
			ws_thread_wake(&s->threads[i]);
	for (unsigned int i = 0; i < s->nthreads; i++)
		thread_end(&s->threads[i]);
}

void ws_free(struct ws_server *s)
{
	ws_stop(s);
	if (s)
		ws_server_put(s);
}

unsigned int ws_count(const struct ws_server *s)
{
	return s ? s->count : 0;
}

void *ws_user(const struct ws_conn *c)
{
	return c->user;
}
