// SPDX-License-Identifier: Apache-2.0
/*
 * reactor.c -- one epoll set under the daemon's loop, a timer wheel, what is deferred to the end of
 * a batch, and a few threads for work that blocks.
 *
 * sd-event sees the epoll set as one level-triggered descriptor. Its callback takes batches
 * for a bounded time, so that the loop's other sources get their turn under any load.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "user/tunnel/reactor.h"

#define EVENTS_MAX 256	/* of one epoll_wait */
#define TURN_US	   5000 /* after which the loop's other sources get their turn */
#define ROUNDS_MAX 4	/* of deferred calls that defer more, before the sockets are asked again */

#define TICK_SHIFT 5	 /* a tick of the wheel is 32 ms */
#define SLOTS	   1024u /* one turn of the wheel is 32.8 s; later timers go round again */

#define THREADS 4

struct job {
	struct job *next;
	void (*fn)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

struct jobs { /* a queue */
	struct job *first, **last;
};

struct reactor {
	struct loop *loop;
	int epoll_fd;
	sd_event_source *source; /* the epoll set */
	sd_event_source *wake;	 /* enabled when something was deferred outside of a batch */
	bool in_turn;
	uint64_t now_ms; /* of this batch */
	struct epoll_event *events;
	int n_events, at_event; /* of this batch; those after at_event were not told yet */
	struct reactor_defer *deferred, **deferred_last;
	struct reactor_last *lasts;
	uint8_t *scratch;

	struct reactor_timer *slots[SLOTS];
	uint64_t occupied[SLOTS / 64]; /* slots that may have timers */
	uint64_t tick;		       /* all ticks up to this one were told */
	uint64_t armed_tick;	       /* for which the timerfd is set; 0: none */
	struct reactor_io alarm;

	struct reactor_io finished; /* an eventfd: jobs are done */
	pthread_t threads[THREADS];
	unsigned int n_threads;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t more;
	struct jobs todo, done;
	unsigned int unfinished; /* waiting or running */
	bool quit;
};

/* ---- time ------------------------------------------------------------------------------------ */

uint64_t reactor_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Outside of a turn the last batch may be long ago. */
uint64_t reactor_now_ms(const struct reactor *r)
{
	return r->in_turn ? r->now_ms : reactor_now_us() / 1000;
}

/* ---- timers ---------------------------------------------------------------------------------- */

static void timer_unlink(struct reactor_timer *t)
{
	*t->at = t->next;
	if (t->next)
		t->next->at = t->at;
	t->at = NULL;
}

static void timer_link(struct reactor_timer **list, struct reactor_timer *t)
{
	t->next = *list;
	if (t->next)
		t->next->at = &t->next;
	t->at = list;
	*list = t;
}

static void alarm_set(struct reactor *r, uint64_t tick)
{
	uint64_t ms = tick << TICK_SHIFT;
	struct itimerspec at = { .it_value = { .tv_sec = (time_t)(ms / 1000),
					       .tv_nsec = (long)(ms % 1000) * 1000000 } };

	r->armed_tick = tick;
	timerfd_settime(r->alarm.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* The next tick after r->tick with an occupied slot; 0: none. */
static uint64_t tick_next(const struct reactor *r)
{
	for (uint64_t tick = r->tick + 1; tick <= r->tick + SLOTS;) {
		unsigned int slot = tick % SLOTS, bit = slot % 64;
		uint64_t word = r->occupied[slot / 64] >> bit;

		if (word)
			return tick + (unsigned int)__builtin_ctzll(word);
		tick += 64 - bit;
	}
	return 0;
}

void reactor_timer_set(struct reactor *r, struct reactor_timer *t, uint64_t delay_ms)
{
	uint64_t tick;

	if (t->at)
		timer_unlink(t);
	t->due_ms = reactor_now_ms(r) + delay_ms;
	if (!r->armed_tick) /* an empty wheel stood still */
		r->tick = reactor_now_ms(r) >> TICK_SHIFT;
	tick = (t->due_ms + (1u << TICK_SHIFT) - 1) >> TICK_SHIFT;
	if (tick <= r->tick)
		tick = r->tick + 1;
	timer_link(&r->slots[tick % SLOTS], t);
	r->occupied[tick % SLOTS / 64] |= 1ull << tick % 64;
	if (tick > r->tick + SLOTS) /* its slot comes up once before */
		tick -= (tick - r->tick - 1) / SLOTS * SLOTS;
	if (!r->armed_tick || tick < r->armed_tick)
		alarm_set(r, tick);
}

void reactor_timer_stop(struct reactor *r, struct reactor_timer *t)
{
	(void)r; /* the slot's bit stays: at most one wake-up for nothing */
	if (t->at)
		timer_unlink(t);
}

static void slot_tell(struct reactor *r, unsigned int slot)
{
	struct reactor_timer *t, *due = r->slots[slot];

	r->slots[slot] = NULL;
	r->occupied[slot / 64] &= ~(1ull << slot % 64);
	if (due)
		due->at = &due; /* so that a callback may stop any of them */
	while ((t = due)) {
		timer_unlink(t);
		if (t->due_ms <= r->now_ms) {
			t->fn(t);
			continue;
		}
		timer_link(&r->slots[slot], t); /* in a later turn of the wheel */
		r->occupied[slot / 64] |= 1ull << slot % 64;
	}
}

static void on_alarm(struct reactor_io *io, uint32_t events)
{
	struct reactor *r = (struct reactor *)((char *)io - offsetof(struct reactor, alarm));
	uint64_t now = r->now_ms >> TICK_SHIFT, next;

	(void)events;
	/* After a long stop each slot needs one look only. */
	if (now > r->tick + SLOTS)
		r->tick = now - SLOTS;
	while (r->tick < now) {
		r->tick++;
		slot_tell(r, r->tick % SLOTS);
	}
	r->armed_tick = 0;
	next = tick_next(r);
	if (next)
		alarm_set(r, next);
}

/* ---- deferred -------------------------------------------------------------------------------- */

void reactor_defer(struct reactor *r, struct reactor_defer *d)
{
	if (d->queued)
		return;
	if (!r->deferred && !r->in_turn)
		sd_event_source_set_enabled(r->wake, SD_EVENT_ONESHOT);
	d->queued = true;
	d->next = NULL;
	*r->deferred_last = d;
	r->deferred_last = &d->next;
}

void reactor_defer_cancel(struct reactor *r, struct reactor_defer *d)
{
	struct reactor_defer **at = &r->deferred;

	if (!d->queued)
		return;
	while (*at && *at != d)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = d->next;
	if (r->deferred_last == &d->next)
		r->deferred_last = at;
	d->queued = false;
}

/* Each takes its turn once a round; what they defer comes in the next one. */
static void deferred_run(struct reactor *r, int rounds)
{
	while (r->deferred && rounds-- > 0) {
		/* A mark at the end of this round: a cancel may unlink any other. */
		struct reactor_defer mark = { .queued = true }, *d;

		*r->deferred_last = &mark;
		r->deferred_last = &mark.next;
		while ((d = r->deferred)) {
			r->deferred = d->next;
			if (!r->deferred)
				r->deferred_last = &r->deferred;
			if (d == &mark)
				break;
			d->queued = false;
			d->fn(d);
		}
	}
}

/* ---- last ------------------------------------------------------------------------------------ */

void reactor_last_add(struct reactor *r, struct reactor_last *l)
{
	if (l->at)
		return;
	l->next = r->lasts;
	if (l->next)
		l->next->at = &l->next;
	l->at = &r->lasts;
	r->lasts = l;
}

void reactor_last_remove(struct reactor_last *l)
{
	if (!l->at)
		return;
	*l->at = l->next;
	if (l->next)
		l->next->at = l->at;
	l->at = NULL;
}

static void lasts_run(struct reactor *r)
{
	struct reactor_last *l;

	while ((l = r->lasts)) {
		reactor_last_remove(l);
		l->fn(l);
	}
}

/* ---- descriptors ----------------------------------------------------------------------------- */

int reactor_add(struct reactor *r, struct reactor_io *io)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				  .data.ptr = io };

	return epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) < 0 ? -errno : 0;
}

void reactor_remove(struct reactor *r, struct reactor_io *io)
{
	epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	for (int i = r->at_event + 1; i < r->n_events; i++) {
		if (r->events[i].data.ptr == io)
			r->events[i].data.ptr = NULL;
	}
}

/* One batch; false when nothing happened. */
static bool batch(struct reactor *r)
{
	int n = epoll_wait(r->epoll_fd, r->events, EVENTS_MAX, 0);

	r->now_ms = reactor_now_us() / 1000;
	r->n_events = n > 0 ? n : 0;
	for (r->at_event = 0; r->at_event < r->n_events; r->at_event++) {
		struct epoll_event *ev = &r->events[r->at_event];
		struct reactor_io *io = ev->data.ptr;

		if (io)
			io->fn(io, ev->events);
	}
	r->n_events = r->at_event = 0;
	if (n <= 0 && !r->deferred)
		return false;
	deferred_run(r, ROUNDS_MAX);
	return true;
}

static void turn(struct reactor *r)
{
	uint64_t end = reactor_now_us() + TURN_US;

	r->in_turn = true;
	while (batch(r) && reactor_now_us() < end)
		;
	r->in_turn = false;
	if (r->deferred)
		sd_event_source_set_enabled(r->wake, SD_EVENT_ONESHOT);
}

static int on_epoll(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	(void)source, (void)fd, (void)revents;
	turn(arg);
	return 0;
}

static int on_wake(sd_event_source *source, void *arg)
{
	(void)source;
	turn(arg);
	return 0;
}

/* ---- blocking work --------------------------------------------------------------------------- */

static void jobs_put(struct jobs *q, struct job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
}

static struct job *jobs_take(struct jobs *q)
{
	struct job *job = q->first;

	if (job && !(q->first = job->next))
		q->last = &q->first;
	return job;
}

static void *worker(void *arg)
{
	struct reactor *r = arg;
	uint64_t one = 1;
	struct job *job;

	pthread_mutex_lock(&r->lock);
	while (!r->quit) {
		job = jobs_take(&r->todo);
		if (!job) {
			pthread_cond_wait(&r->more, &r->lock);
			continue;
		}
		pthread_mutex_unlock(&r->lock);
		job->fn(job->arg);
		pthread_mutex_lock(&r->lock);
		r->unfinished--;
		jobs_put(&r->done, job);
		/* Cannot block: the counter would have to reach 2^64. */
		if (write(r->finished.fd, &one, sizeof(one)) < 0)
			continue;
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static void on_finished(struct reactor_io *io, uint32_t events)
{
	struct reactor *r = (struct reactor *)((char *)io - offsetof(struct reactor, finished));
	struct job *job, *next;
	uint64_t count;

	if (!(events & EPOLLIN) || read(io->fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&r->lock);
	job = r->done.first;
	r->done = (struct jobs){ NULL, &r->done.first };
	pthread_mutex_unlock(&r->lock);
	for (; job; job = next) {
		next = job->next;
		job->done(job->arg);
		free(job);
	}
}

int reactor_work(struct reactor *r, void (*fn)(void *arg), void (*done)(void *arg), void *arg)
{
	struct job *job = malloc(sizeof(*job));
	int err = 0;

	if (!job)
		return -ENOMEM;
	*job = (struct job){ NULL, fn, done, arg };
	pthread_mutex_lock(&r->lock);
	if (r->n_threads < THREADS && r->unfinished >= r->n_threads) {
		err = -pthread_create(&r->threads[r->n_threads], NULL, worker, r);
		if (!err)
			r->n_threads++;
		else if (r->n_threads) /* those that run will do */
			err = 0;
	}
	if (!err) {
		jobs_put(&r->todo, job);
		r->unfinished++;
	}
	pthread_cond_signal(&r->more);
	pthread_mutex_unlock(&r->lock);
	if (err)
		free(job);
	return err;
}

static void workers_end(struct reactor *r)
{
	struct job *job;

	pthread_mutex_lock(&r->lock);
	r->quit = true;
	pthread_cond_broadcast(&r->more);
	pthread_mutex_unlock(&r->lock);
	while (r->n_threads)
		pthread_join(r->threads[--r->n_threads], NULL);
	while ((job = jobs_take(&r->todo)) || (job = jobs_take(&r->done)))
		free(job);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int sources_add(struct reactor *r)
{
	sd_event *event = loop_event(r->loop);
	int err;

	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r->alarm.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	r->finished.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (r->epoll_fd < 0 || r->alarm.fd < 0 || r->finished.fd < 0)
		return -errno;
	err = reactor_add(r, &r->alarm);
	if (!err)
		err = reactor_add(r, &r->finished);
	if (!err)
		err = sd_event_add_io(event, &r->source, r->epoll_fd, EPOLLIN, on_epoll, r);
	if (err >= 0)
		err = sd_event_add_defer(event, &r->wake, on_wake, r);
	/* sd-event takes such a source for the one that waited longest: it must not come first. */
	if (err >= 0)
		err = sd_event_source_set_priority(r->wake, SD_EVENT_PRIORITY_NORMAL + 1);
	if (err >= 0)
		err = sd_event_source_set_enabled(r->wake, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}

int reactor_new(struct reactor **out, struct loop *loop)
{
	struct reactor *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->loop = loop;
	r->epoll_fd = -1;
	r->alarm = (struct reactor_io){ .fd = -1, .fn = on_alarm };
	r->finished = (struct reactor_io){ .fd = -1, .fn = on_finished };
	r->deferred_last = &r->deferred;
	r->todo.last = &r->todo.first;
	r->done.last = &r->done.first;
	r->now_ms = reactor_now_us() / 1000;
	r->tick = r->now_ms >> TICK_SHIFT;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->more, NULL);
	r->events = calloc(EVENTS_MAX, sizeof(*r->events));
	r->scratch = malloc(REACTOR_SCRATCH);
	err = r->events && r->scratch ? sources_add(r) : -ENOMEM;
	if (err) {
		reactor_free(r);
		return err;
	}
	*out = r;
	return 0;
}

void reactor_free(struct reactor *r)
{
	if (!r)
		return;
	workers_end(r);
	/* What waits to be freed is freed by this. */
	r->in_turn = true;
	deferred_run(r, 1000);
	while (r->lasts) { /* connections that were closed have nobody but us */
		lasts_run(r);
		deferred_run(r, 1000);
	}
	sd_event_source_disable_unref(r->source);
	sd_event_source_disable_unref(r->wake);
	if (r->epoll_fd >= 0)
		close(r->epoll_fd);
	if (r->alarm.fd >= 0)
		close(r->alarm.fd);
	if (r->finished.fd >= 0)
		close(r->finished.fd);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->more);
	free(r->events);
	free(r->scratch);
	free(r);
}

uint8_t *reactor_scratch(struct reactor *r)
{
	return r->scratch;
}
